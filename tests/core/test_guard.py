"""The conductor: what is held, what is charged, what is refused, and what the ledger says about it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from ledger_events import events

from costguard_core import (
    Alert,
    Attribution,
    Breaker,
    Budget,
    Call,
    CostGuard,
    Outcome,
    SpendLimitExceeded,
    UnpricedModelError,
    Usage,
    attribute,
)
from costguard_core.attribution import current_attribution
from costguard_core.budgets.reservation_note import read_note, write_note
from costguard_core.counters.memory import MemoryStore
from costguard_core.types import usd

# One dollar per million input tokens, ten per million output tokens: 1,000 and 10,000 nano-dollars per token.
PRICES = {"m": {"input": "1", "output": "10"}}


class Clock:
    """Time that moves only when told to. Noon UTC, so that no test crosses midnight by accident."""

    def __init__(self) -> None:
        self.now = 1_795_348_800.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., CostGuard]:
    ids = (f"call-{n}" for n in itertools.count())

    def made(*budgets: str | Budget, **options: Any) -> CostGuard:
        options.setdefault("prices", PRICES)
        return CostGuard(budgets, store=MemoryStore(clock=clock), clock=clock, new_id=lambda: next(ids), **options)

    return made


def call(guard: CostGuard, *, model: str = "m", user: str | None = None, **options: Any) -> Call:
    options.setdefault("input_tokens", 1_000)
    options.setdefault("max_output_tokens", 1_000)
    who = Attribution(user=user)
    return Call(id=guard.new_id(), model=model, started=guard.clock(), attribution=who, **options)


def test_a_call_that_says_nothing_of_itself_is_for_whom_the_block_says(make: Callable[..., CostGuard]) -> None:
    guard = make()
    with attribute(user="ann", endpoint="/faq"):
        bare = Call(guard.new_id(), "m", guard.clock(), input_tokens=1)
        guard.after(guard.before(bare), Usage(1, 1))
        guard.after(guard.before(call(guard, user="bob")), Usage(1, 1))
    assert [event.attribution.user for event in events(guard)] == ["ann", "bob"]
    assert [event.attribution.endpoint for event in events(guard)] == ["/faq", None]


def test_a_call_is_held_at_its_worst_and_charged_at_its_exact_cost(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    permit = guard.before(call(guard))
    held = guard.status()[0]
    assert (held.spent, held.held, held.remaining) == (0, Decimal("0.011"), Decimal("0.989"))  # 1,000 in + 1,000 out
    charge = guard.after(permit, Usage(input_tokens=900, output_tokens=50))
    settled = guard.status()[0]
    assert charge.usd == Decimal("0.0014")  # 900 * $1/M + 50 * $10/M
    assert (settled.spent, settled.held) == (Decimal("0.0014"), 0)
    (event,) = events(guard)
    assert (event.outcome, event.cost, event.estimated) == (Outcome.MISS, 1_400_000, False)


def test_a_refusal_consumes_nothing_and_says_how_to_change_it(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.02/day per user")
    first = guard.before(call(guard, user="ann"))
    with pytest.raises(SpendLimitExceeded) as refused:
        guard.before(call(guard, user="ann"))
    error = refused.value
    assert (error.budget, error.scope, error.unit) == ("$0.02/day per user", {"user": "ann"}, "usd")
    assert (error.limit, error.spent, error.held, error.requested) == (
        Decimal("0.02"),
        0,
        Decimal("0.011"),
        Decimal("0.011"),
    )
    assert "$0.02/day per user" in str(error)
    assert "CostGuard(budgets=['$0.04/day per user'])" in str(error)
    assert not isinstance(error, (RuntimeError, ValueError, TypeError))  # LlamaIndex renames or swallows those
    guard.before(call(guard, user="bob"))  # another user is another scope
    guard.after(first, Usage(input_tokens=1))
    guard.before(call(guard, user="ann"))
    outcomes = [event.outcome for event in events(guard)]
    assert sorted(outcomes) == sorted([Outcome.REFUSED, Outcome.MISS])


def test_calendar_refusal_says_when_the_day_ends(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.011/day")
    guard.before(call(guard))
    with pytest.raises(SpendLimitExceeded) as refused:
        guard.before(call(guard))
    assert refused.value.retry_after == 12 * 3600
    assert "12 h" in str(refused.value)


def test_a_call_that_can_never_fit_says_so(make: Callable[..., CostGuard]) -> None:
    guard = make(Budget.parse("$0.001/day", on_exceed="wait"))
    with pytest.raises(SpendLimitExceeded, match="can never fit") as refused:
        guard.before(call(guard))
    assert refused.value.retry_after is None


def test_the_output_is_capped_at_what_the_budget_can_pay(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.02/day")
    full = guard.before(call(guard, cappable=True))
    assert full.max_output_tokens is None  # the request's own 1,000 fits
    capped = guard.before(call(guard, cappable=True))
    assert capped.max_output_tokens == 800  # $0.02 - $0.011 - $0.001 of input pays 800 tokens
    with pytest.raises(SpendLimitExceeded):
        guard.before(call(guard, cappable=True))


def test_an_answer_is_refused_rather_than_cut_below_the_floor(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.0035/day")
    with pytest.raises(SpendLimitExceeded):  # 250 tokens could be paid, the floor is 256
        guard.before(call(guard, cappable=True))
    assert guard.before(call(guard, cappable=True, max_output_tokens=100)).max_output_tokens is None


def test_an_unlimited_request_is_sent_a_cap_where_one_can_be_sent(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    permit = guard.before(call(guard, max_output_tokens=None, cappable=True))
    assert permit.max_output_tokens == permit.assumed_output == 4096
    assert guard.before(call(guard, max_output_tokens=None)).max_output_tokens is None  # a callback cannot send one
    thinker = call(guard, max_output_tokens=None, cappable=True, reasoning=True, output_ceiling=8192)
    assert guard.before(thinker).max_output_tokens == 8192


def test_the_bound_of_unlimited_requests_grows_with_what_was_seen(make: Callable[..., CostGuard]) -> None:
    guard = make("$10/day")
    long = guard.before(call(guard, max_output_tokens=None))
    guard.after(long, Usage(input_tokens=10, output_tokens=8_000))
    assert guard.before(call(guard, max_output_tokens=None)).assumed_output == 10_000


def test_without_a_money_or_token_budget_nothing_is_capped_or_counted(make: Callable[..., CostGuard]) -> None:
    guard = make("5 requests/minute")
    assert not guard.counts_tokens
    permit = guard.before(call(guard, input_tokens=None, max_output_tokens=None, cappable=True, model="nobody-knows"))
    assert permit.max_output_tokens is None
    assert guard.after(permit, Usage(input_tokens=5)).cost is None  # unknown, never zero
    assert events(guard)[0].cost is None


@pytest.mark.parametrize("choices", [1, 3])
def test_every_choice_is_held(make: Callable[..., CostGuard], choices: int) -> None:
    guard = make("$1/day", "100000 tokens/day", "5000 input tokens/hour", "9 requests/minute")
    guard.before(call(guard, choices=choices))
    held = {row.unit: row.held for row in guard.status()}
    assert held == {
        "usd": Decimal("0.001") + choices * Decimal("0.01"),
        "tokens": 1_000 + choices * 1_000,
        "input tokens": 1_000,
        "requests": 1,
    }


def test_billed_attempts_are_held_once_each(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    guard.before(call(guard, attempts=3))
    assert guard.status()[0].held == Decimal("0.033")


def test_per_call_budgets_need_no_counter(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.005/call", "1500 input tokens/call")
    with pytest.raises(SpendLimitExceeded, match="for one call"):
        guard.before(call(guard))
    assert guard.before(call(guard, cappable=True)).max_output_tokens == 400
    with pytest.raises(SpendLimitExceeded, match=r"1,600 input tokens"):
        guard.before(call(guard, cappable=True, input_tokens=1_600))
    assert len(guard.status()) == 0


def test_an_unpriced_model_is_refused_under_a_money_budget(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    with pytest.raises(UnpricedModelError, match=r'"nobody-knows": \{"input"'):
        guard.before(call(guard, model="nobody-knows"))
    (event,) = events(guard)
    assert (event.outcome, event.reason) == (Outcome.REFUSED, "UnpricedModelError")


def test_an_unpriced_model_may_be_charged_at_a_declared_ceiling(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day", unpriced={"input": "100", "output": "100"})
    permit = guard.before(call(guard, model="nobody-knows"))
    assert guard.status()[0].held == Decimal("0.2")
    assert guard.after(permit, Usage(input_tokens=10, output_tokens=10)).usd == Decimal("0.002")


def test_the_model_that_answered_is_priced_if_it_has_a_price(make: Callable[..., CostGuard]) -> None:
    guard = make(prices={"alias": {"input": "1", "output": "1"}, "snapshot": {"input": "7", "output": "7"}})
    dear = guard.after(guard.before(call(guard, model="alias")), Usage(input_tokens=1), model="snapshot")
    same = guard.after(guard.before(call(guard, model="alias")), Usage(input_tokens=1), model="unknown-snapshot")
    assert (dear.cost, same.cost) == (7_000, 1_000)


def test_waiting_ends_when_a_call_in_flight_frees_its_hold() -> None:
    guard = CostGuard([Budget.parse("$0.011/day", on_exceed="wait", wait_timeout=60)], prices=PRICES)

    async def scenario() -> None:
        first = await guard.abefore(call(guard))
        second = asyncio.create_task(guard.abefore(call(guard)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        await guard.afail(first, RuntimeError("the provider said no"))
        assert (await second).grant is not None

    asyncio.run(scenario())


def test_waiting_gives_up_at_its_deadline_and_never_waits_when_told_not_to() -> None:
    guard = CostGuard([Budget.parse("$0.011/day", on_exceed="wait", wait_timeout=0.05)], prices=PRICES)
    guard.before(call(guard))
    with pytest.raises(SpendLimitExceeded):
        guard.before(call(guard))
    with pytest.raises(SpendLimitExceeded):
        guard.before(call(guard), wait=False)


class HttpError(Exception):
    status_code = 429


class ReadTimeout(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "outcome", "spent"),
    [
        (HttpError(), Outcome.ERROR, "0"),
        (ValueError("bad request"), Outcome.ERROR, "0"),
        (ReadTimeout(), Outcome.ERROR, "0.011"),
        (ConnectionRefusedError(), Outcome.ERROR, "0"),
        (ConnectionResetError(), Outcome.ERROR, "0.011"),
        (asyncio.CancelledError(), Outcome.ABANDONED, "0.011"),
        (GeneratorExit(), Outcome.ABANDONED, "0.011"),
        (KeyboardInterrupt(), Outcome.ABANDONED, "0.011"),
    ],
)
def test_what_did_not_finish_is_charged_if_the_provider_bills_it(
    make: Callable[..., CostGuard], error: BaseException, outcome: Outcome, spent: str
) -> None:
    guard = make("$1/day")
    guard.fail(guard.before(call(guard)), error)
    assert (guard.status()[0].spent, guard.status()[0].held) == (Decimal(spent), 0)
    (event,) = events(guard)
    assert (event.outcome, event.estimated) == (outcome, spent != "0")
    assert event.reason is not None
    assert event.reason.partition(" (")[0] == type(error).__name__


def test_a_failure_is_charged_all_that_its_hold_was_for(make: Callable[..., CostGuard]) -> None:
    """The searches that the provider may have run, and the attempts that it may bill."""
    guard = CostGuard(["$100/day"], prices={"m": {**PRICES["m"], "web_search": "0.01"}})
    permit = guard.before(call(guard, searches=3, result_tokens=2_000, attempts=2))
    held = guard.status()[0].held
    guard.fail(permit, ReadTimeout())
    (event,) = events(guard)
    assert guard.status()[0].spent == held == usd(event.cost or 0)
    assert (event.usage.web_searches, event.usage.input_tokens) == (6, 6_000)


def test_a_thinking_model_whose_stream_breaks_before_its_first_word_is_charged_its_hold(
    make: Callable[..., CostGuard],
) -> None:
    guard = make("$1/day")
    guard.fail(guard.before(call(guard, reasoning=True)), ConnectionResetError(), streamed="")
    guard.fail(guard.before(call(guard)), ConnectionResetError(), streamed="")
    thinking, plain = events(guard)
    assert (thinking.usage.output_tokens, plain.usage.output_tokens) == (1_000, 0)


def test_an_abandoned_stream_is_charged_what_was_delivered(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    guard.fail(guard.before(call(guard)), GeneratorExit(), streamed="hello " * 20)
    (event,) = events(guard)
    assert event.outcome is Outcome.ABANDONED
    assert 20 <= event.usage.output_tokens <= 25
    assert event.cost == 1_000 * 1_000 + event.usage.output_tokens * 10_000


def test_a_call_that_never_came_back_is_charged_and_recorded_once(make: Callable[..., CostGuard], clock: Clock) -> None:
    guard = make("$1/day per user", lease=60)
    lost = guard.before(call(guard, user="ann"))
    clock.now += 61
    guard.after(guard.before(call(guard, user="bob")), Usage(input_tokens=1_000))
    by_user = {row.scope["user"]: row for row in guard.status()}
    assert (by_user["ann"].spent, by_user["ann"].held) == (Decimal("0.011"), 0)
    abandoned = next(event for event in events(guard) if event.outcome is Outcome.ABANDONED)
    assert (abandoned.id, abandoned.attribution.user, abandoned.cost) == (lost.call.id, "ann", 11_000_000)

    guard.after(lost, Usage(input_tokens=1_000, output_tokens=1))  # it came back after all
    by_user = {row.scope["user"]: row for row in guard.status()}
    assert by_user["ann"].spent == Decimal("0.00101")
    corrected = {event.id: event for event in events(guard)}[lost.call.id]
    assert (corrected.outcome, corrected.cost) == (Outcome.MISS, 1_010_000)
    assert len(events(guard)) == 2


def test_alerts_once_per_period_and_scope(make: Callable[..., CostGuard], clock: Clock) -> None:
    told: list[Alert] = []
    guard = make("$0.011/day per user", hooks=[lambda seen: told.append(seen) if isinstance(seen, Alert) else None])
    spend = Usage(input_tokens=1_000, output_tokens=0)  # $0.001 each

    def spends(user: str, times: int) -> list[float]:
        told.clear()
        for _ in range(times):
            guard.after(guard.before(call(guard, user=user, max_output_tokens=1)), spend)
        return [alert.fraction for alert in told]

    assert spends("ann", 4) == []
    assert spends("ann", 6) == [0.5, 0.8]
    assert spends("bob", 6) == [0.5]
    assert told[0].scope == (("user", "bob"),)
    clock.now += 86_400
    assert spends("ann", 6) == [0.5]


def test_the_manual_switch_refuses_everything_until_reset(make: Callable[..., CostGuard]) -> None:
    guard = make()
    guard.trip("model went mad")
    with pytest.raises(SpendLimitExceeded, match="model went mad"):
        guard.before(call(guard))
    assert guard.status().tripped == "model went mad"
    guard.reset()
    guard.before(call(guard))


def test_a_spend_rate_opens_the_breaker_probes_and_closes_it(make: Callable[..., CostGuard], clock: Clock) -> None:
    guard = make(breaker=Breaker("$0.005/minute", cooldown=30))
    burst = Usage(input_tokens=1_000, output_tokens=500)  # $0.006
    guard.after(guard.before(call(guard)), burst)
    with pytest.raises(SpendLimitExceeded, match="is open") as refused:
        guard.before(call(guard))
    assert refused.value.retry_after == pytest.approx(30, abs=1)
    clock.now += 31
    probe = guard.before(call(guard))
    with pytest.raises(SpendLimitExceeded):  # one probe at a time
        guard.before(call(guard))
    guard.after(probe, burst)  # still over the rate within the minute: opens again
    with pytest.raises(SpendLimitExceeded):
        guard.before(call(guard))
    clock.now += 100
    guard.after(guard.before(call(guard)), Usage(input_tokens=1))
    guard.after(guard.before(call(guard)), Usage(input_tokens=1))
    assert "closed" in str(guard.status())


def test_hits_are_events_that_cost_nothing(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day")
    guard.hit(call(guard), Outcome.EXACT, saved=5_000)
    (event,) = events(guard)
    assert (event.outcome, event.cost, event.saved) == (Outcome.EXACT, 0, 5_000)
    assert all(row.spent == 0 for row in guard.status())


def test_a_guard_says_what_it_is_without_secrets() -> None:
    guard = CostGuard("$5/day", store="memory://")
    assert repr(guard) == "CostGuard(budgets=['$5/day'], store='memory://', ledger='memory://')"


def test_status_prints_a_table(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day per user", "60 requests/minute")
    guard.before(call(guard, user="ann"))
    text = str(guard.status())
    assert "user=ann" in text
    assert "$0.011" in text
    assert "60 requests" in text


def test_tags_are_scopes_and_conditions_of_budgets(make: Callable[..., CostGuard]) -> None:
    guard = make("$0.02/day per team", "1 request/day per user where plan=free", "$0.001/call where endpoint=/cheap")

    def spend(**names: str) -> None:
        with attribute(**names):
            asked = replace(call(guard), attribution=current_attribution())
        guard.after(guard.before(asked), Usage(input_tokens=1_000, output_tokens=1_000))  # $0.011

    spend(team="a", user="ann", plan="free")
    with pytest.raises(SpendLimitExceeded, match="1 request/day per user where plan=free"):
        spend(team="b", user="ann", plan="free")
    spend(team="b", user="ann", plan="paid")
    with pytest.raises(SpendLimitExceeded, match="team=a"):
        spend(team="a", user="bob")
    with pytest.raises(SpendLimitExceeded, match="for one call"):
        spend(team="c", endpoint="/cheap")
    scopes = {tuple(row.scope.items()): row.spent for row in guard.status()}
    assert scopes == {
        (("team", "a"),): Decimal("0.011"),
        (("team", "b"),): Decimal("0.011"),
        (("user", "ann"),): 1,
    }
    assert guard.status(scope={"team": "b"})[0].spent == Decimal("0.011")


def test_a_money_budget_asks_for_prices_only_of_calls_that_it_is_for(make: Callable[..., CostGuard]) -> None:
    guard = make("$1/day where plan=free", "5 requests/day")
    guard.before(call(guard, model="nobody-knows"))
    free = replace(call(guard, model="nobody-knows"), attribution=Attribution(tags=(("plan", "free"),)))
    with pytest.raises(UnpricedModelError):
        guard.before(free)


def test_a_lost_call_keeps_its_tags(make: Callable[..., CostGuard], clock: Clock) -> None:
    guard = make("$1/day per team", lease=60)
    who = Attribution(user="ann", tags=(("plan", "free"), ("team", "a")))
    lost = replace(call(guard), attribution=who)
    guard.before(lost)
    noted = read_note(lost.id, write_note(lost, 5))
    assert noted is not None
    assert noted[0].attribution == who
