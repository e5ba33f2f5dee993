"""Counters in Redis, shared by processes and hosts: one script call to reserve, one to settle, in the server's time.

Works on Redis >= 6.2, behind Redis Sentinel and on Redis Cluster: every key carries the same hash tag, so all counters
of one prefix live on one shard, which is what makes a step over several of them atomic. Amounts are exact up to
2^53 - 1 ($9.0 million per counter).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import parse_qsl

from costguard_core.counters.base import (
    MOST_GRANTED,
    Denial,
    Gate,
    GateState,
    Grant,
    GrantedLimit,
    Line,
    Reading,
    Settlement,
)
from costguard_core.counters.granted import by_name, check_room, in_force, read_granted
from costguard_core.counters.redis import protocol
from costguard_core.counters.redis.connection import AsyncClient, AsyncSender, Client, Health, Reply, Sender, Word
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.util.redis_address import RedisUrl, Target, without_options
from costguard_core.util.redis_clients import open_async_client, open_client, require_redis
from costguard_core.util.urls import printable, split, timeout_seconds

logger = logging.getLogger("costguard")

_OPTIONS = ("prefix", "timeout", "allow_eviction")
# A reservation that reaches the server this many timeouts after it was sent has nobody waiting for it.
_STALE = 5
# How often a reservation is sent again because it came too late, which also corrects our idea of the server's time.
_TRIES = 3
# Reservations whose fate is not known, the newest, and how many of them a call ends before it makes its own. Those that
# are not ended are charged when their lease ends.
_MOST_UNANSWERED, _GIVEN_BACK_AT_ONCE = 10_000, 5
# Counters read in one script and names read in one step, while other commands wait. 50 counters with all buckets of a
# sliding window take the server 1.3 ms, 500 names 0.5 ms (Redis 6.2, INFO commandstats).
_READ_AT_ONCE, _LISTED_AT_ONCE = 50, 500
_CONTROLS_KEPT = 60  # seconds for which controls that are over stay in the server: a choice
# Seconds until the eviction policy of a server is looked at again: a choice, a minute where it was fine.
_POLICY_FINE, _POLICY_REFUSED = 60.0, 1.0


def open_redis(url: str) -> RedisStore:
    """The store for a ``redis://``, ``redis+sentinel://`` or ``redis+cluster://`` URL (``rediss`` for TLS).

    Options in the query: ``prefix`` (default ``costguard``), ``timeout`` in seconds (0.05) and ``allow_eviction``
    (``true`` or ``false``). The rest of the URL is redis-py's.

    Raises:
        ConfigurationError: an option that cannot be used.
        MissingExtraError: redis-py is not installed.
    """
    options = dict(parse_qsl(split(url).query))
    return RedisStore(
        without_options(url, _OPTIONS),
        prefix=options.get("prefix", "costguard"),
        timeout=timeout_seconds(options.get("timeout", "0.05"), "in a Redis URL"),
        allow_eviction=_flag(options.get("allow_eviction", "false")),
    )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ConfigurationError(f"allow_eviction= in a Redis URL is true or false, not {text!r}")
    return text.lower() == "true"


class RedisStore:
    """Counters in Redis; safe for threads, event loops, forks and other hosts at once.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``redis+sentinel://[user:password@]host:port,host:port/name``
            or ``redis+cluster://[user:password@]host:port,host:port``; ``rediss…`` for TLS. Sentinels know the server
            by its ``name``; their own credentials are the options ``sentinel_username`` and ``sentinel_password``, and
            ``sentinel_tls=false`` says that they, unlike the server, do not speak TLS.
        prefix: namespace of all keys; stores with one prefix share their counters.
        timeout: seconds that Redis has to accept a connection, and a little more than half of what it has for each
            reply. Waiting for a turn in this process, while the server answers others, does not count.
        allow_eviction: accept a server that deletes counters when its memory is full (any ``maxmemory-policy`` but
            ``noeviction``), which starts spent budgets anew.
        client, async_client: ready-made redis-py clients to use instead of the URL; their timeouts, retries and
            reconnections are then theirs.
        monotonic: the local clock, in seconds.

    After a failure callers are refused without asking for a moment (0.1 to 1 s); recovery needs nobody.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "costguard",
        timeout: float = 0.05,
        allow_eviction: bool = False,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        require_redis("the Redis store")
        self.url = printable(url)
        self._timeout = timeout
        self._keys = protocol.Keys(prefix)
        self._clock = _ServerClock(monotonic)
        self._policy = None if allow_eviction else _PolicyCheck(self.url, monotonic)
        self._epoch: bytes | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._unanswered: deque[str] = deque(maxlen=_MOST_UNANSWERED)
        where = RedisUrl.read(url)
        target = Target(where)
        sync_target, async_target = (target if client is None else None), (target if async_client is None else None)
        health = Health(self.url, target, monotonic=monotonic)
        self._sender = Sender(health, sync_target, lambda: client or open_client(where, target, timeout))
        self._async_sender = AsyncSender(
            health,
            async_target,
            timeout,
            lambda: async_client or open_async_client(where, target, None, sentinel_timeout=timeout),
        )

    def now(self) -> float:
        """Unix seconds by the server's clock as its replies have shown it; before the first, by the local one."""
        return self._clock.now()

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        self._give_back()
        call = protocol.reserve_call(self._keys, id, lines, gates, lease=lease, note=note, deadline=self._deadline)
        with self._remembering(id):
            for _ in range(_TRIES):
                answer = self._decision(self._run(call), lines, gates)
                if answer is not None:
                    return answer
        raise self._too_slow()

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return protocol.settlement(self._run(protocol.settle_call(self._keys, grant, amounts, gates)), gates)

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        """As the protocol says, but atomic for fifty counters at a time only: others wait while a script runs."""
        self._give_back()  # or what nobody waits for would be shown as held until the next call
        pages = [lines[at : at + _READ_AT_ONCE] for at in range(0, len(lines), _READ_AT_ONCE)] or [lines]
        return [
            reading for page in pages for reading in protocol.readings(self._run(protocol.read_call(self._keys, page)))
        ]

    def read_gate(self, gate: Gate) -> GateState:
        return protocol.gate_state(self._run(protocol.read_gate_call(self._keys, gate)))

    def trip(self, reason: str) -> None:
        self._sender.send("SET", self._keys.trip, reason)

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them, some at a time: calls wait."""
        while protocol.gates_closed(self._run(protocol.reset_call(self._keys))):
            pass

    def tripped(self) -> str | None:
        reason = protocol.as_bytes(self._sender.send("GET", self._keys.trip))
        return None if reason is None else str(reason.decode())

    def grant_limit(self, granted: GrantedLimit) -> GrantedLimit | None:
        call = protocol.grant_limit_call(self._keys, granted)
        reply = self._run(call)
        if reply[0] == b"full":
            self._forget_limits()
            reply = self._run(call)
        if reply[0] == b"full":
            check_room(MOST_GRANTED)
        return protocol.granted_limit(reply)

    def revoke_limit(self, key: str) -> GrantedLimit | None:
        return protocol.granted_limit(self._run(protocol.revoke_limit_call(self._keys, key)))

    def granted_limits(self) -> list[GrantedLimit]:
        now = self.now()
        return by_name(one for one in self._all_granted() if in_force(one, now))

    def put_controls(self, text: str, until: float) -> None:
        if text:
            # The text says itself when it ends, by the server's time; the server forgets it a while later.
            kept = max(1, int(until - self.now())) + _CONTROLS_KEPT
            self._sender.send("SET", self._keys.controls, f"{until:.17g} {text}", "EX", kept)
        else:
            self._sender.send("DEL", self._keys.controls)

    def controls(self) -> str:
        found = protocol.as_bytes(self._sender.send("GET", self._keys.controls))
        until, _, text = (found or b"0").decode().partition(" ")
        return text if self.now() < float(until) else ""

    def claim(self, name: str, ttl: float) -> bool:
        return bool(self._sender.send(*self._claim(name, ttl)))

    def scopes(self, prefix: str, *, limit: int | None = None) -> list[str]:
        now, cursor = self.now(), 0
        found: set[str] = set()
        pattern = protocol.pattern_of(prefix)
        while limit is None or len(found) < limit:
            cursor, page = self._sender.send(
                "ZSCAN", self._keys.scopes, cursor, "MATCH", pattern, "COUNT", _LISTED_AT_ONCE
            )
            found.update(protocol.as_bytes(key).decode() for key, until in page if float(until) > now)
            if not int(cursor):
                break
        return sorted(found)[:limit]

    def close(self) -> None:
        self._sender.close()

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        """As :meth:`reserve`. A caller that is cancelled leaves nothing behind: what it was granted is released."""
        task = asyncio.ensure_future(self._areserve(id, lines, gates, lease, note))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._finish(self._release(task, gates))
            raise

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        """As :meth:`settle`. Goes through even if its caller is cancelled."""
        task = asyncio.ensure_future(self._arun(protocol.settle_call(self._keys, grant, amounts, gates)))
        try:
            return protocol.settlement(await asyncio.shield(task), gates)
        except asyncio.CancelledError:
            await self._finish(_ignoring_failure(task))
            raise

    async def aclaim(self, name: str, ttl: float) -> bool:
        """As :meth:`claim`."""
        return bool(await self._async_sender.send(*self._claim(name, ttl)))

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of threads."""
        await self._async_sender.close()
        self.close()

    def _all_granted(self) -> Iterator[GrantedLimit]:
        cursor: int | None = None
        while cursor != 0:
            cursor, page = self._sender.send("HSCAN", self._keys.granted, cursor or 0, "COUNT", _LISTED_AT_ONCE)
            cursor = int(cursor)
            yield from map(read_granted, protocol.scanned_values(page))

    def _forget_limits(self) -> None:
        now = self.now()
        over = [one.key for one in self._all_granted() if not in_force(one, now)]
        for start in range(0, len(over), _LISTED_AT_ONCE):
            self._run(protocol.forget_limits_call(self._keys, over[start : start + _LISTED_AT_ONCE]))

    async def _areserve(
        self, id: str, lines: Sequence[Line], gates: Sequence[Gate], lease: float, note: str
    ) -> Grant | Denial:
        for lost in self._to_give_back():
            with self._remembering(lost, always=True):
                await self._arun(protocol.give_back_call(self._keys, lost, self.now()))
        call = protocol.reserve_call(self._keys, id, lines, gates, lease=lease, note=note, deadline=self._deadline)
        with self._remembering(id):
            for _ in range(_TRIES):
                answer = self._decision(await self._arun(call), lines, gates)
                if answer is not None:
                    return answer
        raise self._too_slow()

    @contextmanager
    def _remembering(self, id: str, *, always: bool = False) -> Iterator[None]:
        """A reservation whose caller was told that there is no answer may have been made: nobody else would end it."""
        try:
            yield
        except StoreUnavailable as error:
            if always or error.unanswered:
                self._unanswered.append(id)
            raise

    def _give_back(self) -> None:
        for lost in self._to_give_back():
            with self._remembering(lost, always=True):
                self._run(protocol.give_back_call(self._keys, lost, self.now()))

    def _to_give_back(self) -> Iterator[str]:
        """Some of the reservations that nobody knows of."""
        for _ in range(min(len(self._unanswered), _GIVEN_BACK_AT_ONCE)):
            with suppress(IndexError):  # others took the last one
                yield self._unanswered.popleft()

    async def _release(self, reserving: asyncio.Task[Grant | Denial], gates: Sequence[Gate]) -> None:
        with suppress(StoreUnavailable):
            answer = await reserving
            if isinstance(answer, Grant):
                await self._arun(protocol.settle_call(self._keys, answer, {}, gates))

    async def _finish(self, work: Coroutine[None, None, None]) -> None:
        """Run ``work`` to its end, whoever is cancelled; wait for it as long as Redis normally takes."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        await asyncio.wait({task}, timeout=2 * self._timeout)

    def _claim(self, name: str, ttl: float) -> tuple[Word, ...]:
        return ("SET", self._keys.claim(name), "1", "NX", "PX", max(1, int(ttl * 1000)))

    def _deadline(self) -> str:
        """Until when a reservation sent now is wanted, in server time; empty while that is unknown."""
        return repr(self.now() + _STALE * self._timeout) if self._clock.known else ""

    def _run(self, call: protocol.ScriptCall) -> Reply:
        if self._policy is not None and self._policy.due():
            check = protocol.server_call(self._keys)
            self._policy.seen(
                protocol.eviction_policy(protocol.as_bytes(self._sender.run(check.script, *check.words())))
            )
        asked = self._clock.local()
        return self._checked(self._sender.run(call.script, *call.words()), asked)

    async def _arun(self, call: protocol.ScriptCall) -> Reply:
        if self._policy is not None and self._policy.due():
            check = protocol.server_call(self._keys)
            reply = await self._async_sender.run(check.script, *check.words())
            self._policy.seen(protocol.eviction_policy(protocol.as_bytes(reply)))
        asked = self._clock.local()
        return self._checked(await self._async_sender.run(call.script, *call.words()), asked)

    def _checked(self, reply: Reply, asked: float) -> Reply:
        reply = protocol.as_bytes(reply)
        self._clock.observe(float(reply[1]), asked)
        if reply[0] == b"skew":
            raise StoreUnavailable(
                self.url,
                "the budget's calendar period was worked out for another time than that of the server's clock, which "
                "differs from this machine's; the next call uses the server's",
            )
        return reply

    def _decision(self, reply: Reply, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant | Denial | None:
        """``None``: the request came too late to be considered."""
        if reply[0] == b"late":
            return None
        self._notice_restart(reply[2])
        return protocol.grant(reply, lines, gates) if reply[0] == b"grant" else protocol.denial(reply)

    def _notice_restart(self, epoch: bytes) -> None:
        known, self._epoch = self._epoch, epoch
        if known is not None and known != epoch:
            logger.warning(
                "costguard: the counters at %s began anew: the server was restarted without its data, was flushed, or "
                "was replaced by an empty one. What had been spent before is not counted any more. To keep it, let the "
                "server write its data to disk (appendonly yes)",
                self.url,
            )

    def _too_slow(self) -> StoreUnavailable:
        return StoreUnavailable(self.url, f"{_TRIES} requests in a row took longer to reach it than a caller waits")


class _PolicyCheck:
    """Refuses a server that may delete counters: at first, once a minute, and once a second while it is refused."""

    def __init__(self, url: str, monotonic: Callable[[], float]) -> None:
        self._url, self._monotonic = url, monotonic
        self._next = float("-inf")
        self._verified = False
        self._refusal: StoreUnavailable | None = None

    def due(self) -> bool:
        """Whether this caller is to ask the server.

        Raises:
            StoreUnavailable: the server was found wanting a moment ago.
        """
        now = self._monotonic()
        if now >= self._next:
            if self._verified:
                self._next = now + _POLICY_FINE  # one asks, the others go on; before the first answer, everybody asks
            return True
        if self._refusal is not None:
            raise self._refusal
        return False

    def seen(self, policy: str) -> None:
        """The server's answer; empty where it does not tell.

        Raises:
            StoreUnavailable: it deletes keys when its memory is full.
        """
        self._refusal, self._verified = None, policy in ("", "noeviction")
        if self._verified:
            if not policy:
                logger.warning(
                    "costguard: %s does not tell its maxmemory-policy. If it is not noeviction, the server deletes "
                    "counters when its memory is full, and spent budgets start anew",
                    self._url,
                )
            self._next = self._monotonic() + (_POLICY_FINE if policy else float("inf"))
            return
        self._next = self._monotonic() + _POLICY_REFUSED
        self._refusal = StoreUnavailable(
            self._url,
            f"its maxmemory-policy is {policy}: when its memory is full it deletes counters, and spent budgets start "
            "anew. Set maxmemory-policy to noeviction (CONFIG SET maxmemory-policy noeviction), or accept that with "
            "?allow_eviction=true in the store's URL",
        )
        raise self._refusal


class _ServerClock:
    """The server's time, as the local monotonic clock plus what its replies have shown the difference to be.

    A reply stamped ``s``, asked for at ``a`` and read at ``r``, proves the difference to lie within [s - r, s - a].
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.local = monotonic
        self.known = False
        self._ahead = time.time() - monotonic()

    def now(self) -> float:
        return self.local() + self._ahead

    def observe(self, server: float, asked: float) -> None:
        least, most = server - self.local(), server - asked
        self._ahead = min(max(self._ahead, least), most)
        self.known = True


async def _ignoring_failure(task: asyncio.Task[Reply]) -> None:
    with suppress(StoreUnavailable):
        await task
