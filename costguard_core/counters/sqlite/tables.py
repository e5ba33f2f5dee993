"""The tables of the SQLite counter store, and what is read from and written to them inside one transaction."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from costguard_core.counters.base import (
    REMEMBERED,
    SUB_BUCKETS,
    Abandoned,
    Denial,
    Gate,
    Grant,
    GrantedLimit,
    Line,
    Placed,
    Window,
)
from costguard_core.counters.buckets import FOREVER, Bucket, find_bucket
from costguard_core.counters.granted import check_room, read_granted, write_granted
from costguard_core.counters.rate_gate import CLOSED, GateRecord, after_settle, has_opened, start_probe, wait_time
from costguard_core.errors import StoreUnavailable

_SCHEMA_VERSION = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS costguard_store_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS costguard_store_counters (
    key TEXT NOT NULL, bucket REAL NOT NULL, settled INTEGER NOT NULL, held INTEGER NOT NULL,
    leaves REAL NOT NULL, slides INTEGER NOT NULL, PRIMARY KEY (key, bucket)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS costguard_store_counters_leaves ON costguard_store_counters (leaves);
CREATE TABLE IF NOT EXISTS costguard_store_leases (
    serial INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, expires REAL NOT NULL,
    placed TEXT NOT NULL, note TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS costguard_store_leases_open ON costguard_store_leases (expires) WHERE state = 0;
CREATE TABLE IF NOT EXISTS costguard_store_gates (
    key TEXT PRIMARY KEY, until REAL NOT NULL, probe TEXT NOT NULL, probe_until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS costguard_store_claims (name TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
# Later than the first release of the schema, and no part of what others of that version need.
_ADDED = """
CREATE TABLE IF NOT EXISTS costguard_store_granted (
    key TEXT PRIMARY KEY, until REAL NOT NULL, amount INTEGER NOT NULL, granted TEXT NOT NULL
) WITHOUT ROWID
"""

_OPEN, SETTLED, _CHARGED = 0, 1, 2
RATE = "~rate~"  # in front of a gate's key: its spend is a counter too, but no budget's
_LONGER_THAN_ANY_PERIOD = 40 * 86_400.0

_ALWAYS = (-FOREVER, FOREVER)

Row = tuple[Any, Any]
"""Two values, in a database's own types."""

_HOLD = """
    INSERT INTO costguard_store_counters VALUES (?, ?, 0, ?, ?, ?)
    ON CONFLICT (key, bucket) DO UPDATE SET held = held + excluded.held"""
_CHARGE = """
    INSERT INTO costguard_store_counters VALUES (?, ?, ?, 0, ?, ?)
    ON CONFLICT (key, bucket) DO UPDATE SET settled = settled + excluded.settled"""
_SETTLE = "UPDATE costguard_store_counters SET settled = settled + ?, held = held - ? WHERE key = ? AND bucket = ?"


def create(file: sqlite3.Connection, url: str) -> None:
    """Make the tables where they are missing.

    Raises:
        StoreUnavailable: another version of Costguard made them.
    """
    version = _version(file)
    if version is None:
        file.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            file.execute(statement)
        file.execute("INSERT OR IGNORE INTO costguard_store_meta VALUES ('schema', ?)", (_SCHEMA_VERSION,))
        file.execute("COMMIT")
    elif version != _SCHEMA_VERSION:
        raise StoreUnavailable(url, f"its counters were written by another version of Costguard (schema {version})")
    if not _has_table(file, "costguard_store_granted"):
        file.execute(_ADDED)


def _version(file: sqlite3.Connection) -> str | None:
    """The version of the store's own tables. Others may share the file, so ``user_version`` is not ours to use."""
    known = _has_table(file, "costguard_store_meta")
    found = known and file.execute("SELECT value FROM costguard_store_meta WHERE name = 'schema'").fetchone()
    return found[0] if found else None


def _has_table(file: sqlite3.Connection, name: str) -> bool:
    return file.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone() is not None


