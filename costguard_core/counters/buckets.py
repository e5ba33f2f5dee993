"""Which bucket of a counter an amount falls into, and how long it counts there. Pure arithmetic for every store."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from costguard_core.counters.base import SUB_BUCKETS, Window

FOREVER = float("inf")


class Place(NamedTuple):
    """The bucket of ``now``, valid in ``bucket <= now < ends``; in it, the buckets from ``since`` to ``until`` count.

    A bucket stops counting ``fades`` seconds after it ends. Buckets later than ``until`` were written by a clock that
    has been corrected backwards since; counting them would freeze the budget until that time comes.
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
        return Place(index * step, (index + 1) * step, (index - SUB_BUCKETS) * step, now + window.width, window.width)
    if not window.edges:
        return _TOTAL
    following = bisect_right(window.edges, now)
    if not 0 < following < len(window.edges):
        return None
    start = window.edges[following - 1]
    return Place(start, window.edges[following], start, start, 0.0)
