"""Points in time as people write them: "24h", "today", "2026-11-01", a datetime, unix seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from costguard_core.errors import ConfigurationError
from costguard_core.util.numbers import number

Moment = str | float | int | datetime | timedelta

EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_799.0
"""Unix seconds of the first and of the last moment that has a date: the beginning of year 1, the end of year 9999."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def resolve(moment: Moment | None, *, now: float, zone: tzinfo = UTC) -> float | None:
    """Unix seconds of a moment.

    ``"24h"``, ``"90m"``, ``"7d"``, ``"2w"`` and a ``timedelta`` lie that long before ``now``. ``"today"``,
    ``"yesterday"`` and ISO dates without an offset are in ``zone``, by default UTC, like the days of a budget; a naive
    ``datetime`` is local, like everywhere in Python. A number is unix seconds.

    Raises:
        ConfigurationError: a text that is none of these, or a moment that has no date, because it is too far away.
    """
    match moment:
        case None:
            return None
        case str():
            found = _read(moment.strip().lower(), now, zone)
        case timedelta():
            found = now - moment.total_seconds()
        case datetime():
            found = moment.timestamp()
        case _:
            found = number("a time in unix seconds", moment)
    return _dated(found, moment)


def resolve_ahead(moment: Moment | None, *, now: float) -> float | None:
    """As :func:`resolve`, but ``"24h"``, ``"7d"`` and a ``timedelta`` lie that long after ``now``.

    Raises:
        ConfigurationError: as there.
    """
    if isinstance(moment, timedelta):
        return _dated(now + moment.total_seconds(), moment)
    if isinstance(moment, str) and (ahead := _AGO.fullmatch(moment.strip().lower())):
        return _dated(now + float(ahead[1]) * _UNITS[ahead[2]], moment)
    return resolve(moment, now=now)


def _dated(seconds: float, given: object) -> float:
    if not EARLIEST <= seconds <= LATEST:
        shown = repr(given)
        raise ConfigurationError(f"{shown[:40]}{'…' * (len(shown) > 40)} is too far away: no date is so early or late")
    return seconds


def _read(text: str, now: float, zone: tzinfo) -> float:
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS[ago[2]]
    midnight = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    try:
        given = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ConfigurationError(
            f'{text!r} is not a time: write "24h", "7d", "today", "yesterday" or a date such as "2026-11-01"'
        ) from None
    return (given if given.tzinfo else given.replace(tzinfo=zone)).timestamp()


def seconds(span: str | float) -> float:
    """Seconds of a length of time as people write it: ``"90s"``, ``"10m"``, ``"24h"``, ``"7d"``, ``"2w"``, or a number.

    Raises:
        ConfigurationError: it is none of these, not a finite number of at least zero, or more than a ``timedelta`` can
            be.
    """
    if isinstance(span, str):
        if (found := _AGO.fullmatch(span.strip().lower())) is None:
            raise ConfigurationError(f'{span!r} is not a length of time: write "90s", "10m", "24h" or "7d"')
        span = float(found[1]) * _UNITS[found[2]]
    return number("a length of time in seconds", span, at_least=0, at_most=timedelta.max.total_seconds())