@lru_cache(maxsize=32)
def _read_statement(lines: int) -> str:
    state = (
        "SELECT (SELECT value FROM costguard_store_meta WHERE name = 'tripped'), "
        "(SELECT min(expires) FROM costguard_store_leases WHERE state = 0)"
    )
    counter = (
        "SELECT ifnull(sum(CASE WHEN bucket BETWEEN ? AND ? THEN settled END), 0), "
        "ifnull(sum(CASE WHEN bucket BETWEEN ? AND ? THEN held END), 0) FROM costguard_store_counters WHERE key = ?"
    )
    return " UNION ALL ".join([state] + [counter] * lines)


def read_lines(file: sqlite3.Connection, lines: Sequence[Line], buckets: Sequence[Bucket]) -> list[Row]:
    """The manual trip and the earliest lease expiry; then what is settled and held of each line."""
    values: list[float | str] = []
    for line, (_, _, oldest, newest, _) in zip(lines, buckets, strict=True):
        values += (oldest, newest, *(_ALWAYS if line.window.width else (oldest, newest)), line.key)
    return file.execute(_read_statement(len(lines)), values).fetchall()


def keys(file: sqlite3.Connection, *, prefix: str, first: str, now: float, most: int) -> list[str]:
    """The keys that begin with ``prefix`` and may still count, in order, from ``first`` on; at most ``most``."""
    rows = file.execute(
        "SELECT DISTINCT key FROM costguard_store_counters "
        "WHERE key >= ? AND key < ? AND (leaves > ? OR held <> 0) AND key NOT GLOB ? ORDER BY key LIMIT ?",
        (first, prefix + chr(0x10FFFF), now, f"{RATE}*", most),
    )
    return [key for (key,) in rows]


def trip_and_earliest_expiry(file: sqlite3.Connection) -> tuple[str | None, float | None]:
    """The reason for a manual trip, and the time at which the first lease expires."""
    tripped, overdue = read_lines(file, (), ())[0]
    return tripped, overdue


def find_refusal(
    file: sqlite3.Connection,
    lines: Sequence[Line],
    buckets: Sequence[Bucket],
    gates: Sequence[Gate],
    rows: Sequence[Row],
    now: float,
) -> Denial | None:
    """Why a reservation is refused, given what :func:`read_lines` found."""
    tripped = rows[0][0]
    if tripped is not None:
        return Denial("tripped", -1, text=tripped)
    for index, gate in enumerate(gates):
        wait = wait_time(read_gate(file, gate), now)
        if wait is not None:
            return Denial("open", index, rate(file, gate, now), 0, wait)
    for index, (line, (spent, held)) in enumerate(zip(lines, rows[1:], strict=True)):
        needed = spent + held + line.amount - line.limit
        if needed > 0:
            wait = _seconds_until_room(file, line, buckets[index], needed, now) if line.amount <= line.limit else None
            return Denial("budget", index, spent, held, wait)
    return None


def _seconds_until_room(file: sqlite3.Connection, line: Line, bucket: Bucket, needed: int, now: float) -> float | None:
    """Seconds until ``needed`` of what is settled has left the window; ``None`` if open holds are in the way."""
    if line.window.edges:
        return bucket.ends - now
    if line.window.width:
        for start, amount in read_buckets(file, line.key, bucket):
            needed -= amount
            if needed <= 0:
                return leaves_at(start, line.window) - now
    return None


def read_buckets(file: sqlite3.Connection, key: str, bucket: Bucket) -> list[tuple[float, int]]:
    """Start and settled amount of the buckets that count together with ``bucket``, oldest first."""
    return file.execute(
        "SELECT bucket, settled FROM costguard_store_counters WHERE key = ? AND bucket BETWEEN ? AND ? ORDER BY bucket",
        (key, bucket.oldest, bucket.newest),
    ).fetchall()


def leaves_at(start: float, window: Window) -> float:
    """When a bucket has left its sliding window, unix seconds."""
    return start + window.width / SUB_BUCKETS * (SUB_BUCKETS + 1)


