"""The schema, as the list of steps that lead to it. A step, once released, is never edited: add another one.

Each step runs in one transaction together with the record that it ran, and only one process at a time runs them. A
table that somebody has dropped is made anew, and so is the record of the steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from costguard_core.errors import ConfigurationError
from costguard_core.ledger.audit import TABLE as AUDIT_TABLE
from costguard_core.ledger.audit import create_audit_table
from costguard_core.ledger.columns import COLUMNS, TABLE
from costguard_core.ledger.database import Connection, Database
from costguard_core.ledger.outcomes import TABLE as OUTCOMES_TABLE
from costguard_core.ledger.outcomes import create_outcomes_table
from costguard_core.ledger.rollups import TABLES as ROLLUP_TABLES
from costguard_core.ledger.rollups import create as create_rollups
from costguard_core.ledger.rollups import create_session_spans, create_sessions, note_quarters
from costguard_core.ledger.sessions import TABLES as SESSIONS_TABLES
from costguard_core.ledger.sessions import index_costs as index_session_costs

_log = logging.getLogger("costguard")

Migration = Callable[[Connection], None]

HISTORY = "costguard_ledger_migrations"


def events(connection: Connection) -> None:
    columns = ", ".join(f"{column.name} {column.type}" for column in COLUMNS if column.step == events.__name__)
    connection.execute(f"CREATE TABLE {TABLE} ({columns})")


def events_by_time(connection: Connection) -> None:
    connection.execute(f"CREATE INDEX {TABLE}_time ON {TABLE} (time)")


def _add_columns(connection: Connection, step: Migration) -> None:
    for column in COLUMNS:
        if column.step == step.__name__:
            connection.execute(f"ALTER TABLE {TABLE} ADD COLUMN {column.name} {column.type}")


def billing_columns(connection: Connection) -> None:
    """Who priced a call, what was asked for and what answered, and units that are billed beside tokens."""
    _add_columns(connection, billing_columns)


def tags_column(connection: Connection) -> None:
    """The tags of a call, as a JSON object."""
    _add_columns(connection, tags_column)


def price_source_column(connection: Connection) -> None:
    """Which price list a price is from."""
    _add_columns(connection, price_source_column)


def passes_column(connection: Connection) -> None:
    """The readings of a prompt that are billed by their own lengths, without which an unknown cost cannot be filled."""
    _add_columns(connection, passes_column)


def audit_table(connection: Connection) -> None:
    """Who changed limits at run time."""
    create_audit_table(connection)


def rollups(connection: Connection) -> None:
    """The tables of the roll-ups, empty: events that are there are added in the background, the oldest first."""
    create_rollups(connection)


def outcomes_table(connection: Connection) -> None:
    """What calls were for."""
    create_outcomes_table(connection)


def session_sums(connection: Connection) -> None:
    """The table of what sessions add up to."""
    create_sessions(connection)


def quarter_sums(connection: Connection) -> None:
    """Sums by quarters of hours, in the table that is there."""
    note_quarters(connection)


def session_spans(connection: Connection) -> None:
    """When sessions were, and how long prompts are, so that nothing reads all calls to explain a bill."""
    create_session_spans(connection)


def sessions_by_cost(connection: Connection) -> None:
    """An index by which a report finds the dearest of a million sessions."""
    index_session_costs(connection)


MIGRATIONS: tuple[Migration, ...] = (
    events,
    events_by_time,
    billing_columns,
    tags_column,
    audit_table,
    price_source_column,
    rollups,
    outcomes_table,
    session_sums,
    quarter_sums,
    session_spans,
    sessions_by_cost,
    passes_column,
)
# What is made of the events, with the steps of a single database about it.
_OF_SESSIONS = (session_spans.__name__, sessions_by_cost.__name__, "clustered_sessions")
_OF_ROLLUPS = (rollups.__name__, session_sums.__name__, quarter_sums.__name__, "clustered_rollups", *_OF_SESSIONS)
# Tables that no other one goes with, by the steps that make them: dropped, they are made anew, empty.
_ALONE: tuple[tuple[tuple[str, ...], str], ...] = (
    ((audit_table.__name__,), AUDIT_TABLE),
    ((outcomes_table.__name__,), OUTCOMES_TABLE),
    *((_OF_SESSIONS, table) for table in SESSIONS_TABLES),
)
_TABLES = (TABLE, HISTORY, *ROLLUP_TABLES, *(table for _, table in _ALONE))
NEEDED_BY_REPORTS: tuple[Migration, ...] = (events, billing_columns, tags_column)
"""The steps without which a ledger cannot be read. Without the others it is only slower."""


def migrate(
    database: Database, migrations: Sequence[Migration] | None = None, *, clock: Callable[[], float] = time.time
) -> list[str]:
    """Apply what is missing and return the names of what was applied.

    Args:
        database: where the ledger is kept.
        migrations: other steps than those of this version.
        clock: unix seconds, for the record of what was applied.

    Raises:
        ConfigurationError: the ledger was written by a newer Costguard, whose schema this one does not know.
    """
    steps = (*MIGRATIONS, *database.own_migrations) if migrations is None else tuple(migrations)
    with database.transaction() as connection:
        database.lock_schema(connection)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {HISTORY} (name TEXT PRIMARY KEY, applied DOUBLE PRECISION NOT NULL)"
        )
        done = {name for (name,) in connection.execute(f"SELECT name FROM {HISTORY}").fetchall()}
        check_known(database, done, steps)
        missing = database.missing_tables(connection, _TABLES) if done else frozenset()
        if TABLE in missing:
            _log.warning("costguard: the table %s of the ledger %s was dropped; it is made anew", TABLE, database.url)
            connection.execute(f"DELETE FROM {HISTORY}")
            _drop_rollups(connection)  # of events that are gone
            done = set()
        elif rollups.__name__ in done and not missing.isdisjoint(ROLLUP_TABLES):
            _log.warning(
                "costguard: a table of the roll-ups of the ledger %s was dropped; they are made anew", database.url
            )
            connection.execute(f"DELETE FROM {HISTORY} WHERE name IN {_OF_ROLLUPS!r}")
            _drop_rollups(connection)
            done.difference_update(_OF_ROLLUPS)
        for made_by, table in _ALONE:
            if made_by[0] in done and table in missing:
                _log.warning(
                    "costguard: the table %s of the ledger %s was dropped; it is made anew", table, database.url
                )
                for name in made_by:
                    connection.execute(f"DELETE FROM {HISTORY} WHERE name = '{name}'")
                done.difference_update(made_by)
    return [step.__name__ for step in steps if step.__name__ not in done and _apply(database, step, clock)]


def lacks_a_table(database: Database) -> bool:
    """Whether somebody has dropped a table of the ledger; :func:`migrate` makes it anew."""
    with database.transaction() as connection:
        return bool(database.missing_tables(connection, _TABLES))


def _drop_rollups(connection: Connection) -> None:
    for name in (*ROLLUP_TABLES, *SESSIONS_TABLES):
        connection.execute(f"DROP TABLE IF EXISTS {name}")


def _apply(database: Database, step: Migration, clock: Callable[[], float]) -> bool:
    try:
        return _apply_once(database, step, step.__name__, clock)
    except database.error as error:
        if not database.is_already_there(error):
            raise
    return _apply_once(database, _nothing, step.__name__, clock)  # the record was lost, not what it is about


def _apply_once(database: Database, step: Migration, name: str, clock: Callable[[], float]) -> bool:
    with database.transaction() as connection:
        database.lock_schema(connection)
        mark = database.mark
        found = connection.execute(f"SELECT 1 FROM {HISTORY} WHERE name = {mark}", (name,)).fetchone()
        if found:  # another process was faster
            return False
        step(connection)
        connection.execute(f"INSERT INTO {HISTORY} VALUES ({mark}, {mark})", (name, clock()))
    return True


def _nothing(connection: Connection) -> None:
    """The step that makes what is there already."""


def check_known(database: Database, done: set[str], migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Refuse a ledger that has had steps which this version does not know."""
    if unknown := sorted(done - {step.__name__ for step in (*migrations, *database.own_migrations)}):
        raise ConfigurationError(
            f"the ledger {database.url} was written by a newer version of Costguard (it has {', '.join(unknown)}): "
            f"upgrade with pip install -U langchain-costguard, or give this process a ledger of its own"
        )
