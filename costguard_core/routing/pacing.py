"""What a router needs to know of the rest of the core: what its tiers cost, and how far its budget is spent."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.calendar import CALENDAR
from costguard_core.counters.base import Line, Window
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.guard import CostGuard
from costguard_core.pricing import PriceBook
from costguard_core.routing.spend import Spending, SpendLine
from costguard_core.routing.sticky import TierPrice
from costguard_core.types import Attribution, Usage

_SAMPLE = 10_000  # tokens: few enough for the price of an ordinary prompt, not that of a very long one
_PER_MILLION = 1_000_000 // _SAMPLE
_REMEMBERED = 10_000  # scopes


def tier_price(prices: PriceBook, model: str, provider: str | None = None) -> TierPrice | None:
    """The prices of a model per million tokens (nano-dollars), ``None`` if nobody knows them."""

    def price(usage: Usage) -> int | None:
        nanos = prices.cost(usage, model=model, provider=provider)
        return None if nanos is None else nanos * _PER_MILLION

    fresh, output = price(Usage(input_tokens=_SAMPLE)), price(Usage(output_tokens=_SAMPLE))
    if fresh is None or output is None:
        return None
    cached = price(Usage(input_tokens=_SAMPLE, cache_read_tokens=_SAMPLE))
    written = price(Usage(input_tokens=_SAMPLE, cache_write_tokens=_SAMPLE))
    return TierPrice(fresh, output, cached, written)


@dataclass(slots=True)
class _Traffic:
    """How many calls a scope has had since this process first saw it in its period."""

    start: float
    since: float
    calls: int = 0

    def until(self, now: float) -> int:
        """The calls of the whole period so far, at the rate seen."""
        seen = now - self.since
        return round(self.calls * max(1.0, (now - self.start) / seen)) if seen > 0 else self.calls


class Pace:
    """How far one budget of a guard is spent, for a router that spends it evenly. Thread-safe.

    Args:
        guard: whose counters are read.
        budget: one of its dollar budgets: the object, its name or its text.

    Raises:
        ConfigurationError: the guard has no such budget, or it is not in dollars.
    """

    def __init__(self, guard: CostGuard, budget: str | Budget) -> None:
        self.budget = _among(guard.budgets, budget)
        self._store = guard.store
        self._lock = Lock()
        self._traffic: dict[Scope, _Traffic] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Pace:
        return self

    @property
    def is_remote(self) -> bool:
        """Whether a look goes over the network, so that it does not belong on an event loop."""
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
        """The state of the budget for this caller now; ``None`` while the counters cannot be reached.

        Args:
            model, provider: of the strongest tier, for budgets that count per model or provider.
            strong_cost, weak_cost: what this call costs on either tier, in nano-dollars.
            remember: count this call for the volume that is still to come.
        """
        budget = self.budget
        scope = budget.scope(attribution, model, provider)
        try:
            now = self._store.now()
            window = budget.window_at(now)
            [reading] = self._store.read([Line(budget.key(scope), budget.unit, window, budget.amount, 0)])
        except StoreUnavailable:
            return None
        start, end = _period(budget, window, now)
        calls = self._calls(scope, start, now, remember=remember)
        line = SpendLine(budget.amount, start, end)
        return Spending(line, reading.settled + reading.held, now, strong_cost, weak_cost, calls)

    def _calls(self, scope: Scope, start: float, now: float, *, remember: bool) -> int:
        with self._lock:
            traffic = self._traffic.get(scope)
            if traffic is None or traffic.start != start:
                if len(self._traffic) >= _REMEMBERED:
                    self._traffic.clear()
                traffic = self._traffic[scope] = _Traffic(start, now)
            traffic.calls += remember
            return traffic.until(now)


def _period(budget: Budget, window: Window, now: float) -> tuple[float, float]:
    """Begin and end of the calendar period. A window that slides or never ends has no line: its limit counts."""
    return (window.edges[1], window.edges[2]) if budget.window in CALENDAR else (0.0, 0.0)


def _among(budgets: tuple[Budget, ...], wanted: str | Budget) -> Budget:
    for budget in budgets:
        if wanted in (budget, budget.name, str(budget)) and budget.unit == "usd" and budget.window != "call":
            return budget
    known = ", ".join(repr(b.name) for b in budgets if b.unit == "usd" and b.window != "call") or "none"
    raise ConfigurationError(f"budget={wanted!r} is not a dollar budget of the guard with a period; it has {known}")
