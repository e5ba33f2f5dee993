"""redis-py, set up to answer quickly or not at all, and to follow a server that moves.

Its own defaults (read in 8.1) stall a caller for 4 s when connections are refused and for 59 s when the server hangs,
and keep a connection to a server that has been demoted for as long as that server lives.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from costguard_core.errors import MissingExtraError
from costguard_core.util.forks import after_fork
from costguard_core.util.redis_address import Address, RedisUrl, Target

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

# A pool never says no: whoever uses a client bounds the commands in flight, and connections that are being broken still
# count for a moment.
_POOL_SIZE = 10_000
# To connect, Redis has one timeout; for each reply it has almost two: nobody waits longer than two for a decision.
_REPLY = 1.8
# A TLS handshake takes up to two round trips more than a connection without it.
_TLS_STEPS = 3
# A reply is awaited in parts of this share of the timeout; see :class:`ReplyDeadline`.
_PART = 0.2
# However badly this process is starved, a reply is given up after so many parts.
_MOST_PARTS = 20

_SENTINEL_TIMEOUT = 0.05  # seconds


def require_redis(feature: str) -> None:
    """Raise :class:`MissingExtraError` unless redis-py can be imported. ``feature`` is what needs it."""
    try:
        import redis  # noqa: F401
    except ImportError:
        raise MissingExtraError(feature, "redis") from None


class ReplyDeadline:
    """The wait for a reply: it counts only the time in which the answer could have been seen.

    A part of the wait that lasted much longer than asked for means that this process was starved (a busy event loop, a
    throttled container): the answer may be there, unread, so that part is not held against the server.

    Args:
        timeout: of the store, in seconds.
        monotonic: the local clock, in seconds.
    """

    def __init__(self, timeout: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.part = timeout * _PART
        self._timeout, self._monotonic = timeout, monotonic
        self.restart()

    def restart(self, steps: int = 1) -> None:
        """Give the server time for the next reply, or for several."""
        self._left = self._timeout * _REPLY * steps
        self._seen = self._monotonic()
        self._parts = 0

    def expired(self) -> bool:
        """To be asked after each part without an answer."""
        now = self._monotonic()
        elapsed, self._seen = now - self._seen, now
        self._parts += 1
        if elapsed < 2 * self.part:
            self._left -= self.part
        return self._left <= self.part / 2 or self._parts >= _MOST_PARTS


# The deadline of the command that runs in this context. Connecting takes several round trips, each of which has the
# time of a reply; without this a connection would never be made where the server is far away.
current_deadline: ContextVar[ReplyDeadline | None] = ContextVar("current_deadline", default=None)


def open_client(url: RedisUrl, target: Target, timeout: float, *, connect_timeout: float | None = None) -> Redis:
    """A thread-safe redis-py client that never retries.

    Args:
        url: what it connects to.
        target: where exactly, shared by all clients of one store.
        timeout: seconds that the server has for each reply, or a little more where this process is starved.
        connect_timeout: seconds that it has to accept a connection; as long as for a reply unless given.
    """
    from redis import Connection, ConnectionPool, Redis

    connect_timeout = timeout if connect_timeout is None else connect_timeout
    pool: Any = ConnectionPool(
        connection_class=_connection_class(
            url.options.get("connection_class", Connection), target, _locator(url, timeout), timeout
        ),
        max_connections=_POOL_SIZE,
        socket_timeout=timeout * _PART,
        socket_connect_timeout=connect_timeout,
        retry=_no_retry(),
        **_without_class(url.options),
    )
    return Redis.from_pool(pool)


def open_async_client(
    url: RedisUrl,
    target: Target,
    timeout: float | None,
    *,
    connect_timeout: float | None = None,
    sentinel_timeout: float | None = None,
) -> AsyncRedis:
    """A client for the running event loop, as of :func:`open_client`.

    ``timeout=None``: it has no timeouts of its own, and its caller waits by a :class:`ReplyDeadline`; only sentinels
    are asked with one, ``sentinel_timeout``.
    """
    from redis.asyncio import Connection, ConnectionPool, Redis
    from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

    base = SSLConnection if url.tls else UnixDomainSocketConnection if "path" in url.options else Connection
    pool: Any = ConnectionPool(
        connection_class=_async_connection_class(
            base, target, _async_locator(url, sentinel_timeout or timeout or _SENTINEL_TIMEOUT), tls=url.tls
        ),
        max_connections=_POOL_SIZE,
        socket_timeout=timeout,
        socket_connect_timeout=timeout if connect_timeout is None else connect_timeout,
        retry=_no_async_retry(),
        **_without_class(url.options),
    )
    return Redis.from_pool(pool)


def _without_class(options: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "connection_class"}


def _no_retry() -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


def _no_async_retry() -> Any:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Retry(NoBackoff(), 0)


def _locator(url: RedisUrl, timeout: float) -> Callable[[], Address] | None:
    """Asks the sentinels which server it is now."""
    if url.kind != "sentinel":
        return None
    from redis.sentinel import MasterNotFoundError, Sentinel

    def locate() -> Address:
        # A Sentinel for each question: it is closed afterwards, when other threads may be in the middle of theirs.
        options = _sentinel_options(url, timeout, _no_retry())
        sentinel: Any = Sentinel(list(url.nodes), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            address: Address = sentinel.discover_master(url.service)
        except MasterNotFoundError:
            raise _no_server(url) from None
        finally:
            for client in sentinel.sentinels:
                client.close()
        return address

    return locate


def _async_locator(url: RedisUrl, timeout: float) -> Callable[[], Awaitable[Address]] | None:
    if url.kind != "sentinel":
        return None
    from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

    async def locate() -> Address:
        if (deadline := current_deadline.get()) is not None:
            deadline.restart(2 * len(url.nodes))  # each of them may be away, and says so by its own time-out
        options = _sentinel_options(url, timeout, _no_async_retry())
        sentinel: Any = Sentinel(list(url.nodes), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            address: Address = await sentinel.discover_master(url.service)
        except MasterNotFoundError:
            raise _no_server(url) from None
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        if deadline is not None:
            deadline.restart()
        return address

    return locate


def _sentinel_options(url: RedisUrl, timeout: float, retry: object) -> dict[str, object]:
    limits = {"socket_timeout": 2 * timeout, "socket_connect_timeout": timeout, "retry": retry}
    return limits | url.sentinel_options


def _no_server(url: RedisUrl) -> Exception:
    """redis-py's own text shows the client with all its options, in some versions the password, too."""
    from redis.sentinel import MasterNotFoundError

    asked = ", ".join(f"{host}:{port}" for host, port in url.nodes)
    return MasterNotFoundError(f"no sentinel ({asked}) can be reached and names a server called {url.service!r}")


