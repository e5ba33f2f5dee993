"""Which bucket of a counter an amount falls into, and how long it counts there. Pure arithmetic for every store."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from costguard_core.stores.base import SUB_BUCKETS, Window

FOREVER = float("inf")


class Place(NamedTuple):
    """The bucket for ``now``, valid in ``bucket <= now < ends``; buckets from ``since`` to ``until`` count at that time.

    A bucket stops counting at ``ends + fades``. Buckets later than ``until`` were written under a clock that has been
    corrected backwards since; counting them would freeze the budget until that time comes.
    """

    bucket: float
    ends: float
    since: float
    until: float
    fades: float


_TOTAL = Place(0.0, FOREVER, 0.0, 0.0, 0.0)


def place(window: Window, now: float) -> Place | None:
    """Where ``now`` falls, or ``None`` if it is outside of the window's calendar edges."""
    if window.width:
        step = window.width / SUB_BUCKETS
        index = now // step
        return Place(
            index * step, (index + 1) * step, (index - SUB_BUCKETS) * step, now + window.width, window.width
        )
    if not window.edges:
        return _TOTAL
    index = bisect_right(window.edges, now)
    if not 0 < index < len(window.edges):
        return None
    start = window.edges[index - 1]
    return Place(start, window.edges[index], start, start, 0.0)
