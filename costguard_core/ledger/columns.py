"""Which part of an :class:`Event` is kept in which column: one table, read in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from costguard_core.types import ATTRIBUTES, Attribution, Event, Outcome, Usage

TABLE = "costguard_events"


class Column(NamedTuple):
    """``path`` leads from the event to the value; ``type`` means the same to SQLite and Postgres."""

    name: str
    path: str
    type: str


# `user` alone is a reserved word in Postgres, where an unquoted `SELECT user` silently answers the role's name.
COLUMNS: tuple[Column, ...] = (
    Column("id", "id", "TEXT PRIMARY KEY"),
    Column("time", "time", "DOUBLE PRECISION NOT NULL"),
    Column("outcome", "outcome.value", "TEXT NOT NULL"),
    Column("provider", "provider", "TEXT"),
    Column("model", "model", "TEXT NOT NULL"),
    Column("kind", "kind", "TEXT NOT NULL"),
    Column("tier", "usage.tier", "TEXT"),
    Column("user_id", "attribution.user", "TEXT"),
    Column("tenant", "attribution.tenant", "TEXT"),
    Column("session_id", "attribution.session", "TEXT"),
    Column("endpoint", "attribution.endpoint", "TEXT"),
    Column("feature", "attribution.feature", "TEXT"),
    Column("template", "attribution.template", "TEXT"),
    Column("cost_nanos", "cost", "BIGINT"),
    Column("saved_nanos", "saved", "BIGINT NOT NULL"),
    Column("estimated", "estimated", "BOOLEAN NOT NULL"),
    Column("latency", "latency", "DOUBLE PRECISION NOT NULL"),
    *(
        Column(name, f"usage.{name}", "BIGINT NOT NULL")
        for name in (
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
            "reasoning_tokens",
            "web_searches",
        )
    ),
    Column("fingerprint", "fingerprint", "TEXT"),
    Column("reason", "reason", "TEXT"),
    Column("route", "route", "TEXT"),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)

# What a report can be grouped by, and the column that holds it.
DIMENSIONS: Mapping[str, str] = {
    "user": "user_id",
    "tenant": "tenant",
    "session": "session_id",
    "endpoint": "endpoint",
    "feature": "feature",
    "template": "template",
    "model": "model",
    "provider": "provider",
    "tier": "tier",
    "kind": "kind",
    "outcome": "outcome",
    "reason": "reason",
    "route": "route",
}

to_row = attrgetter(*(column.path for column in COLUMNS))


def to_event(row: Sequence[Any]) -> Event:
    """The event that a row (columns in the order of ``NAMES``) was written from, without its document names."""
    value = dict(zip(NAMES, row, strict=True))
    estimated = bool(value["estimated"])
    counts = {c.name: int(value[c.name]) for c in COLUMNS if c.path == f"usage.{c.name}" and c.name != "tier"}
    return Event(
        id=value["id"],
        time=value["time"],
        outcome=Outcome(value["outcome"]),
        model=value["model"],
        provider=value["provider"],
        attribution=Attribution(**{name: value[DIMENSIONS[name]] for name in ATTRIBUTES if name in DIMENSIONS}),
        usage=Usage(**counts, tier=value["tier"], estimated=estimated),
        cost=value["cost_nanos"],
        saved=value["saved_nanos"],
        estimated=estimated,
        latency=value["latency"],
        kind=value["kind"],
        fingerprint=value["fingerprint"],
        reason=value["reason"],
        route=value["route"],
    )


def storable(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row with every value in a form that any database takes: what a caller put in a text field may be anything."""
    return tuple(map(_storable, row))


def _storable(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
