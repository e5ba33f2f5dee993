"""Which part of an :class:`Event` is kept in which column: one table, read in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from costguard_core.types import ATTRIBUTE_NAMES, Attribution, Event, Outcome, Usage

TABLE = "costguard_events"


class Column(NamedTuple):
    """``path`` leads from the event to the value; ``type`` means the same to SQLite and Postgres.

    ``step`` is the migration that made the column. ``json`` columns hold a value that SQL has no type for.
    """

    name: str
    path: str
    type: str
    step: str = "events"
    json: bool = False


_BILLING = "billing_columns"

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
    Column("video_input_tokens", "usage.video_input_tokens", "BIGINT NOT NULL DEFAULT 0", _BILLING),
    Column("region_surcharge", "usage.region_surcharge", "BIGINT NOT NULL DEFAULT 0", _BILLING),
    Column("stated_cost", "usage.stated_cost", "BIGINT", _BILLING),
    Column("tier_stated", "usage.tier_stated", "BOOLEAN NOT NULL DEFAULT FALSE", _BILLING),
    Column("priced_by", "priced_by", "TEXT", _BILLING),
    Column("requested_model", "requested_model", "TEXT", _BILLING),
    Column("answered_model", "answered_model", "TEXT", _BILLING),
    Column("request_id", "request_id", "TEXT", _BILLING),
    Column("host", "host", "TEXT", _BILLING),
    Column("account", "account", "TEXT", _BILLING),
    Column("price_source", "price_source", "TEXT", "price_source_column"),
    Column("unpriced", "unpriced", "TEXT", _BILLING, json=True),
    Column("units", "usage.units", "TEXT", _BILLING, json=True),
    Column("other_models", "usage.others", "TEXT", _BILLING, json=True),
    Column("tags", "attribution.tags", "TEXT", "tags_column", json=True),
    Column("passes", "usage.passes", "TEXT", "passes_column", json=True),
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
    "priced_by": "priced_by",
    "price_source": "price_source",
    "requested_model": "requested_model",
    "host": "host",
    "account": "account",
    "answered_model": "answered_model",
    "request_id": "request_id",
    "fingerprint": "fingerprint",
}

_values = attrgetter(*(column.path for column in COLUMNS))
_JSON = tuple(index for index, column in enumerate(COLUMNS) if column.json)


def to_row(event: Event) -> tuple[Any, ...]:
    """The values of an event's columns, in the order of ``NAMES``."""
    values: tuple[Any, ...] = _values(event)
    if not any(values[index] for index in _JSON):  # nearly every call
        return (*values[: _JSON[0]], *(None for _ in _JSON))
    usage = event.usage.to_json()
    tags = {name: storable_value(value) for name, value in event.attribution.tags}  # databases look into this JSON
    written = (event.unpriced, usage.get("units"), usage.get("others"), tags, usage.get("passes"))
    return (*values[: _JSON[0]], *(json.dumps(value) if value else None for value in written))


def to_event(row: Sequence[Any]) -> Event:
    """The event that a row (columns in the order of ``NAMES``) was written from, without its document names."""
    value = dict(zip(NAMES, row, strict=True))
    estimated = bool(value["estimated"])
    counts = {c.name: int(value[c.name]) for c in COLUMNS if c.path == f"usage.{c.name}" and "BIGINT NOT" in c.type}
    parts = {"units": "units", "others": "other_models", "passes": "passes"}
    beside = {name: json.loads(value[column] or "[]") for name, column in parts.items()}
    return Event(
        id=value["id"],
        time=value["time"],
        outcome=Outcome(value["outcome"]),
        model=value["model"],
        provider=value["provider"],
        attribution=Attribution(
            **{name: value[DIMENSIONS[name]] for name in ATTRIBUTE_NAMES},
            tags=tuple(sorted(json.loads(value["tags"] or "{}").items())),
        ),
        usage=Usage.from_json(
            {
                **counts,
                **beside,
                "tier": value["tier"],
                "estimated": estimated,
                "stated_cost": value["stated_cost"],
                "tier_stated": bool(value["tier_stated"]),
                "request_id": value["request_id"],
            }
        ),
        cost=value["cost_nanos"],
        saved=value["saved_nanos"],
        estimated=estimated,
        latency=value["latency"],
        kind=value["kind"],
        fingerprint=value["fingerprint"],
        reason=value["reason"],
        route=value["route"],
        priced_by=value["priced_by"],
        unpriced=tuple(json.loads(value["unpriced"] or "[]")),
        requested_model=value["requested_model"],
        answered_model=value["answered_model"],
        request_id=value["request_id"],
        host=value["host"],
        account=value["account"],
        price_source=value["price_source"],
    )


def storable(row: Sequence[object]) -> tuple[Any, ...]:
    """The row with every value in a form that any database takes: what a caller put in a text field may be anything."""
    return tuple(map(storable_value, row))


def storable_value(value: object) -> object:
    """One value in a form that any database takes."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
