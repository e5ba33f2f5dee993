"""Calls that wait for room are woken by a change of limits in their process, not by the next time they look."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import time
from typing import Any

import pytest
from waiting import SAFETY_LIMIT, wait_until

from costguard_core import Breaker, Budget, CostGuard, SpendLimitExceeded
from costguard_core.attribution import Attribution
from costguard_core.budgets import admission
from costguard_core.counters.waiters import Waiters
from costguard_core.policy import parse_policy
from costguard_core.types import Call, Usage


@pytest.fixture(autouse=True)
def never_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks lies an hour, so that only a change can free a call."""
    monkeypatch.setattr(admission, "_FIRST_PAUSE", 3_600.0)
    monkeypatch.setattr(admission, "_LONGEST_PAUSE", 3_600.0)


def call(number: int) -> Call:
    return Call(str(number), "m", time(), attribution=Attribution(user="u1"), input_tokens=9, max_output_tokens=9)


def queue(limit: str) -> Budget:
    return Budget.parse(limit, on_exceed="wait", wait_timeout=7_200)


def by_grant(guard: CostGuard) -> None:
    guard.grant("1 requests/day per user", user="u1", limit="2 requests", reason="launch")


def by_the_file(guard: CostGuard) -> None:
    guard.follow(parse_policy('budgets = [{ limit = "5 requests/day per user", on_exceed = "wait" }]'))


def by_revoke(guard: CostGuard) -> None:
    guard.revoke("1 requests/day per user", user="u2")  # a change that frees nothing
    by_grant(guard)


CHANGES: list[Callable[[CostGuard], None]] = [by_grant, by_the_file, by_revoke]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_a_raised_limit_frees_calls_that_wait(
    store: str, way: str, change: Callable[[CostGuard], None], request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    urls = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{tmp_path}/c.db"}
    url = urls[store]() if store in urls else request.getfixturevalue("redis_url")
    guard = CostGuard([queue("1 requests/day per user")], store=url)
    guard.before(call(0))
    admitted = threading.Event()

    async def ask() -> None:
        await guard.abefore(call(1))

    def wait() -> None:
        guard.before(call(1)) if way == "sync" else asyncio.run(ask())
        admitted.set()

    threading.Thread(target=wait, daemon=True).start()
    wait_until(lambda: guard._admission.waiters._waiting)
    change(guard)
    assert admitted.wait(SAFETY_LIMIT)
    assert not guard._admission.waiters._waiting
    guard.close()


def test_reset_frees_calls_that_queue_at_the_breaker() -> None:
    breaker = Breaker("$0.001/minute", cooldown=3_600, on_open="wait", wait_timeout=7_200)
    guard = CostGuard(breaker=breaker, prices={"m": {"input": "1", "output": "1000"}})
    guard.after(guard.before(call(0)), Usage(input_tokens=9, output_tokens=9))
    admitted = threading.Event()
    threading.Thread(target=lambda: (guard.before(call(1)), admitted.set()), daemon=True).start()
    wait_until(lambda: guard._admission.waiters._waiting)
    guard.reset()
    assert admitted.wait(SAFETY_LIMIT)


def test_the_end_of_an_emergency_frees_calls_that_wait() -> None:
    guard = CostGuard([queue("1 requests/day per user")])
    guard.before(call(0))
    guard.emergency(rate="1/minute", duration="1h")
    assert guard.end_emergency()
    admitted = threading.Event()
    threading.Thread(target=lambda: (guard.before(call(1)), admitted.set()), daemon=True).start()
    wait_until(lambda: guard._admission.waiters._waiting)
    by_grant(guard)
    assert admitted.wait(SAFETY_LIMIT)


def test_a_change_between_refusal_and_waiting_is_not_missed() -> None:
    """The flow of a call is driven by hand: the limit is raised after the store has refused, before it waits."""
    guard = CostGuard([queue("1 requests/day per user")])
    guard.before(call(0))
    flow = guard.reserving(call(1))
    effect: Any = flow.send(None)
    while type(effect).__name__ != "Sleep":
        effect = flow.send(effect.perform())
    by_grant(guard)
    assert effect.perform() is True  # at once, and not after an hour
    with pytest.raises(StopIteration) as admitted:
        effect = flow.send(True)
        while True:
            effect = flow.send(effect.perform())
    guard.release(admitted.value.value)


def test_waiting_ends_by_itself_and_by_cancellation() -> None:
    waiters = Waiters()
    assert not waiters.wait(waiters.changes, 0.001)

    async def cancelled() -> None:
        assert not await waiters.await_change(waiters.changes, 0.001)
        task = asyncio.ensure_future(waiters.await_change(waiters.changes, 3_600))
        await asyncio.sleep(0)
        assert waiters._waiting
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not waiters._waiting
    waiters.wake()  # nobody is there


def test_a_call_that_was_woken_often_still_gives_up_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_FIRST_PAUSE", 0.001)
    guard = CostGuard([Budget.parse("1 requests/day per user", on_exceed="wait", wait_timeout=0.01)])
    guard.before(call(0))
    flow = guard.reserving(call(1))
    effect: Any = flow.send(None)
    with pytest.raises(SpendLimitExceeded):
        for number in range(1_000):
            sleeps = type(effect).__name__ == "Sleep"
            effect = flow.send(number < 50 if sleeps else effect.perform())
