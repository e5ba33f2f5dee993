"""200,000 users with a budget each: what one of them costs in a store, how long ``status`` takes, whether others wait.

    python benchmarks/trials/many_users.py --store memory
    python benchmarks/trials/many_users.py --store sqlite
    python benchmarks/trials/many_users.py --store redis
    python benchmarks/trials/many_users.py --store redis --budget '60 requests/minute per user'

Every user makes one call, reserved and settled. Then it measures what that took, ``status()`` over all users, over a
hundred, and of one, while another thread makes calls. For Redis the server itself says what held it up longest
(``SLOWLOG``).
"""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psutil
import redis
from _trial import PRICES, Trial, a_call, folder, outcome, parser_of, started
from local_redis import LocalRedis

from costguard_core import CostGuard
from costguard_core.counters.base import Grant, Line

BLOCKED = 10  # milliseconds
LOGGED = 50_000  # commands: those of the calls in the end, and of status
# By which the share of a call is told from that of a user: as many as memory remembers after their end, and fewer
# where each takes longer.
CALLS_OF_ONE = {"memory": 131_072, "sqlite": 20_000, "redis": 20_000}


def fill(guard: CostGuard, calls: int, user: Callable[[int], str], *, amount: int = 1) -> float:
    """So many calls of ``amount``, straight at the store; seconds."""
    start = time.perf_counter()
    for number in range(calls):
        call = a_call(guard, user(number))
        now = guard.store.now()
        lines = [
            Line(b.key(b.scope(call.attribution, call.model, None)), b.unit, b.window_at(now), b.amount, amount)
            for b in guard.budgets
        ]
        grant = guard.store.reserve(call.id, lines, lease=600.0)
        assert isinstance(grant, Grant)
        guard.store.settle(grant, dict.fromkeys(("usd", "requests", "tokens"), amount))
    return time.perf_counter() - start


def email(number: int) -> str:
    return f"user-{number:06d}@example.org"


class Caller(threading.Thread):
    """Makes one call after the other and remembers how long each took to be decided, and how many were not."""

    def __init__(self, guard: CostGuard) -> None:
        super().__init__(daemon=True)
        self._guard, self._ended = guard, threading.Event()
        self.times: list[float] = []
        self.unavailable = 0

    def run(self) -> None:
        while not self._ended.wait(0.005):
            start = time.perf_counter()
            self.unavailable += outcome(self._guard, "caller") == "unavailable"
            self.times.append(time.perf_counter() - start)

    def end(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def calling(guard: CostGuard) -> Iterator[Caller]:
    caller = Caller(guard)
    caller.start()
    try:
        yield caller
    finally:
        caller.end()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def measure(
    trial: Trial, guard: CostGuard, size: Callable[[], float], unit: str, *, when_filled: Callable[[], object] = int
) -> None:
    users = trial.options.users
    guard.warm_up()
    outcome(guard, "caller")
    before = size()
    calls = CALLS_OF_ONE[trial.options.store]
    fill(guard, calls, lambda _: "caller", amount=0)  # no limit is in the way
    per_call = (size() - before) / calls
    trial.row(f"{unit}: a call that ended within the last hour", f"{per_call:,.0f} bytes")
    before = size()
    took = fill(guard, users, email)
    grown = size() - before
    trial.row(
        f"{unit}: {users:,} users with one call each", f"{grown / 1e6:,.0f} MB, {grown / users:,.0f} bytes per user"
    )
    trial.row("calls a second of one thread, each of a user who is new", f"{users / took:,.0f}")
    when_filled()
    with calling(guard) as caller:
        for name, work in {
            "status() of all": guard.status,
            "status(limit=100)": lambda: guard.status(limit=100),
            "status(scope=one user)": lambda: guard.status(scope={"user": email(42)}),
        }.items():
            seconds, found = timed(work)
            trial.row(name, f"{seconds:.2f} s, {len(found):,} rows")
    slowest = max(caller.times)
    trial.row(
        "no call is turned away meanwhile",
        f"{len(caller.times):,} calls: {statistics.median(caller.times) * 1e3:.1f} ms at the median, "
        f"{slowest * 1e3:.0f} ms at most, {caller.unavailable} turned away",
        kept=not caller.unavailable,
    )


def in_memory(trial: Trial) -> None:
    me = psutil.Process()
    with CostGuard(trial.options.budget or ["$5/day per user"], prices=PRICES) as guard:
        measure(trial, guard, lambda: float(me.memory_info().rss), "memory of the process")


def in_sqlite(trial: Trial) -> None:
    with folder() as place:
        path = place / "counters.db"

        def size() -> float:
            with closing(sqlite3.connect(path)) as file:
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return float(path.stat().st_size)

        with CostGuard(trial.options.budget or ["$5/day per user"], store=f"sqlite:///{path}", prices=PRICES) as guard:
            measure(trial, guard, size, "file")


def in_redis(trial: Trial) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        url = trial.options.redis or stack.enter_context(LocalRedis(place)).url
        client = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
        client.config_set("slowlog-log-slower-than", -1)

        def log() -> None:
            client.config_set("slowlog-max-len", LOGGED)
            client.config_set("slowlog-log-slower-than", 0)

        def size() -> float:
            return float(client.info("memory")["used_memory"])  # type: ignore[index]

        with CostGuard(trial.options.budget or ["$5/day per user"], store=url, prices=PRICES) as guard:
            measure(trial, guard, size, "memory of the server", when_filled=log)
        took = sorted(entry["duration"] / 1e3 for entry in client.slowlog_get(LOGGED))
        usual = took[int(len(took) * 0.99)]
        trial.row(
            f"the server is busy with one command for at most {BLOCKED:g} ms (99 of 100 of the last {len(took):,})",
            f"{usual:.1f} ms; {took[-1]:.1f} ms at most, which includes time in which the server did not run",
            kept=usual <= BLOCKED,
        )
        keys = client.dbsize()
        forever = sum(_forever(client))
        trial.row(
            "every key of a user expires",
            f"{keys:,} keys, {forever} without an expiry",
            kept=forever <= 4,
        )


def _forever(client: Any) -> Iterator[int]:
    """How many keys of each page never expire."""
    cursor = None
    while cursor != 0:
        cursor, page = client.scan(cursor or 0, count=1_000)
        with client.pipeline(transaction=False) as pipeline:
            for key in page:
                pipeline.ttl(key)
            yield sum(left < 0 for left in pipeline.execute())


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--store", choices=["memory", "sqlite", "redis"], default="memory")
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--budget", action="append", help="a budget per user; may be repeated ($5/day per user)")
    parser.add_argument("--redis", help="URL of a Redis that may be written to; one is started otherwise")
    trial = started("many_users", parser)
    {"memory": in_memory, "sqlite": in_sqlite, "redis": in_redis}[trial.options.store](trial)
    trial.finish()


if __name__ == "__main__":
    main()
