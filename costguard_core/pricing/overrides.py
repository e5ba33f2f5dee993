"""Prices that the user declares: parsed strictly, because a typo here is money."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.names import table_sellers
from costguard_core.pricing.providers import known_sellers, provider_id
from costguard_core.pricing.rate_card import RateCard, Rates
from costguard_core.types import BILLED_UNITS
from costguard_core.util.options import check_kind

Price = str | int | float | Decimal
Prices = Mapping[str, "Price | Mapping[str, Price]"]
"""Dollars by price key; a service tier or a long-context step holds another such mapping."""

_MILLION = 1_000_000

# The key a user writes → the rate, and how many units its price buys.
_KEYS: dict[str, tuple[str, int]] = {
    "input": ("input", _MILLION),
    "cached_input": ("cache_read", _MILLION),
    "cache_write": ("cache_write", _MILLION),
    "cache_write_1h": ("cache_write_1h", _MILLION),
    "output": ("output", _MILLION),
    "audio_input": ("audio_input", _MILLION),
    "cached_audio_input": ("audio_cache_read", _MILLION),
    "audio_output": ("audio_output", _MILLION),
    "request": ("request", 1),
    "web_search": ("web_search", 1),
    "image_input": ("image_input", _MILLION),
    "cached_image_input": ("image_cache_read", _MILLION),
    "image_output": ("image_output", _MILLION),
    "video_input": ("video_input", _MILLION),
    "reasoning": ("reasoning", _MILLION),
    **{name: (name, 1) for name in BILLED_UNITS},
}
PRICE_KEYS: tuple[str, ...] = tuple(_KEYS)
KEYS_OF_RATES: Mapping[str, tuple[str, int]] = {rate: (key, per) for key, (rate, per) in _KEYS.items()}
"""By rate: the key that a user writes, and how many tokens or pieces its price buys."""
SOLD_BY_PIECE = frozenset(("page", "annotated_page", "rerank", "audio_second", "character"))
"""Keys of models that are sold by the piece alone: beside one of them no price of tokens is needed."""
TIER_KEYS = ("priority", "flex", "batch", "fast")
"""Keys of prices that hold at a service tier; what they leave out costs what it costs at the standard tier."""
# "above_200000": prices of requests whose prompt is longer than 200,000 tokens.
STEP_KEY = re.compile(r"above_(\d+)$")

_DATED = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d)$")


def parse_card(name: str, prices: Prices) -> RateCard:
    """One declaration as a rate card, for the standard tier. What is not given costs what its parent costs.

    Raises:
        ConfigurationError: an unknown key, no ``input`` price, or a value that is not a finite number of dollars >= 0.
    """
    return parse_cards(name, prices)[None]


def parse_cards(name: str, prices: Prices) -> dict[str | None, RateCard]:
    """One declaration as rate cards by service tier; ``None`` is the standard tier. See :func:`parse_card`."""
    given: Any = prices  # what a user typed may be anything
    tiers = {key: given[key] for key in TIER_KEYS if isinstance(given, Mapping) and isinstance(given.get(key), Mapping)}
    flat = {key: value for key, value in given.items() if key not in tiers} if isinstance(given, Mapping) else given
    cards: dict[str | None, RateCard] = {None: _card(name, flat)}
    for tier, values in tiers.items():
        cards[tier] = _card(f"{name} ({tier})", at_tier(flat, values))
    return cards


def at_tier(standard: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The prices at a service tier whose own are ``values``; what they leave out costs what it costs at ``standard``.

    Thoughts that cost what the answer costs there do so here, too: their price is no price of its own.
    """
    thoughts, answer = standard.get("reasoning"), standard.get("output")
    left_out = {*TIER_KEYS}
    if (
        thoughts is not None
        and answer is not None
        and dollars_of("reasoning", thoughts) == dollars_of("output", answer)
    ):
        left_out.add("reasoning")
    return {key: value for key, value in standard.items() if key not in left_out} | dict(values)


def _card(name: str, prices: object) -> RateCard:
    base, above = read_rates(name, prices)
    return RateCard.of(Rates.of(base), {start: Rates.of(rates) for start, rates in above.items()})


def read_rates(name: str, prices: Any) -> tuple[dict[str, Fraction], dict[int, dict[str, Fraction]]]:
    """One declaration without tiers as dollars per single token or piece, by rate; and the same by prompt length.

    Raises:
        ConfigurationError: as for :func:`parse_card`.
    """
    found = {key: STEP_KEY.match(str(key)) for key in prices} if isinstance(prices, Mapping) else {}
    steps = {int(match[1]): prices[key] for key, match in found.items() if match}
    base = _dollars(name, {key: prices[key] for key, match in found.items() if not match} if steps else prices)
    inherited = dict(base)
    if inherited.get("reasoning") == inherited.get("output"):
        inherited.pop("reasoning", None)
    above = {
        start: {**inherited, **_dollars(f"{name} (above {start})", given, whole=False)}
        for start, given in steps.items()
    }
    return _with_parents(dict(base)), {start: _with_parents(rates) for start, rates in above.items()}


