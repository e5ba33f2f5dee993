"""Faults of the file, of the process and of the machine; several processes at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_redis import BUSY_MACHINE_TIMEOUT
from python_process import run_python
from waiting import async_wait_until, takes_less_than, wait_until

from costguard_core.counters.base import Denial, Gate, Grant, Line, Window
from costguard_core.counters.sqlite.store import SqliteStore
from costguard_core.errors import StoreUnavailable
from costguard_core.util.sqlite_lock import LockHeld, LockPatience

SPEND = Line("k", "usd", Window(), 100, 10)
# What a test accepts as "decides within 100 ms" on a machine that does other things too.
SOON = 1.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


@pytest.fixture
def patient(path: Path) -> Iterator[SqliteStore]:
    """A store for what is not about time: it waits for a busy machine."""
    store = SqliteStore(path, timeout=BUSY_MACHINE_TIMEOUT)
    yield store
    store.close()


@pytest.fixture
def stranger(path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Another connection to the file, which the store has already used."""
    settle(store)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


def reserve(store: SqliteStore, id: str = "a", line: Line = SPEND) -> Grant:
    answer = store.reserve(id, [line], lease=60.0)
    assert isinstance(answer, Grant), answer
    return answer


def settle(store: SqliteStore, amount: int = 10) -> None:
    store.settle(reserve(store), {"usd": amount})


def busy_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


