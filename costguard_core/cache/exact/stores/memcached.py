"""A cache in one or several memcached servers. While a server is slow or gone it is asked ever more rarely.

A time-out is 50 ms; ``memcached://host,host2:11212?timeout=0.2`` sets another. Rendezvous hashing gives each key a
server, the same for all processes that name the same servers. When a server fails its keys are misses: they never move
to another one, which would know nothing of what was invalidated.

memcached has neither sets nor listings, so each server keeps one row per tag and one for the namespace: a random
generation, and the invalidations that named several tags. An entry holds the generations that were current before it
was stored, and is served only while all of them are, on its own server. A row that was evicted is replaced by one with
a new generation, so that what was lost can only make misses.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from costguard_core.cache.exact.stores.base import DECLINED, DECLINED_SECONDS, StoreStats, bind, unbind
from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError
from costguard_core.util.forks import after_fork, renew_locks
from costguard_core.util.urls import printable, split, timeout_seconds

if TYPE_CHECKING:
    from pymemcache import PooledClient

T = TypeVar("T")

_DEFAULT_PORT = 11_211
_TIMEOUT_SECONDS = 0.05
# After a failure nothing is sent to that server for this long, doubling with each failure in a row.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 2.0
_LONGEST_RELATIVE_SECONDS = 30 * 86_400  # memcached takes a longer life for a date
_THREADS = 8  # a choice: for the event loops of this process together
_ATTEMPTS = 20
# Of a tag, so many invalidations together with other tags are told apart; after that all its entries go.
_MOST_COMBINATIONS = 64
# Where an invalidation of several tags is noted: with the one that the fewest entries carry.
_SELECTIVE_FIRST = ("document", "user", "tenant", "template", "endpoint", "model")


class MemcachedDown(CostGuardError):
    """A server failed a moment ago, so this command was not sent; or it did not do what it was asked to."""


class MemcachedUrl(NamedTuple):
    """``memcached://host:port,host2:port2?timeout=0.2``.

    Attributes:
        servers: host and port of each.
        timeout: seconds to connect, and for each reply.
    """

    servers: tuple[tuple[str, int], ...]
    timeout: float

    @classmethod
    def read(cls, url: str) -> MemcachedUrl:
        """Read a URL.

        Raises:
            ConfigurationError: it is none of this form; what is shown of it holds no password.
        """
        parts = split(url)
        try:
            if "@" in parts.netloc:
                raise ValueError("the text protocol has no password; let only your own hosts reach the port")
            if parts.path.strip("/") or parts.fragment:
                raise ValueError("nothing comes after the servers but ?timeout=seconds")
            servers = tuple(_address(server) for server in parts.netloc.split(","))
            if len(set(servers)) < len(servers):
                raise ValueError("a server is named twice")
            return cls(servers, _timeout(parts.query))
        except ValueError as error:
            raise ConfigurationError(
                f"cannot use the memcached URL {printable(url)!r}: {error}; it is written "
                "memcached://host:11211,host2:11211?timeout=0.05"
            ) from None


class MemcachedStore:
    """Entries of one namespace.

    Args:
        url: as of :class:`MemcachedUrl`. All processes must name the same servers, in any order.
        namespace: part of all keys.
        clock: unix seconds; an entry is not served after its time by this clock, and memcached drops it by its own.
        monotonic: the local clock, in seconds.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: pymemcache is not installed.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "costguard",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = MemcachedUrl.read(url)
        try:
            from pymemcache.client.rendezvous import RendezvousHash
        except ImportError:
            raise MissingExtraError("a cache in memcached", "memcached") from None
        self.url = printable(url)
        self._namespace, self._clock = namespace, clock
        self._servers = {
            f"{host}:{port}": _Server((host, port), parts.timeout, monotonic) for host, port in parts.servers
        }
        self._hash: Callable[[str], str] = RendezvousHash(list(self._servers)).get_node
        self._all = self._name("namespace", "")  # the row of a tag that every entry carries
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._threads: ThreadPoolExecutor | None = None
        after_fork(self, "_forked")

    def get(self, key: str) -> bytes | None:
        name = self._name("entry", key)
        return self._on(name, lambda server: self._read(server, name, key))

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        name = self._name("entry", key)
        expires = None if ttl is None else self._clock() + ttl
        carried = [self._all, *(self._name("tag", tag) for tag in dict.fromkeys(tags))]

        def run(server: PooledClient) -> None:
            header = json.dumps([expires, _marks(server, carried)]).encode()
            server.set(name, bind(self._namespace, key, header + b"\n" + value), expire=_life(ttl))

        self._on(name, run)

    def delete(self, key: str) -> None:
        name = self._name("entry", key)
        self._on(name, lambda server: server.delete(name))

    def invalidate(self, tags: Sequence[str]) -> int:
        """Returns 0 if no server knows such a tag, and otherwise -1: memcached cannot count.

        Raises:
            MemcachedDown: a server could not be reached; the others have forgotten the entries.
        """
        ordered = sorted(set(tags), key=_selectivity)
        names = [self._name("tag", tag) for tag in ordered]
        return -1 if self._everywhere(lambda server: _invalidate(server, names)) else 0

    def clear(self) -> None:
        """Raises :class:`MemcachedDown` if a server could not be reached; the others are cleared."""
        self._everywhere(lambda server: _invalidate(server, [self._all]))

    def stats(self) -> StoreStats:
        return StoreStats(None, None)

    def lease(self, key: str, owner: str, ttl: float) -> str:
        """As the contract says, but memcached counts whole seconds: a lease may last up to two seconds longer."""
        name = self._name("lease", key)
        return self._on(name, lambda server: _lease(server, name, owner, _life(ttl)))

    def unlease(self, key: str, owner: str, *, declined: bool = False) -> None:
        name = self._name("lease", key)
        value, life = (DECLINED, _life(DECLINED_SECONDS)) if declined else (owner, -1)  # -1: expired at once

        def run(server: PooledClient) -> None:
            holder, version = server.gets(name)
            if holder == owner.encode():
                server.cas(name, value.encode(), version, expire=life)

        self._on(name, run)

    def close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        for server in self._servers.values():
            server.close_idle()

    # pymemcache has no client for event loops, so its calls run in a few threads of this store's own.

    async def aget(self, key: str) -> bytes | None:
        return await self._in_thread(lambda: self.get(key))

    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        await self._in_thread(lambda: self.put(key, value, tags=tags, ttl=ttl))

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        return await self._in_thread(lambda: self.invalidate(tags))

    async def aclear(self) -> None:
        await self._in_thread(self.clear)

    async def alease(self, key: str, owner: str, ttl: float) -> str:
        return await self._in_thread(lambda: self.lease(key, owner, ttl))

    async def aclose(self) -> None:
        self.close()

    async def _in_thread(self, run: Callable[[], T]) -> T:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="costguard-memcached")
            future = self._threads.submit(run)
        return await asyncio.wrap_future(future)

    def _read(self, server: PooledClient, name: str, key: str) -> bytes | None:
        row = server.get(name)
        stored = None if row is None else unbind(self._namespace, key, row)
        if stored is None:
            return None
        header, _, value = stored.partition(b"\n")
        try:
            expires, marks = json.loads(header)
            expired = expires is not None and expires <= self._clock()
            if expired or self._all not in marks:
                return None
            names = list(marks)
        except (ValueError, TypeError):  # not written by us
            return None
        return value if _are_current(marks, server.get_many(names)) else None

    def _on(self, name: str, run: Callable[[PooledClient], T]) -> T:
        return self._servers[self._hash(name)].ask(run)

    def _everywhere(self, run: Callable[[PooledClient], bool]) -> bool:
        """Whether any server says so. Each is asked, even if it failed a moment ago or another one fails."""
        found, failed = False, {}
        for address, server in self._servers.items():
            try:
                found = server.ask(run, at_once=True) or found
            except Exception as error:
                failed[address] = error
        if failed:
            raise MemcachedDown(f"not done on {', '.join(failed)}") from next(iter(failed.values()))
        return found

    def _name(self, kind: str, name: str) -> str:
        """The key of a row: of fixed length, and without what memcached does not allow in one."""
        place = f"{len(self._namespace)}:{self._namespace}{kind}:{name}".encode(errors="surrogatepass")
        return f"costguard:{kind}:{hashlib.blake2b(place, digest_size=20).hexdigest()}"

    def _forked(self) -> None:
        self._threads = None  # they run in the parent only
        for server in self._servers.values():
            server.reopen()


