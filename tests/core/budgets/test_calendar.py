from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.budgets.budget import Budget
from costguard_core.budgets.calendar import CALENDAR, period_edges
from costguard_core.counters.base import Window
from costguard_core.counters.buckets import find_bucket

ZONES = [
    "UTC",
    "Europe/Vienna",
    "America/New_York",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Asia/Tehran",
]
MOMENTS = st.integers(0, 4_000_000_000).map(float)


def at(zone: str, *when: int) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("period", "now", "edges"),
    [
        ("day", (2026, 11, 22, 13), [(2026, 11, 21), (2026, 11, 22), (2026, 11, 23), (2026, 11, 24)]),
        ("week", (2026, 11, 22, 13), [(2026, 11, 9), (2026, 11, 16), (2026, 11, 23), (2026, 11, 30)]),
        ("week", (2026, 11, 23), [(2026, 11, 16), (2026, 11, 23), (2026, 11, 30), (2026, 12, 7)]),
        ("month", (2026, 12, 31, 23), [(2026, 11, 1), (2026, 12, 1), (2027, 1, 1), (2027, 2, 1)]),
        ("month", (2028, 2, 29), [(2028, 1, 1), (2028, 2, 1), (2028, 3, 1), (2028, 4, 1)]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna"])
def test_periods(zone: str, period: str, now: tuple[int, ...], edges: list[tuple[int, ...]]) -> None:
    assert period_edges(period, at(zone, *now), ZoneInfo(zone)) == tuple(at(zone, *edge) for edge in edges)


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_is_as_long_as_the_clocks_make_it(day: tuple[int, int, int], hours: int) -> None:
    _, start, end, _ = period_edges("day", at("Europe/Vienna", *day, 12), ZoneInfo("Europe/Vienna"))
    assert (end - start) / 3600 == hours


def test_a_day_without_midnight_begins_at_its_first_moment() -> None:
    zone = ZoneInfo("America/Sao_Paulo")  # 2018-11-04: 00:00 became 01:00
    noon = at("America/Sao_Paulo", 2018, 11, 4, 12)
    _, start, end, _ = period_edges("day", noon, zone)
    assert datetime.fromtimestamp(start, zone).hour == 1
    assert datetime.fromtimestamp(start - 1, zone).day == 3
    assert end - start == 23 * 3600


def test_a_day_with_two_midnights_begins_at_the_first() -> None:
    zone = ZoneInfo("America/Havana")  # 2026-11-01: 01:00 became 00:00
    _, start, end, _ = period_edges("day", datetime(2026, 11, 1, 12, tzinfo=zone).timestamp(), zone)
    assert end - start == 25 * 3600


@given(MOMENTS, st.sampled_from(CALENDAR), st.sampled_from(ZONES))
def test_every_moment_is_in_its_period_and_periods_touch(now: float, period: str, zone: str) -> None:
    edges = period_edges(period, now, ZoneInfo(zone))
    assert edges[0] < edges[1] <= now < edges[2] < edges[3]
    assert period_edges(period, edges[2], ZoneInfo(zone))[:3] == edges[1:]
    assert period_edges(period, edges[1] - 1, ZoneInfo(zone))[2] == edges[1]


@given(MOMENTS)
def test_a_period_begins_at_local_midnight(now: float) -> None:
    zone = ZoneInfo("Europe/Vienna")
    begins = [datetime.fromtimestamp(edge, zone) for edge in period_edges("day", now, zone)]
    assert {(begin.hour, begin.minute) for begin in begins} == {(0, 0)}
    assert {after.date() - before.date() for before, after in zip(begins, begins[1:], strict=False)} == {
        timedelta(days=1)
    }


def test_edges_are_worked_out_once_per_period() -> None:
    budget = Budget.parse("$5/day")
    first = budget.window_at(at("UTC", 2026, 11, 22, 1))
    assert budget.window_at(at("UTC", 2026, 11, 22, 23)) is first
    following = budget.window_at(at("UTC", 2026, 11, 23))
    assert following.edges[0] == first.edges[1]
    assert budget.window_at(at("UTC", 2026, 11, 22, 23)) == first  # a clock may be put back


def test_sliding_total_and_per_call() -> None:
    assert Budget.parse("$5/minute").window_at(0.0) == Window(width=60.0)
    assert Budget.parse("$5/hour").window_at(0.0) == Window(width=3600.0)
    assert Budget.parse("$5 in total").window_at(0.0) == Budget.parse("$5/call").window_at(0.0) == Window()


@given(st.floats(0, 4e9), st.floats(0.85, 1.15), st.sampled_from([60.0, 3600.0, 0.6]))
def test_a_sliding_window_counts_all_of_its_width_and_at_most_a_twelfth_more(
    spent: float, later: float, width: float
) -> None:
    now = spent + later * width
    then, here = find_bucket(Window(width), spent), find_bucket(Window(width), now)
    assert then is not None
    assert here is not None
    counts = here.oldest <= then.start <= here.newest
    if now - spent < width:
        assert counts
    if now - spent > width * 13 / 12 + 1e-6:
        assert not counts


def test_a_bucket_counts_until_its_last_moment_is_a_width_ago() -> None:
    window = Window(width=60.0)
    bucket = find_bucket(window, 604.99)
    for now, counts in ((664.98, True), (664.999, True), (665.0, False)):
        here = find_bucket(window, now)
        assert bucket is not None
        assert here is not None
        assert (here.oldest <= bucket.start) is counts
        assert (now < bucket.ends + bucket.lingers) is counts


def test_a_calendar_window_knows_when_it_is_not_asked_about() -> None:
    window = Window(edges=(0.0, 10.0, 20.0, 30.0))
    assert find_bucket(window, -1.0) is None
    assert find_bucket(window, 30.0) is None
    assert [find_bucket(window, now)[:2] for now in (0.0, 15.0, 29.0)] == [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]  # type: ignore[index]
