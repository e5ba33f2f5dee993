"""What calls were for: sales, resolved tickets, documents, users who were active. A table beside the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from costguard_core.ledger.columns import storable
from costguard_core.ledger.database import Connection, Database, Reader

TABLE = "costguard_outcomes"


class RecordedOutcome(NamedTuple):
    """Something that the application achieved.

    Attributes:
        id: of the outcome; a second one with the same id is not counted.
        time: unix seconds.
        name: what it is, such as ``"sale"``.
        value: what it is worth, nano-dollars; ``None``: not known.
        user: whose it is.
        session: the conversation that led to it.
    """

    id: str
    time: float
    name: str
    value: int | None = None
    user: str | None = None
    session: str | None = None


def create_outcomes_table(connection: Connection) -> None:
    """Make the table."""
    connection.execute(
        f"CREATE TABLE {TABLE} (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, name TEXT NOT NULL, "
        "value_nanos BIGINT, user_id TEXT, session_id TEXT)"
    )
    connection.execute(f"CREATE INDEX {TABLE}_by_name ON {TABLE} (name, time)")


def write_outcomes(database: Database, outcomes: Sequence[RecordedOutcome]) -> None:
    """Write outcomes in one transaction; those whose id is there are left alone."""
    marks = ", ".join([database.mark] * len(RecordedOutcome._fields))
    with database.transaction() as connection:
        connection.cursor().executemany(
            f"INSERT INTO {TABLE} (id, time, name, value_nanos, user_id, session_id) VALUES ({marks}) "
            "ON CONFLICT (id) DO NOTHING",
            [storable(outcome) for outcome in outcomes],
        )


def read_outcomes(
    database: Database, reader: Reader, name: str, since: float | None, until: float | None
) -> Iterator[RecordedOutcome]:
    """The outcomes of a name in a time span (unix seconds), oldest first; none where there is no such table yet."""
    if not database.holds(reader, TABLE):
        return
    given = [("name = ?", name), ("time >= ?", since), ("time < ?", until)]
    kept = [(text, value) for text, value in given if value is not None]
    sql = (
        f"SELECT id, time, name, value_nanos, user_id, session_id FROM {TABLE} "
        f"WHERE {' AND '.join(text for text, _ in kept)} ORDER BY time, id"
    )
    for row in reader.rows(sql, tuple(value for _, value in kept)):
        yield RecordedOutcome(*row)


def outcome_names(database: Database, reader: Reader) -> list[str]:
    """The names that outcomes were recorded under."""
    if not database.holds(reader, TABLE):
        return []
    return [str(name) for (name,) in reader.rows(f"SELECT DISTINCT name FROM {TABLE} ORDER BY name LIMIT 50")]
