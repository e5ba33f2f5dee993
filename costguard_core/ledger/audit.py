"""Who changed at run time what may be spent: a small table beside the events, read by people who ask why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from costguard_core.counters.base import GrantedLimit
from costguard_core.ledger.database import Connection, Database

TABLE = "costguard_audit"
MOST_KEPT = 100_000  # changes, the newest: a choice, some 30 MB


@dataclass(frozen=True, slots=True)
class Change:
    """One change at run time.

    Attributes:
        id: of the change.
        time: unix seconds.
        action: ``"grant"``, ``"revoke"``, ``"trip"``, ``"reset"``, ``"emergency"``, ``"end emergency"`` or
            ``"resume"``.
        budget: the name of the budget; empty for all of them.
        scope: whose counter it is, such as ``{"user": "u1"}``.
        unit: ``"usd"``, ``"requests"``, ``"tokens"`` or ``"input tokens"``.
        before: the limit that was granted before, nano-dollars or a count; ``None``: the budget's own.
        after: the limit from then on, as ``before``.
        until: when it ends, unix seconds; ``None``: when it is revoked.
        reason: why.
        by: who did it.
    """

    id: str
    time: float
    action: str
    budget: str = ""
    scope: tuple[tuple[str, str], ...] = ()
    unit: str = "usd"
    before: int | None = None
    after: int | None = None
    until: float | None = None
    reason: str = ""
    by: str = ""


def describe_change(
    id: str,
    time: float,
    action: str,
    before: GrantedLimit | None,
    after: GrantedLimit | None,
    *,
    reason: str = "",
    by: str = "",
) -> Change:
    """The record of a change from one granted limit to another; ``None``: to or from the budget's own."""
    about = after or before
    if about is None:
        return Change(id, time, action, reason=reason, by=by)
    return Change(
        id=id,
        time=time,
        action=action,
        budget=about.budget,
        scope=about.scope,
        unit=about.unit,
        before=None if before is None else before.amount,
        after=None if after is None else after.amount,
        until=None if after is None else after.until,
        reason=reason,
        by=by,
    )


def create_audit_table(connection: Connection) -> None:
    """Make the table. What was typed is inside JSON, which holds characters that a text column refuses."""
    connection.execute(
        f"CREATE TABLE {TABLE} (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, action TEXT NOT NULL, "
        "details TEXT NOT NULL)"
    )


def write_change(database: Database, change: Change) -> None:
    """Record a change, and forget the oldest beyond :data:`MOST_KEPT`."""
    details = {name: getattr(change, name) for name in ("budget", "unit", "before", "after", "until", "reason", "by")}
    row = (change.id, change.time, change.action, json.dumps({**details, "scope": dict(change.scope)}))
    marks = ", ".join([database.mark] * len(row))
    kept = f"(SELECT time FROM {TABLE} ORDER BY time DESC LIMIT 1 OFFSET {MOST_KEPT - 1})"
    with database.transaction() as connection:
        connection.execute(f"INSERT INTO {TABLE} VALUES ({marks})", row)
        connection.execute(f"DELETE FROM {TABLE} WHERE time < {kept}")


def read_changes(database: Database, since: float | None, until: float | None) -> Iterator[Change]:
    """The changes of a time span (unix seconds), oldest first."""
    given = [(text, value) for text, value in (("time >= ?", since), ("time < ?", until)) if value is not None]
    where = " AND ".join(text for text, _ in given) or "TRUE"
    sql = f"SELECT id, time, action, details FROM {TABLE} WHERE {where} ORDER BY time, id"
    for id, at, action, text in database.rows(sql, tuple(value for _, value in given)):
        details = json.loads(text)
        yield Change(id, at, action, **{**details, "scope": tuple(details["scope"].items())})
