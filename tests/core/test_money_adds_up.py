"""Whatever calls do, report rows, events and counters are the same money: units, tiers, discounts, refunds included."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard_core import Attribution, Call, CostGuard, Event, Outcome, Usage
from costguard_core.counters.memory import MemoryStore
from costguard_core.errors import CostGuardError
from costguard_core.lifecycle.drivers import run

NOON = 1_795_348_800.0
LEASE = 50.0
PRICES: dict[str, dict[str, Any]] = {
    "declared": {
        "input": "1.5",
        "cached_input": "0.15",
        "output": "7",
        "reasoning": "9",
        "web_search": "0.01",
        "page": "0.001",
        "flex": {"input": "0.7", "output": "3"},
        "above_2000": {"input": "3", "output": "14"},
    }
}
DISCOUNT = {"openai": "0.137", "*": "0.05"}
MODELS = [
    ("declared", None),
    ("gpt-4o", "openai"),  # a list price, with a discount
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-pro", "google_genai"),
    ("llama-3.3-70b-versatile", "groq"),  # its other tiers have no price
    ("a-model-of-nobody", "openai"),  # refused, because a budget counts money
]
DIMENSIONS = ["model", "user", "endpoint", "provider", "priced_by", "price_source", "tier", "team", "hour", "outcome"]

calls = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "prompt": st.integers(0, 5_000),
        "limit": st.none() | st.integers(1, 3_000),
        "choices": st.integers(1, 2),
        "attempts": st.integers(1, 3),
        "user": st.sampled_from(["a", "b", None]),
        "team": st.sampled_from(["red", "blue", None]),
        "asked_tier": st.sampled_from([None, "flex", "priority"]),
        "tier": st.sampled_from([None, None, "flex", "priority", "batch"]),
        "cached": st.floats(0, 1),
        "written": st.booleans(),
        "thought": st.floats(0, 1),
        "searches": st.integers(0, 3),
        "pages": st.integers(0, 2),
        "stated": st.sampled_from([None, None, None, 0, 123_456_789]),
        "estimated": st.booleans(),
        "share": st.floats(0, 1),
        "end": st.sampled_from(
            ["settle", "settle", "error", "lost", "cancel", "stream", "hit", "release", "late", "never"]
        ),
        "pause": st.integers(0, 40),
    }
)


def usage_of(drawn: dict[str, Any], assumed: int) -> Usage:
    output = int(assumed * drawn["share"]) * drawn["choices"]
    cached = int(drawn["prompt"] * drawn["cached"])
    return Usage(
        drawn["prompt"],
        output,
        cache_read_tokens=cached,
        cache_write_tokens=drawn["prompt"] - cached if drawn["written"] else 0,
        reasoning_tokens=int(output * drawn["thought"]),
        web_searches=drawn["searches"],
        units=(("page", drawn["pages"]),) if drawn["pages"] else (),
        tier=drawn["tier"],
        stated_cost=drawn["stated"],
        estimated=drawn["estimated"],
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(calls, min_size=5, max_size=30))
def test_report_rows_events_and_counters_are_the_same_money(sequence: list[dict[str, Any]]) -> None:
    now = [NOON]
    store = MemoryStore(clock=lambda: now[0])
    budgets = ["$100000/day", "$90000/day per user", "$80000/day per team", "100000 requests/day"]
    guard = CostGuard(
        budgets, store=store, prices=PRICES, discount=DISCOUNT, clock=lambda: now[0], lease=LEASE, tags=["team"]
    )
    late: list[tuple[Any, Usage]] = []
    held: dict[str, int] = {}
    for drawn in sequence:
        model, provider = drawn["model"]
        tags = () if drawn["team"] is None else (("team", drawn["team"]),)
        call = Call(
            guard.new_id(),
            model,
            now[0],
            provider,
            Attribution(user=drawn["user"], endpoint="/e", tags=tags),
            input_tokens=drawn["prompt"],
            max_output_tokens=drawn["limit"],
            choices=drawn["choices"],
            attempts=drawn["attempts"],
            tier=drawn["asked_tier"],
            searches=drawn["searches"],
        )
        if drawn["end"] == "hit":
            guard.hit(call, Outcome.EXACT, saved=drawn["stated"], usage=usage_of(drawn, 100))
            continue
        try:
            permit = guard.before(call)
        except CostGuardError:
            continue
        usage = usage_of(drawn, permit.assumed_output)
        held[call.id] = next(line.amount for line in permit.lines if line.unit == "usd")
        match drawn["end"]:
            case "settle":
                guard.after(permit, usage)
            case "error":
                guard.fail(permit, ValueError())
            case "lost":
                guard.fail(permit, ConnectionResetError())
            case "cancel":
                guard.fail(permit, KeyboardInterrupt())
            case "stream":
                guard.fail(permit, GeneratorExit(), streamed="a few words " * 5)
            case "release":
                guard.release(permit)
            case "late":
                late.append((permit, usage))
        now[0] += drawn["pause"]
    now[0] += 3 * LEASE
    run(guard.settling_abandoned())
    guard.release(guard.before(Call("sweep", "declared", now[0], input_tokens=0, max_output_tokens=0)))
    for permit, usage in late:  # what had been charged in full is corrected: a refund, as a rule
        guard.after(permit, usage)
    guard.flush()
    agree(guard, held)


def agree(guard: CostGuard, held: dict[str, int]) -> None:
    """Report, events and counters; a call without a known price counts in a budget at what was held for it."""
    events = list(guard.ledger.events())
    spent = sum(event.cost or 0 for event in events)
    unknown = [event for event in events if event.cost is None and event.outcome is not Outcome.REFUSED]
    for by in DIMENSIONS:
        report = guard.report(by)
        assert sum(row.totals.cost for row in report) == report.total.cost == spent
        assert sum(row.totals.calls for row in report) == report.total.calls == len(events)
        assert sum(row.totals.unpriced for row in report) == report.total.unpriced == len(unknown)
        assert sum(row.totals.saved for row in report) == sum(event.saved for event in events)

    def counted(among: list[Event]) -> Decimal:
        return Decimal(sum(held[e.id] if e.cost is None else e.cost for e in among if e.id in held)) / 10**9

    rows = {(row.budget, *row.scope.values()): row for row in guard.status()}
    assert not any(row.held for row in rows.values())
    assert rows["$100000/day",].spent == counted(events)
    for user in ("a", "b"):
        row = rows.get(("$90000/day per user", user))
        assert (0 if row is None else row.spent) == counted([e for e in events if e.attribution.user == user])
    for team in ("red", "blue"):
        row = rows.get(("$80000/day per team", team))
        mine = [e for e in events if e.attribution.value("team") == team]
        assert (0 if row is None else row.spent) == counted(mine)


@pytest.mark.parametrize(
    ("model", "provider", "usage"),
    [
        ("llama-3.3-70b-versatile", "groq", Usage(1_000, 500, tier="priority")),
        ("gpt-4o", "openai", Usage(1_000, 500, audio_output_tokens=400)),
    ],
)
def test_what_has_no_price_uses_up_a_budget_at_its_hold(model: str, provider: str, usage: Usage) -> None:
    """Else answers of a tier that nobody has a price of would be free for ever."""
    guard = CostGuard(["$0.05/day"])
    made = 0
    with pytest.raises(CostGuardError):
        for _ in range(1_000):
            made += 1
            call = Call(guard.new_id(), model, guard.clock(), provider, input_tokens=1_000, max_output_tokens=1_000)
            guard.after(guard.before(call), usage)
    guard.flush()
    assert 1 < made < 100
    assert all(event.cost is None for event in guard.ledger.events() if event.outcome is Outcome.MISS)
