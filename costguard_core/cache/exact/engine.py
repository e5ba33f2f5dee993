"""The exact cache as adapters use it: look up, join, save. Nothing here raises because a store failed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from threading import Lock, get_ident

from costguard_core.cache.answer import Answer, ExactHit, UnreadableAnswer, document_of, to_bytes
from costguard_core.cache.exact.leases import Leases
from costguard_core.cache.exact.singleflight import Flight, FlightState, Owner, SingleFlight
from costguard_core.cache.exact.stores.base import DECLINED, CacheStore
from costguard_core.cache.keys import CacheKey, tags_to_invalidate
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.stats import CacheStats
from costguard_core.types import Outcome
from costguard_core.util.forks import renew_locks

_log = logging.getLogger("costguard.cache")
_LOG_EVERY_SECONDS = 60.0  # a broken store cannot flood the log

# Seconds between two looks at a flight that another process leads: the first pause, doubled up to the last.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.25


@dataclass(slots=True, eq=False)
class FlightHandle:
    """What one request got from joining the identical requests under way.

    A leader that ends without saving lets the next waiter try.

    Attributes:
        cache, key: whose answer it is about.
        flight: the flight that this request leads; ``None``: it goes alone.
        cached: somebody else's fresh answer, or ``None``: then call the provider and :meth:`save` its answer.
    """

    cache: AnswerCache
    key: CacheKey
    flight: Flight | None = None
    cached: ExactHit | None = None

    @property
    def leads(self) -> bool:
        """Whether others wait for this request."""
        return self.flight is not None

    def save(self, answer: Answer) -> str | None:
        """Store the answer and give it to the waiters. Returns why not, if it may not be stored."""
        reason, data = self.cache._encoded(self.key, answer)
        if data is not None:
            self.cache._put(self.key, data)
        if self.flight is not None:
            state = FlightState.DECLINED if data is None else FlightState.ANSWERED
            self.cache._flights.end(self.flight, state, data)
        return reason

    async def asave(self, answer: Answer) -> str | None:
        """:meth:`save` for an event loop."""
        reason, data = self.cache._encoded(self.key, answer)
        try:
            if data is not None:
                await self.cache._aput(self.key, data)
        finally:
            self._end(FlightState.DECLINED if data is None else FlightState.ANSWERED, data)
        return reason

    def decline(self) -> None:
        """There is an answer that nobody may share: let all waiters go on alone."""
        self._end(FlightState.DECLINED)

    def fail(self, *, abandoned: bool = False) -> None:
        """The call failed or was given up: let the next waiter try. Harmless after :meth:`save`.

        ``abandoned`` is for code that may run inside the garbage collector: it takes no lock, waiters notice by
        themselves.
        """
        if not abandoned:
            self._end(FlightState.FAILED)
        elif self.flight is not None:
            self.flight.abandoned = True

    def _end(self, state: FlightState, data: bytes | None = None) -> None:
        if self.flight is not None:
            self.cache._flights.end(self.flight, state, data)


class AnswerCache:
    """Exact answers behind a policy, over one store, each paid for once.

    Args:
        store: where they are kept.
        policy: what may be stored, and for how long.
        clock: unix seconds.
        rng: floats in [0, 1), for the jitter of expiry times.
        lease_seconds: how long other processes wait for a leader that has died.
    """

    def __init__(
        self,
        store: CacheStore,
        policy: CachePolicy | None = None,
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        lease_seconds: float = 5.0,
    ) -> None:
        self.store = store
        self.policy = policy or CachePolicy()
        self._clock, self._rng = clock, rng
        self._leases = Leases(store, self._is_led, ttl=lease_seconds) if store.shared else None
        self._flights = SingleFlight(on_end=self._flight_ended if self._leases else None)
        self._stats = StatsCounter(store.url)

    # Looking up

    def lookup(self, key: CacheKey) -> ExactHit | None:
        """The stored answer, if there is one and the caller did not ask for a fresh one."""
        data = None
        try:
            if key.lookup:
                data = self.store.get(key.digest)
        except Exception as error:
            self._stats.failed("lookup", error)
        cached = None if data is None else self._read(data)
        self._stats.looked_up(cached)
        return cached

    async def alookup(self, key: CacheKey) -> ExactHit | None:
        """:meth:`lookup` for an event loop."""
        data = await self._aget(key) if key.lookup else None
        cached = None if data is None else self._read(data)
        self._stats.looked_up(cached)
        return cached

    # Paying once

    def join(self, key: CacheKey, owner: Owner | None = None) -> FlightHandle:
        """After a miss: lead the identical requests, or wait for the answer of the one that does.

        The handle must be ended by ``save``, ``decline``, ``fail`` or ``abandon``. ``owner`` is this thread by default.
        """
        if not key.lookup or self.policy.wait <= 0:
            return FlightHandle(self, key)
        joined = self._flights.join(key.digest, owner or Owner(get_ident()), wait=self.policy.wait)
        if joined.flight is None:
            return FlightHandle(self, key, cached=self._coalesced(joined.result))
        try:
            found = self._clear_to_lead(key) if self._leases else self._get(key)
        except BaseException:
            self._flights.end(joined.flight, FlightState.FAILED)
            raise
        return FlightHandle(self, key, joined.flight) if found is None else self._answered(key, joined.flight, found)

    async def ajoin(self, key: CacheKey, owner: Owner | None = None) -> FlightHandle:
        """:meth:`join` for an event loop. ``owner`` is this task by default."""
        if not key.lookup or self.policy.wait <= 0:
            return FlightHandle(self, key)
        joined = await self._flights.ajoin(key.digest, owner or Owner.task(), wait=self.policy.wait)
        if joined.flight is None:
            return FlightHandle(self, key, cached=self._coalesced(joined.result))
        try:
            found = await self._aclear_to_lead(key) if self._leases else await self._aget(key)
        except BaseException:
            self._flights.end(joined.flight, FlightState.FAILED)
            raise
        return FlightHandle(self, key, joined.flight) if found is None else self._answered(key, joined.flight, found)

    @contextmanager
    def flight(self, key: CacheKey) -> Iterator[FlightHandle]:
        """:meth:`join` as a ``with`` block around the call, which ends the flight."""
        handle = self.join(key)
        try:
            yield handle
        finally:
            handle.fail()

    @asynccontextmanager
    async def aflight(self, key: CacheKey) -> AsyncIterator[FlightHandle]:
        """:meth:`flight` for an event loop; cancellation and errors let the next waiter try."""
        handle = await self.ajoin(key)
        try:
            yield handle
        finally:
            handle.fail()

    def attach(self, key: CacheKey) -> FlightHandle:
        """A handle on the flight under way for ``key``, so that its answer can end it."""
        return FlightHandle(self, key, flight=self._flights.find(key.digest))

    # Keeping

    def save(self, key: CacheKey, answer: Answer) -> str | None:
        """Store an answer and end the flight of its key, if any. Returns why not, if it may not be stored."""
        return self.attach(key).save(answer)

    async def asave(self, key: CacheKey, answer: Answer) -> str | None:
        """:meth:`save` for an event loop."""
        return await self.attach(key).asave(answer)

    def invalidate(self, **tags: str) -> int:
        """Delete the entries with all tags: ``model``, ``endpoint``, ``document``, ``template``, ``user``, ``tenant``.

        Raises:
            ConfigurationError: no tag given (use :meth:`clear`), or a name that is no tag.
            Exception: whatever the store raises: who invalidates must know that it did not happen.
        """
        return self.store.invalidate(tags_to_invalidate(tags))

    async def ainvalidate(self, **tags: str) -> int:
        """:meth:`invalidate` for an event loop."""
        return await self.store.ainvalidate(tags_to_invalidate(tags))

    def clear(self) -> None:
        """Delete every entry of this namespace, and nothing else. Raises what the store raises."""
        self.store.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        await self.store.aclear()

    def decline(self, reason: str) -> None:
        """Count a request that may not use the cache."""
        self._stats.declined(reason)

    def stats(self) -> CacheStats:
        """Counts since the cache was made."""
        return self._stats.stats()

    # Inside

    def _answered(self, key: CacheKey, flight: Flight, found: bytes) -> FlightHandle:
        """What a leader gets when an earlier one has stored its answer since the lookup."""
        cached = self._coalesced(found)
        if cached is None:
            return FlightHandle(self, key, flight)
        self._flights.end(flight, FlightState.ANSWERED, found)
        return FlightHandle(self, key, cached=cached)

    def _clear_to_lead(self, key: CacheKey) -> bytes | None:
        """Wait for other processes. Returns the answer that one of them (or an earlier leader) has stored meanwhile."""
        assert self._leases is not None
        for pause in self._pauses():
            try:
                taken: bool | str = self._leases.acquire(key.digest)
            except Exception as error:
                self._stats.failed("lease", error)
                return self._get(key)
            if (found := self._get(key)) is not None or taken in (True, DECLINED):
                return found
            time.sleep(pause)
        return None

    async def _aclear_to_lead(self, key: CacheKey) -> bytes | None:
        assert self._leases is not None
        for pause in self._pauses():
            try:
                taken: bool | str = await self._leases.aacquire(key.digest)
            except Exception as error:
                self._stats.failed("lease", error)
                return await self._aget(key)
            if (found := await self._aget(key)) is not None or taken in (True, DECLINED):
                return found
            await asyncio.sleep(pause)
        return None

    def _pauses(self) -> Iterator[float]:
        deadline, pause = time.monotonic() + self.policy.wait, _FIRST_PAUSE_SECONDS
        while time.monotonic() < deadline:
            yield pause
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _flight_ended(self, flight: Flight) -> None:
        assert self._leases is not None
        self._leases.release(flight.key, declined=flight.state is FlightState.DECLINED)

    def _is_led(self, key: str) -> bool:
        flight = self._flights.find(key)
        return flight is not None and flight.led()

    def _get(self, key: CacheKey) -> bytes | None:
        try:
            return self.store.get(key.digest)
        except Exception as error:
            self._stats.failed("lookup", error)
            return None

    async def _aget(self, key: CacheKey) -> bytes | None:
        try:
            return await self.store.aget(key.digest)
        except Exception as error:
            self._stats.failed("lookup", error)
            return None

    def _encoded(self, key: CacheKey, answer: Answer) -> tuple[str | None, bytes | None]:
        data, reason = None, None
        try:
            data = to_bytes(answer if answer.created else replace(answer, created=self._clock()))
        except (TypeError, ValueError):
            reason = "the answer is not JSON"
        if data is not None:
            expired = key.ttl is not None and key.ttl <= 0
            reason = "ttl" if expired else self.policy.rejects(answer, choices=key.choices, size=len(data))
        if reason is None:
            return None, data
        self._stats.declined(reason)
        return reason, None

    def _put(self, key: CacheKey, data: bytes) -> None:
        ttl = None if key.ttl is None else self._jittered(key.ttl)
        try:
            self.store.put(key.digest, data, tags=key.tags, ttl=ttl)
        except Exception as error:
            self._stats.failed("update", error)
        else:
            self._stats.stored()

    async def _aput(self, key: CacheKey, data: bytes) -> None:
        ttl = None if key.ttl is None else self._jittered(key.ttl)
        try:
            await self.store.aput(key.digest, data, tags=key.tags, ttl=ttl)
        except Exception as error:
            self._stats.failed("update", error)
        else:
            self._stats.stored()

    def _jittered(self, ttl: float) -> float:
        return ttl * (1 + self.policy.ttl_jitter * (2 * self._rng() - 1))

    def _read(self, data: bytes) -> ExactHit | None:
        try:
            document = document_of(data)
            return ExactHit(document, document["p"], document["c"])
        except UnreadableAnswer as error:
            self._stats.unreadable(error)
            return None

    def _coalesced(self, data: bytes | None) -> ExactHit | None:
        """The answer of an identical request that was under way when this one was looked up."""
        cached = None if data is None else self._read(data)
        if cached is None:
            return None
        self._stats.coalesced(cached)
        return cached._replace(outcome=Outcome.COALESCED)


class StatsCounter:
    """Counts of one cache, safe for threads. ``name`` is what the log calls the cache."""

    def __init__(self, name: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name, self._monotonic = name, monotonic
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._hits = self._misses = self._coalesced = self._stored = 0
        self._errors = self._unreadable = self._saved = 0
        self._declined: Counter[str] = Counter()
        self._next_log = float("-inf")

    def looked_up(self, cached: ExactHit | None) -> None:
        with self._lock:
            if cached is None:
                self._misses += 1
            else:
                self._hits += 1
                self._saved += cached.cost or 0

    def coalesced(self, cached: ExactHit) -> None:
        """The miss that was counted before joining has become a hit."""
        with self._lock:
            self._misses -= 1
            self._coalesced += 1
            self._saved += cached.cost or 0

    def stored(self) -> None:
        with self._lock:
            self._stored += 1

    def declined(self, reason: str) -> None:
        with self._lock:
            self._declined[reason] += 1

    def failed(self, what: str, error: Exception) -> None:
        with self._lock:
            self._errors += 1
        self._warn(f"{what} failed; the answer is unaffected", error)

    def unreadable(self, error: Exception) -> None:
        with self._lock:
            self._unreadable += 1
        self._warn("ignored a stored value that is not an answer of this release", error)

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                coalesced=self._coalesced,
                stored=self._stored,
                errors=self._errors,
                foreign=self._unreadable,
                saved=self._saved,
                declined=dict(self._declined),
            )

    def _warn(self, text: str, error: Exception) -> None:
        now = self._monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_EVERY_SECONDS
            # The class only: messages of drivers may quote keys or URLs with passwords.
            _log.warning("cache %s: %s (%s)", self._name, text, type(error).__name__)
