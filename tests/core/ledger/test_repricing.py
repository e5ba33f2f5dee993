"""Costs that were unknown are filled in when a price is known; a known one is never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard_core import CostGuard
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.pricing import PriceBook
from costguard_core.reports.queries import make_report
from costguard_core.types import Call, Event, Outcome, Usage

PRICES = PriceBook({"mine": {"input": "1", "output": "2", "flex": {"input": "0.5"}}}, table=None)
TEXT = Usage(1000, 100)  # 1,200,000 nano-dollars


def event(number: int, **more: object) -> Event:
    given: dict[str, object] = {"model": "mine", "usage": TEXT, "cost": None, "outcome": Outcome.MISS}
    return Event(id=f"{number:06}", time=1_000.0 + number // 3, **(given | more))  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[Ledger]:
    url = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{tmp_path}/ledger.db"}.get(
        request.param, lambda: str(request.getfixturevalue("postgres_db"))
    )()
    with open_ledger(url) as opened:
        yield opened


def filled(ledger: Ledger, *events: Event) -> list[Event]:
    for one in events:
        ledger.append(one)
    ledger.flush()
    return sorted(ledger.events(), key=lambda found: found.id)


def test_an_unknown_cost_is_filled_in_once(ledger: Ledger) -> None:
    filled(ledger, event(1), event(2, usage=Usage(1000, 100, tier="flex")), event(3, model="still nobody's"))
    found = ledger.reprice(PRICES)
    assert (found.unknown, found.filled, found.nanos) == (3, 2, 1_200_000 + 700_000)
    assert found.by_source == (("declared", 2),)
    assert found.still_unknown == ((None, "still nobody's", 1),)
    first, second, third = filled(ledger)
    assert (first.cost, first.priced_by, first.estimated) == (1_200_000, "declared", False)
    assert (second.cost, third.cost, third.priced_by) == (700_000, None, None)
    again = ledger.reprice(PRICES)
    assert (again.unknown, again.filled, again.nanos) == (1, 0, 0)


def test_a_known_cost_is_never_changed(ledger: Ledger) -> None:
    before = filled(ledger, event(1, cost=5, priced_by="declared"), event(2, cost=0, outcome=Outcome.EXACT), event(3))
    ledger.reprice(PRICES)
    assert filled(ledger)[:2] == before[:2]


def test_a_cost_that_another_process_fills_in_meanwhile_stays(ledger: Ledger) -> None:
    class Slow(PriceBook):
        """While it looks a price up, somebody else fills the cost in."""

        def find(self, *arguments: object, **more: object) -> object:  # type: ignore[override]
            with ledger.reading() as database, database.transaction() as connection:
                connection.execute("UPDATE costguard_events SET cost_nanos = 77")
            return super().find(*arguments, **more)  # type: ignore[arg-type]

    filled(ledger, event(1))
    assert ledger.reprice(Slow({"mine": {"input": "1", "output": "2"}}, table=None)).filled == 0
    assert filled(ledger)[0].cost == 77


def test_a_dry_run_says_the_same_and_changes_nothing(ledger: Ledger) -> None:
    before = filled(ledger, *(event(number) for number in range(4)))
    tried = ledger.reprice(PRICES, dry_run=True)
    assert filled(ledger) == before
    assert ledger.reprice(PRICES) == tried


def test_more_than_one_batch_and_many_at_one_moment(ledger: Ledger) -> None:
    filled(ledger, *(replace(event(number), time=1_000.0 + number // 700) for number in range(1_200)))
    found = ledger.reprice(PRICES)
    assert (found.unknown, found.filled) == (1_200, 1_200)
    assert {one.cost for one in filled(ledger)} == {1_200_000}


def test_an_estimate_is_filled_in_only_where_it_is_wanted_and_is_marked(ledger: Ledger) -> None:
    guess = PriceBook(unpriced={"input": "3", "output": "3"}, table=None)
    filled(ledger, event(1))
    assert (ledger.reprice(guess).filled, ledger.reprice(guess).estimates) == (0, 1)
    assert ledger.reprice(guess, estimates=True).filled == 1
    assert [(one.cost, one.priced_by, one.estimated) for one in filled(ledger)] == [(3_300_000, "estimate", True)]


def test_only_the_span_that_was_asked_for(ledger: Ledger) -> None:
    filled(ledger, event(0), event(3), event(6))
    assert ledger.reprice(PRICES, since=1_001.0, until=1_002.0).filled == 1
    assert [one.cost for one in filled(ledger)] == [None, 1_200_000, None]


def test_each_call_costs_what_it_cost_at_its_time(ledger: Ledger) -> None:
    filled(
        ledger,
        Event(id="1", time=1_746_057_600.0, outcome=Outcome.MISS, model="o3", provider="openai", usage=TEXT, cost=None),
        Event(id="2", time=1_764_000_000.0, outcome=Outcome.MISS, model="o3", provider="openai", usage=TEXT, cost=None),
    )
    ledger.reprice(PriceBook())
    assert [one.cost for one in filled(ledger)] == [14_000_000, 2_800_000]
    assert all(str(one.price_source).startswith("genai-prices ") for one in filled(ledger))


def test_reports_have_the_sums_that_they_would_have_had(ledger: Ledger) -> None:
    prices = {"mine": {"input": "1", "output": "2"}}
    with CostGuard(ledger=ledger) as guard:
        guard.after(guard.before(Call("a", "mine", 1_000.0)), TEXT)
        guard.flush()
        assert guard.report().total.cost == 0
        ledger.reprice(PriceBook(prices))
        late = guard.report().total
    with CostGuard(prices=prices) as known:
        known.after(known.before(Call("a", "mine", 1_000.0)), TEXT)
        assert known.report().total.cost == late.cost


def test_roll_ups_follow_in_the_same_transaction(ledger: Ledger) -> None:
    if ledger.url.startswith("memory"):
        pytest.skip("memory has no roll-ups")
    later = event(900_000, cost=0, outcome=Outcome.EXACT)  # the newest events are not rolled up yet
    filled(ledger, later, *(event(number, model="mine" if number % 3 else "nobody's") for number in range(90)))
    assert ledger.roll_up(few=1) > 0
    assert ledger.stats().not_rolled == 1
    before = make_report(ledger, "model").total
    assert (before.unpriced, before.cost) == (90, 0)
    ledger.reprice(PRICES)
    report, events = make_report(ledger, "model"), list(ledger.events())
    assert report.total.unpriced == sum(one.cost is None for one in events) == 30
    assert report.total.cost == sum(one.cost or 0 for one in events) == 60 * 1_200_000
    assert {row.key: row.totals.cost for row in report.rows} == {("mine",): 60 * 1_200_000, ("nobody's",): 0}
    assert {row.key for row in make_report(ledger, "priced_by").rows} == {("declared",), (None,)}


@given(st.lists(st.tuples(st.sampled_from(["mine", "nobody's"]), st.none() | st.integers(0, 10**12)), max_size=30))
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_the_sum_grows_by_what_is_said(calls: list[tuple[str, int | None]]) -> None:
    with open_ledger("memory://") as ledger:
        before = filled(ledger, *(event(n, model=model, cost=cost) for n, (model, cost) in enumerate(calls)))
        found = ledger.reprice(PRICES)
        after = filled(ledger)
        total: Callable[[list[Event]], int] = lambda events: sum(one.cost or 0 for one in events)  # noqa: E731
        assert total(after) - total(before) == found.nanos
        assert sum(one.cost is None for one in after) == found.unknown - found.filled


def test_what_was_filled_in_before_an_interruption_stays_and_adds_up(ledger: Ledger) -> None:
    class Interrupted(PriceBook):
        """Somebody presses Ctrl-C while the second batch is priced."""

        asked = 0

        def find(self, *arguments: object, **more: object) -> object:  # type: ignore[override]
            self.asked += 1
            if self.asked > 700:
                raise KeyboardInterrupt
            return super().find(*arguments, **more)  # type: ignore[arg-type]

    filled(ledger, event(900_000, cost=0, outcome=Outcome.EXACT), *(event(number) for number in range(1_200)))
    ledger.roll_up(few=1)
    with pytest.raises(KeyboardInterrupt):
        ledger.reprice(Interrupted({"mine": {"input": "1", "output": "2"}}, table=None))
    for left in (700, 0):
        total, events = make_report(ledger, "model").total, filled(ledger)
        assert total.unpriced == sum(one.cost is None for one in events) == left
        assert total.cost == sum(one.cost or 0 for one in events) == (1_200 - left) * 1_200_000
        assert ledger.reprice(PRICES).filled == left


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_two_processes_that_fill_in_at_once_fill_each_call_once(
    request: pytest.FixtureRequest, tmp_path: object, backend: str
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db" if backend == "sqlite" else str(request.getfixturevalue("postgres_db"))
    dearer = PriceBook({"mine": {"input": "2", "output": "4"}}, table=None)
    with open_ledger(url) as one, open_ledger(url) as other:
        filled(one, event(900_000, cost=0, outcome=Outcome.EXACT), *(event(number) for number in range(1_200)))
        one.roll_up(few=1)
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(one.reprice, PRICES), pool.submit(other.reprice, dearer)]
            first, second = (future.result() for future in found)
        events, total = filled(one), make_report(one, "model").total
    assert first.filled + second.filled == 1_200
    assert total.cost == sum(found.cost or 0 for found in events) == first.nanos + second.nanos
    assert total.unpriced == 0
