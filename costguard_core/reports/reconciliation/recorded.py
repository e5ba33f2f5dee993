"""What the ledger holds of one seller's calls, by day and model, in the parts that a bill can be compared with."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.ledger import span
from costguard_core.ledger.rollups import PRUNED_BEFORE, STATE
from costguard_core.pricing.price_book import PriceBook
from costguard_core.pricing.providers import provider_id, seller_of
from costguard_core.reports.reconciliation.bill import (
    AUDIO_CACHE_READ,
    AUDIO_INPUT,
    AUDIO_OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    INPUT,
    OUTPUT,
    Cell,
    Subject,
)
from costguard_core.reports.reconciliation.names import same_model
from costguard_core.types import NOT_SENT, Usage

QUARTER = 900
"""Seconds of a slot: calls in the last one before midnight, or the first one after it, are at the day's edge."""

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_cache_read_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "image_output_tokens",
    "web_searches",
)
_GROUPS = (
    "provider",
    "host",
    "model",
    "requested_model",
    "answered_model",
    "tier",
    "outcome",
    "estimated",
    "reason",
    "units",
    "priced_by",
)
# Errors with which a provider answers before it computes anything, or that it never saw. https://platform.openai.com/docs/guides/error-codes
_FREE_ERRORS = (
    *("ratelimit", "authentication", "permission", "notfound", "badrequest", "unprocessable", "connecterror"),
    NOT_SENT,
)


class Slot(NamedTuple):
    """Calls of a quarter of an hour that differ only in their counts.

    Attributes:
        start: unix seconds.
        seller: the price list's id of who was paid; ``None``: not known.
        names: the names of the model: the one that answered, the one that was priced, the one that was asked for.
        tier: the service tier, ``None``: standard.
        outcome: how the calls ended.
        estimated: whether their usage was counted here.
        reason: the class of the error.
        units: what was billed by the piece, as the ledger writes it.
        priced_by: who said what they cost.
        priced: whether their cost is known.
        calls: how many.
        cost: nano-dollars of all of them.
        counts: sums of the fields of :class:`Usage` in ``_COUNTS``.
    """

    start: int
    seller: str | None
    names: tuple[str, ...]
    tier: str | None
    outcome: str
    estimated: bool
    reason: str
    units: tuple[tuple[str, int], ...]
    priced_by: str | None
    priced: bool
    calls: int
    cost: int
    counts: Mapping[str, int]


@dataclass(slots=True)
class Recorded:
    """What the ledger holds of one subject.

    Attributes:
        tokens: of calls whose usage was reported and whose cost is known, by tier and part.
        cost: their cost by tier, in nano-dollars.
        calls: their number.
        unpriced_tokens, unpriced_calls: of calls whose usage was reported and whose cost is not known.
        estimated_cost, estimated_calls: of answers whose usage was counted here.
        failed_cost, failed_calls: of calls that ended with an error and were charged here.
        uncharged_calls: calls that ended with an error that the provider may bill, and were not charged.
        uses, tool_cost: of a tool that is billed by the piece.
        early, late: nano-dollars of calls within a quarter of an hour after the day began and before it ended.
    """

    tokens: dict[Cell, int] = field(default_factory=dict)
    cost: dict[str | None, int] = field(default_factory=dict)
    calls: int = 0
    unpriced_tokens: dict[Cell, int] = field(default_factory=dict)
    unpriced_calls: int = 0
    estimated_cost: int = 0
    estimated_calls: int = 0
    failed_cost: int = 0
    failed_calls: int = 0
    uncharged_calls: int = 0
    uses: int = 0
    tool_cost: int = 0
    early: int = 0
    late: int = 0

    @property
    def nanos(self) -> int:
        return sum(self.cost.values()) + self.estimated_cost + self.failed_cost + self.tool_cost

    @property
    def all_calls(self) -> int:
        """Calls that the provider answered, or may have."""
        return self.calls + self.unpriced_calls + self.estimated_calls + self.failed_calls


def read_slots(ledger: Ledger, start: float, end: float) -> list[Slot]:
    """The paid calls of a span, those of a quarter of an hour added up.

    Raises:
        CostGuardError: the ledger cannot be read.
    """
    condition, values = span(start, end)
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in _COUNTS)
    groups = ", ".join(_GROUPS)
    with ledger.reading() as database:
        sql = (
            f"SELECT {database.quarter}, {groups}, cost_nanos IS NULL, COUNT(*), COALESCE(SUM(cost_nanos), 0), {sums} "
            f"FROM {TABLE} WHERE {condition} AND outcome IN ('miss', 'error', 'abandoned') "
            f"GROUP BY {database.quarter}, {groups}, cost_nanos IS NULL"
        )
        return [_slot(row) for row in database.rows(sql, values)]


def deleted_before(ledger: Ledger) -> float | None:
    """Before which moment single calls were deleted, in unix seconds; ``None``: none was."""
    with ledger.reading() as database, database.snapshot() as reader:
        if not database.holds(reader, STATE):
            return None
        found = list(reader.rows(f"SELECT value FROM {STATE} WHERE name = '{PRUNED_BEFORE}'"))
    return float(found[0][0]) if found else None


