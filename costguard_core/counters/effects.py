"""What a flow wants from a counter store, as values.

A flow is a generator that yields effects and is sent their results, so that a rule is written once for blocking callers
and for event loops; the drivers in :mod:`costguard_core.lifecycle.drivers` perform them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from costguard_core.counters.base import CounterStore, Denial, Gate, Grant, Line, Settlement
from costguard_core.counters.waiters import Waiters

T = TypeVar("T")


class Effect(Protocol):
    """Something to be done outside of a flow. Whatever it raises is raised inside the flow."""

    def perform(self) -> object:
        """Do it, blocking."""

    async def aperform(self) -> Any:
        """Do it without blocking the event loop."""


Flow = Generator[Effect, Any, T]


class Reserve(NamedTuple):
    """Hold what a call may consume: see :meth:`CounterStore.reserve`."""

    store: CounterStore
    id: str
    lines: tuple[Line, ...]
    gates: tuple[Gate, ...]
    lease: float
    note: str

    def perform(self) -> Grant | Denial:
        return self.store.reserve(self.id, self.lines, gates=self.gates, lease=self.lease, note=self.note)

    async def aperform(self) -> Grant | Denial:
        return await self.store.areserve(self.id, self.lines, gates=self.gates, lease=self.lease, note=self.note)


class Settle(NamedTuple):
    """End a hold at what the call consumed: see :meth:`CounterStore.settle`."""

    store: CounterStore
    grant: Grant
    amounts: Mapping[str, int]
    gates: tuple[Gate, ...]

    def perform(self) -> Settlement:
        return self.store.settle(self.grant, self.amounts, gates=self.gates)

    async def aperform(self) -> Settlement:
        # A caller that is cancelled now has been charged all the same.
        return await asyncio.shield(self.store.asettle(self.grant, self.amounts, gates=self.gates))


class Claim(NamedTuple):
    """Be the first of all processes to say something: see :meth:`CounterStore.claim`. ``ttl`` is seconds."""

    store: CounterStore
    name: str
    ttl: float

    def perform(self) -> bool:
        return self.store.claim(self.name, self.ttl)

    async def aperform(self) -> bool:
        return await asyncio.to_thread(self.store.claim, self.name, self.ttl)


class Ask(NamedTuple):
    """Ask the store something else than a reservation. Rare, so it takes a thread on an event loop."""

    question: Callable[[], object]

    def perform(self) -> object:
        return self.question()

    async def aperform(self) -> Any:
        return await asyncio.to_thread(self.question)


class Sleep(NamedTuple):
    """Wait ``seconds``, or until a limit changes in this process; ``seen`` is what had changed before.

    Its result is whether one has changed.
    """

    seconds: float
    waiters: Waiters
    seen: int

    def perform(self) -> bool:
        return self.waiters.wait(self.seen, self.seconds)

    async def aperform(self) -> bool:
        return await self.waiters.await_change(self.seen, self.seconds)
