"""Quota slices: reserve some calls' worth at a time from a store across the network, and spend it in this process.

The cap stays exact, because what is spent here was reserved there. The price is paid elsewhere: room that sits in a
slice is refused to others until the slice is closed, so near a limit refusals come a little early; a manual trip by
another process is noticed within ``max_age`` seconds; and a process that is killed is charged its open slices in full.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress

from costguard_core.counters.base import CounterStore, Denial, Gate, GateState, Grant, Line, Reading, Settlement
from costguard_core.counters.prefetch.slices import Order, Shelf
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.util.forks import after_fork

# How often a caller tries for a share of slices that others are using up before it asks the store itself.
_TRIES = 3
# How long a thread waits for another to open a slice, in seconds.
_OPENING = 0.1


class SlicedStore:
    """A counter store in front of another one that answers most reservations without a round trip.

    Calls that differ only in their amounts share slices. No slice takes more than a tenth of a limit. Calls that pass a
    spend-rate gate are not sliced, because each of them may have to be the probe. Settled totals are those of the last
    slice that was closed plus what this process has spent since.

    Args:
        store: where slices are reserved and settled.
        calls: how many calls' worth a slice holds, measured by the call that opens it.
        max_age: seconds after which a slice is closed, whether or not anybody calls.
        monotonic: the local clock, in seconds.
    """

    def __init__(
        self,
        store: CounterStore,
        *,
        calls: int = 20,
        max_age: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if calls < 1 or max_age <= 0:
            raise ConfigurationError(f"a slice holds at least one call for some time, not {calls} for {max_age} s")
        self.url = store.url
        self._store = store
        self._shelf = Shelf(calls, max_age, now=store.now, monotonic=monotonic)
        self._max_age = max_age
        self._keeper: threading.Thread | None = None
        self._alone()
        after_fork(self._alone)
        atexit.register(_give_back, weakref.ref(self))

    def now(self) -> float:
        return self._store.now()

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        for _ in range(0 if gates or not lines else _TRIES):
            found = self._shelf.take(id, lines, lease, note)
            if isinstance(found, Grant):
                return self._told(found)
            if isinstance(found, Order):
                self._open(found)
            elif found is None or _on_event_loop():  # the one who opens it may be a task of this very loop
                break
            else:
                wait([found], timeout=_OPENING)
        answer = self._store.reserve(id, lines, gates=gates, lease=lease, note=note)
        if _is_full(answer) and self._shelf.retire(idle=True):
            self._settle_retired()
            answer = self._store.reserve(id, lines, gates=gates, lease=lease, note=note)
        return self._told(answer)

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        ended = self._shelf.end(grant, amounts)
        if not isinstance(ended, Settlement):
            return self._store.settle(*ended, gates=gates)
        self._settle_retired()
        return ended

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        """As the store knows it: slices that no call uses are given back first, the others show as held."""
        self._shelf.retire(idle=True)
        self._settle_retired()
        return self._store.read(lines)

    def read_gate(self, gate: Gate) -> GateState:
        return self._store.read_gate(gate)

    def trip(self, reason: str) -> None:
        self._store.trip(reason)
        self.drain()

    def reset(self) -> None:
        self._store.reset()

    def tripped(self) -> str | None:
        return self._store.tripped()

    def claim(self, name: str, ttl: float) -> bool:
        return self._store.claim(name, ttl)

    def scopes(self, prefix: str) -> list[str]:
        return self._store.scopes(prefix)

    def drain(self) -> None:
        """Give back every slice that no call uses; the others follow when their calls end."""
        self._shelf.retire()
        self._settle_retired()

    def close(self) -> None:
        self.drain()
        self._closing.set()
        self._store.close()

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        for _ in range(0 if gates or not lines else _TRIES):
            found = self._shelf.take(id, lines, lease, note)
            if isinstance(found, Grant):
                return self._told(found)
            if isinstance(found, Order):
                await self._aopen(found)
            elif found is None:
                break
            else:
                await _opened_by_another(found)
        answer = await self._store.areserve(id, lines, gates=gates, lease=lease, note=note)
        if _is_full(answer) and self._shelf.retire(idle=True):
            await self._asettle_retired()
            answer = await self._store.areserve(id, lines, gates=gates, lease=lease, note=note)
        return self._told(answer)

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        ended = self._shelf.end(grant, amounts)
        if not isinstance(ended, Settlement):
            return await self._store.asettle(*ended, gates=gates)
        await self._asettle_retired()
        return ended

    async def aclose(self) -> None:
        self._shelf.retire()
        await self._asettle_retired()
        self._closing.set()
        await self._store.aclose()

    def _open(self, order: Order) -> None:
        answer: Grant | Denial | None = None
        try:
            self._settle_retired()
            answer = self._store.reserve(order.id, order.lines, lease=order.lease, note=order.note)
        finally:
            self._put(order, answer)

    async def _aopen(self, order: Order) -> None:
        answer: Grant | Denial | None = None
        try:
            await self._asettle_retired()
            answer = await self._store.areserve(order.id, order.lines, lease=order.lease, note=order.note)
        finally:
            self._put(order, answer)

    def _put(self, order: Order, answer: Grant | Denial | None) -> None:
        """Shelve what came of an order, and have somebody look after it."""
        if answer is not None:
            self._shelf.heard(answer.swept)
        self._shelf.opened(order, answer if isinstance(answer, Grant) else None, refused=isinstance(answer, Denial))
        with self._keeping:
            if isinstance(answer, Grant) and self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="costguard-slices", daemon=True)
                self._keeper.start()

    def _settle_retired(self) -> None:
        while (found := self._shelf.leaving()) is not None:
            try:
                settlement = self._store.settle(found.grant, found.spent)
            except StoreUnavailable:  # its lease is there to be charged if it never comes back
                self._shelf.keep(found)
                return
            self._shelf.closed(found, settlement.totals)

    async def _asettle_retired(self) -> None:
        while (found := self._shelf.leaving()) is not None:
            try:
                settlement = await self._store.asettle(found.grant, found.spent)
            except StoreUnavailable:
                self._shelf.keep(found)
                return
            self._shelf.closed(found, settlement.totals)

    def _keep(self) -> None:
        """In a thread of its own, for as long as there are slices: a quiet process gives back what it does not use."""
        closing = self._closing
        while not closing.wait(self._max_age / 2):
            with self._keeping:
                if not self._shelf.tend():
                    self._keeper = None
                    return
            self._settle_retired()

    def _alone(self) -> None:
        """Begin without slices: at first, and in a forked child, which must not spend those of its parent."""
        self._shelf.clear()
        self._keeping, self._closing = threading.Lock(), threading.Event()
        self._keeper = None

    def _told(self, answer: Grant | Denial) -> Grant | Denial:
        """``answer``, with the calls whose leases ended here among those swept there."""
        news = self._shelf.news()
        return answer._replace(swept=answer.swept + news) if news else answer


def _is_full(answer: Grant | Denial) -> bool:
    return isinstance(answer, Denial) and answer.reason == "budget"


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _opened_by_another(done: Future[None]) -> None:
    await asyncio.shield(asyncio.wrap_future(done))  # shielded: a cancelled waiter must not cancel it for the others


def _give_back(reference: weakref.ref[SlicedStore]) -> None:
    """At exit: what was not used is not charged."""
    store = reference()
    if store is not None:
        with suppress(StoreUnavailable):
            store.drain()
