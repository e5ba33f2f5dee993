"""The exact cache as adapters use it: look up, fly once, save. Nothing here raises because a store failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TypeVar

from costguard_core.cache.answer import Answer, Foreign, document_of, to_bytes
from costguard_core.cache.exact.leases import Leases
from costguard_core.cache.exact.singleflight import Flight, Flights, Owner, State
from costguard_core.cache.exact.stores.base import DECLINED, CacheStore
from costguard_core.cache.hit import Hit
from costguard_core.cache.keys import CacheKey, tags_to_invalidate
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.stats import CacheStats, Tally

T = TypeVar("T")

_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.02, 0.25


class Seat:
    """What one request got from :meth:`AnswerCache.flight`.

    ``hit`` is somebody else's fresh answer, or ``None``: then call the provider and :meth:`save` what it said. A leader
    that leaves without saving lets the next waiter try.
    """

    __slots__ = ("_cache", "_flight", "hit", "key")

    def __init__(
        self, cache: AnswerCache, key: CacheKey, *, flight: Flight | None = None, hit: Hit | None = None
    ) -> None:
        self._cache, self.key, self._flight, self.hit = cache, key, flight, hit

    @property
    def leads(self) -> bool:
        return self._flight is not None

    def save(self, answer: Answer) -> str | None:
        """Store the answer and give it to the waiters. Returns why not, if it may not be stored."""
        reason, data = self._cache._prepare(self.key, answer)
        if data is not None:
            self._cache._put(self.key, data)
        self._land(data)
        return reason

    async def asave(self, answer: Answer) -> str | None:
        """:meth:`save` for an event loop."""
        reason, data = self._cache._prepare(self.key, answer)
        try:
            if data is not None:
                await self._cache._aput(self.key, data)
        finally:
            self._land(data)
        return reason

    def decline(self) -> None:
        """There is an answer that nobody may share: let all waiters go on alone."""
        self._end(State.DECLINED)

    def fail(self) -> None:
        """The call failed or was given up: let the next waiter try. Harmless after :meth:`save`."""
        self._end(State.FAILED)

    def _land(self, data: bytes | None) -> None:
        self._end(State.DECLINED if data is None else State.LANDED, data)

    def _end(self, state: State, data: bytes | None = None) -> None:
        if self._flight is not None:
            self._cache._flights.end(self._flight, state, data)


class AnswerCache:
    """Exact answers behind a policy, over one store, each paid for once.

    ``clock`` is unix seconds; ``rng`` returns floats in [0, 1).
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
        self._flights = Flights(on_end=self._landed)
        self._leases = Leases(store, self._led_alive, ttl=lease_seconds) if store.shared else None
        self._tally = Tally(store.url)

    # Looking up

    def lookup(self, key: CacheKey) -> Hit | None:
        """The stored answer, if there is one and the caller did not ask for a fresh one."""
        return self._counted(self._read(self._get(key)) if key.lookup else None)

    async def alookup(self, key: CacheKey) -> Hit | None:
        """:meth:`lookup` for an event loop."""
        return self._counted(self._read(await self._aget(key)) if key.lookup else None)

    # Paying once

    @contextmanager
    def flight(self, key: CacheKey) -> Iterator[Seat]:
        """After a miss: lead the request, or get the leader's answer. Use as a ``with`` block around the call."""
        seat = self.begin(key, Owner.thread())
        try:
            yield seat
        finally:
            seat.fail()

    @asynccontextmanager
    async def aflight(self, key: CacheKey) -> AsyncIterator[Seat]:
        """:meth:`flight` for an event loop; cancellation and errors let the next waiter try."""
        seat = await self.abegin(key, Owner.task())
        try:
            yield seat
        finally:
            seat.fail()

    def begin(self, key: CacheKey, owner: Owner) -> Seat:
        """:meth:`flight` for callers that cannot use a block: they must end the seat by ``save`` or ``fail``."""
        if not self._flies(key):
            return Seat(self, key)
        boarding = self._flights.board(key.digest, owner, wait=self.policy.wait)
        if boarding.flight is None:
            return self._passenger(key, boarding.result)
        try:
            found = self._clear_to_lead(key)
        except BaseException:
            self._flights.end(boarding.flight, State.FAILED)
            raise
        return self._leader(key, boarding.flight, found)

    async def abegin(self, key: CacheKey, owner: Owner) -> Seat:
        """:meth:`begin` for an event loop."""
        if not self._flies(key):
            return Seat(self, key)
        boarding = await self._flights.aboard(key.digest, owner, wait=self.policy.wait)
        if boarding.flight is None:
            return self._passenger(key, boarding.result)
        try:
            found = await self._aclear_to_lead(key)
        except BaseException:
            self._flights.end(boarding.flight, State.FAILED)
            raise
        return self._leader(key, boarding.flight, found)

    def led(self, key: CacheKey) -> Seat:
        """A seat on the flight under way for ``key``, so that its answer can end it."""
        return Seat(self, key, flight=self._flights.led(key.digest))

    # Keeping

    def save(self, key: CacheKey, answer: Answer) -> str | None:
        """Store an answer and land the flight of its key, if any. Returns why not, if it may not be stored."""
        return self.led(key).save(answer)

    async def asave(self, key: CacheKey, answer: Answer) -> str | None:
        """:meth:`save` for an event loop."""
        return await self.led(key).asave(answer)

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
        self._tally.declined(reason)

    def stats(self) -> CacheStats:
        """What happened so far."""
        return self._tally.stats()

    # Inside

    def _flies(self, key: CacheKey) -> bool:
        return key.lookup and self.policy.wait > 0

    def _passenger(self, key: CacheKey, result: bytes | None) -> Seat:
        hit = self._read(result)
        return Seat(self, key, hit=self._coalesced(hit))

    def _leader(self, key: CacheKey, flight: Flight, found: bytes | None) -> Seat:
        hit = self._read(found)
        if hit is None:
            return Seat(self, key, flight=flight)
        self._flights.end(flight, State.LANDED, found)
        return Seat(self, key, hit=self._coalesced(hit))

    def _clear_to_lead(self, key: CacheKey) -> bytes | None:
        """Wait for other processes. Returns the answer that one of them (or an earlier leader) has stored meanwhile."""
        for pause in self._looks():
            taken = self._guarded(self._leases.acquire, key.digest) if self._leases else True
            if (found := self._get(key)) is not None or taken in (True, None, DECLINED):
                return found
            time.sleep(pause)
        return None

    async def _aclear_to_lead(self, key: CacheKey) -> bytes | None:
        for pause in self._looks():
            taken: bool | str | None = True
            if self._leases:
                try:
                    taken = await self._leases.aacquire(key.digest)
                except Exception as error:
                    self._tally.failed("lease", error)
                    return await self._aget(key)
            if (found := await self._aget(key)) is not None or taken in (True, None, DECLINED):
                return found
            await asyncio.sleep(pause)
        return None

    def _looks(self) -> Iterator[float]:
        deadline, pause = time.monotonic() + self.policy.wait, _FIRST_LOOK_SECONDS
        while time.monotonic() < deadline:
            yield pause
            pause = min(2 * pause, _LAST_LOOK_SECONDS)

    def _landed(self, flight: Flight) -> None:
        if self._leases:
            self._leases.release(flight.key, declined=flight.state is State.DECLINED)

    def _led_alive(self, key: str) -> bool:
        flight = self._flights.led(key)
        return flight is not None and flight.owner.alive()

    def _get(self, key: CacheKey) -> bytes | None:
        return self._guarded(self.store.get, key.digest)

    async def _aget(self, key: CacheKey) -> bytes | None:
        try:
            return await self.store.aget(key.digest)
        except Exception as error:
            self._tally.failed("lookup", error)
            return None

    def _prepare(self, key: CacheKey, answer: Answer) -> tuple[str | None, bytes | None]:
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
        self.decline(reason)
        return reason, None

    def _put(self, key: CacheKey, data: bytes) -> None:
        try:
            self.store.put(key.digest, data, tags=key.tags, ttl=self._jittered(key.ttl))
        except Exception as error:
            self._tally.failed("update", error)
        else:
            self._tally.stored()

    async def _aput(self, key: CacheKey, data: bytes) -> None:
        try:
            await self.store.aput(key.digest, data, tags=key.tags, ttl=self._jittered(key.ttl))
        except Exception as error:
            self._tally.failed("update", error)
        else:
            self._tally.stored()

    def _jittered(self, ttl: float | None) -> float | None:
        return None if ttl is None else ttl * (1 + self.policy.ttl_jitter * (2 * self._rng() - 1))

    def _read(self, data: bytes | None) -> Hit | None:
        if data is None:
            return None
        try:
            return Hit(document_of(data))
        except Foreign as error:
            self._tally.foreign(error)
            return None

    def _counted(self, hit: Hit | None) -> Hit | None:
        self._tally.looked_up(hit)
        return hit

    def _coalesced(self, hit: Hit | None) -> Hit | None:
        if hit is None:
            return None
        self._tally.coalesced(hit)
        return hit._replace(coalesced=True)

    def _guarded(self, run: Callable[[str], T], key: str) -> T | None:
        try:
            return run(key)
        except Exception as error:
            self._tally.failed("lookup", error)
            return None