class QuickReads:
    """Reads of single keys through connections that are kept at hand. Threads may share it.

    redis-py takes 65 us of CPU around each command (8.1: its pool, retries, metrics), where sending it and reading the
    reply take 20. A connection that the server has closed meanwhile fails its next read, which is then made again in
    redis-py's own way: it changes nothing.

    Args:
        client: of :func:`open_client`.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._forget()
        after_fork(self, "_forget")

    def get(self, key: str) -> Any:
        """The value of a key as redis-py's ``get`` returns it. Raises what that raises."""
        from redis.exceptions import ConnectionError as NotConnected
        from redis.exceptions import ResponseError

        try:
            reader = self._idle.pop()
        except IndexError:
            return self._first(key)
        connection: Any = reader.connection
        try:
            connection.connect()  # where the target is another one by now; else it is connected
            connection.send_command("GET", key)
            found = connection.read_response()
        except ResponseError:  # a whole reply
            self._idle.append(reader)
            raise
        except BaseException as error:
            connection.disconnect()
            reader.close()
            if isinstance(error, NotConnected):
                return self._client.get(key)
            raise
        self._idle.append(reader)
        return found

    def close(self) -> None:
        """Give the connections back to the client's pool."""
        idle = self._idle
        while idle:
            idle.pop().close()

    def _first(self, key: str) -> Any:
        reader: Any = self._client.client()  # type: ignore[no-untyped-call]  # has one connection of the pool
        try:
            found = reader.get(key)
        except BaseException:
            reader.close()
            raise
        self._idle.append(reader)
        return found

    def _forget(self) -> None:
        """A forked child opens connections of its own: replies on those of its parent are for the parent."""
        self._idle: deque[Redis] = deque()


