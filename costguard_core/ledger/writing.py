"""Events into rows into the table, idempotently."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from costguard_core.ledger.columns import NAMES, TABLE, storable, to_row
from costguard_core.ledger.database import Database, Value
from costguard_core.types import LEASE_EXPIRED, Event, Outcome

_log = logging.getLogger(__name__)

_UPSERT = (
    f"INSERT INTO {TABLE} ({', '.join(NAMES)}) VALUES ({{marks}}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in NAMES if name != 'id')} "
    f"WHERE {TABLE}.outcome = '{Outcome.ABANDONED}' AND (excluded.outcome <> '{Outcome.ABANDONED}' "
    f"OR ({TABLE}.reason = '{LEASE_EXPIRED}' AND coalesce(excluded.reason, '') <> '{LEASE_EXPIRED}'))"
)


def write(database: Database, events: Sequence[Event]) -> int:
    """Write events in one transaction; returns how many were rejected because no form of them can be stored.

    An id that is there already is left alone, except that an abandoned call is replaced by how it really ended, and
    one whose lease expired by what its own process says of it later, which is also what the counters say then.
    """
    try:
        _insert(database, [to_row(event) for event in events])
        return 0
    except database.row_faults:
        return sum(not _rescue(database, event) for event in events)


def forget(database: Database, *, keep: int) -> None:
    """Delete all but about the ``keep`` newest rows of a SQLite ledger."""
    with database.transaction() as connection:
        connection.execute(f"DELETE FROM {TABLE} WHERE rowid <= (SELECT MAX(rowid) FROM {TABLE}) - {keep:d}")


def _rescue(database: Database, event: Event) -> bool:
    """One odd row must not hold back its whole batch: write each by itself, in the plainest form."""
    try:
        _insert(database, [storable(to_row(event))])
    except database.row_faults as error:
        _log.warning("event %s cannot be stored: %s", ascii(event.id), type(error).__name__)
        return False
    return True


def _insert(database: Database, rows: Sequence[Sequence[Value]]) -> None:
    sql = _UPSERT.format(marks=", ".join([database.mark] * len(NAMES)))
    with database.transaction() as connection:
        connection.cursor().executemany(sql, rows)
