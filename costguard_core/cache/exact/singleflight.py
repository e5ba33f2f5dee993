"""Single flight: of identical requests at the same time one is sent, the others wait for its answer.

The first to :meth:`SingleFlight.join` a key *leads*. A flight ends in one of three ways: ``ANSWERED`` with a result
that every waiter gets; ``FAILED``, and one waiter leads next; or ``DECLINED`` (an answer that nobody may share), and
all waiters go on alone at once. A leader that vanishes without ending its flight is noticed through its
:class:`Owner`. Threads and event loops may share a flight: a waiter in a loop never blocks it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from threading import Event, Lock, get_ident
from typing import NamedTuple

from costguard_core.types import frozen_for_checkers
from costguard_core.util.forks import renew_locks

_POLL_SECONDS = 0.05  # how often a waiter looks whether its leader is still there
_SWEEP_FLIGHTS = 64  # flights under way before it is worth looking for leaders that vanished


@frozen_for_checkers
@dataclass(frozen=True, slots=True)
class Owner:
    """Who leads a flight.

    Attributes:
        identity: owners of the same identity (a thread, a task) never wait for each other.
        alive: false once the owner can no longer end its flight. It must not block.
    """

    identity: object
    alive: Callable[[], bool] = field(default=lambda: True, compare=False)

    @classmethod
    def thread(cls) -> Owner:
        """This thread, which promises to end its flight, as a ``with`` block does."""
        return cls(get_ident())

    @classmethod
    def task(cls) -> Owner:
        """This task, or outside of one this thread."""
        task = asyncio.current_task()
        return cls.thread() if task is None else cls(task, lambda: not task.done())


class FlightState(Enum):
    """How a flight stands; only ``IN_FLIGHT`` ever changes."""

    IN_FLIGHT = "in flight"
    ANSWERED = "answered"
    FAILED = "failed"
    DECLINED = "declined"


@dataclass(slots=True, eq=False)
class Flight:
    """One request that somebody has sent. Its :class:`SingleFlight` changes it, under its lock.

    Attributes:
        key: what identical requests have in common.
        owner: who leads it.
        state: how it stands.
        result: set when it is answered.
        waiters: called when it ends.
        abandoned: set without a lock, where the garbage collector ends a stream: waiters find out by themselves.
    """

    key: str
    owner: Owner
    state: FlightState = FlightState.IN_FLIGHT
    result: bytes | None = None
    waiters: list[Callable[[], None]] = field(default_factory=list)
    abandoned: bool = False

    def led(self) -> bool:
        """Whether its leader may still end it."""
        return not self.abandoned and self.owner.alive()


class Joined(NamedTuple):
    """What a request got by joining: it leads ``flight``, or it has another's ``result``, or neither: it goes alone."""

    flight: Flight | None = None
    result: bytes | None = None

    @property
    def leads(self) -> bool:
        return self.flight is not None


class SingleFlight:
    """The flights of one cache in this process. ``on_end`` is told of each flight that ends."""

    def __init__(
        self, *, on_end: Callable[[Flight], None] | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_end, self._monotonic = on_end, monotonic
        self._sweep_at = _SWEEP_FLIGHTS
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._flights: dict[str, Flight] = {}
        self._led: dict[Owner, set[str]] = {}

    def join(self, key: str, owner: Owner, *, wait: float) -> Joined:
        """Lead, or wait up to ``wait`` seconds for the one who does."""
        deadline = self._monotonic() + wait
        while True:
            flight = self._enter(key, owner)
            if flight.owner is owner:
                return Joined(flight)
            if self._may_wait(owner):
                self._wait(flight, deadline)
            if flight.state is not FlightState.FAILED:  # else race to lead next
                return Joined(result=flight.result)

    async def ajoin(self, key: str, owner: Owner, *, wait: float) -> Joined:
        """:meth:`join` for an event loop."""
        deadline = self._monotonic() + wait
        while True:
            flight = self._enter(key, owner)
            if flight.owner is owner:
                return Joined(flight)
            if self._may_wait(owner):
                await self._await(flight, deadline)
            if flight.state is not FlightState.FAILED:
                return Joined(result=flight.result)

    def end(self, flight: Flight, state: FlightState, result: bytes | None = None) -> bool:
        """End a flight once and wake its waiters; returns whether it was in flight. Later calls change nothing."""
        with self._lock:
            if flight.state is not FlightState.IN_FLIGHT:
                return False
            flight.state, flight.result = state, result
            waiters, flight.waiters = flight.waiters, []
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
                keys = self._led[flight.owner]
                keys.discard(flight.key)
                if not keys:
                    del self._led[flight.owner]
        for wake in waiters:
            wake()
        if self._on_end is not None:
            self._on_end(flight)
        return True

    def find(self, key: str) -> Flight | None:
        """The flight under way for a key."""
        with self._lock:
            return self._flights.get(key)

    def __len__(self) -> int:
        return len(self._flights)

    def _enter(self, key: str, owner: Owner) -> Flight:
        if len(self._flights) >= self._sweep_at:
            self._sweep()
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(key, owner)
                self._led.setdefault(owner, set()).add(key)
            elif flight.owner == owner:
                flight.owner = owner  # asked again without having ended it: the first attempt is over
            return flight

    def _sweep(self) -> None:
        # Leaders that vanished and that nobody waits for: without this a provider's outage would pile them up.
        with self._lock:
            flights = list(self._flights.values())
        for flight in flights:
            if not flight.led():
                self.end(flight, FlightState.FAILED)
        self._sweep_at = 2 * len(self._flights) + _SWEEP_FLIGHTS

    def _may_wait(self, owner: Owner) -> bool:
        # Who leads one flight and waits for another could wait in a circle.
        with self._lock:
            led = [self._flights[key] for key in self._led.get(owner, ())]
        return not any(flight.led() for flight in led)

    def _wake_at_end(self, flight: Flight, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the flight ends, or now if it has."""
        with self._lock:
            if flight.state is FlightState.IN_FLIGHT:
                flight.waiters.append(wake)
                return
        wake()

    def _wait(self, flight: Flight, deadline: float) -> None:
        ended = Event()
        self._wake_at_end(flight, ended.set)
        while not ended.is_set() and (left := deadline - self._monotonic()) > 0:
            if not ended.wait(min(left, _POLL_SECONDS)) and not flight.led():
                self.end(flight, FlightState.FAILED)

    async def _await(self, flight: Flight, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._wake_at_end(flight, lambda: _wake(loop, ended))
        while not ended.is_set() and (left := deadline - self._monotonic()) > 0:
            try:
                # Before Python 3.12, wait_for() loses a cancellation that comes together with the end.
                async with asyncio.timeout(min(left, _POLL_SECONDS)):
                    await ended.wait()
            except TimeoutError:
                if not flight.led():
                    self.end(flight, FlightState.FAILED)


def _wake(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the waiter's loop is closed: nobody waits any more
        loop.call_soon_threadsafe(ended.set)
