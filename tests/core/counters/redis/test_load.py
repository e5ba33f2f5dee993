"""Many callers, one healthy Redis: exactly what fits is granted, and nobody is turned away for another reason."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from local_redis import BUSY_MACHINE_TIMEOUT

from costguard_core.counters.base import Denial, Grant, Line, Window
from costguard_core.counters.redis.connection import AsyncSender, Health
from costguard_core.counters.redis.store import RedisStore

CENT = 10_000_000
# $0.10 each, $0.01 a call: ten calls fit.
LINES = (
    Line("per-minute", "usd", Window(60.0), 10 * CENT, CENT),
    Line("in-total", "usd", Window(), 10 * CENT, CENT),
    Line("user", "usd", Window(3600.0), 10 * CENT, CENT),
    Line("requests", "requests", Window(60.0), 1000, 1),
)


def outcomes(answers: Iterable[Grant | Denial]) -> dict[str, int]:
    return Counter("granted" if isinstance(answer, Grant) else answer.reason for answer in answers)


def call(store: RedisStore, id: str) -> Grant | Denial:
    answer = store.reserve(id, LINES, lease=60)
    if isinstance(answer, Grant):
        store.settle(answer, {"usd": CENT, "requests": 1})
    return answer


async def acall(store: RedisStore, id: str) -> Grant | Denial:
    answer = await store.areserve(id, LINES, lease=60)
    if isinstance(answer, Grant):
        await store.asettle(answer, {"usd": CENT, "requests": 1})
    return answer


@pytest.mark.parametrize("callers", [32, 200, pytest.param(1000, marks=pytest.mark.slow)])
def test_threads_get_exactly_what_fits(redis_url: str, callers: int) -> None:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(lambda n: call(store, f"t{n}"), range(callers)))
    store.close()
    assert outcomes(answers) == {"granted": 10, "budget": callers - 10}


@pytest.mark.parametrize("callers", [32, 200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_tasks_get_exactly_what_fits(redis_url: str, callers: int) -> None:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    answers = await asyncio.gather(*(acall(store, f"a{n}") for n in range(callers)))
    await store.aclose()
    assert outcomes(answers) == {"granted": 10, "budget": callers - 10}


async def test_a_busy_event_loop_is_not_taken_for_a_dead_server(redis_url: str) -> None:
    timeout = 0.3
    store = RedisStore(redis_url, timeout=timeout)

    async def hog() -> None:
        for _ in range(3):
            time.sleep(3 * timeout)  # the loop is busy for longer than a reply may take, as with a tokenizer
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(acall(store, f"b{n}")) for n in range(20)]
        group.create_task(hog())
    await store.aclose()
    assert outcomes(task.result() for task in answers) == {"granted": 10, "budget": 10}


@pytest.mark.slow
def test_four_processes_get_exactly_what_fits(redis_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        parts = pool.starmap(_fifty_threads, [(redis_url, f"p{n}") for n in range(4)])
    assert sum(map(Counter, parts), Counter()) == {"granted": 10, "budget": 190}


def _fifty_threads(url: str, name: str) -> dict[str, int]:
    store = RedisStore(url, timeout=BUSY_MACHINE_TIMEOUT)
    with ThreadPoolExecutor(50) as pool:
        return dict(outcomes(pool.map(lambda n: call(store, f"{name}-{n}"), range(50))))


def test_a_forked_child_counts_with_its_parent(redis_url: str) -> None:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    assert isinstance(call(store, "parent"), Grant)
    child = multiprocessing.get_context("fork").Process(target=_spend_nine, args=(store,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert outcomes([call(store, "after")]) == {"budget": 1}
    store.close()


def _spend_nine(store: RedisStore) -> None:
    assert outcomes(call(store, f"child{n}") for n in range(12)) == {"granted": 9, "budget": 3}


def test_a_caller_who_is_cancelled_when_its_turn_comes_stays_cancelled() -> None:
    sender = AsyncSender(Health("", None, monotonic=time.monotonic), None, 1.0, lambda: pytest.fail("nothing is sent"))

    async def run() -> None:
        slots = asyncio.Semaphore(1)
        await slots.acquire()

        async def take() -> None:
            async with sender._slot(slots):
                await asyncio.sleep(0)

        waiting = asyncio.create_task(take())
        while not slots._waiters:
            await asyncio.sleep(0)
        slots.release()
        await asyncio.sleep(0)  # its turn has come
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not slots.locked()

    asyncio.run(run())
