"""Reports: the same numbers from every database, and nothing unknown counted as nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from waiting import SAFETY_LIMIT

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.reports.queries import make_report
from costguard_core.types import Attribution, Event, Outcome, Usage
from costguard_core.util.timeparse import resolve, resolve_ahead, seconds

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
ALICE, BOB = Attribution(user="alice", endpoint="/faq"), Attribution(user="bob", endpoint="/agent")


def about(seconds: float) -> Any:
    """What percentiles promise: within 2 %."""
    return pytest.approx(seconds, rel=0.02)


def call(number: int, outcome: Outcome, who: Attribution = ALICE, **values: Any) -> Event:
    return Event(
        **{"id": f"e{number}", "time": NOON - number, "model": "m", "attribution": who, **values, "outcome": outcome}
    )


DAY = (
    call(1, Outcome.MISS, cost=1_500_000_001, usage=Usage(100, 20), latency=2.0),
    call(2, Outcome.MISS, cost=2, usage=Usage(10, 2), latency=1.0, estimated=True),
    call(3, Outcome.EXACT, cost=0, saved=1_500_000_001, usage=Usage(100, 20), latency=0.002),
    call(4, Outcome.REFUSED, cost=0, reason="$1/day"),
    call(5, Outcome.ERROR, cost=0, reason="APIConnectionError"),
    call(6, Outcome.MISS, BOB, cost=None, usage=Usage(50, 5), latency=4.0),
    call(7, Outcome.ERROR, BOB, cost=7, usage=Usage(7, 0), latency=9.0),
    call(8, Outcome.ABANDONED, BOB, cost=30, usage=Usage(8, 0), latency=600.0),
    call(9, Outcome.SEMANTIC, Attribution(), cost=0, saved=5, latency=0.5),
)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_db")
    with open_ledger(url, clock=lambda: NOON) as opened:
        for event in DAY:
            opened.append(event)
        yield opened


def test_every_group_adds_up(ledger: Ledger) -> None:
    report = make_report(ledger, by="user")
    assert [row.key for row in report] == [("alice",), ("bob",), (None,)]
    alice, bob, nobody = report["alice"], report["bob"], report[None]
    assert (alice.calls, alice.paid, alice.answered, alice.hits) == (5, 2, 3, 1)
    assert (alice.refused, alice.errors, alice.estimated, alice.unpriced) == (1, 1, 1, 0)
    assert (alice.spend_usd, alice.saved_usd) == (Decimal("1.500000003"), Decimal("1.500000001"))
    assert (alice.input_tokens, alice.output_tokens) == (110, 22)
    assert (alice.p50, alice.p95, round(alice.hit_rate, 4)) == (about(1.0), about(2.0), 0.3333)
    assert (bob.calls, bob.paid, bob.errors, bob.abandoned, bob.unpriced, bob.cost) == (3, 3, 1, 1, 1, 37)
    assert (bob.p50, bob.p95, bob.hit_rate) == (about(4.0), about(4.0), 0.0)
    assert (nobody.calls, nobody.paid, nobody.hits, nobody.saved) == (1, 0, 1, 5)
    assert report.total.calls == 9
    assert report.total.spend_usd == Decimal("1.500000040")
    assert report.total.p95 == about(4.0)


def test_several_dimensions_and_none(ledger: Ledger) -> None:
    both = make_report(ledger, by=["endpoint", "user"])
    assert both["/agent", "bob"].calls == 3
    assert make_report(ledger, by="endpoint, user").rows == both.rows  # as people type it
    whole = make_report(ledger)
    assert (len(whole), whole.total) == (0, make_report(ledger, by="model").total)


@pytest.mark.parametrize("by", ["tenant", "session", "feature", "template", "provider", "tier", "kind", "route"])
def test_every_dimension_can_be_asked_for(ledger: Ledger, by: str) -> None:
    assert make_report(ledger, by=by).total.calls == 9


def test_by_route_is_by_the_tier_that_answered(ledger: Ledger) -> None:
    routes = {
        "cheap (score -0.12, cut 0.25): wording +0.41": "cheap",
        "cheap (score 0.31, cut 0.40): call site +0.31, words: many": "cheap",
        "strong (score 1.00, cut 0.20) escalated: escalated: empty": "strong",
        "strong escalated: no opinion": "strong",
        "gpt-4.1 (2): default": "gpt-4.1 (2)",
        "llama3:8b: default": "llama3:8b",
        "shadow: strong": "shadow",
        "": "",
    }
    for number, text in enumerate(routes, start=100):
        ledger.append(call(number, Outcome.MISS, cost=1, route=text, latency=number / 100))
    report = make_report(ledger, by="route")
    assert {row.key[0]: row.totals.calls for row in report if row.key[0] is not None} == {
        name: list(routes.values()).count(name) for name in routes.values()
    }
    assert report["strong"].p95 == about(1.03)


def test_by_outcome_and_reason_say_why(ledger: Ledger) -> None:
    report = make_report(ledger, by=["outcome", "reason"])
    assert report["refused", "$1/day"].calls == 1
    assert report["error", "APIConnectionError"].calls == 1


def test_days_are_utc_and_in_order(ledger: Ledger) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    ledger.append(call(100, Outcome.MISS, time=midnight - 0.001, cost=1))
    ledger.append(call(101, Outcome.MISS, time=midnight, cost=1))
    report = make_report(ledger, by="day")
    assert [(row.key[0], row.totals.calls) for row in report] == [("2026-11-21", 1), ("2026-11-22", 10)]


def test_since_and_until_cut_the_span(ledger: Ledger) -> None:
    assert make_report(ledger, since=NOON - 3, until=NOON - 1).total.calls == 2
    assert make_report(ledger, since="5s").total.calls == 5
    assert make_report(ledger, since=NOON + 1).total.calls == 0


def test_an_empty_span_is_an_empty_report(ledger: Ledger) -> None:
    report = make_report(ledger, by="user", since=NOON + 1)
    assert (report.rows, report.total.p50, report.total.hit_rate) == ((), None, 0.0)
    assert "Total" in str(report)


def test_a_report_sees_what_was_appended_just_before(ledger: Ledger) -> None:
    ledger.append(call(10, Outcome.MISS, cost=1))
    assert make_report(ledger).total.calls == 10


def test_a_wrong_dimension_names_the_right_ones(ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError, match=r"by 'usr': did you mean 'user'\? Use one of user, tenant"):
        make_report(ledger, by="usr")


def test_exports_agree(ledger: Ledger) -> None:
    report = make_report(ledger, by=["user", "endpoint"])
    dicts = report.to_dicts()
    assert dicts[0]["spend_usd"] == Decimal("1.500000003")
    loaded = json.loads(report.to_json())
    assert loaded["total"]["spend_usd"] == "1.500000040"
    assert [row["user"] for row in loaded["rows"]] == [row["user"] for row in dicts]
    (first, *_) = csv.DictReader(io.StringIO(report.to_csv()))
    assert (first["user"], first["spend_usd"], first["p50"]) == (
        "alice",
        "1.500000003",
        str(report["alice", "/faq"].p50),
    )
    frame = report.to_pandas()
    assert list(frame["calls"]) == [row["calls"] for row in dicts]
    assert frame["spend_usd"].sum() == pytest.approx(1.50000004)


def test_an_empty_report_exports_its_columns(ledger: Ledger) -> None:
    report = make_report(ledger, by="user", since=NOON + 1)
    assert list(report.to_pandas().columns)[:3] == ["user", "calls", "paid"]
    assert report.to_csv().startswith("user,calls,paid")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (None, None),
        (12.5, 12.5),
        ("24h", NOON - 86_400),
        ("90 m", NOON - 5_400),
        ("1.5d", NOON - 129_600),
        ("2W", NOON - 14 * 86_400),
        (timedelta(hours=1), NOON - 3_600),
        ("today", NOON - 43_200),
        ("Yesterday", NOON - 129_600),
        ("2026-11-22", NOON - 43_200),
        ("2026-11-22T13:00+01:00", NOON),
        ("2026-11-22T12:00Z", NOON),
        (datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1))), NOON),
    ],
)
def test_moments(moment: Any, expected: float | None) -> None:
    assert resolve(moment, now=NOON) == expected


def test_a_naive_datetime_is_local_as_everywhere_in_python() -> None:
    naive = datetime(2026, 11, 22, 12)  # noqa: DTZ001
    assert resolve(naive, now=0.0) == naive.timestamp()


@pytest.mark.parametrize(
    "moment", ["9" * 15 + "d", "9" * 400 + "d", 1e300, -1e300, timedelta.max, "0001-01-01T00:00+05:00", "99999999w"]
)
def test_a_moment_without_a_date_is_refused_where_it_is_given(moment: Any) -> None:
    for read in (resolve, resolve_ahead):
        with pytest.raises(ConfigurationError, match="is too far away"):
            read(moment, now=NOON)


@pytest.mark.parametrize("span", ["9" * 15 + "d", "9" * 400 + "d", 1e300, -1.0])
def test_a_length_of_time_is_one_that_can_be_printed(span: str | float) -> None:
    with pytest.raises(ConfigurationError, match="is not a number of at least 0 and of at most"):
        seconds(span)
    assert seconds("27000w") == 27_000 * 7 * 86_400


@pytest.mark.parametrize("bad", ["", "last week", "7", "-1d", "2026-13-01"])
def test_a_moment_that_is_none_says_what_is(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a time: write"):
        resolve(bad, now=NOON)


def tagged(number: int, **tags: str) -> Event:
    return call(number, Outcome.MISS, Attribution(user="ann", tags=tuple(sorted(tags.items()))), cost=1_000)


def test_a_tag_is_a_dimension(ledger: Ledger) -> None:
    for event in (tagged(20, plan="free", team="a"), tagged(21, plan="free"), tagged(22, **{"cost-center.2": "x"})):
        ledger.append(event)
    report = make_report(ledger, by=["plan", "team"])
    assert {row.key: row.totals.calls for row in report} == {("free", "a"): 1, ("free", None): 1, (None, None): 10}
    assert make_report(ledger, by="cost-center.2")["x"].cost == 1_000
    assert [event.attribution.tags for event in ledger.events(until=NOON - 19)][::-1] == [
        (("plan", "free"), ("team", "a")),
        (("plan", "free"),),
        (("cost-center.2", "x"),),
    ]


@pytest.mark.parametrize("value", ["half \ud83d", "nul \0", 'quote " and \\', "O'Brien", "山田", "%s ? {x}"])
def test_a_tag_may_have_any_value(ledger: Ledger, value: str) -> None:
    ledger.append(tagged(20, team=value))
    (row,) = make_report(ledger, by="team", where={"team": value})
    assert row.totals.calls == 1
    assert row.key[0] is not None


def test_where_chooses_calls(ledger: Ledger) -> None:
    ledger.append(tagged(20, plan="free"))
    assert make_report(ledger, where={"user": "bob"}).total.calls == 3
    assert make_report(ledger, by="outcome", where={"user": "alice", "endpoint": "/faq"})["refused"].calls == 1
    assert make_report(ledger, where={"plan": "free"}).total.cost == 1_000
    assert make_report(ledger, where={"user": None}).total.calls == 1
    assert make_report(ledger, where={"user": "alice"}, since=NOON - 2).total.calls == 2
    with pytest.raises(ConfigurationError, match="did you mean 'user'"):
        make_report(ledger, where={"usr": "x"})
    with pytest.raises(ConfigurationError, match="since="):
        make_report(ledger, where={"day": "2026-11-22"})


@pytest.mark.parametrize("where", [{}, {"user": "ann"}, {"session": "s2"}, {"session": None}])
@pytest.mark.parametrize("by", ["session", "session, user", "user, session, model", "request_id", "fingerprint"])
def test_a_limit_keeps_the_first_groups_and_the_total_of_all(ledger: Ledger, by: str, where: dict[str, str]) -> None:
    sessions = ["s2", "S1", "s10", "é", "half \ud83d", "nul \0", "quote \" and '", "?", "x" * 300, " ", None]
    for number, session in enumerate(sessions * 2, start=100):
        for user, cost in (("ann", 5), ("bob", 5 + number % 3)):  # many cost the same
            who = Attribution(user=user, session=session)
            name = f"{session}"
            values = {"request_id": name, "fingerprint": name, "latency": number / 7}
            ledger.append(call(number * 10 + len(user) + cost, Outcome.MISS, who, cost=cost, **values))
    assert ledger.flush(SAFETY_LIMIT)
    for rolled_up in (False, True):
        if rolled_up:
            ledger.roll_up(few=1)
        whole = make_report(ledger, by, where=where)
        assert whole.rows
        for limit in range(1, len(whole) + 2):
            few = make_report(ledger, by, where=where, limit=limit)
            assert (few.rows, few.total) == (whole.rows[:limit], whole.total)
            assert few.more == max(0, len(whole) - limit)
