"""Which call is inside which, and in whose name an answer is read that is streamed later."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from inspect import BoundArguments
from types import TracebackType
from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index_instrumentation.dispatcher import active_instrument_tags, instrument_tags
from pydantic import PrivateAttr

from costguard_core import Attribution
from costguard_core.attribution import current_attribution, use_attribution


class SpanWatcher(BaseSpanHandler[BaseSpan]):
    """Knows the parents of the spans under way, and tells of their ends.

    A query engine that streams calls its LLM when the answer is read, perhaps after the block that said for whom. The
    answer leaves through the end of the engine's span, which is still inside: there its generator is made to remember.
    """

    _parents: dict[str, str | None] = PrivateAttr(default_factory=dict)
    _exited: Callable[[str], None] = PrivateAttr()
    _dropped: Callable[[str, BaseException | None], None] = PrivateAttr()

    def __init__(self, *, exited: Callable[[str], None], dropped: Callable[[str, BaseException | None], None]) -> None:
        super().__init__()
        self._exited, self._dropped = exited, dropped

    @classmethod
    def class_name(cls) -> str:
        return "SpanWatcher"

    def around(self, span: str) -> Iterator[str]:
        """The spans around this one, from the inside."""
        outer = self._parents.get(span)
        while outer is not None:
            yield outer
            outer = self._parents.get(outer)

    def new_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._parents[id_] = parent_span_id

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any | None = None,
        result: Any | None = None,
        **kwargs: Any,
    ) -> None:
        self._parents.pop(id_, None)
        if isinstance(result, (StreamingResponse, AsyncStreamingResponse)):
            remember_asker(result)
        self._exited(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any | None = None,
        err: BaseException | None = None,
        **kwargs: Any,
    ) -> None:
        self._parents.pop(id_, None)
        self._dropped(id_, err)


def remember_asker(response: StreamingResponse | AsyncStreamingResponse) -> None:
    """Let whoever reads this answer do so in the name of whoever asks now."""
    asker = _Asker(current_attribution(), dict(active_instrument_tags.get()))
    if isinstance(response, StreamingResponse):
        if not isinstance(response.response_gen, _Named):
            response.response_gen = _Named(response.response_gen, asker)
    elif not isinstance(response.response_gen, _AsyncNamed):
        response.response_gen = _AsyncNamed(response.response_gen, asker)


class _Asker:
    """Who asks, to be entered for each step."""

    def __init__(self, attribution: Attribution, tags: dict[str, Any]) -> None:
        self._attribution, self._tags = attribution, tags
        self._entered: list[Any] = []

    def __enter__(self) -> None:
        self._entered = [use_attribution(self._attribution), instrument_tags(self._tags)]
        for manager in self._entered:
            manager.__enter__()

    def __exit__(self, *error: object) -> None:
        for manager in reversed(self._entered):
            manager.__exit__(None, None, None)


class _Named(Generator[str, None, None]):
    def __init__(self, inner: Generator[str, None, None], asker: _Asker) -> None:
        self._inner, self._asker = inner, asker

    def send(self, value: None, /) -> str:
        with self._asker:
            return next(self._inner)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> str:
        return self._inner.throw(kind if value is None else value)


class _AsyncNamed(AsyncGenerator[str, None]):
    def __init__(self, inner: AsyncGenerator[str, None], asker: _Asker) -> None:
        self._inner, self._asker = inner, asker

    async def asend(self, value: None, /) -> str:
        with self._asker:
            return await anext(self._inner)

    async def athrow(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> str:
        return await self._inner.athrow(kind if value is None else value)
