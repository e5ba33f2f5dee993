"""Why the bill changed: the parts are the difference to the nano-dollar, and each factor is found where it is alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from waiting import SAFETY_LIMIT

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.reports.explain import FACTORS, Explanation, explain
from costguard_core.types import Attribution, Event, Outcome, Usage

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
YESTERDAY, WEEK_BEFORE = NOON - 86_400, NOON - 8 * 86_400


def call(number: int, at: float, outcome: Outcome = Outcome.MISS, **values: Any) -> Event:
    given = {"cost": 1_000, "usage": Usage(1_000, 100), "model": "m", "attribution": Attribution(user="u")}
    return Event(**{"id": f"{at}-{number}", "time": at + number, "outcome": outcome, **given, **values})


def explained(before: list[Event], after: list[Event], **options: Any) -> Explanation:
    with open_ledger("memory://", interval=0.0, clock=lambda: NOON) as ledger:
        for event in (*before, *after):
            ledger.append(event)
        assert ledger.flush(SAFETY_LIMIT)
        return explain(ledger, **options)


def only(found: Explanation) -> dict[str, int]:
    return {name: nanos for name, nanos in found.parts if nanos}


def many(count: int, at: float, outcome: Outcome = Outcome.MISS, start: int = 0, **values: Any) -> list[Event]:
    return [call(start + number, at, outcome, **values) for number in range(count)]


@pytest.mark.parametrize(
    ("after", "factor", "nanos"),
    [
        (many(15, YESTERDAY), "volume", 5_000),
        (many(5, YESTERDAY) + many(5, YESTERDAY, Outcome.EXACT, 50, cost=0, saved=1_000), "hit rate", -5_000),
        (many(10, YESTERDAY, cost=2_000), "price", 10_000),
        (many(10, YESTERDAY, cost=2_000, usage=Usage(2_400, 100), model="m"), "prompt length", 10_000),
        (many(10, YESTERDAY, cost=2_000, usage=Usage(1_000, 450), model="m"), "answer length", 10_000),
        (many(5, YESTERDAY) + many(5, YESTERDAY, start=50, model="dear", cost=3_000), "model mix", 10_000),
        (many(5, YESTERDAY) + many(5, YESTERDAY, Outcome.ERROR, 50, cost=3_000), "outcome", 10_000),
    ],
)
def test_each_factor_is_found_where_it_is_alone(after: list[Event], factor: str, nanos: int) -> None:
    found = explained(many(10, WEEK_BEFORE), after)
    assert only(found) == {factor: nanos}
    assert found.difference == nanos


def test_lost_prompt_caching_is_a_factor_and_a_cause() -> None:
    before = many(10, WEEK_BEFORE, usage=Usage(1_000, 0, cache_read_tokens=800), cost=280)
    found = explained(before, many(10, YESTERDAY, usage=Usage(1_000, 0), cost=1_000))
    assert only(found) == {"prompt caching": 7_200}
    assert [cause.kind for cause in found.causes] == ["lost prompt caching"]
    assert "80%" in str(found)


def test_causes_are_named_among_the_calls_that_were_asked_for() -> None:
    mine, others = Attribution(session="s1", endpoint="/a"), Attribution(session="s2", endpoint="/b")
    before = many(20, WEEK_BEFORE, attribution=mine) + many(20, WEEK_BEFORE, start=50, attribution=others)
    loops = many(6, YESTERDAY, fingerprint="f", attribution=mine)
    loops += many(9, YESTERDAY, start=50, fingerprint="f", attribution=others)
    long = many(2, YESTERDAY, start=80, usage=Usage(50_000, 10), attribution=others)
    found = explained(before, loops + long, where={"endpoint": "/a"})
    assert [(cause.kind, cause.cost) for cause in found.causes] == [("loop", 6_000)]
    assert "in the conversation s1" in str(found)
    assert {cause.kind for cause in explained(before, loops + long).causes} == {"loop", "long documents"}


LATER = {
    "fingerprint": st.sampled_from([None, "f1", "f1", "f2"]),
    "outcome": st.sampled_from([Outcome.MISS, Outcome.MISS, Outcome.ERROR, Outcome.EXACT]),
    "cost": st.sampled_from([None, 0, 1_000, 5_000]),
    "attribution": st.builds(
        Attribution,
        user=st.just("u"),
        session=st.sampled_from([None, "s1", "s1", "s2", "s3"]),
        endpoint=st.sampled_from([None, "/a", "/b"]),
    ),
    "usage": st.builds(Usage, st.sampled_from([0, 100, 1_000, 9_000, 11_585, 11_586, 60_000]), st.just(10)),
}


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 2 * 86_400), st.fixed_dictionaries(LATER)), max_size=60),
    st.integers(0, 70),
    st.sampled_from(["24h", "36h", "2026-11-23"]),
)
def test_causes_are_the_same_from_single_calls_and_from_sums(
    tmp_path_factory: pytest.TempPathFactory, later: list[tuple[int, dict[str, Any]]], rolled: int, since: str
) -> None:
    start = NOON - 2 * 86_400
    events = [*many(10, WEEK_BEFORE - 86_400), *(call(seconds, start, **values) for seconds, values in later)]
    path = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/l.db"
    with open_ledger(path, interval=0.0, clock=lambda: NOON + 100.0) as ledger:
        for number, event in enumerate(events):
            ledger.append(replace(event, id=str(number)))
        assert ledger.flush(SAFETY_LIMIT)
        before = explain(ledger, since=since).causes
        ledger.roll_up(most=max(1, rolled), few=1)
        assert explain(ledger, since=since).causes == before
        for number in range(0, len(events), 7):  # corrected, where it is rolled up
            ledger.replace([replace(events[number], id=str(number), cost=7_000, outcome=Outcome.MISS)])
        after = explain(ledger, since=since).causes
        found = list(ledger.events())
    with open_ledger("memory://", interval=0.0, clock=lambda: NOON + 100.0) as ledger:  # has no sums
        for event in found:
            ledger.append(event)
        assert ledger.flush(SAFETY_LIMIT)
        assert explain(ledger, since=since).causes == after


def test_many_spans_of_time_are_looked_at_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("costguard_core.reports.causes._MOST_SPANS", 2)
    monkeypatch.setattr("costguard_core.reports.causes._NAMES", 1)
    with open_ledger(f"sqlite:///{tmp_path}/l.db", interval=0.0, clock=lambda: NOON) as ledger:
        for session in range(5):
            for event in many(
                6, YESTERDAY - 3_000 * session, fingerprint="f", attribution=Attribution(session=f"s{session}")
            ):
                ledger.append(event)
        for event in many(20, WEEK_BEFORE):
            ledger.append(event)
        assert ledger.roll_up(few=1)
        found = explain(ledger)
    assert [(cause.kind, cause.cost) for cause in found.causes] == [("loop", 6_000)] * 3


def test_causes_of_a_spike_are_named() -> None:
    before = many(20, WEEK_BEFORE, attribution=Attribution(template="old"))
    loop = many(6, YESTERDAY, fingerprint="f", attribution=Attribution(session="s1", template="old"))
    long = many(2, YESTERDAY, start=20, usage=Usage(50_000, 10), attribution=Attribution(endpoint="/docs"))
    new = many(2, YESTERDAY, start=40, attribution=Attribution(template="fresh"))
    failed = many(3, YESTERDAY, Outcome.ERROR, 60, cost=500)
    found = explained(before, loop + long + new + failed)
    assert {cause.kind: cause.cost for cause in found.causes} == {
        "loop": 6_000,
        "long documents": 2_000,
        "new template": 2_000,
        "retries": 1_500,
    }
    text = str(found)
    assert "6 times in the conversation s1" in text
    assert "/docs" in text


def test_the_smallest_set_that_carries_the_change_comes_first() -> None:
    def spread(at: float, count: int) -> list[Event]:
        return [
            call(n, at, attribution=Attribution(user=f"u{n % 10}", endpoint=f"/{n % 4}", tags=(("plan", "free"),)))
            for n in range(count)
        ]

    spike = many(50, YESTERDAY, start=500, attribution=Attribution(user="u99", endpoint="/0", tags=(("plan", "pro"),)))
    found = explained(spread(WEEK_BEFORE, 40), spread(YESTERDAY, 40) + spike)
    assert found.carriers[0].values in (((("/0"), 50_000),), (("u99", 50_000),), (("pro", 50_000),))
    assert {carrier.dimension for carrier in found.carriers} == {"user", "endpoint", "plan"}
    for carrier in found.carriers:
        assert sum(nanos for _, nanos in carrier.values) + carrier.rest == found.difference


@st.composite
def periods(draw: st.DrawFn, at: float) -> list[Event]:
    return [
        call(
            number,
            at,
            draw(st.sampled_from(list(Outcome))),
            cost=draw(st.one_of(st.none(), st.integers(0, 10**13))),
            usage=Usage(draw(st.integers(0, 10**6)), draw(st.integers(0, 10**5)), draw(st.integers(0, 10**5))),
            model=draw(st.sampled_from(["gpt-5-mini", "b", "c"])),
            attribution=Attribution(user=draw(st.sampled_from([None, "a", "b"])), session="s"),
            fingerprint=draw(st.sampled_from([None, "f"])),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


@settings(max_examples=50)
@given(periods(WEEK_BEFORE), periods(YESTERDAY))
def test_the_parts_are_the_difference(before: list[Event], after: list[Event]) -> None:
    found = explained(before, after)
    assert [name for name, _ in found.parts] == list(FACTORS)
    assert sum(nanos for _, nanos in found.parts) == found.difference
    assert found.difference == sum(e.cost or 0 for e in after) - sum(e.cost or 0 for e in before)
    for carrier in found.carriers:
        assert sum(nanos for _, nanos in carrier.values) + carrier.rest == found.difference
    assert str(found)
    assert json.loads(found.to_json())["causes"] is not None
    assert "<table" in found._repr_html_()


def test_periods_can_be_chosen_and_wrong_ones_are_named() -> None:
    found = explained(many(2, NOON - 7_200), many(3, NOON - 3_600), since="1h", against="2h")
    assert (found.cost_before, found.cost_after) == (2_000, 3_000)
    with pytest.raises(ConfigurationError, match="must begin before it ends"):
        explained([], [], since="1h", until="2h")
    with pytest.raises(ConfigurationError, match="too far away"):
        explained([], [], since="0001-01-01")


@pytest.mark.parametrize(
    ("since", "until", "against", "shown"),
    [
        ("2026-10-25", "2026-10-26", None, "2026-10-18 00:00 CEST – 2026-10-19 00:00 CEST"),
        ("2026-10-26", "2026-10-27", None, "2026-10-19 00:00 CEST – 2026-10-20 00:00 CEST"),
        ("2026-10-26", "2026-10-27", "2026-10-25", "2026-10-25 00:00 CEST – 2026-10-26 00:00 CET"),
        ("2026-10-19", "2026-10-26", None, "2026-10-12 00:00 CEST – 2026-10-19 00:00 CEST"),
        ("2026-10-26T08:00", "2026-10-26T10:00", None, "2026-10-19 08:00 CEST – 2026-10-19 10:00 CEST"),
    ],
)
def test_days_are_compared_with_whole_days_where_clocks_were_changed(
    since: str, until: str, against: str | None, shown: str
) -> None:
    """On the 25th of October 2026 Berlin had 25 hours."""
    found = explained([], [], since=since, until=until, against=against, timezone="Europe/Berlin")
    assert shown in str(found)


def test_the_guard_and_the_command_line_say_the_same(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with CostGuard(ledger=url) as guard:
        for event in many(3, guard.clock() - 3_000):
            guard.ledger.append(event)
        said = guard.explain(since="1h")
    result = CliRunner().invoke(app, ["explain", "--since", "1h", "--db", url, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["parts"]["volume"] == "0.000003000"
    assert dict(said.parts)["volume"] == 3_000
    assert "volume" in CliRunner().invoke(app, ["explain", "--since", "1h", "--db", url]).stdout
