"""The price book, which the guard asks, and what a finished call cost by it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from time import time
from typing import NamedTuple

from costguard_core.pricing.catalog import Catalog, ListAge, Opinion, Span
from costguard_core.pricing.listing import ALWAYS
from costguard_core.pricing.names import table_sellers
from costguard_core.pricing.overrides import Overrides, Price, Prices, parse_card, parse_discounts
from costguard_core.pricing.plausible import doubtful
from costguard_core.pricing.price_table import PriceTable, bundled_table
from costguard_core.pricing.providers import provider_id, seller_of
from costguard_core.pricing.rate_card import Ceiling, Load, RateCard
from costguard_core.types import Call, PricedBy, Usage
from costguard_core.usage.fields import service_tier

_log = logging.getLogger("costguard.pricing")

UNLIMITED_OUTPUT = 2**31 - 1
"""What :meth:`PriceBook.affordable_output` says of a model whose output is free."""

# A call made now may still be running when the price changes; providers bill at one moment of it.
_LEASE_SECONDS = 3600.0
_MAX_MODELS = 4096
_MAX_SPANS = 8


class Found(NamedTuple):
    """A rate card, ``None`` if there is none, and who says that these are the prices.

    Attributes:
        card: the prices.
        priced_by: whose they are.
        has_tier: they are the prices of the service tier that was asked for; else of the standard one.
        since, until: unix seconds between which they hold.
        source: whose list, and which version of it; ``None``: no list.
    """

    card: RateCard | None
    priced_by: PricedBy
    has_tier: bool = True
    since: float = ALWAYS[0]
    until: float = ALWAYS[1]
    source: str | None = None

    @property
    def has_price(self) -> bool:
        """Whether a call would have a known cost."""
        return self.card is not None and self.card.steps[-1].reading is not None


class PriceBook:
    """Prices by model, provider, service tier and time of the request. Thread-safe; never touches the network.

    A price comes from the first of: ``overrides``; the bundled lists (genai-prices and LiteLLM's table, see
    :class:`~costguard_core.pricing.catalog.Catalog`) less their discount; ``unpriced``.

    Args:
        overrides: ``{"my-model": {"input": "2.50", "output": "10"}}`` in dollars per million tokens (``"request"`` and
            ``"web_search"`` in dollars each). Keys are ``"model"``, ``"provider/model"`` or ``"provider:model"``. What
            is left out costs what its parent costs (``cached_input`` the ``input`` price); without ``"output"`` a call
            that produced output has an unknown cost.
        discounts: ``{"openai": "0.10"}`` takes 10 % off *list* prices; ``"*"`` is for every provider not named. An
            override is what you pay, so it is never discounted.
        unpriced: one override that prices every model nobody knows: a declared ceiling.
        clock: unix seconds now.
        table: gives the second list beside genai-prices (LiteLLM's table); ``None``: genai-prices alone.

    Raises:
        ConfigurationError: an override, discount or ceiling that cannot be used.
    """

    def __init__(
        self,
        overrides: Mapping[str, Prices] | None = None,
        *,
        discounts: Mapping[str, Price] | None = None,
        unpriced: Prices | None = None,
        clock: Callable[[], float] = time,
        table: Callable[[], PriceTable] | None = bundled_table,
    ) -> None:
        self._clock, self._table = clock, table
        self._catalog: Catalog | None = None
        # Model names can come from outside: never more than this many. A list is changed in place, newest first.
        self._known = lru_cache(_MAX_MODELS)(_none_yet)
        self.declare(overrides, discounts=discounts, unpriced=unpriced)

    def declare(
        self,
        overrides: Mapping[str, Prices] | None = None,
        *,
        discounts: Mapping[str, Price] | None = None,
        unpriced: Prices | None = None,
    ) -> None:
        """Follow other prices, discounts and another ceiling from now on, in place of those given before.

        Raises:
            ConfigurationError: one of them cannot be used. Nothing has changed.
        """
        read = (
            Overrides(overrides or {}),
            parse_discounts(discounts or {}),
            None if unpriced is None else parse_card("unpriced", unpriced),
        )
        self._overrides, self._discounts, self._unpriced = read
        for doubt in doubtful(overrides or {}):
            _log.warning("declared price of %s; prices of tokens are in dollars per million", doubt)
        # What another thread compiles meanwhile of the old prices is in a list that nobody asks again.
        self._known.cache_clear()

    def cost(self, usage: Usage, *, model: str, provider: str | None = None, at: float | None = None) -> int | None:
        """Exact nano-dollars of one call made at ``at`` (unix seconds, default now), each price line rounded up once.

        ``None`` when the price is unknown. Never negative and never raises: details larger than their total raise it.
        A tier or modality that the list does not price apart costs what its parent costs; a cost that the provider
        stated and the tokens of other models are not in it. :func:`priced` knows better.
        """
        card = self.find(model, provider, usage.tier, at).card
        return None if card is None else card.price(usage).cost

    def find(self, model: str, provider: str | None = None, tier: str | None = None, at: float | None = None) -> Found:
        """The rate card of a model at a tier and time, and whose it is."""
        at = self._clock() if at is None else at
        catalog = self._catalog
        if catalog is not None and catalog.newest() is not catalog.snapshot:
            # In this order: what another thread compiles meanwhile of the old data is in a list that nobody asks again.
            catalog.refresh()
            self._known.cache_clear()
        known = self._known(provider, model, tier)
        for found in known:
            if found.since <= at < found.until:
                return found
        found = self._compile(model, provider, tier, at)
        known[:] = (found, *known[: _MAX_SPANS - 1])
        return found

    def is_priced(
        self, model: str, provider: str | None = None, at: float | None = None, *, tier: str | None = None
    ) -> bool:
        """Whether a call would have a known cost (the ``unpriced`` ceiling counts as one)."""
        return self.find(model, provider, tier, at).has_price

    def worst_case(
        self,
        *,
        model: str,
        provider: str | None = None,
        at: float | None = None,
        tier: str | None = None,
        input_tokens: int,
        output_tokens: int,
        choices: int = 1,
        cache_writes: bool = False,
        load: Load | None = None,
        exact_tier: bool = False,
    ) -> int | None:
        """The most nano-dollars that a call of at most these tokens can cost; ``None`` when that is unknown.

        ``output_tokens`` is per choice; input is billed once. ``cache_writes`` says that the request asks for prompt
        caching (Anthropic's ``cache_control``); providers that write their cache unasked are held at that price anyway.
        ``load`` adds sound and searches; its ``input_tokens`` are those that are meant here. With ``exact_tier`` the
        price of a tier is unknown where only that of the standard tier is known.
        """
        if load is None or load.input_tokens != input_tokens or input_tokens < 0:
            load = Load(max(0, input_tokens)) if load is None else load._replace(input_tokens=max(0, input_tokens))
        at = self._clock() if at is None else at
        count = max(0, output_tokens) * max(1, choices)
        found = self.find(model, provider, tier, at)
        if exact_tier and not found.has_tier:
            return None
        if found.card is not None and len(found.card.steps) == 1 and at + _LEASE_SECONDS < found.until:
            _, _, reading, writing = found.card.steps[0]  # one price, which will still hold when the answer is there
            only = writing if cache_writes else reading
            return None if only is None else only.at_most(load, count)
        ceilings = self._ceilings(model, provider, at, tier, load.input_tokens, writes=cache_writes)
        most: int | None = None
        for ceiling in ceilings:
            cost = None if ceiling is None else ceiling.at_most(load, count)
            if cost is None:
                return None
            if most is None or cost > most:
                most = cost
        return most

    def affordable_output(
        self,
        *,
        model: str,
        provider: str | None = None,
        at: float | None = None,
        tier: str | None = None,
        input_tokens: int,
        nanos: int,
        choices: int = 1,
        cache_writes: bool = False,
        load: Load | None = None,
    ) -> int:
        """The largest ``output_tokens`` (per choice) whose :meth:`worst_case` is at most ``nanos``; 0 if none is."""
        load = Load(max(0, input_tokens)) if load is None else load._replace(input_tokens=max(0, input_tokens))
        at = self._clock() if at is None else at
        ceilings = self._ceilings(model, provider, at, tier, load.input_tokens, writes=cache_writes)
        limits = (_affordable(ceiling, load, nanos, max(1, choices)) for ceiling in ceilings)
        return min(limits, default=0)

    def declared_tiers(self, model: str, provider: str | None = None) -> frozenset[str | None] | None:
        """The service tiers that prices were declared for (``None``: the standard one), if any were."""
        cards = self._overrides.tiers(model, provider)
        return None if cards is None else frozenset(cards)

    def opinion(
        self, model: str, provider: str | None = None, tier: str | None = None, at: float | None = None
    ) -> Opinion | None:
        """What each list says of a model, and which prices follow; ``None``: no list has it."""
        return self._prices().opinion(model, provider, tier, self._clock() if at is None else at)

    def ages(self) -> tuple[ListAge, ...]:
        """Of which day each price list is, as far as it says so."""
        return self._prices().ages(self._clock())

    def similar_names(self, model: str, provider: str | None = None, *, most: int = 3) -> list[str]:
        """Names in the price lists that look like one that has no price, as ``seller/model``, the nearest first."""
        names = set(self._prices().names())
        if (seller := provider_id(provider)) is not None:
            sellers = {seller, *table_sellers(provider, seller)}
            names = {name for name in names if name.partition("/")[0] in sellers}
        by_model = {name.partition("/")[2].lower(): name for name in sorted(names, reverse=True)}
        near = get_close_matches(model.lower().rpartition("/")[2], by_model, n=most, cutoff=0.7)
        return [by_model[name] for name in near]

    def context_tokens(self, model: str, provider: str | None = None) -> int | None:
        """How many tokens prompt and answer of a model may have together, where the price list says so."""
        return self._prices().context_tokens(model, provider)

    def warm_up(self) -> None:
        """Load the price data now (about a second, once per process) instead of at the first call."""
        self._prices()

    def _ceilings(
        self,
        model: str,
        provider: str | None,
        at: float,
        tier: str | None,
        input_tokens: int,
        *,
        writes: bool,
    ) -> list[Ceiling | None]:
        """One for each price that a prompt of *at most* ``input_tokens`` may be billed at: now, or when the answer is
        there, in each step of lengths that it may fall into. Empty: there is no price."""
        ceilings: list[Ceiling | None] = []
        found = self.find(model, provider, tier, at)
        cards = [found.card]
        if at + _LEASE_SECONDS >= found.until:
            cards.append(self.find(model, provider, tier, at + _LEASE_SECONDS).card)
        for card in cards:
            for above, _, reading, writing in () if card is None else card.steps:
                if above < input_tokens:
                    ceilings.append(writing if writes else reading)
        return ceilings

    def _compile(self, model: str, provider: str | None, tier: str | None, at: float) -> Found:
        declared, span = self._overrides.find(model, provider, tier), Span(*ALWAYS, None)
        if declared is None:
            span = self._prices().span(model, provider, tier, at)
            source: PricedBy = "estimate" if span.guess else "list"
            found = Found(span.card, source, span.has_tier, source=span.source)
            if self._unpriced is not None and (span.card is None or not span.has_tier):
                found = Found(self._unpriced, "estimate")
        else:
            if _bills_pieces(declared):  # what it says nothing of, such as searches, costs what the seller asks
                span = self._prices().span(model, provider, None, at)
            found = Found(declared if span.card is None else declared.with_units_of(span.card), "declared")
        return found._replace(since=span.since, until=span.until)

    def _prices(self) -> Catalog:
        if self._catalog is None:
            self._catalog = Catalog(self._discounts, self._table)
        return self._catalog


@cache
def public_prices() -> PriceBook:
    """The public list prices, for whoever has no guard: one book for the process."""
    return PriceBook()


def _none_yet(provider: str | None, model: str, tier: str | None) -> list[Found]:
    """What is known of the prices of a model that nobody has asked about."""
    return []


def _bills_pieces(card: RateCard) -> bool:
    return card.steps[-1].rates.web_search is None


def _affordable(ceiling: Ceiling | None, load: Load, nanos: int, choices: int) -> int:
    if ceiling is None:
        return 0
    fixed, rate = ceiling.fixed(load), ceiling.output_rate(load)
    if fixed is None or rate is None or nanos < fixed:
        return 0
    per_token = rate * choices
    return min(UNLIMITED_OUTPUT, (nanos - fixed) * ceiling.scale // per_token) if per_token else UNLIMITED_OUTPUT


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
