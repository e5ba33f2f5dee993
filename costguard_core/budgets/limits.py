"""Limits that are granted at run time: which counter they are for, from when to when, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.counters.base import GrantedLimit
from costguard_core.errors import ConfigurationError
from costguard_core.types import attributed
from costguard_core.util.options import nearest
from costguard_core.util.text import printable
from costguard_core.util.timeparse import Moment, resolve, resolve_ahead

_LONGEST_TEXT = 500  # characters of a reason, and of who granted: a choice
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"[\d,]*\.?\d+")


def find_budget(budgets: Sequence[Budget], wanted: str | Budget) -> Budget:
    """The budget that is meant: by its name, or by a line that counts in the same way, whatever its limit.

    Raises:
        ConfigurationError: none of ``budgets`` is, or several are.
    """
    name = wanted.name if isinstance(wanted, Budget) else wanted
    found = [budget for budget in budgets if budget.name == name]
    if not found:
        found = _counting_alike(budgets, Budget.parse(wanted) if not isinstance(wanted, Budget) else wanted)
    names = [budget.name for budget in budgets]
    if not found:
        known = ", ".join([repr(printable(known)) for known in names]) or "none"
        raise ConfigurationError(
            f"{printable(str(name))!r} is none of the budgets.{nearest(name, names)} They are: {known}"
        )
    if len({budget.key_prefix for budget in found}) > 1:
        several = ", ".join([repr(printable(budget.name)) for budget in found])
        raise ConfigurationError(f"{printable(str(name))!r} may be any of {several}: give the name of one")
    return found[0]


def granted_limit(
    budget: Budget,
    scope: Mapping[str, object],
    limit: str | float | Decimal,
    *,
    until: Moment | None,
    reason: str,
    by: str,
    now: float,
) -> GrantedLimit:
    """What a store keeps of a granted limit. ``now`` is unix seconds by the store's clock.

    ``until`` is a moment ahead: ``"24h"`` and ``"7d"`` from now on, a date (to its end, in the budget's time zone), a
    time, a ``datetime`` or unix seconds; ``None``: until it is revoked.

    Raises:
        ConfigurationError: the budget counts nothing, or otherwise than the scope says; the limit is none in the
            budget's unit; or the moment has passed.
    """
    whose = counter_scope(budget, scope)
    amount = replace(budget, limit=_without_unit(limit, budget)).amount
    end = _end(until, budget, now)
    if end is not None and end <= now:
        raise ConfigurationError(f"until={until!r} has passed: a limit is granted to a moment ahead")
    written = (_short("reason", reason), _short("by", by))
    return GrantedLimit(budget.key(whose), amount, budget.unit, end, budget.name, whose, *written, now)


def counter_scope(budget: Budget, scope: Mapping[str, object]) -> Scope:
    """The scope of one of a budget's counters: a value for each name that the budget counts per.

    Raises:
        ConfigurationError: a name is missing or too many, or the budget limits single calls, which nothing counts.
    """
    if budget.window == "call":
        raise ConfigurationError(
            f"{printable(budget.name)!r} limits single calls, which nothing counts, so no counter can be given another "
            'limit: use a budget with where=, such as "$0.05/call where plan=pro"'
        )
    if set(scope) != set(budget.per):
        wanted = ", ".join([f"{name}=…" for name in budget.per]) or "no names: it is for everybody together"
        given = ", ".join(map(printable, scope)) or "none"
        raise ConfigurationError(f"{printable(budget.name)!r} needs {wanted}; given: {given}")
    values = {name: attributed(value) if value is not None else None for name, value in scope.items()}
    return tuple([(name, values[name] or "") for name in budget.per])


def _counting_alike(budgets: Sequence[Budget], meant: Budget) -> list[Budget]:
    alike = [
        budget
        for budget in budgets
        if (budget.unit, budget.window, set(budget.per), budget.conditions)
        == (meant.unit, meant.window, set(meant.per), meant.conditions)
    ]
    return [budget for budget in alike if budget.amount == meant.amount] or alike


def _without_unit(limit: str | float | Decimal, budget: Budget) -> str | int | float | Decimal:
    """``"500 requests"`` is 500 for a budget of requests; ``"$5"`` is no limit of it.

    Raises:
        ConfigurationError: the text is in another unit, or no amount.
    """
    if not isinstance(limit, str) or _NUMBER.fullmatch(limit.strip()):
        return limit
    try:
        meant = Budget.parse(f"{limit.strip()} in total")
    except ConfigurationError:
        raise ConfigurationError(f'limit={limit!r} is no amount: write "$50", 50 or "10k tokens"') from None
    if meant.unit != budget.unit:
        raise ConfigurationError(f"limit={limit!r} is in {meant.unit}, and {printable(budget.name)!r} in {budget.unit}")
    assert isinstance(meant.limit, (Decimal, int))
    return meant.limit


def _end(until: Moment | None, budget: Budget, now: float) -> float | None:
    if isinstance(until, str) and _DATE.fullmatch(until.strip()):
        resolve(until, now=now)  # raises for a date that is none
        date = datetime.fromisoformat(until.strip()).date()
        if date == date.max:
            raise ConfigurationError(f"until={until!r} is the last date that there is: without until= there is no end")
        day = date + timedelta(days=1)
        return datetime.combine(day, time(), ZoneInfo(budget.timezone)).timestamp()
    return resolve_ahead(until, now=now)


def _short(name: str, text: object) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise ConfigurationError(f"{name}= is a text of at most {_LONGEST_TEXT} characters")
    return text
