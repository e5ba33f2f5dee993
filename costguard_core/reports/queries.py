"""What a report asks of the ledger, in SQL that SQLite and Postgres both understand, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from heapq import nlargest, nsmallest
from typing import Any

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger, sessions
from costguard_core.ledger.columns import DIMENSIONS, TABLE, storable_value
from costguard_core.ledger.database import Database, Reader
from costguard_core.ledger.ledger import span
from costguard_core.ledger.measures import LATENCIES, MEASURES, PAID, sums_of_events, sums_of_rollups, tier_of_route
from costguard_core.ledger.months import DAY
from costguard_core.ledger.rollups import GROUPS, OVERFLOWS, PEOPLE, ROLLUPS, SESSION_DAYS, SESSIONS, STATE
from costguard_core.reports.plan import Piece, Plan, make_plan
from costguard_core.reports.report import SORTS, Key, Report, Row, Totals
from costguard_core.reports.sums import Sums
from costguard_core.reports.time_buckets import TIME_UNITS, TimeBuckets, read_zone
from costguard_core.types import attributed
from costguard_core.util.numbers import whole_number
from costguard_core.util.options import check_kind, meant
from costguard_core.util.text import NONE, moment_text
from costguard_core.util.timeparse import Moment

Where = Mapping[str, str | None]
_Values = tuple[Any, ...]  # a row, or the beginning of one, as the database has it

# Of these there may be as many values as calls, and no roll-up keeps them.
_UNBOUNDED = frozenset(("session", "request_id", "fingerprint"))
_MOST_CHOSEN = 1_000  # values in one condition: databases take 32,000, and more than some hundreds are no faster


def _names(by: str | Sequence[str]) -> tuple[str, ...]:
    words = [by] if isinstance(by, str) else by
    return tuple(name.strip() for word in words for name in word.split(",") if name.strip())


def make_report(
    ledger: Ledger,
    by: str | Sequence[str] = (),
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    where: Where | None = None,
    timezone: str = "UTC",
    limit: int | None = None,
    sort: str | None = None,
) -> Report:
    """Calls, spend and savings by one or several of ``"user"``, ``"endpoint"``, ``"model"``, ``"day"``, …, or a tag.

    Memory is bounded by the number of groups, however many calls there were.

    Args:
        ledger: what was recorded.
        by: the dimensions of the groups, also as ``"user,model"``; none: only the total.
        since, until: the span, ``since`` inclusive and ``until`` exclusive, in the forms of
            :func:`costguard_core.util.timeparse.resolve`.
        where: only calls with these values, such as ``{"endpoint": "/faq"}``; ``None`` as a value: where none is given.
        timezone: whose hours, days, weeks and months are meant, also by ``since="today"``: an IANA name or ``"local"``.
        limit: the most rows; the total is of all calls.
        sort: a name of :data:`costguard_core.reports.report.SORTS`; by default by time where that is a dimension, else
            by spend.

    Raises:
        ConfigurationError: an unknown dimension, time, zone or order.
        CostGuardError: the ledger cannot be read.
    """
    names = _names(by)
    if limit is not None:
        whole_number("limit", limit, at_least=1)
    if sort is not None and sort not in SORTS:
        guess = f"{meant(sort, SORTS)} ".lstrip()
        raise ConfigurationError(f"a report cannot be sorted by {sort!r}: {guess}Use one of {', '.join(SORTS)}")
    zone = read_zone(timezone)
    start, end = ledger.resolve_span(since, until, zone)
    by_spend = sort in (None, "spend") and not any(name in TIME_UNITS for name in names)
    most = limit if by_spend and limit is not None and limit <= _MOST_CHOSEN else None
    sums, whole, groups, plan = _read_groups(ledger, names, most, start=start, end=end, where=where, zone=zone)
    counted = [(key, group) for key, group in sums.items() if names and group.calls]
    if limit is not None and by_spend:  # of many groups, the figures of a few are worked out
        chosen = _largest({key: (group.cost, group.calls) for key, group in counted}, limit)
        counted = [(key, group) for key, group in counted if key in chosen]
    rows = [Row(key, group.totals()) for key, group in counted]
    if sort is None and any(name in TIME_UNITS for name in names):
        rows.sort(key=lambda row: row.label)
    else:
        rows.sort(key=SORTS[sort or "spend"])
    kept = rows if limit is None else rows[:limit]
    return Report(
        names,
        tuple(kept),
        whole.totals(),
        start,
        end,
        ledger.url,
        timezone=timezone,
        more=groups - len(kept),
        notes=tuple(_lost_notes(plan, zone)),
    )


def call_condition(
    database: Database, where: Where, *, since: float | None = None, until: float | None = None
) -> tuple[str, _Values]:
    """The SQL condition, and its values, of the calls in a span (unix seconds) that have the values of ``where``."""
    query = _Query((), _mapping(where), UTC)
    query.check(database)
    return query.conditions(
        database, Piece(None, float("-inf") if since is None else since, float("inf") if until is None else until)
    )


def pieces_of_sessions(
    ledger: Ledger, database: Database, reader: Reader, where: Where, since: float, until: float
) -> tuple[Piece, ...]:
    """Which parts of a span (unix seconds) the tables of sessions answer, and for which single calls are read."""
    if where:  # the lengths of prompts are kept by endpoint alone
        return (Piece(None, since, until),)
    query, notes = _Query(("session",), {}, UTC), _read_notes(database, reader)
    return make_plan(query.keys(), query.buckets, since, until, now=ledger.clock(), **notes).pieces


def read_sums(
    ledger: Ledger,
    by: Sequence[str],
    *,
    start: float | None,
    end: float | None,
    where: Where | None = None,
    among: Mapping[str, Sequence[str | None]] | None = None,
    zone: tzinfo,
) -> tuple[dict[Key, Sums], Plan]:
    """What events add up to by dimensions, from roll-ups as far as they answer it, and from events beyond them.

    Args:
        ledger: what was recorded.
        by: dimensions; the keys of the result are their values in this order.
        start, end: the span, unix seconds.
        where: only calls with these values.
        among: only calls with one of several values, by dimension.
        zone: whose hours, days, weeks and months are meant.

    Raises:
        ConfigurationError: an unknown dimension.
        CostGuardError: the ledger cannot be read.
    """
    query = _Query(tuple(by), _mapping(where), zone, among or {})
    found: dict[Key, Sums] = {}
    with ledger.reading() as database, database.snapshot() as reader:
        query.check(database)
        plan = make_plan(query.keys(), query.buckets, start, end, now=ledger.clock(), **_read_notes(database, reader))
        for piece in plan.pieces:
            _add_all(found, query.read(database, reader, piece))
    return found, plan


def read_costs(
    ledger: Ledger,
    by: Sequence[str],
    *,
    start: float | None,
    end: float | None,
    where: Where | None = None,
    among: Mapping[str, Sequence[str | None]] | None = None,
    zone: tzinfo,
) -> dict[Key, tuple[int, int]]:
    """What calls cost by dimensions (nano-dollars; unknown costs are not in it), and how many they are.

    As :func:`read_sums`, and several times as quick, since nothing else is read.

    Raises:
        ConfigurationError: an unknown dimension.
        CostGuardError: the ledger cannot be read.
    """
    query = _Query(tuple(by), _mapping(where), zone, among or {})
    with ledger.reading() as database, database.snapshot() as reader:
        query.check(database)
        notes = _read_notes(database, reader)
        plan = make_plan(query.keys(), query.buckets, start, end, now=ledger.clock(), **notes)
        return _costs(query, plan, database, reader)


def read_dearest(
    ledger: Ledger,
    by: str,
    most: int,
    *,
    start: float | None,
    end: float | None,
    where: Where | None = None,
    calls: int = 1,
) -> dict[str, tuple[int, int]]:
    """The values of a dimension that cost the most, of those with so many calls; their nano-dollars and calls.

    Raises:
        ConfigurationError: an unknown dimension.
        CostGuardError: the ledger cannot be read.
    """
    query = _Query((by,), _mapping(where), UTC)
    with ledger.reading() as database, database.snapshot() as reader:
        query.check(database)
        notes = _read_notes(database, reader)
        plan = make_plan(query.keys(), query.buckets, start, end, now=ledger.clock(), **notes)
        costs, _ = _dearest(query, plan, database, reader, most + 1, calls=calls)  # calls without a value are left out
    named = {str(key[0]): found for key, found in costs.items() if key[0] is not None and found[1] >= calls}
    return dict(nlargest(most, named.items(), key=lambda item: (*item[1], item[0])))


def _costs(query: _Query, plan: Plan, database: Database, reader: Reader) -> dict[Key, tuple[int, int]]:
    """Per group its cost and calls, of those that have calls."""
    return _added_up(found for piece in plan.pieces for found in query.read_costs(database, reader, piece))


def _added_up(found: Iterable[tuple[Key, int, int]]) -> dict[Key, tuple[int, int]]:
    """Per group its cost and calls, of those that have calls."""
    costs: dict[Key, tuple[int, int]] = {}
    for key, cost, calls in found:
        before = costs.get(key, (0, 0))
        costs[key] = before[0] + cost, before[1] + calls
    return {key: amounts for key, amounts in costs.items() if amounts[1]}


def _dearest(
    query: _Query, plan: Plan, database: Database, reader: Reader, most: int, *, calls: int = 1
) -> tuple[dict[Key, tuple[int, int]], int]:
    """Cost and calls of groups, among which are the ``most`` dearest with so many calls, and how many groups there are.

    Of sessions that are one row of their table, only the dearest rows are read: the others need no adding up.
    """
    pieces = [piece for piece in plan.pieces if piece.cube is SESSION_DAYS]
    if not pieces or query.buckets.units or len(query.keys()) != 1:
        costs = _costs(query, plan, database, reader)
        return costs, len(costs)
    beside = [piece for piece in plan.pieces if piece.cube is None]
    parts = [found for piece in beside for found in query.read_costs(database, reader, piece)]
    among = list(dict.fromkeys(key[0] for key, _, _ in parts))
    known, alone, count = set[Key](), dict[Key, tuple[int, int]](), 0
    for piece in pieces:
        parts += query.read_resumed_sessions(database, reader, piece)
        for key, cost, its_calls in query.read_sessions_among(database, reader, piece, among):
            parts.append((key, cost, its_calls))
            known.add(key)
        count += query.count_sessions(database, reader, piece)
        for key, cost, its_calls in query.read_dearest_sessions(database, reader, piece, most + len(among), calls):
            alone[key] = cost, its_calls
    several = _added_up(parts)
    return {**alone, **several}, count - len(known) + len(several)


def _read_groups(
    ledger: Ledger,
    by: tuple[str, ...],
    most: int | None,
    *,
    start: float | None,
    end: float | None,
    where: Where | None,
    zone: tzinfo,
) -> tuple[dict[Key, Sums], Sums, int, Plan]:
    """Groups and what they add up to, the sums of all groups, how many groups there are, and the plan of the groups.

    Given ``most``, only so many, those that cost the most: where there may be many, a first query finds by costs alone
    which they are, and a second reads their measures. What all of many groups add up to is read from roll-ups with
    fewer rows, where there are any. All queries see one moment of the ledger.
    """
    query, whole_query = _Query(by, _mapping(where), zone), _Query((), _mapping(where), zone)
    found, whole = dict[Key, Sums](), Sums()
    with ledger.reading() as database, database.snapshot() as reader:
        query.check(database)
        notes, now = _read_notes(database, reader), ledger.clock()
        plan = make_plan(query.keys(), query.buckets, start, end, now=now, **notes)
        many = [piece for piece in plan.pieces if _may_have_many_groups(piece, query, whole_query)]
        later = many if most is not None else []
        apart = bool(later or any(piece.cube for piece in many)) and _lacks_only_the_beginning(plan)
        if apart:
            # What the groups lack, because its events were deleted, is not in the total either.
            begin = max([float("-inf") if start is None else start, *(until for _, until in plan.lost)])
            for piece in make_plan(whole_query.keys(), whole_query.buckets, begin, end, now=now, **notes).pieces:
                for _, kind, amounts in whole_query.read(database, reader, piece):
                    whole.add(kind, amounts)
        else:
            later = []
        for piece in plan.pieces:
            if piece not in later:
                _add_all(found, query.read(database, reader, piece))
        groups = sum(1 for group in found.values() if by and group.calls)
        if most is not None and later:
            found, groups = _add_largest(found, query, Plan(tuple(later), plan.lost), database, reader, most)
    if not apart:
        for group in found.values():
            whole.add_all(group)
    return found, whole, groups, plan


def _add_largest(
    found: Mapping[Key, Sums], query: _Query, plan: Plan, database: Database, reader: Reader, most: int
) -> tuple[dict[Key, Sums], int]:
    """The groups that cost the most, of those that were found and those of a plan, and how many groups there are."""
    costs, groups = _dearest(query, plan, database, reader, most)
    if found:
        beside = ((key, group.cost, group.calls) for key, group in found.items())
        costs = _added_up((*((key, *amounts) for key, amounts in costs.items()), *beside))
        groups = len(costs)
    chosen = _largest(costs, most)
    kept = {key: group for key, group in found.items() if key in chosen}
    if chosen:
        query.choose(chosen)
        for piece in plan.pieces:
            _add_all(kept, (one for one in query.read(database, reader, piece) if one[0] in chosen))
    return kept, groups


def _may_have_many_groups(piece: Piece, query: _Query, whole: _Query) -> bool:
    """Whether most of the work may be to add up groups, while what all add up to (``whole``) is in other roll-ups."""
    if query.has_unbounded:
        return True
    people = query.keys() & PEOPLE
    return piece.cube is not None and bool(people) and not whole.keys() & PEOPLE


def _lacks_only_the_beginning(plan: Plan) -> bool:
    first = min([piece.start for piece in plan.pieces], default=float("inf"))
    return all(until <= first for _, until in plan.lost)


def _add_all(found: dict[Key, Sums], read: Iterable[tuple[Key, tuple[str, int], Sequence[Any]]]) -> None:
    for key, kind, amounts in read:
        group = found.get(key)
        if group is None:
            group = found[key] = Sums()
        group.add(kind, amounts)


def _largest(costs: Mapping[Key, tuple[int, int]], most: int) -> set[Key]:
    """The keys of the groups that come first by spend, from their costs and numbers of calls."""
    if len(costs) <= most:
        return set(costs)
    last = nlargest(most, costs.values())[-1]
    ahead = {key for key, amounts in costs.items() if amounts > last}
    tied = (key for key, amounts in costs.items() if amounts == last)
    return ahead.union(nsmallest(most - len(ahead), tied, key=lambda key: Row(key, Totals()).label))


class _Query:
    """One question: the dimensions, the conditions and the zone, as SQL over events or over roll-ups."""

    def __init__(
        self,
        by: tuple[str, ...],
        where: dict[str, str | None],
        zone: tzinfo,
        among: Mapping[str, Sequence[str | None]] | None = None,
    ) -> None:
        self._by, self._where = by, where
        wanted: list[tuple[str, Sequence[str | None]]] = [(name, (value,)) for name, value in where.items()]
        wanted += (among or {}).items()
        self._wanted = [(name, [_as_stored(value) for value in values]) for name, values in wanted]
        self.buckets = TimeBuckets([name for name in by if name in TIME_UNITS], zone)
        self._plain = [name for name in by if name not in TIME_UNITS]
        self._chosen: list[tuple[str, list[Any]]] = []  # dimension, and values as they were read

    def check(self, database: Database) -> None:
        """Name what cannot be asked.

        Raises:
            ConfigurationError: an unknown dimension.
        """
        for name in self._where:
            if name in TIME_UNITS:
                raise ConfigurationError(f"where={{{name!r}: ...}}: times are chosen with since= and until=")
        for name in (*self._plain, *(name for name, _ in self._wanted)):
            _column(database, name, rolled_up=False)

    @property
    def has_unbounded(self) -> bool:
        """Whether there may be as many groups as calls."""
        return bool(_UNBOUNDED.intersection(self._by))

    def keys(self) -> set[str]:
        """The columns of groups that it is about."""
        return {DIMENSIONS.get(name, "tags") for name in (*self._plain, *(name for name, _ in self._wanted))}

    def read(
        self, database: Database, reader: Reader, piece: Piece
    ) -> Iterator[tuple[Key, tuple[str, int], Sequence[Any]]]:
        """Per group of a span: its key, its outcome and whether it was paid, and its measures and sketch."""
        if piece.cube is SESSION_DAYS:
            yield from self._read_sessions(database, reader, piece)
            return
        rolled_up = piece.cube is not None
        columns = [_column(database, name, rolled_up=rolled_up) for name in self._plain]
        time, labels = self._time(database, reader, piece)
        if time is not None:
            columns.insert(0, time)
        columns += ["outcome", "paid" if rolled_up else PAID]
        sums = sums_of_rollups(database) if rolled_up else sums_of_events(database)
        names = (*MEASURES, LATENCIES)
        sql, values = self._select(
            database, piece, columns, dict(zip(names, sums, strict=True)), timed=time is not None
        )
        width = len(columns)
        first = 0 if time is None else 1
        for row in reader.rows(sql, values):
            plain = row[first : width - 2]
            key = plain if time is None else self._with_labels(labels(row[0]), plain)
            amounts = row[width:]
            if piece.taken_out:
                amounts = (*(-number for number in amounts[:-1]), amounts[-1])
            yield key, (row[width - 2], row[width - 1]), amounts

    def _time(
        self, database: Database, reader: Reader, piece: Piece
    ) -> tuple[str | None, Callable[[int], tuple[str, ...]]]:
        """The SQL expression of the time buckets of a piece, if there are any, and what its values are called."""
        time = "time" if piece.cube is None else "period"
        if not self.buckets.units or self.buckets.zone is UTC:
            offsets = None
        else:
            start = piece.start
            if start == float("-inf"):
                place = TABLE if piece.cube is None else f"{ROLLUPS} WHERE cube = {piece.cube.number}"
                ((oldest,),) = reader.rows(f"SELECT MIN({time}) FROM {place}")
                start = 0.0 if oldest is None else float(oldest)
            offsets = self.buckets.offsets(start, piece.end)
        if offsets is not None:
            *earlier, (_, offset) = offsets
            case = "".join([f"WHEN {time} < {until} THEN {seconds} " for until, seconds in earlier])
            local = f"{time} + CASE {case}ELSE {offset} END" if case else f"{time} + {offset}"
            return database.period(DAY, local), self.buckets.labels_of_day
        step = self.buckets.step(max(piece.start, 0.0), min(piece.end, 4e9))
        if step is None:
            return None, self.buckets.labels
        return database.period(step, time), self.buckets.labels

    def read_costs(self, database: Database, reader: Reader, piece: Piece) -> Iterator[tuple[Key, int, int]]:
        """Per group of a span: its key, its cost in nano-dollars, and how many calls it has."""
        rolled_up, of_sessions = piece.cube is not None, piece.cube is SESSION_DAYS
        columns = ["session"] if of_sessions else [_column(database, n, rolled_up=rolled_up) for n in self._plain]
        time, labels = self._time(database, reader, piece)
        if time is not None:
            columns.insert(0, time)
        calls = "CAST(SUM(calls) AS BIGINT)" if rolled_up else "COUNT(*)"
        cost = "CAST(COALESCE(SUM(cost_nanos), 0) AS BIGINT)"
        amounts = {"cost_nanos": cost, "calls": calls}
        sql, values = self._select(database, piece, columns, amounts, timed=time is not None)
        for row in reader.rows(sql, values):
            plain = row[0 if time is None else 1 : -2]
            if of_sessions:
                plain = (sessions.session_of(plain[0]),) * len(self._plain)
            cost, its_calls = (-row[-2], -row[-1]) if piece.taken_out else row[-2:]
            yield plain if time is None else self._with_labels(labels(row[0]), plain), cost, its_calls

    def read_resumed_sessions(self, database: Database, reader: Reader, piece: Piece) -> Iterator[tuple[Key, int, int]]:
        """What sessions of several days cost, and their calls, one by one."""
        conditions, values = self.conditions(database, piece)
        yield from self._session_rows(reader, f"{conditions} AND resumed = 1", values)

    def read_sessions_among(
        self, database: Database, reader: Reader, piece: Piece, names: Sequence[str | None]
    ) -> Iterator[tuple[Key, int, int]]:
        """The same of sessions of one day, of those with these names."""
        conditions, values = self.conditions(database, piece)
        conditions += " AND resumed = 0 AND calls <> 0"
        for start in range(0, len(names), _MOST_CHOSEN):
            keys = [sessions.key_of(name) for name in names[start : start + _MOST_CHOSEN]]
            chosen = f"session IN ({', '.join(['?'] * len(keys))})"
            yield from self._session_rows(reader, f"{conditions} AND {chosen}", (*values, *keys))

    def read_dearest_sessions(
        self, database: Database, reader: Reader, piece: Piece, most: int, calls: int
    ) -> Iterator[tuple[Key, int, int]]:
        """The same of sessions of one day that have so many calls, the dearest."""
        conditions, values = self.conditions(database, piece)
        label = f"CASE WHEN session = '' THEN '{NONE}' ELSE substr(session, 2) END COLLATE {database.bytewise}"
        dearest = f"resumed = 0 AND calls >= {calls} ORDER BY cost_nanos DESC, calls DESC, {label} LIMIT {most}"
        yield from self._session_rows(reader, f"{conditions} AND {dearest}", values)

    def count_sessions(self, database: Database, reader: Reader, piece: Piece) -> int:
        """How many sessions are of one day."""
        conditions, values = self.conditions(database, piece)
        sql = f"SELECT COUNT(*) FROM {sessions.TABLE} WHERE {conditions} AND resumed = 0 AND calls <> 0"
        return next(int(count) for (count,) in reader.rows(sql, values))

    def _session_rows(self, reader: Reader, conditions: str, values: _Values) -> Iterator[tuple[Key, int, int]]:
        sql = f"SELECT session, cost_nanos, calls FROM {sessions.TABLE} WHERE {conditions}"
        for key, cost, calls in reader.rows(sql, values):
            yield (sessions.session_of(key),) * len(self._plain), cost, calls

    def _select(
        self, database: Database, piece: Piece, columns: Sequence[str], sums: Mapping[str, str], *, timed: bool = False
    ) -> tuple[str, _Values]:
        """SQL of sums (by their columns' names) by columns over a piece, and its values; ``timed``: also by time."""
        conditions, values = self.conditions(database, piece)
        source = _source(piece)
        if piece.cube not in (None, SESSION_DAYS) and not timed:
            # Adding up by the number of a group first is three times as fast as by its names.
            inner = ", ".join(f"{sql} AS {name}" for name, sql in sums.items())
            added = f"SELECT {ROLLUPS}.group_id, {inner} FROM {ROLLUPS} WHERE {conditions} GROUP BY {ROLLUPS}.group_id"
            source = f"({added}) AS {ROLLUPS} JOIN {GROUPS} ON {GROUPS}.group_id = {ROLLUPS}.group_id"
            conditions = "TRUE"
        places = ", ".join(str(place) for place in range(1, len(columns) + 1))
        found = ", ".join((*columns, *sums.values()))
        return f"SELECT {found} FROM {source} WHERE {conditions} GROUP BY {places}", values

    def _read_sessions(
        self, database: Database, reader: Reader, piece: Piece
    ) -> Iterator[tuple[Key, tuple[str, int], Sequence[Any]]]:
        conditions, values = self.conditions(database, piece)
        sql = f"SELECT period, session, sums FROM {sessions.TABLE} WHERE {conditions}"
        for period, key, text in reader.rows(sql, values):
            plain: _Values = (sessions.session_of(key),) * len(self._plain)
            group = self._with_labels(self.buckets.labels(period), plain) if self.buckets.units else plain
            for kind, amounts in sessions.read(text):
                yield group, kind, amounts

    def choose(self, keys: Iterable[Key]) -> None:
        """Read groups with the values of these keys only. With several dimensions others may come along."""
        for name, values in zip(self._by, zip(*keys, strict=True), strict=True):
            self._chosen.append((name, list(set(values))))

    def _with_labels(self, labels: tuple[str, ...], plain: _Values) -> Key:
        times, values = iter(labels), iter(plain)
        return tuple(next(times) if name in TIME_UNITS else next(values) for name in self._by)

    def conditions(self, database: Database, piece: Piece) -> tuple[str, _Values]:
        """An SQL condition and its values: the span, and what ``where`` and ``among`` say."""
        start = None if piece.start == float("-inf") else piece.start
        end = None if piece.end == float("inf") else piece.end
        if piece.cube is None:
            condition, times = span(start, end)
            conditions, values = [condition], list[Any](times)
        else:
            conditions, values = ["TRUE" if piece.cube is SESSION_DAYS else f"cube = {piece.cube.number}"], []
            if start is not None:
                conditions.append(f"period >= {int(start)}")
            if end is not None:
                conditions.append(f"period < {int(end)}")
        about: list[str] = []
        for name, wanted in (*self._wanted, *self._chosen):
            there = [value for value in wanted if value is not None]
            nothing = len(there) < len(wanted)
            if piece.cube is SESSION_DAYS:
                there, nothing = [sessions.key_of(value) for value in wanted], False
                column = "session"
            else:
                column = _column(database, name, rolled_up=piece.cube is not None)
            about.append(_one_of(column, len(there), nothing=nothing))
            values += there
        if about and piece.cube not in (None, SESSION_DAYS):  # once for each group, not for each of its rows
            about = [f"{ROLLUPS}.group_id IN (SELECT group_id FROM {GROUPS} WHERE {' AND '.join(about)})"]
        conditions += about
        return " AND ".join(conditions), tuple(values)


def _as_stored(value: str | None) -> Any:
    return None if value is None else storable_value(attributed(value))


def _one_of(column: str, count: int, *, nothing: bool) -> str:
    """The SQL condition that a column has one of so many values, or none at all."""
    either = [f"{column} IN ({', '.join(['?'] * count)})"] if count else []
    if nothing:
        either.append(f"{column} IS NULL")
    return f"({' OR '.join(either or ['1 = 0'])})"


def _source(piece: Piece) -> str:
    """The tables that a piece is read from."""
    if piece.cube is SESSION_DAYS:
        return sessions.TABLE
    return TABLE if piece.cube is None else f"{ROLLUPS} JOIN {GROUPS} ON {GROUPS}.group_id = {ROLLUPS}.group_id"


def _read_notes(database: Database, reader: Reader) -> dict[str, Any]:
    """What is noted beside the roll-ups, if there are any."""
    if not database.holds(reader, STATE):
        return {"state": {}, "overflows": ()}
    state = {str(name): float(value) for name, value in reader.rows(f"SELECT name, value FROM {STATE}")}
    if not database.holds(reader, sessions.LENGTHS):  # open for reading, and the older version's table
        state.pop(SESSIONS.name, None)
    return {
        "state": state,
        "overflows": [(cube, period) for cube, period in reader.rows(f"SELECT cube, period FROM {OVERFLOWS}")],
    }


def _column(database: Database, name: str, *, rolled_up: bool) -> str:
    if name == "route" and not rolled_up:  # roll-ups have its tier
        return tier_of_route(database.find)
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    try:
        return database.tag(check_tag_name(name))
    except ConfigurationError:
        known = [*DIMENSIONS, *TIME_UNITS]
        guess = f"{meant(name, known)} ".lstrip()
        raise ConfigurationError(
            f"a report cannot be made by {name!r}: {guess}Use one of {', '.join(known)}, or a tag"
        ) from None


def _lost_notes(plan: Plan, zone: tzinfo) -> Iterable[str]:
    for start, end in plan.lost:
        since = "" if start == float("-inf") else f"from {moment_text(start, zone)} "
        yield (
            f"Without calls {since}up to {moment_text(end, zone)}: single calls of that time are no longer kept, and "
            "what they add up to does not answer this report."
        )


def _mapping(where: Where | None) -> dict[str, str | None]:
    check_kind("where", where or {}, Mapping, 'a mapping such as {"endpoint": "/faq"}')
    return dict(where or {})
