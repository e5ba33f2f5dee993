"""What the calls of a session add up to on each UTC day, so that a report by session does not read single calls.

There may be nearly as many rows as calls, so they are kept no longer than the calls. Each has the two sums that say
which sessions are the dearest, and a text with all others: one line per addition, outcome and whether it was paid, with
the measures and the sketch of latencies, separated by blanks. A correction adds a line with negative numbers. So the
writer only appends; lines of a text that has grown long are added up (:func:`shorten`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from costguard_core.ledger import sketch
from costguard_core.ledger.columns import TABLE as EVENTS
from costguard_core.ledger.database import Connection, Database
from costguard_core.ledger.measures import AMOUNTS, ANSWERED, MEASURES, PAID, sums_of_amounts
from costguard_core.ledger.months import DAY

TABLE = "costguard_sessions"

_LONGEST = 6_000  # characters of a text, after which its lines are added up
_COST = MEASURES.index("cost_nanos")

Kind = tuple[str, int]
"""An outcome, and whether such calls were paid."""


def create(connection: Connection) -> None:
    """Make the table."""
    connection.execute(
        f"CREATE TABLE {TABLE} (period BIGINT NOT NULL, session TEXT NOT NULL, calls BIGINT NOT NULL, "
        "cost_nanos BIGINT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (period, session))"
    )


def key_of(session: str | None) -> str:
    """How a session is called in the table, where a key cannot be NULL."""
    return "" if session is None else f"={session}"


def session_of(key: str) -> str | None:
    """The session of a key of the table."""
    return key[1:] if key else None


def add(
    database: Database, connection: Connection, condition: str, values: Sequence[Any], sign: int
) -> tuple[int, dict[int, int]]:
    """Add the events of an SQL condition, or take them out; returns how many, and characters appended by day."""
    chosen = (database.period(DAY), "session_id", "outcome", PAID, *AMOUNTS)
    found = connection.execute(f"SELECT {', '.join(chosen)} FROM {EVENTS} WHERE {condition}", values).fetchall()
    groups: dict[tuple[int, str | None], dict[Kind, list[Any]]] = {}
    for day, session, outcome, paid, *amounts in found:
        groups.setdefault((day, session), {}).setdefault((outcome, paid), []).append(amounts)
    rows, appended = [], dict[int, int]()
    for (day, session), kinds in groups.items():
        calls = cost = 0
        lines = []
        for (outcome, paid), members in kinds.items():
            *numbers, letters = sums_of_amounts(members, answered=outcome in ANSWERED)
            calls += sign * numbers[0]
            cost += sign * numbers[_COST]
            lines.append(f"{outcome} {paid} {' '.join([str(sign * one) for one in numbers])} {letters}\n")
        text = "".join(lines)
        rows.append((day, key_of(session), calls, cost, text))
        appended[day] = appended.get(day, 0) + len(text)
    mark = database.mark
    connection.cursor().executemany(
        f"INSERT INTO {TABLE} (period, session, calls, cost_nanos, sums) VALUES ({', '.join([mark] * 5)}) "
        f"ON CONFLICT (period, session) DO UPDATE SET calls = {TABLE}.calls + excluded.calls, "
        f"cost_nanos = {TABLE}.cost_nanos + excluded.cost_nanos, sums = {TABLE}.sums || excluded.sums",
        rows,
    )
    return len(found), appended


def read(text: str) -> Iterator[tuple[Kind, list[Any]]]:
    """The measures and the sketch of each kind of call in a text."""
    found: dict[Kind, list[Any]] = {}
    taken: dict[Kind, list[str]] = {}
    for line in text.split("\n")[:-1]:
        outcome, paid, *written, letters = line.split(" ")
        kind, numbers = (outcome, int(paid)), list(map(int, written))
        if numbers[0] < 0:
            taken.setdefault(kind, []).append(letters)
            letters = ""
        there = found.get(kind)
        found[kind] = (
            [*numbers, letters] if there is None else [a + b for a, b in zip(there, [*numbers, letters], strict=True)]
        )
    for kind, lost in taken.items():
        left = Counter(sketch.counts(found[kind][-1]))
        left.subtract(sketch.counts("".join(lost)))
        found[kind][-1] = sketch.fold(left)
    for kind, amounts in found.items():
        if any(amounts):
            yield kind, amounts


def shorten(database: Database, connection: Connection, day: int) -> None:
    """Add up the lines of the long texts of a day."""
    mark = database.mark
    sql = f"SELECT session, sums FROM {TABLE} WHERE period = {mark} AND length(sums) > {_LONGEST}"
    rows = []
    for session, text in connection.execute(sql, (day,)).fetchall():
        lines = (
            f"{outcome} {paid} {' '.join(map(str, numbers))} {sketch.fold(sketch.counts(letters))}\n"
            for (outcome, paid), (*numbers, letters) in read(text)
        )
        rows.append(("".join(lines), day, session))
    connection.cursor().executemany(
        f"UPDATE {TABLE} SET sums = {mark} WHERE period = {mark} AND session = {mark}", rows
    )


def prune(connection: Connection, before: float) -> None:
    """Forget the days before a moment, which is the beginning of one."""
    connection.execute(f"DELETE FROM {TABLE} WHERE period < {int(before)}")
