"""Alerts for hooks: a budget passed a fraction of its limit. Once per period and scope, whichever process sees it."""

from __future__ import annotations

from collections.abc import Callable

from costguard_core.budgets.admission import Permit
from costguard_core.counters.base import CounterStore, Line, Settlement
from costguard_core.counters.effects import Claim, Flow
from costguard_core.errors import StoreUnavailable
from costguard_core.types import Alert, Event
from costguard_core.util.lru import LRUMap

_FOREVER = 10 * 365 * 86_400.0  # seconds
_MOST_REMEMBERED = 10_000  # a choice: what is forgotten here is asked of the store again


class Alerts:
    """Finds out which alerts are due after a settle. The store decides between processes that see the same.

    Args:
        store: where alerts are claimed.
        emit: called with each alert.
        clock: unix seconds.
    """

    def __init__(self, store: CounterStore, emit: Callable[[Event | Alert], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        # By counter and limit: how many fractions this process has seen announced, and until when (unix seconds).
        self._announced: LRUMap[tuple[str, int], tuple[int, float]] = LRUMap(_MOST_REMEMBERED)

    def check(self, permit: Permit, settlement: Settlement) -> Flow[None]:
        """Announce every fraction that this settlement has reached and nobody has announced in its period."""
        if permit.grant is None:
            return
        for (budget, scope, _, _), line, placed, total in zip(
            permit.counters, permit.lines, permit.grant.placed, settlement.totals, strict=True
        ):
            fractions = budget.alerts
            if not fractions or total < fractions[0] * line.limit:
                continue
            now = self._clock()
            count, until = self._announced.get((line.key, line.limit), (0, 0.0))
            if until <= now:
                count = 0
            period = "" if line.window.width else f":{placed.bucket:.0f}"
            while count < len(fractions) and total >= fractions[count] * line.limit:
                fraction, ttl = fractions[count], _remaining(line, now)
                count += 1
                self._announced.put((line.key, line.limit), (count, now + ttl))
                try:
                    first = yield Claim(self._store, f"alert:{line.key}{period}:{line.limit}:{fraction}", ttl)
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
