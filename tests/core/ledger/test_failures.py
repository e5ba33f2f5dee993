"""A ledger that cannot write: callers never notice, the writer keeps trying, what is lost is counted."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from waiting import SAFETY_LIMIT, wait_until

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.sqlite import SqliteDatabase
from costguard_core.reports.queries import make_report
from costguard_core.types import Event, Outcome


def event(number: int) -> Event:
    return Event(id=f"e{number}", time=float(number), outcome=Outcome.MISS, model="m", cost=1)


def test_a_locked_file_is_written_when_the_lock_ends(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(SqliteDatabase(str(path), busy_timeout=0.05))
    ledger.prepare()
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    ledger.append(event(1))
    wait_until(lambda: ledger.errors)
    assert ledger.waiting == 1
    assert ledger.flush(timeout=0.0) is False
    locker.rollback()
    locker.close()
    assert ledger.flush(SAFETY_LIMIT)
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
    wait_until(lambda: ledger.errors)
    assert ledger.flush(timeout=0.0) is False
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.flush(SAFETY_LIMIT)
    assert len(list(ledger.events())) == 2_000
    ledger.close()


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    with open_ledger(f"sqlite:///{directory}/ledger.db") as ledger:
        ledger.append(event(1))
        ledger.flush(SAFETY_LIMIT)
        shutil.rmtree(directory)
        ledger.append(event(2))
        wait_until(lambda: ledger.errors)
        directory.mkdir()
        assert ledger.flush(SAFETY_LIMIT)
        assert [e.id for e in ledger.events()] == ["e2"]


def test_a_ledger_that_is_corrupted_while_open_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}", interval=0.01)
    ledger.append(event(1))
    ledger.flush(SAFETY_LIMIT)
    for file in tmp_path.iterdir():
        file.write_bytes(b"\x13" * 50_000)
    with caplog.at_level(logging.WARNING):
        for number in range(2, 50):
            ledger.append(event(number))
        wait_until(lambda: ledger.errors > 2)
        assert ledger.flush(timeout=0.0) is False
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
        wait_until(lambda: ledger.errors)
        assert ledger.waiting == 1
        assert ledger.flush(timeout=0.0) is False
    with pytest.raises(CostGuardError, match="postgresql://") as caught:
        make_report(ledger)
    for text in (caplog.text, repr(ledger), str(caught.value)):
        assert "hunter" not in text
    ledger.close(timeout=0.1)


def test_postgres_that_comes_back_gets_everything(postgres_db: str) -> None:
    import psycopg

    with open_ledger(postgres_db) as ledger:
        ledger.append(event(1))
        assert ledger.flush(SAFETY_LIMIT)
        with psycopg.connect(postgres_db, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'costguard'")
        ledger.append(event(2))
        assert ledger.flush(SAFETY_LIMIT)
        assert [e.id for e in ledger.events()] == ["e1", "e2"]


def tables(url: str) -> list[str]:
    return sorted(name for (name,) in sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))


def sql(url: str, statement: str) -> list[tuple[str, ...]]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_postgres_table_that_is_dropped_is_made_anew(postgres_db: str, caplog: pytest.LogCaptureFixture) -> None:
    with open_ledger(postgres_db) as ledger:
        ledger.append(event(1))
    for name in tables(postgres_db):
        with open_ledger(postgres_db) as ledger:
            ledger.append(event(1))
            assert ledger.flush(SAFETY_LIMIT)
            sql(postgres_db, f"DROP TABLE {name}")
            with caplog.at_level(logging.WARNING):
                for number in range(2, 40):
                    ledger.append(event(number))
                assert ledger.flush(SAFETY_LIMIT)
            assert ledger.dropped == 0
            assert {e.id for e in ledger.events()} >= {f"e{number}" for number in range(2, 40)}
            assert make_report(ledger).total.calls >= 38
        with open_ledger(postgres_db) as again:  # also where the record of the steps was dropped
            assert len(list(again.events())) >= 38
        for left in tables(postgres_db):
            sql(postgres_db, f"DROP TABLE {left}")  # none takes another one of the list along
    assert "the table costguard_events of the ledger" in caplog.text


def test_a_sqlite_table_that_is_dropped_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        ledger.append(event(1))
        assert ledger.flush(SAFETY_LIMIT)
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE costguard_events")
        ledger.append(event(2))
        assert ledger.flush(SAFETY_LIMIT)
        assert [e.id for e in ledger.events()] == ["e2"]
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE costguard_ledger_migrations")
    with open_ledger(f"sqlite:///{path}") as again:
        assert [e.id for e in again.events()] == ["e2"]


def test_a_pruned_ledger_that_loses_the_record_of_its_steps_goes_on_recording(tmp_path: Path, postgres_db: str) -> None:
    path = tmp_path / "ledger.db"
    for url in (f"sqlite:///{path}", postgres_db):
        with open_ledger(url) as ledger:
            for day in (1, 2, 10):
                ledger.append(event(day * 86_400))
            assert ledger.flush(SAFETY_LIMIT)
            assert ledger.prune("today") == 2
        for number in (2, 3):  # the first time it is noted what the second time is there
            if url == postgres_db:
                sql(postgres_db, "DROP TABLE costguard_ledger_migrations")
            else:
                with sqlite3.connect(path) as other:
                    other.execute("DROP TABLE costguard_ledger_migrations")
            with open_ledger(url) as again:
                again.append(event(number))
                assert again.flush(SAFETY_LIMIT)
                assert f"e{number}" in [e.id for e in again.events()]


@pytest.fixture
def guarded_role(postgres_url: str, postgres_db: str) -> Iterator[str]:
    """A role of the server that needs its password, "right", also through the local socket."""
    name = f"role_{uuid.uuid4().hex[:12]}"
    sql(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    sql(postgres_db, f"GRANT ALL ON SCHEMA public TO {name}")
    [(rules,)] = sql(postgres_url, "SHOW hba_file")
    before = Path(rules).read_text()
    Path(rules).write_text(f"local all {name} scram-sha-256\n{before}")
    sql(postgres_url, "SELECT pg_reload_conf()")
    yield name
    Path(rules).write_text(before)
    sql(postgres_url, "SELECT pg_reload_conf()")
    sql(postgres_db, f"DROP OWNED BY {name} CASCADE")
    sql(postgres_url, f"DROP ROLE {name}")


def warned(caplog: pytest.LogCaptureFixture) -> str:
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "\n" not in line
    return line


def test_a_wrong_password_is_one_clear_line_and_loses_nothing(
    postgres_url: str, postgres_db: str, guarded_role: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres_db.replace("//postgres:@", f"//{guarded_role}:wrong@")
    assert "wrong" in url
    ledger = open_ledger(url, capacity=10)
    with caplog.at_level(logging.WARNING):
        ledger.append(event(0))
        wait_until(lambda: ledger.errors >= 2)
    line = warned(caplog)
    assert "password authentication failed" in line
    assert "correct the user or the password" in line
    assert "wrong" not in line.replace("wrong password", "")
    for number in range(1, 12):
        ledger.append(event(number))
    assert (ledger.waiting, ledger.dropped) == (10, 2)
    sql(postgres_url, f"ALTER ROLE {guarded_role} PASSWORD 'wrong'")  # now it is right
    assert ledger.flush(60.0)
    assert len(list(ledger.events())) == 10
    ledger.close()


def test_a_missing_database_is_one_clear_line_and_loses_nothing(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    ledger = open_ledger(postgres_url.replace("/postgres?", f"/{name}?"))
    with caplog.at_level(logging.WARNING):
        ledger.append(event(1))
        wait_until(lambda: ledger.errors >= 1)
    assert f'database "{name}" does not exist (create it, or correct' in warned(caplog)
    sql(postgres_url, f"CREATE DATABASE {name}")
    assert ledger.flush(60.0)
    assert [e.id for e in ledger.events()] == ["e1"]
    ledger.close()
    sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_read_only_standby_is_one_clear_line_and_left_for_the_primary(
    postgres_url: str, postgres_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = urlsplit(postgres_db).path[1:]
    ledger = open_ledger(postgres_db)
    ledger.append(event(1))
    assert ledger.flush(SAFETY_LIMIT)
    sql(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    sql(postgres_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    with caplog.at_level(logging.WARNING):
        ledger.append(event(2))
        wait_until(lambda: ledger.errors >= 3)
    assert any("standby" in record.getMessage() for record in caplog.records) or "terminat" in warned(caplog)
    sql(postgres_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert ledger.flush(60.0)  # only a new connection can write
    assert [e.id for e in ledger.events()] == ["e1", "e2"]
    ledger.close()


def test_several_servers_can_be_named_and_the_primary_is_found(postgres_db: str) -> None:
    directory = postgres_db.partition("host=")[2]
    name = urlsplit(postgres_db).path
    url = f"postgresql://postgres:s3cret@127.0.0.1:1,127.0.0.1:2{name}?host=127.0.0.1,{directory}&port=1,5432"
    with open_ledger(f"{url}&target_session_attrs=read-write") as ledger:
        assert ledger.url == f"postgresql://127.0.0.1:1,127.0.0.1:2{name}"
        ledger.append(event(1))
        assert ledger.flush(60.0)
        assert [e.id for e in ledger.events()] == ["e1"]


def test_a_lost_write_ahead_log_is_noticed_and_the_batch_written_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}", interval=0.0)
    ledger.append(event(1))
    assert ledger.flush(SAFETY_LIMIT)
    (tmp_path / "ledger.db-wal").unlink()
    ledger.append(event(2))
    assert ledger.flush(SAFETY_LIMIT)
    assert ledger.errors >= 1
    assert "e2" in [e.id for e in ledger.events()]
    ledger.close()


def test_earlier_damage_is_reported_when_the_ledger_is_used_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number in range(3_000):
            ledger.append(event(1_000_000 + number))
    page = 4096
    middle = path.stat().st_size // page // 2 * page
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(b"\xff" * page * 10)  # pages of the table and of its indexes
    with open_ledger(f"sqlite:///{path}") as ledger, caplog.at_level(logging.WARNING):
        ledger.append(event(9_000_000))
        assert ledger.flush(SAFETY_LIMIT)
        assert ledger.errors >= 1
        assert "is damaged" in warned(caplog)
        with pytest.raises(CostGuardError, match="cannot read the ledger"):
            list(ledger.events())
        assert ledger.errors >= 2


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            ledger.append(event(1))
            ledger.flush(SAFETY_LIMIT)
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)
