"""A chat model around a chat model: the complete path, with all that a callback or a global cache must leave out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManager, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, ensure_config
from langchain_core.runnables.config import var_child_runnable_config
from pydantic import Field, PrivateAttr

from costguard_core import CostGuard
from costguard_core.cache import layers
from costguard_core.cache.declared import under_rules
from costguard_core.guard import check_guard
from costguard_core.lifecycle.drivers import arun, astream, run, stream
from costguard_core.lifecycle.lifecycle import model_call
from costguard_core.types import MARK
from costguard_core.util.options import check_call_options, check_kind, check_spelling
from costguard_core.util.urls import host_in
from langchain_costguard.caches.base import LayeredLookup
from langchain_costguard.caches.exact import opened_cache
from langchain_costguard.caches.model_call import REQUEST
from langchain_costguard.chat_model.rebind import rebound
from langchain_costguard.chat_model.request import ChatRequest
from langchain_costguard.translate.keys import Config

# What LangChain's own machinery reads from the outer model and must find as on the inner one.
_MIRRORED = ("callbacks", "tags", "metadata", "profile", "output_version", "custom_get_token_ids", "verbose", "name")
_OPTIONS = ("stream_usage", "fixed_output", "billed_attempts", "account")

_Stop = list[str] | None
_Run = CallbackManagerForLLMRun | None
_AsyncRun = AsyncCallbackManagerForLLMRun | None


class GuardedChatModel(BaseChatModel):
    """``model``, with its calls budgeted, metered and cached; use it wherever the model was used.

    Tools, structured output, streaming, batch, async, agents and tracing (the real model's provider and name) work as
    before. Added: answers come from ``cache`` also in streams and also while a budget is spent; identical concurrent
    requests make one provider call; the output is capped at what the budget can pay; a cancelled or abandoned call is
    settled at once.

    Args:
        model: any LangChain chat model.
        guard: the bill it is on.
        cache: an ``ExactCache`` or its URL, a ``LayeredCache`` or any LangChain cache; ``None`` uses the one of
            ``set_llm_cache``, ``False`` none.
        stream_usage: ask for usage in streams, where the integration can (set it to ``False`` for servers that refuse
            ``stream_options``; streams are then metered by counting).
        fixed_output: never send a smaller ``max_tokens`` than the request has; refuse what the budget cannot pay in
            full.
        billed_attempts: how many attempts of one call may be billed. An integration retries on its own, unseen;
            providers bill answers and not errors, but if yours bills an attempt that timed out, hold
            ``max_retries + 1``.
        account: a name for the key or the project that is billed, for the ledger; never the key itself.
        host: where the model sends its requests, if its settings do not say so.

    Raises (from every call):
        SpendLimitExceeded: refused before the provider was called, and no ``answer=`` of the budget will do.
        UnpricedModelError: a money budget applies and the model has no price.
    """

    model: BaseChatModel
    guard: CostGuard
    stream_usage: bool = True
    fixed_output: bool = False
    billed_attempts: int = 1
    account: str | None = None
    host: str | None = None

    # A field, so that what LangChain makes of this one's fields, as `configurable_fields` does, has the cache too.
    answer_cache: BaseCache | bool | None = Field(default=None, exclude=True, repr=False)
    _keeps_raw: bool = PrivateAttr(default=False)

    def __new__(cls, model: BaseChatModel | None = None, guard: CostGuard | None = None, **options: object) -> Self:
        # A router is guarded tier by tier: only there are the model, its price and the key of its answers known.
        guarded_by = getattr(type(model), "guarded_by", None)
        if guarded_by is not None and guard is not None:
            return cast(Self, guarded_by(model, guard, **options))
        return super().__new__(cls)

    def __init__(self, model: BaseChatModel, guard: CostGuard, **options: object) -> None:
        check_guard(guard)
        check_kind("model", model, BaseChatModel, 'a chat model of LangChain, such as ChatOpenAI(model="gpt-4o-mini")')
        if "cache" in options:
            options["cache"] = opened_cache(options["cache"], bool)
        if isinstance(model, GuardedChatModel) and model.guard is guard:  # one bill, so one reservation
            options = {**{name: getattr(model, name) for name in _OPTIONS}, "cache": model.answer_cache, **options}
            model = model.model
        _check_options(options, type(self))
        mirrored = {name: value for name in _MIRRORED if (value := getattr(model, name, None)) is not None}
        super().__init__(model=model, guard=guard, **{**mirrored, **options})

    def model_post_init(self, context: object, /) -> None:
        # LangChain would look up by its own key and never in streams: take the cache out of its hands.
        if self.answer_cache is None:
            self.answer_cache = under_rules(self.cache, self.guard)
        self.cache = False
        self.host = self.host or host_in(self.model.__dict__)

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # Not the model's own words: an integration may print the headers that it signs in with.
        return [("model", type(self.model).__name__), ("guard", self.guard)]

    @property
    def has_cache(self) -> bool:
        """Whether it was told which cache to use, or to use none."""
        return self.answer_cache is not None

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

    def _get_ls_params(self, stop: _Stop = None, **kwargs: Any) -> LangSmithParams:
        request: ChatRequest | None = kwargs.pop(REQUEST, None)
        params = dict(self.model._get_ls_params(stop=stop, **kwargs))
        params[MARK] = self.guard.mark  # handlers of the same guard see that this model does it all
        if request is not None:
            request.ls = params
        return cast(LangSmithParams, params)

    def _get_invocation_params(self, stop: _Stop = None, **kwargs: Any) -> dict[str, Any]:
        request: ChatRequest | None = kwargs.pop(REQUEST, None)
        params = self.model._get_invocation_params(stop=stop, **kwargs)
        if request is not None:
            request.params = params
        return params

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        kwargs.pop(REQUEST, None)
        return self.model._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return rebound(self.model.bind_tools(tools, **kwargs), self.model, self)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        outer = self.model_copy() if kwargs.get("include_raw") else self
        outer._keeps_raw = outer is not self  # a static reply is its raw message, of which nothing is parsed
        return rebound(self.model.with_structured_output(schema, **kwargs), self.model, outer)

    def get_num_tokens(self, text: str) -> int:
        return self.model.get_num_tokens(text)

    def get_token_ids(self, text: str) -> list[int]:
        return self.model.get_token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> int:
        return self.model.get_num_tokens_from_messages(messages, *args, **kwargs)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        return self.model._combine_llm_outputs(llm_outputs)  # a hit has none, as one of LangChain's own caches

    # What users call: the request is made here, where its metadata is known. LangChain looks up nothing: the cache was
    # taken out of its hands.

    def invoke(
        self, input: LanguageModelInput, config: Config = None, *, stop: _Stop = None, **kwargs: object
    ) -> AIMessage:
        request = self._early_request(input, config, stop, kwargs)
        if request.looked_up:
            request.cached = layers.find(request.layers())
            if request.cached is not None:
                return _message(request.replay(request.cached))
        return super().invoke(input, config, stop=stop, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: Config = None, *, stop: _Stop = None, **kwargs: object
    ) -> AIMessage:
        request = self._early_request(input, config, stop, kwargs)
        if request.looked_up:
            request.cached = await layers.afind(request.layers())
            if request.cached is not None:
                return _message(request.replay(request.cached))
        return await super().ainvoke(input, config, stop=stop, **kwargs)

    def generate(self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> LLMResult:
        kwargs[REQUEST] = kwargs.get(REQUEST) or self._request(metadata)
        return super().generate(messages, *args, metadata=metadata, **kwargs)

    async def agenerate(
        self, messages: Any, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> LLMResult:
        kwargs[REQUEST] = kwargs.get(REQUEST) or self._request(metadata)
        return await super().agenerate(messages, *args, metadata=metadata, **kwargs)

    def stream(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Iterator[AIMessageChunk]:
        return super().stream(input, config, **self._requested(config, kwargs))

    def astream(self, input: LanguageModelInput, config: Config = None, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        return super().astream(input, config, **self._requested(config, kwargs))

    def stream_events(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        # Version 3 goes straight to `_stream`, past `stream`; the others come by there.
        return super().stream_events(input, config, **self._requested(config, kwargs))

    def astream_events(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        return super().astream_events(input, config, **self._requested(config, kwargs))

    # What LangChain calls: the lifecycle, with the driver of each way

    def _generate(
        self, messages: list[BaseMessage], stop: _Stop = None, run_manager: _Run = None, **kwargs: Any
    ) -> ChatResult:
        asked: ChatRequest = kwargs.get(REQUEST) or self._asking(kwargs)
        result: ChatResult = run(model_call(asked.asking(messages, stop, kwargs, run_manager=run_manager)))
        return result

    async def _agenerate(
        self, messages: list[BaseMessage], stop: _Stop = None, run_manager: _AsyncRun = None, **kwargs: object
    ) -> ChatResult:
        request = self._asking(kwargs).asking(messages, stop, kwargs, run_manager=run_manager, asynchronous=True)
        return await arun(model_call(request))

    def _stream(
        self, messages: list[BaseMessage], stop: _Stop = None, run_manager: _Run = None, **kwargs: object
    ) -> Iterator[ChatGenerationChunk]:
        return stream(model_call(self._asking(kwargs).asking(messages, stop, kwargs, streamed=True)))

    def _astream(
        self, messages: list[BaseMessage], stop: _Stop = None, run_manager: _AsyncRun = None, **kwargs: object
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._asking(kwargs).asking(messages, stop, kwargs, streamed=True, asynchronous=True)
        return astream(model_call(request))

    def _request(self, metadata: Mapping[str, object] | None) -> ChatRequest:
        """For a run with this metadata; the model's own wins over it, as it does in LangChain's runs."""
        answers = self.answer_cache
        cache = answers if isinstance(answers, BaseCache) else None if answers is False else get_llm_cache()
        return ChatRequest(self, {**(metadata or {}), **(self.metadata or {})}, cache)

    def _requested(self, config: Config, kwargs: dict[str, object]) -> dict[str, Any]:
        if kwargs.get(REQUEST) is None:
            kwargs[REQUEST] = self._request(ensure_config(config).get("metadata"))
        return kwargs

    def _asking(self, kwargs: Mapping[str, Any]) -> ChatRequest:
        return kwargs.get(REQUEST) or self._request(ensure_config().get("metadata"))

    def _early_request(
        self, input: LanguageModelInput, config: Config, stop: _Stop, kwargs: dict[str, Any]
    ) -> ChatRequest:
        """The request before LangChain has started a run for it, which goes on with it.

        It is to be looked up at once if no callback would see the run: making one takes time too, and a hit need not be
        one.
        """
        request: ChatRequest | None = kwargs.get(REQUEST)
        if request is None:
            # Outside of any chain and without a config there is no metadata either.
            outside = config is None and var_child_runnable_config.get() is None
            request = kwargs[REQUEST] = self._request(None if outside else ensure_config(config).get("metadata"))
        if not isinstance(request.cache, LayeredLookup) or self.output_version == "v1":
            return request
        callbacks = (config or ensure_config()).get("callbacks")
        if CallbackManager.configure(callbacks, self.callbacks, self.verbose).handlers:
            return request
        request = request.asking(self._convert_input(input).to_messages(), stop, kwargs)
        request.looked_up = True
        return request


# LangChain looks at the parameters of `_generate` for every call; kept, they are not worked out each time.
for _function in map(vars(GuardedChatModel).__getitem__, ("_generate", "_agenerate")):
    _function.__signature__ = signature(_function)


def _message(result: ChatResult) -> AIMessage:
    """What ``invoke`` returns: the first answer, with the metadata that LangChain would have moved to it."""
    first = result.generations[0]
    assert isinstance(first.message, AIMessage)
    first.message.response_metadata = {**(first.generation_info or {}), **first.message.response_metadata}
    return first.message


def _check_options(options: Mapping[str, object], kind: type[GuardedChatModel]) -> None:
    """Check what LangChain's base class would ignore or convert. It lets other names pass, such as ``temperature``.

    Raises:
        ConfigurationError: an option is misspelt, or has a value that it cannot have.
    """
    fields = kind.model_fields
    check_spelling("GuardedChatModel", options, fields, fields)
    check_call_options(**{name: options.get(name, fields[name].default) for name in _OPTIONS})
