"""How commands reach Redis: few at a time, bounded in time, refused at once while the server is known to be away, and
sent again once where another server turns out to be the one to ask.

A caller waits in a queue of this process as long as others are being answered; once it is its turn, Redis has 90 ms for
each reply.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, Protocol

from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork
from costguard_core.util.redis_address import Target, moved_to, wrong_server
from costguard_core.util.redis_clients import ReplyDeadline, current_deadline

# Commands in flight from one process or event loop. More only queue up inside Redis, which runs one at a time.
IN_FLIGHT = 16
# How long a caller queues for its turn while the server keeps answering others, in seconds: a choice. A server that
# does not answer ends the wait of all.
QUEUE_TIMEOUT = 30.0
# After a failure, callers are refused without asking for this long, in seconds; twice as long after each further one.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

Reply = Any
"""What a server answers: bytes, integers, and lists of those to any depth."""

Word = object
"""A part of a command: text, bytes or a number, or a function that is asked for it at the moment of sending."""

_HINTS = {
    "READONLY": "it is a replica: the address must lead to the primary",
    "LOADING": "it is reading its data",
    "MASTERDOWN": "it is a replica without its primary",
    "CLUSTERDOWN": "its cluster is down",
    "MOVED": "it is a node of a cluster that does not have these keys: use redis+cluster://host:port",
}

# What a server says that cannot write: https://redis.io/docs/latest/develop/reference/eviction/ and redis.conf.
_CANNOT_WRITE = {
    "command not allowed when used memory": "its memory is full (maxmemory): give it more, or caches another server",
    "NOREPLICAS": "it has too few replicas in time (min-replicas-to-write)",
    "MISCONF": "it cannot write its data to disk (stop-writes-on-bgsave-error)",
}


class Client(Protocol):
    """What is used of a redis-py client."""

    def execute_command(self, *words: object) -> Reply: ...
    def close(self) -> None: ...


class AsyncClient(Protocol):
    """What is used of a redis-py client for asyncio."""

    def execute_command(self, *words: object) -> Awaitable[Reply]: ...
    def aclose(self) -> Awaitable[None]: ...


class Health:
    """Remembers a failure for a moment, so that a herd of callers is refused at once instead of waiting one by one.

    Args:
        url: of the store, printable.
        target: where connections lead; ``None`` for a client that was given and knows that itself.
        monotonic: the local clock, in seconds.
    """

    def __init__(self, url: str, target: Target | None, *, monotonic: Callable[[], float]) -> None:
        self._url, self._target, self._monotonic = url, target, monotonic
        self._until, self._pause, self._cause = float("-inf"), FIRST_PAUSE, ""

    def check(self) -> None:
        """Raise the remembered failure while it is fresh."""
        left = self._until - self._monotonic()
        if left > 0:
            raise StoreUnavailable(self._url, f"{self._cause}; will be asked again in {left:.1f} s")

    def away(self, cause: str, *, unanswered: bool = False) -> StoreUnavailable:
        """Remember that nobody answers; returns the error to raise."""
        now = self._monotonic()
        if now >= self._until:  # not one of many callers who found out together
            self._cause, self._until = cause, now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if self._target is not None:
                self._target.server_is_away()
        return StoreUnavailable(self._url, cause, unanswered=unanswered)

    def refused(self, cause: str) -> StoreUnavailable:
        """The error for a server that did answer, but not with what was asked for. Nothing is remembered."""
        return StoreUnavailable(self._url, cause)

    def answers(self) -> None:
        self._pause = FIRST_PAUSE


class Slots:
    """At most ``count`` threads inside; others queue and leave at once when the server is found to be away."""

    def __init__(self, count: int, health: Health) -> None:
        self._count, self._health = count, health
        self._reset()
        after_fork(self, "_reset")  # the threads that were inside exist only in the parent

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold one slot.

        Raises:
            StoreUnavailable: the server is away, or there was no slot in time.
        """
        self._acquire()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def wake_all(self) -> None:
        """Have everybody who waits look at the health of the server again."""
        with self._changed:
            self._changed.notify_all()

    def _reset(self) -> None:
        self._inside, self._changed = 0, threading.Condition()

    def _acquire(self) -> None:
        deadline = time.monotonic() + QUEUE_TIMEOUT
        with self._changed:
            self._health.check()
            while self._inside >= self._count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise self._health.refused(f"too busy: no turn within {QUEUE_TIMEOUT:g} s")
                self._health.check()
            self._inside += 1


class Script(NamedTuple):
    """A Lua script and the name under which a server knows it, its SHA-1."""

    source: str
    sha: str