class _Server:
    """One server: its connections, and whether it is worth asking."""

    def __init__(self, address: tuple[str, int], timeout: float, monotonic: Callable[[], float]) -> None:
        self._address, self._timeout, self._monotonic = address, timeout, monotonic
        self._down_until, self._pause, self._failures = float("-inf"), 0.0, 0
        self._client = self._open()

    def ask(self, run: Callable[[PooledClient], T], *, at_once: bool = False) -> T:
        """``at_once``: even if it failed a moment ago."""
        from pymemcache.exceptions import MemcacheClientError, MemcacheServerError, MemcacheUnexpectedCloseError

        if not at_once and self._monotonic() < self._down_until:
            raise MemcachedDown(f"{self._address[0]}:{self._address[1]} failed a moment ago")
        failures = self._failures
        try:
            found = run(self._client)
        except Exception as error:
            refused = isinstance(error, (MemcacheClientError, MemcacheServerError, MemcachedDown))
            if not refused or isinstance(error, MemcacheUnexpectedCloseError):  # else it answered: a value too large
                self._failed(failures)
            raise
        self._pause = 0.0
        return found

    def close_idle(self) -> None:
        """Close the connections that nobody uses. The next use opens new ones."""
        pool = self._client.client_pool
        for _ in pool.free:
            pool.destroy(pool.get())

    def reopen(self) -> None:
        """In a forked child: leave the connections, and the lock of their pool, to the parent."""
        self._closing.detach()
        inherited, self._client = self._client, self._open()
        for connection in inherited.client_pool.free:
            connection.close()

    def _open(self) -> PooledClient:
        from pymemcache import PooledClient

        client = PooledClient(
            self._address, connect_timeout=self._timeout, timeout=self._timeout, no_delay=True, default_noreply=False
        )
        self._closing = weakref.finalize(self, client.close)  # a cache that is forgotten leaves nothing open
        return client

    def _failed(self, failures: int) -> None:
        if failures == self._failures:  # of callers who find out together, one counts
            self._failures += 1
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LAST_PAUSE_SECONDS)
        self._down_until = self._monotonic() + self._pause
        self.close_idle()  # they lead to a server that is gone


