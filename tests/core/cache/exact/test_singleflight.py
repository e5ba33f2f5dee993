"""Single flight: threads, event loops, both at once, and leaders that vanish."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from costguard_core.cache.exact.singleflight import Boarding, Flights, Owner, State


def _owner(name: object, *, alive: bool = True) -> Owner:
    return Owner(name, lambda: alive)


def _lead(flights: Flights, key: str = "k", owner: Owner | None = None) -> Boarding:
    boarding = flights.board(key, owner or _owner("leader"), wait=5)
    assert boarding.flight is not None
    return boarding


def _end(flights: Flights, boarding: Boarding, state: State, result: bytes | None = None) -> None:
    assert boarding.flight is not None
    flights.end(boarding.flight, state, result)


def _until_waiting(flights: Flights, count: int, key: str = "k") -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        flight = flights.led(key)
        if flight is not None and len(flight._wake) >= count:
            return
        time.sleep(0.005)
    raise AssertionError("nobody waits")


def test_all_waiters_get_the_leaders_answer() -> None:
    flights = Flights()
    leader = _lead(flights)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(flights.board, "k", _owner(n), wait=5) for n in range(20)]
        _until_waiting(flights, 20)
        _end(flights, leader, State.LANDED, b"answer")
        assert [w.result().result for w in waiting] == [b"answer"] * 20
    assert len(flights) == 0


def test_after_a_failure_exactly_one_waiter_leads() -> None:
    flights = Flights()
    leader = _lead(flights)
    led = []

    def fly(n: int) -> bytes | None:
        boarding = flights.board("k", _owner(n), wait=5)
        if boarding.leads:
            led.append(n)
            time.sleep(0.02)
            _end(flights, boarding, State.LANDED, b"second try")
        return boarding.result

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(fly, n) for n in range(8)]
        _until_waiting(flights, 8)
        _end(flights, leader, State.FAILED)
        results = [w.result() for w in waiting]
    assert len(led) == 1
    assert results.count(b"second try") == 7


def test_a_declined_answer_sends_everybody_on_alone() -> None:
    flights = Flights()
    leader = _lead(flights)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(flights.board, "k", _owner(n), wait=5) for n in range(5)]
        _until_waiting(flights, 5)
        _end(flights, leader, State.DECLINED)
        boardings = [w.result() for w in waiting]
    assert all(not b.leads and b.result is None for b in boardings)


def test_a_leader_that_vanished_is_noticed() -> None:
    flights = Flights()
    there = threading.Event()
    there.set()
    _lead(flights, owner=Owner("gone soon", there.is_set))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(flights.board, "k", _owner("next"), wait=30)
        _until_waiting(flights, 1)
        there.clear()
        assert waiting.result(timeout=5).leads


def test_waiting_is_bounded() -> None:
    flights = Flights()
    _lead(flights)
    started = time.monotonic()
    boarding = flights.board("k", _owner("other"), wait=0.1)
    assert (boarding.leads, boarding.result) == (False, None)
    assert time.monotonic() - started < 2


def test_nobody_waits_for_itself() -> None:
    flights = Flights()
    _lead(flights, owner=_owner("me"))
    assert flights.board("k", _owner("me"), wait=30).leads


def test_leaders_do_not_wait_in_a_circle() -> None:
    flights = Flights()
    _lead(flights, "a", _owner("one"))
    _lead(flights, "b", _owner("two"))
    started = time.monotonic()
    assert not flights.board("b", _owner("one"), wait=30).leads
    assert time.monotonic() - started < 5


def test_vanished_leaders_do_not_pile_up() -> None:
    flights = Flights()
    for number in range(1000):
        flights.board(str(number), _owner(number, alive=False), wait=1)
    assert len(flights) <= 200


async def test_a_waiter_in_a_loop_does_not_block_it() -> None:
    flights = Flights()
    leader = _lead(flights)
    waiting = asyncio.create_task(flights.aboard("k", Owner.task(), wait=5))
    ticks = 0
    for _ in range(10):
        await asyncio.sleep(0.01)
        ticks += 1
    assert not waiting.done()
    threading.Timer(0.01, _end, (flights, leader, State.LANDED, b"from a thread")).start()
    assert (await waiting).result == b"from a thread"
    assert ticks == 10


async def test_threads_wait_for_a_loop() -> None:
    flights = Flights()
    boarding = await flights.aboard("k", Owner.task(), wait=5)
    waiting = asyncio.create_task(asyncio.to_thread(flights.board, "k", _owner("thread"), wait=5))
    await asyncio.sleep(0.05)
    _end(flights, boarding, State.LANDED, b"from the loop")
    assert (await waiting).result == b"from the loop"


async def test_a_cancelled_waiter_leaves_the_others_alone() -> None:
    flights = Flights()
    leader = _lead(flights)
    first, second = (asyncio.create_task(flights.aboard("k", Owner.task(), wait=5)) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    _end(flights, leader, State.LANDED, b"answer")
    assert (await second).result == b"answer"


def test_a_closed_loop_of_a_waiter_does_not_disturb_the_leader() -> None:
    flights = Flights()
    leader = _lead(flights)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.aboard("k", Owner.task(), wait=5), 0.05)

    asyncio.run(give_up())
    _end(flights, leader, State.LANDED, b"answer")


def test_ending_twice_changes_nothing() -> None:
    flights = Flights()
    flight = _lead(flights).flight
    assert flight is not None
    assert flights.end(flight, State.LANDED, b"answer")
    assert not flights.end(flight, State.FAILED)
    assert flight.result == b"answer"