def hold_lines(file: sqlite3.Connection, lines: Sequence[Line], buckets: Sequence[Bucket]) -> tuple[Placed, ...]:
    """Hold every line on its counter, once where two lines share one."""
    placed: list[Placed] = []
    rows: dict[str, tuple[str, float, int, float, bool]] = {}
    for (key, unit, window, _, amount), (start, ends, _, _, lingers) in zip(lines, buckets, strict=True):
        if key in rows:
            placed.append(Placed(key, start, "", 0))
            continue
        rows[key] = (key, start, amount, ends + lingers, window.width > 0)
        placed.append(Placed(key, start, unit, amount))
    file.executemany(_HOLD, rows.values())
    return tuple(placed)


def open_lease(file: sqlite3.Connection, id: str, placed: tuple[Placed, ...], expires: float, note: str) -> str:
    """Record the lease, under a variant of ``id`` if that was used before: each needs a settle of its own."""
    name, values = id, (_OPEN, expires, json.dumps(placed), note)
    insert = "INSERT OR IGNORE INTO costguard_store_leases (id, state, expires, placed, note) VALUES (?, ?, ?, ?, ?)"
    while file.execute(insert, (name, *values)).rowcount == 0:
        name = f"{id}#{os.urandom(6).hex()}"
    return name


def sweep(file: sqlite3.Connection, now: float, most: int) -> tuple[Abandoned, ...]:
    """Charge leases that have expired, oldest first."""
    found = file.execute(
        "SELECT serial, id, placed, note FROM costguard_store_leases WHERE state = 0 AND expires <= ? "
        "ORDER BY expires LIMIT ?",
        (now, most),
    ).fetchall()
    return tuple([_abandon(file, *lease) for lease in found])


def _abandon(file: sqlite3.Connection, serial: int, id: str, placed: str, note: str) -> Abandoned:
    amounts: dict[str, int] = {}
    lines = [Placed(*values) for values in json.loads(placed)]
    file.executemany(_SETTLE, [(line.held, line.held, line.key, line.bucket) for line in lines])
    file.execute("UPDATE costguard_store_leases SET state = ? WHERE serial = ?", (_CHARGED, serial))
    for line in lines:
        if line.unit:
            amounts[line.unit] = max(line.held, amounts.get(line.unit, 0))
    return Abandoned(id, note, amounts)


def end_lease(
    file: sqlite3.Connection, grant: Grant, amounts: Mapping[str, int], now: float, *, forgotten: float
) -> int | None:
    """Settle a reservation, whatever became of it. Returns the state it was in, ``None`` if it is not known here.

    One that was made before ``forgotten`` and is not known has ended and been counted.
    """
    found = file.execute("SELECT state FROM costguard_store_leases WHERE id = ?", (grant.id,)).fetchone()
    state: int | None = found[0] if found else None
    if state is None and grant.at < forgotten:
        state = SETTLED
    if state == SETTLED:
        return state
    if state is None:
        _charge(file, grant, amounts, now)
        return state
    used = [(amounts.get(line.unit, 0), line) for line in grant.placed]
    if state == _OPEN:
        changes = [(amount, line.held, line.key, line.bucket) for amount, line in used]
    else:  # charged with the whole hold when it expired: correct that
        changes = [(amount - line.held, 0, line.key, line.bucket) for amount, line in used]
    file.executemany(_SETTLE, changes)
    file.execute("UPDATE costguard_store_leases SET state = ?, placed = '' WHERE id = ?", (SETTLED, grant.id))
    return state


def _charge(file: sqlite3.Connection, grant: Grant, amounts: Mapping[str, int], now: float) -> None:
    """Charge a reservation that this file has lost, and remember that it is settled."""
    rows = []
    for key, bucket, unit, _ in grant.placed:
        leaves = now + _LONGER_THAN_ANY_PERIOD if bucket else FOREVER
        rows.append((key, bucket, amounts.get(unit, 0), leaves, False))
    file.executemany(_CHARGE, rows)
    file.execute(
        "INSERT INTO costguard_store_leases (id, state, expires, placed, note) VALUES (?, ?, ?, '', '')",
        (grant.id, SETTLED, now),
    )


