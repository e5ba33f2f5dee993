"""A chat model around a chat model: the complete path, with nothing that a callback or a global cache must leave out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from pydantic import PrivateAttr

from costguard_core import Attribution, Call, CostGuard, SpendLimitExceeded
from costguard_core.attribution import current_attribution
from costguard_core.breaker import Permit
from langchain_costguard import calls
from langchain_costguard.replay import replayed_chunks, replayed_result, static_chunk, static_result
from langchain_costguard.swap import swapped

# LangChain gives `_stream` no run manager and so no metadata: the attribution travels in the keyword arguments.
_WHO = "costguard_attribution"

# What LangChain's own machinery reads from the outer model and must find as on the inner one.
_MIRRORED = ("callbacks", "tags", "metadata", "profile", "output_version", "custom_get_token_ids", "verbose", "name")


class _Ask(NamedTuple):
    """One request, understood: whom it is for, what it may cost, what to send."""

    call: Call
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: dict[str, Any]


class GuardedChatModel(BaseChatModel):
    """``model``, with its calls budgeted, metered and cached; use it wherever the model was used.

    Tools, structured output, streaming, batch, async, agents and tracing (the real model's provider and name) work as before.
    Added: answers come from ``cache`` also in streams and also while a budget is spent; identical concurrent requests make one
    provider call; the output is capped at what the budget can pay; a cancelled or abandoned call is settled at once.

    Args:
        model: any LangChain chat model.
        guard: the bill it is on.
        cache: an ``ExactCache``, ``LayeredCache`` or any LangChain cache; ``None`` uses the one of ``set_llm_cache``, ``False`` none.
        stream_usage: ask for usage in streams, where the integration can (set it to ``False`` for servers that refuse
            ``stream_options``; streams are then metered by counting).
        fixed_output: never send a smaller ``max_tokens`` than the request has; refuse what the budget cannot pay in full.

    Raises (from every call):
        SpendLimitExceeded: refused before the provider was called, and the budget has no ``answer=``.
        UnpricedModelError: a money budget applies and the model has no price.
    """

    model: BaseChatModel
    guard: CostGuard
    stream_usage: bool = True
    fixed_output: bool = False

    _answers: BaseCache | bool | None = PrivateAttr(default=None)

    def __init__(self, model: BaseChatModel, guard: CostGuard, **options: Any) -> None:
        mirrored = {name: getattr(model, name, None) for name in _MIRRORED}
        super().__init__(model=model, guard=guard, **{**_present(mirrored), **options})  # type: ignore[call-arg]

    def model_post_init(self, context: Any, /) -> None:
        # LangChain would look up by its own key and never in streams: take the cache out of its hands.
        self._answers, self.cache = self.cache, False

    @property
    def _llm_type(self) -> str:
        return self.model._llm_type

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return self.model._identifying_params

    def __getattr__(self, name: str) -> Any:
        """What only the inner model has (``model_name``, ``temperature``, ``client``...) is found through this one."""
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            if name.startswith("__") or "model" not in self.__dict__:
                raise
            return getattr(self.model, name)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        kwargs.pop(_WHO, None)
        params = self.model._get_ls_params(stop=stop, **kwargs)
        return LangSmithParams(**params, **{calls.MARK: self.guard.mark})  # type: ignore[typeddict-item]

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(_WHO, None)
        return self.model._get_invocation_params(stop=stop, **kwargs)

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        kwargs.pop(_WHO, None)
        return self.model._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return swapped(self.model.bind_tools(tools, **kwargs), self.model, self)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        return swapped(self.model.with_structured_output(schema, **kwargs), self.model, self)

    def get_num_tokens(self, text: str) -> int:
        return self.model.get_num_tokens(text)

    def generate(self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> LLMResult:
        kwargs.setdefault(_WHO, current_attribution(metadata))
        return super().generate(messages, *args, metadata=metadata, **kwargs)

    async def agenerate(
        self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> LLMResult:
        kwargs.setdefault(_WHO, current_attribution(metadata))
        return await super().agenerate(messages, *args, metadata=metadata, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        kwargs.setdefault(_WHO, current_attribution(ensure_config(config).get("metadata")))
        return super().stream(input, config, **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        kwargs.setdefault(_WHO, current_attribution(ensure_config(config).get("metadata")))
        return super().astream(input, config, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        ask = self._ask(messages, stop, kwargs)
        with self._flight(ask) as flight:
            if flight.hit is not None:
                return replayed_result(self._hit(ask, flight.hit))
            try:
                permit = self.guard.before(ask.call)
            except SpendLimitExceeded as refusal:
                return static_result(refusal)
            try:
                self._take_turn()
                result = self.model._generate(messages, stop=stop, run_manager=run_manager, **self._sent(ask, permit))
            except BaseException as error:
                self.guard.fail(permit, error)
                raise
            self.guard.after(permit, *_usage(result), **_told(result))
            flight.done(result)
            return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        ask = self._ask(messages, stop, kwargs)
        async with self._aflight(ask) as flight:
            if flight.hit is not None:
                return replayed_result(self._hit(ask, flight.hit))
            try:
                permit = await self.guard.abefore(ask.call)
            except SpendLimitExceeded as refusal:
                return static_result(refusal)
            try:
                await self._atake_turn()
                sent = self._sent(ask, permit)
                result = await self.model._agenerate(messages, stop=stop, run_manager=run_manager, **sent)
            except BaseException as error:
                await asyncio.shield(self.guard.afail(permit, error))
                raise
            await asyncio.shield(self.guard.aafter(permit, *_usage(result), **_told(result)))
            await flight.done(result)
            return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        with self._flight(ask) as flight:
            if flight.hit is not None:
                yield from replayed_chunks(self._hit(ask, flight.hit))
                return
            try:
                permit = self.guard.before(ask.call)
            except SpendLimitExceeded as refusal:
                yield static_chunk(refusal)
                return
            chunks: list[ChatGenerationChunk] = []
            try:
                self._take_turn()
                for chunk in self._streamer()._stream(messages, stop=stop, **self._sent(ask, permit)):
                    chunks.append(chunk.model_copy())
                    yield chunk
            except BaseException as error:
                self.guard.fail(permit, error, **_delivered(chunks))
                raise
            result = generate_from_stream(iter(chunks))
            self.guard.after(permit, *_usage(result), **_told(result))
            flight.done(result)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        async with self._aflight(ask) as flight:
            if flight.hit is not None:
                for chunk in replayed_chunks(self._hit(ask, flight.hit)):
                    yield chunk
                return
            try:
                permit = await self.guard.abefore(ask.call)
            except SpendLimitExceeded as refusal:
                yield static_chunk(refusal)
                return
            chunks: list[ChatGenerationChunk] = []
            try:
                await self._atake_turn()
                async for chunk in self._streamer()._astream(messages, stop=stop, **self._sent(ask, permit)):
                    chunks.append(chunk.model_copy())
                    yield chunk
            except BaseException as error:
                await asyncio.shield(self.guard.afail(permit, error, **_delivered(chunks)))
                raise
            result = generate_from_stream(iter(chunks))
            await asyncio.shield(self.guard.aafter(permit, *_usage(result), **_told(result)))
            await flight.done(result)
