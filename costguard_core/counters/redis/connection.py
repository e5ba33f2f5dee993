"""How commands reach Redis: few at a time, bounded in time, and refused at once while the server is known to be away.

A caller waits in a queue of this process as long as others are being answered; once it is its turn, Redis has 90 ms.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from costguard_core.counters.redis.clients import IN_FLIGHT, Patience
from costguard_core.errors import StoreUnavailable
from costguard_core.util.forks import after_fork

# How long a caller queues for its turn while the server keeps answering others, in seconds.
QUEUE_PATIENCE = 5.0
# After a failure, callers are refused without asking for this long, in seconds; twice as long after each further one.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class Health:
    """Remembers a failure for a moment, so that a herd of callers is refused at once instead of waiting one by one."""

    def __init__(self, url: str, *, monotonic: Callable[[], float]) -> None:
        self._url, self._monotonic = url, monotonic
        self._until, self._pause, self._cause = float("-inf"), FIRST_PAUSE, ""

    def check(self) -> None:
        """Raise the remembered failure while it is fresh."""
        left = self._until - self._monotonic()
        if left > 0:
            raise StoreUnavailable(self._url, f"{self._cause}; will be asked again in {left:.1f} s")

    def away(self, cause: str) -> StoreUnavailable:
        """Remember that nobody answers; returns the error to raise."""
        now = self._monotonic()
        if now >= self._until:  # not one of many callers who found out together
            self._cause, self._until = cause, now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return self.refused(cause)

    def refused(self, cause: str) -> StoreUnavailable:
        """The error for a server that did answer, but not with what was asked for. Nothing is remembered."""
        return StoreUnavailable(self._url, cause)

    def answers(self) -> None:
        self._pause = FIRST_PAUSE


class Turnstile:
    """At most ``width`` threads inside; others queue outside and leave at once when the server is found to be away."""

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


class Script(NamedTuple):
    source: str
    sha: str


class Link:
    """Commands from threads."""

    def __init__(self, health: Health, client: Any) -> None:
        self._health, self._client = health, client
        self._turnstile = Turnstile(IN_FLIGHT, health)

    def call(self, *words: Any) -> Any:
        """One command. A word may be a function, asked when it is this caller's turn.

        Raises:
            StoreUnavailable: no reply in time, or an error for a reply.
        """
        with self._turnstile.turn():
            try:
                reply = self._client.execute_command(*_spoken(words))
            except Exception as error:
                failure = _translated(error, self._health)
                if failure is None:
                    raise
                self._turnstile.scatter()
                raise failure from None
        self._health.answers()
        return reply

    def run(self, script: Script, *words: Any) -> Any:
        """One script, sent in full only to a server that does not know it."""
        from redis.exceptions import NoScriptError

        try:
            return self.call("EVALSHA", script.sha, *words)
        except NoScriptError:
            return self.call("EVAL", script.source, *words)

    def close(self) -> None:
        self._client.close()


class AsyncLink:
    """Commands from event loops: one client for each, because a connection belongs to the loop that opened it."""

    def __init__(self, health: Health, timeout: float, open_client: Callable[[], Any]) -> None:
        self._health, self._timeout, self._open_client = health, timeout, open_client
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}

    async def call(self, *words: Any) -> Any:
        """As :meth:`Link.call`."""
        line = await self._line()
        async with self._turn(line.slots):
            try:
                reply = await self._answer(line.client.execute_command(*_spoken(words)))
            except Exception as error:
                failure = _translated(error, self._health)
                if failure is None:
                    raise
                raise failure from None
        self._health.answers()
        return reply

    async def run(self, script: Script, *words: Any) -> Any:
        """As :meth:`Link.run`."""
        from redis.exceptions import NoScriptError

        try:
            return await self.call("EVALSHA", script.sha, *words)
        except NoScriptError:
            return await self.call("EVAL", script.source, *words)

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
            task.cancel()  # breaks the connection, so that a late reply is never taken for another's


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


def _translated(error: Exception, health: Health) -> StoreUnavailable | None:
    """What a failed command means to the caller; ``None`` when it is not about the server being there."""
    from redis.exceptions import ConnectionError as NotConnected
    from redis.exceptions import DataError, NoScriptError, RedisError
    from redis.exceptions import TimeoutError as NoReply

    if isinstance(error, (DataError, NoScriptError)):
        return None
    if isinstance(error, (TimeoutError, NoReply)):
        return health.away("it does not answer")
    if isinstance(error, (NotConnected, OSError)):
        return health.away(f"{type(error).__name__}: {error}")
    if isinstance(error, RedisError):
        return health.refused(f"{type(error).__name__}: {error}")
    return None
