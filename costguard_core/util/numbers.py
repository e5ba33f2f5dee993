"""Checks of the numbers that users write into options: a wrong one is an error where it is written."""

from __future__ import annotations

from math import isfinite

from costguard_core.errors import ConfigurationError


def positive_seconds(option: str, value: object) -> float:
    """``value`` if it is a finite number of seconds above zero.

    Raises:
        ConfigurationError: it is not; the text names ``option``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value <= 0:
        raise ConfigurationError(f"{option}={value!r} is not a number of seconds above zero")
    return float(value)


def whole_number(option: str, value: object, *, at_least: int) -> int:
    """``value`` if it is an integer of at least ``at_least``.

    Raises:
        ConfigurationError: it is not; the text names ``option``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(f"{option}={value!r} is not a whole number of at least {at_least}")
    return value
