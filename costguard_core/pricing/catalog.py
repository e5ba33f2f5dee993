"""List prices, from the bundled genai-prices data, compiled once per model, service tier and period of validity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from costguard_core.pricing.names import Lookup, lookups
from costguard_core.pricing.providers import is_local
from costguard_core.pricing.rate_card import RateCard, Rates
from costguard_core.util.lru import LRUMap

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider

ALWAYS = (float("-inf"), float("inf"))
_LATEST = datetime(9999, 12, 30, tzinfo=UTC).timestamp()

# Our rate → the price list's key and what one price buys.
_TOKENS = 1_000_000
_LINES: dict[str, tuple[str, int]] = {
    "input": ("input_mtok", _TOKENS),
    "output": ("output_mtok", _TOKENS),
    "cache_read": ("cache_read_mtok", _TOKENS),
    "cache_write": ("cache_write_mtok", _TOKENS),
    "cache_write_1h": ("cache_write_1h_mtok", _TOKENS),
    "audio_input": ("input_audio_mtok", _TOKENS),
    "audio_cache_read": ("cache_audio_read_mtok", _TOKENS),
    "audio_output": ("output_audio_mtok", _TOKENS),
    "image_input": ("input_image_mtok", _TOKENS),
    "image_cache_read": ("cache_image_read_mtok", _TOKENS),
    "image_output": ("output_image_mtok", _TOKENS),
    "reasoning": ("output_reasoning_mtok", _TOKENS),
    "video_input": ("input_video_mtok", _TOKENS),
    "web_search": ("web_searches_kcount", 1_000),
    "request": ("requests_kcount", 1_000),
    "file_search": ("storage_searches_kcount", 1_000),
    "social_search": ("social_searches_kcount", 1_000),
    "code_session": ("code_executions_kcount", 1_000),
    "rerank": ("rerank_searches_kcount", 1_000),
    "page": ("input_document_kpages", 1_000),
    "annotated_page": ("input_annotated_document_kpages", 1_000),
    "audio_second": ("input_audio_hours", 3_600),
    "character": ("input_mchars", _TOKENS),
    "citation_token": ("output_citation_mtok", _TOKENS),
}
# Keys of the list that price a model which is sold by the piece and not by its tokens.
_BY_PIECE = frozenset(
    key for key, _ in (_LINES[n] for n in ("rerank", "page", "annotated_page", "audio_second", "character"))
)

# What the price list asks to be told about a request that is billed at a tier.
_CONTEXTS: dict[str, dict[str, str]] = {
    "batch": {"processing": "batch"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


# Sellers that bill a tier at their standard price, and where they say so.
_TIERS_BY_CONTRACT = frozenset((("anthropic", "priority"),))  # bought ahead: platform.claude.com, "Service tiers"
_TIERS_AT_STANDARD = _TIERS_BY_CONTRACT | {("groq", "flex")}  # https://console.groq.com/docs/flex-processing
# Sellers whose cards name every modality that costs more than text; others leave prices of sound out that exist.
_LISTS_SOUND = frozenset(("google",))
# Makers whose models nobody else sells at prices of their own, and names of theirs that everybody sells.
_MAKERS = frozenset(("openai", "anthropic", "google", "x-ai", "cohere", "perplexity"))
_OPEN_WEIGHTS = re.compile(r"gpt-oss|gemma|grok-(1|2)($|[^\d])|whisper|r1-1776|c4ai|aya")


_MAX_MODELS = 4096  # names come from outside: no more are remembered


class Span(NamedTuple):
    """A rate card (``None``: no known price) and the unix seconds ``since <= t < until`` in which it holds.

    ``guess``: it is the card of the model's maker, because nobody in the list was named as the seller. ``has_tier``:
    the card is for the service tier that was asked for; else it is for the standard one.
    """

    since: float
    until: float
    card: RateCard | None
    guess: bool = False
    has_tier: bool = True


class Catalog:
    """The price data in force. Follows ``genai_prices.UpdatePrices`` when the application runs it."""

    def __init__(self, discounts: Mapping[str, Fraction]) -> None:
        from genai_prices.data_snapshot import get_snapshot

        self._current = get_snapshot
        self._discounts = discounts
        self.refresh()

    def is_current(self) -> bool:
        """Whether no newer data was published since the last :meth:`refresh`."""
        return self._current() is self._snapshot

    def refresh(self) -> None:
        """Use the newest data from now on."""
        self._snapshot: DataSnapshot = self._current()
        self._context: LRUMap[tuple[str, str | None], int | None] = LRUMap(_MAX_MODELS)
        self._sellers = frozenset(seller.id for seller in self._snapshot.providers)

    def span(self, model: str, provider: str | None, tier: str | None, at: float) -> Span:
        """The price of a model at a time, with the period in which nothing about it changes."""
        found = self._find(model, provider)
        if found is None:
            return Span(*ALWAYS, None)
        lookup, seller, info = found
        moment = datetime.fromtimestamp(min(max(at, 0.0), _LATEST), tz=UTC)
        since, until = _period(info, moment, at)
        # A model that is served by somebody else than its maker does not have the maker's service tiers.
        own = any(info is one for one in seller.models)
        context = _CONTEXTS.get(tier or "") if own else None
        prices = info.get_prices(moment, context) if info.prices else None
        card = self._card(prices, seller, info, lookup.surcharge)
        has_tier = tier not in _CONTEXTS or (seller.id, tier) in _TIERS_AT_STANDARD or _fits(info, context)
        return Span(since, until, card, lookup.guess or (seller.id, tier) in _TIERS_BY_CONTRACT, has_tier)

    def context_tokens(self, model: str, provider: str | None) -> int | None:
        """How many tokens prompt and answer of a model may have together."""
        found = self._context.get((model, provider), 0)
        if found == 0:
            entry = self._find(model, provider)
            found = None if entry is None else entry[2].context_window
            self._context.put((model, provider), found)
        return found

    def _find(self, model: str, provider: str | None) -> tuple[Lookup, Provider, ModelInfo] | None:
        if is_local(provider):
            return None
        for lookup in lookups(model, provider, self._sellers):
            try:
                seller, info = self._snapshot.find_provider_model(lookup.name, None, lookup.seller, None)
            except LookupError:
                continue
            if not lookup.guess or (seller.id in _MAKERS and not _OPEN_WEIGHTS.search(info.id.lower())):
                return lookup, seller, info
        return None

    def _card(self, prices: ModelPrice | None, seller: Provider, info: ModelInfo, surcharge: int) -> RateCard | None:
        listed = {name: value for name, value in vars(prices).items() if value is not None} if prices else {}
        if not listed:
            # An empty entry means "free" or "billed otherwise"; only the name tells which.
            return RateCard.of(Rates(1, 0, 0)) if info.id.endswith(":free") else None
        if "input_mtok" not in listed and not _BY_PIECE.intersection(listed):
            return None  # sold by the hour: neither tokens nor pieces can price it
        share = 1 - self._discounts.get(seller.id, self._discounts.get("*", Fraction(0)))
        share *= Fraction(100 + surcharge, 100)
        starts = {step.start for value in listed.values() for step in _steps(value)}
        cliffs = {start: _rates(listed, start + 1, share, seller.id) for start in starts}
        base = _rates(listed, 0, share, seller.id)
        return RateCard.of(base, cliffs, implicit_writes=not _is_claude(seller, info))


def _fits(info: ModelInfo, context: Mapping[str, str] | None) -> bool:
    """Whether the list has a variant of a model's prices for this context."""
    variants = info.price_variants or () if context is not None else ()
    return any(all((context or {}).get(key) == value for key, value in one.when.items()) for one in variants)


