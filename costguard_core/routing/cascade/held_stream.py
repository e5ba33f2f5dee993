"""Streams whose beginning is read before anybody sees it, so that another tier can still be asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from itertools import chain
from typing import Any, Generic, Self, TypeVar, cast

from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing.cascade.cascade import Cascade, is_parse_error
from costguard_core.routing.decision import Decision

C = TypeVar("C")
_END: Any = object()


class HeldStream(Generic[C]):
    """The stream of one tier. Iterating over it returns the values that were not read before.

    Args:
        values: the stream.
        within: returns a context manager in which each step of the stream is made.
    """

    def __init__(self, values: Iterator[C], within: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self.held: list[C] = []
        """The values that were read before anybody saw them."""
        self.is_whole = False
        """Nothing is left to be read."""
        self.error: Exception | None = None
        """Raised by an integration that could not parse the answer, while it was checked."""
        self._values, self._within = values, within

    def read(self, *, whole: bool, parsed: bool) -> Self:
        """Read it as a whole, or as far as it takes to know that it is not a refusal: the first value.

        Whatever the stream raises is raised, after it was closed, but for parse errors of a ``whole`` stream that the
        integration has ``parsed``: these are kept in ``error``.
        """
        try:
            for value in self:
                self.held.append(value)
                if not whole:
                    break
        except BaseException as error:
            self.close()
            if not (whole and parsed and is_parse_error(error)):
                raise
            self.error = error
        return self

    def shown(self, mark: Callable[[C], C]) -> Generator[C, None, None]:
        """All values for the caller, as ``mark`` returns them. Raises ``error``, and closes the stream at the end."""
        if self.error is not None:
            raise self.error
        with closing(self):
            for value in chain(self.held, self):
                yield mark(value)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> C:
        with self._within():
            value = next(self._values, _END)
        if value is _END:
            self.is_whole = True
            raise StopIteration
        return cast(C, value)

    def close(self) -> None:
        """Close the stream, if it can be closed."""
        close = getattr(self._values, "close", None)
        if callable(close):
            close()


class AsyncHeldStream(Generic[C]):
    """:class:`HeldStream` for an event loop."""

    def __init__(
        self, values: AsyncIterator[C], within: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.held: list[C] = []
        self.is_whole = False
        self.error: Exception | None = None
        self._values, self._within = values, within

    async def read(self, *, whole: bool, parsed: bool) -> Self:
        try:
            async for value in self:
                self.held.append(value)
                if not whole:
                    break
        except BaseException as error:
            await self.aclose()
            if not (whole and parsed and is_parse_error(error)):
                raise
            self.error = error
        return self

    async def shown(self, mark: Callable[[C], C]) -> AsyncGenerator[C, None]:
        if self.error is not None:
            raise self.error
        async with aclosing(self):
            for value in self.held:
                yield mark(value)
            async for value in self:
                yield mark(value)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> C:
        with self._within():
            value = await anext(self._values, _END)
        if value is _END:
            self.is_whole = True
            raise StopAsyncIteration
        return cast(C, value)

    async def aclose(self) -> None:
        close = getattr(self._values, "aclose", None)
        if callable(close):
            await close()


def accepted_stream(
    cascade: Cascade[HeldStream[C]],
    open_stream: Callable[[Decision], HeldStream[C]],
    *,
    opened: HeldStream[C] | None = None,
    parsed: bool = False,
) -> HeldStream[C]:
    """The stream for the caller, of which as much was read as it took to accept it.

    Args:
        cascade: decides.
        open_stream: opens the stream of a tier.
        opened: the stream of the first tier, where it is open already (see :meth:`Cascade.first_step`).
        parsed: the integration may parse answers, and what it cannot parse fails the check.
    """
    first = [] if opened is None else [opened]

    def ask(decision: Decision) -> HeldStream[C]:
        stream = first.pop() if first else open_stream(decision)
        return stream.read(whole=cascade.is_checked, parsed=parsed)

    return run(cascade.steps(ask, close=HeldStream.close))


async def aaccepted_stream(
    cascade: Cascade[AsyncHeldStream[C]],
    open_stream: Callable[[Decision], Awaitable[AsyncHeldStream[C]]],
    *,
    opened: AsyncHeldStream[C] | None = None,
    parsed: bool = False,
) -> AsyncHeldStream[C]:
    """:func:`accepted_stream` on an event loop."""
    first = [] if opened is None else [opened]

    async def ask(decision: Decision) -> AsyncHeldStream[C]:
        stream = first.pop() if first else await open_stream(decision)
        return await stream.read(whole=cascade.is_checked, parsed=parsed)

    return await arun(cascade.steps(ask, close=AsyncHeldStream.aclose))
