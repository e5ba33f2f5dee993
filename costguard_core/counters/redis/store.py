"""Counters in Redis, shared by processes and hosts: one script call to reserve, one to settle, in the server's time.

Works on Redis >= 6.2 and on Redis Cluster: every key carries the same hash tag, so all counters of one prefix live on
one shard, which is what makes a step over several of them atomic. Amounts are exact up to 2^53 - 1 ($9.0 million per
counter).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from costguard_core.counters.base import Denial, Gate, GateState, Grant, Line, Reading, Settlement
from costguard_core.counters.redis import protocol as words
from costguard_core.counters.redis.clients import open_async_client, open_client, require_redis, without_options
from costguard_core.counters.redis.connection import AsyncLink, Health, Link
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.util.urls import printable, split

_OPTIONS = ("prefix", "timeout")
# A reservation that reaches the server this many timeouts after it was sent has nobody waiting for it.
_STALE = 5
# How often a reservation is sent again because it came too late, which also corrects our idea of the server's time.
_TRIES = 3


def open_redis(url: str) -> RedisStore:
    """The store for a ``redis://`` or ``rediss://`` URL.

    Options in the query: ``prefix`` (default ``costguard``) and ``timeout`` in seconds (0.05). The rest of the URL is
    redis-py's.

    Raises:
        ConfigurationError: an option that cannot be used.
        MissingExtraError: redis-py is not installed.
    """
    options = dict(parse_qsl(split(url).query))
    timeout = _number(options, "timeout", "0.05")
    return RedisStore(without_options(url, _OPTIONS), prefix=options.get("prefix", "costguard"), timeout=timeout)


def _number(options: Mapping[str, str], name: str, default: str) -> float:
    try:
        return float(options.get(name, default))
    except ValueError:
        raise ConfigurationError(f"{name}= in a Redis URL is a number, not {options[name]!r}") from None


class RedisStore:
    """Counters in Redis; safe for threads, event loops, forks and other hosts at once.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, or ``rediss://`` for TLS.
        prefix: namespace of all keys; stores with one prefix share their counters.
        timeout: seconds that Redis has to accept a connection, and a little more than half of what it has to decide.
            Waiting for a turn in this process, while the server answers others, does not count.
        client, async_client: ready-made redis-py clients to use instead of the URL (such as ``RedisCluster``); their
            timeouts and retries are then theirs.
        monotonic: the local clock, in seconds.

    After a failure callers are refused without asking for a moment (0.1 to 1 s); recovery needs nobody.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "costguard",
        timeout: float = 0.05,
        client: Any = None,
        async_client: Any = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        require_redis()
        self.url = printable(url)
        self._timeout = timeout
        self._names = words.Names(prefix)
        self._clock = _ServerClock(monotonic)
        health = Health(self.url, monotonic=monotonic)
        self._link = Link(health, client if client is not None else open_client(url, timeout))
        self._alink = AsyncLink(
            health, timeout, (lambda: open_async_client(url)) if async_client is None else lambda: async_client
        )
        self._background: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Unix seconds by the server's clock as its replies have shown it; before the first, by the local one."""
        return self._clock.now()

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        call = words.reservation(self._names, id, lines, gates, lease=lease, note=note, deadline=self._deadline)
        for _ in range(_TRIES):
            answer = self._decision(self._run(call), lines, gates)
            if answer is not None:
                return answer
        raise self._starved()

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return words.settlement(self._run(words.ending(self._names, grant, amounts, gates)), gates)

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        return words.readings(self._run(words.look(self._names, lines)))

    def read_gate(self, gate: Gate) -> GateState:
        return words.gate_state(self._run(words.look_at_gate(self._names, gate)))

    def trip(self, reason: str) -> None:
        self._link.call("SET", self._names.trip, reason)

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        self._run(words.Call(words.RESET, [self._names.trip, self._names.open_gates], []))

    def tripped(self) -> str | None:
        reason = words.as_bytes(self._link.call("GET", self._names.trip))
        return None if reason is None else reason.decode()

    def claim(self, name: str, ttl: float) -> bool:
        return bool(self._link.call(*self._claim(name, ttl)))

    def scopes(self, prefix: str) -> list[str]:
        now, cursor = self.now(), 0
        found: set[str] = set()
        pattern = words.beginning_with(prefix)
        while True:
            cursor, page = self._link.call("ZSCAN", self._names.scopes, cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(words.as_bytes(key).decode() for key, until in page if float(until) > now)
            if not int(cursor):
                return sorted(found)

    def close(self) -> None:
        self._link.close()

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        """As :meth:`reserve`. A caller that is cancelled leaves nothing behind: what it was granted is released."""
        task = asyncio.ensure_future(self._areserve(id, lines, gates, lease, note))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._at_leisure(self._take_back(task, gates))
            raise

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        """As :meth:`settle`. Goes through even if its caller is cancelled."""
        task = asyncio.ensure_future(self._arun(words.ending(self._names, grant, amounts, gates)))
        try:
            return words.settlement(await asyncio.shield(task), gates)
        except asyncio.CancelledError:
            await self._at_leisure(_quietly(task))
            raise

    async def aclaim(self, name: str, ttl: float) -> bool:
        """As :meth:`claim`."""
        return bool(await self._alink.call(*self._claim(name, ttl)))

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of threads."""
        await self._alink.close()
        self.close()

    async def _areserve(
        self, id: str, lines: Sequence[Line], gates: Sequence[Gate], lease: float, note: str
    ) -> Grant | Denial:
        call = words.reservation(self._names, id, lines, gates, lease=lease, note=note, deadline=self._deadline)
        for _ in range(_TRIES):
            answer = self._decision(await self._arun(call), lines, gates)
            if answer is not None:
                return answer
        raise self._starved()

    async def _take_back(self, reserving: asyncio.Task[Grant | Denial], gates: Sequence[Gate]) -> None:
        with suppress(StoreUnavailable):
            answer = await reserving
            if isinstance(answer, Grant):
                await self._arun(words.ending(self._names, answer, {}, gates))

    async def _at_leisure(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` to its end, whoever is cancelled; wait for it as long as Redis normally takes."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        await asyncio.wait({task}, timeout=2 * self._timeout)

    def _claim(self, name: str, ttl: float) -> tuple[Any, ...]:
        return ("SET", self._names.claim(name), "1", "NX", "PX", max(1, int(ttl * 1000)))

    def _deadline(self) -> str:
        """Until when a reservation sent now is wanted, in server time; empty while that is unknown."""
        return repr(self.now() + _STALE * self._timeout) if self._clock.set else ""

    def _run(self, call: words.Call) -> Any:
        asked = self._clock.local()
        return self._heard(self._link.run(call.script, *call.words()), asked)

    async def _arun(self, call: words.Call) -> Any:
        asked = self._clock.local()
        return self._heard(await self._alink.run(call.script, *call.words()), asked)

    def _heard(self, reply: Any, asked: float) -> Any:
        reply = words.as_bytes(reply)
        self._clock.heard(float(reply[1]), asked)
        if reply[0] == b"skew":
            raise StoreUnavailable(
                self.url,
                "the budget's calendar period was worked out for another time than that of the server's clock, which "
                "differs from this machine's; the next call uses the server's",
            )
        return reply

    def _decision(self, reply: Any, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant | Denial | None:
        """``None``: the request came too late to be considered."""
        if reply[0] == b"late":
            return None
        return words.grant(reply, lines, gates) if reply[0] == b"grant" else words.denial(reply)

    def _starved(self) -> StoreUnavailable:
        return StoreUnavailable(self.url, f"{_TRIES} requests in a row took longer to reach it than a caller waits")


class _ServerClock:
    """The server's time, as the local monotonic clock plus what its replies have shown the difference to be.

    A reply stamped ``s``, asked for at ``a`` and read at ``r``, proves the difference to lie within [s - r, s - a].
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.local = monotonic
        self.set = False
        self._ahead = time.time() - monotonic()

    def now(self) -> float:
        return self.local() + self._ahead

    def heard(self, server: float, asked: float) -> None:
        least, most = server - self.local(), server - asked
        self._ahead = min(max(self._ahead, least), most)
        self.set = True


async def _quietly(task: asyncio.Task[Any]) -> None:
    with suppress(StoreUnavailable):
        await task
