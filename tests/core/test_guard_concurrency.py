"""Calls of any size under several budgets at once: none is ever passed, and the tightest is used to the last."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_redis import BUSY_MACHINE_TIMEOUT

from costguard_core import Attribution, Call, CostGuard, SpendLimitExceeded, Usage
from costguard_core.counters.memory import MemoryStore

PRICES = {"m": {"input": "1", "output": "10"}}
BUDGETS = ["$0.50/minute", "$0.30/day", "$0.12/day per user", "40000 tokens/hour", "200 requests/minute"]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CostGuard]:
    match request.param:
        case "memory":
            url = "memory://"
        case "sqlite":
            url = f"sqlite:///{tmp_path / 'mixed.db'}?timeout={BUSY_MACHINE_TIMEOUT}"
        case _:
            url = f"{request.getfixturevalue('redis_url')}?timeout={BUSY_MACHINE_TIMEOUT}"
    with CostGuard(BUDGETS, store=url, prices=PRICES) as made:
        yield made


def never_passed(guard: CostGuard) -> None:
    for row in guard.status():
        assert row.spent + row.held <= row.limit, row


def test_mixed_sizes_from_many_threads_use_the_tightest_budget_and_pass_none(guard: CostGuard) -> None:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            never_passed(guard)

    def caller(seed: int) -> int:
        rng, paid = random.Random(seed), 0
        for _ in range(12):
            asked = rng.randrange(50, 2_000)
            call = Call(
                id=guard.new_id(),
                model="m",
                started=guard.clock(),
                attribution=Attribution(user=f"u{seed % 4}"),
                input_tokens=rng.randrange(10, 1_000),
                max_output_tokens=asked,
                cappable=True,
            )
            try:
                permit = guard.before(call)
            except SpendLimitExceeded:
                continue
            most = permit.max_output_tokens or asked
            output = rng.randrange(most // 2, most + 1)
            paid += guard.after(permit, Usage(input_tokens=call.input_tokens or 0, output_tokens=output)).cost or 0
        return paid

    with ThreadPoolExecutor(17) as pool:
        watching = pool.submit(watch)
        paid = sum(pool.map(caller, range(16)))
        done.set()
        watching.result()
    rows = {(row.budget, row.scope.get("user")): row for row in guard.status()}
    day = rows["$0.30/day", None]
    assert day.spent == Decimal(paid) / 10**9
    assert all(row.held == 0 for row in rows.values())
    fill(guard)
    never_passed(guard)
    tightest = max(row.spent / row.limit for row in guard.status() if not row.scope)
    assert tightest >= 0.98


def fill(guard: CostGuard) -> None:
    """Small calls until everybody is refused: what large ones had to leave."""
    for user in ("u0", "u1", "u2", "u3"):
        while True:
            who = Attribution(user=user)
            call = Call(guard.new_id(), "m", guard.clock(), attribution=who, input_tokens=100, max_output_tokens=100)
            try:
                permit = guard.before(call)
            except SpendLimitExceeded:
                break
            guard.after(permit, Usage(input_tokens=100, output_tokens=100))


calls = st.tuples(
    st.integers(0, 5_000),  # input tokens
    st.one_of(st.none(), st.integers(1, 5_000)),  # max output tokens
    st.integers(1, 3),  # choices
    st.booleans(),  # cappable
    st.sampled_from(["a", "b", None]),  # user
    st.sampled_from(["settle", "error", "cancel", "release", "leave"]),
    st.floats(0, 1),  # share of the hold that is used
    st.integers(0, 40),  # seconds until the next one
)


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, max_size=40))
def test_whatever_happens_to_calls_no_budget_is_passed_and_the_ledger_adds_up(sequence: list[tuple]) -> None:  # type: ignore[type-arg]
    now = [1_795_348_800.0]
    store = MemoryStore(clock=lambda: now[0])
    budgets = ["$0.05/day", "$0.02/minute per user", "30000 tokens/hour", "12 requests/minute"]
    guard = CostGuard(budgets, store=store, prices=PRICES, clock=lambda: now[0], lease=50)
    left_open = 0
    for prompt, limit, choices, cappable, user, end, share, pause in sequence:
        call = Call(
            id=guard.new_id(),
            model="m",
            started=now[0],
            attribution=Attribution(user=user),
            input_tokens=prompt,
            max_output_tokens=limit,
            choices=choices,
            cappable=cappable,
        )
        try:
            permit = guard.before(call)
        except SpendLimitExceeded:
            continue
        output = int(permit.assumed_output * share) * choices
        match end:
            case "settle":
                guard.after(permit, Usage(input_tokens=prompt, output_tokens=output))
            case "error":
                guard.fail(permit, ValueError())
            case "cancel":
                guard.fail(permit, KeyboardInterrupt())
            case "release":
                guard.release(permit)
            case _:
                left_open += 1
        never_passed(guard)
        now[0] += pause
        never_passed(guard)
    now[0] += 120
    guard.before(Call("last", "m", now[0], input_tokens=0, max_output_tokens=0))  # sweeps what was left
    guard.flush()
    events = list(guard.ledger.events())
    (day,) = (row for row in guard.status() if row.budget == "$0.05/day")
    assert day.spent == Decimal(sum(event.cost or 0 for event in events)) / 10**9
    assert sum(event.reason == "lease expired" for event in events) == left_open
