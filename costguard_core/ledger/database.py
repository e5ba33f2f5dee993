"""What the ledger needs from a database. Two answer to it; everything above is written once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
"""A row as a driver returns it: each column in its own type."""

Value = str | int | float | bool | None
"""What a column can hold."""


class Cursor(Protocol):
    """What the cursors of ``sqlite3`` and ``psycopg`` have in common."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, sql: str, /) -> object: ...
    def executemany(self, sql: str, rows: Sequence[Sequence[Value]], /) -> object: ...
    def fetchone(self) -> Row | None: ...
    def fetchall(self) -> list[Row]: ...


class Connection(Protocol):
    """What the connections of ``sqlite3`` and ``psycopg`` have in common."""

    def execute(self, sql: str, values: Sequence[Value] = ..., /) -> Cursor: ...
    def cursor(self) -> Cursor: ...


class Reader(Protocol):
    """Queries of one moment."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        """Stream the rows of a query, with ``?`` as the placeholder."""
        ...


class Database(Protocol):
    """One place to keep the ledger in.

    Attributes:
        url: where it is, printable: without credentials.
        mark: the placeholder of a parameter.
        quarter: an SQL expression, the number of the quarter of an hour of an event since 1970.
        character: the SQL function that makes a character of its number.
        join: the SQL aggregate that joins texts, with what stands between them.
        own_migrations: steps of the schema that this database has beside those of all.
        find: the SQL function of a text and a part of it that says at which character the part begins, from 1.
        bytewise: the SQL collation that orders texts as Python does.
        error: base class of the driver's errors.
        row_faults: errors that are the fault of one row. Every other error is the database's, and may pass.
    """

    url: str
    mark: str
    quarter: str
    character: str
    join: str
    own_migrations: tuple[Callable[[Connection], None], ...]
    find: str
    bytewise: str
    error: type[Exception]
    row_faults: tuple[type[Exception], ...]

    def transaction(self) -> AbstractContextManager[Connection]:
        """All or nothing, one at a time; connects when there is no connection."""
        ...

    def lock_writing(self, connection: Connection) -> None:
        """Keep other processes from writing events until the transaction ends."""
        ...

    def period(self, seconds: int, of: str = "time") -> str:
        """An SQL expression: when the period of so many seconds that a time is in began, unix seconds."""
        ...

    def tag(self, name: str) -> str:
        """An SQL expression, the value of an event's tag. ``name`` holds no quotation marks."""
        ...

    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from changing the schema until the transaction ends."""
        ...

    def rows(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        """Stream the rows of a query, with ``?`` as the placeholder. Never waits for a writer."""
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """A reader whose queries all see the database as it was at the first one. Never waits for a writer."""
        ...

    def insert(self, connection: Connection, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> bool:
        """Insert events if none of their ids is there, else none of them; returns which."""
        ...

    def missing_tables(self, connection: Connection, names: Sequence[str]) -> frozenset[str]:
        """Which of these the ledger's schema does not have."""
        ...

    def holds(self, reader: Reader, name: str) -> bool:
        """Whether it has such a table, as a reader sees it."""
        ...

    def size(self, reader: Reader) -> int | None:
        """Bytes on the disk, with indexes; ``None``: it is in memory."""
        ...

    def drop_whole_months(self, connection: Connection, before: float) -> int:
        """Drop what holds only events before a moment, where events are in a table per month; returns how many."""
        ...

    def vacuum(self, table: str) -> None:
        """Give back the space of what was deleted. Outside of a transaction."""
        ...

    def explain(self, error: Exception) -> str:
        """An error in one line, without credentials; what to do about it where that is known."""
        ...

    def is_missing_table(self, error: Exception) -> bool:
        """Whether a statement failed because a table is not there."""
        ...

    def is_already_there(self, error: Exception) -> bool:
        """Whether a statement failed because what it makes (a table, an index, a column) is there."""
        ...

    def verify(self, table: str) -> None:
        """Look as another process would whether the newest row is there, where a commit alone does not prove it.

        Raises:
            CostGuardError: it is not.
        """
        ...

    def find_damage(self) -> str | None:
        """What is wrong with what was stored earlier, where that can be found out in a moment."""
        ...

    def is_setup_fault(self, error: Exception) -> bool:
        """Whether an error at opening time is one that waiting cannot mend."""
        ...

    def abandon(self) -> None:
        """Forget the connection without touching it: after a fork it is the parent's."""
        ...

    def close(self) -> None: ...


def insert_all(
    connection: Connection, rows: Mapping[str, Sequence[Sequence[Value]]], columns: Sequence[str], mark: str
) -> bool:
    """Insert rows, given by their tables, if none of their ids is there, else none of them; returns which."""
    marks = ", ".join([mark] * len(columns))
    inserted = 0
    connection.execute("SAVEPOINT costguard")
    for table, its_rows in rows.items():
        cursor = connection.cursor()
        cursor.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING", its_rows
        )
        inserted += cursor.rowcount
    complete = inserted == sum(map(len, rows.values()))
    if not complete:
        connection.execute("ROLLBACK TO SAVEPOINT costguard")
    connection.execute("RELEASE SAVEPOINT costguard")
    return complete
