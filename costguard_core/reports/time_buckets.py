"""Minutes, hours, days, weeks and months of a time zone: which of them an event belongs to, and what it is called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from costguard_core.errors import ConfigurationError
from costguard_core.ledger.months import DAY, HOUR
from costguard_core.util.options import check_text

TIME_UNITS: tuple[str, ...] = ("minute", "hour", "day", "week", "month")
"""What a report can be divided into, from short to long. A week begins on Monday."""

_MOST_CHANGES = 40  # of clocks in one query: twenty years
_QUARTER = 900  # seconds: every zone's offset today is a multiple of it
_FORMATS = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}


def read_zone(name: str) -> tzinfo:
    """A time zone by its IANA name, ``"local"`` for that of this machine.

    Raises:
        ConfigurationError: there is no such zone.
    """
    check_text("timezone", name, '"Europe/Berlin", "UTC" or "local"')
    return _zone_named(name)


@lru_cache(16)
def _zone_named(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    if name == "local":
        found = datetime.now().astimezone().tzinfo
        assert found is not None
        return found
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f'{name!r} is not a time zone: use a name such as "Europe/Berlin", "UTC" or "local"'
        ) from None


class TimeBuckets:
    """How times are divided by some of :data:`TIME_UNITS`.

    Args:
        units: which; none: not at all.
        zone: whose days they are.
    """

    def __init__(self, units: Sequence[str], zone: tzinfo) -> None:
        self.units, self.zone = tuple(units), zone
        self._labels: dict[int, tuple[str, ...]] = {}
        self._labels_of_day: dict[int, tuple[str, ...]] = {}

    @property
    def finest(self) -> str | None:
        """The shortest of the units."""
        return min(self.units, key=TIME_UNITS.index, default=None)

    def step(self, start: float, end: float) -> int | None:
        """Seconds, so that every bucket between two moments is made of periods of UTC of that length."""
        match self.finest:
            case None:
                return None
            case "minute":
                return 60
            case _:
                return HOUR if self._offsets_are_multiples(HOUR, start, end) else _QUARTER

    def follows_utc(self, start: float, end: float) -> bool:
        """Whether the days of the zone are those of UTC between two moments."""
        return self._offsets_are_multiples(DAY, start, end)

    def offsets(self, start: float, end: float) -> list[tuple[int, int]] | None:
        """Until when (unix seconds) clocks are how many seconds ahead of UTC between two moments; the last: for good.

        ``None`` where days are not the shortest unit, or clocks change too often for a query.
        """
        if self.finest in (None, "minute", "hour"):
            return None
        first, last = int(min(max(start, 0.0), 4e9)), int(min(max(end, 0.0), 4e9))
        found: list[tuple[int, int]] = []
        offset, moment = self._offset(first), first
        while moment < last:
            later = min(moment + 14 * DAY, last)  # no rule changes a clock for less than that
            if self._offset(later) != offset:
                same, changed = moment, later
                while changed - same > 1:
                    middle = (same + changed) // 2
                    same, changed = (middle, changed) if self._offset(middle) == offset else (same, middle)
                found.append((changed, offset))
                if len(found) > _MOST_CHANGES:
                    return None
                offset, later = self._offset(changed), changed
            moment = later
        return [*found, (last, offset)]

    def labels_of_day(self, day: int) -> tuple[str, ...]:
        """What the buckets of a day of the zone are called; given by unix seconds, as if it were one of UTC."""
        found = self._labels_of_day.get(day)
        if found is None:
            date = datetime.fromtimestamp(day, UTC)
            found = self._labels_of_day[day] = tuple(date.strftime(_FORMATS[unit]) for unit in self.units)
        return found

    def _offset(self, moment: int) -> int:
        offset = datetime.fromtimestamp(moment, UTC).astimezone(self.zone).utcoffset() or timedelta()
        return int(offset.total_seconds())

    def labels(self, period: int) -> tuple[str, ...]:
        """What the buckets of a period are called, in the order of the units."""
        found = self._labels.get(period)
        if found is None:
            local = datetime.fromtimestamp(period, UTC).astimezone(self.zone)
            found = self._labels[period] = tuple(self._label(unit, local) for unit in self.units)
        return found

    def _label(self, unit: str, local: datetime) -> str:
        text = local.strftime(_FORMATS[unit])
        if unit in ("minute", "hour") and self.zone is not UTC:  # an hour that clocks show twice is two hours
            text += local.strftime("%z")
        return text

    def _offsets_are_multiples(self, seconds: int, start: float, end: float) -> bool:
        if self.zone is UTC:
            return True
        first = datetime.fromtimestamp(min(max(start, 0.0), 4e9), UTC)
        last = datetime.fromtimestamp(min(max(end, 0.0), 4e9), UTC)
        moment = first
        while True:
            offset = moment.astimezone(self.zone).utcoffset() or timedelta()
            if offset.total_seconds() % seconds:
                return False
            if moment >= last:
                return True
            moment = min(moment + timedelta(days=14), last)  # no rule changes a clock for less than that
