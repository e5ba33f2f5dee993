"""Single flight: of identical requests at the same time one is sent, the others wait for its answer.

The first to :meth:`Flights.board` a key *leads*. It ends the flight in one of three ways: it **lands** with an answer
that every waiter gets; it **fails**, and one waiter leads next; or it **declines** (an answer that nobody may share),
and all waiters go on alone at once. A leader that vanishes without a word is noticed through its ``Owner``. Threads and
event loops may share a flight: a waiter in a loop never blocks it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from threading import Event, Lock, get_ident

# How often a waiter looks whether its leader is still there.
_POLL_SECONDS = 0.05
_SWEEP_FLIGHTS = 64


@dataclass(frozen=True, slots=True)
class Owner:
    """Who leads. Owners of the same ``identity`` (a thread, a task) never wait for each other.

    ``alive`` is false once the owner can no longer end its flight: it looks, it does not wait.
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


class State(Enum):
    """``FLYING`` is the only state that ends."""

    FLYING = "flying"
    LANDED = "landed"
    FAILED = "failed"
    DECLINED = "declined"


class Flight:
    """One request that somebody has sent. ``result`` is set when it has landed."""

    __slots__ = ("_lock", "_wake", "key", "owner", "result", "state")

    def __init__(self, key: str, owner: Owner) -> None:
        self.key, self.owner = key, owner
        self.state = State.FLYING
        self.result: bytes | None = None
        self._lock = Lock()
        self._wake: list[Callable[[], None]] = []

    def end(self, state: State, result: bytes | None = None) -> bool:
        """End it once; later calls change nothing and return false."""
        with self._lock:
            if self.state is not State.FLYING:
                return False
            self.state, self.result = state, result
            waiting, self._wake = self._wake, []
        for wake in waiting:
            wake()
        return True

    def on_end(self, wake: Callable[[], None]) -> None:
        with self._lock:
            if self.state is State.FLYING:
                self._wake.append(wake)
                return
        wake()


class Boarding:
    """What a request got: it leads a flight, or it has another's ``result``, or neither (it goes alone)."""

    __slots__ = ("flight", "result")

    def __init__(self, flight: Flight | None = None, result: bytes | None = None) -> None:
        self.flight, self.result = flight, result

    @property
    def leads(self) -> bool:
        return self.flight is not None


class Flights:
    """The flights of one cache in this process."""

    def __init__(
        self, *, on_end: Callable[[Flight], None] | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_end, self._monotonic = on_end, monotonic
        self._sweep_at = _SWEEP_FLIGHTS
        self._lock = Lock()
        self._flights: dict[str, Flight] = {}
        self._led: dict[Owner, set[str]] = {}

    def board(self, key: str, owner: Owner, *, wait: float) -> Boarding:
        """Lead, or wait up to ``wait`` seconds for the one who does."""
        deadline = self._monotonic() + wait
        while True:
            flight = self._enter(key, owner)
            if flight.owner is owner:
                return Boarding(flight)
            if self._may_wait(owner):
                self._wait(flight, deadline)
            if (boarding := self._after(flight)) is not None:
                return boarding

    async def aboard(self, key: str, owner: Owner, *, wait: float) -> Boarding:
        """:meth:`board` for an event loop."""
        deadline = self._monotonic() + wait
        while True:
            flight = self._enter(key, owner)
            if flight.owner is owner:
                return Boarding(flight)
            if self._may_wait(owner):
                await self._await(flight, deadline)
            if (boarding := self._after(flight)) is not None:
                return boarding

    def end(self, flight: Flight, state: State, result: bytes | None = None) -> bool:
        """End a flight and let its waiters know."""
        with self._lock:
            if self._flights.get(flight.key) is flight:
                self._forget(flight)
        ended = flight.end(state, result)
        if ended and self._on_end is not None:
            self._on_end(flight)
        return ended

    def led(self, key: str) -> Flight | None:
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
            if not flight.owner.alive():
                self.end(flight, State.FAILED)
        self._sweep_at = 2 * len(self._flights) + _SWEEP_FLIGHTS

    def _forget(self, flight: Flight) -> None:
        del self._flights[flight.key]
        keys = self._led[flight.owner]
        keys.discard(flight.key)
        if not keys:
            del self._led[flight.owner]

    def _may_wait(self, owner: Owner) -> bool:
        # Who leads one flight and waits for another could wait in a circle.
        with self._lock:
            led = [self._flights[key].owner for key in self._led.get(owner, ())]
        return not any(mine.alive() for mine in led)

    @staticmethod
    def _after(flight: Flight) -> Boarding | None:
        if flight.state is State.FAILED:
            return None  # race to lead next
        return Boarding(result=flight.result)

    def _wait(self, flight: Flight, deadline: float) -> None:
        landed = Event()
        flight.on_end(landed.set)
        while not landed.is_set() and (left := deadline - self._monotonic()) > 0:
            if not landed.wait(min(left, _POLL_SECONDS)) and not flight.owner.alive():
                self.end(flight, State.FAILED)

    async def _await(self, flight: Flight, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        landed = asyncio.Event()
        flight.on_end(lambda: _wake(loop, landed))
        while not landed.is_set() and (left := deadline - self._monotonic()) > 0:
            try:
                await asyncio.wait_for(landed.wait(), min(left, _POLL_SECONDS))
            except TimeoutError:
                if not flight.owner.alive():
                    self.end(flight, State.FAILED)


def _wake(loop: asyncio.AbstractEventLoop, landed: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the waiter's loop is closed: nobody waits any more
        loop.call_soon_threadsafe(landed.set)