@lru_cache(maxsize=32)
def _totals_statement(lines: int) -> str:
    total = (
        "SELECT ifnull(sum(settled), 0) FROM costguard_store_counters "
        "WHERE key = ? AND CASE WHEN slides THEN leaves > ? ELSE bucket = ? END"
    )
    return " UNION ALL ".join([total] * lines)


def totals(file: sqlite3.Connection, placed: Sequence[Placed], now: float) -> tuple[int, ...]:
    if not placed:
        return ()
    values: list[float | str] = []
    for line in placed:
        values += (line.key, now, line.bucket)
    return tuple([total for (total,) in file.execute(_totals_statement(len(placed)), values)])


def read_gate(file: sqlite3.Connection, gate: Gate) -> GateRecord:
    found = file.execute(
        "SELECT until, probe, probe_until FROM costguard_store_gates WHERE key = ?", (gate.key,)
    ).fetchone()
    return GateRecord(*found) if found else CLOSED


def rate(file: sqlite3.Connection, gate: Gate, now: float) -> int:
    """Nano-dollars settled within the gate's width."""
    line, bucket = _rate_line(gate, now)
    return int(read_lines(file, [line], [bucket])[1][0])


def _rate_line(gate: Gate, now: float) -> tuple[Line, Bucket]:
    window = Window(gate.width)
    bucket = find_bucket(window, now)
    assert bucket is not None  # sliding windows have no edges to fall out of
    return Line(RATE + gate.key, "usd", window, 0, 0), bucket


def start_probes(file: sqlite3.Connection, gates: Iterable[Gate], id: str, now: float) -> tuple[str, ...]:
    half_open = [(gate, record) for gate in gates if (record := read_gate(file, gate)).until]
    for gate, record in half_open:
        _save(file, gate, start_probe(record, gate, now, id))
    return tuple([gate.key for gate, _ in half_open])


def settle_gates(file: sqlite3.Connection, gates: Iterable[Gate], id: str, spent: int, now: float) -> tuple[str, ...]:
    opened_now = []
    for gate in gates:
        line, bucket = _rate_line(gate, now)
        file.execute(_CHARGE, (line.key, bucket.start, spent, bucket.ends + bucket.lingers, True))
        before = read_gate(file, gate)
        after = after_settle(before, gate, now, id, spent=spent, rate=rate(file, gate, now))
        if after != before:
            _save(file, gate, after)
        if has_opened(before, after):
            opened_now.append(gate.key)
    return tuple(opened_now)


def _save(file: sqlite3.Connection, gate: Gate, record: GateRecord) -> None:
    if record == CLOSED:
        file.execute("DELETE FROM costguard_store_gates WHERE key = ?", (gate.key,))
    else:
        file.execute("REPLACE INTO costguard_store_gates VALUES (?, ?, ?, ?)", (gate.key, *record))


def reset_gates(file: sqlite3.Connection) -> None:
    file.execute("DELETE FROM costguard_store_meta WHERE name = 'tripped'")
    file.execute("DELETE FROM costguard_store_gates")
    file.execute("DELETE FROM costguard_store_counters WHERE key GLOB ?", (f"{RATE}*",))


def read_granted_limits(file: sqlite3.Connection, lines: Sequence[Line], now: float) -> dict[str, int]:
    """The limits that are granted for the counters of lines, by the counters' names."""
    if not lines or file.execute("SELECT 1 FROM costguard_store_granted LIMIT 1").fetchone() is None:
        return {}
    statement = "SELECT amount FROM costguard_store_granted WHERE key = ? AND until > ?"
    found = {line.key: file.execute(statement, (line.key, now)).fetchone() for line in lines}
    return {key: row[0] for key, row in found.items() if row is not None}