def _connection_class(
    base: type[Any], target: Target, locate: Callable[[], Address] | None, timeout: float
) -> type[Any]:
    """The connection class ``base``, which goes where ``target`` leads and reads replies by a ReplyDeadline.

    A connection that another thread closes while it is used here is one that is not connected: redis-py trips over it.
    """
    from redis.exceptions import ConnectionError as NotConnected
    from redis.exceptions import ResponseError

    class FollowingConnection(base):  # type: ignore[misc]  # whatever class the URL chose
        _generation = -1

        def connect(self) -> None:
            if self._generation != target.generation:
                self.disconnect()
                self._generation = target.generation
                self.host, self.port = target.address
            super().connect()

        def _connect(self) -> object:
            if locate is not None:
                self.host, self.port = locate()
            # The parts in which replies are read are too short for a TLS handshake.
            self.socket_timeout = self.socket_connect_timeout
            try:
                connected = super()._connect()
            finally:
                self.socket_timeout = timeout * _PART
            connected.settimeout(self.socket_timeout)
            return connected

        def can_read(self, *args: object, **options: object) -> bool:
            try:
                return bool(super().can_read(*args, **options))
            except (ValueError, AttributeError) as error:
                raise NotConnected(_CLOSED_IN_USE) from error

        def read_response(self, *args: object, **options: object) -> object:
            options["disconnect_on_error"] = False
            try:
                return _read_in_parts(super().read_response, args, options, ReplyDeadline(timeout))
            except ResponseError:
                raise
            except BaseException:
                self.disconnect()  # never leave half a reply for the next caller
                raise

    return FollowingConnection


_CLOSED_IN_USE = "the connection was closed while it was in use"


def _read_in_parts(
    read: Callable[..., object], args: tuple[object, ...], options: dict[str, object], deadline: ReplyDeadline
) -> object:
    from redis.exceptions import ConnectionError as NotConnected
    from redis.exceptions import TimeoutError as NoReply

    while True:
        try:
            return read(*args, **options)
        except NoReply:
            if deadline.expired():
                raise
        except (ValueError, AttributeError) as error:
            raise NotConnected(_CLOSED_IN_USE) from error


def _async_connection_class(
    base: type[Any], target: Target, locate: Callable[[], Awaitable[Address]] | None, *, tls: bool
) -> type[Any]:
    """As :func:`_connection_class`; each step of connecting gives its caller's deadline the time of another reply."""
    from redis.exceptions import ResponseError

    class FollowingConnection(base):  # type: ignore[misc]
        _generation = -1

        async def connect(self) -> None:
            if self._generation != target.generation:
                await self.disconnect(nowait=True)
                self._generation = target.generation
                self.host, self.port = target.address
            await super().connect()

        async def _connect(self) -> None:
            if locate is not None:
                self.host, self.port = await locate()
            _restart(_TLS_STEPS if tls else 1)
            await super()._connect()
            _restart()

        async def read_response(self, *args: object, **options: object) -> object:
            try:
                reply = await super().read_response(*args, **options)
            except ResponseError:  # a reply, too: older servers answer CLIENT SETINFO with an error
                _restart()
                raise
            _restart()
            return reply

    return FollowingConnection


def _restart(steps: int = 1) -> None:
    if (deadline := current_deadline.get()) is not None:
        deadline.restart(steps)
