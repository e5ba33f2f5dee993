"""What an embedding request cost, from clients of OpenAI's kind, whose answers say so.

Integrations keep only the vectors of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any, Self

from costguard_core.usage.reader import read_usage


class Reported:
    """``tokens`` is the sum over the requests of one call; ``None``: no request said anything."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens: int | None = None

    def add(self, answer: Any) -> None:
        usage = read_usage(getattr(answer, "usage", None))
        if usage is not None:
            self.tokens = (self.tokens or 0) + usage.input_tokens


_current: ContextVar[Reported | None] = ContextVar("costguard_embedding_usage", default=None)


@contextmanager
def reporting(reported: Reported) -> Iterator[None]:
    """Collect in ``reported`` what the recorded clients report inside the block."""
    token = _current.set(reported)
    try:
        yield
    finally:
        _current.reset(token)


def recorded(client: Any) -> Any:
    """``client``, of which ``client.embeddings.create`` reports; everything else is the client's own."""
    return _Client(client) if hasattr(client, "embeddings") else client


class _Through:
    """Everything that is not defined here is the inner one's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Client(_Through):
    @property
    def embeddings(self) -> _Embeddings:
        return _Embeddings(self._inner.embeddings)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._inner.__exit__(*error)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._inner.__aexit__(*error)


class _Embeddings(_Through):
    def create(self, *args: Any, **kwargs: Any) -> Any:
        answer = self._inner.create(*args, **kwargs)
        return _awaited(answer) if isawaitable(answer) else _noted(answer)


async def _awaited(answer: Any) -> Any:
    return _noted(await answer)


def _noted(answer: Any) -> Any:
    reported = _current.get()
    if reported is not None:
        reported.add(answer)
    return answer
