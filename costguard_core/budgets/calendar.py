"""Calendar periods: where days, ISO weeks and months begin in a time zone, in unix seconds."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

CALENDAR = ("day", "week", "month")


def period_edges(period: str, now: float, zone: ZoneInfo) -> tuple[float, float, float, float]:
    """The starts of the previous, current, next and after-next period around ``now`` (unix seconds).

    Periods begin at local midnight, so a day lasts 23 or 25 hours when the clocks change. Where midnight does not exist
    that day (some zones change at 00:00), the period begins at the first moment that does.
    """
    today = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    current = _start(period, today)
    starts = [_step(period, current, -1), current, _step(period, current, 1), _step(period, current, 2)]
    previous, this, following, last = (_timestamp(start, zone) for start in starts)
    return previous, this, following, last


def _start(period: str, local: datetime) -> datetime:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if period == "month" else midnight


def _step(period: str, start: datetime, count: int) -> datetime:
    if period != "month":
        return start + timedelta(days=count * (7 if period == "week" else 1))
    months = start.year * 12 + start.month - 1 + count
    return start.replace(year=months // 12, month=months % 12 + 1)


def _timestamp(start: datetime, zone: ZoneInfo) -> float:
    # With fold=0 (PEP 495), a midnight that is skipped reads as the first moment after the gap, and one that happens
    # twice as the first of the two.
    return start.replace(tzinfo=zone, fold=0).timestamp()
