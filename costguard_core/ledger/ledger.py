"""The ledger: an event goes in within a microsecond; reports and single events come out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Self

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger.audit import Change, read_changes, write_change
from costguard_core.ledger.columns import COLUMNS, NAMES, TABLE, to_event
from costguard_core.ledger.database import Connection, Database, Row
from costguard_core.ledger.migrations import HISTORY, NEEDED_BY_REPORTS, check_known, lacks_a_table, migrate
from costguard_core.ledger.outcomes import RecordedOutcome, write_outcomes
from costguard_core.ledger.retention import (
    FEW,
    LedgerStats,
    prune,
    read_stats,
    retention_seconds,
    ripe_until,
    worth_rolling_up,
)
from costguard_core.ledger.rollups import SOON, STAGES, Rollups, Stage
from costguard_core.ledger.sqlite import SqliteDatabase
from costguard_core.ledger.writing import forget, replace, write
from costguard_core.types import Event
from costguard_core.util.batch_worker import BatchWorker
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import nearest
from costguard_core.util.timeparse import Moment, resolve
from costguard_core.util.urls import SqliteUrl

if TYPE_CHECKING:
    from costguard_core.ledger.repricing import Repricing
    from costguard_core.pricing import PriceBook

_log = logging.getLogger("costguard")
_KEPT_IN_MEMORY = 200_000
# Choices. While events come faster than they can be written, so many are written before any is rolled up: a report
# reads them one by one.
_TIDY_PERIOD = 10.0  # seconds after the last events, until what there is to tidy is done
_MOST_NOT_ROLLED = 1_000_000
_ROLLED_AT_A_TIME = 50_000  # half a second, in which other processes cannot write
_PRUNE_PERIOD = 3_600.0
_WRITE_TIMEOUT, _FAILING_WRITE_TIMEOUT = 30.0, 2.0  # seconds that a reader waits for events to be written
_VERIFY_PERIOD = 1.0  # seconds; a look at the file takes 0.2 ms


def open_ledger(
    url: str,
    *,
    read_only: bool = False,
    interval: float = 0.2,
    batch: int = 500,
    capacity: int = 100_000,
    retention: str | timedelta | None = None,
    clock: Callable[[], float] = time.time,
) -> Ledger:
    """Open ``memory://``, ``sqlite:///path`` or ``postgresql://…`` as a ledger, creating and upgrading its tables.

    ``memory://`` keeps the newest 200,000 events (some 50 MB); the others keep everything, unless ``retention`` says
    how long.

    Args:
        read_only: for reports: changes nothing, and a file that does not exist is an error instead of created.
        interval: seconds until an event is durable: what a ``kill -9`` can lose, plus the time of one batch.
        batch: events per transaction.
        capacity: events that may wait in memory while the database is slow or down; more are dropped and counted.
        retention: how long single events are kept, such as ``"90d"``; what they add up to is kept longer (see
            :mod:`costguard_core.ledger.retention`). ``None``: for ever.
        clock: unix seconds, for "today" and "24h" in reports, and for ``retention``.

    Raises:
        ConfigurationError: the URL or a number cannot be used, the file is not a ledger, or a newer version wrote it.
        MissingExtraError: Postgres without the extra ``postgres``.
    """
    number("interval", interval, at_least=0)
    whole_number("batch", batch, at_least=1)
    whole_number("capacity", capacity, at_least=1)
    ledger = Ledger(
        open_database(url, read_only=read_only),
        read_only=read_only,
        keep=_KEPT_IN_MEMORY if url.startswith("memory:") else None,
        interval=interval,
        batch=batch,
        capacity=capacity,
        retention=retention_seconds(retention),
        clock=clock,
    )
    try:
        ledger.prepare()
    except BaseException:
        ledger.close()
        raise
    return ledger


class Ledger:
    """Append-only record of calls. Use :func:`open_ledger` to make one.

    ``append`` hands the event to a writer thread, so it costs the caller nothing and never raises. When the database is
    locked, full or down the writer keeps trying; ``errors`` counts failed tries and ``dropped`` lost events.

    Event ids that begin with the time keep the index of a large ledger local: three times the events per second.
    """

    def __init__(
        self,
        database: Database,
        *,
        read_only: bool = False,
        keep: int | None = None,
        interval: float = 0.2,
        batch: int = 500,
        capacity: int = 100_000,
        retention: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._read_only, self._keep, self._clock = database, read_only, keep, clock
        # A ledger in memory forgets events and is small: its reports read the events alone.
        self._rollups = Rollups(database) if keep is None and not read_only else None
        self._retention, self._next_prune = retention, float("-inf")
        self._batch = batch
        self._not_rolled = 0  # events that this process has written since it last looked
        self._prepared = False
        self._rejected = self._failed_reads = 0
        self._verified_at = float("-inf")
        self._lacking: frozenset[str] = frozenset()  # columns that a newer version has added
        self._background: BatchWorker[Event | RecordedOutcome | Callable[[], Event]] = BatchWorker(
            self._write,
            name="costguard-ledger",
            interval=interval,
            batch=batch,
            capacity=capacity,
            period=_TIDY_PERIOD,
            on_period=self._tidy,
            on_fork=self._forked,
        )
        self.append: Callable[[Event | Callable[[], Event]], object] = self._background.put
        """Record an event, or what makes one, in the background. The first event of an id stays, unless it was
        ``abandoned``."""
        if read_only:
            self._background.close()

    def __repr__(self) -> str:
        return f"Ledger({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._database.url

    @property
    def dropped(self) -> int:
        """Events lost: the queue was full, the ledger closed, or no database would take them."""
        return self._background.dropped + self._rejected

    @property
    def errors(self) -> int:
        """Failed tries to write a batch, which a later one may have written, and reads that failed or found damage."""
        return self._background.errors + self._failed_reads

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return self._background.waiting

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything appended so far is durable; ``False`` if it is not after ``timeout`` seconds."""
        return self._background.flush(timeout)

    def write_through(self) -> None:
        """From now on an event is in the database when ``append`` returns: for processes that are killed when done."""
        put = self._background.put

        def append(event: Event | Callable[[], Event]) -> bool:
            return put(event) and self.flush()

        self.append = append

    def close(self, timeout: float = 5.0) -> bool:
        """Flush and let go of the database. Events appended later are dropped."""
        done = self._background.close(timeout)
        if done:
            self._database.close()
        return done

    def events(self, *, since: Moment | None = None, until: Moment | None = None) -> Iterator[Event]:
        """Stream the events of a time span, oldest first."""
        return map(to_event, self.export(since=since, until=until))

    def export(self, *, since: Moment | None = None, until: Moment | None = None) -> Iterator[Row]:
        """Stream the events of a time span, oldest first, as rows: columns in the order of ``columns.NAMES``."""
        where, values = span(*self.resolve_span(since, until))
        return self._stream(f"SELECT {self.columns_of_rows} FROM {TABLE} WHERE {where} ORDER BY time, id", values)

    @property
    def columns_of_rows(self) -> str:
        """What SQL selects for a row: ``columns.NAMES``, those NULL that a ledger of an older version lacks."""
        return ", ".join("NULL" if name in self._lacking else name for name in NAMES)

    def append_outcome(self, outcome: RecordedOutcome) -> None:
        """Record what calls were for, in the background like an event."""
        self._background.put(outcome)

    def record_change(self, change: Change) -> bool:
        """Record at once who changed a limit. A ledger that cannot is no reason not to change it: ``False``, a warning
        and one of ``errors`` say so."""
        try:
            if not self._prepared:
                migrate(self._database)
                self._prepared = True
            write_change(self._database, change)
            return True
        except Exception as error:
            self._failed_reads += 1
            reason = str(error) if isinstance(error, CostGuardError) else self._database.explain(error)
            _log.warning(
                "costguard: a %s was made and could not be recorded in %s: %s", change.action, self.url, reason
            )
            return False

    def changes(self, *, since: Moment | None = None, until: Moment | None = None) -> Iterator[Change]:
        """Stream the changes of limits in a time span, oldest first."""
        with self.reading() as database:
            yield from read_changes(database, *self.resolve_span(since, until))

    def reprice(
        self,
        prices: PriceBook,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        estimates: bool = False,
        dry_run: bool = False,
    ) -> Repricing:
        """Fill in the costs of calls whose price was unknown when they were made, each at the price of its own time.

        A cost that is known is never changed, so doing it twice changes nothing more. Budgets keep what they counted.

        Args:
            prices: the prices that are known now.
            since, until: only calls of this span.
            estimates: also fill in costs that are an estimate; such a cost is not replaced by a better one later.
            dry_run: only say what would be filled in.

        Raises:
            CostGuardError: the ledger cannot be read or written.
        """
        from costguard_core.ledger.repricing import reprice  # with prices, which reports do not need

        condition, values = span(*self.resolve_span(since, until))
        with self.reading() as database:
            return reprice(
                database,
                prices,
                self.columns_of_rows,
                condition,
                values,
                estimates=estimates,
                dry_run=dry_run or self._read_only,
                correcting=self._correcting,
            )

    @contextmanager
    def _correcting(self, connection: Connection, ids: Sequence[str]) -> Iterator[None]:
        """Around a change of events: the roll-ups follow it in the same transaction."""
        self._database.lock_writing(connection)
        if self._rollups is None:
            yield
            return
        try:
            with self._rollups.changing(connection, ids):
                yield
        except BaseException:
            self._rollups.forget()
            raise

    def prepare(self) -> None:
        """Bring the schema up to date, or say why it cannot be. What is merely down is left for later."""
        try:
            if self._read_only:
                self._check()
            elif migrate(self._database) and self._rollups is not None and self._has_events():
                self._background.wake()  # what an older version wrote is rolled up in the background
            self._prepared = True
        except CostGuardError:
            raise
        except Exception as error:
            if self._read_only or self._database.is_setup_fault(error):
                reason = self._database.explain(error)
                raise ConfigurationError(f"cannot use the ledger {self.url}: {reason}") from None

    def replace(self, events: Sequence[Event]) -> int:
        """Put corrected events in the place of those with the same ids, which the roll-ups follow in the same
        transaction; returns how many there were. Other ids are ignored, and times stay as they are.

        Raises:
            CostGuardError: it cannot be written.
        """
        self.flush()
        with self._working():
            return replace(self._database, events, self._rollups)

    def roll_up(self, *, most: int = _ROLLED_AT_A_TIME, few: int = FEW) -> int:
        """Add the oldest events that are not in the roll-ups yet, about ``most``; returns how many. 0: none is ripe.

        The ledger does so by itself, in the background. Events of the last minute are left, as others that began
        before them may still end, and so are fewer than ``few``, which a report reads as quickly.

        Raises:
            CostGuardError: it cannot be written.
        """
        if self._rollups is None:
            return 0
        self.flush()
        with self._working():
            added = sum(self._roll_up(self._rollups, stage, most, few) for stage in STAGES)
            while not added and self._renew(self._rollups):
                pass
            return added

    def prune(self, before: Moment) -> int:
        """Delete the single events before the UTC day of a moment; the roll-ups keep what they add up to.

        Returns how many were deleted. See :mod:`costguard_core.ledger.retention`.

        Raises:
            ConfigurationError: what is given is no time.
            CostGuardError: it cannot be written.
        """
        moment, _ = self.resolve_span(before, None)
        assert moment is not None
        if self._rollups is None:
            raise CostGuardError(f"the ledger {self.url} cannot be pruned: it is in memory, or open for reading only")
        while self.roll_up(few=1):
            pass
        with self._working():
            return prune(self._database, self._rollups, moment, now=self._clock())

    def vacuum(self) -> None:
        """Give back the space of deleted events to the disk. SQLite blocks writers meanwhile, who wait.

        Raises:
            CostGuardError: it cannot be done.
        """
        with self._working():
            self._database.vacuum(TABLE)

    def stats(self) -> LedgerStats:
        """How many events and roll-ups there are, of which time, and how large it is.

        Raises:
            CostGuardError: it cannot be read.
        """
        with self.reading() as database:
            return read_stats(database)

    def resolve_span(
        self, since: Moment | None, until: Moment | None, zone: tzinfo = UTC
    ) -> tuple[float | None, float | None]:
        """Unix seconds of a time span, by the ledger's clock; ``zone`` is that of days and of dates without an offset.

        Raises:
            ConfigurationError: what is given is no time.
        """
        now = self._clock()
        return resolve(since, now=now, zone=zone), resolve(until, now=now, zone=zone)

    def _stream(self, sql: str, values: Sequence[float]) -> Iterator[Row]:
        with self.reading() as database:
            yield from database.rows(sql, values)

    @property
    def clock(self) -> Callable[[], float]:
        """Unix seconds, as this ledger knows them."""
        return self._clock

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """The database, with what was recorded so far in it.

        Where that takes longer than half a minute to write, or cannot be written for two seconds, what is in the
        database is read, and a warning logged.

        Raises:
            CostGuardError: it cannot be read.
        """
        if not self._background.flush(_WRITE_TIMEOUT, while_failing=_FAILING_WRITE_TIMEOUT):
            _log.warning("%s: %d calls are not in it yet, and not in what is read from it", self.url, self.waiting)
        try:
            yield self._database
        except self._database.error as error:
            self._failed_reads += 1
            reason = self._database.explain(error)
            raise CostGuardError(f"cannot read the ledger {self.url}: {reason}") from None

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Write to the database from the thread of a caller.

        Raises:
            CostGuardError: it cannot be written.
        """
        if self._read_only:
            raise CostGuardError(f"the ledger {self.url} is open for reading only")
        try:
            yield
        except self._database.error as error:
            if self._rollups is not None:
                self._rollups.forget()
            reason = self._database.explain(error)
            raise CostGuardError(f"cannot write the ledger {self.url}: {reason}") from None

    def _roll_up(self, rollups: Rollups, stage: Stage, most: int, few: int = FEW) -> int:
        with self._database.transaction() as connection:
            self._database.lock_writing(connection)
            until = ripe_until(connection, now=self._clock())
            if worth_rolling_up(rollups, connection, stage, until, few):
                return rollups.roll_up(connection, stage, until=until, most=most)
        return 0

    def _renew(self, rollups: Rollups) -> bool:
        with self._database.transaction() as connection:
            self._database.lock_writing(connection)
            return rollups.renew(connection)

    def _has_events(self) -> bool:
        return any(self._database.rows(f"SELECT 1 FROM {TABLE} LIMIT 1"))

    def _tidy(self) -> bool:
        """Roll up and prune while nothing waits to be written; whether it is to be called again without new events."""
        rollups = self._rollups
        if rollups is None or not self._prepared:
            return False
        if self.waiting > self._batch:
            return True  # writing comes first
        try:
            for stage in STAGES:
                while self._roll_up(rollups, stage, _ROLLED_AT_A_TIME):
                    if self.waiting:
                        return True
            while self._renew(rollups):
                if self.waiting:
                    return True
            now = self._clock()
            if self._retention is not None and now >= self._next_prune:
                prune(self._database, rollups, now - self._retention, now=now)
                self._next_prune = now + _PRUNE_PERIOD
        except Exception as error:
            rollups.forget()
            raise CostGuardError(f"{self.url}: {self._database.explain(error)}") from None
        return False

    def _check(self) -> None:
        done = {name for (name,) in self._database.rows(f"SELECT name FROM {HISTORY}")}
        check_known(self._database, done)
        if missing := {step.__name__ for step in NEEDED_BY_REPORTS} - done:
            raise ConfigurationError(
                f"the ledger {self.url} was written by an older version of Costguard (it lacks "
                f"{', '.join(sorted(missing))}): run costguard ledger migrate, or start the application, which does so"
            )
        self._lacking = frozenset(column.name for column in COLUMNS if column.step not in done)

    def _write(self, queued: list[Event | RecordedOutcome | Callable[[], Event]]) -> None:
        records = [one if isinstance(one, (Event, RecordedOutcome)) else one() for one in queued]
        try:
            try:
                self._write_once(records)
            except self._database.error as error:
                if not self._database.is_missing_table(error):
                    raise
                self._prepared = False  # somebody dropped it: made anew at once
                if self._rollups is not None:
                    self._rollups.forget()
                self._write_once(records)
        except Exception as error:
            self._prepared = False  # the file may have been deleted, or the server restored from an empty backup
            if self._rollups is not None:
                self._rollups.forget()
            reason = str(error) if isinstance(error, CostGuardError) else self._database.explain(error)
            raise CostGuardError(f"{self.url}: {reason}") from None

    def _write_once(self, records: list[Event | RecordedOutcome]) -> None:
        if not self._prepared:
            migrate(self._database)
            self._prepared = True
        events = [record for record in records if isinstance(record, Event)]
        if events:
            self._rejected += write(self._database, events, self._rollups)
        if outcomes := [record for record in records if isinstance(record, RecordedOutcome)]:
            write_outcomes(self._database, outcomes)
        self._not_rolled += len(events)
        if self._rollups is not None and self._not_rolled >= _MOST_NOT_ROLLED:
            self._not_rolled -= self._roll_up(self._rollups, SOON, _ROLLED_AT_A_TIME) or self._not_rolled
        if self._keep is not None:
            forget(self._database, keep=self._keep)
        if self._verified_at == float("-inf") and (damage := self._database.find_damage()) is not None:
            self._failed_reads += 1
            _log.warning(
                "costguard: the ledger %s is damaged: %s. New events are recorded, but reports may fail: restore a "
                "backup, or move the file away to begin a new one",
                self.url,
                damage,
            )
        now = time.monotonic()
        # In a long queue of batches once a second is enough, but the last one counts.
        if self._background.waiting <= len(records) or now - self._verified_at >= _VERIFY_PERIOD:
            self._database.verify(TABLE)
            if lacks_a_table(self._database):
                migrate(self._database)
                if self._rollups is not None:
                    self._rollups.forget()
            self._verified_at = now

    def _forked(self) -> None:
        self._database.abandon()
        if self._rollups is not None:
            self._rollups.forget()
        self._prepared = False


def span(since: float | None, until: float | None) -> tuple[str, tuple[float, ...]]:
    """An SQL condition on ``time``, and its parameters."""
    given = [(text, value) for text, value in (("time >= ?", since), ("time < ?", until)) if value is not None]
    return " AND ".join(text for text, _ in given) or "TRUE", tuple(value for _, value in given)


def open_database(url: str, *, read_only: bool = False) -> Database:
    """The database at ``url``, not connected yet.

    Raises:
        ConfigurationError: it is no URL of a database.
        MissingExtraError: Postgres without the extra ``postgres``.
    """
    scheme, _, rest = url.partition("://")
    match scheme:
        case "memory":
            return SqliteDatabase(None)
        case "sqlite" if place := SqliteUrl.read(rest):
            return _sqlite(place.path, read_only=read_only)
        case "postgresql" | "postgres":
            from costguard_core.ledger.postgres import PostgresDatabase

            return PostgresDatabase(url)
        case _:
            shown = f"{scheme}://…" if "@" in url else url
            raise ConfigurationError(
                f"{shown!r} is not a ledger: use memory://, sqlite:///costguard.db or postgresql://user:password@host/db."
                f"{nearest(scheme, ('memory', 'sqlite', 'postgresql'))}"
            )


def no_ledger(path: str) -> ConfigurationError:
    """The error of who wants to read a file that nothing was recorded in."""
    return ConfigurationError(
        f"there is no ledger at {path!r}: nothing has been recorded there. An application records its calls with"
        ' CostGuard(ledger="sqlite:///costguard.db"); the commands read another file with --db or COSTGUARD_DB'
    )


def _sqlite(path: str, *, read_only: bool) -> Database:
    if read_only and not Path(path).expanduser().exists():
        raise no_ledger(path)
    return SqliteDatabase(path, read_only=read_only)
