"""A provider's client that tells what it is answered, and is in all else the client that it was.

What a recorded client returns goes into the reports of a call, and on to whoever asked it as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import lru_cache, wraps
from inspect import isawaitable, isroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from wrapt import ObjectProxy

from costguard_core.usage.client_reports import NO_REPORTS, Answer, ClientReports, Reports

if TYPE_CHECKING:
    Proxy = ObjectProxy[Any]
else:  # before wrapt 2 it is not generic
    Proxy = ObjectProxy

# What a client is not, nor a part of one. An answer is a pydantic model or a dict, in every client that is known.
_DATA = (str, bytes, int, float, list, tuple, set, frozenset, Mapping, type, BaseModel, ModuleType, type(None))

# LangChain's integrations that drop parts of a usage, by class: the sound in Gemini's prompts; for how long Claude
# writes its cache, in a stream; what Perplexity says that a call cost; Mistral's cached tokens and which models Groq's
# systems asked, in a stream; whatever servers that imitate OpenAI add to its usage (costs, cached tokens, fees), in a
# stream and in the Responses API. With the attributes in which they keep their blocking and their async clients.
_CLIENTS = {
    "ChatAnthropic": (("_client",), ("_async_client",)),
    "ChatGoogleGenerativeAI": (("client",), ("client",)),
    "ChatPerplexity": (("client",), ("async_client",)),
    "ChatMistralAI": (("client",), ("async_client",)),
    "ChatGroq": (("client",), ("async_client",)),
    "BaseChatOpenAI": (("client", "root_client"), ("async_client", "root_async_client")),
}
M = TypeVar("M", bound=BaseModel)


class RecordedClient(Proxy):
    """A client, a part of one, or a stream of one; to everybody who asks, it is the wrapped object."""

    def __init__(self, inner: object, reports: Reports) -> None:
        super().__init__(inner)
        self._self_reports = reports
        self._self_answer: Answer | None = None

    def __getattr__(self, name: str) -> Any:
        # What a stream returns (its whole answer) is of the answer that its chunks are of.
        return recorded(getattr(self.__wrapped__, name), self._self_answer or self._self_reports)

    def __enter__(self) -> Any:
        return _returned(self.__wrapped__.__enter__(), self._self_reports)

    async def __aenter__(self) -> Any:
        return _returned(await self.__wrapped__.__aenter__(), self._self_reports)

    async def __aexit__(self, *error: object) -> Any:  # before wrapt 2 a proxy has none
        return await self.__wrapped__.__aexit__(*error)

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

    def _reported(self, chunk: object) -> Any:
        if self._self_answer is None:
            self._self_answer = self._self_reports.stream()
        self._self_answer.add(chunk)
        return chunk


def recorded(part: object, reports: Reports) -> Any:
    """A part of a client: its methods report what they return, and its parts are clients too."""
    if isinstance(part, _DATA) or type(part) is RecordedClient:
        return part
    return _method(part, reports) if isroutine(part) else RecordedClient(part, reports)


def with_recorded_client(model: M, provider: str | None, *, asynchronous: bool) -> tuple[M, ClientReports]:
    """``model`` for one call, with a client that is recorded where its integration keeps only a part of an answer.

    Args:
        model: a pydantic model; its settings and connections are the same afterwards.
        provider: whose usage it is.
        asynchronous: whether the async client will be asked.
    """
    name = recorded_clients(type(model))
    if name is None:
        return model, NO_REPORTS
    reports = ClientReports(provider)
    clients = {attribute: recorded(getattr(model, attribute), reports) for attribute in name[asynchronous]}
    return model.model_copy(update=clients), reports


@lru_cache(maxsize=256)
def recorded_clients(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The attributes of models of this class that hold clients to be recorded, blocking and asynchronous; ``None``:
    its integration passes on all that the provider says."""
    return next((found for base in kind.__mro__ if (found := _CLIENTS.get(base.__name__)) is not None), None)


def _method(method: Callable[..., Any], reports: Reports) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = method(*args, **kwargs)
        return _awaited(made, reports) if isawaitable(made) else _returned(made, reports)

    return call


async def _awaited(made: Awaitable[Any], reports: Reports) -> Any:
    return _returned(await made, reports)


def _returned(made: object, reports: Reports) -> Any:
    """What a method returned: an answer, a stream of one, or another part of the client."""
    if isinstance(made, (BaseModel, Mapping)):
        reports.add(made)
    return recorded(made, reports)
