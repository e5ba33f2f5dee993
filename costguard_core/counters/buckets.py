"""Which bucket of a counter an amount falls into, and how long it counts there. Pure arithmetic for every store."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from costguard_core.counters.base import SUB_BUCKETS, Window

FOREVER = float("inf")


class Bucket(NamedTuple):
    """The bucket that a moment falls into, and which buckets count together with it.

    Buckets later than ``newest`` were written by a clock that has been corrected backwards since; counting them would
    freeze the budget until that time comes.

    Attributes:
        start: unix seconds; the bucket is valid in ``start <= now < ends``.
        ends: unix seconds.
        oldest: start of the oldest bucket that counts, unix seconds.
        newest: start of the newest bucket that counts, unix seconds.
        lingers: seconds for which the bucket still counts after it has ended.
    """

    start: float
    ends: float
    oldest: float
    newest: float
    lingers: float


_TOTAL = Bucket(0.0, FOREVER, 0.0, 0.0, 0.0)


def find_bucket(window: Window, now: float) -> Bucket | None:
    """The bucket of ``now``, or ``None`` if that is outside of the window's calendar edges."""
    if window.width:
        step = window.width / SUB_BUCKETS
        index = now // step
        return Bucket(index * step, (index + 1) * step, (index - SUB_BUCKETS) * step, now + window.width, window.width)
    if not window.edges:
        return _TOTAL
    following = bisect_right(window.edges, now)
    if not 0 < following < len(window.edges):
        return None
    start = window.edges[following - 1]
    return Bucket(start, window.edges[following], start, start, 0.0)
