"""What a ledger promises, on every database that can hold one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import SAFETY_LIMIT

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.columns import COLUMNS
from costguard_core.ledger.database import Connection
from costguard_core.ledger.ledger import open_database
from costguard_core.ledger.migrations import MIGRATIONS, migrate
from costguard_core.ledger.sqlite import SqliteDatabase
from costguard_core.pricing import PriceBook
from costguard_core.reports.queries import make_report
from costguard_core.types import LEASE_EXPIRED, Attribution, Event, Outcome, Usage

FULL = Event(
    id="call-1",
    time=1_795_000_000.25,
    outcome=Outcome.MISS,
    model="gpt-5-mini",
    provider="openai",
    attribution=Attribution("u1", "acme", "s9", "/support", "triage", "greeting"),
    usage=Usage(1000, 200, 300, 40, 10, 5, 4, 3, 2, 1, 150, 6, tier="priority", estimated=True),
    cost=9_007_199_254_740_993,  # not representable as a float
    saved=7,
    estimated=True,
    latency=1.25,
    kind="chat",
    fingerprint="f00d",
    reason="why",
    route="cheap",
)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path}/ledger.db"
        case _:
            return str(request.getfixturevalue("postgres_db"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with open_ledger(url) as opened:
        yield opened


def event(id: str, outcome: Outcome = Outcome.MISS, *, cost: int | None = 5, time: float = 100.0) -> Event:
    return Event(id=id, time=time, outcome=outcome, model="m", cost=cost)


def test_every_field_comes_back_exactly(ledger: Ledger) -> None:
    ledger.append(FULL)
    assert list(ledger.events()) == [FULL]


def test_what_was_not_said_comes_back_as_not_said(ledger: Ledger) -> None:
    bare = Event(id="x", time=1.0, outcome=Outcome.REFUSED, model="m", cost=None)
    ledger.append(bare)
    assert list(ledger.events()) == [bare]


def test_every_field_of_an_event_has_a_column() -> None:
    stored = {column.path.split(".")[-2 if column.path.startswith("outcome") else -1] for column in COLUMNS}
    parts = [*dataclasses.fields(Event), *dataclasses.fields(Attribution), *dataclasses.fields(Usage)]
    assert {part.name for part in parts} - stored == {"attribution", "usage", "documents"}


def test_an_event_counts_once_however_often_it_is_appended(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.append(event("a"))
    ledger.flush(SAFETY_LIMIT)
    ledger.append(event("a", cost=99))
    assert [e.cost for e in ledger.events()] == [5]


@pytest.mark.parametrize("flush_between", [True, False])
def test_a_late_settle_replaces_an_abandoned_call(ledger: Ledger, *, flush_between: bool) -> None:
    ledger.append(event("a", Outcome.ABANDONED, cost=50))
    if flush_between:
        ledger.flush(SAFETY_LIMIT)
    ledger.append(event("a", Outcome.MISS, cost=3))
    ledger.append(event("a", Outcome.ABANDONED, cost=50))
    assert [(e.outcome, e.cost) for e in ledger.events()] == [(Outcome.MISS, 3)]


@pytest.mark.parametrize("flush_between", [True, False])
def test_what_its_own_process_says_of_a_call_replaces_what_was_charged_when_its_lease_expired(
    ledger: Ledger, *, flush_between: bool
) -> None:
    expired = dataclasses.replace(event("a", Outcome.ABANDONED, cost=50), reason=LEASE_EXPIRED)
    ledger.append(expired)
    if flush_between:
        ledger.flush(SAFETY_LIMIT)
    ledger.append(dataclasses.replace(event("a", Outcome.ABANDONED, cost=7), reason="GeneratorExit"))
    ledger.append(expired)
    assert [(e.reason, e.cost) for e in ledger.events()] == [("GeneratorExit", 7)]


def test_events_stream_in_order_of_time_from_since_to_before_until(ledger: Ledger) -> None:
    for moment in (4.0, 1.0, 3.0, 2.0):
        ledger.append(event(f"t{moment}", time=moment))
    assert [e.time for e in ledger.events(since=2.0, until=4.0)] == [2.0, 3.0]


def test_a_reopened_ledger_still_has_what_was_closed(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory ends with its ledger")
    with open_ledger(url) as first:
        first.append(event("a"))
    with open_ledger(url) as second:
        assert [e.id for e in second.events()] == ["a"]


def test_odd_text_does_not_hold_back_its_batch(ledger: Ledger) -> None:
    odd = Attribution(user="nul\0and\ud800surrogate", tenant=42)  # type: ignore[arg-type]
    ledger.append(event("before"))
    ledger.append(dataclasses.replace(event("odd"), attribution=odd))
    ledger.append(event("after"))
    assert {e.id for e in ledger.events()} == {"before", "odd", "after"}
    assert ledger.dropped == 0


def test_a_number_that_no_column_can_hold_is_dropped_alone_and_counted(ledger: Ledger) -> None:
    for name, cost in (("before", 1), ("odd", 2**70), ("after", 1)):
        ledger.append(event(name, cost=cost))
    assert {e.id for e in ledger.events()} == {"before", "after"}
    assert ledger.dropped == 1


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(user=st.text(), cost=st.one_of(st.none(), st.integers(0, 2**62)), tokens=st.integers(0, 2**40))
def test_any_event_survives(user: str, cost: int | None, tokens: int) -> None:
    with open_ledger("memory://", interval=0.0) as memory:
        given_event = Event("i", 1.0, Outcome.MISS, user, usage=Usage(input_tokens=tokens), cost=cost)
        memory.append(given_event)
        (found,) = memory.events()
        assert (found.cost, found.usage) == (given_event.cost, given_event.usage)


def test_a_ledger_in_memory_forgets_the_oldest_instead_of_growing_for_ever() -> None:
    with Ledger(SqliteDatabase(None), keep=10, batch=5) as memory:
        for number in range(100):
            memory.append(event(f"e{number}", time=float(number)))
        assert [e.id for e in memory.events()] == [f"e{number}" for number in range(90, 100)]


def test_a_closed_ledger_in_memory_can_still_be_read() -> None:
    with open_ledger("memory://") as memory:
        memory.append(event("a"))
    assert make_report(memory).total.calls == 1


def test_two_ledgers_write_one_database(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory belongs to one ledger")
    with open_ledger(url) as one, open_ledger(url) as other:
        for n in range(100):
            one.append(event(f"one-{n}"))
            other.append(event(f"other-{n}"))
            other.append(event(f"one-{n}"))
        one.flush()
        assert len(list(other.events())) == 200


def add_a_column(connection: Connection) -> None:
    connection.execute("ALTER TABLE costguard_events ADD COLUMN colour TEXT")


def test_an_older_file_is_brought_up_to_date_and_keeps_its_events(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory has no older versions")
    database = open_database(url)
    assert migrate(database, MIGRATIONS[:1]) == ["events"]
    database.close()
    with open_ledger(url) as ledger:
        ledger.append(event("a"))
        assert len(list(ledger.events())) == 1
    assert migrate(database, [*MIGRATIONS, add_a_column]) == ["add_a_column"]
    assert migrate(database, [*MIGRATIONS, add_a_column]) == []
    assert list(database.rows("SELECT id, colour FROM costguard_events")) == [("a", None)]
    database.close()


def test_a_file_of_the_version_before_is_read_without_changing_it(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory has no older versions")
    with open_ledger(url) as ledger:
        ledger.append(event("a", cost=None))
        assert ledger.flush(SAFETY_LIMIT)
        written = list(ledger.events())
    database = open_database(url)
    with database.transaction() as connection:
        connection.execute("ALTER TABLE costguard_events DROP COLUMN passes")
        connection.execute("DELETE FROM costguard_ledger_migrations WHERE name = 'passes_column'")
    database.close()
    with open_ledger(url, read_only=True) as ledger:
        assert list(ledger.events()) == written
        assert ledger.reprice(PriceBook(), dry_run=True).unknown == 1
        assert make_report(ledger).total.calls == 1
    with open_ledger(url) as ledger:
        ledger.append(dataclasses.replace(event("b"), usage=Usage(5, 1, passes=(Usage(2, 1), Usage(3)))))
        assert [len(one.usage.passes) for one in ledger.events()] == [0, 2]


def test_a_newer_file_is_refused_with_what_to_do(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory has no newer versions")
    database = open_database(url)
    migrate(database, [*MIGRATIONS, add_a_column])
    database.close()
    with pytest.raises(ConfigurationError, match=r"newer version .*add_a_column.*pip install -U"):
        open_ledger(url)


def test_a_step_that_fails_leaves_no_trace(url: str) -> None:
    def half_done(connection: Connection) -> None:
        add_a_column(connection)
        connection.execute("SELECT * FROM there_is_no_such_table")

    database = open_database(url)
    with pytest.raises(Exception, match="there_is_no_such_table"):
        migrate(database, [*MIGRATIONS, half_done])
    # The good steps stay, the bad one is not recorded.
    assert migrate(database) == [step.__name__ for step in database.own_migrations]
    with pytest.raises(Exception, match="colour"):
        list(database.rows("SELECT colour FROM costguard_events"))
    database.close()


@pytest.mark.parametrize("bad", ["", "ledger.db", "sqlite://ledger.db", "sqlite:///", "mysql://u:secret@h/d"])
def test_a_url_that_is_no_ledger_says_what_is(bad: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use memory://, sqlite:///costguard.db or postgresql://") as caught:
        open_ledger(bad)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 100)
    with pytest.raises(ConfigurationError, match=r"notes\.txt.*not a database"):
        open_ledger(f"sqlite:///{path}")
    assert path.read_text() == "dear diary " * 100


def test_reading_creates_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no ledger"):
        open_ledger(f"sqlite:///{tmp_path}/missing.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_ledger_reports_and_refuses_events(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger:
        ledger.append(event("a"))
        ledger.flush(SAFETY_LIMIT)
        with open_ledger(url, read_only=True) as reader:
            assert [e.id for e in reader.events()] == ["a"]
            reader.append(event("b"))
            assert reader.dropped == 1


def test_a_relative_path_stays_where_the_application_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_ledger("sqlite:///ledger.db") as ledger:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        ledger.append(event("a"))
        assert len(list(ledger.events())) == 1
    assert [path.name for path in tmp_path.glob("**/*.db")] == ["ledger.db"]
    assert (tmp_path / "ledger.db").exists()
