"""What one source of list prices says of a model, and what two sources say together."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

# Pieces that tools of the seller are billed by: genai-prices states them per tool, a table of models does not.
_TOOLS = frozenset(("web_search", "file_search", "social_search", "code_session"))
_NO_FEE = {"request": Fraction(0)}
_TOLERANCE = Fraction(1, 100)
"""Prices that differ by less are the same: one source writes a price per token as a rounded decimal."""

Prices = Mapping[str, Fraction]
"""Exact dollars per single token or piece, by the name of the rate (a field of ``Rates``, or a billed unit)."""

ALWAYS = (float("-inf"), float("inf"))
"""A period without beginning and end, in unix seconds."""


class Listing(NamedTuple):
    """The list price of a model at a seller, a service tier and a moment, as one source has it.

    Attributes:
        source: whose list it is and which version, such as ``"genai-prices 0.2.3"``.
        base: the prices of short prompts.
        above: by a number of tokens, all prices of prompts that are longer.
        has_tier: they are the prices of the service tier that was asked for; else of the standard one.
        exact: the source has a model of exactly this name; else one whose name begins alike.
        since, until: the unix seconds ``since <= t < until`` between which they hold.
    """

    source: str
    base: Prices
    above: Mapping[int, Prices] = {}
    has_tier: bool = True
    exact: bool = True
    since: float = ALWAYS[0]
    until: float = ALWAYS[1]

    def at(self, tokens: int) -> Prices:
        """The prices of a prompt of more than ``tokens`` tokens."""
        steps = [start for start in self.above if start <= tokens]
        return self.above[max(steps)] if steps else self.base


def differences(one: Listing, other: Listing, *, searches: bool = False) -> tuple[str, ...]:
    """The rates that both sources have and that differ by more than 1 %, in alphabetical order.

    Tools of the seller (searches, containers) are left out, but for ``searches`` of a model that always searches. A fee
    per request is in every bill, so a source that does not name it says that there is none.
    """
    starts = {-1, *map(_past, (*one.above, *other.above))} if one.above and other.above else {-1}
    found = set()
    for start in starts:
        mine, theirs = {**_NO_FEE, **one.at(start)}, {**_NO_FEE, **other.at(start)}
        found |= {rate for rate, price in mine.items() if rate in theirs and _differ(price, theirs[rate])}
    return tuple(sorted(found - _TOOLS | (found & {"web_search"} if searches else set())))


def completed(first: Listing, second: Listing) -> Listing:
    """``first``, with the prices of ``second`` that it does not have."""
    if first.above or not second.above:
        above = {start: {**second.at(_past(start)), **prices} for start, prices in first.above.items()}
    else:
        above = {start: {**first.base, **prices} for start, prices in second.above.items()}
    return first._replace(base={**second.base, **first.base}, above=above)


def dearest(one: Listing, other: Listing) -> Listing:
    """Of each rate the higher price: what a call costs at most, whichever of two sources is right."""
    above = {start: _highest(one.at(start), other.at(start)) for start in {*one.above, *other.above}}
    return one._replace(source=f"{one.source} or {other.source}", base=_highest(one.base, other.base), above=above)


def _past(start: int) -> int:
    """Well above a step: one source writes 199,999 tokens and the other 200,000."""
    return start + start // 100


def _highest(one: Prices, other: Prices) -> Prices:
    return {
        rate: max(price for price in (one.get(rate), other.get(rate)) if price is not None) for rate in {**one, **other}
    }


def _differ(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) > _TOLERANCE * min(one, other)
