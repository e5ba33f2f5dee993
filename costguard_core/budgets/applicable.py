"""Which budgets are for which calls, and on which counters those calls count: worked out from the names in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.calendar import CALENDAR
from costguard_core.counters.base import Gate, Window
from costguard_core.types import Attribution


class Counter(NamedTuple):
    """One counter that a call counts on.

    Attributes:
        budget: whose limit applies.
        scope: the budget's scope of this call.
        key: the counter's name in the store.
        window: where it counts in time; ``None`` for calendar windows, whose edges depend on the time.
    """

    budget: Budget
    scope: Scope
    key: str
    window: Window | None


class Applicable(NamedTuple):
    """The budgets that are for calls with the same names, and where those calls are counted.

    Attributes:
        per_call: budgets of single calls.
        counters: of the other budgets.
        gates: the rate breaker's gate, if there is one.
        money: whether one of the budgets is in dollars.
        fails_open: whether the calls are let through while the store is down.
    """

    per_call: tuple[Budget, ...]
    counters: tuple[Counter, ...]
    gates: tuple[Gate, ...]
    money: bool
    fails_open: bool


def find_applicable(
    limits: tuple[Budget, ...],
    breaker: Breaker | None,
    rate: Budget | None,
    fields: Sequence[str],
    model: str,
    provider: str | None,
    *values: object,
) -> Applicable:
    """What of some rules applies to calls with these names; ``values`` in the order of ``fields``."""
    named: dict[str, Any] = dict(zip(fields, values, strict=True))
    who = Attribution(**named)
    budgets = [budget for budget in limits if budget.applies(who, model, provider)]
    counters = []
    for budget in budgets:
        if budget.window != "call":
            scope = budget.scope(who, model, provider)
            window = None if budget.window in CALENDAR else budget.window_at(0.0)
            counters.append(Counter(budget, scope, budget.key(scope), window))
    gates: tuple[Gate, ...] = ()
    if breaker is not None and rate is not None and rate.applies(who, model, provider):
        gates = (breaker.gate(rate, rate.scope(who, model, provider)),)
    limited = bool(budgets or gates)
    return Applicable(
        per_call=tuple([budget for budget in budgets if budget.window == "call"]),
        counters=tuple(counters),
        gates=gates,
        money=any(budget.unit == "usd" for budget in budgets),
        # Where nothing is limited, a store that is away has nothing to say (but for the manual switch).
        fails_open=not limited or (bool(budgets) and all(b.on_store_error == "open" for b in budgets)),
    )
