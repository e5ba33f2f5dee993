"""redis-py, set up to answer quickly or not at all.

Its own defaults (read in 8.1) stall a caller for 4 s when connections are refused and for 59 s when the server hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.util.urls import printable, split

# More connections than this only queue up inside Redis, which runs one command at a time.
IN_FLIGHT = 16
# To connect, Redis has one timeout; to reply it has almost two: nobody waits for longer than two for a decision.
_REPLY = 1.8
# A reply is awaited in slices of this part of the timeout; see :class:`Patience`.
_SLICE = 0.2
# However badly this process is starved, a command is given up after so many slices.
_MOST_SLICES = 20

_OWN_TIMEOUTS = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval")


def require_redis() -> None:
    """Raise :class:`MissingExtraError` unless redis-py can be imported."""
    try:
        import redis  # noqa: F401
    except ImportError:
        raise MissingExtraError("the Redis store", "redis") from None


def without_options(url: str, names: tuple[str, ...]) -> str:
    """``url`` without the query options called ``names``."""
    parts = split(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))


class Patience:
    """The wait for a reply: it counts only the time in which the answer could have been seen.

    A slice that lasted much longer than asked for means that this process was starved (a busy event loop, a throttled
    container): the answer may be there, unread, so the slice is not held against the server.
    """

    def __init__(self, timeout: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.slice = timeout * _SLICE
        self._left = timeout * _REPLY
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


def open_client(url: str, timeout: float) -> Any:
    """A thread-safe redis-py client that never retries and whose replies have ``timeout`` seconds."""
    from redis import BlockingConnectionPool, Connection, Redis
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry

    options = _options(url, parse_url)
    patient = _patient(options.pop("connection_class", Connection), timeout)
    pool: Any = BlockingConnectionPool(  # type: ignore[no-untyped-call]
        connection_class=patient,
        max_connections=IN_FLIGHT,
        timeout=timeout,
        socket_timeout=timeout * _SLICE,
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
    from redis.exceptions import ResponseError
    from redis.exceptions import TimeoutError as NoReply

    class Patient(base):  # type: ignore[misc]  # whatever class the URL chose
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