class TestAcrossProcesses:
    def test_what_was_counted_is_there_after_a_restart(self, path: Path) -> None:
        first = SqliteStore(path)
        grant = reserve(first)
        first.trip("why")
        first.close()
        second = SqliteStore(path)
        assert second.tripped() == "why"
        assert second.settle(grant, {"usd": 7}).totals == (7,)
        assert first.settle(grant, {"usd": 7}).totals == (7,)  # opens again
        second.close()
        first.close()

    def test_kill_9_between_reserve_and_settle_is_charged(self, path: Path) -> None:
        script = (
            "import sys, os, signal; from costguard_core.counters.sqlite.store import SqliteStore;"
            "from costguard_core.counters.base import Line, Window;"
            "SqliteStore(sys.argv[1]).reserve('dead', [Line('k', 'usd', Window(), 100, 10)], lease=60, note='note');"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = run_python(script, str(path), check=False)
        assert killed.returncode == -signal.SIGKILL
        later = [0.0]
        store = SqliteStore(path, clock=lambda: time.time() + later[0])
        assert store.read([SPEND])[0].settled + store.read([SPEND])[0].held == 10
        later[0] = 61.0
        assert [(a.id, a.note, a.amounts) for a in reserve(store, "b").swept] == [("dead", "note", {"usd": 10})]
        assert store.read([SPEND])[0][:2] == (10, 10)
        store.close()

    @pytest.mark.slow
    def test_four_processes_of_fifty_threads_get_exactly_ten(self, path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        start, answers = spawn.Event(), spawn.Queue()
        processes = [spawn.Process(target=_fifty_threads, args=(path, number, start, answers)) for number in range(4)]
        for process in processes:
            process.start()
        for _ in processes:
            assert answers.get(timeout=120) == ["ready"]
        start.set()
        found = [answer for _ in processes for answer in answers.get(timeout=120)]
        for process in processes:
            process.join()
        assert sorted(found) == ["budget"] * 190 + ["granted"] * 10

    @pytest.mark.slow
    def test_processes_that_open_a_new_file_at_once_all_get_in(self, path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        start, answers = spawn.Event(), spawn.Queue()
        processes = [spawn.Process(target=_open, args=(path, number, start, answers)) for number in range(4)]
        for process in processes:
            process.start()
        start.set()
        assert [answers.get(timeout=120) for _ in processes] == ["granted"] * 4
        for process in processes:
            process.join()

    def test_a_forked_child_opens_the_file_for_itself(self, store: SqliteStore) -> None:
        settle(store)
        with store._file._queue:  # as if a thread of the parent were in the middle of something
            child = os.fork()
            if not child:
                try:
                    settle(store)
                finally:
                    os._exit(0 if store.read([SPEND])[0].settled == 20 else 1)
            assert os.waitpid(child, 0)[1] == 0
        settle(store)
        assert store.read([SPEND])[0].settled == 30

    def test_a_thousand_threads_get_exactly_ten(self, patient: SqliteStore) -> None:
        with ThreadPoolExecutor(1000) as pool:
            answers = list(pool.map(lambda n: patient.reserve(f"c{n}", [SPEND], lease=60.0), range(1000)))
        assert sum(isinstance(answer, Grant) for answer in answers) == 10
        assert {answer.reason for answer in answers if isinstance(answer, Denial)} == {"budget"}


class TestLocked:
    def test_a_stuck_lock_is_found_out_soon_and_ends_with_the_lock(
        self, store: SqliteStore, stranger: sqlite3.Connection
    ) -> None:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process holds its lock"):
            store.reserve("a", [SPEND], lease=60.0)
        takes_less_than(SOON, lambda: pytest.raises(StoreUnavailable, reserve, store))
        assert store.read([SPEND])[0].settled == 10  # readers are not in the way of writers
        stranger.execute("COMMIT")
        settle(store)

    def test_a_lock_that_was_stuck_is_waited_for_again_once_its_holder_got_on(
        self, store: SqliteStore, stranger: sqlite3.Connection
    ) -> None:
        stranger.execute("CREATE TABLE other (n)")
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            reserve(store)
        stranger.execute("INSERT INTO other VALUES (1)")
        stranger.execute("COMMIT")
        stranger.execute("BEGIN IMMEDIATE")  # in use again, by somebody who gets on with his work
        store._file._patience = BUSY_MACHINE_TIMEOUT
        with ThreadPoolExecutor(1) as pool:
            settling = pool.submit(settle, store)
            wait_until(store._file._queue.locked)
            assert not settling.done()
            stranger.execute("COMMIT")
            settling.result()
        assert store.read([SPEND])[0].settled == 20

    def test_callers_in_the_queue_do_not_wait_one_after_the_other(
        self, store: SqliteStore, stranger: sqlite3.Connection
    ) -> None:
        stranger.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(40) as pool:
            takes_less_than(
                2 * SOON, lambda: list(pool.map(lambda _: pytest.raises(StoreUnavailable, reserve, store), range(40)))
            )
        stranger.execute("COMMIT")

    @pytest.mark.parametrize("gets_on", [True, False])
    def test_a_holder_is_waited_for_as_long_as_it_gets_on(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, gets_on: bool
    ) -> None:
        lock, changes, tries = LockPatience(path, patience=0.02), itertools.count(), iter(range(200))
        monkeypatch.setattr(lock, "progress", lambda: (next(changes) if gets_on else 0,))

        def action() -> str:
            if next(tries, None) is not None:  # for several times its patience
                raise busy_error()
            return "done"

        if gets_on:
            assert lock.run(action) == "done"
        else:
            with pytest.raises(LockHeld, match="another process holds its lock"):
                lock.run(action)

    def test_a_lock_that_is_taken_all_the_time_is_got(self, patient: SqliteStore, stranger: sqlite3.Connection) -> None:
        stop = threading.Event()
        stranger.execute("CREATE TABLE other (n)")

        def busy() -> None:
            while not stop.is_set():  # in use nearly all the time, each time for less than the store's patience
                stranger.execute("BEGIN IMMEDIATE")
                stranger.execute("INSERT INTO other VALUES (1)")
                time.sleep(0.03)
                stranger.execute("COMMIT")
                time.sleep(0.002)  # two or three tries of the store, which asks for the lock every millisecond

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(9):
                settle(patient, 1)
        finally:
            stop.set()
            thread.join()
        assert patient.read([SPEND])[0].settled == 19

    async def test_the_event_loop_is_not_blocked(self, patient: SqliteStore, stranger: sqlite3.Connection) -> None:
        stranger.execute("BEGIN IMMEDIATE")  # until this event loop ends it, which it could not if it were blocked
        waiting = asyncio.create_task(patient.areserve("a", [SPEND], lease=60.0))
        await async_wait_until(patient._file._queue.locked)
        assert not waiting.done()
        stranger.execute("COMMIT")
        grant = await waiting
        assert isinstance(grant, Grant)
        await patient.asettle(grant, {"usd": 1})
        assert patient.read([SPEND])[0][:2] == (11, 0)

    async def test_a_cancelled_wait_leaves_nothing_held(
        self, patient: SqliteStore, stranger: sqlite3.Connection
    ) -> None:
        stranger.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(patient.areserve("a", [SPEND], lease=60.0))
        await async_wait_until(patient._file._queue.locked)
        waiting.cancel()
        stranger.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        ended = "SELECT count(*) FROM costguard_store_leases WHERE state = 1"
        await async_wait_until(lambda: stranger.execute(ended).fetchone() == (2,))  # also what nobody received
        assert patient.read([SPEND])[0].held == 0

    def test_time_in_which_this_process_did_not_run_is_not_waited(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        throttled = itertools.count(0.0, 0.2)  # each look at the clock is 0.2 s after the one before
        monkeypatch.setattr("costguard_core.util.sqlite_lock.time.monotonic", lambda: next(throttled))
        tries = iter([busy_error()] * 10)

        def action() -> str:
            if (error := next(tries, None)) is not None:
                raise error
            return "done"

        assert LockPatience(path, patience=0.25).run(action) == "done"

    def test_a_holder_that_is_stopped_for_a_tenth_of_a_second_is_waited_for(
        self, store: SqliteStore, stranger: sqlite3.Connection
    ) -> None:
        def settled_meanwhile() -> bool:
            stranger.execute("BEGIN IMMEDIATE")
            release = threading.Timer(0.1, stranger.execute, ["COMMIT"])
            release.start()
            try:
                settle(store)
            except StoreUnavailable:
                return False  # a busy machine let the lock be held for longer
            finally:
                release.join()
            return True

        wait_until(settled_meanwhile)


class TestBrokenFile:
    @pytest.mark.parametrize(
        "content", [b"this is not a database, but it is long enough" * 40, b"SQLite format 3\0" * 99]
    )
    def test_a_damaged_file_is_reported_and_left_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        store = SqliteStore(path)
        for _ in range(2):
            with pytest.raises(
                StoreUnavailable, match=r"counters\.db is damaged or is not a SQLite database.*move it away"
            ):
                store.reserve("a", [SPEND], lease=60.0)
        assert path.read_bytes() == content

    def test_damage_in_the_middle_is_reported(self, path: Path) -> None:
        store = SqliteStore(path)
        for number in range(300):
            reserve(store, f"c{number}", Line(f"k{number}", "usd", Window(), 100, 1))
        store.close()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        with pytest.raises(StoreUnavailable, match="damaged"):
            reserve(store)

    def test_it_recovers_when_the_file_is_put_right(self, path: Path) -> None:
        path.write_bytes(b"garbage" * 1000)
        store = SqliteStore(path)
        with pytest.raises(StoreUnavailable):
            reserve(store)
        path.unlink()
        settle(store)
        store.close()

    def test_a_removed_file_is_made_anew_with_a_warning(
        self, path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        grant = reserve(store)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        with caplog.at_level(logging.WARNING, "costguard"):
            assert store.settle(grant, {"usd": 8}).totals == (8,)  # the new file does not know it: charged
        assert "was removed or replaced" in caplog.text
        assert path.exists()

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"nowhere/counters\.db cannot be opened; is its directory there"):
            reserve(SqliteStore(tmp_path / "nowhere" / "counters.db"))

    def test_tables_of_another_version_are_not_touched(self, path: Path, store: SqliteStore) -> None:
        settle(store)
        store.close()
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE costguard_store_meta SET value = '99' WHERE name = 'schema'")
        with pytest.raises(StoreUnavailable, match="schema 99"):
            reserve(store)

    def test_the_file_may_be_shared_with_other_tables(self, path: Path, store: SqliteStore) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE ledger (n)")
            connection.execute("PRAGMA user_version = 7")
        settle(store)
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (7,)

    def test_a_full_disk_is_unavailable_and_loses_nothing(self, path: Path) -> None:
        """In a process whose files may not grow any more, which to SQLite is a full disk."""
        store = SqliteStore(path)
        settle(store)
        store.close()
        child = os.fork()
        if not child:
            os._exit(_fill(path))
        assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 0
        assert store.read([SPEND])[0].settled == 10
        settle(store)
        store.close()


def _fill(path: Path) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, resource.RLIM_INFINITY))
    store = SqliteStore(path)
    try:
        for number in range(500):
            reserve(store, f"c{number}", Line(f"{number}" * 50, "usd", Window(), 100, 1))
    except StoreUnavailable as error:
        return 0 if any(word in str(error) for word in ("full", "I/O")) else 3
    return 4


@pytest.mark.parametrize("hours", [2, 20, 30])
def test_a_late_settle_counts_a_call_once_however_late_it_is(path: Path, hours: int) -> None:
    now = [1_800_000_000.0]
    store = SqliteStore(path, clock=lambda: now[0])
    late = reserve(store, "late", SPEND)
    now[0] += 700.0
    other = Line("other", "usd", Window(), 10**6, 1)
    for number in range(200):
        now[0] += hours * 3600 / 200
        store.settle(reserve(store, f"c{number}", other), {"usd": 1})
    assert store.read([SPEND])[0][:2] == (10, 0)
    corrected = 4 if hours < 24 else 10  # known for a day; after that it stays at what the expiry charged
    assert store.settle(late, {"usd": 4}).totals == (corrected,)
    assert store.settle(late, {"usd": 4}).totals == (corrected,)
    store.close()


def test_charged_leases_do_not_keep_settled_ones_from_being_deleted(path: Path) -> None:
    now = [1_800_000_000.0]
    store = SqliteStore(path, clock=lambda: now[0], retention=10.0)
    for number in range(100):
        reserve(store, f"dead{number}", Line("dead", "usd", Window(), 10**6, 1))
    now[0] += 700.0
    for number in range(2000):
        now[0] += 1.0
        store.settle(reserve(store, f"c{number}", Line("k", "usd", Window(), 10**6, 1)), {"usd": 1})
    with sqlite3.connect(path) as connection:
        rows = dict(connection.execute("SELECT state, count(*) FROM costguard_store_leases GROUP BY state"))
    store.close()
    assert rows[2] == 100  # for a day
    assert rows[1] <= 300


def test_the_files_are_for_their_owner_alone(path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = SqliteStore(path)
        reserve(store)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("counters.db", "counters.db-wal", "counters.db-shm"), 0o600)


def test_the_mode_of_a_file_that_exists_is_its_owners_affair(path: Path) -> None:
    path.touch(mode=0o640)
    store = SqliteStore(path)
    reserve(store)
    store.close()
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.slow
def test_what_no_longer_counts_is_deleted_a_little_at_a_time(path: Path) -> None:
    now = [1_800_000_000.0]
    store = SqliteStore(path, clock=lambda: now[0], retention=10.0)
    for number in range(2000):
        now[0] += 0.5
        store.settle(reserve(store, f"c{number}", Line(f"u{number}", "usd", Window(width=6.0), 100, 1)), {"usd": 1})
    with sqlite3.connect(path) as connection:
        counters = connection.execute("SELECT count(*) FROM costguard_store_counters").fetchone()[0]
        leases = connection.execute("SELECT count(*) FROM costguard_store_leases").fetchone()[0]
    store.close()
    assert 12 <= counters <= 40
    assert 20 <= leases <= 200  # retention starts when the lease of 60 s would have expired


@pytest.mark.slow
def test_gates_that_opened_for_users_who_left_are_forgotten(path: Path) -> None:
    now = [1_800_000_000.0]
    store = SqliteStore(path, timeout=BUSY_MACHINE_TIMEOUT, clock=lambda: now[0])
    for number in range(1500):
        now[0] += 20.0
        gates = (Gate(f"g{number}", 0, 60.0, 30.0, 30.0),)
        grant = store.reserve(f"c{number}", [SPEND._replace(limit=10**6)], gates=gates, lease=60.0)
        assert isinstance(grant, Grant)
        assert store.settle(grant, {"usd": 1}, gates=gates).opened == (f"g{number}",)
    with sqlite3.connect(path) as connection:
        left = connection.execute("SELECT count(*) FROM costguard_store_gates").fetchone()[0]
    store.close()
    assert 180 <= left <= 500  # for an hour after its cool-down a gate waits for its probe


def test_names_are_listed_in_steps_between_which_calls_are_served(
    patient: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costguard_core.counters.sqlite.store._LISTED_AT_ONCE", 2)
    names = [f"budget|u{number}" for number in range(5)]
    for number, name in enumerate((*reversed(names), "another|u0")):
        reserve(patient, str(number), SPEND._replace(key=name))
    steps, read = [], patient._file.read

    def counted(work):
        steps.append(read(work))
        settle(patient, 0)  # the file is free
        return steps[-1]

    monkeypatch.setattr(patient._file, "read", counted)
    assert patient.scopes("budget|") == names
    assert [len(step) for step in steps] == [2, 2, 1]
    for limit in (1, 2, 3, 5, 9):
        assert patient.scopes("budget|", limit=limit) == names[:limit]


def _fifty_threads(path: Path, number: int, start: threading.Event, answers: multiprocessing.Queue[list[str]]) -> None:
    store = SqliteStore(path, timeout=BUSY_MACHINE_TIMEOUT)
    lines = [SPEND, Line("minute", "usd", Window(width=60.0), 100, 10), Line("user", "usd", Window(), 10_000, 10)]

    def call(thread: int) -> str:
        answer = store.reserve(f"{number}-{thread}", lines, lease=60.0)
        return "granted" if isinstance(answer, Grant) else answer.reason

    answers.put(["ready"])
    start.wait()
    with ThreadPoolExecutor(50) as pool:
        answers.put(list(pool.map(call, range(50))))


def _open(path: Path, number: int, start: threading.Event, answers: multiprocessing.Queue[str]) -> None:
    start.wait()
    answer = SqliteStore(path, timeout=BUSY_MACHINE_TIMEOUT).reserve(f"{number}", [SPEND], lease=60.0)
    answers.put("granted" if isinstance(answer, Grant) else answer.reason)