def put_granted(file: sqlite3.Connection, granted: GrantedLimit, now: float) -> GrantedLimit | None:
    """Keep a granted limit, forget those that are over, and return the one before it."""
    file.execute("DELETE FROM costguard_store_granted WHERE until <= ?", (now,))
    before = find_granted(file, granted.key, now)
    if before is None:
        check_room(file.execute("SELECT count(*) FROM costguard_store_granted").fetchone()[0])
    until = FOREVER if granted.until is None else granted.until
    values = (granted.key, until, granted.amount, write_granted(granted))
    file.execute("REPLACE INTO costguard_store_granted VALUES (?, ?, ?, ?)", values)
    return before


def find_granted(file: sqlite3.Connection, key: str, now: float) -> GrantedLimit | None:
    """The limit that is granted for a counter."""
    statement = "SELECT granted FROM costguard_store_granted WHERE key = ? AND until > ?"
    found = file.execute(statement, (key, now)).fetchone()
    return None if found is None else read_granted(found[0])


def drop_granted(file: sqlite3.Connection, key: str, now: float) -> GrantedLimit | None:
    """Forget the limit that is granted for a counter, and return it."""
    found = find_granted(file, key, now)
    file.execute("DELETE FROM costguard_store_granted WHERE key = ?", (key,))
    return found


def all_granted(file: sqlite3.Connection, now: float) -> list[GrantedLimit]:
    """Every limit in force, in the order of the counters' names."""
    statement = "SELECT granted FROM costguard_store_granted WHERE until > ? ORDER BY key"
    return [read_granted(text) for (text,) in file.execute(statement, (now,))]


def put_controls(file: sqlite3.Connection, text: str, until: float) -> None:
    """Keep the text that is told with every answer, and until when; an empty one ends it."""
    file.execute("DELETE FROM costguard_store_meta WHERE name = 'controls'")
    if text:
        file.execute("INSERT INTO costguard_store_meta VALUES ('controls', ?)", (f"{until:.17g} {text}",))


def read_controls(file: sqlite3.Connection, now: float) -> str:
    """The text that is told with every answer; empty: none, or its time is over."""
    found = file.execute("SELECT value FROM costguard_store_meta WHERE name = 'controls'").fetchone()
    if found is None:
        return ""
    until, _, text = found[0].partition(" ")
    return text if now < float(until) else ""


def purge_counters(file: sqlite3.Connection, now: float, *, most: int) -> None:
    """Delete some of the buckets that have left their windows."""
    file.execute(
        "DELETE FROM costguard_store_counters WHERE (key, bucket) IN "
        "(SELECT key, bucket FROM costguard_store_counters WHERE leaves <= ? AND held = 0 LIMIT ?)",
        (now, most),
    )


def purge_gates(file: sqlite3.Connection, now: float, *, most: int) -> None:
    """Delete some of the gates for which no probe has come for long."""
    file.execute(
        "DELETE FROM costguard_store_gates WHERE key IN "
        "(SELECT key FROM costguard_store_gates WHERE max(until, probe_until) <= ? LIMIT ?)",
        (now - REMEMBERED, most),
    )


def purge_leases(file: sqlite3.Connection, *, settled: float, charged: float, most: int) -> None:
    """Look at the ``most`` oldest rows and delete those that ended long ago.

    Args:
        settled, charged: the time before which a settled or a charged lease must have expired to be deleted.
    """
    oldest = file.execute(
        "SELECT serial, state, expires FROM costguard_store_leases ORDER BY serial LIMIT ?", (most,)
    ).fetchall()
    before = {SETTLED: settled, _CHARGED: charged, _OPEN: -FOREVER}
    gone = [(serial,) for serial, state, expires in oldest if expires <= before[state]]
    file.executemany("DELETE FROM costguard_store_leases WHERE serial = ?", gone)
    # What is kept for longer goes to the end of the queue, so that it does not hide the rows behind it.
    kept = [(serial,) for serial, state, expires in oldest if state == _CHARGED and expires > before[state]]
    file.executemany(
        "UPDATE costguard_store_leases SET serial = (SELECT max(serial) + 1 FROM costguard_store_leases) "
        "WHERE serial = ?",
        kept,
    )
