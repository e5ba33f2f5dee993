"""Amounts and durations as people and other programs read them."""

from __future__ import annotations

import re
from decimal import Decimal

from costguard_core.errors import ConfigurationError
from costguard_core.types import usd

_THOUSANDS = re.compile(r"[^,]*?\d{1,3}(,\d{3})+(\.\d*)?")


def public_amount(amount: int, unit: str) -> Decimal | int:
    """An amount as it leaves the package: ``Decimal`` dollars for ``"usd"``, the count itself otherwise.

    The decimals print as a person writes them: ``0.02``, not ``0.020000000``.
    """
    return Decimal(f"{usd(amount).normalize():f}") if unit == "usd" else amount


def format_amount(amount: int, unit: str) -> str:
    """An amount as a person writes it: ``$0.0123``, ``8,000 tokens``, ``1 request``. Dollars are nano-dollars."""
    if unit != "usd":
        return f"{amount:,} {unit_name(amount, unit)}"
    cents, rest = f"{usd(amount):,.9f}"[:-7], f"{usd(amount):.9f}"[-7:]
    return f"${cents}{rest.rstrip('0')}"


def unit_name(amount: int | Decimal, unit: str) -> str:
    """``unit`` in the singular or plural: ``request`` for 1, ``requests`` for any other amount."""
    return unit.removesuffix("s") if amount == 1 else unit


def without_thousands(text: str) -> str:
    """``text`` without the commas between thousands: ``1,250.50`` is ``1250.50``.

    A comma in any other place is a decimal comma to many people, and ``5,50`` is not 550.

    Raises:
        ValueError: there is one.
    """
    if "," not in text:
        return text
    if not _THOUSANDS.fullmatch(text):
        raise ValueError(f"{text!r}: a comma stands between thousands; write {text.replace(',', '.', 1)!r}")
    return text.replace(",", "")


def nanos_of(option: str, dollars: Decimal | str | float) -> int:
    """Nano-dollars of an amount as a person writes it: ``"49.00"``, ``"$49"``, ``Decimal("0.05")``.

    Raises:
        ConfigurationError: it is no amount, or finer than a nano-dollar; the text names ``option``.
    """
    try:
        amount = Decimal(without_thousands(str(dollars).strip().removeprefix("$"))).scaleb(9)
        if isinstance(dollars, bool) or amount != int(amount) or abs(amount) >= 2**63:
            raise ValueError
    except (ArithmeticError, ValueError):
        raise ConfigurationError(f'{option}={dollars!r} is no amount of dollars, such as "49.00"') from None
    return int(amount)


def format_duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: ``3 h 12 min``, ``42 s``."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"
