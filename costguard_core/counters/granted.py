"""Limits that were granted at run time, put in the place of those that the lines of a reservation say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from costguard_core.counters.base import MOST_GRANTED, GrantedLimit, Line
from costguard_core.errors import ConfigurationError


def in_force(granted: GrantedLimit, now: float) -> bool:
    """Whether a limit is not over yet."""
    return granted.until is None or now < granted.until


def with_limits(
    lines: Sequence[Line], limits: Mapping[str, int]
) -> tuple[tuple[Line, ...], tuple[tuple[int, int], ...]]:
    """The lines with the granted limit of each counter that has one, and which lines those are, as in ``Grant``."""
    found = tuple([(index, limits[line.key]) for index, line in enumerate(lines) if line.key in limits])
    changed = dict(found)
    return tuple([line._replace(limit=changed[i]) if i in changed else line for i, line in enumerate(lines)]), found


def check_room(count: int) -> None:
    """Raise if ``count`` limits, which are in force for other counters, are as many as there may be.

    Raises:
        ConfigurationError: they are.
    """
    if count >= MOST_GRANTED:
        raise ConfigurationError(
            f"{count:,} limits are granted already, and no more can be: revoke some (costguard budget list shows "
            "them), or change the budget"
        )


def write_granted(granted: GrantedLimit) -> str:
    """A granted limit as text: the limit, its end (or ``-``), and all of it as JSON.

    A script reads the first two words only: Redis's JSON reader rejects some names that Python's writer lets through.
    """
    end = "-" if granted.until is None else f"{granted.until:.17g}"
    return f"{granted.amount} {end} {json.dumps(granted._asdict() | {'scope': dict(granted.scope)})}"


def read_granted(text: str | bytes) -> GrantedLimit:
    """What :func:`write_granted` wrote."""
    _, _, rest = (text if isinstance(text, str) else text.decode()).split(" ", 2)
    values = json.loads(rest)
    return GrantedLimit(**values | {"scope": tuple(values["scope"].items())})


def by_name(granted: Iterable[GrantedLimit]) -> list[GrantedLimit]:
    """In the order of the counters' names."""
    return sorted(granted, key=lambda one: one.key)
