"""The price book: what the guard asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fractions import Fraction
from functools import cache, lru_cache
from time import time
from typing import NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.catalog import ALWAYS, Catalog, ListAge, Opinion, Span
from costguard_core.pricing.names import table_sellers
from costguard_core.pricing.overrides import Overrides, Price, Prices, dollars_of, parse_card
from costguard_core.pricing.plausible import doubtful
from costguard_core.pricing.price_table import PriceTable, bundled_table
from costguard_core.pricing.providers import known_sellers, provider_id
from costguard_core.pricing.rate_card import Ceiling, Load, RateCard
from costguard_core.types import PricedBy, Usage
from costguard_core.util.options import check_kind

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
            _parse_discounts(discounts or {}),
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
        stated and the tokens of other models are not in it. :func:`~costguard_core.pricing.charge.priced` knows better.
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


def _parse_discounts(given: Mapping[str, Price]) -> dict[str, Fraction]:
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
