"""A chat model that is several: each request goes to the cheapest one that is good enough for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs
from pydantic import PrivateAttr

from costguard_core import CostGuard
from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing import Decision
from costguard_core.routing.cascade import BaseTieredRouter, RouterOptions, RoutingEngine
from costguard_core.routing.cascade.base_router import same_as
from costguard_core.routing.decision import route_in
from langchain_costguard.caches.exact import opened_cache
from langchain_costguard.router import streams
from langchain_costguard.router.structured import RoutedOutput
from langchain_costguard.router.tier_call import TierCall
from langchain_costguard.router.tiers import CHAT_MODEL_TIERS, check_options, common_profile
from langchain_costguard.router.translate import messages_of, with_route
from langchain_costguard.translate.keys import Config

_AsyncChunks = AsyncIterator[AIMessageChunk]
_RUN_ARGUMENTS = ("tags", "metadata", "run_name", "run_id")  # of ``generate``, besides the callbacks
_INHERITED = ("callbacks", "tags", "metadata")  # of the router itself: whichever tier answers gets them


class TieredRouter(BaseTieredRouter, BaseChatModel):
    """Several chat models as one. Use it wherever one of them was used.

    Like ``RunnableBranch``, when you know which model a request needs (a condition gets the list of messages, which
    also has ``.text``, ``.tag``, ``.turns``, ``.input_tokens`` …; ``|`` chains work too)::

        TieredRouter((lambda messages: len(messages.text) > 500, strong), (is_about_code, coder), cheap)

    By a score, when you want it to find out; keywords name the tiers, cheapest first, in any number::

        TieredRouter(cheap=mini, strong=large, score=learned("router.json"), share=0.3)

    One request is one run, of the model that answers: its name, its usage, its tokens. The answer says why it came from
    there: ``response_metadata["costguard"]["route"]``; so do the run's metadata and the ledger. A session
    (``attribute(session=...)``, ``thread_id``) stays on its model while changing costs more than it saves. Where a
    budget with ``on_exceed="downgrade"`` refuses a tier, the next cheaper one answers.

    Args:
        cache: see :class:`GuardedChatModel`.

    All other options are those of :class:`costguard_core.routing.cascade.RouterOptions`; ``temperature``,
    ``tags`` and what else LangChain gives to chat models may be given too.
    """

    models: dict[str, BaseChatModel]
    guard: CostGuard | None = None

    _engine: RoutingEngine = PrivateAttr()

    @same_as(BaseTieredRouter.__init__)
    def __init__(self, *branches: object, **options: object) -> None: ...

    def _construct(self, branches: Sequence[Any], named: dict[str, Any], options: RouterOptions, cache: Any) -> None:
        models = {name: named.pop(name) for name, value in list(named.items()) if isinstance(value, BaseChatModel)}
        models |= named.pop("models", {})
        check_options(named, type(self).model_fields)
        models, engine = CHAT_MODEL_TIERS.build(branches, models, options, cache=opened_cache(cache, bool))
        fields = {"profile": common_profile(models.values()), **named}
        BaseChatModel.__init__(self, models=models, guard=options.guard, **fields)
        self._engine = engine

    def explain(self, input: object, config: Config = None, **kwargs: object) -> Decision:
        """What would be decided about this input now. Spends nothing, asks no judge, remembers nothing."""
        return TierCall[Any](self, messages_of(input), ensure_config(config), kwargs).explain()

    def is_hard(self, input: object, config: Config = None) -> bool:
        """Whether the input goes to a dearer tier than the first: ``RunnableBranch((router.is_hard, …), …)``."""
        return TierCall[Any](self, messages_of(input), ensure_config(config)).is_hard()

    def _route_of(self, answer: BaseMessage) -> Mapping[str, Any]:
        return route_in(answer.response_metadata)

    def guarded_by(self, guard: CostGuard, *, cache: BaseCache | str | bool | None = None, **options: object) -> Self:
        """The same router, remembering together with this one, with its tiers on the bill of ``guard``."""
        kept = opened_cache(cache, bool)  # one for all tiers
        models, engine = CHAT_MODEL_TIERS.guard_all(self.models, self._engine, guard, cache=kept, **options)
        copied = self.model_copy(update={"models": models, "guard": guard})
        copied._engine = engine
        return copied

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # Not the reprs of the models: an integration may print the headers that it signs in with.
        runs = {name: CHAT_MODEL_TIERS.runs(model).name for name, model in self.models.items()}
        return [("models", runs), ("guard", self.guard)]

    @property
    def _llm_type(self) -> str:
        return "costguard-tiered-router"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        # Whatever is keyed by the router (not by its tiers) must differ when any tier does.
        return {"tiers": {name: dict(model._identifying_params) for name, model in self.models.items()}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: object) -> LangSmithParams:
        return self._strongest._get_ls_params(stop=stop, **kwargs)

    def get_num_tokens(self, text: str) -> int:
        return self._strongest.get_num_tokens(text)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=list(tools), **kwargs)  # each tier binds them its own way, once it is chosen

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        return RoutedOutput(self, schema, kwargs)

    def invoke(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> AIMessage:
        call = self._call(input, config, kwargs).start()
        answer: AIMessage = run(call.cascade.steps(call.ask("invoke")))
        return with_route(answer, call.finish(answer))

    async def ainvoke(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> AIMessage:
        call = await self._call(input, config, kwargs).astart()
        answer: AIMessage = await arun(call.cascade.steps(call.ask("ainvoke")))
        return with_route(answer, call.finish(answer))

    def stream(self, input: LanguageModelInput, config: Config = None, **kwargs: Any) -> Iterator[AIMessageChunk]:
        return streams.routed(self._call(input, config, kwargs, streams.message_held))

    def astream(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> _AsyncChunks:
        return streams.arouted(self._call(input, config, kwargs, streams.message_held))

    def _chat_model_stream_v3(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        return streams.routed_events(self._call(input, config, kwargs, streams.message_of_events))

    async def _achat_model_stream_v3(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        return await streams.arouted_events(self._call(input, config, kwargs, streams.message_of_events))

    def generate(
        self, messages: list[list[BaseMessage]], stop: list[str] | None = None, callbacks: Any = None, **kwargs: Any
    ) -> LLMResult:
        begun = (call.start() for call in self._calls_to_generate(messages, stop, callbacks, kwargs))
        return _joined([_with_route(run(one.cascade.steps(one.ask_to_generate("generate"))), one) for one in begun])

    async def agenerate(
        self, messages: list[list[BaseMessage]], stop: list[str] | None = None, callbacks: Any = None, **kwargs: object
    ) -> LLMResult:
        async def result(call: TierCall[LLMResult]) -> LLMResult:
            await call.astart()
            return _with_route(await arun(call.cascade.steps(call.ask_to_generate("agenerate"))), call)

        return _joined(await asyncio.gather(*map(result, self._calls_to_generate(messages, stop, callbacks, kwargs))))

    # What LangChain calls of a model that another one wraps. GuardedChatModel does not: it guards the tiers instead.

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.invoke(messages, stop=stop, **kwargs))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=await self.ainvoke(messages, stop=stop, **kwargs))])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self.stream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in self.astream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    @property
    def _strongest(self) -> BaseChatModel:
        return list(self.models.values())[-1]

    def _config(self, config: Config) -> RunnableConfig:
        config = ensure_config(config)
        own: Any = {name: value for name in _INHERITED if (value := getattr(self, name))}
        return merge_configs(own, config) if own else config

    def _call(self, input: LanguageModelInput, config: Config, *call: Any) -> TierCall[Any]:
        return TierCall(self, self._convert_input(input).to_messages(), self._config(config), *call)

    def _calls_to_generate(
        self, prompts: list[list[BaseMessage]], stop: list[str] | None, callbacks: object, kwargs: dict[str, object]
    ) -> list[TierCall[LLMResult]]:
        """One call for each prompt; the run id is that of the first."""
        config: Any = {"callbacks": callbacks} | {name: kwargs.pop(name, None) for name in _RUN_ARGUMENTS}
        run_id = config.pop("run_id")
        shared = {name: value for name, value in config.items() if value is not None}
        configs: list[Any] = [{**shared, "run_id": run_id}, *([shared] * len(prompts))]
        options = {**kwargs, "stop": stop}
        return [self._call(prompt, configs[index], options, _message_of) for index, prompt in enumerate(prompts)]


def _message_of(result: LLMResult) -> BaseMessage:
    return cast(ChatGeneration, result.generations[0][0]).message


def _with_route(result: LLMResult, call: TierCall[LLMResult]) -> LLMResult:
    decision = call.finish(_message_of(result))
    row = [
        generation.model_copy(update={"message": with_route(cast(AIMessage, generation.message), decision)})
        for generation in cast(list[ChatGeneration], result.generations[0])
    ]
    return result.model_copy(update={"generations": [row]})


def _joined(results: Sequence[LLMResult]) -> LLMResult:
    """Results of one prompt each as the result of all. The usage is on the messages, since the models differ."""
    if len(results) == 1:
        return results[0]
    runs = [run for result in results for run in result.run or ()]
    return LLMResult(generations=[result.generations[0] for result in results], llm_output={}, run=runs or None)
