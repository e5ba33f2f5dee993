"""What every counter store promises (costguard_core/counters/base.py), tested over all of them.

All of them run on a clock that the test moves, also Redis: its scripts are told the time and do not ask the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis_clock import RedisClock
from waiting import wait_until

from costguard_core.counters import base
from costguard_core.counters import granted as granted_module
from costguard_core.counters.base import CounterStore, Denial, Gate, Grant, GrantedLimit, Line, Window
from costguard_core.counters.redis import store as redis_store
from costguard_core.errors import ConfigurationError

TOTAL = Window()
LEASE = 30.0


@dataclass
class World:
    store: CounterStore
    advance: Callable[[float], None]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    moved = [1_800_000_000.0]

    def clock() -> float:
        return moved[0]

    def move(seconds: float) -> None:
        moved[0] += seconds

    if request.param == "memory":
        from costguard_core.counters.memory import MemoryStore

        yield World(MemoryStore(clock=clock), move)
        return
    if request.param == "sqlite":
        from costguard_core.counters.sqlite.store import SqliteStore

        store: Any = SqliteStore(tmp_path / "counters.db", clock=clock)
        yield World(store, move)
    else:
        redis = RedisClock(request.getfixturevalue("redis_url"), monkeypatch)
        store = redis.open_store()
        yield World(store, redis.advance)
        redis.close()
    store.close()


@pytest.fixture
def store(world: World) -> CounterStore:
    return world.store


def line(key: str = "k", limit: int = 100, amount: int = 10, *, unit: str = "usd", window: Window = TOTAL) -> Line:
    return Line(key, unit, window, limit, amount)


def granted(store: CounterStore, id: str, *lines: Line, gates: tuple[Gate, ...] = (), lease: float = LEASE) -> Grant:
    answer = store.reserve(id, lines, gates=gates, lease=lease)
    assert isinstance(answer, Grant), answer
    return answer


def denied(store: CounterStore, id: str, *lines: Line, gates: tuple[Gate, ...] = (), lease: float = LEASE) -> Denial:
    answer = store.reserve(id, lines, gates=gates, lease=lease)
    assert isinstance(answer, Denial), answer
    return answer


def amounts(store: CounterStore, *lines: Line) -> list[tuple[int, int]]:
    return [(reading.settled, reading.held) for reading in store.read(lines)]


def day(now: float, *, ends_in: float) -> Window:
    """A calendar window whose current period ends in so many seconds."""
    end = now + ends_in
    return Window(edges=(end - 200.0, end - 100.0, end, end + 100.0))


class TestReserveAndSettle:
    def test_a_hold_becomes_the_actual_amount(self, store: CounterStore) -> None:
        grant = granted(store, "a", line(amount=10))
        assert amounts(store, line()) == [(0, 10)]
        assert store.settle(grant, {"usd": 7}).totals == (7,)
        assert amounts(store, line()) == [(7, 0)]

    def test_a_hold_fits_up_to_the_limit_exactly(self, store: CounterStore) -> None:
        granted(store, "a", line(limit=100, amount=99))
        granted(store, "b", line(limit=100, amount=1))
        assert denied(store, "c", line(limit=100, amount=1)).reason == "budget"

    def test_a_refusal_says_which_line_and_its_numbers_and_consumes_nothing(self, store: CounterStore) -> None:
        store.settle(granted(store, "a", line("x", 10, 4)), {"usd": 4})
        granted(store, "b", line("x", 10, 3))
        denial = denied(store, "c", line("free", 100, 5), line("x", 10, 5), line("after", 100, 5))
        assert denial[:4] == ("budget", 1, 4, 3)
        assert amounts(store, line("free"), line("x"), line("after")) == [(0, 0), (4, 3), (0, 0)]

    def test_a_release_gives_everything_back(self, store: CounterStore) -> None:
        grant = granted(store, "a", line(), line("r", amount=1, unit="requests"))
        assert store.settle(grant, {}).totals == (0, 0)
        assert amounts(store, line(), line("r", unit="requests")) == [(0, 0), (0, 0)]

    def test_each_unit_settles_to_its_own_amount(self, store: CounterStore) -> None:
        units = {"usd": "usd", "t": "tokens", "i": "input tokens", "r": "requests"}
        lines = [line(key, unit=unit) for key, unit in units.items()]
        grant = granted(store, "a", *lines)
        used = {"usd": 3, "tokens": 9, "input tokens": 5, "requests": 1}
        assert store.settle(grant, used).totals == (3, 9, 5, 1)
        assert [p.key for p in grant.placed] == ["usd", "t", "i", "r"]

    def test_more_than_was_held_counts_in_full(self, store: CounterStore) -> None:
        grant = granted(store, "a", line(limit=100, amount=10))
        assert store.settle(grant, {"usd": 250}).totals == (250,)
        assert denied(store, "b", line(limit=100, amount=1)).settled == 250

    def test_settling_twice_does_nothing(self, store: CounterStore) -> None:
        grant = granted(store, "a", line())
        store.settle(grant, {"usd": 7})
        assert store.settle(grant, {"usd": 7}).totals == (7,)
        assert store.settle(grant, {}).totals == (7,)
        assert amounts(store, line()) == [(7, 0)]

    def test_an_id_may_be_used_again_and_is_counted_again(self, store: CounterStore) -> None:
        first = granted(store, "same", line())
        second = granted(store, "same", line())
        assert amounts(store, line()) == [(0, 20)]
        store.settle(first, {"usd": 1})
        store.settle(second, {"usd": 2})
        third = granted(store, "same", line())
        assert store.settle(third, {"usd": 4}).totals == (7,)

    def test_a_reservation_that_the_store_lost_is_charged(self, store: CounterStore) -> None:
        grant = granted(store, "a", line(amount=10), line("r", amount=1, unit="requests"))
        lost = grant._replace(id="never-reserved-here")
        assert store.settle(lost, {"usd": 6, "requests": 1}).totals == (6, 1)
        assert store.settle(lost, {"usd": 6, "requests": 1}).totals == (6, 1)
        assert amounts(store, line()) == [(6, 10)]

    def test_amounts_of_zero_and_no_lines_at_all_are_fine(self, store: CounterStore) -> None:
        assert store.settle(granted(store, "a", line(limit=10, amount=0)), {"usd": 0}).totals == (0,)
        assert store.settle(granted(store, "b"), {"usd": 5}).totals == ()

    def test_two_limits_on_one_counter_count_a_call_once(self, store: CounterStore) -> None:
        loose, tight = line("k", 100, 10), line("k", 15, 10)
        grant = granted(store, "a", loose, tight)
        assert amounts(store, loose) == [(0, 10)]
        assert denied(store, "b", loose, tight).index == 1
        assert store.settle(grant, {"usd": 8}).totals == (8, 8)
        assert amounts(store, loose) == [(8, 0)]

    def test_large_amounts_are_exact(self, store: CounterStore) -> None:
        limit = 9_000_000_000_000_000  # nano-dollars: nine million dollars
        store.settle(granted(store, "a", line(limit=limit, amount=limit - 1)), {"usd": limit - 1})
        granted(store, "b", line(limit=limit, amount=1))
        assert denied(store, "c", line(limit=limit, amount=1)).settled == limit - 1

    @pytest.mark.parametrize("key", ["ключ|ü", "a b", "{tag}", "quote'\"", "%7C", "*?[x]", "x" * 500])
    def test_any_key_is_a_counter_of_its_own(self, store: CounterStore, key: str) -> None:
        store.settle(granted(store, "a", line(key), line(key + "2", amount=1)), {"usd": 3})
        assert amounts(store, line(key), line(key + "3")) == [(3, 0), (0, 0)]
        assert set(store.scopes(key)) == {key, key + "2"}

    def test_scopes_are_listed_in_order_up_to_a_limit(self, store: CounterStore) -> None:
        for name in ("b", "d", "a", "c"):
            granted(store, name, line(f"user|{name}"))
        granted(store, "other", line("tenant|a"))
        assert store.scopes("user|") == ["user|a", "user|b", "user|c", "user|d"]
        assert len(store.scopes("user|", limit=3)) == 3
        assert set(store.scopes("user|", limit=3)) < set(store.scopes("user|", limit=99))

    def test_many_counters_are_read_at_once(self, store: CounterStore) -> None:
        lines = [line(f"many|{number}", limit=250, amount=number) for number in range(250)]
        for number in range(0, 250, 50):
            granted(store, f"{number}", *lines[number : number + 50])
        assert amounts(store, *lines) == [(0, number) for number in range(250)]
        assert amounts(store) == []

    async def test_async_twins(self, store: CounterStore) -> None:
        grant = await store.areserve("a", [line()], lease=LEASE)
        assert isinstance(grant, Grant)
        assert isinstance(await store.areserve("b", [line(amount=91)], lease=LEASE), Denial)
        assert (await store.asettle(grant, {"usd": 7})).totals == (7,)
        await store.aclose()


class TestWindows:
    def test_a_sliding_window_frees_what_was_spent(self, world: World) -> None:
        window = Window(width=0.6)
        spend = line(limit=10, amount=10, window=window)
        world.store.settle(granted(world.store, "a", spend), {"usd": 10})
        denial = denied(world.store, "b", spend)
        assert denial.retry_after is not None
        assert 0.6 <= denial.retry_after <= 0.66
        world.advance(denial.retry_after + 0.01)
        granted(world.store, "c", spend)

    def test_a_sliding_window_never_forgets_early(self, world: World) -> None:
        spend = line(limit=10, amount=10, window=Window(width=0.6))
        world.advance(0.045)  # late in a sub-bucket of 0.05 s
        start = world.store.now()
        world.store.settle(granted(world.store, "a", spend), {"usd": 10})
        for step in (0.3, 0.26, 0.03):
            world.advance(step)
            assert world.store.now() - start < 0.6
            denied(world.store, "b", spend)

    def test_a_sliding_hold_counts_whatever_its_age(self, world: World) -> None:
        spend = line(limit=10, amount=10, window=Window(width=0.12))
        grant = granted(world.store, "a", spend)
        world.advance(0.3)
        denial = denied(world.store, "b", spend)
        assert (denial.settled, denial.held, denial.retry_after) == (0, 10, None)
        world.store.settle(grant, {"usd": 10})
        granted(world.store, "c", spend)  # it counts when it was reserved, and that has left the window

    def test_a_calendar_window_starts_anew(self, world: World) -> None:
        spend = line(limit=10, amount=10, window=day(world.store.now(), ends_in=0.4))
        late = granted(world.store, "a", spend)
        denial = denied(world.store, "b", spend)
        assert denial.retry_after == pytest.approx(0.4, abs=0.001)
        world.advance(denial.retry_after + 0.01)
        grant = granted(world.store, "c", spend)
        world.store.settle(late, {"usd": 10})  # belongs to the period before
        assert amounts(world.store, spend) == [(0, 10)]
        assert world.store.settle(grant, {"usd": 9}).totals == (9,)

    def test_a_total_never_frees(self, world: World) -> None:
        world.store.settle(granted(world.store, "a", line(limit=10)), {"usd": 10})
        world.advance(0.2)
        assert denied(world.store, "b", line(limit=10)).retry_after is None

    def test_more_than_the_limit_can_never_succeed(self, store: CounterStore) -> None:
        for window in (Window(width=60.0), day(store.now(), ends_in=50.0), TOTAL):
            assert denied(store, "a", line(limit=10, amount=11, window=window)).retry_after is None

    def test_a_reading_says_when_the_window_frees(self, store: CounterStore) -> None:
        now = store.now()
        lines = (
            line("m", window=Window(width=60.0)),
            line("d", window=day(now, ends_in=50.0)),
            line("t", window=TOTAL),
        )
        assert [r.reset_at for r in store.read(lines)] == [None, pytest.approx(now + 50.0, abs=0.01), None]
        store.settle(granted(store, "a", *lines), {"usd": 10})
        minute, *_ = store.read(lines)
        assert minute.reset_at is not None
        assert 60.0 <= minute.reset_at - now <= 66.0

    def test_another_limit_keeps_what_was_spent(self, store: CounterStore) -> None:
        store.settle(granted(store, "a", line(limit=10, amount=10)), {"usd": 10})
        denied(store, "b", line(limit=10, amount=10))
        granted(store, "c", line(limit=20, amount=10))


class TestLeases:
    def test_an_expired_lease_is_charged_and_reported_once(self, world: World) -> None:
        world.store.reserve("dead", [line(), line("r", amount=1, unit="requests")], lease=0.05, note='{"model": "m"}')
        world.advance(0.1)
        grant = granted(world.store, "b", line("other"))
        assert [(a.id, a.note, dict(a.amounts)) for a in grant.swept] == [
            ("dead", '{"model": "m"}', {"usd": 10, "requests": 1})
        ]
        assert amounts(world.store, line()) == [(10, 0)]
        assert granted(world.store, "c", line("other")).swept == ()

    def test_a_refusal_reports_expired_leases_too(self, world: World) -> None:
        granted(world.store, "dead", line(limit=10), lease=0.05)
        world.advance(0.1)
        denial = denied(world.store, "b", line(limit=10))
        assert [abandoned.id for abandoned in denial.swept] == ["dead"]
        assert (denial.settled, denial.held) == (10, 0)

    @pytest.mark.parametrize("actual", [0, 4, 25])
    def test_a_late_settle_corrects_the_charge(self, world: World, actual: int) -> None:
        grant = granted(world.store, "late", line(), lease=0.05)
        world.advance(0.1)
        granted(world.store, "b", line("other"))
        assert world.store.settle(grant, {"usd": actual}).totals == (actual,)
        assert world.store.settle(grant, {"usd": 99}).totals == (actual,)
        assert amounts(world.store, line()) == [(actual, 0)]

    def test_settling_before_anybody_noticed_the_expiry(self, world: World) -> None:
        grant = granted(world.store, "late", line(), lease=0.05)
        world.advance(0.1)
        assert world.store.settle(grant, {"usd": 4}).totals == (4,)
        assert granted(world.store, "b", line("other")).swept == ()

    def test_an_expired_hold_counts_in_the_bucket_of_its_reservation(self, world: World) -> None:
        spend = line(limit=10, amount=10, window=Window(width=0.12))
        granted(world.store, "dead", spend, lease=0.3)
        world.advance(0.4)
        assert granted(world.store, "b", spend).swept[0].id == "dead"

    def test_many_dead_reservations_do_not_refuse_for_longer_than_their_window(self, world: World) -> None:
        spend = line(limit=40, amount=1, window=Window(width=0.12))
        for number in range(40):
            granted(world.store, f"dead-{number}", spend, lease=0.2)
        world.advance(0.5)
        swept = granted(world.store, "b", spend).swept
        assert len({abandoned.id for abandoned in swept}) == len(swept) >= 1


ROOMY = line("roomy", limit=10**6)


class TestGates:
    def gate(self, **given: Any) -> Gate:
        return Gate(**({"key": "g", "threshold": 100, "width": 60.0, "cooldown": 0.3, "probe_lease": 30.0} | given))

    def spend(self, store: CounterStore, id: str, amount: int, gate: Gate) -> tuple[str, ...]:
        grant = granted(store, id, ROOMY, gates=(gate,))
        return store.settle(grant, {"usd": amount}, gates=(gate,)).opened

    def test_it_opens_above_its_threshold(self, store: CounterStore) -> None:
        gate = self.gate()
        assert self.spend(store, "a", 100, gate) == ()
        assert store.read_gate(gate) == ("closed", None, 100)
        assert self.spend(store, "b", 1, gate) == ("g",)
        denial = denied(store, "c", ROOMY, gates=(gate,))
        assert (denial.reason, denial.index, denial.settled) == ("open", 0, 101)
        assert denial.retry_after is not None
        assert denial.retry_after == pytest.approx(0.3)
        assert store.read_gate(gate).state == "open"

    def test_one_probe_passes_after_the_cooldown_and_closes_it(self, world: World) -> None:
        gate = self.gate(width=0.24)
        self.spend(world.store, "a", 101, gate)
        world.advance(0.35)
        assert world.store.read_gate(gate).state == "half-open"
        probe = granted(world.store, "probe", ROOMY, gates=(gate,))
        assert probe.gates == ("g",)
        assert denied(world.store, "second", ROOMY, gates=(gate,)).reason == "open"
        assert world.store.settle(probe, {"usd": 5}, gates=(gate,)).opened == ()
        assert world.store.read_gate(gate).state == "closed"
        assert granted(world.store, "third", ROOMY, gates=(gate,)).gates == ()

    def test_a_probe_over_the_threshold_opens_it_again(self, world: World) -> None:
        gate = self.gate(width=0.24)
        self.spend(world.store, "a", 101, gate)
        world.advance(0.35)
        assert self.spend(world.store, "probe", 500, gate) == ("g",)
        assert denied(world.store, "b", ROOMY, gates=(gate,)).reason == "open"

    def test_a_failed_probe_lets_the_next_one_try(self, world: World) -> None:
        gate = self.gate(width=0.24)
        self.spend(world.store, "a", 101, gate)
        world.advance(0.35)
        self.spend(world.store, "failed", 0, gate)
        assert world.store.read_gate(gate).state == "half-open"
        assert granted(world.store, "next", ROOMY, gates=(gate,)).gates == ("g",)

    def test_a_probe_that_never_came_back_is_replaced(self, world: World) -> None:
        gate = self.gate(width=0.24, probe_lease=0.1)
        self.spend(world.store, "a", 101, gate)
        world.advance(0.35)
        lost = granted(world.store, "lost", ROOMY, gates=(gate,))
        denied(world.store, "b", ROOMY, gates=(gate,))
        world.advance(0.15)
        probe = granted(world.store, "probe", ROOMY, gates=(gate,))
        world.store.settle(lost, {"usd": 1}, gates=(gate,))
        assert world.store.read_gate(gate).state == "half-open"
        world.store.settle(probe, {"usd": 1}, gates=(gate,))
        assert world.store.read_gate(gate).state == "closed"

    def test_a_probe_that_a_budget_refuses_takes_no_slot(self, world: World) -> None:
        gate = self.gate(width=0.24)
        self.spend(world.store, "a", 101, gate)
        world.advance(0.35)
        assert denied(world.store, "b", line("full", limit=1), gates=(gate,)).reason == "budget"
        granted(world.store, "c", ROOMY, gates=(gate,))

    def test_settling_twice_counts_once_in_the_rate(self, store: CounterStore) -> None:
        gate = self.gate()
        grant = granted(store, "a", ROOMY, gates=(gate,))
        store.settle(grant, {"usd": 60}, gates=(gate,))
        store.settle(grant, {"usd": 60}, gates=(gate,))
        assert store.read_gate(gate) == ("closed", None, 60)

    def test_a_gate_is_asked_before_the_lines(self, store: CounterStore) -> None:
        gate = self.gate()
        self.spend(store, "a", 101, gate)
        assert denied(store, "b", line("full", limit=1), gates=(gate,)).reason == "open"

    def test_reset_closes_it_and_forgets_the_rate(self, store: CounterStore) -> None:
        gate = self.gate()
        self.spend(store, "a", 101, gate)
        store.reset()
        assert store.read_gate(gate) == ("closed", None, 0)
        assert self.spend(store, "b", 1, gate) == ()


class TestSwitch:
    def test_a_trip_refuses_everything_until_reset(self, store: CounterStore) -> None:
        assert store.tripped() is None
        store.trip("invoice looks wrong")
        assert store.tripped() == "invoice looks wrong"
        denial = denied(store, "a")
        assert (denial.reason, denial.index, denial.text) == ("tripped", -1, "invoice looks wrong")
        store.reset()
        assert store.tripped() is None
        granted(store, "b", line())

    def test_a_trip_keeps_what_was_spent_and_lets_open_calls_settle(self, store: CounterStore) -> None:
        grant = granted(store, "a", line())
        store.trip("")
        assert denied(store, "b").reason == "tripped"
        assert store.settle(grant, {"usd": 6}).totals == (6,)
        store.reset()
        assert amounts(store, line()) == [(6, 0)]


class TestTheRest:
    def test_a_claim_goes_to_one_caller_until_it_ends(self, world: World) -> None:
        assert world.store.claim("alert", 60.0)
        assert not world.store.claim("alert", 60.0)
        assert world.store.claim("another", 0.05)

        def free_again() -> bool:
            world.advance(0.1)  # Redis ends a claim by its own clock
            return world.store.claim("another", 0.05)

        wait_until(free_again)
        assert not world.store.claim("alert", 60.0)

    def test_scopes_lists_counters_by_prefix(self, store: CounterStore) -> None:
        granted(store, "a", line("day|u1"), line("day|u2"), line("dax"), line("minute|u1"))
        assert set(store.scopes("day|")) == {"day|u1", "day|u2"}
        assert store.scopes("nothing") == []

    def test_it_knows_the_time(self, store: CounterStore) -> None:
        assert store.now() > 1_700_000_000


@pytest.mark.parametrize("callers", [32, 200])
def test_concurrent_callers_get_exactly_what_the_budget_allows(store: CounterStore, callers: int) -> None:
    barrier = threading.Barrier(callers)
    lines = [line("day", 10, 1), line("minute", 10, 1, window=Window(width=60.0)), line("user", 1000, 1)]

    def call(number: int) -> Grant | Denial:
        barrier.wait()
        return store.reserve(f"call-{number}", lines, lease=LEASE)

    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(call, range(callers)))
    assert sum(isinstance(answer, Grant) for answer in answers) == 10
    assert {answer.reason for answer in answers if isinstance(answer, Denial)} == {"budget"}
    assert amounts(store, *lines) == [(0, 10)] * 3


def test_mixed_sizes_use_the_budget_up_without_passing_it(store: CounterStore) -> None:
    """Small calls fill what large ones leave."""
    limit = 1000
    lines = {size: [line("all", limit, size), line(f"u{size}", limit, size)] for size in (1, 7, 90)}
    peak: list[int] = []

    def caller(number: int) -> None:
        size = (1, 7, 90)[number % 3]
        for attempt in range(60):
            answer = store.reserve(f"{number}-{attempt}", lines[size], lease=LEASE)
            if isinstance(answer, Grant):
                peak.append(sum(amounts(store, lines[size][0])[0]))
                store.settle(answer, {"usd": size})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(caller, range(12)))
    settled, held = amounts(store, lines[1][0])[0]
    assert held == 0
    assert max(peak) <= limit
    assert 0.98 * limit <= settled <= limit


LARGER = GrantedLimit("k", 150, "usd", None, "$1/day", (("user", "u\ud800|1"),), "why\x1b", "me", 1.5)


class TestGrantedLimits:
    def test_a_counter_counts_to_its_granted_limit_and_back(self, store: CounterStore) -> None:
        granted(store, "a", line(limit=100, amount=100))
        assert denied(store, "b", line(limit=100, amount=1)).limit is None
        assert store.grant_limit(LARGER) is None
        grant = granted(store, "c", line(limit=100, amount=50))
        assert grant.limits == ((0, 150),)
        denial = denied(store, "d", line(limit=100, amount=1))
        assert (denial.reason, denial.index, denial.held, denial.limit) == ("budget", 0, 150, 150)
        assert store.revoke_limit("k") == LARGER
        assert store.revoke_limit("k") is None
        store.settle(grant, {})
        assert denied(store, "e", line(limit=100, amount=1)).limit is None

    def test_a_lower_limit_holds_at_once_and_moves_nothing(self, store: CounterStore) -> None:
        first = granted(store, "a", line(limit=100, amount=60))
        store.grant_limit(LARGER._replace(amount=50))
        assert denied(store, "b", line(limit=100, amount=1)).limit == 50
        assert store.settle(first, {"usd": 10}).totals == (10,)
        granted(store, "c", line(limit=100, amount=40))

    def test_only_the_counter_that_it_names_is_meant(self, store: CounterStore) -> None:
        store.grant_limit(LARGER)
        assert denied(store, "a", line("k", 10, 20), line("other", 10, 20)).index == 1
        assert granted(store, "b", line("other", 100, 20), line("k", 10, 120)).limits == ((1, 150),)

    def test_a_call_that_only_fits_the_granted_limit_is_told_when_it_frees(self, world: World) -> None:
        now = world.store.now()
        window = day(now, ends_in=60.0)
        world.store.grant_limit(LARGER)
        granted(world.store, "a", line(limit=100, amount=140, window=window))
        denial = denied(world.store, "b", line(limit=100, amount=120, window=window))
        assert denial.retry_after == pytest.approx(60.0, abs=1e-3)

    def test_it_ends_by_itself(self, world: World) -> None:
        until = world.store.now() + 60.0
        world.store.grant_limit(LARGER._replace(until=until))
        world.advance(59.0)
        assert world.store.granted_limits() == [LARGER._replace(until=until)]
        grant = granted(world.store, "a", line(limit=100, amount=150))
        world.store.settle(grant, {})
        world.advance(1.0)
        assert denied(world.store, "b", line(limit=100, amount=150)).limit is None
        assert world.store.granted_limits() == []
        assert world.store.revoke_limit("k") is None

    def test_the_last_one_counts(self, store: CounterStore) -> None:
        store.grant_limit(LARGER)
        again = LARGER._replace(amount=120, reason="less")
        assert store.grant_limit(again) == LARGER
        assert store.granted_limits() == [again]
        assert denied(store, "a", line(limit=100, amount=130)).limit == 120

    def test_the_breaker_and_the_switch_refuse_without_a_granted_limit(self, store: CounterStore) -> None:
        store.grant_limit(LARGER)
        store.trip("stop")
        assert denied(store, "a", line()).limit is None

    def test_more_than_can_be_kept_are_refused_unless_some_are_over(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (base, granted_module, redis_store, redis_store.protocol):
            monkeypatch.setattr(module, "MOST_GRANTED", 3)
        for number in range(3):
            world.store.grant_limit(LARGER._replace(key=f"k{number}", until=world.store.now() + 60.0))
        with pytest.raises(ConfigurationError, match="3 limits are granted"):
            world.store.grant_limit(LARGER)
        world.store.grant_limit(LARGER._replace(key="k1", until=world.store.now() + 90.0))
        world.advance(61.0)
        world.store.grant_limit(LARGER)
        assert [one.key for one in world.store.granted_limits()] == ["k", "k1"]

    def test_many_are_listed(self, store: CounterStore) -> None:
        wanted = sorted(f"k{number}" for number in range(1_200))
        for key in wanted:
            store.grant_limit(LARGER._replace(key=key))
        assert [one.key for one in store.granted_limits()] == wanted

    def test_granting_while_others_reserve_overshoots_neither_limit(self, store: CounterStore) -> None:
        def reserve(number: int) -> int:
            if number == 20:
                store.grant_limit(LARGER)
            return int(type(store.reserve(f"c{number}", [line(limit=100, amount=10)], lease=LEASE)).__name__ == "Grant")

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(reserve, range(60))) == 15
        assert amounts(store, line()) == [(0, 150)]

    def test_a_file_of_before_is_given_the_table(self, tmp_path: Path) -> None:
        from costguard_core.counters.sqlite.store import SqliteStore

        path = tmp_path / "counters.db"
        old = SqliteStore(path)
        granted(old, "a", line())
        old._file.write(lambda file: file.execute("DROP TABLE costguard_store_granted"))
        old.close()
        new = SqliteStore(path)
        new.grant_limit(LARGER)
        granted(new, "b", line(limit=100, amount=140))
        new.close()
