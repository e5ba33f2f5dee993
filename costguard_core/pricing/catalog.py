"""List prices, from the bundled genai-prices data, compiled once per model, service tier and period of validity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from costguard_core.pricing.providers import is_local, provider_id
from costguard_core.pricing.rate_card import Rates, Sheet

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
    "web_search": ("web_searches_kcount", 1_000),
    "request": ("requests_kcount", 1_000),
}

# What the price list asks to be told about a request. Any other tier pays the standard price.
_CONTEXTS: dict[str, dict[str, str]] = {
    "batch": {"processing": "batch"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


class Span(NamedTuple):
    """A sheet (``None``: no known price) and the unix seconds ``since <= t < until`` in which it holds."""

    since: float
    until: float
    sheet: Sheet | None


class PriceList:
    """The price data in force. Follows ``genai_prices.UpdatePrices`` when the application runs it."""

    def __init__(self, discounts: Mapping[str, Fraction]) -> None:
        from genai_prices.data_snapshot import get_snapshot

        self._current = get_snapshot
        self._snapshot: DataSnapshot = get_snapshot()
        self._discounts = discounts

    def is_current(self) -> bool:
        return self._current() is self._snapshot

    def refresh(self) -> None:
        self._snapshot = self._current()

    def span(self, model: str, provider: str | None, tier: str | None, at: float) -> Span:
        """The price of a model at a time, with the period in which nothing about it changes."""
        found = self._find(model, provider)
        if found is None:
            return Span(*ALWAYS, None)
        seller, info = found
        # A model that is served by somebody else than its maker does not have the maker's service tiers.
        context = _CONTEXTS.get(tier or "") if any(info is own for own in seller.models) else None
        moment = datetime.fromtimestamp(min(max(at, 0.0), _LATEST), tz=UTC)
        since, until = _period(info, moment, at)
        prices = info.get_prices(moment, context) if info.prices else None
        return Span(since, until, self._sheet(prices, seller, info))

    def _find(self, model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
        if is_local(provider):
            return None
        for seller, name in _references(model, provider):
            try:
                return self._snapshot.find_provider_model(name, None, seller, None)
            except LookupError:
                continue
        return None

    def _sheet(self, prices: ModelPrice | None, seller: Provider, info: ModelInfo) -> Sheet | None:
        listed = {name: value for name, value in vars(prices).items() if value is not None} if prices else {}
        if not listed:
            # An empty sheet means "free" or "billed otherwise"; only the name tells which.
            return Sheet.of(Rates(1, 0, 0)) if info.id.endswith(":free") else None
        if "input_mtok" not in listed:
            return None  # sold by the hour, page or character: tokens cannot price it
        share = 1 - self._discounts.get(seller.id, self._discounts.get("*", Fraction(0)))
        starts = {tier.start for value in listed.values() for tier in _tiers(value)}
        cliffs = {start: _rates(listed, start + 1, share) for start in starts}
        return Sheet.of(_rates(listed, 0, share), cliffs, implicit_writes=not _is_claude(seller, info))


def _is_claude(seller: Provider, info: ModelInfo) -> bool:
    return seller.id == "anthropic" or "claude" in info.id.lower()


def _references(model: str, provider: str | None) -> Iterator[tuple[str | None, str]]:
    """Where to look, nearest first: the provider said, any provider, a provider written before the model."""
    name = model.removeprefix("models/")
    if provider:
        yield provider_id(provider) or provider, name
    yield None, name
    prefix, slash, rest = name.partition("/")
    if slash and rest:
        yield provider_id(prefix) or prefix, rest


def _tiers(value: Any) -> Iterable[Any]:
    return () if isinstance(value, Decimal) else value.tiers


def _rates(listed: Mapping[str, Any], input_tokens: int, share: Fraction) -> Rates:
    return Rates.of(
        {
            name: Fraction(_price(listed[key], input_tokens)) * share / per
            for name, (key, per) in _LINES.items()
            if key in listed
        }
    )


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
