"""A real failover by Redis Sentinel while calls run: how long until calls are served again, and is a budget passed?

    python benchmarks/trials/sentinel.py
    python benchmarks/trials/sentinel.py --how hang --down-after 2000
    python benchmarks/trials/sentinel.py --wait-for-replicas 1

One primary, two replicas and three sentinels, two of which must agree. Threads and a loop of tasks make calls without
end; the primary is killed (or hangs). Replication is asynchronous: what the primary answered in its last moments may
be unknown to the new one, so that much of a budget can be spent twice. ``min-replicas-to-write`` does not change that;
it stops a primary that was cut off from its replicas and does not know it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Self

import redis
from _trial import CENT, PRICES, USED, a_call, folder, parser_of, started, until
from local_redis import LocalRedis, LocalSentinel

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.errors import StoreUnavailable

THREADS, TASKS = 4, 8
AFTER = 3.0  # seconds of calls after the failover


class Callers:
    """Threads and tasks that make calls until they are told to end.

    Attributes:
        paid: when each call was settled, by the local clock.
        outcomes: how calls ended.
    """

    def __init__(self, guard: CostGuard) -> None:
        self._guard, self._ended = guard, threading.Event()
        self.paid: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._in_thread) for _ in range(THREADS)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._in_tasks())))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _in_thread(self) -> None:
        while not self._ended.wait(0.002):
            try:
                permit = self._guard.before(a_call(self._guard))
                self._guard.after(permit, USED)
            except (SpendLimitExceeded, StoreUnavailable) as error:
                self.outcomes[type(error).__name__] += 1
            else:
                self._note()

    async def _in_tasks(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(self._in_task())
        await self._guard.store.aclose()

    async def _in_task(self) -> None:
        while not self._ended.is_set():
            await asyncio.sleep(0.005)
            try:
                permit = await self._guard.abefore(a_call(self._guard))
                await self._guard.aafter(permit, USED)
            except (SpendLimitExceeded, StoreUnavailable) as error:
                self.outcomes[type(error).__name__] += 1
            else:
                self._note()

    def _note(self) -> None:
        self.paid.append(time.monotonic())
        self.outcomes["paid"] += 1


def replicated(server: LocalRedis) -> bool:
    with redis.Redis(port=server.port) as client:
        return client.info("replication").get("master_link_status") == "up"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--how", choices=["kill", "hang"], default="kill")
    parser.add_argument("--down-after", type=int, default=1000, help="milliseconds; down-after-milliseconds")
    parser.add_argument("--wait-for-replicas", type=int, default=0, help="min-replicas-to-write of the servers")
    trial = started("sentinel", parser)
    options = trial.options
    with folder() as place, ExitStack() as stack:
        wait = ["--min-replicas-to-write", str(options.wait_for_replicas), "--min-replicas-max-lag", "2"]
        servers = [stack.enter_context(LocalRedis(place, "--repl-diskless-sync-delay", "0", *wait)) for _ in range(3)]
        for replica in servers[1:]:
            replica.command("REPLICAOF", "127.0.0.1", str(servers[0].port))
        until(lambda: all(map(replicated, servers[1:])))
        sentinels = [
            stack.enter_context(LocalSentinel(place, servers[0], quorum=2, down_after=options.down_after))
            for _ in range(3)
        ]
        until(lambda: all(_knows(sentinel) for sentinel in sentinels))
        nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        guard = CostGuard(
            ["$9000/day"],
            store=f"redis+sentinel://{nodes}/mymaster",
            prices=PRICES,
            ledger=f"sqlite:///{place}/ledger.db",
        )
        guard.warm_up()
        callers = Callers(guard)
        until(lambda: len(callers.paid) > 300)
        broken = time.monotonic()
        servers[0].stop() if options.how == "kill" else servers[0].pause()
        turned_away = callers.outcomes["StoreUnavailable"]
        until(lambda: callers.paid[-1] > broken + 1 + 0.001 * options.down_after, seconds=60)
        served = min(moment for moment in callers.paid if moment > broken + 0.3)
        time.sleep(AFTER)
        callers.end()
        if options.how == "hang":
            servers[0].resume()
        with redis.Redis(port=sentinels[0].port) as asked:
            state = asked.sentinel_master("mymaster")
        failovers = int(state["config-epoch"])
        trial.row("another server was elected", f"failover {failovers}", kept=state["port"] != servers[0].port)
        gap = served - broken
        trial.row(
            f"calls are served within 2 s of the election (sentinels wait {options.down_after / 1e3:g} s before it)",
            f"{gap:.1f} s after the primary was lost",
            kept=gap < options.down_after / 1e3 + 5,
        )
        trial.row(
            "refused meanwhile, never let through unchecked",
            f"{callers.outcomes['StoreUnavailable'] - turned_away} calls",
        )
        until(lambda: _settled(guard), seconds=60)
        (row,) = guard.status()
        missing = len(callers.paid) - int(row.spent * 100)
        trial.row(
            "lost to the new primary: what the old one had answered in its last moments, not more",
            f"{missing} of {len(callers.paid)} calls are not counted (${row.spent} spent, ${row.held} held)",
            # Of a second failover, on a machine too busy for its sentinels, Redis promises nothing at all.
            kept=missing * CENT <= 0.2 * 1e9 if failovers == 1 or options.wait_for_replicas else None,
        )
        guard.close()
        with LimitedGuard(f"redis+sentinel://{nodes}/mymaster") as limited:
            paid = limited.exhaust()
            trial.row("a new budget of 25 calls on the new primary pays exactly 25", paid, kept=paid == 25)
    trial.finish()


class LimitedGuard:
    """A budget of 25 calls, asked for by many threads."""

    def __init__(self, store: str) -> None:
        self._guard = CostGuard(["$0.25/hour"], store=f"{store}/0?timeout=1&prefix=limited", prices=PRICES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()

    def exhaust(self) -> int:
        callers = Callers(self._guard)
        until(lambda: callers.outcomes["SpendLimitExceeded"] > 50)
        callers.end()
        return len(callers.paid)


def _knows(sentinel: LocalSentinel) -> bool:
    with redis.Redis(port=sentinel.port) as client:
        state = client.sentinel_master("mymaster")
    return state["num-slaves"] == 2 and state["num-other-sentinels"] == 2


def _settled(guard: CostGuard) -> bool:
    """Whether what could not be settled during the failover has been: the next call does it."""
    try:
        guard.release(guard.before(a_call(guard)))
    except StoreUnavailable:
        return False
    return True


if __name__ == "__main__":
    main()
