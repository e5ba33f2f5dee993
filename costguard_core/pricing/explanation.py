"""Every price of a model, where each is from, and why it is trusted or not."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from costguard_core.pricing.overrides import KEYS_OF_RATES, TIER_KEYS
from costguard_core.pricing.price_book import Found, PriceBook
from costguard_core.pricing.rate_card import Rates
from costguard_core.types import NANOS_PER_DOLLAR, PricedBy

_MILLION = 1_000_000
_UNITS_APART = ("scale", "units", "unknown")


class PriceLine(NamedTuple):
    """One price.

    Attributes:
        tier: the service tier; ``None``: the standard one.
        above: it is the price of prompts of more than this many tokens; 0: of all that are shorter.
        key: what is bought, in the words of ``CostGuard(prices=...)``.
        dollars: what is charged.
        per: how many tokens or pieces that buys: a million, or 1.
        sources: what each list says, in the same unit.
        differs: the lists differ by more than 1 %.
    """

    tier: str | None
    above: int
    key: str
    dollars: Decimal
    per: int
    sources: tuple[tuple[str, Decimal], ...] = ()
    differs: bool = False


class PriceExplanation(NamedTuple):
    """All prices of a model at a moment.

    Attributes:
        model, provider: what was asked for.
        at: unix seconds.
        priced_by: ``"declared"``, ``"list"`` or ``"estimate"``; ``None``: there is no price.
        source: whose list it is; ``None``: none.
        reason: why the price is an estimate, in words; ``None``: it is not.
        since, until: unix seconds between which nothing of it changes.
        lines: the prices.
    """

    model: str
    provider: str | None
    at: float
    priced_by: PricedBy | None
    source: str | None
    reason: str | None
    since: float
    until: float
    lines: tuple[PriceLine, ...]


def explain_price(book: PriceBook, model: str, provider: str | None, at: float) -> PriceExplanation:
    """Every price of a model at a time: of each service tier that has one, and of each length of prompts."""
    standard = book.find(model, provider, None, at)
    if standard.card is None:
        return PriceExplanation(model, provider, at, None, None, None, standard.since, standard.until, ())
    lines = [line for tier in _tiers(book, model, provider) for line in _lines(book, model, provider, tier, at)]
    reason = None
    if standard.priced_by == "estimate":
        opinion = book.opinion(model, provider, None, at)
        reason = "the ceiling that was declared for models without a price" if opinion is None else opinion.guess
    return PriceExplanation(
        model, provider, at, standard.priced_by, standard.source, reason, standard.since, standard.until, tuple(lines)
    )


def _tiers(book: PriceBook, model: str, provider: str | None) -> tuple[str | None, ...]:
    declared = book.declared_tiers(model, provider)
    return (None, *(tier for tier in TIER_KEYS if declared is None or tier in declared))


def _lines(book: PriceBook, model: str, provider: str | None, tier: str | None, at: float) -> Iterator[PriceLine]:
    found = book.find(model, provider, tier, at)
    if found.card is None or (tier is not None and not _is_of_tier(found)):
        return
    opinion = None if found.priced_by == "declared" else book.opinion(model, provider, tier, at)
    sources = () if opinion is None else opinion.sources
    differing = () if opinion is None else opinion.differing
    for step in reversed(found.card.steps):
        for rate, dollars in _rates(step.rates):
            key, per = KEYS_OF_RATES.get(rate, (rate, _MILLION))
            said = tuple(
                (source.source, _decimal(source.at(step.above)[rate] * per))
                for source in sources
                if source.has_tier and rate in source.at(step.above)
            )
            yield PriceLine(tier, max(step.above, 0), key, _decimal(dollars * per), per, said, rate in differing)


def _is_of_tier(found: Found) -> bool:
    """Whether the tier has prices of its own: the ceiling for unknown prices is nobody's tier."""
    return found.has_tier and (found.priced_by == "declared" or found.source is not None)


def _rates(rates: Rates) -> Iterator[tuple[str, Fraction]]:
    """Dollars per single token or piece."""
    unit = rates.scale * NANOS_PER_DOLLAR
    for name in Rates.__dataclass_fields__:
        if name not in _UNITS_APART and (rate := getattr(rates, name)) is not None:
            yield name, Fraction(rate, unit)
    for name, rate in rates.units.items():
        yield name, Fraction(rate, unit)


def _decimal(amount: Fraction) -> Decimal:
    """To 12 significant digits, as a person writes it."""
    return Decimal(f"{Decimal(f'{Decimal(amount.numerator) / amount.denominator:.12g}').normalize():f}")
