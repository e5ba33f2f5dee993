"""Unit economics: every nano-dollar belongs to one outcome or to none, and few numbers claim nothing."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from waiting import SAFETY_LIMIT

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.cli.main import app
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.outcomes import RecordedOutcome
from costguard_core.reports.economics import ACTIVE_USER, mean_interval, unit_economics
from costguard_core.types import Attribution, Event, Outcome

NOW = 1_795_000_000.0
HOUR = 3_600.0


def call(number: int, cost: int | None, *, at: float, user: str | None = None, session: str | None = None) -> Event:
    who = Attribution(user=user, session=session)
    return Event(id=f"e{number}", time=NOW + at, outcome=Outcome.MISS, model="m", attribution=who, cost=cost)


def outcome(number: int, *, at: float, **values: Any) -> RecordedOutcome:
    return RecordedOutcome(f"o{number}", NOW + at, "sale", **values)


def fill(ledger: Ledger, *records: Event | RecordedOutcome) -> None:
    for record in records:
        if isinstance(record, Event):
            ledger.append(record)
        else:
            ledger.append_outcome(record)
    assert ledger.flush(SAFETY_LIMIT)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_db")
    with open_ledger(url, clock=lambda: NOW) as opened:
        yield opened


def test_a_call_belongs_to_the_next_outcome_of_its_session_else_of_its_user(ledger: Ledger) -> None:
    fill(
        ledger,
        call(1, 10, at=-9 * HOUR, user="ann", session="s1"),
        call(2, 20, at=-5 * HOUR, user="ann", session="s1"),
        call(3, 40, at=-5 * HOUR, user="ann", session="other"),
        call(4, 80, at=-40 * HOUR, user="ann", session="other"),  # too long ago
        call(5, 160, at=-1 * HOUR, user="ann", session="s1"),  # after every outcome
        call(6, 320, at=-5 * HOUR, user="bob"),
        call(7, None, at=-5 * HOUR, user="ann"),
        outcome(1, at=-8 * HOUR, user="ann", session="s1", value=1_000),
        outcome(2, at=-4 * HOUR, user="ann", session="s1", value=500),
    )
    found = unit_economics(ledger, "sale", since="2d", window="24h")
    assert (found.outcomes, found.users, found.attributed_to, found.unpriced) == (2, 1, 2, 1)
    assert (found.by_session, found.by_user) == (30, 40)
    assert (found.cost, found.attributed, found.unattributed) == (630, 70, 560)
    assert (found.value, found.margin_usd) == (1_500, Decimal("0.000001430"))
    assert found.cost_per_outcome_usd == Decimal("0.000000035")
    assert found.interval is None
    assert "unattributed" in str(found)
    assert "too few" in str(found)
    assert "<table" in found._repr_html_()


def test_a_value_that_is_not_known_leaves_no_margin(ledger: Ledger) -> None:
    fill(ledger, outcome(1, at=-1, user="a", value=7), outcome(2, at=-1, user="b"), outcome(2, at=-1, user="b"))
    found = unit_economics(ledger, "sale")
    assert (found.outcomes, found.value, found.valued, found.margin_usd) == (2, 7, 1, None)
    assert "no margin" in str(found)


def test_active_users_are_those_who_called_and_those_recorded(ledger: Ledger) -> None:
    fill(ledger, call(1, 10, at=-9, user="ann"), call(2, 5, at=-8, user="bob"), call(3, 7, at=-7))
    ledger.append_outcome(RecordedOutcome("o1", NOW - 5, ACTIVE_USER, user="cleo"))
    found = unit_economics(ledger, ACTIVE_USER, since="1d")
    assert (found.outcomes, found.cost, found.attributed, found.unattributed) == (3, 22, 15, 7)


def test_a_misspelt_name_is_told_the_nearest_and_an_unknown_one_how_to_record_it(ledger: Ledger) -> None:
    fill(ledger, outcome(1, at=-1))
    with pytest.raises(ConfigurationError, match="did you mean 'sale'"):
        unit_economics(ledger, "sael")
    assert "guard.record_outcome('ticket'" in str(unit_economics(ledger, "ticket"))


@given(
    st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 99), st.sampled_from([None, "a", "b"]), st.sampled_from("xyz")),
        max_size=25,
    ),
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from([None, "a", "b"]), st.sampled_from("xyz")), max_size=6),
    st.integers(1, 50),
)
def test_the_parts_are_the_whole_bill(calls: list[Any], outcomes: list[Any], window: int) -> None:
    with open_ledger("memory://", interval=0.0, clock=lambda: NOW + 200) as memory:
        fill(memory, *(call(n, cost, at=at, user=u, session=s) for n, (at, cost, u, s) in enumerate(calls)))
        fill(memory, *(outcome(n, at=at, user=u, session=s) for n, (at, u, s) in enumerate(outcomes)))
        found = unit_economics(memory, "sale", window=window)
    assert found.cost == sum(cost for _, cost, _, _ in calls)
    expected = 0
    for at, cost, user, session in calls:
        later = [o for o in outcomes if 0 <= o[0] - at <= window]
        expected += cost if any(o[2] == session or (user is not None and o[1] == user) for o in later) else 0
    assert found.by_session + found.by_user == found.attributed == expected
    assert found.unattributed == found.cost - expected


def test_intervals_cover_the_mean_and_narrow_with_the_sample() -> None:
    few, many = [1_000, 2_000, 3_000, 4_000, 5_000], [1_000, 2_000, 3_000, 4_000, 5_000] * 100
    assert mean_interval(few[:4]) is None
    wide, narrow = mean_interval(few), mean_interval(many)
    assert wide is not None
    assert narrow is not None
    assert wide[0] < 3_000 < wide[1]
    assert narrow[0] < 3_000 < narrow[1]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    assert mean_interval([7] * 10) == (7, 7)


def test_outcomes_take_user_and_session_from_around_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with CostGuard(ledger=url) as guard, attribute(user="ann", session="s1"):
        for number in range(6):
            guard.record_outcome("sale", value="49.00", id=f"order-{number % 5}")
        found = guard.unit_economics("sale", since="1d")
        assert (found.outcomes, found.users, found.value) == (5, 1, 5 * 49 * 10**9)
        with pytest.raises(ConfigurationError, match="no amount of dollars"):
            guard.record_outcome("sale", value="a lot")
        with pytest.raises(ConfigurationError, match="give the outcome a name"):
            guard.record_outcome("")
    result = CliRunner().invoke(app, ["economics", "sale", "--db", f"{tmp_path}/ledger.db", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["value_usd"]) == (0, "245.000000000")
    assert "Outcomes" in CliRunner().invoke(app, ["economics", "sale", "--db", url]).stdout
