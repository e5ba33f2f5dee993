"""What a refusal says: to operators, to end users, and to code that wants to try again."""

from __future__ import annotations

import re
from typing import Any

import pytest

from costguard_core import Assumptions, Attribution, Budget, Call, CostGuard, SpendLimitExceeded, Usage
from costguard_core.counters.memory import MemoryStore

NOON = 1_795_348_800.0  # unix seconds, noon UTC
PRICES = {"m": {"input": "1", "output": "10"}}  # 1,000 and 10,000 nano-dollars per token


def make(*budgets: str | Budget, **options: Any) -> CostGuard:
    clock = options.pop("clock", lambda: NOON)
    return CostGuard(budgets, store=MemoryStore(clock=clock), clock=clock, prices=PRICES, **options)


def call(guard: CostGuard, user: str = "ann", **options: Any) -> Call:
    asked = {"input_tokens": 1_000, "max_output_tokens": 1_000, **options}
    return Call(guard.new_id(), "m", NOON, attribution=Attribution(user=user), **asked)


def refused(guard: CostGuard, **options: Any) -> SpendLimitExceeded:
    with pytest.raises(SpendLimitExceeded) as caught:
        guard.before(call(guard, **options), wait=False)
    return caught.value


def spend(guard: CostGuard, input_tokens: int, **options: Any) -> None:
    guard.after(guard.before(call(guard, **options)), Usage(input_tokens=input_tokens))


@pytest.mark.parametrize("window", ["day", "hour", "minute"])
def test_a_call_that_can_be_shortened_is_not_too_large_for_a_spent_budget(window: str) -> None:
    guard = make(f"$0.008/{window}")
    spend(guard, 6_000, cappable=True, max_output_tokens=None)  # held at $0.008, charged $0.006
    error = refused(guard, cappable=True, max_output_tokens=None)  # as it is: 4,096 tokens, $0.042
    assert not error.too_large
    assert error.retry_after
    assert "never" not in str(error)
    assert "at least $0.00356" in str(error)  # 256 tokens, the shortest answer worth sending
    assert "try again later" in error.public


def test_never_is_said_only_of_what_an_empty_budget_refuses_too() -> None:
    error = refused(make("$0.003/day"), cappable=True, max_output_tokens=None)
    assert error.too_large
    assert error.retry_after is None
    assert "can never fit" in str(error)
    assert "shorten" in error.public


@pytest.mark.parametrize(
    ("budget", "held", "seconds"),
    [
        ("$0.02/hour", False, 3_600.0),  # what is spent leaves the window as it grows older
        ("$0.02/day", False, 12 * 3_600.0),
        ("$0.02 in total", True, 1.0),  # a call in flight may end at any moment
        ("$0.02 in total", False, None),
    ],
)
def test_retry_after_is_when_asking_again_can_succeed(budget: str, held: bool, seconds: float | None) -> None:
    guard = make(budget)
    if held:
        guard.before(call(guard))
    else:
        spend(guard, 15_000)
    error = refused(guard)
    assert error.retry_after == pytest.approx(seconds, rel=0.1) if seconds else error.retry_after is None
    assert not error.too_large


def test_the_suggested_budget_lets_the_call_through() -> None:
    for limit in ("$0.000001", "$0.0109", "$0.011", "$0.02"):
        guard = make(f"{limit}/day per user")
        if limit in ("$0.011", "$0.02"):
            guard.before(call(guard))
        suggested = re.search(r"CostGuard\(budgets=\['(.+)'\]\)", str(refused(guard)))
        assert suggested is not None
        raised = make(suggested[1])
        if limit in ("$0.011", "$0.02"):
            raised.before(call(raised))
        raised.before(call(raised))


@pytest.mark.parametrize(
    ("budget", "options", "advice"),
    [
        ("$0.009/call", {}, "lower its max_tokens or shorten its prompt"),
        ("$0.0009/call", {}, "may take $0.011: shorten its prompt"),
        ("900 input tokens/call", {}, "may take 1,000 input tokens: shorten its prompt"),
        ("900 tokens/call", {}, "may take 2,000 tokens: shorten its prompt"),
        ("1500 tokens/call", {}, "lower its max_tokens or shorten its prompt"),
        ("1 request/call", {"attempts": 3}, "may take 3 requests: lower the number of its attempts"),
        ("900 input tokens/hour", {}, "can never fit: shorten its prompt"),
    ],
)
def test_the_advice_is_about_what_the_budget_counts(budget: str, options: dict[str, Any], advice: str) -> None:
    assert advice in str(refused(make(budget), **options))


def test_one_is_singular() -> None:
    guard = make("1 request/minute", "2000 tokens/hour")
    assert guard.budgets[0].name == "1 request/minute"
    guard.before(call(guard))
    assert "take 1 request, and of 1 request already 0 are spent and 1 is held" in str(refused(guard))


def test_waiting_calls_wait_for_what_fits_when_shortened() -> None:
    now = [NOON]
    budget = Budget.parse("$0.008/minute", on_exceed="wait", wait_timeout=60)
    guard = make(budget, clock=lambda: now[0], assume=Assumptions(output=4_096))
    spend(guard, 6_000, cappable=True, max_output_tokens=None)
    flow = guard._admission.reserve(call(guard, cappable=True, max_output_tokens=None))
    effect, answer = next(flow), None
    while type(effect).__name__ == "Reserve":
        answer = guard.store.reserve(effect.id, effect.lines, lease=effect.lease)
        effect = flow.send(answer)
    assert type(effect).__name__ == "Sleep"  # it does not give up at once, as a call would that can never fit
    flow.close()


def test_the_public_text_names_no_budget_no_amount_and_nobody() -> None:
    small, spent, tripped = make("$0.001/call per user"), make("$0.011/day per user"), make()
    spent.before(call(spent))
    tripped.trip("too dear, says Eve")
    for error in (refused(small), refused(spent), refused(tripped)):
        assert not re.search(r"\d|\$|ann|budget|Eve|day", error.public)


def test_names_print_no_control_characters() -> None:
    guard = make(Budget.parse("$0.011/day per user", name="cap\x1b[2J"))
    user = "\x1b[2J\x1b]0;title\x07eve\nfake \u202e \ud83d"
    guard.before(call(guard, user=user))
    text = str(refused(guard, user=user))
    assert text.isprintable()
    assert r"\x1b[2J" in text
    guard.trip("a\x1b[1mb")
    assert str(refused(guard)).isprintable()
