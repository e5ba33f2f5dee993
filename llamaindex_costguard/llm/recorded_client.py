"""The usage that a provider's client is told, where LlamaIndex's integration keeps only the text or the object.

For one call the integration's method runs on an LLM with the same settings, whose private attributes hand out its
clients wrapped. What a wrapped client returns goes into the reports of that call, and on to the integration as it is.
The LLM itself, its clients and what they send stay untouched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import wraps
from inspect import isawaitable, isroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from wrapt import ObjectProxy

from costguard_core.usage.client_reports import Answer, ClientReports

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    Proxy = ObjectProxy[Any]
else:  # before wrapt 2 it is not generic
    Proxy = ObjectProxy

# What a client is not, nor a part of one. An answer is a pydantic model or a dict, in every client that is known.
_DATA = (str, bytes, int, float, list, tuple, set, frozenset, Mapping, type, BaseModel, ModuleType, type(None))


def capped(llm: LLM, name: str, tokens: int) -> LLM:
    """A copy of ``llm`` for one call, whose setting ``name`` limits the answer to ``tokens``."""
    copy = llm.model_copy(update={name: tokens})
    # Shared, not copied: a client that the integration makes at its first call must be there for the next one.
    object.__setattr__(copy, "__pydantic_private__", llm.__pydantic_private__)
    return copy


def recording(llm: LLM, reports: ClientReports) -> LLM:
    """``llm`` for one call, with clients that tell ``reports`` what they are answered. Its settings are the same."""
    private = llm.__pydantic_private__
    if not private:
        return llm
    seen_as = type(llm).__new__(type(llm))
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__"):
        object.__setattr__(seen_as, name, getattr(llm, name))
    object.__setattr__(seen_as, "__pydantic_private__", _Private(private, reports))
    return seen_as


class _Private(dict[str, Any]):
    """An LLM's private attributes: clients are read wrapped; what is set reaches the LLM that was copied."""

    def __init__(self, shared: dict[str, Any], reports: ClientReports) -> None:
        super().__init__(shared)
        self._shared, self._reports = shared, reports

    def __getitem__(self, name: str) -> Any:
        value = self._shared[name]
        return value if isroutine(value) else _recorded(value, self._reports)

    def __setitem__(self, name: str, value: Any) -> None:
        # A client that the integration makes at its first call must be there for the next one.
        bare = value.__wrapped__ if type(value) is _Recorded else value
        super().__setitem__(name, bare)
        self._shared[name] = bare


class _Recorded(Proxy):
    """A client, a part of one, or a stream of one; to everybody who asks, it is the wrapped object."""

    def __init__(self, inner: Any, reports: ClientReports) -> None:
        super().__init__(inner)
        self._self_reports = reports
        self._self_answer: Answer | None = None

    def __getattr__(self, name: str) -> Any:
        return _recorded(getattr(self.__wrapped__, name), self._self_reports)

    def __enter__(self) -> Any:
        return _returned(self.__wrapped__.__enter__(), self._self_reports)

    async def __aenter__(self) -> Any:
        return _returned(await self.__wrapped__.__aenter__(), self._self_reports)

    def __iter__(self) -> Iterator[Any]:
        for chunk in self.__wrapped__:
            yield self._reported(chunk)

    def __next__(self) -> Any:
        return self._reported(next(self.__wrapped__))

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self.__wrapped__:
            yield self._reported(chunk)

    async def __anext__(self) -> Any:
        return self._reported(await anext(self.__wrapped__))

    def _reported(self, chunk: Any) -> Any:
        if self._self_answer is None:
            self._self_answer = self._self_reports.stream()
        self._self_answer.add(chunk)
        return chunk


def _recorded(part: Any, reports: ClientReports) -> Any:
    """A part of a client: its methods report what they return, and its parts are clients too."""
    if isinstance(part, _DATA) or type(part) is _Recorded:
        return part
    return _method(part, reports) if isroutine(part) else _Recorded(part, reports)


def _method(method: Callable[..., Any], reports: ClientReports) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = method(*args, **kwargs)
        return _awaited(made, reports) if isawaitable(made) else _returned(made, reports)

    return call


async def _awaited(made: Awaitable[Any], reports: ClientReports) -> Any:
    return _returned(await made, reports)


def _returned(made: Any, reports: ClientReports) -> Any:
    """What a method returned: an answer, a stream of one, or another part of the client."""
    if isinstance(made, (BaseModel, Mapping)):
        reports.add(made)
    return _recorded(made, reports)
