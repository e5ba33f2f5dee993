"""A ledger that cannot write: callers never notice, the writer keeps trying, what is lost is counted."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.sqlite import SqliteDatabase
from costguard_core.reports.queries import make_report
from costguard_core.types import Event, Outcome


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
        make_report(ledger)
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