class _Generation(NamedTuple):
    """A row of a tag.

    Attributes:
        token: random; entries that were stored under another one are gone.
        number: how many invalidations of this tag together with others there were.
        combinations: the other tags of each such invalidation (their rows' names, joined by commas) and its number.
    """

    token: str
    number: int
    combinations: dict[str, int]

    @classmethod
    def new(cls) -> _Generation:
        return cls(token_hex(12), 0, {})

    @classmethod
    def read(cls, row: bytes) -> _Generation:
        return cls(*json.loads(row))

    def with_combination(self, others: Sequence[str]) -> _Generation:
        """After one more invalidation together with ``others``."""
        combinations = {**self.combinations, ",".join(sorted(others)): self.number + 1}
        if len(combinations) > _MOST_COMBINATIONS:
            return _Generation.new()
        return _Generation(self.token, self.number + 1, combinations)

    def row(self) -> bytes:
        return json.dumps(self).encode()


def _marks(server: PooledClient, names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """The generation of each tag now, and the number of its last invalidation together with others."""
    rows = server.get_many(names)
    if missing := [name for name in names if name not in rows]:
        for name in missing:
            server.add(name, _Generation.new().row())  # if another process was quicker, its generation counts
        rows |= server.get_many(missing)
    if len(rows) < len(names):
        raise MemcachedDown("the server does not keep what it is given")
    found = {name: _Generation.read(rows[name]) for name in names}
    return {name: (generation.token, generation.number) for name, generation in found.items()}


def _are_current(marks: Mapping[str, Sequence[object]], rows: Mapping[str, bytes]) -> bool:
    """Whether nothing that carries these tags was invalidated since the marks were made."""
    if len(rows) < len(marks):  # one was evicted: what happened since is not known
        return False
    for name, (token, count) in marks.items():
        generation = _Generation.read(rows[name])
        if generation.token != token or not isinstance(count, int):
            return False
        for others, number in generation.combinations.items():
            if number > count and all(other in marks for other in others.split(",")):
                return False
    return True


def _invalidate(server: PooledClient, names: Sequence[str]) -> bool:
    """Make what carries all these tags a miss. Whether the first one is known at all."""
    first, *others = names
    for _ in range(_ATTEMPTS if others else 0):
        row, version = server.gets(first)
        if row is None:
            return False
        if server.cas(first, _Generation.read(row).with_combination(others).row(), version):
            return True
    return bool(server.replace(first, _Generation.new().row()))


def _lease(server: PooledClient, name: str, owner: str, life: int) -> str:
    for _ in range(_ATTEMPTS):
        if server.add(name, owner.encode(), expire=life):
            return owner
        holder, version = server.gets(name)
        if holder is None:  # it has ended since
            continue
        if holder != owner.encode():
            return str(holder.decode(errors="replace"))
        if server.cas(name, holder, version, expire=life):
            return owner
    raise MemcachedDown("the lease changes hands too fast")


def _life(ttl: float | None) -> int:
    """Whole seconds that are never shorter than ``ttl``, as memcached's clock ticks once a second; 0: no expiry."""
    if ttl is None or ttl + 2 > _LONGEST_RELATIVE_SECONDS:
        return 0
    return max(1, math.ceil(ttl)) + 1


def _selectivity(tag: str) -> tuple[int, str]:
    kind = tag.partition("=")[0]
    return (_SELECTIVE_FIRST.index(kind) if kind in _SELECTIVE_FIRST else len(_SELECTIVE_FIRST), tag)


def _address(text: str) -> tuple[str, int]:
    host, found, port = text.rpartition(":")
    if not found or port.endswith("]"):  # no port, perhaps behind an IPv6 address
        host, port = text, str(_DEFAULT_PORT)
    host = host.strip("[]")
    if not host or host != host.strip() or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{text!r} is no host:port")
    return host.lower(), int(port)


def _timeout(query: str) -> float:
    options = dict(parse_qsl(query, keep_blank_values=True))
    text = options.pop("timeout", str(_TIMEOUT_SECONDS))
    if options:
        raise ValueError(f"the only option is ?timeout=seconds, not {', '.join(options)}")
    return timeout_seconds(text)