def by_subject(
    slots: Iterable[Slot],
    *,
    provider: str,
    billed: Collection[Subject],
    zone: tzinfo,
    prices: PriceBook,
) -> dict[Subject, Recorded]:
    """The calls that ``provider`` sold, by day and by the bill's name of the model.

    Calls of nobody knows which seller count where the bill has their model. What tools cost is taken out of the cost of
    calls where the bill has lines for that tool.
    """
    models: dict[str, set[str]] = defaultdict(set)
    for subject in billed:
        if not subject.is_tool:
            models[subject.day].add(subject.name)
    everywhere = set().union(*models.values()) if models else set()
    tools = {subject.name for subject in billed if subject.is_tool}
    found: dict[Subject, Recorded] = {}
    for slot in slots:
        begun = datetime.fromtimestamp(slot.start, zone)
        day = begun.date().isoformat()
        name = same_model(slot.names, models[day]) or same_model(slot.names, everywhere)
        if slot.seller != provider and (slot.seller is not None or name is None):
            continue
        apart = _tools(slot, tools, provider, prices)
        for tool, (uses, cost) in apart.items():
            row = found.setdefault(Subject(day, tool, is_tool=True), Recorded())
            row.uses += uses
            row.tool_cost += cost
            _add_edges(row, begun, cost)
        row = found.setdefault(Subject(day, name or slot.names[0]), Recorded())
        cost = slot.cost - sum(cost for _, cost in apart.values())
        _add(row, slot, cost)
        _add_edges(row, begun, cost)
    return found


def _slot(row: tuple[Any, ...]) -> Slot:
    quarter, provider, host, model, requested, answered, tier, outcome, estimated, reason, units, priced_by = row[:12]
    unknown, calls, cost, *counts = map(int, row[12:])
    return Slot(
        start=int(quarter) * QUARTER,
        seller=provider_id(seller_of(provider, host)) or (provider or None),
        names=tuple(dict.fromkeys(name for name in (answered, model, requested) if name)) or ("(no model)",),
        tier=tier,
        outcome=outcome,
        estimated=bool(estimated),
        reason=(reason or "").lower(),
        units=tuple((str(name), int(count) * calls) for name, count in json.loads(units or "[]")),
        priced_by=priced_by,
        priced=not unknown,
        calls=calls,
        cost=cost,
        counts=dict(zip(_COUNTS, counts, strict=True)),
    )


def _add(row: Recorded, slot: Slot, cost: int) -> None:
    parts = dict(parts_of(slot.counts))
    if slot.outcome != "miss" and (slot.estimated or not parts):  # else the provider had reported what it used
        if slot.cost or not slot.priced:
            row.failed_calls += slot.calls
            row.failed_cost += cost
        elif not any(word in slot.reason for word in _FREE_ERRORS):
            row.uncharged_calls += slot.calls
    elif slot.estimated and slot.priced:
        row.estimated_calls += slot.calls
        row.estimated_cost += cost
    elif slot.priced:
        _add_tokens(row.tokens, slot.tier, parts)
        row.calls += slot.calls
        row.cost[slot.tier] = row.cost.get(slot.tier, 0) + cost
    else:
        _add_tokens(row.unpriced_tokens, slot.tier, parts)
        row.unpriced_calls += slot.calls


def _add_tokens(tokens: dict[Cell, int], tier: str | None, parts: Mapping[str, int]) -> None:
    for part, count in parts.items():
        tokens[tier, part] = tokens.get((tier, part), 0) + count


def parts_of(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The counts of a :class:`Usage`, whose parts are inside their totals, as parts beside each other."""
    cached_sound = counts["audio_cache_read_tokens"]
    sound = max(0, counts["audio_input_tokens"] - cached_sound)
    read = max(0, counts["cache_read_tokens"] - cached_sound)
    long = counts["cache_write_1h_tokens"]
    short = max(0, counts["cache_write_tokens"] - long)
    pictures, spoken, drawn = (
        counts["image_input_tokens"],
        counts["audio_output_tokens"],
        counts["image_output_tokens"],
    )
    fresh = counts["input_tokens"] - cached_sound - sound - read - long - short - pictures
    parts = (
        (INPUT, max(0, fresh)),
        (CACHE_READ, read),
        (CACHE_WRITE, short),
        (CACHE_WRITE_1H, long),
        (AUDIO_INPUT, sound),
        (AUDIO_CACHE_READ, cached_sound),
        (IMAGE_INPUT, pictures),
        (OUTPUT, max(0, counts["output_tokens"] - spoken - drawn)),
        (AUDIO_OUTPUT, spoken),
        (IMAGE_OUTPUT, drawn),
    )
    return ((part, count) for part, count in parts if count)


def _tools(slot: Slot, tools: Collection[str], provider: str, prices: PriceBook) -> dict[str, tuple[int, int]]:
    """Uses and nano-dollars of the tools among ``tools``, at the price that the ledger charged for them."""
    if slot.priced_by == "provider":  # the cost is the provider's own, and not split
        return {}
    used = [(name, count) for name, count in (("web_search", slot.counts["web_searches"]), *slot.units) if count]
    found, left = {}, slot.cost
    for name, count in used:
        if name not in tools:
            continue
        usage = Usage(units=((name, count),))
        if name == "web_search":  # what those of another tool cost more is no tool of its own on a bill
            usage = Usage(web_searches=count, units=tuple(one for one in slot.units if one[0] == "preview_search"))
        cost = prices.cost(usage, model=slot.names[0], provider=provider, at=float(slot.start)) or 0
        found[name] = (count, min(cost, left))
        left -= found[name][1]
    return found


def _add_edges(row: Recorded, begun: datetime, cost: int) -> None:
    minute = begun.hour * 60 + begun.minute
    if minute < QUARTER // 60:
        row.early += cost
    elif minute >= 24 * 60 - QUARTER // 60:
        row.late += cost


UTC_ZONE: tzinfo = UTC
