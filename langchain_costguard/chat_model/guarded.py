"""A chat model around a chat model: the complete path, with all that a callback or a global cache must leave out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManager, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from pydantic import Field, PrivateAttr

from costguard_core import CostGuard, SpendLimitExceeded
from langchain_costguard.chat_model.answers import Question, alooked, aturn, looked, turn
from langchain_costguard.chat_model.asking import TICKET, Ask, Ticket, paid_answer
from langchain_costguard.chat_model.rebind import swapped
from langchain_costguard.chat_model.replay import replayed_chunks, replayed_result, static_chunk, static_result
from langchain_costguard.translate import parameters as calls

# What LangChain's own machinery reads from the outer model and must find as on the inner one.
_MIRRORED = ("callbacks", "tags", "metadata", "profile", "output_version", "custom_get_token_ids", "verbose", "name")


_OPTIONS = ("stream_usage", "fixed_output", "billed_attempts")


class GuardedChatModel(BaseChatModel):
    """``model``, with its calls budgeted, metered and cached; use it wherever the model was used.

    Tools, structured output, streaming, batch, async, agents and tracing (the real model's provider and name) work as
    before. Added: answers come from ``cache`` also in streams and also while a budget is spent; identical concurrent
    requests make one provider call; the output is capped at what the budget can pay; a cancelled or abandoned call is
    settled at once.

    Args:
        model: any LangChain chat model.
        guard: the bill it is on.
        cache: an ``ExactCache``, ``LayeredCache`` or any LangChain cache; ``None`` uses the one of ``set_llm_cache``,
            ``False`` none.
        stream_usage: ask for usage in streams, where the integration can (set it to ``False`` for servers that refuse
            ``stream_options``; streams are then metered by counting).
        fixed_output: never send a smaller ``max_tokens`` than the request has; refuse what the budget cannot pay in
            full.
        billed_attempts: how many attempts of one call may be billed. An integration retries on its own, unseen;
            providers bill answers and not errors, but if yours bills an attempt that timed out, hold
            ``max_retries + 1``.

    Raises (from every call):
        SpendLimitExceeded: refused before the provider was called, and the budget has no ``answer=``.
        UnpricedModelError: a money budget applies and the model has no price.
    """

    model: BaseChatModel
    guard: CostGuard
    stream_usage: bool = True
    fixed_output: bool = False
    billed_attempts: int = Field(default=1, ge=1)

    _answers: BaseCache | bool | None = PrivateAttr(default=None)

    def __new__(cls, model: BaseChatModel | None = None, guard: CostGuard | None = None, **options: Any) -> Any:
        # A router is guarded tier by tier: only there are the model, its price and the key of its answers known.
        guarded_by = getattr(type(model), "guarded_by", None)
        if guarded_by is not None and guard is not None:
            return guarded_by(model, guard, **options)
        return super().__new__(cls)

    def __init__(self, model: BaseChatModel, guard: CostGuard, **options: Any) -> None:
        if isinstance(model, GuardedChatModel) and model.guard is guard:  # one bill, so one reservation
            options = {**{name: getattr(model, name) for name in _OPTIONS}, "cache": model._answers, **options}
            model = model.model
        mirrored = {name: getattr(model, name, None) for name in _MIRRORED}
        super().__init__(model=model, guard=guard, **{**_present(mirrored), **options})

    def model_post_init(self, context: Any, /) -> None:
        # LangChain would look up by its own key and never in streams: take the cache out of its hands.
        self._answers, self.cache = self.cache, False

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # Not the model's own words: an integration may print the headers that it signs in with.
        return [("model", type(self.model).__name__), ("guard", self.guard)]

    @property
    def has_cache(self) -> bool:
        """Whether it was told which cache to use, or to use none."""
        return self._answers is not None

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
        ticket: Ticket | None = kwargs.pop(TICKET, None)
        params = dict(self.model._get_ls_params(stop=stop, **kwargs))
        params[calls.MARK] = self.guard.mark  # handlers of the same guard see that this model does it all
        if ticket is not None:
            ticket.ls = params
        return cast(LangSmithParams, params)

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        ticket: Ticket | None = kwargs.pop(TICKET, None)
        params = self.model._get_invocation_params(stop=stop, **kwargs)
        if ticket is not None:
            ticket.params = params
        return params

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        kwargs.pop(TICKET, None)
        return self.model._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return swapped(self.model.bind_tools(tools, **kwargs), self.model, self)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        return swapped(self.model.with_structured_output(schema, **kwargs), self.model, self)

    def get_num_tokens(self, text: str) -> int:
        return self.model.get_num_tokens(text)

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        if self._unwatched(config):
            ask = self._ask_early(input, config, stop, kwargs)
            assert ask.cache is not None
            ask.ticket.begun = looked(ask.cache, ask.question)
            if ask.ticket.begun.served is not None:
                return _finished(ask.hit(ask.ticket.begun.served))
        return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        if self._unwatched(config):
            ask = self._ask_early(input, config, stop, kwargs)
            assert ask.cache is not None
            ask.ticket.begun = await alooked(ask.cache, ask.question)
            if ask.ticket.begun.served is not None:
                return _finished(ask.hit(ask.ticket.begun.served))
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    def generate(self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> LLMResult:
        kwargs.setdefault(TICKET, self._ticket(metadata))
        return super().generate(messages, *args, metadata=metadata, **kwargs)

    async def agenerate(
        self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> LLMResult:
        kwargs.setdefault(TICKET, self._ticket(metadata))
        return await super().agenerate(messages, *args, metadata=metadata, **kwargs)

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        kwargs.setdefault(TICKET, self._ticket(ensure_config(config).get("metadata")))
        return super().stream(input, config, **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        kwargs.setdefault(TICKET, self._ticket(ensure_config(config).get("metadata")))
        return super().astream(input, config, **kwargs)

    def stream_events(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        # Version 3 goes straight to `_stream`, past `stream`; the others come by there.
        kwargs.setdefault(TICKET, self._ticket(ensure_config(config).get("metadata")))
        return super().stream_events(input, config, **kwargs)

    def astream_events(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        kwargs.setdefault(TICKET, self._ticket(ensure_config(config).get("metadata")))
        return super().astream_events(input, config, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        ask = self._ask(messages, stop, kwargs)
        with turn(ask.cache, ask.question, ask.ticket.begun) as mine:
            if mine.served is not None:
                return replayed_result(ask.hit(mine.served))
            try:
                permit = self.guard.before(ask.call())
            except SpendLimitExceeded as refusal:
                return static_result(refusal)
            try:
                self._take_turn()
                result = self.model._generate(messages, stop=stop, run_manager=run_manager, **ask.sent(permit))
            except BaseException as error:
                self.guard.fail(permit, error)
                raise
            charge = self.guard.after(*ask.told(permit, result))
            mine.keep(*paid_answer(result, charge, permit.call))
            return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        ask = self._ask(messages, stop, kwargs)
        async with aturn(ask.cache, ask.question, ask.ticket.begun) as mine:
            if mine.served is not None:
                return replayed_result(ask.hit(mine.served))
            try:
                permit = await self.guard.abefore(await ask.acall())
            except SpendLimitExceeded as refusal:
                return static_result(refusal)
            try:
                await self._atake_turn()
                sent = ask.sent(permit)
                result = await self.model._agenerate(messages, stop=stop, run_manager=run_manager, **sent)
            except BaseException as error:
                await asyncio.shield(self.guard.afail(permit, error))
                raise
            charge = await asyncio.shield(self.guard.aafter(*ask.told(permit, result)))
            await mine.akeep(*paid_answer(result, charge, permit.call))
            return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        with turn(ask.cache, ask.question, ask.ticket.begun) as mine:
            if mine.served is not None:
                yield from replayed_chunks(ask.hit(mine.served))
                return
            try:
                permit = self.guard.before(ask.call())
            except SpendLimitExceeded as refusal:
                yield static_chunk(refusal)
                return
            chunks: list[ChatGenerationChunk] = []
            try:
                self._take_turn()
                for chunk in self._streamer()._stream(messages, stop=stop, **ask.sent(permit)):
                    chunks.append(chunk.model_copy())
                    yield chunk
            except BaseException as error:
                self.guard.fail(*ask.broken(permit, error, chunks))
                raise
            result = generate_from_stream(iter(chunks))
            charge = self.guard.after(*ask.told(permit, result))
            mine.keep(*paid_answer(result, charge, permit.call))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        async with aturn(ask.cache, ask.question, ask.ticket.begun) as mine:
            if mine.served is not None:
                for chunk in replayed_chunks(ask.hit(mine.served)):
                    yield chunk
                return
            try:
                permit = await self.guard.abefore(await ask.acall())
            except SpendLimitExceeded as refusal:
                yield static_chunk(refusal)
                return
            chunks: list[ChatGenerationChunk] = []
            try:
                await self._atake_turn()
                async for chunk in self._streamer()._astream(messages, stop=stop, **ask.sent(permit)):
                    chunks.append(chunk.model_copy())
                    yield chunk
            except BaseException as error:
                await asyncio.shield(self.guard.afail(*ask.broken(permit, error, chunks)))
                raise
            result = generate_from_stream(iter(chunks))
            charge = await asyncio.shield(self.guard.aafter(*ask.told(permit, result)))
            await mine.akeep(*paid_answer(result, charge, permit.call))

    def _ask(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Ask:
        sent = {name: value for name, value in kwargs.items() if name != TICKET}
        ticket: Ticket = kwargs.get(TICKET) or self._ticket(ensure_config().get("metadata"))
        question = Question(self.model, messages, stop, sent, ticket.attribution)
        return Ask(self, question, self._cache(), ticket)

    def _ticket(self, metadata: Mapping[str, Any] | None) -> Ticket:
        """For a request with this metadata; the model's own wins over it, as it does in LangChain's runs."""
        return Ticket({**(metadata or {}), **(self.metadata or {})})

    def _unwatched(self, config: RunnableConfig | None) -> bool:
        """Whether nobody would be told of a run, so that a hit need not be one: telling nobody takes time too."""
        if self._cache() is None or self.output_version == "v1":
            return False
        callbacks = (config or ensure_config()).get("callbacks")
        return not CallbackManager.configure(callbacks, self.callbacks, self.verbose).handlers

    def _ask_early(
        self, input: LanguageModelInput, config: RunnableConfig | None, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Ask:
        """The request before LangChain has started a run for it. A miss goes on with what was found out here."""
        ticket = kwargs.setdefault(TICKET, self._ticket(ensure_config(config).get("metadata")))
        assert isinstance(ticket, Ticket)
        return self._ask(self._convert_input(input).to_messages(), stop, kwargs)

    def _cache(self) -> BaseCache | None:
        if isinstance(self._answers, BaseCache):
            return self._answers
        return None if self._answers is False else get_llm_cache()

    def _streamer(self) -> BaseChatModel:
        """The model to stream from: one that asks for usage, unless somebody has decided otherwise."""
        fields = type(self.model).model_fields
        undecided = "stream_usage" in fields and "stream_usage" not in self.model.model_fields_set
        return self.model.model_copy(update={"stream_usage": True}) if self.stream_usage and undecided else self.model

    def _take_turn(self) -> None:
        if self.model.rate_limiter is not None:
            self.model.rate_limiter.acquire(blocking=True)

    async def _atake_turn(self) -> None:
        if self.model.rate_limiter is not None:
            await self.model.rate_limiter.aacquire(blocking=True)


def _finished(generations: list[ChatGeneration]) -> AIMessage:
    """What ``invoke`` returns: the first answer, with the metadata that LangChain would have moved to it."""
    first = generations[0]
    assert isinstance(first.message, AIMessage)
    first.message.response_metadata = {**(first.generation_info or {}), **first.message.response_metadata}
    return first.message


def _present(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
