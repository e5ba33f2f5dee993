"""Roll-ups: sums of events per hour, day or month and per combination of dimensions, so that a report reads few rows.

**What they cover.** All events before one moment, which is noted beside them. It is moved, and the events between the
old and the new moment are added, in one transaction (:meth:`Rollups.roll_up`). An event that arrives late, with a time
before that moment, is added in the transaction that writes it, and so is every correction (:meth:`Rollups.add_late`,
:meth:`Rollups.changing`). A report adds the events from that moment on to what is rolled up, in one snapshot. So it has
the same sums as the events have, also while an old ledger is being rolled up for the first time, and also after that
was interrupted.

**What they cost.** A row per combination that occurs. There are three *cubes*: one without the people, by the hour; one
of the people alone, by the day; one with everything but the conversation, by the month. Hours are also added up to days
and months, days to months. Each has a limit of rows per period: what goes beyond it is kept without the dimensions that
may have many values, the period is noted, and reports read the events of such a period as long as there are any. What
sessions add up to is kept beside them (:mod:`costguard_core.ledger.sessions`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from typing import Any, TypeVar

from costguard_core.ledger import sessions, sketch
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Connection, Database, Row
from costguard_core.ledger.measures import (
    AMOUNTS,
    ANSWERED,
    LATENCIES,
    MEASURES,
    PAID,
    sums_of_amounts,
    sums_of_events,
    tier_of_route,
)
from costguard_core.ledger.months import DAY, HOUR, QUARTER, month_start, next_month

_T = TypeVar("_T")

ROLLUPS, GROUPS = "costguard_rollups", "costguard_groups"
STATE, OVERFLOWS = "costguard_rollup_state", "costguard_rollup_overflows"
TABLES = (ROLLUPS, GROUPS, STATE, OVERFLOWS)

ROLLED_UNTIL, ALL_ROLLED_UNTIL, PRUNED_BEFORE = "rolled_until", "all_rolled_until", "pruned_before"
SESSIONS_ROLLED_UNTIL, QUARTERS_ROLLED_UNTIL = "sessions_rolled_until", "quarters_rolled_until"
SHORTENED = "sketches_shortened"
"""1 when no sketch of an older version is longer than it need be."""
QUARTERS_SINCE = "quarters_since"
"""Before when there are no quarters of hours, because the events had been deleted when these were introduced."""

OTHER = "(other)"
"""What stands for a value in a period that had more combinations than are kept."""

# Columns of groups. Each cube keeps neighbours in this order.
_PEOPLE = ("user_id", "tenant")
PEOPLE = frozenset(_PEOPLE)
"""Columns with many values, which few roll-ups keep."""
_ALWAYS = ("outcome", "paid")
_WORK = ("endpoint", "model", "template", "feature", "tags", "reason", "route", "requested_model", "host", "account")
_FEW = ("provider", "tier", "kind", "priced_by", "price_source")
KEYS: tuple[str, ...] = (*_PEOPLE, *_ALWAYS, *_WORK, *_FEW)

# What a folded combination does not keep. The name of a model is kept: prices go by it.
_FOLDED = frozenset((*_PEOPLE, *_WORK)) - {"model"}


@dataclass(frozen=True, slots=True)
class Cube:
    """One kind of roll-up.

    Attributes:
        number: how its rows are marked.
        period: ``"quarter"`` of an hour, ``"hour"``, ``"day"`` or ``"month"`` (of UTC).
        keys: the columns of groups that it keeps.
        most: rows of one period, after which further combinations are folded.
    """

    number: int
    period: str
    keys: tuple[str, ...]
    most: int

    def start(self, moment: float) -> int:
        """When the period of a moment begins; unix seconds."""
        if self.period == "month":
            return month_start(moment)
        return int(moment // _SECONDS[self.period]) * _SECONDS[self.period]

    def end(self, start: int) -> int:
        """When the period that begins at ``start`` ends."""
        return next_month(start) if self.period == "month" else start + _SECONDS[self.period]


_SECONDS = {"quarter": QUARTER, "hour": HOUR, "day": DAY}
_OF_WORK = (*_ALWAYS, *_WORK, *_FEW)
_OF_PEOPLE = (*_PEOPLE, *_ALWAYS)
# The limits are choices: a service with more combinations is asked for its events instead.
WORK_HOURS = Cube(1, "hour", _OF_WORK, 2_000)
WORK_DAYS = Cube(2, "day", _OF_WORK, 5_000)
WORK_MONTHS = Cube(3, "month", _OF_WORK, 20_000)
PEOPLE_DAYS = Cube(4, "day", _OF_PEOPLE, 50_000)
PEOPLE_MONTHS = Cube(5, "month", _OF_PEOPLE, 200_000)
ALL_MONTHS = Cube(6, "month", KEYS, 250_000)
MODELS_MONTHS = Cube(9, "month", (*_OF_PEOPLE, "model"), 100_000)
TAGS_MONTHS = Cube(10, "month", (*_OF_PEOPLE, "tags"), 100_000)
QUARTERS = Cube(8, "quarter", _ALWAYS, 100)
"""For days and hours of any zone, whose clocks are whole quarters of hours ahead of UTC."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Roll-ups that are brought up to date together.

    Attributes:
        name: what notes until when that is so.
        chains: cubes, each of which is added up from the last one before it that keeps its keys, the first from events.
            One that keeps fewer keys than another answers no more than that one, only sooner.
    """

    name: str
    chains: tuple[tuple[Cube, ...], ...]


# The second has nearly as many rows as there are events, so that it is left for quiet moments.
SOON = Stage(ROLLED_UNTIL, ((WORK_HOURS, WORK_DAYS, WORK_MONTHS), (PEOPLE_DAYS, PEOPLE_MONTHS)))
LATER = Stage(ALL_ROLLED_UNTIL, ((ALL_MONTHS, MODELS_MONTHS, TAGS_MONTHS),))
ADDED_UP_UNTIL: Mapping[Cube, str] = {MODELS_MONTHS: "models_until", TAGS_MONTHS: "people_tags_until"}
"""Of sums by everything, what notes the last month of an older version's that was also added up to these; infinite: all
are."""
SESSIONS = Stage(SESSIONS_ROLLED_UNTIL, ())
TIMES = Stage(QUARTERS_ROLLED_UNTIL, ((QUARTERS,),))
STAGES = (SOON, TIMES, SESSIONS, LATER)
CUBES: tuple[Cube, ...] = tuple(cube for stage in STAGES for chain in stage.chains for cube in chain)

SESSION_DAYS = Cube(7, "day", ("session_id",), 0)
"""What is kept of sessions, in a table of its own and without a limit: it goes with the events."""

_Key = tuple[Any, ...]  # of a group: one value per column of KEYS, None in those that a cube does not keep
_Sums = dict[int, dict[_Key, list[Any]]]  # by period and group: the measures, and the sketch

# Stored sketches that are to be folded: the long ones, and those that never were.
_LONG_SKETCH = (
    f"(length({LATENCIES}) > 1500 OR (length({LATENCIES}) > {sketch.LONGEST} AND {LATENCIES} NOT LIKE '%%=%%'))"
)
_FOLD_AFTER = 20_000  # characters that are appended to the sketches of a period before they are looked at
_SHORTEN_AFTER = 200_000  # characters that are appended to the sessions of a day before they are looked at
_MOST_KNOWN = 300_000  # groups that a process remembers to have stored: some 60 MB
_PART = 400  # ids in one statement


def create(connection: Connection) -> None:
    """Make the tables."""
    measures = ", ".join(f"{name} BIGINT NOT NULL" for name in MEASURES)
    connection.execute(
        f"CREATE TABLE {ROLLUPS} (cube SMALLINT NOT NULL, period BIGINT NOT NULL, group_id BIGINT NOT NULL, "
        f"{measures}, {LATENCIES} TEXT, PRIMARY KEY (cube, period, group_id))"
    )
    keys = ", ".join(f"{name} {'SMALLINT' if name == 'paid' else 'TEXT'}" for name in KEYS)
    connection.execute(f"CREATE TABLE {GROUPS} (group_id BIGINT PRIMARY KEY, {keys})")
    connection.execute(f"CREATE TABLE {OVERFLOWS} (cube SMALLINT, period BIGINT, PRIMARY KEY (cube, period))")
    connection.execute(f"CREATE TABLE {STATE} (name TEXT PRIMARY KEY, value DOUBLE PRECISION NOT NULL)")


def note_quarters(connection: Connection) -> None:
    """Note since when there will be quarters of hours: those of events that were deleted are lost. Once noted, it stays
    when the record of this step is lost."""
    pruned = f"SELECT '{QUARTERS_SINCE}', value FROM {STATE} WHERE name = '{PRUNED_BEFORE}'"
    connection.execute(f"INSERT INTO {STATE} (name, value) {pruned} ON CONFLICT (name) DO NOTHING")


def create_sessions(connection: Connection) -> None:
    """Make the table of sessions, empty: events that are there are added in the background, the oldest first."""
    sessions.create(connection)
    connection.execute(f"DELETE FROM {STATE} WHERE name = '{SESSIONS_ROLLED_UNTIL}'")


def create_session_spans(connection: Connection) -> None:
    """Make the tables of sessions anew: they are kept no longer than the events, so that these make them again."""
    sessions.create_spans(connection)
    connection.execute(f"DELETE FROM {STATE} WHERE name = '{SESSIONS_ROLLED_UNTIL}'")


class Rollups:
    """Keeps the roll-ups of one database. Every method runs inside a transaction of the caller's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.forget()

    def forget(self) -> None:
        """Forget what this process knows to be stored: a transaction was undone, or the database is another one."""
        self._ids: dict[_Key, int] = {}
        self._rows: dict[tuple[int, int], int] = {}  # the most rows that a period of a cube may have by now
        self._appended: defaultdict[tuple[int, int], int] = defaultdict(int)  # characters, by cube and period
        self._shortened = (0, 0)  # the last period whose sketches were looked at

    def moment(self, connection: Connection, name: str) -> float:
        """What is noted under a name; minus infinity if nothing is."""
        found = connection.execute(f"SELECT value FROM {STATE} WHERE name = '{name}'").fetchone()
        return float("-inf") if found is None else float(found[0])

    def note(self, connection: Connection, name: str, value: float) -> None:
        """Note a moment beside the roll-ups."""
        mark = self._database.mark
        connection.execute(
            f"INSERT INTO {STATE} (name, value) VALUES ({mark}, {mark}) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def roll_up(self, connection: Connection, stage: Stage, *, until: float, most: int) -> int:
        """Add the oldest events that are not rolled up, about ``most`` of them, as far as they are before ``until``.

        Returns how many were added.
        """
        mark = self._database.mark
        since = self.moment(connection, stage.name)
        after = _from(since)
        end = until
        later = connection.execute(
            f"SELECT time FROM {TABLE} WHERE {after} ORDER BY time LIMIT 1 OFFSET {mark}", (most,)
        ).fetchone()
        if later is not None and later[0] < until:  # events of one moment stay together
            found = connection.execute(f"SELECT MIN(time) FROM {TABLE} WHERE time > {mark}", (later[0],)).fetchone()
            end = until if found is None or found[0] is None else min(until, float(found[0]))
        if end <= since:
            return 0
        added = self._add(connection, stage, f"{after} AND time < {mark}", (end,))
        self.note(connection, stage.name, end)
        if stage.name == LATER.name and since == float("-inf"):  # no older version added up any of these events
            for name in ADDED_UP_UNTIL.values():
                self.note(connection, name, float("inf"))
        return added

    def add_late(self, connection: Connection, moments: Iterable[tuple[str, float]]) -> None:
        """Add events that were just written, given by id and time, where all others of their time are rolled up."""
        moments = list(moments)
        for stage in STAGES:
            until = self.moment(connection, stage.name)
            for part in parts([id for id, moment in moments if moment < until]):
                self._add(connection, stage, f"id IN ({self._marks(part)})", part)

    @contextmanager
    def changing(self, connection: Connection, ids: Sequence[str]) -> Iterator[None]:
        """Change events in the block: what they were is taken out of the roll-ups, and what they have become added."""
        self._add_rolled_up(connection, ids, -1)
        yield
        self._add_rolled_up(connection, ids, 1)

    def _add_rolled_up(self, connection: Connection, ids: Sequence[str], sign: int) -> None:
        for stage in STAGES:
            until = self.moment(connection, stage.name)
            if until > float("-inf"):
                for part in parts(ids):
                    self._add(connection, stage, f"id IN ({self._marks(part)}) AND time < {until!r}", part, sign)

    def _add(self, connection: Connection, stage: Stage, condition: str, values: Sequence[Any], sign: int = 1) -> int:
        """Add the events of a condition to the cubes of a stage, or take them out; returns how many they are."""
        database = self._database
        if stage.name == SESSIONS.name:
            return self._add_to_sessions(connection, condition, values, sign)
        if stage.name == TIMES.name:
            return self._add_to_quarters(connection, condition, values, sign)
        written = {"route": tier_of_route(database.find), "paid": PAID}
        chosen = (database.period(HOUR), *(written.get(name, name) for name in KEYS), *AMOUNTS)
        found = connection.execute(
            f"SELECT {', '.join(chosen)} FROM {TABLE} WHERE {condition} ORDER BY time", values
        ).fetchall()
        for chain in stage.chains:
            sums = {chain[0]: _summed(found, chain[0])}
            for cube in chain:
                if cube not in sums:
                    finer = next(one for one in reversed(sums) if set(cube.keys) <= set(one.keys))
                    sums[cube] = _coarser(sums[finer], cube, finer.keys)
                for period, groups in sums[cube].items():
                    self._merge(connection, cube, period, groups, sign)
        return len(found)

    def _add_to_sessions(self, connection: Connection, condition: str, values: Sequence[object], sign: int) -> int:
        added, appended = sessions.add(self._database, connection, condition, values, sign)
        for day, characters in appended.items():
            place = (SESSION_DAYS.number, day)
            self._appended[place] += characters
            if self._appended[place] >= _SHORTEN_AFTER:
                sessions.shorten(self._database, connection, day)
                self._appended[place] = 0
        return added

    def _add_to_quarters(self, connection: Connection, condition: str, values: Sequence[Any], sign: int) -> int:
        """There are so few groups that the database adds them up."""
        database = self._database
        chosen = (database.period(QUARTER), "outcome", PAID, *sums_of_events(database))
        sql = f"SELECT {', '.join(chosen)} FROM {TABLE} WHERE {condition} GROUP BY 1, 2, 3"
        added, sums = 0, _Sums()
        for period, outcome, paid, calls, *others, letters in connection.execute(sql, values).fetchall():
            group = tuple({"outcome": outcome, "paid": paid}.get(name) for name in KEYS)
            sums.setdefault(period, {})[group] = [calls, *others, letters or ""]
            added += calls
        for period, groups in sums.items():
            self._merge(connection, QUARTERS, period, groups, sign)
        return added

    def _merge(self, connection: Connection, cube: Cube, period: int, groups: dict[_Key, list[Any]], sign: int) -> None:
        """Add the sums of one period to what is stored of it, or take them out."""
        place = (cube.number, period)
        groups = self._with_room(connection, cube, period, groups)
        rows = [(*place, self._ids[key], *sums, sketch.shortened(letters)) for key, (*sums, letters) in groups.items()]
        if sign < 0:
            self._take_from_sketches(connection, rows)
            rows = [(*row[:3], *(-amount for amount in row[3:-1]), "") for row in rows]
        connection.cursor().executemany(_upsert(self._database.mark), rows)
        self._appended[place] += sum(len(row[-1]) for row in rows)
        if self._appended[place] >= _FOLD_AFTER:
            self._fold_sketches(connection, place)
            self._appended[place] = 0

    def _with_room(
        self, connection: Connection, cube: Cube, period: int, groups: dict[_Key, list[object]]
    ) -> dict[_Key, list[Any]]:
        """The sums with their groups stored; what is new and finds no room is folded, and the period noted."""
        place = (cube.number, period)
        self._store_groups(connection, groups)
        if self._rows.get(place, cube.most) + len(groups) > cube.most:  # perhaps: many of them are there already
            condition = f"cube = {cube.number} AND period = {period}"
            (stored,) = connection.execute(f"SELECT COUNT(*) FROM {ROLLUPS} WHERE {condition}").fetchone() or (0,)
            self._rows[place] = stored
            if stored + len(groups) > cube.most:
                present = self._present(connection, condition, groups)
                new = [key for key in groups if self._ids[key] not in present]
                if too_many := new[max(0, cube.most - stored) :]:
                    groups = _folded(groups, too_many)
                    self._store_groups(connection, groups)
                    connection.execute(
                        f"INSERT INTO {OVERFLOWS} (cube, period) VALUES {place} ON CONFLICT (cube, period) DO NOTHING"
                    )
        self._rows[place] += len(groups)
        return groups

    def _present(self, connection: Connection, condition: str, groups: Iterable[_Key]) -> set[int]:
        """The ids of those groups that have a row."""
        found: set[int] = set()
        for part in parts([self._ids[key] for key in groups]):
            among = f"group_id IN ({self._marks(part)})"
            rows = connection.execute(f"SELECT group_id FROM {ROLLUPS} WHERE {condition} AND {among}", part).fetchall()
            found.update(id for (id,) in rows)
        return found

    def _store_groups(self, connection: Connection, keys: Iterable[_Key]) -> None:
        """Have the groups in their table, under ids that follow from what they are."""
        new = [key for key in keys if key not in self._ids]
        if len(self._ids) + len(new) > _MOST_KNOWN:
            self._ids.clear()
            new = list(keys)
        if not new:
            return
        ids = {key: _digest(key) for key in new}
        mark = self._database.mark
        connection.cursor().executemany(
            f"INSERT INTO {GROUPS} (group_id, {', '.join(KEYS)}) VALUES ({', '.join([mark] * (len(KEYS) + 1))}) "
            "ON CONFLICT (group_id) DO NOTHING",
            [(id, *key) for key, id in ids.items()],
        )
        self._ids.update(ids)

    def _take_from_sketches(self, connection: Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Take the latencies of rows out of the stored sketches. Corrections are rare, so this may be slow."""
        mark = self._database.mark
        condition = f"cube = {mark} AND period = {mark} AND group_id = {mark}"
        for row in rows:
            if row[-1]:
                found = connection.execute(f"SELECT {LATENCIES} FROM {ROLLUPS} WHERE {condition}", row[:3]).fetchone()
                left = sketch.counts(found[0] or "" if found else "")
                left.subtract(sketch.counts(row[-1]))
                connection.execute(
                    f"UPDATE {ROLLUPS} SET {LATENCIES} = {mark} WHERE {condition}", (sketch.fold(left), *row[:3])
                )

    def _fold_sketches(self, connection: Connection, place: tuple[int, int]) -> None:
        """Shorten the sketches of a period that have grown long."""
        mark = self._database.mark
        condition = f"cube = {mark} AND period = {mark}"
        long = f"{condition} AND {_LONG_SKETCH}"
        found = connection.execute(f"SELECT group_id, {LATENCIES} FROM {ROLLUPS} WHERE {long}", place).fetchall()
        connection.cursor().executemany(
            f"UPDATE {ROLLUPS} SET {LATENCIES} = {mark} WHERE {condition} AND group_id = {mark}",
            [(sketch.fold(sketch.counts(text)), *place, id) for id, text in found],
        )

    def renew(self, connection: Connection) -> bool:
        """Bring a part of what an older version stored to how this one does; ``False``: all of it is so."""
        return any(self._add_up(connection, *one) for one in ADDED_UP_UNTIL.items()) or self._shorten(connection)

    def _add_up(self, connection: Connection, cube: Cube, name: str) -> bool:
        """Add up the next month of everything that an older version did not to a cube; ``name`` notes which it was."""
        done = self.moment(connection, name)
        if done == float("inf"):
            return False
        later = "" if done == float("-inf") else f" AND period > {int(done)}"
        of_all = f"cube = {ALL_MONTHS.number}"
        (period,) = connection.execute(f"SELECT MIN(period) FROM {ROLLUPS} WHERE {of_all}{later}").fetchone() or (None,)
        if period is None:
            self.note(connection, name, float("inf"))
            return False
        place = (cube.number, int(period))
        for table in (ROLLUPS, OVERFLOWS):  # what was added since is in the sums of all
            connection.execute(f"DELETE FROM {table} WHERE cube = {place[0]} AND period = {place[1]}")
        connection.execute(
            f"INSERT INTO {OVERFLOWS} (cube, period) SELECT {place[0]}, period FROM {OVERFLOWS} "
            f"WHERE {of_all} AND period = {place[1]}"
        )
        rows = connection.execute(
            f"SELECT {', '.join((*KEYS, *MEASURES, LATENCIES))} FROM {ROLLUPS} JOIN {GROUPS} "
            f"ON {GROUPS}.group_id = {ROLLUPS}.group_id WHERE {of_all} AND period = {place[1]}"
        )
        width = len(KEYS)
        groups: dict[_Key, list[Any]] = {}
        for row in rows.fetchall():
            _put(groups, row[:width], [*row[width:-1], row[-1] or ""])
        self._rows.pop(place, None)
        self._merge(connection, cube, place[1], _coarser({place[1]: groups}, cube)[place[1]], 1)
        self.note(connection, name, float(period))
        return True

    def _shorten(self, connection: Connection) -> bool:
        """Fold the long sketches of the next period that has any."""
        if self.moment(connection, SHORTENED) > 0:
            return False
        after = f"(cube, period) > ({self._shortened[0]}, {self._shortened[1]})"
        found = connection.execute(
            f"SELECT cube, period FROM {ROLLUPS} WHERE {_LONG_SKETCH} AND {after} ORDER BY cube, period LIMIT 1"
        ).fetchone()
        if found is None:
            self.note(connection, SHORTENED, 1.0)
            return False
        self._shortened = (int(found[0]), int(found[1]))
        self._fold_sketches(connection, self._shortened)
        return True

    def _marks(self, part: Sequence[object]) -> str:
        return ", ".join([self._database.mark] * len(part))


def parts(many: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """``many`` in pieces that one statement takes."""
    for start in range(0, len(many), _PART):
        yield many[start : start + _PART]


def _from(moment: float) -> str:
    """The SQL condition that an event is not before a moment."""
    return "TRUE" if moment == float("-inf") else f"time >= {moment!r}"


def _summed(rows: Sequence[Row], cube: Cube) -> _Sums:
    """Events (hour, keys, amounts) added up to the periods and groups of a cube."""
    width = len(KEYS) + 1
    kept = [place + 1 for place, name in enumerate(KEYS) if name in cube.keys]
    # Neighbours, so that slices do: see the order of KEYS.
    first, last = kept[0], kept[-1] + 1
    assert kept == list(range(first, last))
    outcome = KEYS.index("outcome") + 1 - first
    before, after = (None,) * (first - 1), (None,) * (width - last)
    periods: dict[int, dict[_Key, list[_Key]]] = {}
    by_hour: dict[int, dict[_Key, list[_Key]]] = {}  # the members of its period: of a month, few groups are of one hour
    for row in rows:
        groups = by_hour.get(row[0])
        if groups is None:
            groups = by_hour[row[0]] = periods.setdefault(cube.start(row[0]), {})
        key = row[first:last]
        members = groups.get(key)
        if members is None:
            groups[key] = [row[width:]]
        else:
            members.append(row[width:])
    return {
        period: {
            (*before, *key, *after): sums_of_amounts(members, answered=key[outcome] in ANSWERED)
            for key, members in groups.items()
        }
        for period, groups in periods.items()
    }


def _coarser(finer: _Sums, cube: Cube, kept: Sequence[str] | None = None) -> _Sums:
    """The sums of shorter periods, or of more groups, added up to those of a cube. ``kept``: the keys of the former."""
    found: _Sums = {}
    project = (
        None if kept == cube.keys else itemgetter(*(n if name in cube.keys else -1 for n, name in enumerate(KEYS)))
    )
    for period, groups in finer.items():
        into = found.setdefault(cube.start(period), {})
        for key, sums in groups.items():
            _put(into, key if project is None else project((*key, None)), sums)
    return found


def _put(into: dict[_Key, list[Any]], key: _Key, sums: list[Any]) -> None:
    there = into.get(key)
    into[key] = sums if there is None else [a + b for a, b in zip(there, sums, strict=True)]


def _folded(groups: dict[_Key, list[object]], too_many: Iterable[_Key]) -> dict[_Key, list[Any]]:
    found, folding = dict[_Key, list[Any]](), set(too_many)
    for key, sums in groups.items():
        _put(found, _fold(key) if key in folding else key, sums)
    return found


def _fold(key: _Key) -> _Key:
    """The group without the dimensions that may have many values; ``tags`` is JSON, so it is left out altogether."""
    return tuple(
        value if value is None or name not in _FOLDED else None if name == "tags" else OTHER
        for name, value in zip(KEYS, key, strict=True)
    )


def _digest(key: _Key) -> int:
    """63 bits of a hash: of a million groups, two are the same once in twenty million ledgers."""
    text = repr(key).encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


def _upsert(mark: str) -> str:
    columns = ("cube", "period", "group_id", *MEASURES, LATENCIES)
    added = ", ".join(f"{name} = {ROLLUPS}.{name} + excluded.{name}" for name in MEASURES)
    return (
        f"INSERT INTO {ROLLUPS} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))}) "
        f"ON CONFLICT (cube, period, group_id) DO UPDATE SET {added}, "
        f"{LATENCIES} = {ROLLUPS}.{LATENCIES} || excluded.{LATENCIES}"
    )
