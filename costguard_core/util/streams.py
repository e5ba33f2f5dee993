"""Generators of somebody else's, read inside a context manager: in the name of whoever asked for them, for example; and
a text as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar, cast

T = TypeVar("T")
_END: Any = object()
_PIECE_CHARACTERS, _MOST_PIECES = 48, 64  # a choice
Within = Callable[[], AbstractContextManager[object]]


class GeneratorWithin(Generator[T, None, None]):
    """``inner``, of which each step is made inside what ``within`` returns."""

    def __init__(self, inner: Generator[T, None, None], within: Within) -> None:
        self._inner, self._within = inner, within

    def send(self, value: None, /) -> T:
        with self._within():
            found = next(self._inner, _END)
        if found is _END:  # raised here: a context manager that is a generator takes it for its own end
            raise StopIteration
        return cast(T, found)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> T:
        return self._inner.throw(kind if value is None else value)


class AsyncGeneratorWithin(AsyncGenerator[T, None]):
    """:class:`GeneratorWithin` for an event loop."""

    def __init__(self, inner: AsyncGenerator[T, None], within: Within) -> None:
        self._inner, self._within = inner, within

    async def asend(self, value: None, /) -> T:
        with self._within():
            found = await anext(self._inner, _END)
        if found is _END:
            raise StopAsyncIteration
        return cast(T, found)

    async def athrow(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> T:
        return await self._inner.athrow(kind if value is None else value)


def pieces_of(text: str) -> Iterator[str]:
    """A text as a stream shows it, in pieces small enough to look like one and few enough to cost nothing."""
    size = max(_PIECE_CHARACTERS, -(-len(text) // _MOST_PIECES))
    return (text[start : start + size] for start in range(0, len(text), size))
