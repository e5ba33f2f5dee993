"""Single flight: threads, event loops, both at once, and leaders that vanish."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import async_wait_until, wait_until
from waiting_callers import waiting

from costguard_core.cache.exact.singleflight import FlightState, Joined, Owner, SingleFlight


def _owner(name: object, *, alive: bool = True) -> Owner:
    return Owner(name, lambda: alive)


def _lead(flights: SingleFlight, key: str = "k", owner: Owner | None = None) -> Joined:
    joined = flights.join(key, owner or _owner("leader"), wait=60)
    assert joined.flight is not None
    return joined


def _end(flights: SingleFlight, joined: Joined, state: FlightState, result: bytes | None = None) -> None:
    assert joined.flight is not None
    flights.end(joined.flight, state, result)


def _until_waiting(flights: SingleFlight, count: int) -> None:
    wait_until(lambda: waiting(flights, "k") == count)


class FastClock:
    """A monotonic clock on which ten seconds pass between any two looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return 10.0 * self.looks


def test_all_waiters_get_the_leaders_answer() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(flights.join, "k", _owner(n), wait=60) for n in range(20)]
        _until_waiting(flights, 20)
        _end(flights, leader, FlightState.ANSWERED, b"answer")
        assert [call.result().result for call in calls] == [b"answer"] * 20
    assert len(flights) == 0


def test_after_a_failure_exactly_one_waiter_leads() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    led = []

    def fly(n: int) -> bytes | None:
        joined = flights.join("k", _owner(n), wait=5)
        if joined.leads:
            led.append(n)
            _until_waiting(flights, 7)
            _end(flights, joined, FlightState.ANSWERED, b"second try")
        return joined.result

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(fly, n) for n in range(8)]
        _until_waiting(flights, 8)
        _end(flights, leader, FlightState.FAILED)
        results = [call.result() for call in calls]
    assert len(led) == 1
    assert results.count(b"second try") == 7


def test_a_declined_answer_sends_everybody_on_alone() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(flights.join, "k", _owner(n), wait=60) for n in range(5)]
        _until_waiting(flights, 5)
        _end(flights, leader, FlightState.DECLINED)
        joined = [call.result() for call in calls]
    assert all(not b.leads and b.result is None for b in joined)


def test_a_leader_that_vanished_is_noticed() -> None:
    flights = SingleFlight()
    there = threading.Event()
    there.set()
    _lead(flights, owner=Owner("gone soon", there.is_set))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(flights.join, "k", _owner("next"), wait=3600)
        _until_waiting(flights, 1)
        there.clear()
        assert call.result(timeout=60).leads


def test_waiting_is_bounded() -> None:
    flights = SingleFlight(monotonic=FastClock())
    _lead(flights)
    joined = flights.join("k", _owner("other"), wait=30)
    assert (joined.leads, joined.result) == (False, None)


def test_nobody_waits_for_itself() -> None:
    flights = SingleFlight()
    _lead(flights, owner=_owner("me"))
    assert flights.join("k", _owner("me"), wait=30).leads


def test_leaders_do_not_wait_in_a_circle() -> None:
    clock = FastClock()
    flights = SingleFlight(monotonic=clock)
    _lead(flights, "a", _owner("one"))
    _lead(flights, "b", _owner("two"))
    clock.looks = 0
    assert not flights.join("b", _owner("one"), wait=60).leads
    assert clock.looks == 1  # to learn when its patience would end; who waits looks again


def test_vanished_leaders_do_not_pile_up() -> None:
    flights = SingleFlight()
    for number in range(1000):
        flights.join(str(number), _owner(number, alive=False), wait=1)
    assert len(flights) <= 200


async def test_a_waiter_in_a_loop_does_not_block_it() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    call = asyncio.create_task(flights.ajoin("k", _owner("task"), wait=60))
    await async_wait_until(lambda: waiting(flights, "k"))  # would not come back if the loop were blocked
    for _ in range(10):
        await asyncio.sleep(0)
    assert not call.done()
    threading.Thread(target=_end, args=(flights, leader, FlightState.ANSWERED, b"from a thread")).start()
    assert (await call).result == b"from a thread"


async def test_threads_wait_for_a_loop() -> None:
    flights = SingleFlight()
    joined = await flights.ajoin("k", Owner.task(), wait=60)
    call = asyncio.create_task(asyncio.to_thread(flights.join, "k", _owner("thread"), wait=60))
    await async_wait_until(lambda: waiting(flights, "k"))
    _end(flights, joined, FlightState.ANSWERED, b"from the loop")
    assert (await call).result == b"from the loop"


async def test_a_cancelled_waiter_leaves_the_others_alone() -> None:
    flights = SingleFlight()
    leader = _lead(flights)
    first, second = (asyncio.create_task(flights.ajoin("k", _owner(n), wait=60)) for n in range(2))
    await async_wait_until(lambda: waiting(flights, "k") == 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    _end(flights, leader, FlightState.ANSWERED, b"answer")
    assert (await second).result == b"answer"


def test_a_closed_loop_of_a_waiter_does_not_disturb_the_leader() -> None:
    flights = SingleFlight()
    leader = _lead(flights)

    async def give_up() -> None:
        call = asyncio.create_task(flights.ajoin("k", _owner("task"), wait=60))
        await async_wait_until(lambda: waiting(flights, "k"))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(give_up())
    _end(flights, leader, FlightState.ANSWERED, b"answer")


def test_ending_twice_changes_nothing() -> None:
    flights = SingleFlight()
    flight = _lead(flights).flight
    assert flight is not None
    assert flights.end(flight, FlightState.ANSWERED, b"answer")
    assert not flights.end(flight, FlightState.FAILED)
    assert flight.result == b"answer"


def test_a_cancellation_is_not_lost_where_the_flight_ends_at_the_same_moment() -> None:
    flights = SingleFlight()
    leader = _lead(flights)

    async def run() -> None:
        follower = asyncio.create_task(flights.ajoin("k", _owner("follower"), wait=60))
        await async_wait_until(lambda: waiting(flights, "k") == 1)
        _end(flights, leader, FlightState.ANSWERED, b"answer")
        await asyncio.sleep(0)  # the end has come, and the task has not seen it
        follower.cancel()
        with pytest.raises(asyncio.CancelledError):
            await follower

    asyncio.run(run())
