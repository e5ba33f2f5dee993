"""Hosts whose clocks are wrong spend from one budget in Redis.

    python benchmarks/trials/clocks.py
    python benchmarks/trials/clocks.py --skews=-90,90,86400
    python benchmarks/trials/clocks.py --faketime /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1  # apt: faketime

Each host is a process. With ``--faketime`` the operating system itself tells it the wrong time, without it
``time.time`` does. All ask at once, more often than the budget pays; before, the host with the right clock has begun a
call that it does not end, which a host that lives a day later must not take for expired.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from _trial import CENT, PRICES, Trial, a_call, folder, outcome, parser_of, started
from local_redis import LocalRedis

from costguard_core import CostGuard

BUDGETS = {"a day": "$0.50/day", "an hour, sliding": "$0.50/hour", "a month": "$0.50/month per user"}
ASKS = 40  # calls of each host


def host(store: str, ledger: str, budget: str, skew: float) -> None:
    """What one host does: begins when it is told to, and prints what became of its calls."""
    if skew:
        right = time.time
        time.time = lambda: right() + skew
    guard = CostGuard([budget], store=store, ledger=ledger, prices=PRICES, lease=3600, clock=time.time)
    guard.warm_up()
    print("ready", time.time(), flush=True)
    sys.stdin.readline()
    found = Counter(outcome(guard, "u1") for _ in range(ASKS))
    guard.close()
    print(found["paid"], found["refused"], found["unavailable"], flush=True)


def together(trial: Trial, name: str, budget: str, skews: list[float], store: str, ledger: str) -> None:
    """Let all hosts ask at once for what one budget pays."""
    with CostGuard([budget], store=store, ledger="memory://", prices=PRICES, lease=3600) as right:
        right.before(a_call(right, "u1"))  # begun, and not ended
        environments = {skew: os.environ | _faked(trial, skew) for skew in skews}
        shown = {skew: 0.0 if trial.options.faketime else skew for skew in skews}
        hosts = [
            subprocess.Popen(
                [sys.executable, __file__, "--host", store, ledger, budget, str(shown[skew])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environments[skew],
            )
            for skew in skews
        ]
        seen = [_line(process).split()[1] for process in hosts]
        for process in hosts:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        parts = [[int(word) for word in _line(process).split()] for process in hosts]
        for process in hosts:
            process.wait()
        paid = sum(part[0] for part in parts)
        off = ", ".join(f"{float(moment) - time.time():+,.0f}" for moment in seen)
        (row,) = right.status()
        trial.row(
            f"50 cents for {name}, one of them held: exactly 49 calls are paid, and it stays held",
            f"{paid} paid by hosts whose clocks are off by {off} s; ${row.spent} spent, ${row.held} held",
            kept=paid == 49 and int(row.held * 10**9) == CENT,
        )
        trial.row(
            "a host that is wrong by more than the period is refused once, until it has heard the server's time",
            f"{[part[2] for part in parts]} calls were refused for another reason than the budget",
            kept=all(part[2] <= 1 for part in parts),
        )


def _faked(trial: Trial, skew: float) -> dict[str, str]:
    library = trial.options.faketime
    return {"LD_PRELOAD": library, "FAKETIME": f"{skew:+.0f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if library else {}


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def main() -> None:
    if "--host" in sys.argv:
        host(*sys.argv[2:5], float(sys.argv[5]))
        return
    parser = parser_of(__doc__)
    parser.add_argument("--skews", default="-259200,-86400,-90,0,90,86400,259200", help="seconds, one per host")
    parser.add_argument("--faketime", help="path of libfaketime.so.1")
    trial = started("clocks", parser)
    skews = [float(skew) for skew in trial.options.skews.split(",")]
    with folder() as place, LocalRedis(place) as redis:
        for number, (name, budget) in enumerate(BUDGETS.items()):
            store = f"{redis.url}?timeout=1&prefix=clocks{number}"
            together(trial, name, budget, skews, store, f"sqlite:///{Path(place)}/ledger.db")
        with CostGuard(ledger=f"sqlite:///{Path(place)}/ledger.db") as guard:
            now = time.time()
            days = Counter(round((event.time - now) / 86_400) for event in guard.ledger.events() if event.cost)
        trial.row(
            "events of the ledger carry the clock of the host that made the call",
            f"calls by how many days they seem to lie ahead: {dict(sorted(days.items()))}",
        )
    trial.finish()


if __name__ == "__main__":
    main()