def _is_claude(seller: Provider, info: ModelInfo) -> bool:
    return seller.id == "anthropic" or "claude" in info.id.lower()


def _steps(value: Any) -> Iterable[Any]:
    return () if isinstance(value, Decimal) else value.tiers


def _rates(listed: Mapping[str, Any], input_tokens: int, share: Fraction, seller: str) -> Rates:
    dollars = {
        name: Fraction(_price(listed[key], input_tokens)) * share / per
        for name, (key, per) in _LINES.items()
        if key in listed
    }
    modalities = {"image_output"} if seller in _LISTS_SOUND else {"image_output", "audio_input", "audio_output"}
    return Rates.of(dollars, frozenset(modalities - dollars.keys()))


def _price(value: Any, input_tokens: int) -> Decimal:
    price: Decimal = value
    if not isinstance(value, Decimal):
        price = value.base
        for tier in value.tiers:
            price = tier.price if input_tokens > tier.start else price
    return price


def _period(info: ModelInfo, moment: datetime, at: float) -> tuple[float, float]:
    """The longest period around ``at`` in which no constraint of the model starts or stops to hold."""
    edges = []
    for constraint in _constraints(info):
        known = list(_edges(constraint, moment.date()))
        if not known:
            return at, at  # a kind of constraint that we do not know: compile anew for every call
        edges += known
    since = max((edge for edge in edges if edge <= at), default=ALWAYS[0])
    return since, min((edge for edge in edges if edge > at), default=ALWAYS[1])


def _constraints(info: ModelInfo) -> Iterator[Any]:
    conditional = info.prices if isinstance(info.prices, list) else ()
    for entry in (*conditional, *(info.price_variants or ())):
        if entry.constraint is not None:
            yield entry.constraint


def _edges(constraint: Any, day: date) -> Iterator[float]:
    """Unix seconds around ``day`` (UTC) at which a constraint changes its mind."""
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    if isinstance(constraint, StartDateConstraint):
        yield _utc(constraint.start_date, time.min)
    elif isinstance(constraint, TimeOfDateConstraint):
        for offset in (-2, -1, 0, 1, 2):
            yield _utc(_shift(day, offset), constraint.start_time)
            yield _utc(_shift(day, offset), constraint.end_time)


def _shift(day: date, days: int) -> date:
    return date.fromordinal(min(max(day.toordinal() + days, 1), date.max.toordinal() - 1))


def _utc(day: date, at: time) -> float:
    moment = datetime.combine(day, at)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