def _dollars(name: str, prices: Any, *, whole: bool = True) -> dict[str, Fraction]:
    _check_keys(name, prices, whole=whole)
    dollars = {key: dollars_of(f"price {key!r} of {name!r}", value) for key, value in prices.items()}
    return {_KEYS[key][0]: amount / _KEYS[key][1] for key, amount in dollars.items()}


def _check_keys(name: str, prices: object, *, whole: bool) -> None:
    keys = set(prices) if isinstance(prices, Mapping) else None
    if keys is None or keys - set(_KEYS):
        if keys is None:
            raise ConfigurationError(
                f"prices of {name!r}: cannot use {prices!r}; write dollars per million tokens, such as "
                '{"input": "2.50", "output": "10"}'
            )
        unknown = ", ".join(sorted(repr(key) for key in keys - set(_KEYS)))
        valid = (*PRICE_KEYS, *TIER_KEYS, "above_<tokens>")
        near = [get_close_matches(str(key), valid, n=1) for key in sorted(keys - set(_KEYS), key=str)]
        meant = f" (did you mean {near[0][0]!r}?)" if near and near[0] else ""
        raise ConfigurationError(f"prices of {name!r}: cannot use {unknown}{meant}; valid keys are {', '.join(valid)}")
    if whole and "input" not in keys and not SOLD_BY_PIECE.intersection(keys):
        raise ConfigurationError(f'prices of {name!r} need an "input" price in dollars per million tokens')


def _with_parents(rates: dict[str, Fraction]) -> dict[str, Fraction]:
    """Lines that exist apart need their siblings: a long write the short write's price, cached audio the audio's."""
    if "cache_write_1h" in rates:
        rates.setdefault("cache_write", rates.get("input", rates["cache_write_1h"]))
    if "cache_write" in rates:
        rates.setdefault("cache_write_1h", rates["cache_write"])
    if "audio_input" in rates and "cache_read" in rates:
        rates.setdefault("audio_cache_read", rates["audio_input"])
    return rates


def dollars_of(what: str, value: object) -> Fraction:
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
        self._cards: dict[str, dict[str | None, RateCard]] = {}
        for name, prices in given.items():
            cards = parse_cards(name, prices)
            for key in _spellings(str(name).lower()):
                self._cards[key] = cards

    def find(self, model: str, provider: str | None, tier: str | None = None) -> RateCard | None:
        """The card for a tier; where none was declared for it, the one for the standard tier."""
        cards = self.tiers(model, provider)
        return None if cards is None else cards.get(tier) or cards[None]

    def tiers(self, model: str, provider: str | None) -> Mapping[str | None, RateCard] | None:
        """The declared cards of a model by tier; ``None`` as a tier is the standard one."""
        if not self._cards:
            return None
        for key in _candidates(model.lower(), provider):
            if (cards := self._cards.get(key)) is not None:
                return cards
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
            known = provider_id(said)
            for seller in table_sellers(said, known):  # as an imported table of LiteLLM's calls it
                yield f"{seller}/{name}"
            if known is not None:
                yield f"{known}/{name}"
        yield name


def parse_discounts(given: Mapping[str, Price]) -> dict[str, Fraction]:
    """The fraction that is taken off list prices by seller; ``"*"``: of every one that is not named.

    Raises:
        ConfigurationError: a fraction that cannot be used, or a seller whose name is misspelt.
    """
    check_kind("discount", given, Mapping, 'a mapping such as {"openai": "0.10"}')
    discounts = {}
    for provider, value in given.items():
        if provider != "*" and provider_id(provider) is None:
            _check_seller(provider)
        try:
            share = dollars_of(f"discount of {provider!r}", value)
        except ConfigurationError:
            share = Fraction(1)
        if share >= 1:
            raise ConfigurationError(f'discount of {provider!r} is a fraction: "0.10" takes 10 % off, not {value!r}')
        discounts[provider_id(provider) or provider.lower()] = share
    return discounts


def _check_seller(name: str) -> None:
    near = get_close_matches(name.lower(), known_sellers(), n=1, cutoff=0.8)
    if near and near[0] != name.lower():
        raise ConfigurationError(f"discount of {name!r}: no provider is called that; did you mean {near[0]!r}?")
