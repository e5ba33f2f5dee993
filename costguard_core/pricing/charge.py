"""What a finished call cost, and who says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from costguard_core.pricing.price_book import Found, PriceBook
from costguard_core.pricing.providers import seller_of
from costguard_core.types import Call, PricedBy, Usage
from costguard_core.usage.fields import service_tier


class Cost(NamedTuple):
    """The price of one call.

    Attributes:
        nanos: nano-dollars; ``None``: unknown.
        priced_by: ``"declared"`` (the user), ``"provider"`` (stated in the response), ``"list"`` (the list price of
            that seller, model, tier and moment), ``"estimate"`` (a declared ceiling, the maker's price at
            a seller that nobody knows, cached tokens at the price of fresh ones where the list has none of them);
            ``None``: nobody.
        model: the name that was priced: what answered, or what was asked for.
        unpriced: what is billed beside this and has no known price, so that the cost is a floor.
        source: whose list, and which version of it; ``None``: no list.
    """

    nanos: int | None
    priced_by: PricedBy | None
    model: str
    unpriced: tuple[str, ...] = ()
    source: str | None = None


def priced(prices: PriceBook, call: Call, usage: Usage, answered: str | None = None) -> Cost:
    """Price ``usage`` of ``call``, which the model ``answered`` says it answered.

    The first of these that knows: a price that the user declared for the name that answered, or for the one that was
    asked for; a cost that the provider stated; the list price of the seller for either name; the declared ceiling for
    models without a price.
    """
    seller = seller_of(call.provider, call.host)
    if call.tier is not None:
        usage = billed_tier(call, usage)
    if (not answered or answered == call.model) and usage.stated_cost is None and not usage.others:
        # Nearly every call: one name, whose price, or guess, is the best there is.
        offer = prices.find(call.model, seller, usage.tier, call.started)
        if offer.card is not None and offer.has_tier and call.model:
            nanos, unpriced, unknown = offer.card.price(usage)
            if nanos is not None and not unknown:
                by = _ceiling(offer) if usage.cache_read_tokens else offer.priced_by
                return Cost(nanos, by, call.model, unpriced, offer.source)
    return _best_of_all(prices, call, usage, answered, seller)


def _best_of_all(prices: PriceBook, call: Call, usage: Usage, answered: str | None, seller: str | None) -> Cost:
    declared, offers = None, []
    for name in (answered, call.model) if answered and answered != call.model else (call.model,):
        if not name:
            continue
        offer = prices.find(name, seller, usage.tier, call.started)
        if offer.priced_by == "declared":
            declared, offers = name, [(name, offer)]
            break
        offers.append((name, offer))
    if declared is None and usage.stated_cost is not None:
        return Cost(usage.stated_cost, "provider", _known_name(offers, call))
    cost = _best(offers, usage)
    if cost is None and usage.others and not (usage.input_tokens or usage.output_tokens):
        pieces = (*(("web_search",) if usage.web_searches else ()), *(name for name, _ in usage.units))
        cost = Cost(0, "list", declared or call.model, pieces)  # a system of models has no price of its own
    if cost is None:
        return Cost(None, None, declared or call.model)
    return _with_others(prices, cost, seller, usage, call.started) if usage.others else cost


def billed_tier(call: Call, usage: Usage) -> Usage:
    """The usage with the tier that was asked for, where the answer does not say which one was billed."""
    if usage.tier is not None or usage.tier_stated or call.tier is None:
        return usage
    return replace(usage, tier=service_tier(call.tier))


def _best(offers: Iterable[tuple[str, Found]], usage: Usage) -> Cost | None:
    """By the best source that prices one of the names: a list price of the second beats a guess of the first."""
    guess = None
    for name, offer in offers:
        if offer.card is None or not offer.has_tier:
            continue
        nanos, unpriced, unknown = offer.card.price(usage)
        if nanos is None or unknown:
            continue
        by = _ceiling(offer) if usage.cache_read_tokens else offer.priced_by
        if by != "estimate":
            return Cost(nanos, by, name, unpriced, offer.source)
        guess = guess or Cost(nanos, by, name, unpriced, offer.source)
    return guess


def _ceiling(offer: Found) -> PricedBy:
    """Who priced tokens of which some were read from a cache.

    A list that has no price of them does not say that they cost what fresh ones do: that is only the most they can.
    """
    unpriced = offer.card is not None and offer.card.steps[-1].rates.cache_read is None
    return "estimate" if unpriced and offer.priced_by == "list" else offer.priced_by


def _with_others(prices: PriceBook, cost: Cost, seller: str | None, usage: Usage, at: float) -> Cost:
    """With the tokens of other models that worked on the call, each at its own price."""
    if cost.nanos is None:
        return cost
    nanos, unpriced = cost.nanos, list(cost.unpriced)
    for model, consumed in usage.others:
        offer = prices.find(model, seller, usage.tier, at)
        other = _best([(model, offer)], replace(consumed, tier=usage.tier, region_surcharge=usage.region_surcharge))
        if other is None or other.nanos is None:
            unpriced.append(model)
        else:
            nanos += other.nanos
            unpriced += other.unpriced
    return cost._replace(nanos=nanos, unpriced=tuple(unpriced))


def _known_name(offers: Iterable[tuple[str, Found]], call: Call) -> str:
    """The first name that the list knows, so that reports group by it; else what was asked for."""
    return next((name for name, offer in offers if offer.has_price), call.model)
