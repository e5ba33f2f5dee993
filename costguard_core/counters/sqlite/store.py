"""Counters in a SQLite file: shared by the processes of one machine, and still there after a restart."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from costguard_core.counters.base import (
    CHARGED_REMEMBERED,
    REMEMBERED,
    Abandoned,
    Denial,
    Gate,
    GateState,
    Grant,
    GrantedLimit,
    Line,
    Reading,
    Settlement,
    Window,
)
from costguard_core.counters.buckets import Bucket, find_bucket
from costguard_core.counters.clock import SteadyClock
from costguard_core.counters.granted import with_limits
from costguard_core.counters.rate_gate import gate_state
from costguard_core.counters.sqlite import tables
from costguard_core.counters.sqlite.file import Busy, SqliteFile
from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork

_T = TypeVar("_T")
_SWEPT_AT_ONCE, _SWEPT_BEFORE_REFUSING = 10, 1000
_PURGE_EVERY = 16
_PURGE_GATES_EVERY = 256  # a multiple of it: gates are few, and have no index by age
_LISTED_AT_ONCE = 500  # names, which take 2 ms; all of 200,000 at once kept calls waiting for 0.6 s
_TIMEOUT = 0.25  # seconds; the kernel stops a container without processor time left for up to 0.1 s at a time


class SqliteStore:
    """Counters in the SQLite file ``path`` (WAL). Safe for threads, tasks, processes and forks.

    A commit survives the death of any process; a power cut may lose the last moments (``synchronous=NORMAL``), never
    the file. A file that was removed while in use is made anew, with a warning: its counters start again at zero. A
    damaged file is never replaced. The file may be shared with other tables.

    Args:
        timeout: seconds to wait for the file's lock while its holder shows no progress, 0.25 unless given.
        clock: unix seconds; a :class:`SteadyClock` unless given. Processes that share a file should share a clock.
        retention: seconds for which an ended reservation is remembered, so that settling it twice does nothing. One
            that expired is remembered for a day (or this long, if that is longer), so that a late settle corrects what
            its expiry charged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float | None = None,
        clock: Callable[[], float] | None = None,
        retention: float = REMEMBERED,
    ) -> None:
        self.url = f"sqlite:///{os.fspath(path)}"
        self.now = clock or SteadyClock()
        self._retention = retention
        self._file = SqliteFile(Path(path).absolute(), self.url, patience=_TIMEOUT if timeout is None else timeout)
        self._calls = 0
        self._executor: ThreadPoolExecutor | None = None
        after_fork(self, "_forked")

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        return self._file.write(self._reserving(id, lines, gates, lease, note))

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return self._file.write(self._settling(grant, amounts, gates))

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        now = self.now()
        return self._file.read(lambda file: [self._reading(file, line, now) for line in lines])

    def read_gate(self, gate: Gate) -> GateState:
        now = self.now()
        return self._file.read(lambda file: gate_state(tables.read_gate(file, gate), now, tables.rate(file, gate, now)))

    def trip(self, reason: str) -> None:
        self._file.write(
            lambda file: file.execute("REPLACE INTO costguard_store_meta VALUES ('tripped', ?)", (reason,))
        )

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        self._file.write(tables.reset_gates)

    def tripped(self) -> str | None:
        return self._file.read(lambda file: tables.trip_and_earliest_expiry(file)[0])

    def grant_limit(self, granted: GrantedLimit) -> GrantedLimit | None:
        return self._file.write(lambda file: tables.put_granted(file, granted, self.now()))

    def revoke_limit(self, key: str) -> GrantedLimit | None:
        return self._file.write(lambda file: tables.drop_granted(file, key, self.now()))

    def granted_limits(self) -> list[GrantedLimit]:
        return self._file.read(lambda file: tables.all_granted(file, self.now()))

    def put_controls(self, text: str, until: float) -> None:
        self._file.write(lambda file: tables.put_controls(file, text, until))

    def controls(self) -> str:
        return self._file.read(lambda file: tables.read_controls(file, self.now()))

    def claim(self, name: str, ttl: float) -> bool:
        now = self.now()

        def claiming(file: sqlite3.Connection) -> bool:
            file.execute(
                "DELETE FROM costguard_store_claims WHERE name IN "
                "(SELECT name FROM costguard_store_claims WHERE until <= ? LIMIT 10)",
                (now,),
            )
            found = file.execute(
                "INSERT INTO costguard_store_claims VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE until <= ?",
                (name, now + ttl, now),
            )
            return found.rowcount == 1

        return self._file.write(claiming)

    def scopes(self, prefix: str, *, limit: int | None = None) -> list[str]:
        """As the protocol says; a page at a time, because the threads of this process share one connection."""
        now, found = self.now(), list[str]()
        while limit is None or len(found) < limit:
            most = _LISTED_AT_ONCE if limit is None else min(_LISTED_AT_ONCE, limit - len(found))
            first = found[-1] + "\0" if found else prefix  # the least text above the last one
            page = self._file.read(partial(tables.keys, prefix=prefix, first=first, now=now, most=most))
            found += page
            if len(page) < most:
                break
        return found

    def close(self) -> None:
        """Close the file. Using the store again opens it again."""
        self._file.close()

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        work = self._reserving(id, lines, gates, lease, note)
        return await self._without_blocking(work, undo=self._release)

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return await self._without_blocking(self._settling(grant, amounts, gates), undo=None)

    async def aclose(self) -> None:
        self.close()

    async def _without_blocking(
        self, work: Callable[[sqlite3.Connection], _T], *, undo: Callable[[_T], None] | None
    ) -> _T:
        """Run ``work`` here if the file is free (a fraction of a millisecond), else in a thread that can wait."""
        try:
            return self._file.write(work, wait=False)
        except Busy:
            pass
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="costguard-sqlite")
        running = self._executor.submit(self._file.write, work)
        try:
            return await asyncio.shield(asyncio.wrap_future(running))
        except asyncio.CancelledError:
            # The thread goes on; a grant that nobody will ever see must not stay held.
            if undo is not None:
                running.add_done_callback(partial(_undo, undo))
            raise

    def _release(self, answer: Grant | Denial) -> None:
        if isinstance(answer, Grant):
            self.settle(answer, {})

    def _forked(self) -> None:
        self._executor = None

    def _reserving(
        self, id: str, lines: Sequence[Line], gates: Sequence[Gate], lease: float, note: str
    ) -> Callable[[sqlite3.Connection], Grant | Denial]:
        def reserving(file: sqlite3.Connection) -> Grant | Denial:
            now = self.now()
            limited, limits = with_limits(lines, tables.read_granted_limits(file, lines, now))
            buckets = [self._bucket(line.window, now) for line in lines]
            rows = tables.read_lines(file, lines, buckets)
            _, overdue = rows[0]
            swept: tuple[Abandoned, ...] = ()
            if overdue is not None and overdue <= now:
                swept = tables.sweep(file, now, _SWEPT_AT_ONCE)
                rows = tables.read_lines(file, lines, buckets)
            denial = tables.find_refusal(file, limited, buckets, gates, rows, now)
            if denial is not None and len(swept) == _SWEPT_AT_ONCE:
                # Dead reservations may be all that is in the way, so a refusal is worth looking at more of them.
                swept += tables.sweep(file, now, _SWEPT_BEFORE_REFUSING)
                denial = tables.find_refusal(
                    file, limited, buckets, gates, tables.read_lines(file, lines, buckets), now
                )
            if denial is not None:
                if limits and denial.reason == "budget":
                    denial = denial._replace(limit=dict(limits).get(denial.index))
                return denial._replace(swept=swept, controls=tables.read_controls(file, now))
            self._purge_sometimes(file, now)
            placed = tables.hold_lines(file, lines, buckets)
            name = tables.open_lease(file, id, placed, now + lease, note)
            probes, controls = tables.start_probes(file, gates, name, now), tables.read_controls(file, now)
            return Grant(name, now, placed, probes, swept, limits, controls)

        return reserving

    def _settling(
        self, grant: Grant, amounts: Mapping[str, int], gates: Sequence[Gate]
    ) -> Callable[[sqlite3.Connection], Settlement]:
        def settling(file: sqlite3.Connection) -> Settlement:
            now = self.now()
            state = tables.end_lease(file, grant, amounts, now, forgotten=now - self._retention)
            totals = tables.totals(file, grant.placed, now)
            if state == tables.SETTLED:
                return Settlement(totals)
            return Settlement(totals, tables.settle_gates(file, gates, grant.id, amounts.get("usd", 0), now))

        return settling

    def _bucket(self, window: Window, now: float) -> Bucket:
        found = find_bucket(window, now)
        if found is None:
            raise StoreUnavailable(self.url, "the calendar period of a budget was worked out for another time than now")
        return found

    def _reading(self, file: sqlite3.Connection, line: Line, now: float) -> Reading:
        found = self._bucket(line.window, now)
        spent, held = tables.read_lines(file, [line], [found])[1]
        if line.window.edges:
            return Reading(spent, held, found.ends)
        buckets = (
            [bucket for bucket, amount in tables.read_buckets(file, line.key, found) if amount]
            if line.window.width
            else []
        )
        return Reading(spent, held, tables.leaves_at(buckets[0], line.window) if buckets else None)

    def _purge_sometimes(self, file: sqlite3.Connection, now: float) -> None:
        self._calls += 1
        if self._calls % _PURGE_EVERY == 0:
            # More than the calls since the last time can have added, and few enough not to be noticed.
            charged = now - max(self._retention, CHARGED_REMEMBERED)
            tables.purge_counters(file, now, most=8 * _PURGE_EVERY)
            if self._calls % _PURGE_GATES_EVERY == 0:
                tables.purge_gates(file, now, most=2 * _PURGE_GATES_EVERY)
            tables.purge_leases(file, settled=now - self._retention, charged=charged, most=2 * _PURGE_EVERY)


def _undo(undo: Callable[[_T], None], done: Future[_T]) -> None:
    if not done.cancelled() and done.exception() is None:
        undo(done.result())
