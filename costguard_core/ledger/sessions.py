"""What the calls of a session add up to on each UTC day, so that a report by session does not read single calls.

There may be nearly as many rows as calls, so they are kept no longer than the calls. Each has the two sums that say
which sessions are the dearest, and a text with all others: one line per addition, outcome and whether it was paid, with
the measures and the sketch of latencies, separated by blanks. A correction adds a line with negative numbers. So the
writer only appends; lines of a text that has grown long are added up (:func:`shorten`).

Beside them stands what else the question why a bill changed would read single calls for: when the calls of a session
were made, and how many prompts of which length each endpoint had.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from costguard_core.ledger import sketch
from costguard_core.ledger.columns import TABLE as EVENTS
from costguard_core.ledger.database import Connection, Database
from costguard_core.ledger.measures import AMOUNTS, ANSWERED, MEASURES, PAID, sums_of_amounts
from costguard_core.ledger.months import DAY

TABLE, LENGTHS = "costguard_sessions", "costguard_prompt_lengths"
TABLES = (TABLE, LENGTHS)

SENT = ("miss", "error", "abandoned")
"""Outcomes of calls whose prompt was sent to a provider, or may have been."""

BOUNDS: tuple[int, ...] = tuple(sorted({round(2 ** (step / 4)) for step in range(100)}))
"""Tokens by which prompts are classed: a prompt of class n has more than those of n - 1, at most those of n."""

_LONGEST = 6_000  # characters of a text, after which its lines are added up
_COST = MEASURES.index("cost_nanos")
_ASKED = AMOUNTS.index("input_tokens")
_PART = 400  # sessions in one statement

Kind = tuple[str, int]
"""An outcome, and whether such calls were paid."""


def create(connection: Connection) -> None:
    """Make the table of sums, as it was at first."""
    connection.execute(
        f"CREATE TABLE {TABLE} (period BIGINT NOT NULL, session TEXT NOT NULL, calls BIGINT NOT NULL, "
        "cost_nanos BIGINT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (period, session))"
    )


def create_spans(connection: Connection) -> None:
    """Make both tables, empty, in the place of the one that was there.

    ``began`` and ``ended`` are the times of the first and the last call of the day. ``resumed`` is 1 where the session
    has another day: all other sessions are one row, so that the dearest are found without adding up.
    """
    for name in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(
        f"CREATE TABLE {TABLE} (period BIGINT NOT NULL, session TEXT NOT NULL, calls BIGINT NOT NULL, "
        "cost_nanos BIGINT NOT NULL, began DOUBLE PRECISION NOT NULL, ended DOUBLE PRECISION NOT NULL, "
        "resumed SMALLINT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (period, session))"
    )
    connection.execute(f"CREATE INDEX {TABLE}_by_name ON {TABLE} (session)")
    connection.execute(
        f"CREATE TABLE {LENGTHS} (period BIGINT NOT NULL, endpoint TEXT NOT NULL, length SMALLINT NOT NULL, "
        "calls BIGINT NOT NULL, cost_nanos BIGINT NOT NULL, PRIMARY KEY (period, endpoint, length))"
    )


def index_costs(connection: Connection) -> None:
    """Find the dearest sessions, and count them, without reading what they add up to."""
    connection.execute(f"CREATE INDEX {TABLE}_by_cost ON {TABLE} (resumed, cost_nanos, calls)")


def key_of(session: str | None) -> str:
    """How a session, or an endpoint, is called in the tables, where a key cannot be NULL."""
    return "" if session is None else f"={session}"


def session_of(key: str) -> str | None:
    """What a key of the tables stands for."""
    return key[1:] if key else None


def add(
    database: Database, connection: Connection, condition: str, values: Sequence[Any], sign: int
) -> tuple[int, dict[int, int]]:
    """Add the events of an SQL condition, or take them out; returns how many, and characters appended by day."""
    chosen = (database.period(DAY), "session_id", "time", "endpoint", "outcome", PAID, *AMOUNTS)
    found = connection.execute(
        f"SELECT {', '.join(chosen)} FROM {EVENTS} WHERE {condition} ORDER BY time", values
    ).fetchall()
    groups: dict[tuple[int, str | None], dict[Kind, list[Any]]] = {}
    began: dict[tuple[int, str | None], float] = {}
    ended: dict[tuple[int, str | None], float] = {}
    lengths: dict[tuple[int, str | None, int], list[int]] = {}
    for day, session, time, endpoint, outcome, paid, *amounts in found:
        place = (day, session)
        kinds = groups.get(place)
        if kinds is None:
            kinds = groups[place] = {}
            began[place] = time
        ended[place] = time
        kinds.setdefault((outcome, paid), []).append(amounts)
        if outcome in SENT:
            row = lengths.setdefault((day, endpoint, bisect_left(BOUNDS, amounts[_ASKED])), [0, 0])
            row[0] += sign
            row[1] += sign * (amounts[0] or 0)
    rows, appended = [], dict[int, int]()
    for place, kinds in groups.items():
        calls = cost = 0
        lines = []
        for (outcome, paid), members in kinds.items():
            *numbers, letters = sums_of_amounts(members, answered=outcome in ANSWERED)
            calls += sign * numbers[0]
            cost += sign * numbers[_COST]
            lines.append(f"{outcome} {paid} {' '.join([str(sign * one) for one in numbers])} {letters}\n")
        text = "".join(lines)
        rows.append((place[0], key_of(place[1]), calls, cost, began[place], ended[place], 0, text))
        appended[place[0]] = appended.get(place[0], 0) + len(text)
    mark = database.mark
    connection.cursor().executemany(
        f"INSERT INTO {TABLE} (period, session, calls, cost_nanos, began, ended, resumed, sums) "
        f"VALUES ({', '.join([mark] * 8)}) "
        f"ON CONFLICT (period, session) DO UPDATE SET calls = {TABLE}.calls + excluded.calls, "
        f"cost_nanos = {TABLE}.cost_nanos + excluded.cost_nanos, sums = {TABLE}.sums || excluded.sums, "
        f"began = CASE WHEN excluded.began < {TABLE}.began THEN excluded.began ELSE {TABLE}.began END, "
        f"ended = CASE WHEN excluded.ended > {TABLE}.ended THEN excluded.ended ELSE {TABLE}.ended END",
        rows,
    )
    _mark_resumed(database, connection, [row[1] for row in rows])
    connection.cursor().executemany(
        f"INSERT INTO {LENGTHS} (period, endpoint, length, calls, cost_nanos) VALUES ({', '.join([mark] * 5)}) "
        f"ON CONFLICT (period, endpoint, length) DO UPDATE SET calls = {LENGTHS}.calls + excluded.calls, "
        f"cost_nanos = {LENGTHS}.cost_nanos + excluded.cost_nanos",
        [(day, key_of(endpoint), length, *row) for (day, endpoint, length), row in lengths.items()],
    )
    return len(found), appended


def _mark_resumed(database: Database, connection: Connection, keys: Sequence[str]) -> None:
    """Mark the rows of those sessions that have more than one."""
    for start in range(0, len(keys), _PART):
        part = keys[start : start + _PART]
        marks = ", ".join([database.mark] * len(part))
        several = f"SELECT session FROM {TABLE} WHERE session IN ({marks}) GROUP BY session HAVING COUNT(*) > 1"
        connection.execute(f"UPDATE {TABLE} SET resumed = 1 WHERE resumed = 0 AND session IN ({several})", part)


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
    for name in TABLES:
        connection.execute(f"DELETE FROM {name} WHERE period < {int(before)}")
