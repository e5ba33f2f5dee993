"""A ledger that cannot write: callers never notice, the writer keeps trying, what is lost is counted."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.sqlite import SqliteDatabase
from costguard_core.types import Event, Outcome
from costguard_core.util.batch_worker import Background


def event(number: int) -> Event:
    return Event(id=f"e{number}", time=float(number), outcome=Outcome.MISS, model="m", cost=1)


def eventually(condition: Callable[[], bool], *, within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def test_a_locked_file_is_written_when_the_lock_ends(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(SqliteDatabase(str(path), busy_timeout=0.05))
    ledger.prepare()
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    ledger.append(event(1))
    assert ledger.flush(timeout=0.5) is False
    assert (ledger.errors > 0, ledger.waiting) == (True, 1)
    locker.rollback()
    locker.close()
    assert ledger.flush()
    assert (ledger.dropped, ledger.waiting) == (0, 0)
    assert [e.id for e in ledger.events()] == ["e1"]
    ledger.close()


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path: Path) -> None:
    database = SqliteDatabase(str(tmp_path / "ledger.db"))
    ledger = Ledger(database)
    ledger.prepare()
    with database.transaction() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(2_000):
        ledger.append(event(number))
    assert ledger.flush(timeout=0.5) is False
    assert ledger.errors > 0
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.flush()
    assert len(list(ledger.events())) == 2_000
    ledger.close()


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    with open_ledger(f"sqlite:///{directory}/ledger.db") as ledger:
        ledger.append(event(1))
        ledger.flush()
        shutil.rmtree(directory)
        ledger.append(event(2))
        ledger.flush(timeout=0.3)
        directory.mkdir()
        assert ledger.flush()
        assert [e.id for e in ledger.events()] == ["e2"]


def test_a_ledger_that_is_corrupted_while_open_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}", interval=0.01)
    ledger.append(event(1))
    ledger.flush()
    for file in tmp_path.iterdir():
        file.write_bytes(b"\x13" * 50_000)
    with caplog.at_level(logging.WARNING):
        for number in range(2, 50):
            ledger.append(event(number))
            time.sleep(0.002)
        assert ledger.flush(timeout=0.5) is False
    assert ledger.errors > 0
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert ledger.close(timeout=0.1) is False
    assert ledger.dropped > 0
    with pytest.raises(ConfigurationError, match=r"ledger\.db"):
        open_ledger(f"sqlite:///{path}")


def test_postgres_that_is_down_does_not_stop_the_application(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"postgresql://costguard:hunter2@/db?host={tmp_path}&password=hunter3"
    ledger = open_ledger(url)
    with caplog.at_level(logging.WARNING):
        ledger.append(event(1))
        assert ledger.flush(timeout=1.0) is False
    assert (ledger.errors > 0, ledger.waiting) == (True, 1)
    with pytest.raises(CostGuardError, match="postgresql://") as caught:
        ledger.report()
    for text in (caplog.text, repr(ledger), str(caught.value)):
        assert "hunter" not in text
    ledger.close(timeout=0.1)


def test_postgres_that_comes_back_gets_everything(postgres_db: str) -> None:
    import psycopg

    with open_ledger(postgres_db) as ledger:
        ledger.append(event(1))
        assert ledger.flush()
        with psycopg.connect(postgres_db, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'costguard'")
        ledger.append(event(2))
        assert ledger.flush()
        assert [e.id for e in ledger.events()] == ["e1", "e2"]


class Switch:
    """A handler that fails or hangs as long as it is told to."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.broken = False
        self.free = threading.Event()
        self.free.set()

    def __call__(self, items: list[int]) -> None:
        self.free.wait()
        if self.broken:
            raise OSError("disk on fire")
        self.handled += items


def test_a_failing_handler_keeps_the_order_and_drops_the_newest_beyond_capacity() -> None:
    switch = Switch()
    background = Background(switch, name="test", interval=0.0, capacity=10)
    switch.broken = True
    background.put(0)
    eventually(lambda: background.errors > 0)
    for number in range(1, 15):
        background.put(number)
    assert (background.waiting, background.dropped) == (10, 5)
    switch.broken = False
    assert background.flush()
    assert switch.handled == list(range(10))
    background.close()


def test_a_slow_handler_gives_back_pressure_before_anything_is_dropped() -> None:
    switch = Switch()
    background = Background(switch, name="test", interval=0.0, batch=1, capacity=3, patience=10.0)
    switch.free.clear()
    for number in range(3):
        background.put(number)
    waiter = threading.Thread(target=background.put, args=(3,))
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    switch.free.set()
    waiter.join(10)
    assert background.flush()
    assert (switch.handled, background.dropped) == ([0, 1, 2, 3], 0)
    background.close()


def test_what_is_put_after_closing_is_dropped_and_counted() -> None:
    switch = Switch()
    background = Background(switch, name="test")
    background.put(1)
    assert background.close()
    background.put(2)
    assert (switch.handled, background.dropped) == ([1], 1)
    assert background.close()


def test_nothing_put_by_many_threads_is_lost_or_doubled() -> None:
    switch = Switch()
    background = Background(switch, name="test", interval=0.001, batch=7)
    interval = sys.getswitchinterval()

    def put_all(n: int) -> None:
        for i in range(500):
            background.put(1000 * n + i)

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=put_all, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert background.flush()
    assert sorted(switch.handled) == sorted(1000 * n + i for n in range(8) for i in range(500))
    background.close()


def test_a_queue_that_was_never_used_starts_no_thread() -> None:
    before = threading.active_count()
    background = Background(Switch(), name="test")
    assert background.flush()
    assert threading.active_count() == before
    background.close()
