"""What events add up to: one list of sums, the same over single events and over roll-ups, in SQL of both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costguard_core.ledger.columns import DIMENSIONS
from costguard_core.ledger.database import Database
from costguard_core.ledger.sketch import FIRST_CHARACTER, SQL_BUCKET, bucket

# An unknown cost (NULL) is not nothing. A call that failed or was cancelled before it cost anything was not paid.
PAID = (
    "(CASE WHEN outcome = 'miss' OR (outcome IN ('error', 'abandoned') AND COALESCE(cost_nanos, 1) <> 0) "
    "THEN 1 ELSE 0 END)"
)
ANSWERED = ("miss", "exact", "semantic", "coalesced")
"""Outcomes of calls that got an answer."""

# Each measure: its column in a roll-up, and the sum over events that it holds.
_OF_EVENTS: dict[str, str] = {
    "calls": "COUNT(*)",
    "without_price": "COUNT(*) - COUNT(cost_nanos)",
    "partly_priced": "COUNT(unpriced)",
    "estimated": "COUNT(CASE WHEN estimated THEN 1 END)",
    "cost_nanos": "CAST(COALESCE(SUM(cost_nanos), 0) AS BIGINT)",
    "saved_nanos": "CAST(SUM(saved_nanos) AS BIGINT)",
    "input_tokens": "CAST(SUM(input_tokens) AS BIGINT)",
    "output_tokens": "CAST(SUM(output_tokens) AS BIGINT)",
    "cache_read_tokens": "CAST(SUM(cache_read_tokens) AS BIGINT)",
    "cache_write_tokens": "CAST(SUM(cache_write_tokens) AS BIGINT)",
    "reasoning_tokens": "CAST(SUM(reasoning_tokens) AS BIGINT)",
}
MEASURES: tuple[str, ...] = tuple(_OF_EVENTS)
LATENCIES = "latencies"
"""The column with the sketch of the latencies of answered calls; NULL: none was answered."""


def sums_of_events(database: Database) -> tuple[str, ...]:
    """The measures and the sketch, over events, as SQL."""
    letter = f"{database.character}({FIRST_CHARACTER} + {SQL_BUCKET})"
    answered = f"outcome IN {ANSWERED!r}"
    sketch = f"{database.join}(CASE WHEN {answered} THEN {letter} END, '')"
    return (*_OF_EVENTS.values(), sketch)


def sums_of_rollups(database: Database) -> tuple[str, ...]:
    """The same over roll-ups."""
    return (*(f"CAST(SUM({name}) AS BIGINT)" for name in MEASURES), f"{database.join}({LATENCIES}, '')")


_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
AMOUNTS: tuple[str, ...] = ("cost_nanos", "unpriced", "estimated", "latency", "saved_nanos", *_TOKENS)
"""The columns of an event that the sums are made from, for :func:`sums_of_amounts`."""


def sums_of_amounts(events: Sequence[Sequence[Any]], *, answered: bool) -> list[Any]:
    """The measures and the sketch of events that have one outcome, each given by its :data:`AMOUNTS`.

    The same as :func:`sums_of_events` in SQL, which is slower where there are many groups.
    """
    if len(events) == 1:
        cost, unpriced, estimated, latency, *others = events[0]
        known = [] if cost is None else [cost]
        letters = chr(FIRST_CHARACTER + bucket(latency)) if answered else ""
        return [1, 1 - len(known), int(unpriced is not None), int(estimated), sum(known), *others, letters]
    costs, unpriced, estimated, latencies, *columns = zip(*events, strict=True)
    known = [cost for cost in costs if cost is not None]
    letters = "".join([chr(FIRST_CHARACTER + bucket(latency)) for latency in latencies]) if answered else ""
    return [
        len(events),
        len(events) - len(known),
        len(events) - unpriced.count(None),
        sum(map(bool, estimated)),
        sum(known),
        *map(sum, columns),
        letters,
    ]


def tier_of_route(find: str) -> str:
    """Of a decision in one line, ``tier (score 0.1, cut 0.2) escalated: reasons``, the tier, as SQL.

    The rest differs from call to call. ``find`` is the function that says where a text begins in another one.
    """
    head = DIMENSIONS["route"]
    for end in (": ", " (score ", " escalated"):
        head = f"substr({head}, 1, {find}({head} || '{end}', '{end}') - 1)"
    return head
