"""One request to a guarded LLM, in LlamaIndex's terms: the port through which the core's lifecycle makes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from costguard_core import Call, Charge, SpendLimitExceeded
from costguard_core.budgets.admission import Permit
from costguard_core.cache import Answer, CachedAnswer
from costguard_core.cache.layers import CacheLayer
from costguard_core.cache.semantic.template import is_forming, retrieved
from costguard_core.lifecycle import calls, drivers
from costguard_core.lifecycle.lifecycle import Send, model_call
from costguard_core.lifecycle.request import END, ModelRequest
from costguard_core.routing.cascade.route_context import current_route_context
from costguard_core.types import MARK, UsageReport
from costguard_core.usage.client_reports import ClientReports
from costguard_core.usage.parameters import wants_form
from llamaindex_costguard.llm.recorded_client import capped, recording
from llamaindex_costguard.llm.settings import Guarding
from llamaindex_costguard.translate.answers import (
    Response,
    ResponseStream,
    answer_of,
    as_chunk,
    decode_hit,
    model_of,
    text_of,
    usage_of,
)
from llamaindex_costguard.translate.call_context import Scope
from llamaindex_costguard.translate.keys import RequestContent, who_asks
from llamaindex_costguard.translate.messages import Chat, Prompt

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

# A stream is admitted when it is asked for, and made when it is first read.
_WHEN_READ = (Send, drivers.Emit)


class LLMRequest(RequestContent, ModelRequest[Response, Any]):
    """One call of one of LlamaIndex's methods.

    ``method`` is its name; ``bare`` finds that of the integration.
    """

    must_hear_end = True

    def __init__(
        self,
        llm: LLM,
        guarding: Guarding,
        method: str,
        prompt: Prompt,
        kwargs: Mapping[str, object],
        bare: Callable[[LLM], Any],
    ) -> None:
        super().__init__(guarding.settings.of(llm), prompt, kwargs, retrieved(), who_asks(guarding.guard.tags))
        self.guard = guarding.guard
        self.looked_up, self.cached = False, None
        self.streamed = self.asynchronous = False
        self._llm, self._guarding, self._method, self._bare = llm, guarding, method, bare
        self._started = self.guard.clock()
        self._route_context = current_route_context()
        self._formed = is_forming()
        self._scope = Scope(self.guard)
        self._reports: ClientReports | None = None

    # The four ways of calling

    def run(self) -> Any:
        """Answer a plain call."""
        answer = drivers.run(model_call(self))
        return self.prompt.given(answer) if self.prompt.is_structured else answer

    async def arun(self) -> Any:
        """:meth:`run` for an event loop."""
        self.asynchronous = True
        return self.prompt.given(await drivers.arun(model_call(self)))

    def stream(self) -> Generator[Any, None, None]:
        """Answer or refuse a stream, or admit it: it is made when it is first read."""
        self.streamed, self._seen = True, ResponseStream(self.settings.provider)
        flow = model_call(self)
        return drivers.stream(flow, drivers.begin(flow, _WHEN_READ))

    async def astream(self) -> AsyncGenerator[Any, None]:
        """:meth:`stream` for an event loop."""
        self.streamed = self.asynchronous = True
        self._seen = ResponseStream(self.settings.provider)
        flow = model_call(self)
        return drivers.astream(flow, await drivers.abegin(flow, _WHEN_READ))

    # Before the call

    def layers(self) -> Sequence[CacheLayer]:
        cache = self._guarding.cache
        return () if cache is None else cache.request_layers(self)

    @property
    def characters(self) -> int:
        return self.prompt.read.size

    def call(self) -> Call:
        guarding, routed = self._guarding, self._route_context
        return calls.settings_call(
            self.guard,
            self.prompt,
            self.settings,
            self.kwargs,
            self.attribution,
            started=self._started,
            fixed_output=guarding.fixed_output,
            attempts=guarding.billed_attempts,
            account=guarding.account,
            route=None if routed is None else routed.route,
            baseline=None if routed is None else routed.baseline,
        )

    # The call

    def send(self, permit: Permit) -> Any:
        if self.asynchronous:
            return self._asend(permit)
        with self._scope:
            sent = self._make(permit)
            return iter(sent) if self.streamed else self.prompt.received(sent)

    async def _asend(self, permit: Permit) -> Any:
        with self._scope:
            sent = await self._make(permit)
            return aiter(sent) if self.streamed else self.prompt.received(sent)

    def next_chunk(self, stream: Any) -> Any:
        if self.asynchronous:
            return self._anext_chunk(stream)
        with self._scope:
            chunk = next(stream, END)
        return self._chunk(chunk)

    async def _anext_chunk(self, stream: Any) -> Any:
        with self._scope:
            chunk = await anext(stream, END)
        return self._chunk(chunk)

    def _chunk(self, chunk: object) -> Any:
        if chunk is END:
            return END
        response = self.prompt.received(chunk)
        self._seen.add(response)
        return self.prompt.given(response)

    def received(self) -> Response | None:
        return self._seen.last

    def _make(self, permit: Permit) -> Any:
        """Call the integration's own method, with the cap that the budget set."""
        arguments, more = self.prompt.arguments
        kwargs = {**more, **self.kwargs}
        if self.streamed and self._guarding.stream_usage and not self.prompt.is_structured:
            kwargs |= self.settings.usage_wish(self.kwargs)
        return getattr(self._bare(self._asked(permit.max_output_tokens)), self._method)(*arguments, **kwargs)

    def _asked(self, cap: int | None) -> LLM:
        """The LLM to ask: with the cap that a budget set, and with clients that say what it cost."""
        llm, name = self._llm, None if cap is None else self.settings.limit_field_with(self.kwargs)
        if name is not None and cap is not None:
            llm = capped(llm, name, cap)
        if self.settings.reports_usage or not llm.__pydantic_private__:
            return llm
        self._reports = ClientReports(self.settings.provider)
        return recording(llm, self._reports)

    # After the call

    def usage_report(self, answer: Response | None) -> UsageReport:
        told, routed, letters = self._reports, self._route_context, self.prompt.read.letters
        usage, model = (None, None) if told is None else (told.usage, told.model)
        if self.streamed:
            seen = self._seen
            if routed is not None and seen.last is not None:
                routed.responses.append(seen.last)
                routed.finish_reason = next(iter(seen.finish), None)
            usage = usage or seen.usage
            if usage is not None and self.settings.states_own_cost:
                usage = replace(usage, stated_cost=None)
            return UsageReport(usage, model or seen.model, lambda: seen.text or "", self._prompt_tokens, letters)
        assert answer is not None
        if routed is not None:
            routed.responses.append(answer)
        usage = usage or usage_of(answer, self.settings.provider) or self._scope.reported
        return UsageReport(usage, model or model_of(answer), partial(text_of, answer), self._prompt_tokens, letters)

    def failure_report(self) -> UsageReport:
        text = self._seen.text if self.streamed else None
        usage = None if self.streamed or self._reports is None else self._reports.usage
        return UsageReport(usage, text=None if text is None else lambda: text, prompt_tokens=self._prompt_tokens)

    def encode(self, answer: Response, charge: Charge) -> Answer:
        if self.streamed:
            stored = answer_of(answer, finish=tuple(self._seen.finish), refused=self._seen.refused)
        else:
            stored = answer_of(answer)
        return replace(stored, usage=charge.usage, cost=charge.cost)

    def ended(self) -> None:
        self._scope.open = False

    def _prompt_tokens(self) -> int:
        return self.prompt.counted(self.guard, self.settings.model, self.settings.provider, self.kwargs).tokens

    # Answers without a call

    def replay(self, cached: CachedAnswer) -> Response:
        settings, routed = self.settings, self._route_context
        call = calls.hit_call(
            self.guard,
            self.prompt.read.texts,
            settings.model,
            settings.provider,
            self.attribution,
            kind=self.prompt.kind,
            started=self._started,
            route=None if routed is None else routed.route,
            baseline=None if routed is None else routed.baseline,
            host=settings.host,
            account=self._guarding.account,
        )
        response = decode_hit(cached, self._guarding.inner, as_chat=isinstance(self.prompt, Chat))
        calls.record_hit(self.guard, call, cached)
        if routed is not None:
            routed.responses.append(response)
        return response

    def static_reply(self, refusal: SpendLimitExceeded) -> Response:
        """Raises ``refusal`` also where text is no answer, because an object or a tool call is wanted."""
        if self._formed or wants_form(self.kwargs):
            raise refusal
        static = self.prompt.static(refusal.static_text, {MARK: refusal.mark})
        if static is None:
            raise refusal
        if self._route_context is not None:
            self._route_context.responses.append(static)
        return static

    def chunks(self, answer: Response) -> Iterable[Any]:
        yield self.prompt.given(as_chunk(answer))
