"""The words of a refusal: what was asked, what is left, when to come back, and the one call that changes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.counters.base import Denial
from costguard_core.errors import SpendLimitExceeded
from costguard_core.types import usd


def over_budget(budget: Budget, scope: Scope, denial: Denial, requested: int, *, now: float) -> SpendLimitExceeded:
    """A windowed budget has no room for the worst case of this call."""
    unit = budget.unit
    if requested > budget.amount:
        when = "This call can never fit: lower its max_tokens or shorten its prompt."
    else:
        when = _when(denial, now)
    used = f"{money(denial.settled, unit)} is spent and {money(denial.held, unit)} is held by calls in flight"
    message = (
        f"budget {budget.name!r}{_for(scope)} has no room: this call may take {money(requested, unit)}, and of "
        f"{money(budget.amount, unit)} already {used}. {when} To change it: CostGuard(budgets=[{_doubled(budget)!r}])"
    )
    return SpendLimitExceeded(
        message,
        budget=budget.name,
        scope=dict(scope),
        unit=unit,
        limit=amount_at_edge(budget.amount, unit),
        spent=amount_at_edge(denial.settled, unit),
        held=amount_at_edge(denial.held, unit),
        requested=amount_at_edge(requested, unit),
        retry_after=denial.retry_after,
        answer=budget.answer,
        on_exceed=budget.on_exceed,
    )


def per_call_refusal(budget: Budget, scope: Scope, requested: int) -> SpendLimitExceeded:
    """One call alone is larger than a ``/call`` budget allows; waiting never helps."""
    unit = budget.unit
    return SpendLimitExceeded(
        f"budget {budget.name!r} allows {money(budget.amount, unit)} for one call, and this one may take "
        f"{money(requested, unit)}: lower its max_tokens or shorten its prompt. "
        f"To change it: CostGuard(budgets=[{_doubled(budget)!r}])",
        budget=budget.name,
        scope=dict(scope),
        unit=unit,
        limit=amount_at_edge(budget.amount, unit),
        spent=amount_at_edge(0, unit),
        held=amount_at_edge(0, unit),
        requested=amount_at_edge(requested, unit),
        answer=budget.answer,
        on_exceed=budget.on_exceed,
    )


def gate_refusal(rate: Budget, scope: Scope, denial: Denial) -> SpendLimitExceeded:
    """The spend-rate breaker is open, or half-open with its probe under way."""
    wait = "" if denial.retry_after is None else f" It lets a probe through in {duration(denial.retry_after)}."
    return SpendLimitExceeded(
        f"the breaker {rate.name!r}{_for(scope)} is open: {money(denial.settled, 'usd')} was spent within the last "
        f"{rate.window}.{wait} To close it now: guard.reset()",
        budget=rate.name,
        scope=dict(scope),
        limit=amount_at_edge(rate.amount, "usd"),
        spent=amount_at_edge(denial.settled, "usd"),
        held=amount_at_edge(denial.held, "usd"),
        retry_after=denial.retry_after,
    )


def trip_refusal(reason: str) -> SpendLimitExceeded:
    """Somebody pulled the manual switch."""
    return SpendLimitExceeded(f"spending was stopped by hand: {reason}. To resume: guard.reset()", budget="manual trip")


def money(amount: int, unit: str) -> str:
    """An amount as a person writes it: ``$0.0123``, ``8,000 tokens``."""
    if unit != "usd":
        return f"{amount:,} {unit}"
    cents, rest = f"{usd(amount):,.9f}"[:-7], f"{usd(amount):.9f}"[-7:]
    return f"${cents}{rest.rstrip('0')}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: ``3 h 12 min``, ``42 s``."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def _when(denial: Denial, now: float) -> str:
    if denial.retry_after is None:
        return "It frees as calls in flight end."
    at = datetime.fromtimestamp(now + denial.retry_after, UTC)
    sooner = ", or sooner as calls in flight end" if denial.held else ""
    return f"It frees in {duration(denial.retry_after)} ({at:%Y-%m-%d %H:%M:%S} UTC){sooner}."


def _for(scope: Scope) -> str:
    named = ", ".join(f"{name}={value or '(none)'}" for name, value in scope)
    return f" for {named}" if named else ""


def amount_at_edge(amount: int, unit: str) -> Decimal | int:
    """Nano-dollars as ``Decimal`` dollars that print as a person writes them (``0.02``, not ``0.020000000``)."""
    return Decimal(f"{usd(amount).normalize():f}") if unit == "usd" else amount


def _doubled(budget: Budget) -> str:
    """The same budget with twice the room, in the grammar: something to paste."""
    doubled = usd(budget.amount * 2) if budget.unit == "usd" else budget.amount * 2
    return str(replace(budget, limit=doubled))
