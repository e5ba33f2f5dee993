"""Roll-ups have the sums that the events have, after whatever happened to them."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from waiting import SAFETY_LIMIT, wait_until

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger, migrations, open_ledger, rollups, sketch
from costguard_core.ledger.columns import NAMES, TABLE, to_row
from costguard_core.ledger.ledger import open_database
from costguard_core.ledger.migrations import MIGRATIONS, migrate
from costguard_core.ledger.rollups import PRUNED_BEFORE, ROLLED_UNTIL, ROLLUPS, STATE, TAGS_MONTHS
from costguard_core.reports.plan import Piece, make_plan
from costguard_core.reports.queries import make_report
from costguard_core.reports.report import Report, Totals
from costguard_core.reports.time_buckets import TimeBuckets
from costguard_core.types import Attribution, Event, Outcome, Usage

START = datetime(2026, 10, 30, 22, tzinfo=UTC).timestamp()
DAY = 86_400.0
SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def totals_of(events: list[Event]) -> Totals:
    """What a report must say, from the events themselves; without percentiles."""
    paid = [
        e
        for e in events
        if e.outcome == Outcome.MISS or (e.outcome in (Outcome.ERROR, Outcome.ABANDONED) and e.cost != 0)
    ]

    def having(*outcomes: Outcome) -> list[Event]:
        return [e for e in events if e.outcome in outcomes]

    def saved(*outcomes: Outcome) -> int:
        return sum(e.saved for e in having(*outcomes))

    hits = (Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED)
    return Totals(
        calls=len(events),
        paid=len(paid),
        answered=len(having(Outcome.MISS, *hits)),
        hits=len(having(*hits)),
        refused=len(having(Outcome.REFUSED)),
        errors=len(having(Outcome.ERROR)),
        abandoned=len(having(Outcome.ABANDONED)),
        unpriced=sum(e.cost is None for e in events),
        estimated=sum(e.estimated for e in paid),
        cost=sum(e.cost or 0 for e in events),
        saved=sum(e.saved for e in events),
        input_tokens=sum(e.usage.input_tokens for e in paid),
        output_tokens=sum(e.usage.output_tokens for e in paid),
        exact=len(having(Outcome.EXACT)),
        semantic=len(having(Outcome.SEMANTIC)),
        coalesced=len(having(Outcome.COALESCED)),
        partly_priced=sum(bool(e.unpriced) for e in events),
        cache_read_tokens=sum(e.usage.cache_read_tokens for e in paid),
        cache_write_tokens=sum(e.usage.cache_write_tokens for e in paid),
        reasoning_tokens=sum(e.usage.reasoning_tokens for e in paid),
        saved_exact=saved(Outcome.EXACT),
        saved_semantic=saved(Outcome.SEMANTIC),
        saved_coalesced=saved(Outcome.COALESCED),
        saved_routing=saved(Outcome.MISS, Outcome.ERROR, Outcome.ABANDONED, Outcome.REFUSED),
    )


DIMENSIONS: dict[str, Callable[[Event, Any], str | None]] = {
    "user": lambda e, _: e.attribution.user,
    "session": lambda e, _: e.attribution.session,
    "endpoint": lambda e, _: e.attribution.endpoint,
    "model": lambda e, _: e.model,
    "outcome": lambda e, _: e.outcome.value,
    "priced_by": lambda e, _: e.priced_by,
    "tier": lambda e, _: e.usage.tier,
    "plan": lambda e, _: e.attribution.value("plan"),
    "hour": lambda e, zone: local(e, zone).strftime("%Y-%m-%d %H:00" + ("" if zone is UTC else "%z")),
    "day": lambda e, zone: local(e, zone).strftime("%Y-%m-%d"),
    "week": lambda e, zone: local(e, zone).strftime("%G-W%V"),
    "month": lambda e, zone: local(e, zone).strftime("%Y-%m"),
}


def local(event: Event, zone: Any) -> datetime:
    return datetime.fromtimestamp(event.time, UTC).astimezone(zone)


def check(ledger: Ledger, by: tuple[str, ...], since: float | None, until: float | None, zone: str) -> None:
    events = [e for e in ledger.events() if (since is None or e.time >= since) and (until is None or e.time < until)]
    expected: dict[tuple[str | None, ...], list[Event]] = {}
    where = UTC if zone == "UTC" else ZoneInfo(zone)
    for event in events:
        expected.setdefault(tuple(DIMENSIONS[name](event, where) for name in by), []).append(event)
    report = make_report(ledger, by, since=since, until=until, timezone=zone)
    found = {row.key: dataclasses.replace(row.totals, p50=None, p95=None) for row in report}
    if by:
        assert found == {key: totals_of(group) for key, group in expected.items()}
    assert dataclasses.replace(report.total, p50=None, p95=None) == totals_of(events)
    for limit in (1, 2, 1_001):  # another way to read: which groups they are first
        few = make_report(ledger, by, since=since, until=until, timezone=zone, limit=limit)
        assert (few.rows, few.total, few.more) == (report.rows[:limit], report.total, max(0, len(report) - limit))
    answered = sorted(e.latency for e in events if e.outcome in (Outcome.MISS, Outcome.EXACT, Outcome.SEMANTIC))
    if answered:
        assert report.total.p50 == pytest.approx(answered[(len(answered) - 1) // 2], rel=0.0201)


# Few of each, so that many events are of one group and one hour.
MOMENTS = st.sampled_from([0.0, 900.0, 1_800.0, 3_600.0, 26 * 3_600.0, 26.5 * 3_600.0, 27 * DAY])
KINDS: list[dict[str, Any]] = [
    {"model": "a", "attribution": Attribution(session="s1"), "priced_by": "list"},
    {"model": "a", "attribution": Attribution(user="u1", session="s1", endpoint="/faq", tags=(("plan", "free"),))},
    {"model": "b", "attribution": Attribution(user="u1", session="s2"), "unpriced": ("page",)},
    {"model": "b", "attribution": Attribution(user="u2", endpoint="/faq", tags=(("plan", "pro"), ("team", "x")))},
]


@st.composite
def events(draw: st.DrawFn) -> Event:
    tokens = st.integers(0, 5_000)
    return Event(
        id=f"e{draw(st.integers(0, 60))}",
        time=START + draw(MOMENTS),
        outcome=draw(st.sampled_from([*[Outcome.MISS] * 6, *(o for o in Outcome if o is not Outcome.COALESCED)])),
        usage=Usage(
            *(draw(tokens) for _ in range(5)),
            reasoning_tokens=draw(tokens),
            tier=draw(st.sampled_from([*[None] * 6, "batch"])),
            units=draw(st.sampled_from([(), (("page", 3),)])),
        ),
        cost=draw(st.one_of(st.none(), st.just(0), st.integers(1, 10**12))),
        saved=draw(st.integers(-(10**9), 10**9)),
        estimated=draw(st.booleans()),
        latency=draw(st.floats(0.001, 600)),
        **draw(st.sampled_from(KINDS)),
    )


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(events(), min_size=1, max_size=25)),
        st.tuples(st.just("append"), st.lists(events(), min_size=12, max_size=25)),
        st.tuples(st.just("roll up"), st.integers(1, 60)),
        st.tuples(st.just("correct"), events()),
    ),
    min_size=3,
    max_size=8,
)
BY = st.lists(st.sampled_from(list(DIMENSIONS)), max_size=2, unique=True).map(tuple)
MOMENT = st.one_of(st.none(), st.integers(0, 40 * 48).map(lambda n: START + n * 1_800.0))
ZONE = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"])
QUESTIONS = st.lists(st.tuples(BY, MOMENT, MOMENT, ZONE), min_size=1, max_size=4)


def live_through(ledger: Ledger, actions: list[tuple[str, Any]]) -> None:
    for name, value in actions:
        match name:
            case "append":
                for event in value:
                    ledger.append(event)
                assert ledger.flush(SAFETY_LIMIT)
            case "roll up":
                ledger.roll_up(most=value, few=1)
            case _:
                ledger.replace([value])


def with_times(value: Any) -> Any:
    """Ids that belong to one time, as a call's does: in Postgres they are unique within a month."""
    if isinstance(value, list):
        return [with_times(event) for event in value]
    return dataclasses.replace(value, id=f"{value.id}-{value.time}") if isinstance(value, Event) else value


