"""Counters in Redis, shared by processes and hosts: one script call to reserve, one to settle, in the server's time.

Works on Redis >= 6.2 and on Redis Cluster: every key carries the same hash tag, so all counters of one prefix live on one shard,
which is what makes a step over several of them atomic. Amounts are exact up to 2^53 - 1 ($9.0 million per counter), the
largest integer that Redis scripts can count without rounding.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.stores.base import (
    Abandoned,
    CounterStore,
    Denial,
    Gate,
    GateState,
    Grant,
    Line,
    Placed,
    Reading,
    Settlement,
)
from costguard_core.stores.redis_link import (
    PAUSE_AFTER_FAILURE,
    AsyncLink,
    Health,
    Link,
    open_async_client,
    open_client,
    printable,
    require_redis,
    without_options,
)

LARGEST = 2**53 - 1
_SETTLED_REMEMBERED = 3600
_CHARGED_REMEMBERED = 86_400
_OPTIONS = ("prefix", "timeout", "slice_calls")


def open_redis(url: str) -> CounterStore:
    """The store for a ``redis://`` or ``rediss://`` URL.

    Options in the query: ``prefix`` (default ``costguard``), ``timeout`` in seconds (0.05) and ``slice_calls``, which
    reserves that many calls' worth at a time (see :class:`~costguard_core.stores.slices.SlicedStore`). The rest of the URL is
    redis-py's.

    Raises:
        ConfigurationError: an option that cannot be used.
        MissingExtraError: redis-py is not installed.
    """
    options = dict(parse_qsl(urlsplit(url).query))
    timeout, calls = _number(options, "timeout", "0.05"), int(_number(options, "slice_calls", "0"))
    store = RedisStore(without_options(url, _OPTIONS), prefix=options.get("prefix", "costguard"), timeout=timeout)
    if not calls:
        return store
    from costguard_core.stores.slices import SlicedStore

    return SlicedStore(store, calls=calls)


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
        timeout: seconds that Redis has for a connection and for a reply. Waiting for a turn in this process, while the server
            answers others, does not count.
        client, async_client: ready-made redis-py clients to use instead of the URL (such as ``RedisCluster``); their
            timeouts and retries are then theirs.
        monotonic: the local clock, in seconds.

    After a failure callers are refused without asking for half a second; recovery needs nobody.
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
        self._names = _Names(prefix)
        self._clock = _ServerClock(monotonic)
        health = Health(self.url, pause=PAUSE_AFTER_FAILURE, monotonic=monotonic)
        self._link = Link(health, client if client is not None else open_client(url, timeout))
        self._alink = AsyncLink(
            health, timeout, (lambda: open_async_client(url)) if async_client is None else lambda: async_client
        )
        self._background: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Unix seconds by the server's clock, as far as its replies have told; the local clock before the first reply."""
        return self._clock.now()

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        call = self._reservation(id, lines, gates, lease, note)
        reply = self._run(call)
        if reply[0] == b"late":  # our idea of the server's time was wrong; its reply has corrected it
            reply = self._run(call)
        return self._decision(reply, lines, gates)

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        return _settlement(self._run(self._ending(grant, amounts, gates)), gates)

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        windows = json.dumps([_window(line) for line in lines])
        reply = self._run(_Call(READ, [self._names.counter(line.key) for line in lines], [windows]))
        self._expect(reply, b"readings")
        return [Reading(int(settled), int(held), float(frees) if frees else None) for settled, held, frees in reply[2]]

    def read_gate(self, gate: Gate) -> GateState:
        _, _, state, until, rate = self._run(_Call(READ_GATE, [self._names.gate(gate.key)], [repr(gate.width)]))
        return GateState(state.decode(), float(until) if until else None, int(rate))

    def trip(self, reason: str) -> None:
        self._link.call("SET", self._names.trip, reason)

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        self._run(_Call(RESET, [self._names.trip, self._names.open_gates], []))

    def tripped(self) -> str | None:
        reason = _bytes(self._link.call("GET", self._names.trip))
        return None if reason is None else reason.decode()

    def claim(self, name: str, ttl: float) -> bool:
        return bool(self._link.call(*self._claim(name, ttl)))

    def scopes(self, prefix: str) -> list[str]:
        now = self.now()
        found, cursor = set(), b"0"
        while True:
            cursor, pairs = self._link.call("ZSCAN", self._names.scopes, cursor, "MATCH", _glob(prefix), "COUNT", 1000)
            found.update(_bytes(key).decode() for key, until in _pairs(pairs) if float(until) > now)
            if int(cursor) == 0:
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
            await self._at_leisure(self._take_back(task))
            raise

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        """As :meth:`settle`. Goes through even if its caller is cancelled."""
        task = asyncio.ensure_future(self._arun(self._ending(grant, amounts, gates)))
        try:
            return _settlement(await asyncio.shield(task), gates)
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
        call = self._reservation(id, lines, gates, lease, note)
        reply = await self._arun(call)
        if reply[0] == b"late":
            reply = await self._arun(call)
        return self._decision(reply, lines, gates)

    async def _take_back(self, reserving: asyncio.Task[Grant | Denial]) -> None:
        with suppress(StoreUnavailable):
            answer = await reserving
            if isinstance(answer, Grant):
                await self._arun(self._ending(answer, {}, ()))

    async def _at_leisure(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` to its end, whoever is cancelled; wait for it as long as Redis normally takes."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        await asyncio.wait({task}, timeout=2 * self._timeout)

    def _reservation(self, id: str, lines: Sequence[Line], gates: Sequence[Gate], lease: float, note: str) -> _Call:
        names = self._names
        request = {
            "id": id,
            "lease": lease,
            "lines": [
                _window(line)
                | {"key": line.key, "unit": line.unit, "limit": _exact(line.limit), "amount": str(line.amount)}
                for line in lines
            ],
            "gates": [_gate(gate) for gate in gates],
        }
        keys = [names.trip, names.leases, names.lease(id), names.scopes]
        keys += [names.counter(line.key) for line in lines] + [names.gate(gate.key) for gate in gates]
        return _Call(RESERVE, keys, [json.dumps(request), note, names.lease(""), _CHARGED_REMEMBERED, self._deadline])

    def _ending(self, grant: Grant, amounts: Mapping[str, int], gates: Sequence[Gate]) -> _Call:
        names = self._names
        keys = [names.leases, names.lease(grant.id), names.open_gates]
        keys += [names.counter(line.key) for line in grant.placed] + [names.gate(gate.key) for gate in gates]
        placed = [{"bucket": _bucket(line.bucket), "unit": line.unit} for line in grant.placed]
        spent = {unit: str(amount) for unit, amount in amounts.items()}
        config = [json.dumps(part) for part in (spent, placed, [_gate(gate) for gate in gates])]
        return _Call(SETTLE, keys, [grant.id, *config, _SETTLED_REMEMBERED])

    def _claim(self, name: str, ttl: float) -> tuple[Any, ...]:
        return ("SET", self._names.claim(name), "1", "NX", "PX", max(1, int(ttl * 1000)))

    def _deadline(self) -> str:
        """When the caller will have given up, in server time; empty while that is unknown. Asked at the moment of sending."""
        return repr(self._clock.now() + 2 * self._timeout) if self._clock.set else ""

    def _run(self, call: _Call) -> Any:
        from redis.exceptions import NoScriptError

        asked = self._clock.local()
        try:
            reply = self._link.call("EVALSHA", call.script.sha, *call.words())
        except NoScriptError:
            reply = self._link.call("EVAL", call.script.source, *call.words())
        return self._heard(reply, asked)

    async def _arun(self, call: _Call) -> Any:
        from redis.exceptions import NoScriptError

        asked = self._clock.local()
        try:
            reply = await self._alink.call("EVALSHA", call.script.sha, *call.words())
        except NoScriptError:
            reply = await self._alink.call("EVAL", call.script.source, *call.words())
        return self._heard(reply, asked)

    def _heard(self, reply: Any, asked: float) -> Any:
        reply = _bytes(reply)
        self._clock.heard(float(reply[1]), asked)
        return reply

    def _decision(self, reply: Any, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant | Denial:
        if reply[0] == b"grant":
            return _grant(reply, lines, gates)
        self._expect(reply, b"denial")
        _, _, reason, index, settled, held, retry_after, text, swept = reply
        return Denial(
            reason.decode(),
            index,
            int(settled),
            int(held),
            float(retry_after) if retry_after else None,
            text.decode(),
            _abandoned(swept),
        )

    def _expect(self, reply: Any, kind: bytes) -> None:
        if reply[0] == kind:
            return
        if reply[0] == b"late":
            raise StoreUnavailable(self.url, "it took longer to start than its caller waits")
        raise StoreUnavailable(
            self.url,
            "the budget's calendar period was worked out for another time than the server's clock, which differs from this "
            "machine's; the next call uses the server's",
        )


class _Names:
    """Keys. One hash tag for all: Redis Cluster keeps them on one shard, where one script may use them together."""

    def __init__(self, prefix: str) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ConfigurationError(f"the prefix of a Redis store is a word without braces, not {prefix!r}")
        self._root = f"{{{prefix}}}:"
        self.trip = self._root + "trip"
        self.leases = self._root + "leases"
        self.scopes = self._root + "scopes"
        self.open_gates = self._root + "open-gates"

    def counter(self, key: str) -> str:
        return f"{self._root}counter:{key}"

    def gate(self, key: str) -> str:
        return f"{self._root}gate:{key}"

    def lease(self, id: str) -> str:
        return f"{self._root}lease:{id}"

    def claim(self, name: str) -> str:
        return f"{self._root}claim:{name}"


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


class _Script(NamedTuple):
    source: str
    sha: str


def _script(name: str) -> _Script:
    folder = files("costguard_core.stores") / "lua"
    source = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    return _Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


RESERVE, SETTLE, READ, READ_GATE, RESET = map(_script, ("reserve", "settle", "read", "read_gate", "reset"))


class _Call(NamedTuple):
    script: _Script
    keys: list[str]
    args: list[Any]

    def words(self) -> list[Any]:
        return [len(self.keys), *self.keys, *self.args]


def _window(line: Line) -> dict[str, Any]:
    return {"width": line.window.width, "edges": line.window.edges}


def _gate(gate: Gate) -> dict[str, Any]:
    return gate._asdict() | {"threshold": _exact(gate.threshold)}


def _exact(limit: int) -> str:
    if limit > LARGEST:
        raise ConfigurationError(
            f"a limit of {limit} is more than Redis can count exactly ({LARGEST}; $9.0 million): use a smaller one, or sqlite://"
        )
    return str(limit)


def _bucket(start: float) -> str:
    """As the scripts name it (C's ``%.17g``)."""
    return f"{start:.17g}"


def _grant(reply: Any, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant:
    _, at, id, buckets, probes, swept = reply
    placed, seen = [], set()
    for line, bucket in zip(lines, buckets, strict=True):
        counted = line.key not in seen
        placed.append(Placed(line.key, float(bucket), line.unit if counted else "", line.amount if counted else 0))
        seen.add(line.key)
    return Grant(id.decode(), float(at), tuple(placed), tuple(gates[i - 1].key for i in probes), _abandoned(swept))


def _abandoned(swept: Any) -> tuple[Abandoned, ...]:
    return tuple(
        Abandoned(id.decode(), note.decode(), {unit: int(amount) for unit, amount in json.loads(amounts).items()})
        for id, note, amounts in swept
    )


def _settlement(reply: Any, gates: Sequence[Gate]) -> Settlement:
    _, _, totals, opened = reply
    return Settlement(tuple(map(int, totals)), tuple(gates[i - 1].key for i in opened))


def _bytes(reply: Any) -> Any:
    """A reply with every text as bytes: a ready-made client may decode them."""
    if isinstance(reply, str):
        return reply.encode()
    return [_bytes(part) for part in reply] if isinstance(reply, list) else reply


def _pairs(flat: Any) -> list[tuple[Any, Any]]:
    """Members and scores of a ZSCAN, which redis-py has paired already."""
    return list(flat)


def _glob(prefix: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"


async def _quietly(task: asyncio.Task[Any]) -> None:
    with suppress(StoreUnavailable):
        await task