class Sender:
    """Sends commands from threads.

    Args:
        health: of the server.
        target: as of :class:`Health`.
        open_client: makes the client, at the first command.
    """

    def __init__(self, health: Health, target: Target | None, open_client: Callable[[], Client]) -> None:
        self._health, self._target, self._open_client = health, target, open_client
        self._client: Client | None = None
        self._slots = Slots(IN_FLIGHT, health)

    def send(self, *words: Word) -> Reply:
        """One command; its reply.

        Raises:
            StoreUnavailable: no reply in time, or an error for a reply.
        """
        with self._slots.taken():
            try:
                reply = self._sent(words)
            except Exception as error:
                failure = _as_unavailable(error, self._health)
                if failure is None:
                    raise
                self._slots.wake_all()
                raise failure from None
        self._health.answers()
        return reply

    def run(self, script: Script, *words: Word) -> Reply:
        """One script, sent in full only to a server that does not know it."""
        from redis.exceptions import NoScriptError

        try:
            return self.send("EVALSHA", script.sha, *words)
        except NoScriptError:
            return self.send("EVAL", script.source, *words)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _sent(self, words: Sequence[Word]) -> Reply:
        if self._client is None:
            self._client = self._open_client()
        generation = self._target.generation if self._target is not None else 0
        try:
            return self._client.execute_command(*_resolved(words))
        except Exception as error:
            if self._target is None or wrong_server(error) is None:
                raise
            self._target.renew(generation, moved_to(error))
        return self._client.execute_command(*_resolved(words))


class AsyncSender:
    """Sends commands from event loops: one client for each, because a connection belongs to the loop that opened it.

    Args:
        health, target: as of :class:`Sender`.
        timeout: of the store, in seconds.
        open_client: makes the client of a loop.
    """

    def __init__(
        self, health: Health, target: Target | None, timeout: float, open_client: Callable[[], AsyncClient]
    ) -> None:
        self._health, self._target, self._timeout, self._open_client = health, target, timeout, open_client
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClient] = {}

    async def send(self, *words: Word) -> Reply:
        """As :meth:`Sender.send`."""
        own = await self._of_this_loop()
        async with self._slot(own.slots):
            try:
                reply = await self._sent(own.client, words)
            except Exception as error:
                failure = _as_unavailable(error, self._health)
                if failure is None:
                    raise
                raise failure from None
        self._health.answers()
        return reply

    async def run(self, script: Script, *words: Word) -> Reply:
        """As :meth:`Sender.run`."""
        from redis.exceptions import NoScriptError

        try:
            return await self.send("EVALSHA", script.sha, *words)
        except NoScriptError:
            return await self.send("EVAL", script.source, *words)

    async def close(self) -> None:
        """Close the client of the running loop."""
        own = self._loops.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.life.aclose()

    async def _of_this_loop(self) -> _LoopClient:
        loop = asyncio.get_running_loop()
        own = self._loops.get(loop)
        if own is None:
            for ended in [known for known in tuple(self._loops) if known.is_closed()]:
                self._loops.pop(ended, None)
            own = self._loops[loop] = _LoopClient(self._open_client())
            await anext(own.life)
        return own

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        self._health.check()
        try:
            # Before Python 3.12, wait_for() loses a cancellation that comes together with the turn.
            async with asyncio.timeout(QUEUE_TIMEOUT if slots.locked() else None):
                await slots.acquire()
        except TimeoutError:
            raise self._health.refused(f"too busy: no turn within {QUEUE_TIMEOUT:g} s") from None
        try:
            self._health.check()
            yield
        finally:
            slots.release()

    async def _sent(self, client: AsyncClient, words: Sequence[Word]) -> Reply:
        generation = self._target.generation if self._target is not None else 0
        try:
            return await self._in_time(client.execute_command(*_resolved(words)))
        except Exception as error:
            if self._target is None or wrong_server(error) is None:
                raise
            self._target.renew(generation, moved_to(error))
        return await self._in_time(client.execute_command(*_resolved(words)))

    async def _in_time(self, command: Awaitable[Reply]) -> Reply:
        deadline = ReplyDeadline(self._timeout)
        token = current_deadline.set(deadline)  # the task below runs in a copy of this context
        task = asyncio.ensure_future(command)
        current_deadline.reset(token)
        try:
            while not (await asyncio.wait({task}, timeout=deadline.part))[0]:
                if deadline.expired():
                    raise TimeoutError("no reply")
            return task.result()
        finally:
            task.cancel()  # breaks the connection, so that a late reply is never taken for another's


def _resolved(words: Sequence[Word]) -> Iterator[object]:
    return (word() if callable(word) else word for word in words)


class _LoopClient:
    """What belongs to one event loop."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.slots = asyncio.Semaphore(IN_FLIGHT)
        self.life = _until_loop_ends(client)


async def _until_loop_ends(client: AsyncClient) -> AsyncGenerator[None]:
    """Closes ``client`` even if nobody asks: an event loop that shuts down ends the async generators it has begun."""
    try:
        yield
    finally:
        await client.aclose()


def _as_unavailable(error: Exception, health: Health) -> StoreUnavailable | None:
    """What a failed command means to the caller; ``None`` when it is not about the server being there."""
    from redis.exceptions import ConnectionError as NotConnected
    from redis.exceptions import DataError, NoScriptError, RedisError
    from redis.exceptions import TimeoutError as NoReply

    if isinstance(error, (DataError, NoScriptError)):
        return None
    if (word := wrong_server(error)) is not None:
        return health.away(f"{word}: {_HINTS[word]}")
    if isinstance(error, (TimeoutError, NoReply)):
        return health.away("it does not answer", unanswered=True)
    if isinstance(error, (NotConnected, OSError)):
        return health.away(f"{type(error).__name__}: {error}", unanswered=True)
    if isinstance(error, RedisError):
        known = next((why for words, why in _CANNOT_WRITE.items() if words in str(error)), None)
        return health.refused(known or f"{type(error).__name__}: {error}")
    return None
