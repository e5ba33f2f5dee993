"""One request to a guarded chat model, in LangChain's terms: the port through which the core's lifecycle makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from costguard_core import Call, Charge, SpendLimitExceeded
from costguard_core.attribution import current_attribution
from costguard_core.budgets.admission import Permit
from costguard_core.cache import Answer, CachedAnswer
from costguard_core.cache.layers import CacheLayer
from costguard_core.lifecycle import calls
from costguard_core.lifecycle.request import END, ModelRequest
from costguard_core.routing.run_metadata import ROUTE, baseline_of
from costguard_core.types import MARK, UsageReport
from costguard_core.usage.client_reports import NO_REPORTS
from costguard_core.usage.parameters import Known, capped, model_name, output_limits, wants_form, with_settings
from costguard_core.usage.recorded_client import recorded_clients, with_recorded_client
from langchain_costguard.caches.base import LayeredLookup
from langchain_costguard.caches.layered import layers_of
from langchain_costguard.caches.model_call import REQUEST
from langchain_costguard.chat_model.replay import replayed_chunks
from langchain_costguard.translate import parameters
from langchain_costguard.translate.answers import (
    answer_of,
    answering_model,
    chunks_usage,
    decode_hit,
    result_usage,
    text_of,
)
from langchain_costguard.translate.keys import ChatContent
from langchain_costguard.translate.messages import read_messages

if TYPE_CHECKING:
    from langchain_costguard.chat_model.guarded import GuardedChatModel


class ChatRequest(ModelRequest[ChatResult, ChatGenerationChunk]):
    """One request. Made when LangChain is called, for the metadata; :meth:`asking` adds the messages.

    Attributes:
        outer: the guarded model, with its options.
        cache: what may answer; ``None``: nothing.
        attribution, route, baseline: who asks, and the router's decision, from the run's metadata.
        ls, params: LangSmith's description of the model and how it is invoked, where LangChain has worked them out.
    """

    def __init__(self, outer: GuardedChatModel, metadata: Mapping[str, Any], cache: BaseCache | None) -> None:
        self.outer, self.guard, self.cache = outer, outer.guard, cache
        self.attribution = current_attribution(metadata, self.guard.tags)
        self.route: str | None = metadata.get(ROUTE)
        self.baseline = None if self.route is None else baseline_of(metadata)
        self.ls: Mapping[str, Any] | None = None
        self.params: Mapping[str, Any] | None = None
        self.looked_up, self.cached = False, None
        self._messages: Sequence[BaseMessage] | None = None
        self._layers: Sequence[CacheLayer] | None = None
        self._stop: list[str] | None = None
        self._kwargs: dict[str, Any] = {}
        self._run_manager: Any = None
        self._received: list[ChatGenerationChunk] = []
        self._reports = NO_REPORTS

    def asking(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, object],
        *,
        run_manager: object = None,
        streamed: bool = False,
        asynchronous: bool = False,
    ) -> ChatRequest:
        """This request with its messages; a copy for each further prompt of one ``generate``."""
        request = self if self._messages is None or self.looked_up else copy(self)
        if request is not self:
            request._layers, request.cached = None, None
        request._messages, request._stop = messages, stop
        request._kwargs = dict(kwargs)
        request._kwargs.pop(REQUEST, None)
        request._run_manager, request.streamed, request.asynchronous = run_manager, streamed, asynchronous
        request._received, request._reports = [], NO_REPORTS
        return request

    # Before the call

    def layers(self) -> Sequence[CacheLayer]:
        if self._layers is None:
            cache, model = self.cache, self.outer.model
            if cache is None:
                self._layers = ()
            else:
                content = ChatContent(model, self._messages or (), self._stop, self._kwargs, self.attribution)
                self._layers = (
                    cache.layers_for(content) if isinstance(cache, LayeredLookup) else layers_of(cache, content)
                )
        return self._layers

    @property
    def characters(self) -> int:
        return sum(len(str(message.content)) for message in self._messages or ())

    def call(self) -> Call:
        outer = self.outer
        return calls.chat_call(
            self.guard,
            read_messages(self._messages or ()),
            Known(*map((self.ls or self._model_description()).get, parameters.KNOWN)),
            self._invocation(),
            self.attribution,
            cappable=not outer.fixed_output and parameters.output_cap(type(outer.model)) is not None,
            attempts=outer.billed_attempts,
            profile=outer.profile,
            route=self.route,
            baseline=self.baseline,
            host=outer.host,
            account=outer.account,
        )

    # The call

    def send(self, permit: Permit) -> Any:
        if self.asynchronous:
            return self._asend(permit)
        limiter = self.outer.model.rate_limiter
        if limiter is not None:
            limiter.acquire(blocking=True)
        model, sent = self.outer.model, self._kwargs
        if permit.max_output_tokens is not None or recorded_clients(type(model)) is not None:
            model, sent = self._asked(permit.max_output_tokens)
        messages = list(self._messages or ())
        if self.streamed:
            return self._streamer(model)._stream(messages, stop=self._stop, **sent)
        return model._generate(messages, stop=self._stop, run_manager=self._run_manager, **sent)

    async def _asend(self, permit: Permit) -> Any:
        limiter = self.outer.model.rate_limiter
        if limiter is not None:
            await limiter.aacquire(blocking=True)
        model, sent = self.outer.model, self._kwargs
        if permit.max_output_tokens is not None or recorded_clients(type(model)) is not None:
            model, sent = self._asked(permit.max_output_tokens)
        messages = list(self._messages or ())
        if self.streamed:
            return self._streamer(model)._astream(messages, stop=self._stop, **sent)
        return await model._agenerate(messages, stop=self._stop, run_manager=self._run_manager, **sent)

    def _asked(self, tokens: int | None) -> tuple[BaseChatModel, dict[str, Any]]:
        """The model to ask, capped and with a client that says what the call cost, and the arguments of the call."""
        model, kwargs = self.outer.model, self._kwargs
        cap = None if tokens is None or self.outer.fixed_output else parameters.output_cap(type(model))
        if cap is not None and tokens is not None:
            params = self._invocation()
            kwargs = capped(kwargs, params, cap, tokens)
            if cap.is_field:
                model = model.model_copy(update={cap.name: min([tokens, *output_limits(params)])})
        provider = (self.ls or self._model_description()).get("ls_provider")
        model, self._reports = with_recorded_client(model, provider, asynchronous=self.asynchronous)
        return model, kwargs

    def next_chunk(self, stream: Any) -> Any:
        if self.asynchronous:
            return self._anext_chunk(stream)
        return self._kept(next(stream, END))

    async def _anext_chunk(self, stream: AsyncIterator[ChatGenerationChunk]) -> Any:
        return self._kept(await anext(stream, END))

    def _kept(self, chunk: Any) -> Any:
        if chunk is not END:
            self._received.append(chunk.model_copy())  # LangChain writes into the chunk that it is given
        return chunk

    def received(self) -> ChatResult | None:
        return generate_from_stream(iter(self._received)) if self._received else None

    def _streamer(self, model: BaseChatModel) -> BaseChatModel:
        """The model to stream from: one that asks for usage, unless somebody has decided otherwise."""
        fields = type(model).model_fields
        undecided = "stream_usage" in fields and "stream_usage" not in model.model_fields_set
        return model.model_copy(update={"stream_usage": True}) if self.outer.stream_usage and undecided else model

    # After the call

    def usage_report(self, answer: ChatResult | None) -> UsageReport:
        if answer is None:
            return UsageReport(prompt_tokens=self._prompt_tokens)
        generations, told = answer.generations, answer.llm_output
        streamed = chunks_usage(self._received, self._model_description().get("ls_provider")) if self.streamed else None
        return UsageReport(
            (None if self._reports is NO_REPORTS else self._reports.usage) or result_usage(generations, told, streamed),
            answering_model(generations, told),
            partial(text_of, generations),
            self._prompt_tokens,
            lambda: read_messages(self._messages or ()).letters(),
        )

    def failure_report(self) -> UsageReport:
        text = partial(text_of, self._received) if self._received else None
        usage = None if self.streamed else self._reports.usage  # of an answer that could not be read
        return UsageReport(usage, text=text, prompt_tokens=self._prompt_tokens)

    def encode(self, answer: ChatResult, charge: Charge) -> Answer:
        """The answer with the response metadata that LangChain adds to it afterwards."""
        told = answer.llm_output or {}
        kept = []
        for generation in answer.generations:
            message = generation.message.model_copy()
            message.response_metadata = {**told, **(generation.generation_info or {}), **message.response_metadata}
            kept.append(ChatGeneration(message=message, generation_info=generation.generation_info))
        provider = (self.ls or self._model_description()).get("ls_provider")
        return replace(answer_of(kept), usage=charge.usage, cost=charge.cost, model=charge.model, provider=provider)

    def _prompt_tokens(self) -> int:
        prompt = read_messages(self._messages or ())
        return calls.prompt_tokens(self.guard, prompt, self._known(), self._invocation())

    # Answers without a call

    def replay(self, cached: CachedAnswer) -> ChatResult:
        answer, generations = cached.answer, []
        model, provider = answer.model, answer.provider
        if model is None:
            known = self._known()
            model, provider = model_name(known, {}), known.provider
        outer, texts = self.outer, read_messages(self._messages or ()).texts
        asked = (self.guard, texts, model, provider, self.attribution)
        call = calls.hit_call(*asked, route=self.route, baseline=self.baseline, host=outer.host, account=outer.account)
        for found in decode_hit(cached):
            if isinstance(found, ChatGeneration):
                generations.append(found)
        calls.record_hit(self.guard, call, cached, answer)
        return ChatResult(generations=generations)

    def static_reply(self, refusal: SpendLimitExceeded) -> ChatResult:
        if wants_form(self._kwargs) and not self.outer._keeps_raw:  # an object or a tool call is wanted
            raise refusal
        message = AIMessage(content=refusal.static_text, response_metadata={MARK: refusal.mark})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def chunks(self, answer: ChatResult) -> Iterable[ChatGenerationChunk]:
        return replayed_chunks(answer.generations)

    def _model_description(self) -> Mapping[str, Any]:
        if self.ls is None:
            self.ls = self.outer.model._get_ls_params(stop=self._stop, **self._kwargs)
        return self.ls

    def _known(self) -> Known:
        return Known(*map((self.ls or self._model_description()).get, parameters.KNOWN))

    def _invocation(self) -> Mapping[str, Any]:
        """How the model is invoked, with the arguments of the call."""
        params = self.params
        if params is None:
            params = self.params = self.outer.model._get_invocation_params(stop=self._stop, **self._kwargs)
        fields = self.outer.model.__dict__
        if fields.get("model_kwargs") or fields.get("num_predict") or fields.get("max_completion_tokens"):
            params = with_settings(params, fields)
        return {**params, **self._kwargs} if self._kwargs else params
