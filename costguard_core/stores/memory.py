"""Counters in this process: the fastest store, shared by its threads and tasks, forgotten when it ends."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Generic, NamedTuple, TypeVar

from costguard_core.errors import StoreUnavailable
from costguard_core.stores.base import (
    Abandoned,
    Denial,
    Gate,
    GateState,
    Grant,
    Line,
    Placed,
    Reading,
    Settlement,
    Window,
)
from costguard_core.stores.clock import SteadyClock
from costguard_core.stores.counters import Counter
from costguard_core.stores.gates import CLOSED, GateRecord, opened, probed, refusal, settled, shown

_SWEPT_AT_ONCE = 10
_REMEMBERED = 131_072
_T = TypeVar("_T")


class MemoryStore:
    """Counters in memory. Thread-safe; a forked child gets a copy of its own, not a share.

    Args:
        clock: unix seconds; a :class:`SteadyClock` unless given.
        retention: seconds for which an ended reservation is remembered, so that settling it twice does nothing and a late
            settle corrects what its expiry charged. Of settled ones, at most the last 131,072 are remembered.
    """

    url = "memory://"

    def __init__(self, *, clock: Callable[[], float] | None = None, retention: float = 3600.0) -> None:
        self.now = clock or SteadyClock()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._counters: dict[str, Counter] = {}
        self._patrol: deque[str] = deque()  # the keys of _counters, in the order in which they are checked for being idle
        self._leases: dict[str, _Lease] = {}
        self._expiring: list[tuple[float, str]] = []
        self._settled: _Remembered[None] = _Remembered(retention, _REMEMBERED)
        self._charged: _Remembered[Grant] = _Remembered(retention, None)
        self._gates: dict[str, _GateCounter] = {}
        self._claims: dict[str, float] = {}
        self._claims_checked_at = self._gates_checked_at = 1024
        self._tripped: str | None = None
        self._serial = 0

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        with self._locked():
            now = self.now()
            swept: tuple[Abandoned, ...] = ()
            if self._expiring and self._expiring[0][0] <= now:
                swept = self._sweep(now, _SWEPT_AT_ONCE)
            denial = self._refusal(lines, gates, now)
            if denial is not None and self._expiring and self._expiring[0][0] <= now:
                # Dead reservations may be all that is in the way, so a refusal is worth looking at every one of them.
                swept += self._sweep(now, len(self._expiring))
                denial = self._refusal(lines, gates, now)
            if denial is not None:
                return denial._replace(swept=swept) if swept else denial
            return self._grant(id, lines, gates, now, lease, note, swept)

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        with self._locked():
            now = self.now()
            counters = self._counters
            get = amounts.get
            id = grant.id
            lease = self._leases.pop(id, None)
            if lease is not None:
                for key, bucket, unit, held in lease.grant.placed:
                    counters[key].settle(bucket, held, get(unit, 0))
            elif id in self._settled:
                return Settlement(self._totals(grant, now))
            elif self._charged.pop(id) is not None:
                for key, bucket, unit, held in grant.placed:
                    if key in counters:
                        counters[key].settle(bucket, 0, get(unit, 0) - held)
            else:
                for key, bucket, unit, _ in grant.placed:
                    self._counter(key, now).charge(bucket, get(unit, 0))
            self._settled.put(id, None, now)
            opened_now = self._pass_gates(gates, grant.id, get("usd", 0), now) if gates else ()
            return Settlement(self._totals(grant, now), opened_now)

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        with self._locked():
            now = self.now()
            return [self._rolled(self._counters.get(line.key) or Counter(), line.window, now).reading() for line in lines]

    def read_gate(self, gate: Gate) -> GateState:
        with self._locked():
            found, now = self._gate(gate), self.now()
            return shown(found.record, now, found.rate(gate, now))

    def trip(self, reason: str) -> None:
        self._tripped = reason

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        with self._locked():
            self._tripped = None
            self._gates.clear()

    def tripped(self) -> str | None:
        return self._tripped

    def claim(self, name: str, ttl: float) -> bool:
        with self._locked():
            now = self.now()
            if self._claims.get(name, 0.0) > now:
                return False
            if len(self._claims) >= self._claims_checked_at:
                self._claims = {name: until for name, until in self._claims.items() if until > now}
                self._claims_checked_at = max(1024, 2 * len(self._claims))
            self._claims[name] = now + ttl
            return True

    def scopes(self, prefix: str) -> list[str]:
        with self._locked():
            now = self.now()
            return [key for key, found in self._counters.items() if key.startswith(prefix) and not found.idle(now)]

    def close(self) -> None:
        """Nothing to close: the counters live as long as this object."""

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        return self.reserve(id, lines, gates=gates, lease=lease, note=note)

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return self.settle(grant, amounts, gates=gates)

    async def aclose(self) -> None:
        self.close()

    def _locked(self) -> threading.Lock:
        if self._pid != os.getpid():  # forked: another thread of the parent may have held the lock at that moment
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock

    def _refusal(self, lines: Sequence[Line], gates: Sequence[Gate], now: float) -> Denial | None:
        if self._tripped is not None:
            return Denial("tripped", -1, text=self._tripped)
        for index, gate in enumerate(gates):
            found = self._gate(gate)
            wait = refusal(found.record, now)
            if wait is not None:
                return Denial("open", index, found.rate(gate, now), 0, wait)
        counters = self._counters
        for index, (key, _, window, limit, amount) in enumerate(lines):
            counter = counters.get(key) or self._counter(key, now)
            if not counter.bucket <= now < counter.ends:
                self._rolled(counter, window, now)
            if counter.settled + counter.held + amount > limit:
                needed = counter.settled + counter.held + amount - limit
                wait = counter.room_in(needed, now) if amount <= limit else None
                return Denial("budget", index, counter.settled, counter.held, wait)
        return None

    def _grant(
        self,
        id: str,
        lines: Sequence[Line],
        gates: Sequence[Gate],
        now: float,
        lease: float,
        note: str,
        swept: tuple[Abandoned, ...],
    ) -> Grant:
        self._serial = serial = self._serial + 1
        if id in self._leases or id in self._settled or id in self._charged:
            id = f"{id}#{serial}"  # a reused id is a reservation of its own, or its settle would be taken for a repetition
        placed = []
        for key, unit, _, _, amount in lines:
            counter = self._counters[key]
            if counter.mark == serial:
                placed.append(Placed(key, counter.bucket, "", 0))
                continue
            counter.mark = serial
            counter.hold(amount)
            placed.append(Placed(key, counter.bucket, unit, amount))
        probing = self._probe(gates, id, now) if gates else ()
        grant = Grant(id, now, tuple(placed), probing, swept)
        expires = now + lease
        self._leases[id] = _Lease(expires, grant, note)
        heappush(self._expiring, (expires, id))
        if len(self._expiring) > 2 * len(self._leases) + 64:
            self._expiring = [(found.expires, id) for id, found in self._leases.items()]
            heapify(self._expiring)
        return grant

    def _sweep(self, now: float, most: int) -> tuple[Abandoned, ...]:
        """Charge leases that have expired, oldest first."""
        found = []
        while self._expiring and self._expiring[0][0] <= now and len(found) < most:
            _, id = heappop(self._expiring)
            lease = self._leases.pop(id, None)
            if lease is not None:
                found.append(self._charge(id, lease, now))
        return tuple(found)

    def _charge(self, id: str, lease: _Lease, now: float) -> Abandoned:
        amounts: dict[str, int] = {}
        for key, bucket, unit, held in lease.grant.placed:
            self._counters[key].settle(bucket, held, held)
            if unit:
                amounts[unit] = max(held, amounts.get(unit, 0))
        self._charged.put(id, lease.grant, now)
        return Abandoned(id, lease.note, amounts)

    def _totals(self, grant: Grant, now: float) -> tuple[int, ...]:
        get = self._counters.get
        return tuple([found.total(p[1], now) if (found := get(p[0])) is not None else 0 for p in grant.placed])

    def _rolled(self, counter: Counter, window: Window, now: float) -> Counter:
        if not counter.bucket <= now < counter.ends and not counter.roll(window, now):
            raise StoreUnavailable(self.url, "the budget's calendar period was worked out for another time than its clock's")
        return counter

    def _counter(self, key: str, now: float) -> Counter:
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = Counter()
            # Two checks for each new counter: idle ones never outnumber those in use, and no call pays for a long sweep.
            for _ in range(min(2, len(self._patrol))):
                self._forget_or_keep(self._patrol.popleft(), now)
            self._patrol.append(key)
        return found

    def _forget_or_keep(self, key: str, now: float) -> None:
        if self._counters[key].idle(now):
            del self._counters[key]
        else:
            self._patrol.append(key)

    def _gate(self, gate: Gate) -> _GateCounter:
        found = self._gates.get(gate.key)
        if found is None:
            if len(self._gates) >= self._gates_checked_at:
                now = self.now()
                self._gates = {key: old for key, old in self._gates.items() if not old.idle(now)}
                self._gates_checked_at = max(1024, 2 * len(self._gates))
            found = self._gates[gate.key] = _GateCounter()
        return found

    def _probe(self, gates: Sequence[Gate], id: str, now: float) -> tuple[str, ...]:
        probing = []
        for gate in gates:
            found = self._gate(gate)
            if found.record.until:
                found.record = probed(found.record, gate, now, id)
                probing.append(gate.key)
        return tuple(probing)

    def _pass_gates(self, gates: Sequence[Gate], id: str, spent: int, now: float) -> tuple[str, ...]:
        opened_now = []
        for gate in gates:
            found = self._gate(gate)
            before = found.record
            rate = found.rate(gate, now, spent)
            found.record = settled(before, gate, now, id, spent=spent, rate=rate)
            if opened(before, found.record):
                opened_now.append(gate.key)
        return tuple(opened_now)


class _Lease(NamedTuple):
    expires: float
    grant: Grant
    note: str


class _GateCounter:
    """A gate and the spend that it watches."""

    __slots__ = ("_spend", "record")

    def __init__(self) -> None:
        self.record: GateRecord = CLOSED
        self._spend = Counter()

    def rate(self, gate: Gate, now: float, spent: int = 0) -> int:
        """Nano-dollars settled within the gate's width, after adding ``spent``."""
        if not self._spend.bucket <= now < self._spend.ends:
            self._spend.roll(Window(gate.width), now)
        self._spend.settle(self._spend.bucket, 0, spent)
        return self._spend.settled

    def idle(self, now: float) -> bool:
        return self.record == CLOSED and self._spend.idle(now)


class _Remembered(Generic[_T]):
    """What happened recently: entries are forgotten after ``retention`` seconds, or when there are more than ``most``."""

    def __init__(self, retention: float, most: int | None) -> None:
        self._retention, self._most = retention, most
        self._values: dict[str, _T] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def put(self, key: str, value: _T, now: float) -> None:
        self._values[key] = value
        order = self._order
        order.append((now, key))
        while order[0][0] < now - self._retention or (self._most is not None and len(order) > self._most):
            self._values.pop(order.popleft()[1], None)

    def pop(self, key: str) -> _T | None:
        return self._values.pop(key, None)
