"""Declared prices that are probably a thousand or a million times too high or too low.

Prices of tokens are declared in dollars per million. Price lists give them per token, per thousand or per million, and
searches by the piece or by the thousand, so a slip is a power of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from costguard_core.pricing.overrides import KEYS_OF_RATES, parse_cards
from costguard_core.types import NANOS_PER_DOLLAR

if TYPE_CHECKING:
    from costguard_core.pricing.price_book import PriceBook

# Dollars per million tokens. The lists have 0.005 to 600 for text, and up to 2,000 for sound and pictures.
_LEAST, _MOST = Fraction(1, 1000), Fraction(10_000)
# Dollars each; the lists have at most 0.05 for a search and 0.01 for a page.
_MOST_EACH = {"web_search": 1, "file_search": 1, "social_search": 1, "page": 1, "annotated_page": 1, "audio_second": 1}
_TOO_FAR = 200  # times the list: no contract is, and a slip is a thousand


def doubtful(prices: Mapping[str, Any], lists: PriceBook | None = None) -> Iterator[str]:
    """Each declared price that is hardly meant, in words; what cannot be read at all is left out.

    Args:
        prices: by model, as ``CostGuard(prices=...)`` takes them.
        lists: the public prices to compare with; ``None``: only what no list could have is named.
    """
    for model, given in prices.items():
        found = None if lists is None else lists.find(str(model)).card
        listed = {} if found is None else _dollars(found.steps[-1].rates)
        for tier, card in parse_cards(str(model), given).items():
            for step in card.steps:
                for key, (dollars, per) in _dollars(step.rates).items():
                    said = f"{model!r}: {tier or ''} {key} is ${float(dollars):g}".replace(":  ", ": ")
                    if text := _doubt(key, dollars, per, listed.get(key)):
                        yield f"{said} {text}"


def _doubt(key: str, dollars: Fraction, per: int, listed: tuple[Fraction, int] | None) -> str | None:
    if not dollars:
        return None
    unit = "per million tokens" if per > 1 else "each"
    if listed is not None and listed[0] and not Fraction(1, _TOO_FAR) < dollars / listed[0] < _TOO_FAR:
        return f"{unit}, and ${float(listed[0]):g} on the list"
    if per > 1 and not _LEAST <= dollars <= _MOST:
        return f"{unit}: no model costs so {'much' if dollars > _MOST else 'little'}"
    if per == 1 and dollars > _MOST_EACH.get(key, dollars):
        return f"{unit}: nobody asks so much"
    return None


def _dollars(rates: Any) -> dict[str, tuple[Fraction, int]]:
    """Dollars by key, and how many tokens or pieces they buy."""
    found = {}
    for rate, (key, per) in KEYS_OF_RATES.items():
        value = rates.units.get(rate) if rate in rates.units else getattr(rates, rate, None)
        if value is not None:
            found[key] = (Fraction(value, rates.scale * NANOS_PER_DOLLAR) * per, per)
    return found
