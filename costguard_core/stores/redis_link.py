"""How commands reach Redis: few at a time, bounded in time, and refused at once while the server is known to be away.

redis-py's own defaults (read in 8.1) would stall a caller for 4 s when connections are refused and for 59 s when the server
hangs, and fail the 101st concurrent caller. Here a caller waits in a queue of this process as long as others are being
answered, and once it is its turn Redis has 50 ms to reply.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from costguard_core.errors import ConfigurationError, MissingExtraError, StoreUnavailable
from costguard_core.stores.forks import after_fork

# More connections than this only queue up inside Redis, which runs one command at a time.
IN_FLIGHT = 16
# How long a caller queues for its turn while the server keeps answering others, in seconds.
QUEUE_PATIENCE = 5.0
# After a failure, callers are refused without asking for this long, in seconds.
PAUSE_AFTER_FAILURE = 0.5
# A reply is awaited in this many slices; see :class:`Patience`.
_SLICES = 5
# However badly this process is starved, a command is given up after so many slices.
_MOST_SLICES = 20

_OWN_TIMEOUTS = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval")


def require_redis() -> None:
    """Raise :class:`MissingExtraError` unless redis-py can be imported."""
    try:
        import redis  # noqa: F401
    except ImportError:
        raise MissingExtraError("the Redis store", "redis") from None


def printable(url: str) -> str:
    """``url`` without credentials and options: what may be logged."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_options(url: str, names: tuple[str, ...]) -> str:
    """``url`` without the query options called ``names``."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))


class Health:
    """Remembers a failure for a moment, so that a herd of callers is refused at once instead of each waiting its 50 ms."""

    def __init__(self, url: str, *, pause: float, monotonic: Callable[[], float]) -> None:
        self._url, self._pause, self._monotonic = url, pause, monotonic
        self._until, self._cause = float("-inf"), ""

    def check(self) -> None:
        """Raise the remembered failure while it is fresh."""
        left = self._until - self._monotonic()
        if left > 0:
            raise StoreUnavailable(self._url, f"{self._cause}; will be asked again in {left:.1f} s")

    def away(self, cause: str) -> StoreUnavailable:
        """Remember that nobody answers; returns the error to raise."""
        self._cause, self._until = cause, self._monotonic() + self._pause
        return self.refused(cause)

    def refused(self, cause: str) -> StoreUnavailable:
        """The error for a server that did answer, but not with what was asked for. Nothing is remembered."""
        return StoreUnavailable(self._url, cause)


class Patience:
    """A timeout that counts only waits in which the answer could have been seen.

    A slice that lasted much longer than asked for means that this process was starved (a busy event loop, a throttled
    container): the answer may be there, unread, so the slice is not held against the server.
    """

    def __init__(self, timeout: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.slice = timeout / _SLICES
        self._left = timeout
        self._monotonic = monotonic
        self._mark = monotonic()
        self._slices = 0

    def exhausted(self) -> bool:
        """To be asked after each slice without an answer."""
        now = self._monotonic()
        elapsed, self._mark = now - self._mark, now
        self._slices += 1
        if elapsed < 2 * self.slice:
            self._left -= self.slice
        return self._left <= self.slice / 2 or self._slices >= _MOST_SLICES


class Turnstile:
    """At most ``width`` threads inside; the others queue outside and leave at once when the server is found to be away."""

    def __init__(self, width: int, health: Health) -> None:
        self._width, self._health = width, health
        self._empty()
        after_fork(self._empty)  # the threads that were inside exist only in the parent

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def scatter(self) -> None:
        """Wake everybody who waits, to look at the health of the server again."""
        with self._changed:
            self._changed.notify_all()

    def _empty(self) -> None:
        self._inside, self._changed = 0, threading.Condition()

    def _enter(self) -> None:
        deadline = time.monotonic() + QUEUE_PATIENCE
        with self._changed:
            self._health.check()
            while self._inside >= self._width:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise self._health.refused(f"too busy: no turn within {QUEUE_PATIENCE:g} s")
                self._health.check()
            self._inside += 1


class Link:
    """Commands from threads."""

    def __init__(self, health: Health, client: Any) -> None:
        self._health, self._client = health, client
        self._turnstile = Turnstile(IN_FLIGHT, health)

    def call(self, *words: Any) -> Any:
        """One command; the reply, or ``NoScriptError``. A word may be a function, asked when it is this caller's turn.

        Raises:
            StoreUnavailable: no reply in time, or an error for a reply.
        """
        from redis.exceptions import NoScriptError

        with self._turnstile.turn():
            try:
                return self._client.execute_command(*_spoken(words))
            except NoScriptError:
                raise
            except Exception as error:
                failure = _translated(error, self._health)
        if failure is None:
            raise
        self._turnstile.scatter()
        raise failure from None

    def close(self) -> None:
        self._client.close()


class AsyncLink:
    """Commands from event loops: one client per running loop, because a connection belongs to the loop that opened it."""

    def __init__(self, health: Health, timeout: float, open_client: Callable[[], Any]) -> None:
        self._health, self._timeout, self._open_client = health, timeout, open_client
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}

    async def call(self, *words: Any) -> Any:
        """As :meth:`Link.call`."""
        from redis.exceptions import NoScriptError

        line = await self._line()
        async with self._turn(line.slots):
            try:
                return await self._answer(line.client.execute_command(*_spoken(words)))
            except NoScriptError:
                raise
            except Exception as error:
                failure = _translated(error, self._health)
                if failure is None:
                    raise
                raise failure from None

    async def close(self) -> None:
        """Close the client of the running loop."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.life.aclose()

    async def _line(self) -> _Line:
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            for old in [old for old in tuple(self._lines) if old.is_closed()]:
                self._lines.pop(old, None)
            line = self._lines[loop] = _Line(self._open_client())
            await anext(line.life)
        return line

    @asynccontextmanager
    async def _turn(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        self._health.check()
        try:
            await asyncio.wait_for(slots.acquire(), QUEUE_PATIENCE if slots.locked() else None)
        except TimeoutError:
            raise self._health.refused(f"too busy: no turn within {QUEUE_PATIENCE:g} s") from None
        try:
            self._health.check()
            yield
        finally:
            slots.release()

    async def _answer(self, command: Any) -> Any:
        task = asyncio.ensure_future(command)
        patience = Patience(self._timeout)
        try:
            while not (await asyncio.wait({task}, timeout=patience.slice))[0]:
                if patience.exhausted():
                    raise TimeoutError("no reply")
            return task.result()
        finally:
            task.cancel()  # breaks the connection, so that a late reply is never read as the answer to another command


def _spoken(words: tuple[Any, ...]) -> Iterator[Any]:
    return (word() if callable(word) else word for word in words)


class _Line:
    """What belongs to one event loop."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.slots = asyncio.Semaphore(IN_FLIGHT)
        self.life = _until_loop_ends(client)


async def _until_loop_ends(client: Any) -> AsyncGenerator[None]:
    """Closes ``client`` even if nobody asks: an event loop that shuts down ends the async generators it has begun."""
    try:
        yield
    finally:
        await client.aclose()


def open_client(url: str, timeout: float) -> Any:
    """A thread-safe redis-py client that never retries and whose replies have ``timeout`` seconds."""
    from redis import BlockingConnectionPool, Connection, Redis
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry

    options = _options(url, parse_url)
    patient = _patient(options.pop("connection_class", Connection), timeout)
    pool: Any = BlockingConnectionPool(
        connection_class=patient,
        max_connections=IN_FLIGHT,
        timeout=timeout,
        socket_timeout=timeout / _SLICES,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return Redis.from_pool(pool)


def open_async_client(url: str) -> Any:
    """A client for the running event loop, without timeouts of its own: :class:`AsyncLink` waits more wisely."""
    from redis.asyncio import Connection, ConnectionPool, Redis
    from redis.asyncio.connection import parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options = _options(url, parse_url)
    pool: Any = ConnectionPool(
        connection_class=options.pop("connection_class", Connection),
        max_connections=2 * IN_FLIGHT,  # a connection that is being broken still counts for a moment
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return Redis.from_pool(pool)


def _options(url: str, parse_url: Callable[[str], Any]) -> dict[str, Any]:
    try:
        options = dict(parse_url(without_options(url, _OWN_TIMEOUTS)))
    except ValueError as error:
        raise ConfigurationError(f"cannot use {printable(url)!r} as a Redis store: {error}") from None
    options.setdefault("protocol", 2)
    return options


def _patient(base: type[Any], timeout: float) -> type[Any]:
    """The connection class ``base``, reading replies with :class:`Patience`."""
    from redis.exceptions import ResponseError, TimeoutError as NoReply

    class Patient(base):
        def read_response(self, *args: Any, **options: Any) -> Any:
            options["disconnect_on_error"] = False
            patience = Patience(timeout)
            try:
                while True:
                    try:
                        return super().read_response(*args, **options)
                    except NoReply:
                        if patience.exhausted():
                            raise
            except ResponseError:
                raise
            except BaseException:
                self.disconnect()  # never leave half a reply for the next caller
                raise

    return Patient


def _translated(error: Exception, health: Health) -> StoreUnavailable | None:
    """What a failed command means to the caller; ``None`` when it is not about Redis at all."""
    from redis.exceptions import ConnectionError as NotConnected, DataError, RedisError, TimeoutError as NoReply

    if isinstance(error, DataError):
        return None
    if isinstance(error, (TimeoutError, NoReply)):
        return health.away("it does not answer")
    if isinstance(error, (NotConnected, OSError)):
        return health.away(f"{type(error).__name__}: {error}")
    if isinstance(error, RedisError):
        return health.refused(f"{type(error).__name__}: {error}")
    return None
