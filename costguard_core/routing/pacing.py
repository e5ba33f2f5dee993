"""How far a guard's budget is spent, for a router that spends it evenly."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.calendar import CALENDAR
from costguard_core.budgets.limits import find_budget
from costguard_core.counters.base import Line, Window
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.guard import CostGuard
from costguard_core.routing.spend import Spending, SpendLine
from costguard_core.types import Attribution
from costguard_core.util.forks import renew_locks
from costguard_core.util.lru import LRUMap

logger = logging.getLogger("costguard")

_MAX_SCOPES = 10_000  # whose traffic is counted (a choice: about 2 MB)


@dataclass(slots=True)
class _Traffic:
    """How many calls a scope has had since this process first saw it in its period. Times are unix seconds."""

    start: float
    since: float
    calls: int = 0

    def until(self, now: float) -> int:
        """The calls of the whole period so far, at the rate seen."""
        seen = now - self.since
        return round(self.calls * max(1.0, (now - self.start) / seen)) if seen > 0 else self.calls


class Pace:
    """How far one budget of a guard is spent. Thread-safe.

    Where the guard's rules change, it goes on with the budget of that name, or the one that counts in the same way.

    Args:
        guard: whose counters are read.
        budget: one of its dollar budgets: the object, its name or its text.

    Raises:
        ConfigurationError: the guard has no such budget, or it is not in dollars.
    """

    def __init__(self, guard: CostGuard, budget: str | Budget) -> None:
        self._guard, self._budgets = guard, guard.budgets
        self._found = _find(guard.budgets, budget)
        self._budget: Budget | None = self._found
        self._store = guard.store
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._traffic: LRUMap[Scope, _Traffic] = LRUMap(_MAX_SCOPES)

    @property
    def budget(self) -> Budget | None:
        """The budget as the guard's rules are now; ``None``: they have no such budget any more."""
        budgets = self._guard.budgets
        if budgets is not self._budgets:
            try:
                self._budget = self._found = find_budget([one for one in budgets if _can_be_spent(one)], self._found)
            except ConfigurationError as error:
                logger.warning("costguard: a router spends evenly no more: %s", error)
                self._budget = None
            self._budgets = budgets
        return self._budget

    def __deepcopy__(self, memo: dict[int, object]) -> Pace:
        return self

    @property
    def is_remote(self) -> bool:
        """Whether reading the counter goes over the network, so that it does not belong on an event loop."""
        return self._store.url.startswith("redis")

    def spending(
        self,
        attribution: Attribution,
        *,
        model: str,
        provider: str | None = None,
        strong_cost: int,
        weak_cost: int,
        remember: bool = True,
    ) -> Spending | None:
        """The state of the budget for this caller now; ``None`` while the counters cannot be reached, or it is gone.

        Args:
            attribution: who asks, for budgets per user and the like.
            model, provider: of the strongest tier, for budgets that count per model or provider.
            strong_cost, weak_cost: nano-dollars of this request on the strongest and on the cheapest tier.
            remember: count this request for the volume that is still to come.
        """
        budget = self.budget
        if budget is None:
            return None
        scope = budget.scope(attribution, model, provider)
        try:
            now = self._store.now()
            window = budget.window_at(now)
            [reading] = self._store.read([Line(budget.key(scope), budget.unit, window, budget.amount, 0)])
        except StoreUnavailable:
            return None
        start, end = _period(budget, window)
        calls = self._calls(scope, start, now, remember=remember)
        line = SpendLine(budget.amount, start, end)
        return Spending(line, reading.settled + reading.held, now, strong_cost, weak_cost, calls)

    def _calls(self, scope: Scope, start: float, now: float, *, remember: bool) -> int:
        with self._lock:
            traffic = self._traffic.get(scope)
            if traffic is None or traffic.start != start:
                traffic = _Traffic(start, now)
                self._traffic.put(scope, traffic)
            traffic.calls += remember
            return traffic.until(now)


def _period(budget: Budget, window: Window) -> tuple[float, float]:
    """Begin and end of a calendar period. A window that slides or never ends has none: then the whole limit counts."""
    return (window.edges[1], window.edges[2]) if budget.window in CALENDAR else (0.0, 0.0)


def _can_be_spent(budget: Budget) -> bool:
    return budget.unit == "usd" and budget.window != "call"


def _find(budgets: tuple[Budget, ...], wanted: str | Budget) -> Budget:
    for budget in filter(_can_be_spent, budgets):
        if wanted in (budget, budget.name, str(budget)):
            return budget
    known = ", ".join(repr(budget.name) for budget in filter(_can_be_spent, budgets)) or "none"
    raise ConfigurationError(f"budget={wanted!r} is not a dollar budget of the guard with a period; it has {known}")