@SETTINGS
@given(ACTIONS, QUESTIONS)
def test_reports_have_the_sums_of_the_events(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Any], questions: list[Any]
) -> None:
    with open_ledger(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/l.db", interval=0.0) as ledger:
        live_through(ledger, actions)
        for question in questions:
            check(ledger, *question)


@settings(SETTINGS, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(ACTIONS, QUESTIONS)
def test_reports_have_the_sums_of_the_events_in_postgres(
    postgres_db: str, actions: list[Any], questions: list[Any]
) -> None:
    with open_ledger(postgres_db, interval=0.0) as ledger:
        live_through(ledger, [(name, with_times(value)) for name, value in actions])
        for question in questions:
            check(ledger, *question)


@SETTINGS
@given(ACTIONS, QUESTIONS)
def test_a_limit_of_groups_changes_no_sum(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Any], questions: list[Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        few = tuple(
            dataclasses.replace(
                stage, chains=tuple(tuple(dataclasses.replace(c, most=2) for c in chain) for chain in stage.chains)
            )
            for stage in rollups.STAGES
        )
        patch.setattr(rollups, "STAGES", few)
        patch.setattr("costguard_core.ledger.ledger.STAGES", few)
        with open_ledger(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/l.db", interval=0.0) as ledger:
            live_through(ledger, actions)
            for question in questions:
                check(ledger, *question)


def call(number: int, **values: Any) -> Event:
    return Event(
        **{
            "id": f"e{number:06}",
            "time": START + number * 60.0,
            "outcome": Outcome.MISS,
            "model": "m",
            "cost": number,
            "attribution": Attribution(user=f"u{number % 5}"),
            "latency": 1.0,
            **values,
        }
    )


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_db"))


@pytest.fixture
def old_ledger(url: str) -> Iterator[tuple[str, list[Event]]]:
    """A ledger of the release before: its steps, its columns, its events."""
    database = open_database(url)
    migrate(database, MIGRATIONS[:2])
    names = [name for name in NAMES if name in old_columns(url)]
    given = [call(number, cost=None if number % 7 == 0 else number) for number in range(3_000)]
    places = [NAMES.index(name) for name in names]
    with database.transaction() as connection:
        connection.cursor().executemany(
            f"INSERT INTO {TABLE} ({', '.join(names)}) VALUES ({', '.join([database.mark] * len(names))})",
            [[to_row(event)[place] for place in places] for event in given],
        )
    database.close()
    yield url, given


def old_columns(url: str) -> list[str]:
    database = open_database(url, read_only=True)
    if url.startswith("sqlite"):
        return [row[1] for row in database.rows(f"PRAGMA table_info({TABLE})")]
    return [
        n for (n,) in database.rows(f"SELECT column_name FROM information_schema.columns WHERE table_name='{TABLE}'")
    ]


def without_percentiles(report: Report) -> dict[Any, Totals]:
    return {row.key: dataclasses.replace(row.totals, p50=None, p95=None) for row in report}


def test_an_old_ledger_reports_the_same_sums_before_during_and_after_it_is_rolled_up(
    old_ledger: tuple[str, list[Event]],
) -> None:
    url, given = old_ledger
    expected = {}
    for user in range(5):
        mine = [e for e in given if e.attribution.user == f"u{user}"]
        expected[f"u{user}",] = totals_of(mine)
    with open_ledger(url) as ledger:
        assert without_percentiles(make_report(ledger, by="user")) == expected
        assert ledger.roll_up(most=700) > 0
    with open_ledger(url) as ledger:  # interrupted, and resumed
        assert 0 < ledger.stats().not_rolled < 3_000
        assert without_percentiles(make_report(ledger, by="user")) == expected
        while ledger.roll_up(most=700, few=1):
            assert without_percentiles(make_report(ledger, by="user")) == expected
        assert ledger.stats().not_rolled <= 2  # the last minute
        assert sum(e.cost or 0 for e in given) == make_report(ledger).total.cost


def test_a_ledger_of_the_release_before_keeps_the_sums_of_what_it_forgot(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    questions: list[dict[str, Any]] = [
        {"by": "user"},
        {"by": ["user", "model"]},
        {"by": "day"},
        {"by": "day", "timezone": "America/New_York"},
        {"by": "session"},
        {"by": "session", "limit": 3},
    ]

    def sums(ledger: Ledger) -> list[Any]:
        found = [make_report(ledger, **question) for question in questions]
        return [(report.rows, report.total) for report in found]

    with open_ledger(f"sqlite:///{path}", interval=0.0) as ledger:
        for number in range(2_000):
            who = Attribution(user=f"u{number % 5}", session=f"s{number // 20}")
            ledger.append(call(number, time=START + number * 600.0, attribution=who))
        ledger.prune(START + 7 * DAY)
        before = sums(ledger)
    with closing(sqlite3.connect(path)) as file:  # as it was: other tables, and no sums of sessions and quarters
        for table in ("costguard_rollups", "costguard_groups"):
            (made,) = file.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
            assert "WITHOUT ROWID" in made or "INTEGER PRIMARY KEY" in made
            made = made.replace(" WITHOUT ROWID", "").replace("INTEGER PRIMARY KEY", "BIGINT PRIMARY KEY")
            file.execute(made.replace(table, f"{table}_old", 1))
            file.execute(f"INSERT INTO {table}_old SELECT * FROM {table}")
            file.execute(f"DROP TABLE {table}")
            file.execute(f"ALTER TABLE {table}_old RENAME TO {table}")
        file.execute("DROP TABLE costguard_sessions")
        file.execute("DROP TABLE costguard_prompt_lengths")
        file.execute("DELETE FROM costguard_rollups WHERE cube IN (8, 9, 10)")
        file.execute("DELETE FROM costguard_rollup_state WHERE name LIKE 'sessions%' OR name LIKE 'quarters%'")
        file.execute("DELETE FROM costguard_rollup_state WHERE name LIKE '%s_until' OR name = 'sketches_shortened'")
        new = "('clustered_rollups', 'quarter_sums') OR name LIKE '%session%'"
        assert file.execute(f"DELETE FROM costguard_ledger_migrations WHERE name IN {new}").rowcount == 6
        file.commit()
    with open_ledger(f"sqlite:///{path}", read_only=True) as ledger:
        assert sums(ledger) == before
    with open_ledger(f"sqlite:///{path}") as ledger:
        assert sums(ledger) == before
        while ledger.roll_up(most=700, few=1):
            assert sums(ledger) == before
    with open_ledger(f"sqlite:///{path}", read_only=True) as ledger:
        assert sums(ledger) == before


def test_what_the_version_before_kept_of_sessions_and_long_sketches_is_renewed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}", interval=0.0) as ledger:
        for number in range(3_000):
            who = Attribution(user=f"u{number % 5}", session=f"s{number % 300}")
            ledger.append(call(number, latency=1.0 + number % 100, attribution=who))
        assert ledger.roll_up(few=1)
        assert not ledger.roll_up(few=1)  # and what there is to renew
        questions: list[dict[str, Any]] = [{"by": "day"}, {"by": ["user", "model"]}, {"by": "session", "limit": 9}]
        expected = [make_report(ledger, **question) for question in questions]
    with closing(sqlite3.connect(path)) as file:  # as it was
        unfolded = [
            (read_sketch(text), cube, period, group)
            for text, cube, period, group in file.execute(
                "SELECT latencies, cube, period, group_id FROM costguard_rollups WHERE cube NOT IN (9, 10)"
            )
        ]
        file.executemany(
            "UPDATE costguard_rollups SET latencies = ? WHERE cube = ? AND period = ? AND group_id = ?", unfolded
        )
        file.execute("DELETE FROM costguard_rollups WHERE cube IN (9, 10)")
        file.execute("DELETE FROM costguard_rollup_state WHERE name LIKE '%s_until' OR name = 'sketches_shortened'")
        file.execute("DROP TABLE costguard_prompt_lengths")
        file.execute("DROP TABLE costguard_sessions")
        file.execute(
            "CREATE TABLE costguard_sessions (period BIGINT, session TEXT, calls BIGINT, cost_nanos BIGINT, sums TEXT, "
            "PRIMARY KEY (period, session)) WITHOUT ROWID"
        )
        new = "('session_spans', 'sessions_by_cost', 'clustered_sessions')"
        assert file.execute(f"DELETE FROM costguard_ledger_migrations WHERE name IN {new}").rowcount == 3
        file.commit()
    with open_ledger(f"sqlite:///{path}", read_only=True) as ledger:
        assert [make_report(ledger, **question) for question in questions] == expected
    with open_ledger(f"sqlite:///{path}", interval=0.0) as ledger:
        while ledger.roll_up(most=700, few=1):
            assert [make_report(ledger, **question) for question in questions] == expected
        assert [make_report(ledger, **question) for question in questions] == expected
    with closing(sqlite3.connect(path)) as file:
        (models,) = file.execute("SELECT SUM(calls) FROM costguard_rollups WHERE cube = 9").fetchone()
        (longest,) = file.execute("SELECT MAX(length(latencies)) FROM costguard_rollups").fetchone()
        (sessions,) = file.execute("SELECT SUM(calls) FROM costguard_sessions").fetchone()
    assert 0 < sessions == models
    assert longest < 1_500


def read_sketch(text: str | None) -> str:
    """A sketch as it is before it is folded."""
    found = sketch.counts(text or "")
    return "".join(chr(sketch.FIRST_CHARACTER + number) * count for number, count in found.items())


def test_an_old_ledger_is_rolled_up_in_the_background(
    old_ledger: tuple[str, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costguard_core.ledger.ledger._TIDY_PERIOD", 0.01)
    with open_ledger(old_ledger[0]) as ledger:
        wait_until(lambda: ledger.stats().not_rolled <= 2)


def test_an_old_ledger_that_may_only_be_read_says_what_to_do(old_ledger: tuple[str, list[Event]]) -> None:
    with pytest.raises(ConfigurationError, match="run costguard ledger migrate"):
        open_ledger(old_ledger[0], read_only=True)


def test_a_ledger_without_roll_ups_can_be_read_only(url: str) -> None:
    database = open_database(url)
    migrate(database, MIGRATIONS[: MIGRATIONS.index(migrations.rollups)])
    database.close()
    with open_ledger(url, read_only=True) as ledger:
        assert make_report(ledger, by="user").total.calls == 0


def test_late_events_and_late_settlements_are_added_where_their_time_is_rolled_up(url: str) -> None:
    with open_ledger(url, interval=0.0) as ledger:
        for number in range(200):
            outcome = Outcome.ABANDONED if number == 50 else Outcome.MISS
            ledger.append(call(number, outcome=outcome, cost=10))
        ledger.roll_up(few=1)
        ledger.append(call(50, cost=3))  # how the abandoned call really ended
        ledger.append(call(900, time=START + 30.0, cost=7))
        ledger.append(call(51, cost=99))  # there already
        report = make_report(ledger, by="outcome")
        assert report["miss"].cost == 199 * 10 + 3 + 7
        assert ("abandoned",) not in [row.key for row in report]
        assert ledger.stats().not_rolled < 5


def test_corrected_prices_move_between_groups(url: str) -> None:
    with open_ledger(url, interval=0.0) as ledger:
        given = [call(number, cost=None, priced_by=None) for number in range(100)]
        for event in given:
            ledger.append(event)
        ledger.roll_up(few=1)
        fixed = [dataclasses.replace(event, cost=5, priced_by="list") for event in given[:60]]
        assert ledger.replace([*fixed, call(5_000)]) == 60
        report = make_report(ledger, by="priced_by")
        assert (report["list"].cost, report["list"].unpriced, report[None].unpriced) == (300, 0, 40)
        assert report["list"].p50 == pytest.approx(1.0, rel=0.02)
        assert report[None].p50 == pytest.approx(1.0, rel=0.02)
        assert [event.cost for event in ledger.events()].count(5) == 60


def test_pruned_events_stay_in_reports_but_not_in_those_by_session(url: str) -> None:
    with open_ledger(url, interval=0.0) as ledger:
        for number in range(2_000):
            ledger.append(call(number, time=START + number * 600.0))
        before = without_percentiles(make_report(ledger, by=["day", "model"]))
        people = without_percentiles(make_report(ledger, by="user"))
        assert ledger.prune(START + 7 * DAY) > 800
        assert ledger.stats().pruned_before == (START + 7 * DAY) // DAY * DAY
        assert ledger.prune(START + 7 * DAY) == 0
        assert without_percentiles(make_report(ledger, by=["day", "model"])) == before
        assert without_percentiles(make_report(ledger, by="user")) == people
        by_session = make_report(ledger, by="session")
        assert by_session.total.calls == ledger.stats().events
        (note,) = by_session.notes
        few = make_report(ledger, by="session", limit=5)
        assert (few.rows, few.total, few.notes) == (by_session.rows, by_session.total, by_session.notes)
        assert "no longer kept" in note
        assert note in " ".join(str(by_session).split())
        ledger.vacuum()
        assert without_percentiles(make_report(ledger, by="user")) == people


def test_retention_forgets_single_events_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costguard_core.ledger.ledger._TIDY_PERIOD", 0.01)
    now = START + 2_000 * 600.0
    path = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(path, interval=30.0, batch=5_000, retention="3d", clock=lambda: now) as ledger:
        for number in range(2_000):
            ledger.append(call(number, time=START + number * 600.0))
        assert ledger.flush(SAFETY_LIMIT)
        wait_until(lambda: 0 < ledger.stats().events < 700)
        assert make_report(ledger).total.calls == 2_000


@pytest.mark.parametrize("bad", ["90", "1h", "0d", "", "soon"])
def test_a_retention_that_is_none_says_what_is(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="write how long single calls are kept"):
        open_ledger("memory://", retention=bad)


def test_sketches_that_grow_long_are_folded(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number in range(30_000):
            ledger.append(call(number, time=START + number / 100, latency=(number % 1000 + 1) / 100))
        assert ledger.flush(SAFETY_LIMIT)
        while ledger.roll_up(most=5_000, few=1):
            pass
        with closing(sqlite3.connect(path)) as file:
            (longest,) = file.execute("SELECT MAX(length(latencies)) FROM costguard_rollups").fetchone()
        assert longest < 8_000
        total = make_report(ledger).total
        assert total.p50 == pytest.approx(5.0, rel=0.02)
        assert total.p95 == pytest.approx(9.5, rel=0.02)


def test_postgres_keeps_a_table_per_month(postgres_db: str) -> None:
    database = open_database(postgres_db)
    migrate(database, MIGRATIONS[:2])
    with database.transaction() as connection:
        names = [name for name in NAMES if name in old_columns(postgres_db)]
        rows = [[to_row(call(1))[NAMES.index(name)] for name in names]]
        marks = ", ".join(["%s"] * len(names))
        connection.cursor().executemany(f"INSERT INTO {TABLE} ({', '.join(names)}) VALUES ({marks})", rows)
    with open_ledger(postgres_db, interval=0.0) as ledger:
        ledger.append(call(1, cost=99))  # there already, in the table of before
        ledger.append(call(2))
        ledger.append(call(3, time=START + 5 * DAY))
        ledger.append(call(4, time=START + 40 * DAY))
        assert [event.id for event in ledger.events()] == ["e000001", "e000002", "e000003", "e000004"]
        found = database.rows("SELECT relname FROM pg_class WHERE relname ~ '^costguard_events_' AND relkind = 'r'")
        assert sorted(name for (name,) in found) == [
            "costguard_events_2026_11",
            "costguard_events_2026_12",
            "costguard_events_before",
        ]
        ledger.prune(START + 39 * DAY)
        assert [event.id for event in ledger.events()] == ["e000004"]
        assert make_report(ledger).total.calls == 4
    database.close()


def test_a_span_that_begins_early_in_a_day_is_the_day_without_its_first_calls(url: str) -> None:
    midnight = START + 2 * 3_600
    with open_ledger(url, interval=0.0) as ledger:
        for number in range(200):
            user = Attribution(user=f"u{number % 3}")
            ledger.append(call(number, time=midnight + number * 1_800.0, latency=1.0 + number, attribution=user))
        assert ledger.roll_up(few=1)
        since = midnight + DAY + 3_600 + 1.0  # of u0 to u2, one call each of that day is before it
        buckets, notes = TimeBuckets((), UTC), {PRUNED_BEFORE: float("-inf"), ROLLED_UNTIL: midnight + 5 * DAY}
        plan = make_plan({"user_id"}, buckets, since, None, state=notes, overflows=(), now=midnight + 5 * DAY)
        assert plan.pieces[0] == Piece(None, midnight + DAY, since, taken_out=True)
        later = make_plan({"user_id"}, buckets, since + 0.6 * DAY, None, state=notes, overflows=(), now=since + 4 * DAY)
        assert not any(piece.taken_out for piece in later.pieces)
        check(ledger, ("user",), since, None, "UTC")
        check(ledger, (), since, since + DAY, "UTC")
        first = make_report(ledger, "user", since=since, sort="name").rows[0]
        latencies = sorted(e.latency for e in ledger.events() if e.time >= since and e.attribution.user == "u0")
        assert first.totals.p50 == pytest.approx(latencies[(len(latencies) - 1) // 2], rel=0.0201)
        assert make_report(ledger, "user", since=since, until=since + 1.0).rows == ()


def test_the_total_is_that_of_the_rows_where_the_end_of_a_span_was_deleted(url: str) -> None:
    midnight = START + 2 * 3_600
    with open_ledger(url, interval=0.0) as ledger:
        for number in range(96):
            ledger.append(call(number, time=midnight + number * 3_600.0, attribution=Attribution(user="u")))
        ledger.prune(midnight + 3 * DAY)
        report = make_report(ledger, "user", since=midnight, until=midnight + 1.5 * DAY, limit=5)
        assert report.notes
        assert (report["u"].calls, report.total.calls) == (24, 24)


def test_people_of_one_tag_are_read_from_months_of_their_own(url: str) -> None:
    with open_ledger(url, interval=0.0) as ledger:
        for number in range(60):
            who = Attribution(user=f"u{number % 4}", endpoint=f"/{number}", tags=(("plan", f"p{number % 2}"),))
            ledger.append(call(number, attribution=who))
        assert ledger.roll_up(few=1)
        report = make_report(ledger, "user", where={"plan": "p1"})
        with ledger.reading() as database, database.snapshot() as reader:
            state = dict(reader.rows(f"SELECT name, value FROM {STATE}"))
            ((rows,),) = reader.rows(f"SELECT COUNT(*) FROM {ROLLUPS} WHERE cube = {TAGS_MONTHS.number}")
    plan = make_plan({"user_id", "tags"}, TimeBuckets((), UTC), None, None, state=state, overflows=(), now=START + DAY)
    assert [piece.cube for piece in plan.pieces if piece.cube] == [TAGS_MONTHS]
    assert {key: totals.calls for (key,), totals in ((row.key, row.totals) for row in report)} == {"u1": 15, "u3": 15}
    assert rows == 4


def test_the_dearest_of_many_sessions_are_found_by_an_index(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.flush()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as file:
        dearest = "SELECT session FROM costguard_sessions WHERE resumed = 0 ORDER BY cost_nanos DESC LIMIT 9"
        steps = [row[-1] for row in file.execute(f"EXPLAIN QUERY PLAN {dearest}")]
    assert len(steps) == 1 and "COVERING INDEX costguard_sessions_by_cost" in steps[0]
