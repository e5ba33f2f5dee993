"""The slices that a process holds: pure bookkeeping under one lock, no I/O.

See :mod:`costguard_core.counters.prefetch.store`.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from costguard_core.counters.base import Abandoned, Grant, Line, Placed, Settlement, Window
from costguard_core.counters.buckets import FOREVER, place

# A slice is given up this many seconds before its bucket ends: more than two ideas of the server's time differ.
_MARGIN = 0.05
# A slice shorter than this is not worth its round trips.
_WORTHWHILE = 0.25
# No slice takes more than this part of any limit, so that what sits unused in other processes stays small.
_SHARE = 10
_REMEMBERED = 10_000

_Kind = tuple[tuple[str, Window, int], ...]


class Order(NamedTuple):
    """A slice to be reserved by whoever received this; others wait for ``done``."""

    kind: _Kind
    id: str
    lines: tuple[Line, ...]
    lease: float
    note: str
    done: Future[None]


class Slice:
    """What was reserved at once, how much of it running calls hold, and what ended calls have spent."""

    __slots__ = ("base", "ends", "grant", "held", "kind", "lines", "retired", "retires", "spent", "users")

    def __init__(self, order: Order, grant: Grant, *, retires: float, base: tuple[int, ...]) -> None:
        self.kind, self.lines, self.grant = order.kind, order.lines, grant
        self.retires, self.base, self.retired = retires, base, False
        self.ends = min(_ends(line.window, put.bucket) for line, put in zip(order.lines, grant.placed, strict=True))
        self.held = [0] * len(order.lines)
        self.spent: dict[str, int] = {}
        self.users = 0

    def fits(self, lines: Sequence[Line]) -> bool:
        spent = self.spent.get
        return all(
            held + spent(line.unit, 0) + line.amount <= whole.amount
            for held, line, whole in zip(self.held, lines, self.lines, strict=True)
        )

    def join(self, lines: Sequence[Line]) -> tuple[Placed, ...]:
        self.users += 1
        self.held = [held + line.amount for held, line in zip(self.held, lines, strict=True)]
        return tuple(
            put._replace(held=line.amount if put.unit else 0)
            for put, line in zip(self.grant.placed, lines, strict=True)
        )

    def leave(self, part: Part, amounts: Mapping[str, int]) -> None:
        self.users -= 1
        self.held = [held - amount for held, amount in zip(self.held, part.held, strict=True)]
        self.spend(amounts)

    def spend(self, amounts: Mapping[str, int]) -> None:
        for unit in {line.unit for line in self.lines}:
            self.spent[unit] = self.spent.get(unit, 0) + amounts.get(unit, 0)

    def totals(self) -> tuple[int, ...]:
        return tuple(base + self.spent.get(line.unit, 0) for base, line in zip(self.base, self.lines, strict=True))


class Part(NamedTuple):
    """One call that runs on a slice. ``expires`` is by the local clock."""

    slice: Slice
    id: str
    note: str
    held: tuple[int, ...]
    expires: float

    def amounts(self) -> dict[str, int]:
        """The whole hold, by unit."""
        return {line.unit: held for line, held in zip(self.slice.lines, self.held, strict=True)}


class Shelf:
    """Slices by kind of call. Every method is atomic; what needs a round trip is handed to the caller.

    Args:
        calls, max_age: as of :class:`~costguard_core.counters.prefetch.store.SlicedStore`.
        now: the store's time, in unix seconds.
        monotonic: the local clock, in seconds.
    """

    def __init__(self, calls: int, max_age: float, *, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._calls, self._max_age = calls, max_age
        self._now, self._monotonic = now, monotonic
        self.clear()

    def clear(self) -> None:
        """Forget everything: a forked child must not spend the slices of its parent."""
        self._lock = threading.RLock()
        self._mark = f"slice-{uuid.uuid4().hex}"
        self._serial = 0
        self._slots: dict[_Kind, Slice | Future[None] | float] = {}
        self._parts: dict[str, Part] = {}
        self._charged: dict[str, Part] = {}
        self._leaving: deque[Slice] = deque(maxlen=_REMEMBERED)
        self._closed: dict[str, tuple[float, int]] = {}
        self._news: deque[Abandoned] = deque(maxlen=_REMEMBERED)

    def take(self, id: str, lines: Sequence[Line], lease: float, note: str) -> Grant | Order | Future[None] | None:
        """A share of a slice; or a slice to open, or one to wait for; or nothing: ask the store itself."""
        kind = tuple([(line.key, line.window, line.limit) for line in lines])
        with self._lock:
            slot, clock = self._slots.get(kind), self._monotonic()
            if isinstance(slot, Slice):
                if clock < slot.retires and self._now() < slot.ends - _MARGIN and slot.fits(lines):
                    return self._share(slot, id, lines, clock + lease, note)
                self._retire(slot)
            elif isinstance(slot, Future):
                return slot
            elif slot is not None and clock < slot:
                return None
            return self._order(kind, lines, lease, note)

    def opened(self, order: Order, grant: Grant | None, *, refused: bool = False) -> None:
        """What became of an order. After a refusal the store itself is asked for a while."""
        with self._lock:
            clock = self._monotonic()
            self._slots.pop(order.kind, None)
            if grant is not None:
                retires = clock + self._max_age
                self._slots[order.kind] = Slice(order, grant, retires=retires, base=self._base(order, grant))
            elif refused:
                if len(self._slots) >= _REMEMBERED:
                    self._slots = {kind: slot for kind, slot in self._slots.items() if not isinstance(slot, float)}
                self._slots[order.kind] = clock + self._max_age
        order.done.set_result(None)

    def end(self, grant: Grant, amounts: Mapping[str, int]) -> Settlement | tuple[Grant, Mapping[str, int]]:
        """End a call here; or say what the store is to settle instead."""
        if not grant.id.startswith(self._mark):
            return grant, amounts
        with self._lock:
            part = self._parts.pop(grant.id, None)
            if part is not None:
                self._leave(part, amounts)
                return Settlement(part.slice.totals())
            part = self._charged.pop(grant.id, None)
            if part is None:  # settled before
                return Settlement(tuple(self._closed.get(put.key, (0.0, 0))[1] for put in grant.placed))
            held = part.amounts()
            return grant, {unit: amounts.get(unit, 0) - held[unit] for unit in held}

    def retire(self, *, idle: bool = False) -> bool:
        """Accept no more calls on slices (``idle``: those that no call uses). True if some can be settled now."""
        with self._lock:
            for slot in list(self._slots.values()):
                if isinstance(slot, Slice) and not (idle and slot.users):
                    self._retire(slot)
            return bool(self._leaving)

    def tend(self) -> bool:
        """Retire what is too old, charge calls whose lease has ended. False when nothing is left to look after."""
        with self._lock:
            clock = self._monotonic()
            for slot in list(self._slots.values()):
                if isinstance(slot, Slice) and slot.retires <= clock:
                    self._retire(slot)
            for id, part in list(self._parts.items()):
                if part.expires <= clock:
                    self._abandon(id, part)
            return bool(self._leaving or self._parts or any(isinstance(slot, Slice) for slot in self._slots.values()))

    def leaving(self) -> Slice | None:
        """A slice that is to be settled now."""
        with self._lock:
            return self._leaving.popleft() if self._leaving else None

    def keep(self, slice: Slice) -> None:
        """It could not be settled: later."""
        with self._lock:
            self._leaving.append(slice)

    def closed(self, slice: Slice, totals: tuple[int, ...]) -> None:
        with self._lock:
            if len(self._closed) >= _REMEMBERED:
                self._closed.clear()
            for put, total in zip(slice.grant.placed, totals, strict=True):
                self._closed[put.key] = (put.bucket, total)

    def heard(self, swept: Sequence[Abandoned]) -> None:
        """What the store reported to an order is to be told to a caller."""
        self._news.extend(swept)

    def news(self) -> tuple[Abandoned, ...]:
        """Calls that were charged because nobody ended them, each told once."""
        if not self._news:
            return ()
        with self._lock:
            told = tuple(self._news)
            self._news.clear()
            return told

    def _share(self, slice: Slice, id: str, lines: Sequence[Line], expires: float, note: str) -> Grant:
        self._serial += 1
        name = f"{self._mark}.{self._serial}"
        self._parts[name] = Part(slice, id, note, tuple([line.amount for line in lines]), expires)
        return Grant(name, self._now(), slice.join(lines))

    def _order(self, kind: _Kind, lines: Sequence[Line], lease: float, note: str) -> Order | None:
        calls = min([self._calls, *(line.limit // (_SHARE * line.amount) for line in lines if line.amount)])
        now = self._now()
        if calls < 2 or any(_ends(line.window, now) - now < _WORTHWHILE for line in lines):
            return None
        self._serial += 1
        whole = tuple([line._replace(amount=line.amount * calls) for line in lines])
        order = Order(kind, f"{self._mark}.{self._serial}", whole, lease + self._max_age, note, Future())
        self._slots[kind] = order.done
        return order

    def _base(self, order: Order, grant: Grant) -> tuple[int, ...]:
        """The settled totals when a slice opens, as far as known: those when the last one closed."""
        totals = []
        for line, put in zip(order.lines, grant.placed, strict=True):
            bucket, total = self._closed.get(line.key, (put.bucket, 0))
            totals.append(total if line.window.width or bucket == put.bucket else 0)
        return tuple(totals)

    def _leave(self, part: Part, amounts: Mapping[str, int]) -> None:
        part.slice.leave(part, amounts)
        if part.slice.retired and not part.slice.users:
            self._leaving.append(part.slice)

    def _abandon(self, id: str, part: Part) -> None:
        del self._parts[id]
        self._leave(part, part.amounts())
        self._news.append(Abandoned(part.id, part.note, part.amounts()))
        if len(self._charged) >= _REMEMBERED:
            del self._charged[next(iter(self._charged))]
        self._charged[id] = part

    def _retire(self, slice: Slice) -> None:
        self._slots.pop(slice.kind, None)
        slice.retired = True
        if not slice.users:
            self._leaving.append(slice)


def _ends(window: Window, now: float) -> float:
    """When the bucket of ``now`` ends; long ago if the window does not know ``now``."""
    found = place(window, now)
    return found.ends if found is not None else -FOREVER
