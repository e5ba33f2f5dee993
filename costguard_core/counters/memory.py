"""Counters in this process: the fastest store, shared by its threads and tasks, forgotten when it ends."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from operator import methodcaller
from typing import NamedTuple

from costguard_core.counters.base import (
    REMEMBERED,
    Abandoned,
    Denial,
    Gate,
    GateState,
    Grant,
    GrantedLimit,
    Line,
    Placed,
    Reading,
    Settlement,
    Window,
)
from costguard_core.counters.clock import SteadyClock
from costguard_core.counters.granted import by_name, check_room, in_force, with_limits
from costguard_core.counters.rate_gate import after_settle, gate_state, has_opened, start_probe, wait_time
from costguard_core.counters.sums import Counter, GateCounter
from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork
from costguard_core.util.text import printable

_log = logging.getLogger("costguard")

_SWEPT_AT_ONCE = 10
_MOST_ENDED = 131_072  # reservations that are remembered after their end: a choice, about 20 MB
_MOST_COUNTERS = 1_000_000  # about 650 MB
_MANY_COUNTERS = 100_000  # from so many on the log asks whether a scope is an id of single calls
_CHECKED_WHEN_FULL = 100  # counters that are looked at for an idle one, before a new scope is refused


class MemoryStore:
    """Counters in memory. Thread-safe; a forked child gets a copy of its own, not a share.

    Args:
        clock: unix seconds; a :class:`SteadyClock` unless given.
        most: counters at the same time; a call of one scope more is refused with what to change.
        retention: seconds for which a settled reservation is remembered, so that settling it twice does nothing. One
            that expired is remembered whatever its age, so that a late settle corrects what its expiry charged. Of
            either kind, at most the last 131,072 are remembered.
    """

    url = "memory://"

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        most: int = _MOST_COUNTERS,
        retention: float = REMEMBERED,
    ) -> None:
        self.now = clock or SteadyClock()
        self._most, self._warned = most, False
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._idle_checks: deque[str] = deque()  # the keys of _counters, in the order of being checked for idleness
        self._leases: dict[str, _Lease] = {}
        self._expiring: list[tuple[float, str]] = []
        self._retention = retention
        # When reservations ended, oldest first; expired ones are kept whatever their age, for a late settle. No LRUMap:
        # they are written for every call, under the lock of this store and at its time, and cachetools' TTLCache takes
        # 4 of the 10 microseconds of a reserve and settle.
        self._settled: OrderedDict[str, float] = OrderedDict()
        self._charged: OrderedDict[str, float] = OrderedDict()
        self._gates: dict[str, GateCounter] = {}
        self._claims: dict[str, float] = {}
        self._claims_checked_at = self._gates_checked_at = 1024
        self._tripped: str | None = None
        self._granted: dict[str, GrantedLimit] = {}
        self._controls = ("", 0.0)
        self._serial = 0
        after_fork(self, "_forked")

    def reserve(
        self,
        id: str,
        lines: Sequence[Line],
        *,
        gates: Sequence[Gate] = (),
        lease: float,
        note: str | Callable[[], str] = "",
    ) -> Grant | Denial:
        """:meth:`CounterStore.reserve`; ``note`` may also be what writes the note, should anybody need it."""
        with self._lock:
            now = self.now()
            expiring = self._expiring
            swept = self._sweep(now, _SWEPT_AT_ONCE) if expiring and expiring[0][0] <= now else ()
            limits: tuple[tuple[int, int], ...] = ()
            if self._granted:
                lines, limits = self._with_granted(lines, now)
            found = self._admit(lines, gates, now)
            if isinstance(found, Denial) and self._overdue(now):
                # Dead reservations may be all that is in the way, so a refusal is worth looking at every one of them.
                swept += self._sweep(now, len(expiring))
                found = self._admit(lines, gates, now)
            if isinstance(found, Denial):
                if limits and found.reason == "budget":
                    found = found._replace(limit=dict(limits).get(found.index))
                controls = self._controls_at(now)
                return found._replace(swept=swept, controls=controls) if swept or controls else found
            if id in self._leases or id in self._settled or id in self._charged:
                # It was reserved before: each reservation must have a settle of its own.
                self._serial += 1
                id = f"{id}#{self._serial}"
            probing = self._probe(gates, id, now) if gates else ()
            placed: list[Placed] = []
            for (key, unit, _, _, amount), counter in zip(lines, found, strict=True):
                if counter in found[: len(placed)]:  # where two lines share a counter, it is held once
                    placed.append(Placed(key, counter.bucket, "", 0))
                else:
                    counter.held += amount
                    placed.append(Placed(key, counter.bucket, unit, amount))
            controls = self._controls_at(now) if self._controls[0] else ""
            grant = Grant(id, now, tuple(placed), probing, swept, limits, controls)
            self._leases[id] = _Lease(now + lease, grant, note)
            heappush(expiring, (now + lease, id))
            if len(expiring) > 2 * len(self._leases) + 64:  # mostly settled ones: forget those
                expiring[:] = [(found.expires, key) for key, found in self._leases.items()]
                heapify(expiring)
            return grant

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        with self._lock:
            now = self.now()
            totals: list[int] = []
            if self._leases.pop(grant.id, None) is not None:
                for key, bucket, unit, held in grant.placed:
                    totals.append(self._counters[key].settle(bucket, held, amounts.get(unit, 0), now))
            elif grant.id in self._settled or self._forgotten(grant, now):
                return Settlement(tuple([self._total(placed, now) for placed in grant.placed]))
            else:
                totals = self._settle_late(grant, amounts, now)
            ended = self._settled
            ended[grant.id] = now
            while len(ended) > _MOST_ENDED or next(iter(ended.values())) < now - self._retention:
                ended.popitem(last=False)
            opened_now = self._pass_gates(gates, grant.id, amounts.get("usd", 0), now) if gates else ()
            return Settlement(tuple(totals), opened_now)

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        with self._lock:
            now = self.now()
            found = [self._counters.get(line.key) or Counter() for line in lines]
            for counter, line in zip(found, lines, strict=True):
                self._roll(counter, line.window, now)
            return [counter.reading() for counter in found]

    def read_gate(self, gate: Gate) -> GateState:
        with self._lock:
            found, now = self._gate(gate), self.now()
            return gate_state(found.record, now, found.rate(gate, now))

    def trip(self, reason: str) -> None:
        self._tripped = reason

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        with self._lock:
            self._tripped = None
            self._gates.clear()

    def tripped(self) -> str | None:
        return self._tripped

    def grant_limit(self, granted: GrantedLimit) -> GrantedLimit | None:
        with self._lock:
            now = self.now()
            self._granted = {key: one for key, one in self._granted.items() if in_force(one, now)}
            before = self._granted.get(granted.key)
            if before is None:
                check_room(len(self._granted))
            self._granted[granted.key] = granted
            return before

    def revoke_limit(self, key: str) -> GrantedLimit | None:
        with self._lock:
            found = self._granted.pop(key, None)
            return found if found is not None and in_force(found, self.now()) else None

    def granted_limits(self) -> list[GrantedLimit]:
        with self._lock:
            now = self.now()
            return by_name(one for one in self._granted.values() if in_force(one, now))

    def put_controls(self, text: str, until: float) -> None:
        self._controls = (text, until)

    def controls(self) -> str:
        return self._controls_at(self.now()) if self._controls[0] else ""

    def claim(self, name: str, ttl: float) -> bool:
        with self._lock:
            now = self.now()
            if self._claims.get(name, 0.0) > now:
                return False
            if len(self._claims) >= self._claims_checked_at:
                self._claims = {name: until for name, until in self._claims.items() if until > now}
                self._claims_checked_at = max(1024, 2 * len(self._claims))
            self._claims[name] = now + ttl
            return True

    def scopes(self, prefix: str, *, limit: int | None = None) -> list[str]:
        with self._lock:  # only as long as it takes to copy: calls wait for it
            known = dict(self._counters)
        now = self.now()
        names = sorted(filter(methodcaller("startswith", prefix), known))
        return list(islice((name for name in names if not known[name].idle(now)), limit))

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

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def _admit(self, lines: Sequence[Line], gates: Sequence[Gate], now: float) -> Denial | list[Counter]:
        """The counters of the lines if there is room in all of them. Changes nothing that counts."""
        if self._tripped is not None:
            return Denial("tripped", -1, text=self._tripped)
        for index, gate in enumerate(gates):
            wait = wait_time(self._gate(gate).record, now)
            if wait is not None:
                return Denial("open", index, self._gate(gate).rate(gate, now), 0, wait)
        known = self._counters
        found: list[Counter] = []
        for key, _, window, limit, amount in lines:
            counter = known.get(key) or self._counter(key, now)
            if not counter.bucket <= now < counter.ends:
                self._roll(counter, window, now)
            needed = counter.settled + counter.held + amount - limit
            if needed > 0:
                wait = counter.seconds_until_room(needed, now) if amount <= limit else None
                return Denial("budget", len(found), counter.settled, counter.held, wait)
            found.append(counter)
        return found

    def _with_granted(self, lines: Sequence[Line], now: float) -> tuple[tuple[Line, ...], tuple[tuple[int, int], ...]]:
        found = [self._granted.get(line.key) for line in lines]
        return with_limits(lines, {one.key: one.amount for one in found if one is not None and in_force(one, now)})

    def _controls_at(self, now: float) -> str:
        text, until = self._controls
        return text if now < until else ""

    def _overdue(self, now: float) -> bool:
        return bool(self._expiring) and self._expiring[0][0] <= now

    def _sweep(self, now: float, most: int) -> tuple[Abandoned, ...]:
        """Charge leases that have expired, oldest first."""
        found: list[Abandoned] = []
        while self._overdue(now) and len(found) < most:
            lease = self._leases.pop(heappop(self._expiring)[1], None)
            if lease is not None:
                found.append(self._abandon(lease, now))
        return tuple(found)

    def _abandon(self, lease: _Lease, now: float) -> Abandoned:
        amounts: dict[str, int] = {}
        for key, bucket, unit, held in lease.grant.placed:
            self._counters[key].settle(bucket, held, held, now)
            if unit:
                amounts[unit] = max(held, amounts.get(unit, 0))
        charged = self._charged
        charged[lease.grant.id] = now
        if len(charged) > _MOST_ENDED:
            charged.popitem(last=False)
        return Abandoned(lease.grant.id, lease.note if isinstance(lease.note, str) else lease.note(), amounts)

    def _forgotten(self, grant: Grant, now: float) -> bool:
        """Whether a reservation ended so long ago that it is not known any more."""
        return grant.id not in self._charged and now - grant.at > self._retention

    def _settle_late(self, grant: Grant, amounts: Mapping[str, int], now: float) -> list[int]:
        """Correct what the expiry charged, or charge what this store has forgotten."""
        if self._charged.pop(grant.id, None) is None:
            return [
                self._counter(key, now).charge(bucket, amounts.get(unit, 0), now)
                for key, bucket, unit, _ in grant.placed
            ]
        return [
            self._counters[key].settle(bucket, 0, amounts.get(unit, 0) - held, now) if key in self._counters else 0
            for key, bucket, unit, held in grant.placed
        ]

    def _total(self, placed: Placed, now: float) -> int:
        counter = self._counters.get(placed.key)
        return counter.total(placed.bucket, now) if counter is not None else 0

    def _roll(self, counter: Counter, window: Window, now: float) -> None:
        if not counter.roll(window, now):
            raise StoreUnavailable(self.url, "the calendar period of a budget was worked out for another time than now")

    def _counter(self, key: str, now: float) -> Counter:
        found = self._counters.get(key)
        if found is None:
            if len(self._counters) >= _MANY_COUNTERS or len(self._counters) >= self._most:
                self._make_room(key, now)
            found = self._counters[key] = Counter()
            # Two checks for each new one: idle counters cannot outnumber those in use, and no call sweeps for long.
            for _ in range(min(2, len(self._idle_checks))):
                self._forget_or_keep(self._idle_checks.popleft(), now)
            self._idle_checks.append(key)
        return found

    def _make_room(self, key: str, now: float) -> None:
        """Say that there are many counters, and refuse one more than there may be."""
        if not self._warned:
            self._warned = True
            _log.warning(
                "costguard: %s counts for %d scopes, such as %s. If one of them is an id of single calls, it is no "
                "scope of a budget; many users take less memory in SQLite or Redis (store=)",
                self.url,
                len(self._counters),
                printable(key, most=200),
            )
        checked = 0
        while len(self._counters) >= self._most:
            if checked == min(_CHECKED_WHEN_FULL, len(self._idle_checks)):
                raise StoreUnavailable(
                    self.url,
                    f"it counts for {len(self._counters):,} scopes, the most that it may: is one of them an id of "
                    "single calls? Many users belong in SQLite or Redis, with store=",
                )
            self._forget_or_keep(self._idle_checks.popleft(), now)
            checked += 1

    def _forget_or_keep(self, key: str, now: float) -> None:
        if self._counters[key].idle(now):
            del self._counters[key]
        else:
            self._idle_checks.append(key)

    def _gate(self, gate: Gate) -> GateCounter:
        found = self._gates.get(gate.key)
        if found is None:
            if len(self._gates) >= self._gates_checked_at:
                now = self.now()
                self._gates = {key: old for key, old in self._gates.items() if not old.idle(now)}
                self._gates_checked_at = max(1024, 2 * len(self._gates))
            found = self._gates[gate.key] = GateCounter()
        return found

    def _probe(self, gates: Sequence[Gate], id: str, now: float) -> tuple[str, ...]:
        probing = []
        for gate in gates:
            found = self._gate(gate)
            if found.record.until:
                found.record = start_probe(found.record, gate, now, id)
                probing.append(gate.key)
        return tuple(probing)

    def _pass_gates(self, gates: Sequence[Gate], id: str, spent: int, now: float) -> tuple[str, ...]:
        opened_now = []
        for gate in gates:
            found = self._gate(gate)
            before = found.record
            rate = found.rate(gate, now, spent)
            found.record = after_settle(before, gate, now, id, spent=spent, rate=rate)
            if has_opened(before, found.record):
                opened_now.append(gate.key)
        return tuple(opened_now)


class _Lease(NamedTuple):
    expires: float
    grant: Grant
    note: str | Callable[[], str]
