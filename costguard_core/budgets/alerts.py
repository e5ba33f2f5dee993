"""Tell the hooks when a budget passes a fraction of its limit: once per period and scope, whoever notices first."""

from __future__ import annotations

from collections.abc import Callable

from costguard_core.budgets.admission import Permit
from costguard_core.budgets.budget import Budget, Scope
from costguard_core.counters.base import CounterStore, Line, Placed, Settlement
from costguard_core.counters.effects import Claim, Flow
from costguard_core.errors import StoreUnavailable
from costguard_core.types import Alert, Event

_FOREVER = 10 * 365 * 86_400.0
_REMEMBERED = 10_000


class Alerts:
    """Remembers what this process has seen announced; the store decides between processes."""

    def __init__(self, store: CounterStore, emit: Callable[[Event | Alert], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        self._known: dict[str, float] = {}

    def check(self, permit: Permit, settlement: Settlement) -> Flow[None]:
        """Announce every fraction that this settlement has reached and nobody has announced in its period."""
        if permit.grant is None:
            return
        for (budget, scope, line), placed, total in zip(
            permit.budgets, permit.grant.placed, settlement.totals, strict=False
        ):
            for fraction in budget.alerts:
                if total >= fraction * line.limit:
                    yield from self._announce(budget, scope, line, placed, fraction, total)

    def _announce(
        self, budget: Budget, scope: Scope, line: Line, placed: Placed, fraction: float, total: int
    ) -> Flow[None]:
        now = self._clock()
        period = "" if line.window.width else f":{placed.bucket:.0f}"
        name = f"alert:{line.key}{period}:{fraction}"
        if self._known.get(name, 0.0) > now:
            return
        ttl = _remaining(line, now)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[name] = now + ttl
        try:
            first = yield Claim(self._store, name, ttl)
        except StoreUnavailable:
            first = True  # better twice than never
        if first:
            self._emit(Alert(budget.name, scope, fraction, line.unit, line.limit, total, now))


def _remaining(line: Line, now: float) -> float:
    """Seconds for which an announcement holds: the width of a sliding window, or the rest of the calendar period."""
    if line.window.width:
        return line.window.width
    later = [edge for edge in line.window.edges if edge > now]
    return later[0] - now if later else _FOREVER
