"""What genai-prices lists of one model: its prices as ours, and the period in which they hold.

Its format: https://github.com/pydantic/genai-prices, ``genai_prices/types.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from costguard_core.pricing.listing import ALWAYS, Listing
from costguard_core.pricing.overrides import SOLD_BY_PIECE

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, Provider

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
_BY_PIECE = frozenset(_LINES[name][0] for name in SOLD_BY_PIECE)

# What the price list asks to be told about a request that is billed at a tier.
_TIER_CONTEXTS: dict[str, dict[str, str]] = {
    "batch": {"processing": "batch"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


def listing_of(
    seller: Provider, info: ModelInfo, name: str, tier: str | None, at: float, source: str
) -> Listing | None:
    """The prices of an entry for ``tier`` at unix second ``at``; ``None``: nothing that can price a call.

    ``name`` is what was looked up, and ``source`` the version of the list.
    """
    moment = datetime.fromtimestamp(min(max(at, 0.0), _LATEST), tz=UTC)
    since, until = _period(info, moment, at)
    # A model that is served by somebody else than its maker does not have the maker's service tiers.
    own = any(info is one for one in seller.models)
    context = _TIER_CONTEXTS.get(tier or "") if own else None
    prices = info.get_prices(moment, context) if info.prices else None
    listed = {name: value for name, value in vars(prices).items() if value is not None} if prices else {}
    if not listed and info.id.endswith(":free"):
        base, above = dict.fromkeys(("input", "output"), Fraction(0)), {}
    elif "input_mtok" not in listed and not _BY_PIECE.intersection(listed):
        return None  # sold by the hour, or by subscription: neither tokens nor pieces can price it
    else:
        base = _dollars(listed, 0)
        starts = {step.start for value in listed.values() for step in _steps(value)}
        above = {start: _dollars(listed, start + 1) for start in starts}
    has_tier = tier not in _TIER_CONTEXTS or _fits(info, context)
    return Listing(source, base, above, has_tier, is_exactly(info, name), since, until)


def is_exactly(info: ModelInfo, name: str) -> bool:
    """Whether an entry is of exactly this name, and not of all names that look like it."""
    name = name.lower()
    return name == info.id.lower() or _is_named(info.match, name)


def newest_price(snapshot: DataSnapshot, now: float) -> date | None:
    """The latest day until unix second ``now`` on which a price of the list began; ``None``: no price has one."""
    starts = (
        constraint.start_date
        for provider in snapshot.providers
        for info in provider.models
        for constraint in _constraints(info)
        if hasattr(constraint, "start_date")
    )
    return max((start for start in starts if _utc(start, time.min) <= now), default=None)


def _is_named(clause: object, name: str) -> bool:
    if hasattr(clause, "equals"):
        return bool(clause.equals.lower() == name)
    return any(_is_named(one, name) for one in getattr(clause, "or_", ()))


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


def _constraints(info: ModelInfo) -> Iterator[object]:
    conditional = info.prices if isinstance(info.prices, list) else ()
    for entry in (*conditional, *(info.price_variants or ())):
        if entry.constraint is not None:
            yield entry.constraint


def _fits(info: ModelInfo, context: Mapping[str, str] | None) -> bool:
    """Whether the list has a variant of a model's prices for this context."""
    variants = info.price_variants or () if context is not None else ()
    return any(all((context or {}).get(key) == value for key, value in one.when.items()) for one in variants)


def _steps(value: Any) -> Iterable[Any]:
    return () if isinstance(value, Decimal) else value.tiers


def _dollars(listed: Mapping[str, object], input_tokens: int) -> dict[str, Fraction]:
    return {
        name: Fraction(_price(listed[key], input_tokens)) / per for name, (key, per) in _LINES.items() if key in listed
    }


def _price(value: Any, input_tokens: int) -> Decimal:
    price: Decimal = value
    if not isinstance(value, Decimal):
        price = value.base
        for tier in value.tiers:
            price = tier.price if input_tokens > tier.start else price
    return price


def _edges(constraint: object, day: date) -> Iterator[float]:
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
