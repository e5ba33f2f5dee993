"""Metering from LlamaIndex's own events, for models that nobody wrapped. Events cannot stop a call: guard_llm can."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from pydantic import PrivateAttr

from costguard_core import Call, CostGuard, Usage
from costguard_core.attribution import current_attribution
from costguard_core.budgets.admission import Permit
from costguard_core.guard import check_guard
from costguard_core.lifecycle.billable import was_billed
from costguard_core.lifecycle.nesting import is_watched
from costguard_core.pricing.providers import provider_id
from costguard_core.routing.cascade.route_context import current_route_context
from costguard_core.util.options import names_options
from llamaindex_costguard.callbacks.spans import SpanWatcher
from llamaindex_costguard.translate.answers import ResponseStream
from llamaindex_costguard.translate.messages import Chat, Prompt, Text


@dataclass(slots=True)
class _Under:
    """A call under way. ``nested``: another call was made inside it, and that one is counted instead."""

    call: Call
    prompt: Prompt | None
    seen: ResponseStream
    nested: bool = False


@names_options
class CostGuardEventHandler(BaseEventHandler):
    """Records every LLM and embedding call of the process on the bill of ``guard``, each once, whoever reports it.

    ``get_dispatcher().add_event_handler(CostGuardEventHandler(guard))``. Calls through :func:`guard_llm` and
    :func:`guard_embedding` of the same guard are recorded by those. What a call spent counts in the budgets, but it is
    not refused: LlamaIndex swallows whatever a handler raises.
    """

    _guard: CostGuard = PrivateAttr()
    _spans: SpanWatcher = PrivateAttr()
    _under: dict[str, _Under] = PrivateAttr(default_factory=dict)

    def __init__(self, guard: CostGuard) -> None:
        super().__init__()
        check_guard(guard)
        self._guard = guard
        self._spans = SpanWatcher(exited=self._exited, dropped=self._dropped)

    @classmethod
    def class_name(cls) -> str:
        return "CostGuardEventHandler"

    @property
    def guard(self) -> CostGuard:
        return self._guard

    def watch_spans(self) -> None:
        """Let the root dispatcher tell which call is inside which; done by the first event if nobody did it before."""
        handlers = get_dispatcher().span_handlers
        if self._spans not in handlers:
            handlers.append(self._spans)

    def detach(self) -> None:
        """Stop listening."""
        root = get_dispatcher()
        root.event_handlers = [handler for handler in root.event_handlers if handler is not self]
        root.span_handlers = [handler for handler in root.span_handlers if handler is not self._spans]

    def handle(self, event: BaseEvent, **kwargs: object) -> None:
        self.watch_spans()
        match event:
            case LLMChatStartEvent():
                self._start(event, event.model_dict, Chat(event.messages))
            case LLMCompletionStartEvent():
                self._start(event, event.model_dict, Text(event.prompt, formatted=True))
            case EmbeddingStartEvent():
                self._start(event, event.model_dict, None)
            case LLMChatInProgressEvent() | LLMCompletionInProgressEvent():
                self._progress(event)
            case LLMChatEndEvent() | LLMCompletionEndEvent():
                self._end(event)
            case EmbeddingEndEvent():
                self._embedded(event)
            case ExceptionEvent():
                self._broken(event.span_id, event.exception)
            case _:
                pass

    def _start(self, event: BaseEvent, model: dict[str, object], prompt: Prompt | None) -> None:
        span = event.span_id
        if span is None or is_watched(self._guard):
            return
        for outer in self._spans.around(span):
            if outer in self._under:
                self._under[outer].nested = True
                break
        provider, routed = _provider(model), current_route_context()
        call = Call(
            "",
            _name(model),
            self._guard.clock(),
            provider,
            current_attribution(event.tags, self._guard.tags),  # read now: at the end of a stream the tags are gone
            kind="embedding" if prompt is None else prompt.kind,
            route=None if routed is None else routed.route,
            baseline=None if routed is None else routed.baseline,
            host=self._spans.host(span),
        )
        self._under[span] = _Under(call, prompt, ResponseStream(provider))

    def _progress(self, event: LLMChatInProgressEvent | LLMCompletionInProgressEvent) -> None:
        under = self._under.get(event.span_id or "")
        if under is not None:
            under.seen.add(event.response)

    def _end(self, event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
        under = self._under.pop(event.span_id or "", None)
        if under is None or under.nested:
            return
        seen = under.seen
        if event.response is not None:
            seen.add(event.response)
        counted = seen.usage is None
        self._guard.after(
            self._permit(under, counted=counted), seen.usage, seen.model, (seen.text or "") if counted else ""
        )

    def _embedded(self, event: EmbeddingEndEvent) -> None:
        under = self._under.get(event.span_id or "")  # a batch ends once per request, all in one span
        if under is None:
            return
        model, provider = under.call.model, under.call.provider
        counts = [self._guard.tokens.count(text, model=model, provider=provider) for text in event.chunks]
        usage = Usage(input_tokens=sum(count.tokens for count in counts), estimated=True)
        self._guard.after(self._admitted(under, usage.input_tokens), usage)

    def _broken(self, span: str | None, error: BaseException | None) -> None:
        under = self._under.pop(span or "", None)
        if under is None or under.nested or under.prompt is None:
            return
        text, error = under.seen.text, error or RuntimeError("unknown")
        unknown = text is None and under.seen.usage is None and was_billed(error)
        permit = self._permit(under, counted=text is not None or unknown, length=None if unknown else 1)
        self._guard.fail(permit, error, under.seen.usage, text)

    def _exited(self, span: str) -> None:
        under = self._under.get(span)
        if under is not None and under.prompt is None:
            del self._under[span]

    def _dropped(self, span: str, error: BaseException | None) -> None:
        self._broken(span, error)
        self._under.pop(span, None)

    def _permit(self, under: _Under, *, counted: bool, length: int | None = 1) -> Permit:
        assert under.prompt is not None
        tokens = under.prompt.counted(self._guard, under.call.model, under.call.provider, {}).tokens if counted else 0
        return self._admitted(under, tokens, length)

    def _admitted(self, under: _Under, tokens: int, length: int | None = 1) -> Permit:
        # It is over: what it really cost is settled next, if anybody knows.
        call = replace(under.call, id=self._guard.new_id(), input_tokens=tokens, max_output_tokens=length)
        return self._guard.admit_anyway(call)


def _name(model: dict[str, object]) -> str:
    named = model.get("model_name") or model.get("model")
    return named if isinstance(named, str) and named != "unknown" else str(model.get("class_name", "(unknown)"))


def _provider(model: dict[str, object]) -> str | None:
    name = str(model.get("class_name", ""))
    return None if "like" in name.lower() else provider_id(name)
