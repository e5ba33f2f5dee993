"""Single flight: threads, event loops, both at once, and leaders that vanish."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from costguard_core.cache.exact.singleflight import FlightState, Joined, Owner, SingleFlight


def _owner(name: object, *, alive: bool = True) -> Owner:
    return Owner(name, lambda: alive)


def _lead(flights: SingleFlight, key: str = "k", owner: Owner | None = None) -> Joined:
    joined = flights.join(key, owner or _owner("leader"), wait=5)
    assert joined.flight is not None
    return joined


def _end(flights: SingleFlight, joined: Joined, state: FlightState, result: bytes | None = None) -> None:
    assert joined.flight is not None
    flights.end(joined.flight, state, result)


def _until_waiting(flights: SingleFlight, count: int, key: str = "k") -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        flight = flights.find(key)
        if flight is not None and len(flight._waiters) >= count:
            return
        time.sleep(0.005)
    raise AssertionError("nobody waits")


def test_all_waiters_get_the_leaders_answer() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(flights.join, "k", _owner(n), wait=5) for n in range(20)]
        _until_waiting(flights, 20)
        _end(flights, leader, FlightState.ANSWERED, b"answer")
        assert [w.result().result for w in waiting] == [b"answer"] * 20
    assert len(flights) == 0


def test_after_a_failure_exactly_one_waiter_leads() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    led = []

    def fly(n: int) -> bytes | None:
        joined = flights.join("k", _owner(n), wait=5)
        if joined.leads:
            led.append(n)
            time.sleep(0.02)
            _end(flights, joined, FlightState.ANSWERED, b"second try")
        return joined.result

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(fly, n) for n in range(8)]
        _until_waiting(flights, 8)
        _end(flights, leader, FlightState.FAILED)
        results = [w.result() for w in waiting]
    assert len(led) == 1
    assert results.count(b"second try") == 7


def test_a_declined_answer_sends_everybody_on_alone() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(flights.join, "k", _owner(n), wait=5) for n in range(5)]
        _until_waiting(flights, 5)
        _end(flights, leader, FlightState.DECLINED)
        joineds = [w.result() for w in waiting]
    assert all(not b.leads and b.result is None for b in joineds)


def test_a_leader_that_vanished_is_noticed() -> None:
    flights = SingleFlight()
    there = threading.Event()
    there.set()
    _lead(flights, owner=Owner("gone soon", there.is_set))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(flights.join, "k", _owner("next"), wait=30)
        _until_waiting(flights, 1)
        there.clear()
        assert waiting.result(timeout=5).leads


def test_waiting_is_bounded() -> None:
    flights = SingleFlight()
    _lead(flights)
    started = time.monotonic()
    joined = flights.join("k", _owner("other"), wait=0.1)
    assert (joined.leads, joined.result) == (False, None)
    assert time.monotonic() - started < 2


def test_nobody_waits_for_itself() -> None:
    flights = SingleFlight()
    _lead(flights, owner=_owner("me"))
    assert flights.join("k", _owner("me"), wait=30).leads


def test_leaders_do_not_wait_in_a_circle() -> None:
    flights = SingleFlight()
    _lead(flights, "a", _owner("one"))
    _lead(flights, "b", _owner("two"))
    started = time.monotonic()
    assert not flights.join("b", _owner("one"), wait=30).leads
    assert time.monotonic() - started < 5


def test_vanished_leaders_do_not_pile_up() -> None:
    flights = SingleFlight()
    for number in range(1000):
        flights.join(str(number), _owner(number, alive=False), wait=1)
    assert len(flights) <= 200


async def test_a_waiter_in_a_loop_does_not_block_it() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    waiting = asyncio.create_task(flights.ajoin("k", Owner.task(), wait=5))
    ticks = 0
    for _ in range(10):
        await asyncio.sleep(0.01)
        ticks += 1
    assert not waiting.done()
    threading.Timer(0.01, _end, (flights, leader, FlightState.ANSWERED, b"from a thread")).start()
    assert (await waiting).result == b"from a thread"
    assert ticks == 10


async def test_threads_wait_for_a_loop() -> None:
    flights = SingleFlight()
    joined = await flights.ajoin("k", Owner.task(), wait=5)
    waiting = asyncio.create_task(asyncio.to_thread(flights.join, "k", _owner("thread"), wait=5))
    await asyncio.sleep(0.05)
    _end(flights, joined, FlightState.ANSWERED, b"from the loop")
    assert (await waiting).result == b"from the loop"


async def test_a_cancelled_waiter_leaves_the_others_alone() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    first, second = (asyncio.create_task(flights.ajoin("k", Owner.task(), wait=5)) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    _end(flights, leader, FlightState.ANSWERED, b"answer")
    assert (await second).result == b"answer"


def test_a_closed_loop_of_a_waiter_does_not_disturb_the_leader() -> None:
    flights = SingleFlight()
    leader = _lead(flights)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.ajoin("k", Owner.task(), wait=5), 0.05)

    asyncio.run(give_up())
    _end(flights, leader, FlightState.ANSWERED, b"answer")


def test_ending_twice_changes_nothing() -> None:
    flights = SingleFlight()
    flight = _lead(flights).flight
    assert flight is not None
    assert flights.end(flight, FlightState.ANSWERED, b"answer")
    assert not flights.end(flight, FlightState.FAILED)
    assert flight.result == b"answer"
