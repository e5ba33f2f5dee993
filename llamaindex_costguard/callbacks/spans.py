"""Which call is inside which, where its model is, and in whose name an answer is read that is streamed later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import BoundArguments

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms import LLM
from llama_index_instrumentation.dispatcher import active_instrument_tags, instrument_tags
from pydantic import PrivateAttr

from costguard_core.attribution import current_attribution, use_attribution
from costguard_core.util.streams import AsyncGeneratorWithin, GeneratorWithin
from costguard_core.util.urls import host_in
from llamaindex_costguard.translate.keys import fields_of

_UNSEEN = (None, None)


class SpanWatcher(BaseSpanHandler[BaseSpan]):
    """Knows the parents of the spans under way, and tells of their ends.

    A query engine that streams calls its LLM when the answer is read, perhaps after the block that said for whom. The
    answer leaves through the end of the engine's span, which is still inside: there its generator is made to remember.
    """

    _under_way: dict[str, tuple[str | None, LLM | BaseEmbedding | None]] = PrivateAttr(default_factory=dict)
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
        while (outer := self._under_way.get(span, _UNSEEN)[0]) is not None:
            yield outer
            span = outer

    def host(self, span: str) -> str | None:
        """Where the model whose call this span is sends its requests. Events do not tell."""
        model = self._under_way.get(span, _UNSEEN)[1]
        return None if model is None else host_in(fields_of(model))

    def new_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        self._under_way[id_] = (parent_span_id, instance if isinstance(instance, (LLM, BaseEmbedding)) else None)

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object | None = None,
        result: object | None = None,
        **kwargs: object,
    ) -> None:
        self._under_way.pop(id_, None)
        if isinstance(result, (StreamingResponse, AsyncStreamingResponse)):
            remember_asker(result)
        self._exited(id_)

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object | None = None,
        err: BaseException | None = None,
        **kwargs: object,
    ) -> None:
        self._under_way.pop(id_, None)
        self._dropped(id_, err)


def remember_asker(response: StreamingResponse | AsyncStreamingResponse) -> None:
    """Let whoever reads this answer do so in the name of whoever asks now."""
    attribution, tags = current_attribution(), dict(active_instrument_tags.get())

    @contextmanager
    def asking() -> Iterator[None]:
        with use_attribution(attribution), instrument_tags(tags):
            yield

    if isinstance(response, StreamingResponse):
        if not isinstance(response.response_gen, GeneratorWithin):
            response.response_gen = GeneratorWithin(response.response_gen, asking)
    elif not isinstance(response.response_gen, AsyncGeneratorWithin):
        response.response_gen = AsyncGeneratorWithin(response.response_gen, asking)
