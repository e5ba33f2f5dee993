"""Events into rows into the table, each once, and into the roll-ups in the same transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext

from costguard_core.ledger.columns import NAMES, TABLE, storable, to_row
from costguard_core.ledger.database import Connection, Database, Value
from costguard_core.ledger.rollups import Rollups, parts
from costguard_core.types import LEASE_EXPIRED, Event, Outcome

_log = logging.getLogger(__name__)

_ID, _TIME, _OUTCOME, _REASON = (NAMES.index(name) for name in ("id", "time", "outcome", "reason"))
_FIRST_CHANGED = 2  # a call keeps its id and its time, which are the first columns, whatever becomes of it
_Row = Sequence[Value]


def write(database: Database, events: Sequence[Event], rollups: Rollups | None) -> int:
    """Write events in one transaction; returns how many were rejected because no form of them can be stored.

    An id that is there already is left alone, except that an abandoned call is replaced by how it really ended, and
    one whose lease expired by what its own process says of it later, which is also what the counters say then.
    """
    try:
        _record(database, rollups, [to_row(event) for event in events])
        return 0
    except database.row_faults:
        if rollups is not None:
            rollups.forget()
        return sum(not _rescue(database, rollups, event) for event in events)


def replace(database: Database, events: Sequence[Event], rollups: Rollups | None) -> int:
    """Put events in the place of those with the same ids, in one transaction; returns how many there were."""
    rows = [storable(to_row(event)) for event in events]
    with database.transaction() as connection:
        database.lock_writing(connection)
        known = _outcomes(database, connection, [str(row[_ID]) for row in rows])
        there = [row for row in rows if row[_ID] in known]
        _update(database, connection, rollups, there)
    return len(there)


def forget(database: Database, *, keep: int) -> None:
    """Delete all but about the ``keep`` newest rows of a SQLite ledger."""
    with database.transaction() as connection:
        connection.execute(f"DELETE FROM {TABLE} WHERE rowid <= (SELECT MAX(rowid) FROM {TABLE}) - {keep:d}")


def _rescue(database: Database, rollups: Rollups | None, event: Event) -> bool:
    """One odd row must not hold back its whole batch: write each by itself, in the plainest form."""
    try:
        _record(database, rollups, [storable(to_row(event))])
    except database.row_faults as error:
        if rollups is not None:
            rollups.forget()
        _log.warning("event %s cannot be stored: %s", ascii(event.id), type(error).__name__)
        return False
    return True


def _record(database: Database, rollups: Rollups | None, rows: Sequence[_Row]) -> None:
    with database.transaction() as connection:
        database.lock_writing(connection)
        if not database.insert(connection, NAMES, rows):  # some are there: find out which
            rows = _record_again(database, connection, rollups, rows)
        if rollups is not None:
            rollups.add_late(connection, [(str(row[_ID]), row[_TIME]) for row in rows])  # type: ignore[misc]


def _record_again(
    database: Database, connection: Connection, rollups: Rollups | None, rows: Sequence[_Row]
) -> list[_Row]:
    """Write rows of which some are there, or some are there twice; returns those that were not."""
    latest: dict[str, _Row] = {}
    for row in rows:
        id = str(row[_ID])
        if id not in latest or _supersedes(row, latest[id][_OUTCOME], latest[id][_REASON]):
            latest[id] = row
    known = _outcomes(database, connection, list(latest))
    new = [row for id, row in latest.items() if id not in known]
    if new:
        database.insert(connection, NAMES, new)
    ended = [row for id, row in latest.items() if id in known and _supersedes(row, *known[id])]
    _update(database, connection, rollups, ended)
    return new


def _supersedes(row: _Row, outcome: Value, reason: Value) -> bool:
    """Whether a row is what really became of a call that is recorded with this outcome and reason."""
    if outcome != Outcome.ABANDONED:
        return False
    return row[_OUTCOME] != Outcome.ABANDONED or (reason == LEASE_EXPIRED and row[_REASON] != LEASE_EXPIRED)


def _outcomes(database: Database, connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Value, Value]]:
    """How the events that are there ended, by id: outcome and reason."""
    found: dict[str, tuple[Value, Value]] = {}
    for part in parts(ids):
        marks = ", ".join([database.mark] * len(part))
        rows = connection.execute(f"SELECT id, outcome, reason FROM {TABLE} WHERE id IN ({marks})", part).fetchall()
        found.update((id, (outcome, reason)) for id, outcome, reason in rows)
    return found


def _update(database: Database, connection: Connection, rollups: Rollups | None, rows: Sequence[_Row]) -> None:
    if not rows:
        return
    ids = [str(row[_ID]) for row in rows]
    assigned = ", ".join(f"{name} = {database.mark}" for name in NAMES[_FIRST_CHANGED:])
    with nullcontext() if rollups is None else rollups.changing(connection, ids):
        connection.cursor().executemany(
            f"UPDATE {TABLE} SET {assigned} WHERE id = {database.mark}",
            [(*row[_FIRST_CHANGED:], row[_ID]) for row in rows],
        )
