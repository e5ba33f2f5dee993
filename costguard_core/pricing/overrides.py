"""Prices that the user declares: parsed strictly, because a typo here is money."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.providers import provider_id
from costguard_core.pricing.rate_card import Rates, Sheet

Price = str | int | float | Decimal
Prices = Mapping[str, Price]

_MILLION = 1_000_000

# The key a user writes → the rate, and how many units its price buys.
_KEYS: dict[str, tuple[str, int]] = {
    "input": ("input", _MILLION),
    "cached_input": ("cache_read", _MILLION),
    "cache_write": ("cache_write", _MILLION),
    "cache_write_1h": ("cache_write_1h", _MILLION),
    "output": ("output", _MILLION),
    "audio_input": ("audio_input", _MILLION),
    "audio_output": ("audio_output", _MILLION),
    "request": ("request", 1),
    "web_search": ("web_search", 1),
}
PRICE_KEYS: tuple[str, ...] = tuple(_KEYS)

_DATED = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d)$")


def parse_sheet(name: str, prices: Prices) -> Sheet:
    """One override as a sheet. What is not given costs what its parent costs; it is never free.

    Raises:
        ConfigurationError: an unknown key, no ``input`` price, or a value that is not a finite number of dollars >= 0.
    """
    _check_keys(name, prices)
    dollars = {key: dollars_of(f"price {key!r} of {name!r}", value) for key, value in prices.items()}
    rates = {_KEYS[key][0]: amount / _KEYS[key][1] for key, amount in dollars.items()}
    return Sheet.of(Rates.of(_with_parents(rates)))


def _check_keys(name: str, prices: Any) -> None:
    keys = set(prices) if isinstance(prices, Mapping) else None
    if keys is None or keys - set(_KEYS):
        unknown = repr(prices) if keys is None else ", ".join(sorted(repr(key) for key in keys - set(_KEYS)))
        raise ConfigurationError(f"prices of {name!r}: cannot use {unknown}; valid keys are {', '.join(PRICE_KEYS)}")
    if "input" not in keys:
        raise ConfigurationError(f'prices of {name!r} need an "input" price in dollars per million tokens')


def _with_parents(rates: dict[str, Fraction]) -> dict[str, Fraction]:
    """Lines that exist apart need their siblings: a long write the short write's price, cached audio the audio's."""
    if "cache_write_1h" in rates:
        rates.setdefault("cache_write", rates["input"])
    if "cache_write" in rates:
        rates.setdefault("cache_write_1h", rates["cache_write"])
    if "audio_input" in rates and "cache_read" in rates:
        rates["audio_cache_read"] = rates["audio_input"]
    return rates


def dollars_of(what: str, value: Any) -> Fraction:
    """An exact amount from what the user wrote; a float means its shortest decimal text (``0.1`` is one tenth).

    Raises:
        ConfigurationError: not a number, negative, infinite, NaN or a bool.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ConfigurationError(f'{what} must be a number of dollars such as "2.50", not {value!r}')
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ConfigurationError(f'{what} must be a number of dollars such as "2.50", not {value!r}') from None
    if not amount.is_finite() or amount < 0:
        raise ConfigurationError(f"{what} must be finite and not negative, not {value!r}")
    return Fraction(amount)


class Overrides:
    """Declared prices by ``"model"``, ``"provider/model"`` or ``"provider:model"``, case-insensitive.

    The nearest wins: provider and model, then model, each first as written and then without a trailing snapshot date
    (an override of ``"gpt-4o"`` also prices ``"gpt-4o-2024-08-06"``).
    """

    def __init__(self, given: Mapping[str, Prices]) -> None:
        self._sheets: dict[str, Sheet] = {}
        for name, prices in given.items():
            sheet = parse_sheet(name, prices)
            for key in _spellings(str(name).lower()):
                self._sheets[key] = sheet

    def find(self, model: str, provider: str | None) -> Sheet | None:
        if not self._sheets:
            return None
        for key in _candidates(model.lower(), provider):
            if (sheet := self._sheets.get(key)) is not None:
                return sheet
        return None


def _spellings(name: str) -> Iterator[str]:
    yield name
    for separator in "/:":
        provider, found, model = name.partition(separator)
        if found and (known := provider_id(provider)) is not None:
            yield f"{known}/{model}"


def _candidates(model: str, provider: str | None) -> Iterator[str]:
    undated = _DATED.sub("", model)
    for name in dict.fromkeys((model, undated)):
        if provider:
            said = provider.lower()
            yield f"{said}/{name}"
            yield f"{said}:{name}"
            if (known := provider_id(said)) is not None:
                yield f"{known}/{name}"
        yield name
