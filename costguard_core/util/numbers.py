"""Checks of the numbers that users write into options: a wrong one is an error where it is written."""

from __future__ import annotations

from math import isfinite

from costguard_core.errors import ConfigurationError


def number(
    option: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """``value`` if it is a finite number within the bounds that are given.

    Raises:
        ConfigurationError: it is not; the text names ``option`` and the bounds.
    """
    bounds = {"above": above, "of at least": at_least, "of at most": at_most, "below": below}
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not isfinite(value)
        or (above is not None and value <= above)
        or (at_least is not None and value < at_least)
        or (at_most is not None and value > at_most)
        or (below is not None and value >= below)
    ):
        wanted = " and ".join([f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None])
        raise ConfigurationError(f"{option}={value!r} is not a number {wanted}".rstrip())
    return float(value)


def whole_number(option: str, value: object, *, at_least: int) -> int:
    """``value`` if it is an integer of at least ``at_least``.

    Raises:
        ConfigurationError: it is not; the text names ``option``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(f"{option}={value!r} is not a whole number of at least {at_least}")
    return value
