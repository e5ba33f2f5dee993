"""The texts of refusals: what was asked, what is left, when to come back, and a budget that lets the call pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from costguard_core.budgets.budget import LARGEST_AMOUNT, Budget, Scope
from costguard_core.counters.base import Denial
from costguard_core.errors import SpendLimitExceeded
from costguard_core.types import usd
from costguard_core.util.amounts import format_amount, format_duration, public_amount
from costguard_core.util.text import printable

# A choice: calls in flight end at any moment, so asking again soon can succeed, and asking all the time helps nobody.
_RETRY_WHILE_HELD = 1.0


class Needed(NamedTuple):
    """What a call takes from a counter, in the counter's unit.

    Attributes:
        asked: with an answer as long as the request allows.
        least: with the shortest answer that is worth sending; ``asked`` where the answer cannot be shortened.
        prompt: with an answer of one token.
        tools: some of it is for tools that the provider runs.
    """

    asked: int
    least: int
    prompt: int
    tools: bool = False


def budget_refusal(budget: Budget, scope: Scope, denial: Denial, needed: Needed, *, now: float) -> SpendLimitExceeded:
    """The refusal of a windowed budget that has no room for the call. ``now`` is unix seconds."""
    if denial.limit is not None:
        budget = replace(budget, limit=usd(denial.limit) if budget.unit == "usd" else denial.limit)
    unit, taken = budget.unit, denial.settled + denial.held
    too_large = needed.least > budget.amount
    retry_after = None if too_large else _retry_after(budget, denial, needed)
    shorter = "" if needed.least == needed.asked else f" (at least {format_amount(needed.least, unit)})"
    when = f"This call can never fit: {_advice(budget, needed)}." if too_large else _when(denial, retry_after, now)
    return _refusal(
        f"budget {printable(budget.name)!r}{_for(scope)} has no room: this call may take "
        f"{format_amount(needed.asked, unit)}{shorter}, and of {format_amount(budget.amount, unit)} already "
        f"{_is(denial.settled, unit)} spent and {_is(denial.held, unit)} held by calls in flight. {when} "
        f"To change it: CostGuard(budgets=[{_raised(budget, taken + needed.asked)!r}])",
        budget,
        scope,
        spent=denial.settled,
        held=denial.held,
        requested=needed.asked,
        retry_after=retry_after,
        too_large=too_large,
    )


def call_limit_refusal(budget: Budget, scope: Scope, needed: Needed) -> SpendLimitExceeded:
    """The refusal of a ``/call`` budget: the call alone is larger than what it allows, so waiting never helps."""
    unit = budget.unit
    return _refusal(
        f"budget {printable(budget.name)!r} allows {format_amount(budget.amount, unit)} for one call, and this one may "
        f"take {format_amount(needed.asked, unit)}: {_advice(budget, needed)}. "
        f"To change it: CostGuard(budgets=[{_raised(budget, needed.asked)!r}])",
        budget,
        scope,
        spent=0,
        held=0,
        requested=needed.asked,
        retry_after=None,
        too_large=True,
    )


def breaker_refusal(
    rate: Budget,
    scope: Scope,
    denial: Denial,
    *,
    answer: str | Callable[[SpendLimitExceeded], str] | None = None,
    on_exceed: str = "raise",
) -> SpendLimitExceeded:
    """The refusal of the spend-rate breaker, which is open, or half-open with its probe under way."""
    wait = "" if denial.retry_after is None else f" It lets a probe through in {format_duration(denial.retry_after)}."
    return SpendLimitExceeded(
        f"the breaker {printable(rate.name)!r}{_for(scope)} is open: {format_amount(denial.settled, 'usd')} was spent "
        f"within the last {rate.window}.{wait} To close it now: guard.reset()",
        budget=rate.name,
        scope=dict(scope),
        limit=public_amount(rate.amount, "usd"),
        spent=public_amount(denial.settled, "usd"),
        held=public_amount(denial.held, "usd"),
        retry_after=denial.retry_after,
        answer=answer,
        on_exceed=on_exceed,
    )


def trip_refusal(reason: str) -> SpendLimitExceeded:
    """The refusal after ``guard.trip(reason)``."""
    return SpendLimitExceeded(
        f"spending was stopped by hand: {printable(reason)}. To resume: guard.reset()", budget="manual trip"
    )


def _refusal(
    message: str,
    budget: Budget,
    scope: Scope,
    *,
    spent: int,
    held: int,
    requested: int,
    retry_after: float | None,
    too_large: bool,
) -> SpendLimitExceeded:
    unit = budget.unit
    return SpendLimitExceeded(
        message,
        budget=budget.name,
        scope=dict(scope),
        unit=unit,
        limit=public_amount(budget.amount, unit),
        spent=public_amount(spent, unit),
        held=public_amount(held, unit),
        requested=public_amount(requested, unit),
        retry_after=retry_after,
        too_large=too_large,
        answer=budget.answer,
        on_exceed=budget.on_exceed,
    )


def _retry_after(budget: Budget, denial: Denial, needed: Needed) -> float | None:
    """Seconds until asking again can succeed; ``None`` where what is spent stays spent for ever."""
    if denial.retry_after is not None:
        return denial.retry_after
    if denial.settled + needed.least <= budget.amount:
        return _RETRY_WHILE_HELD
    # Of a sliding window, everything that is settled now has left after its width.
    return budget.window_at(0.0).width or None


def _when(denial: Denial, retry_after: float | None, now: float) -> str:
    if retry_after is None:
        return "It does not free by itself: what is spent counts for ever."
    if denial.retry_after is None and retry_after == _RETRY_WHILE_HELD:
        return "It frees as calls in flight end."
    at = datetime.fromtimestamp(now + retry_after, UTC)
    sooner = ", or sooner as calls in flight end" if denial.held else ""
    return f"It frees in {format_duration(retry_after)} ({at:%Y-%m-%d %H:%M:%S} UTC){sooner}."


def _advice(budget: Budget, needed: Needed) -> str:
    """What makes the call smaller in the unit of the budget. ``max_tokens`` shortens an answer, never a prompt."""
    if budget.unit == "requests":
        return "lower the number of its attempts"
    if needed.tools:
        return "limit how often its server tools may run (max_uses; OpenAI: max_tool_calls) or shorten its prompt"
    if budget.unit == "input tokens" or needed.prompt > budget.amount:
        return "shorten its prompt"
    return "lower its max_tokens or shorten its prompt"


def _for(scope: Scope) -> str:
    named = ", ".join([f"{name}={printable(value) or '(none)'}" for name, value in scope])
    return f" for {named}" if named else ""


def _is(amount: int, unit: str) -> str:
    """``$0.5 is``, ``1 is``, ``12 are``: the amount and its verb, without the unit, which stands before."""
    if unit == "usd":
        return f"{format_amount(amount, unit)} is"
    return f"{amount:,} {'is' if amount == 1 else 'are'}"


def _raised(budget: Budget, enough: int) -> str:
    """The same budget in the grammar, doubled until it has room for ``enough``: something to paste."""
    amount = 2 * budget.amount
    while amount < enough:
        amount *= 2
    amount = min(amount, LARGEST_AMOUNT)
    return str(replace(budget, limit=usd(amount) if budget.unit == "usd" else amount))
