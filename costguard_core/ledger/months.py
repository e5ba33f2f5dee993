"""Quarters of hours, hours, days and months of UTC, as unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

QUARTER, HOUR, DAY = 900, 3600, 86400


def month_start(moment: float) -> int:
    """The beginning of the UTC month of a moment; unix seconds."""
    given = datetime.fromtimestamp(moment, UTC)
    return int(datetime(given.year, given.month, 1, tzinfo=UTC).timestamp())


def next_month(start: int) -> int:
    """The beginning of the month after the one that begins at ``start``."""
    return month_start(start + 32 * DAY)
