"""Forecasts: right where the past repeats itself, wide where it does not, silent where there is little of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner
from waiting import SAFETY_LIMIT

from costguard_core import Alert, ConfigurationError, CostGuard
from costguard_core.cli.main import app
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.reports.forecast import Forecast, Spending, forecast
from costguard_core.types import Attribution, Event, Outcome

DAY, HOUR = 86_400.0, 3_600.0
NOW = datetime(2026, 11, 16, tzinfo=UTC).timestamp()  # a Monday, half of the month


def call(at: float, cost: int | None = 1_000, *, endpoint: str = "/faq", plan: str = "free", number: int = 0) -> Event:
    who = Attribution(user="u", endpoint=endpoint, tags=(("plan", plan),))
    return Event(f"{at}-{endpoint}-{number}", at, Outcome.MISS, "m", attribution=who, cost=cost)


def ledger_with(events: list[Event], now: float = NOW) -> Ledger:
    ledger = open_ledger("memory://", interval=0.0, clock=lambda: now)
    for event in events:
        ledger.append(event)
    assert ledger.flush(SAFETY_LIMIT)
    return ledger


def forecast_of(events: list[Event], now: float = NOW, **options: Any) -> Forecast:
    with ledger_with(events, now) as ledger:
        return forecast(ledger, **options)


def steady(days: int, **values: Any) -> list[Event]:
    return [call(NOW - day * DAY + 12 * HOUR, **values) for day in range(1, days + 1)]


def test_what_is_the_same_every_day_is_known_exactly() -> None:
    found = forecast_of(steady(28))
    assert (found.spent, found.expected, found.low, found.high) == (15_000, 30_000, 30_000, 30_000)
    assert found.days == 28


def test_weekdays_have_their_own_means() -> None:
    events = [call(NOW - day * DAY + HOUR, 7_000 if day % 7 == 0 else 0) for day in range(1, 29)]
    found = forecast_of(events)
    assert found.spent == 2 * 7_000  # the Mondays 2 and 9
    assert found.expected == 2 * 7_000 + 3 * 7_000  # 16, 23 and 30


def test_the_interval_is_wider_where_days_differ() -> None:
    events = [call(NOW - day * DAY + HOUR, (day * 7919) % 5_000) for day in range(1, 11)]
    found = forecast_of(events)
    assert found.low is not None
    assert found.expected is not None
    assert found.high is not None
    assert found.spent <= found.low < found.expected < found.high


def test_little_data_makes_no_forecast() -> None:
    found = forecast_of(steady(2))
    assert (found.expected, found.low, found.high) == (None, None, None)
    assert "too few for a forecast" in str(found)
    assert forecast_of([]).anomalies == ()


def test_calls_without_a_price_are_named() -> None:
    found = forecast_of([*steady(5), call(NOW - HOUR, None)])
    assert found.unpriced == 1
    assert "1 calls without a known price" in str(found)


def test_budgets_run_out_at_the_pace_of_a_day_unless_they_begin_anew_before() -> None:
    left = [
        Spending("$1/month", {}, 2_000, NOW + 30 * DAY),
        Spending("$1/day", {}, 2_000, NOW + DAY),
        Spending("$1/month per user", {"user": "nobody"}, 5, None),
        Spending("$1/week", {}, -9_000, NOW + DAY),  # more was spent than allowed, such as after a smaller grant
    ]
    found = forecast_of([call(NOW - HOUR, 1_000)], budgets=left)
    assert {one.budget: one.runs_out for one in found.budgets} == {
        "$1/month": NOW + 2 * DAY,
        "$1/day": None,
        "$1/month per user": None,
        "$1/week": NOW,
    }
    assert [one.budget for one in found.budgets[:2]] == ["$1/week", "$1/month"]
    assert "runs out 2026-11-18" in str(found)


def hourly(days: int) -> list[Event]:
    return [call(NOW - hour * HOUR, 1_000 + hour % 3) for hour in range(2, days * 24)]


def test_an_hour_that_costs_far_more_than_usual_is_an_anomaly_by_endpoint_and_tag() -> None:
    spike = [call(NOW - HOUR + n, 1_000, endpoint="/docs", plan="pro", number=n) for n in range(50)]
    usual = [call(NOW - hour * HOUR, 1_000, endpoint="/docs", plan="pro") for hour in range(2, 28 * 24)]
    found = forecast_of([*hourly(28), call(NOW - HOUR), *usual, *spike])
    assert {(one.dimension, one.value, one.cost) for one in found.anomalies} == {
        ("endpoint", "/docs", 50_000),
        ("plan", "pro", 50_000),
    }
    assert "Unusual: endpoint /docs" in str(found)
    assert "<table" in found._repr_html_()


def test_usual_hours_and_short_histories_are_no_anomalies() -> None:
    assert forecast_of([*hourly(28), call(NOW - HOUR, 2_000)]).anomalies == ()
    spike = [call(NOW - HOUR, 10**12)]
    assert forecast_of([*hourly(5), *spike]).anomalies == ()
    assert len(forecast_of([*hourly(10), *spike]).anomalies) == 2


def test_calls_that_are_rare_are_no_anomalies_but_many_of_them_at_once_are() -> None:
    chance = Random(1)
    rare = [call(NOW - chance.uniform(1, 28 * 24) * HOUR, 1_000, endpoint=f"/{n % 5}", number=n) for n in range(1_500)]
    alarms = [forecast_of(rare, NOW - hour * HOUR).anomalies for hour in range(24)]
    assert not any(alarms)
    loop = [call(NOW - HOUR + n, 1_000, endpoint="/0", number=n) for n in range(60)]
    (endpoint, plan) = forecast_of([*rare, *loop]).anomalies
    assert {endpoint.dimension, plan.dimension} == {"endpoint", "plan"}
    nightly = [call(NOW - day * DAY - 5 * HOUR, 50_000, endpoint="/batch") for day in range(28)]
    assert not any(forecast_of(nightly, NOW - hour * HOUR).anomalies for hour in range(24))
    assert (
        forecast_of([*nightly, call(NOW - HOUR, 50_000, endpoint="/batch")]).anomalies == ()
    )  # it ran at another hour
    assert len(forecast_of([*nightly, call(NOW - HOUR, 60_000, endpoint="/batch")]).anomalies) == 2


def test_hooks_hear_of_an_anomaly_once(tmp_path: Path) -> None:
    heard: list[object] = []
    with ledger_with([*hourly(10), call(NOW - HOUR, 10**12)]) as ledger:
        guard = CostGuard("$5/month", ledger=ledger, hooks=[heard.append], clock=lambda: NOW)
        guard.forecast()
        assert heard == []
        for _ in range(2):
            found = guard.forecast(alert=True)
        alerts = [item for item in heard if isinstance(item, Alert)]
        assert [(alert.budget, alert.settled) for alert in alerts] == [
            ("unusual spend by endpoint", 10**12),
            ("unusual spend by plan", 10**12),
        ]
        assert [one.budget for one in found.budgets] in ([], ["$5/month"])
        with pytest.raises(ConfigurationError, match="not a time zone"):
            guard.forecast(timezone="Mars")


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger:
        for event in steady(3):
            ledger.append(event)
    result = CliRunner().invoke(app, ["forecast", "--db", url, "--json"])
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)) >= {"expected_usd", "budgets", "anomalies"}
    assert "Spent so far" in CliRunner().invoke(app, ["forecast", "--db", url]).stdout
