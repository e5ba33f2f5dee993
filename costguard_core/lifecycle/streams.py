"""Streams whose first item is fetched before anything is sent on: what refuses a call still has a status code then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


async def astart_stream(stream: AsyncIterable[T]) -> AsyncGenerator[T]:
    """The same items, of which the first has arrived: ``StreamingResponse(await astart_stream(answer()))``.

    A web server sends its status with the first byte. A stream is asked for when it is first read, so that a refusal
    inside of a response comes too late; here it is raised, and may become a 429. Closing what is returned closes
    ``stream``.

    Raises what the first step of ``stream`` raises.
    """
    source: Any = aiter(stream)
    first = await anext(source, _END)

    async def items() -> AsyncGenerator[T]:
        try:
            if first is not _END:
                yield first
                async for item in source:
                    yield item
        finally:
            if hasattr(source, "aclose"):
                await source.aclose()

    return items()


def start_stream(stream: Iterable[T]) -> Generator[T]:
    """:func:`astart_stream` for plain functions, which web servers run in threads."""
    source: Any = iter(stream)
    first = next(source, _END)

    def items() -> Generator[T]:
        try:
            if first is not _END:
                yield first
                yield from source
        finally:
            if hasattr(source, "close"):
                source.close()

    return items()
