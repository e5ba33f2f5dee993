from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from costguard_core.counters.base import Denial, Gate, Grant, Line, Window
from costguard_core.counters.memory import MemoryStore
from costguard_core.errors import StoreUnavailable


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def call(store: MemoryStore, id: str, *lines: Line, lease: float = 600.0, gates: tuple[Gate, ...] = ()) -> Grant:
    grant = store.reserve(id, lines, lease=lease, gates=gates)
    assert isinstance(grant, Grant)
    store.settle(grant, {"usd": 1}, gates=gates)
    return grant


def minute(key: str) -> Line:
    return Line(key, "usd", Window(width=60.0), 10**9, 5)


@pytest.mark.slow
def test_counters_of_users_who_left_are_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(20_000):
        clock.now += 0.05
        day = int(clock.now // 100) * 100.0
        calendar = Window(edges=(day - 100, day, day + 100, day + 200))
        call(store, f"c{number}", minute(f"minute|u{number}"), Line(f"day|u{number}", "usd", calendar, 10**9, 5))
    alive = len(store.scopes("minute|")), len(store.scopes("day|"))
    assert 1200 <= alive[0] <= 1320  # 60 to 65 seconds of 20 users
    assert len(store._counters) < 3 * sum(alive)


def test_what_ended_is_forgotten_after_a_while() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock, retention=10.0)
    first = call(store, "first", minute("k"))
    for number in range(5000):
        clock.now += 0.01
        call(store, f"c{number}", minute("k"))
    assert len(store._settled) <= 1100
    assert len(store._expiring) <= 200
    settled = store.read([minute("k")])[0].settled
    store.settle(first, {"usd": 1})  # no longer known to have been settled, and too old to have been lost
    assert store.read([minute("k")])[0].settled == settled


@pytest.mark.parametrize("hours", [2, 20, 30])
def test_a_late_settle_corrects_what_the_expiry_charged_however_late_it_is(hours: int) -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    day = Window(edges=(clock.now - 86_400, clock.now, clock.now + 200_000, clock.now + 300_000))
    late = store.reserve("late", [Line("k", "usd", day, 100, 10)], lease=600.0)
    assert isinstance(late, Grant)
    clock.now += hours * 3600.0
    for number in range(30):
        clock.now += 60.0
        call(store, f"c{number}", Line("other", "usd", day, 10**6, 1))
    assert store.settle(late, {"usd": 4}).totals == (4,)
    assert store.settle(late, {"usd": 4}).totals == (4,)


def test_claims_and_gates_are_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(6000):
        clock.now += 1.0
        assert store.claim(f"alert {number}", 60.0)
        call(store, f"c{number}", gates=(Gate(f"g{number}", 10**9, 60.0, 30.0, 30.0),))
    assert len(store._claims) <= 1100
    assert len(store._gates) <= 1100


def test_gates_that_opened_for_users_who_left_are_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(6000):
        clock.now += 5.0
        call(store, f"c{number}", gates=(Gate(f"g{number}", 0, 60.0, 30.0, 30.0),))
    assert 700 <= len(store._gates) <= 1600  # for an hour after its cool-down a gate waits for its probe


def test_an_hour_of_minutes_in_one_counter_stays_small() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    for number in range(3600):
        clock.now += 1.0
        call(store, f"c{number}", minute("k"))
    assert len(store._counters["k"]._buckets) <= 13
    assert 60 <= store.read([minute("k")])[0].settled <= 65


def test_a_clock_put_back_freezes_a_minute_for_no_longer_than_a_minute() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    full = Line("k", "usd", Window(width=60.0), 1, 1)
    call(store, "a", full)
    clock.now -= 86_400.0
    assert isinstance(store.reserve("b", [full], lease=9.0), Grant)


def test_a_clock_put_back_into_the_period_before_finds_its_holds_again() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    now = clock.now
    full = Line("k", "usd", Window(edges=(now - 200, now - 100, now + 10, now + 100)), 10, 10)
    first = store.reserve("a", [full], lease=600.0)
    clock.now += 20
    second = store.reserve("b", [full], lease=600.0)
    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    clock.now -= 20
    assert isinstance(store.reserve("c", [full], lease=600.0), Denial)
    store.settle(second, {"usd": 10})
    assert store.settle(first, {"usd": 3}).totals == (3,)
    assert store.read([full])[0][:2] == (3, 0)


def test_a_calendar_worked_out_for_another_time_is_not_guessed_at() -> None:
    store = MemoryStore(clock=Clock())
    with pytest.raises(StoreUnavailable, match="calendar period"):
        store.reserve("a", [Line("k", "usd", Window(edges=(0.0, 1.0, 2.0, 3.0)), 10, 1)], lease=9.0)


def test_a_thousand_threads_get_exactly_ten() -> None:
    store = MemoryStore()
    barrier = threading.Barrier(1000)
    lines = [Line("day", "usd", Window(), 10, 1), Line("minute", "usd", Window(width=60.0), 10, 1)]

    def reserve(number: int) -> bool:
        barrier.wait()
        return isinstance(store.reserve(f"c{number}", lines, lease=60.0), Grant)

    with ThreadPoolExecutor(1000) as pool:
        assert sum(pool.map(reserve, range(1000))) == 10


def test_a_forked_child_does_not_wait_for_a_lock_of_its_parent() -> None:
    store = MemoryStore()
    with store._lock:
        child = os.fork()
        if not child:
            os._exit(0 if isinstance(store.reserve("a", [minute("k")], lease=9.0), Grant) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_scopes_are_bounded_and_a_full_store_says_what_to_change(caplog: pytest.LogCaptureFixture) -> None:
    """A budget per id of a call would take all memory of the process."""
    clock = Clock()
    store = MemoryStore(clock=clock, most=3)
    with caplog.at_level("WARNING", "costguard"):
        for number in range(3):
            call(store, f"c{number}", minute(f"minute|run-{number}"))
        with pytest.raises(StoreUnavailable, match=r"3 scopes, the most .* an id of single calls"):
            call(store, "more", minute("minute|run-\x1b[31m"))
    assert caplog.text.count("an id of single calls") == 1
    assert "\x1b" not in caplog.text
    call(store, "known", minute("minute|run-1"))
    assert store.read([minute("minute|run-1")])[0].settled == 2
    clock.now += 3600.0
    call(store, "later", minute("minute|run-4"))
