"""The claim of the house: a $0.10 budget, calls of $0.01, and exactly ten of them reach the provider.

Every call is a real HTTP request of a real ``ChatOpenAI`` to a provider that does not answer before all other callers
were refused, so that all of them are inside at once.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from local_redis import BUSY_MACHINE_TIMEOUT
from waiting import async_wait_until, wait_until

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.simulate import Simulator
from langchain_costguard import CostGuardCallbackHandler, CostGuardMiddleware, GuardedChatModel

PRICES = {"sim": {"input": "0", "output": "0", "request": "0.01"}}
STORES = ("memory", "sqlite", "redis")
ENTRIES = ("handler", "guarded", "middleware")


@pytest.fixture
def provider(openai_server: Simulator) -> Simulator:
    return openai_server


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'costguard.db'}?timeout={BUSY_MACHINE_TIMEOUT}"
        case _:
            return f"{request.getfixturevalue('redis_url')}?timeout={BUSY_MACHINE_TIMEOUT}"


@pytest.fixture
async def guard(store_url: str) -> AsyncIterator[CostGuard]:
    async with CostGuard(["$0.10/day"], store=store_url, prices=PRICES) as made:
        yield made


def runnable(entry: str, guard: CostGuard, base_url: str) -> Runnable[Any, Any]:
    model = ChatOpenAI(base_url=base_url, api_key="simulated", model="sim", max_tokens=50, max_retries=0)
    match entry:
        case "handler":
            return model.with_config(callbacks=[CostGuardCallbackHandler(guard)])
        case "guarded":
            return GuardedChatModel(model, guard, cache=False)
        case _:
            agent = create_agent(model, [], middleware=[CostGuardMiddleware(guard, cache=False)])
            return (lambda text: {"messages": [("user", text)]}) | agent


def outcome(call: Callable[[], Any]) -> bool:
    """Whether a call went through; any other error than a refusal fails the test."""
    try:
        call()
    except SpendLimitExceeded:
        return False
    return True


def check(provider: Simulator, guard: CostGuard, admitted: int) -> None:
    assert (admitted, provider.count) == (10, 10)
    (row,) = guard.status()
    assert (row.spent, row.held, row.remaining) == (Decimal("0.1"), 0, 0)


async def all_at_once(provider: Simulator, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results or errors of all calls; ten are answered when all others have ended."""
    with provider.hold():
        tasks = [asyncio.create_task(call) for call in calls]
        await async_wait_until(lambda: sum(task.done() for task in tasks) == len(tasks) - 10)
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("callers", [32, pytest.param(200, marks=pytest.mark.slow)])
def test_threads(entry: str, callers: int, provider: Simulator, guard: CostGuard) -> None:
    model = runnable(entry, guard, provider.base_url)
    with ThreadPoolExecutor(callers) as pool:
        with provider.hold():
            calls = [pool.submit(outcome, lambda n=n: model.invoke(f"question {n}")) for n in range(callers)]
            wait_until(lambda: sum(call.done() for call in calls) == callers - 10)
        check(provider, guard, sum(call.result() for call in calls))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("callers", [32, pytest.param(200, marks=pytest.mark.slow)])
async def test_asyncio(entry: str, callers: int, provider: Simulator, guard: CostGuard) -> None:
    model = runnable(entry, guard, provider.base_url)
    answers = await all_at_once(provider, [model.ainvoke(f"question {n}") for n in range(callers)])
    refused = [answer for answer in answers if isinstance(answer, SpendLimitExceeded)]
    assert not [answer for answer in answers if isinstance(answer, BaseException) and answer not in refused]
    check(provider, guard, callers - len(refused))


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["handler", "guarded"])
async def test_a_thousand_at_once(entry: str, provider: Simulator, guard: CostGuard) -> None:
    model = runnable(entry, guard, provider.base_url)
    answers = await all_at_once(provider, [model.ainvoke(f"question {n}") for n in range(1_000)])
    refused = sum(isinstance(answer, SpendLimitExceeded) for answer in answers)
    check(provider, guard, 1_000 - refused)


@pytest.mark.parametrize("entry", ENTRIES)
def test_batch(entry: str, provider: Simulator, guard: CostGuard) -> None:
    model = runnable(entry, guard, provider.base_url)
    with ThreadPoolExecutor(1) as pool, provider.hold():
        batch = pool.submit(
            model.batch, [f"question {n}" for n in range(32)], {"max_concurrency": 32}, return_exceptions=True
        )
        provider.wait_for_requests(10)
    answers = batch.result()
    check(provider, guard, sum(not isinstance(answer, Exception) for answer in answers))


@pytest.mark.parametrize("entry", ["handler", "guarded"])
async def test_streams(entry: str, provider: Simulator, guard: CostGuard) -> None:
    model = runnable(entry, guard, provider.base_url)

    async def consume(n: int) -> bool:
        try:
            async for _ in model.astream(f"question {n}"):
                pass
        except SpendLimitExceeded:
            return False
        return True

    check(provider, guard, sum(await all_at_once(provider, [consume(n) for n in range(32)])))


def _fifty_calls(entry: str, store_url: str, base_url: str, process: int) -> int:
    guard = CostGuard(["$0.10/day"], store=store_url, prices=PRICES)
    model = runnable(entry, guard, base_url)
    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(outcome, lambda n=n: model.invoke(f"{process}: question {n}")) for n in range(50)]
        admitted = sum(call.result() for call in calls)
    guard.close()
    return admitted


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    """Four processes for all cases. They are forks of one that has imported LangChain, which takes it seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["langchain.agents", "langchain_openai", "langchain_costguard"])
    with context.Pool(4) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
def test_four_processes_of_fifty(entry: str, store_url: str, provider: Simulator, processes: Pool) -> None:
    arguments = [(entry, store_url, provider.base_url, process) for process in range(4)]
    with provider.hold():
        calls = processes.starmap_async(_fifty_calls, arguments, chunksize=1)
        provider.wait_for_requests(10, timeout=200)
    admitted = sum(calls.get())
    with CostGuard(["$0.10/day"], store=store_url, prices=PRICES) as guard:
        check(provider, guard, admitted)


def test_the_sqlite_ledger_has_every_call_once(provider: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with CostGuard(["$0.10/day"], ledger=f"sqlite:///{path}", prices=PRICES) as guard:
        model = runnable("guarded", guard, provider.base_url)
        model.batch([f"question {n}" for n in range(32)], {"max_concurrency": 32}, return_exceptions=True)
    with sqlite3.connect(path) as reader:
        tables = [name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (events,) = (name for name in tables if name.endswith("events"))
        counted = dict(reader.execute(f"SELECT outcome, count(*) FROM {events} GROUP BY outcome"))  # noqa: S608
    assert counted == {"miss": 10, "refused": 22}
