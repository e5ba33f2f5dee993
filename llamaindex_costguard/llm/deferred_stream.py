"""A stream that is admitted when it is asked for and made when first read: one that is never read can be taken back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Admitted(Generator[T, None, None]):
    """``body``, a generator that nobody has started; ``unread`` is called if nobody ever does."""

    def __init__(self, body: Generator[T, None, None], unread: Callable[[], None]) -> None:
        self._body = body
        self._unread: Callable[[], None] | None = unread

    def send(self, value: None, /) -> T:
        self._unread = None
        return self._body.send(value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> T:
        self._take_back()
        return self._body.throw(kind if value is None else value)

    def close(self) -> None:
        self._take_back()
        self._body.close()

    def __del__(self) -> None:
        self._take_back()

    def _take_back(self) -> None:
        unread, self._unread = self._unread, None
        if unread is not None:
            unread()


class AsyncAdmitted(AsyncGenerator[T, None]):
    """:class:`Admitted` for an event loop."""

    def __init__(self, body: AsyncGenerator[T, None], unread: Callable[[], None]) -> None:
        self._body = body
        self._unread: Callable[[], None] | None = unread

    async def asend(self, value: None, /) -> T:
        self._unread = None
        return await self._body.asend(value)

    async def athrow(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> T:
        self._take_back()
        return await self._body.athrow(kind if value is None else value)

    async def aclose(self) -> None:
        self._take_back()
        await self._body.aclose()

    def __del__(self) -> None:
        self._take_back()

    def _take_back(self) -> None:
        unread, self._unread = self._unread, None
        if unread is not None:
            unread()
