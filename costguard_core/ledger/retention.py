"""How long what is kept, and how much there is.

Single events are kept for as long as the application says (``retention="90d"``), at least a day. What they add up to
stays: by the hour for 400 days, by the day for five years, by the month for twenty. These are choices; a month has at
most a few hundred thousand rows (:mod:`costguard_core.ledger.rollups`), and usually a few thousand. A report that needs
single events, by session for example, begins where they begin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import sessions
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Connection, Database, Row
from costguard_core.ledger.months import DAY
from costguard_core.ledger.rollups import (
    CUBES,
    GROUPS,
    PRUNED_BEFORE,
    ROLLED_UNTIL,
    ROLLUPS,
    STAGES,
    STATE,
    Rollups,
    Stage,
)

GRACE = 60.0
"""Seconds for which events are not rolled up: what began before them and ended after them is cheaper to add then."""
FEW = 1_000
"""Events that are not worth rolling up: a report reads as many in some milliseconds."""
KEPT_DAYS = {"quarter": 400, "hour": 400, "day": 5 * 366, "month": 20 * 366}
"""How many days roll-ups are kept, by their period."""

_DELETED_AT_A_TIME = 20_000

_DURATION = re.compile(r"(\d+)\s*([dwmy])")
_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """What a ledger holds.

    Attributes:
        source: its URL, without credentials.
        events: single events.
        oldest, newest: their times, unix seconds; ``None``: there are none.
        rolled_until: before when all events are in the roll-ups, unix seconds; ``None``: none is.
        not_rolled: events that are not in them, which a report reads one by one.
        pruned_before: before when single events were deleted, unix seconds; ``None``: none was.
        rollups: rows of the roll-ups.
        groups: combinations of dimensions in them.
        bytes: the size on the disk; ``None``: unknown.
    """

    source: str
    events: int
    oldest: float | None
    newest: float | None
    rolled_until: float | None
    not_rolled: int
    pruned_before: float | None
    rollups: int
    groups: int
    bytes: int | None


def retention_seconds(retention: str | timedelta | None) -> float | None:
    """Seconds of ``"90d"``, ``"12w"``, ``"6m"`` (of 30 days), ``"2y"`` or a ``timedelta``.

    Raises:
        ConfigurationError: it is none of these, or less than a day.
    """
    if retention is None:
        return None
    if isinstance(retention, timedelta):
        seconds = retention.total_seconds()
    else:
        found = _DURATION.fullmatch(str(retention).strip().lower())
        seconds = float(int(found[1]) * _DAYS[found[2]] * DAY) if found else 0.0
    if seconds < DAY:
        raise ConfigurationError(
            f'retention={retention!r}: write how long single calls are kept, at least a day: "90d", "12w", "6m" or "2y"'
        )
    return seconds


def ripe_until(connection: Connection, *, now: float) -> float:
    """Until when events can be rolled up: a little before the newest one, and before now."""
    (newest,) = connection.execute(f"SELECT MAX(time) FROM {TABLE}").fetchone() or (None,)
    return float("-inf") if newest is None else min(float(newest), now) - GRACE


def worth_rolling_up(rollups: Rollups, connection: Connection, stage: Stage, until: float, few: int = FEW) -> bool:
    """Whether ``few`` events or more wait, so that a report would be slower for them."""
    since = rollups.moment(connection, stage.name)
    if until <= since:
        return False
    after = "TRUE" if since == float("-inf") else f"time >= {since!r}"
    first = f"SELECT 1 FROM {TABLE} WHERE {after} AND time < {until!r} LIMIT {few}"
    (waiting,) = connection.execute(f"SELECT COUNT(*) FROM ({first}) AS first").fetchone() or (0,)
    return bool(waiting >= few)


def prune(database: Database, rollups: Rollups, before: float, *, now: float) -> int:
    """Delete events before the UTC day of a moment, as far as they are rolled up, and roll-ups that are too old.

    Returns how many events were deleted.
    """
    with database.transaction() as connection:
        database.lock_writing(connection)
        _forget_old_rollups(connection, rollups, now)
        end = min(before, *(rollups.moment(connection, stage.name) for stage in STAGES))
        if end < DAY or (end := end // DAY * DAY) <= rollups.moment(connection, PRUNED_BEFORE):
            return 0
        rollups.note(connection, PRUNED_BEFORE, end)  # from now on, reports do not read events before it
        sessions.prune(connection, end)
        deleted = database.drop_whole_months(connection, end)
    old = f"time < {end!r} AND id IN (SELECT id FROM {TABLE} WHERE time < {end!r} LIMIT {_DELETED_AT_A_TIME})"
    while True:
        with database.transaction() as connection:
            database.lock_writing(connection)
            cursor = connection.cursor()
            cursor.execute(f"DELETE FROM {TABLE} WHERE {old}")
            if cursor.rowcount <= 0:
                return deleted
            deleted += cursor.rowcount


def _forget_old_rollups(connection: Connection, rollups: Rollups, now: float) -> None:
    cursor = connection.cursor()
    for cube in CUBES:
        oldest = int(now - KEPT_DAYS[cube.period] * DAY)
        cursor.execute(f"DELETE FROM {ROLLUPS} WHERE cube = {cube.number} AND period < {oldest}")
        if cursor.rowcount > 0 and cube.period == "month":
            cursor.execute(f"DELETE FROM {GROUPS} WHERE group_id NOT IN (SELECT group_id FROM {ROLLUPS})")
            rollups.forget()


def read_stats(database: Database) -> LedgerStats:
    """Count what there is, in one snapshot."""
    with database.snapshot() as reader:

        def first(sql: str) -> Row:
            return next(iter(reader.rows(sql)))

        events, oldest, newest = first(f"SELECT COUNT(*), MIN(time), MAX(time) FROM {TABLE}")
        state: dict[str, float] = {}
        rollups = groups = 0
        if database.holds(reader, STATE):
            state = {str(name): float(value) for name, value in reader.rows(f"SELECT name, value FROM {STATE}")}
            (rollups,) = first(f"SELECT COUNT(*) FROM {ROLLUPS}")
            (groups,) = first(f"SELECT COUNT(*) FROM {GROUPS}")
        until = state.get(ROLLED_UNTIL)
        not_rolled = events
        if until is not None:
            (not_rolled,) = first(f"SELECT COUNT(*) FROM {TABLE} WHERE time >= {until!r}")
        return LedgerStats(
            source=database.url,
            events=events,
            oldest=oldest,
            newest=newest,
            rolled_until=until,
            not_rolled=not_rolled,
            pruned_before=state.get(PRUNED_BEFORE),
            rollups=rollups,
            groups=groups,
            bytes=database.size(reader),
        )
