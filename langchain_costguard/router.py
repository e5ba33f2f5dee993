"""A chat model that is several: each request goes to the cheapest one that is good enough for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from itertools import islice
from typing import Any, Self, TypeVar

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs
from pydantic import PrivateAttr

from costguard_core import Budget, CostGuard, SpendLimitExceeded
from costguard_core.errors import ConfigurationError
from costguard_core.prices import PriceBook
from costguard_core.routing import Decision, Router, Tier, rules
from langchain_costguard import calls, legs, routes
from langchain_costguard.dispatch import Dispatch
from langchain_costguard.journey import Journey, atravel, travel
from langchain_costguard.ladder import bill_of, by_conditions, by_names, common_profile, on_bill, pace

T = TypeVar("T")

_OPTIONS = ("callbacks", "tags", "metadata")  # of the router itself, handed on to whichever tier answers


class TieredRouter(BaseChatModel):
    """Several chat models as one. Use it wherever one of them was used; it stands in nobody's way.

    Like ``RunnableBranch``, when you know which model a request needs (a condition gets the list of messages, which
    also has ``.text``, ``.tag``, ``.turns``, ``.input_tokens`` …; ``|`` chains work too)::

        TieredRouter((lambda messages: len(messages.text) > 500, strong), (is_about_code, coder), cheap)

    By a score, when you want it to find out; keywords name the tiers, cheapest first, in any number::

        TieredRouter(cheap=mini, strong=large, score=learned("router.json"), share=0.3)

    One request is one run, of the model that answers: its name, its usage, its tokens. The answer says why it came from
    there: ``response_metadata["costguard"]["route"]``; so do the run's metadata and the ledger. A session
    (``attribute(session=...)``, ``thread_id``) stays on its model while changing costs more than it saves.

    Args:
        score: a scorer (``rules()``, ``learned(...)``, ``examples(...)``), the path of a trained router, or a function
            of a ``Request`` that returns a number; more is harder. Default: ``rules()``.
        share: the part of the requests that goes to the strong tier (0..1), or one number per tier above the first.
        threshold: cut at this score instead.
        default: name of the tier for requests about which nobody has an opinion; the strongest if not said.
        judge: a chat model that is asked about scores near the cut, or a function of a ``Request``.
        sticky: keep sessions on their model; with conditions only if you say so.
        verify: check answers of all tiers but the strongest, and ask the next tier if they fail: a check of
            ``costguard_core.routing.verify``, a Pydantic class, a JSON schema, a function of an ``Answer`` that says
            true or false, or ``True`` (neither empty, cut short nor refused). Structured output must also parse.
            A stream is held back until it has passed; ``stream_events(version="v3")`` is not checked.
        guard: puts every tier on this bill, as :class:`GuardedChatModel` does.
        cache: see :class:`GuardedChatModel`.
        budget: one of the guard's dollar budgets (name or text), to be spent evenly: the strong tier only while spend
            is under a straight line, so that nothing is refused for want of cheap money.

    Where a budget with ``on_exceed="downgrade"`` refuses a tier, the next cheaper one answers.

    Raises:
        ConfigurationError: fewer than two tiers, or options that do not fit together.
    """

    models: dict[str, BaseChatModel]
    guard: CostGuard | None = None

    _dispatch: Dispatch = PrivateAttr()
    _prices: PriceBook = PrivateAttr()

    def __init__(
        self,
        *branches: Any,
        score: Any = None,
        share: float | Sequence[float] | None = None,
        threshold: float | None = None,
        default: str | None = None,
        judge: Any = None,
        sticky: bool | None = None,
        verify: Any = None,
        guard: CostGuard | None = None,
        cache: BaseCache | bool | None = None,
        budget: str | Budget | None = None,
        **options: Any,
    ) -> None:
        given = {name: options.pop(name) for name, value in list(options.items()) if isinstance(value, BaseChatModel)}
        given |= options.pop("models", {})
        if branches and (given or score is not None or share is not None or threshold is not None):
            raise ConfigurationError("either conditions, TieredRouter((condition, model), …, default), or named tiers")
        ladder = by_conditions(branches, guard) if branches else by_names(given, guard)
        asked = routes.judge(on_bill(judge, guard, cache=False) if isinstance(judge, BaseChatModel) else judge)
        router = Router(
            ladder.tiers,
            score=ladder.score or routes.scorer(rules() if score is None else score),
            share=share,
            threshold=threshold,
            default=default or ladder.default,
            judge=asked,
            sticky=not branches if sticky is None else sticky,
        )
        models = {tier.name: on_bill(ladder.models[tier.name], guard, cache=cache) for tier in router.tiers}
        super().__init__(models=models, guard=guard, **{"profile": common_profile(models.values()), **options})
        self._prices = ladder.prices
        ls = self._strongest._get_ls_params()
        self._dispatch = Dispatch(
            router,
            pace=None if budget is None else pace(self._bill, budget),
            check=routes.check(verify),
            strongest=(calls.model_name(ls, {}), ls.get("ls_provider")),
            asks=asked is not None,
        )

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, cheapest first."""
        return self._dispatch.router.tiers

    @property
    def share_now(self) -> float | None:
        """The part of the scored requests that lately went above the first tier."""
        return self._dispatch.router.share_now

    def explain(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Decision:
        """What would be decided about this input now. Spends nothing, asks no judge, remembers nothing."""
        return self._dispatch.explain(routes.messages_of(input), ensure_config(config), kwargs)

    def is_hard(self, input: Any, config: RunnableConfig | None = None) -> bool:
        """Whether the input goes to a dearer tier than the first: ``RunnableBranch((router.is_hard, …), …)``."""
        return self._dispatch.decide(routes.messages_of(input), ensure_config(config)).tier != self.tiers[0].name

    def guarded_by(self, guard: CostGuard, *, cache: BaseCache | bool | None = None, **options: Any) -> Self:
        """The same router, remembering together with this one, with its tiers on the bill of ``guard``."""
        models = {name: on_bill(model, guard, cache=cache, **options) for name, model in self.models.items()}
        copied = self.model_copy(update={"models": models, "guard": guard})
        copied._prices = guard.prices
        return copied

    @property
    def _llm_type(self) -> str:
        return "costguard-tiered-router"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        # Whatever is keyed by the router (not by its tiers) must differ when any tier does.
        return {"tiers": {name: dict(model._identifying_params) for name, model in self.models.items()}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self._strongest._get_ls_params(stop=stop, **kwargs)

    def get_num_tokens(self, text: str) -> int:
        return self._strongest.get_num_tokens(text)

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=list(tools), **kwargs)  # each tier binds them its own way, once it is chosen

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        from langchain_costguard.routed_output import RoutedOutput

        return RoutedOutput(self, schema, kwargs)

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey = self._dispatch.journey(messages, config, kwargs, legs.itself)

        def ask(tier: str, config: RunnableConfig) -> AIMessage:
            model, options = legs.bound(self.models[tier], kwargs)
            found: AIMessage = model.invoke(messages, config, stop=stop, **options)
            return found

        return routes.marked(travel(journey, config, ask), journey.costed(self._prices, self.models))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey: Journey[AIMessage] = await self._dispatch.ajourney(messages, config, kwargs, legs.itself)

        async def ask(tier: str, config: RunnableConfig) -> AIMessage:
            model, options = legs.bound(self.models[tier], kwargs)
            found: AIMessage = await model.ainvoke(messages, config, stop=stop, **options)
            return found

        return routes.marked(await atravel(journey, config, ask), journey.costed(self._prices, self.models))

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Any = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        given = legs.run_config(callbacks=callbacks, tags=tags, metadata=metadata, run_name=run_name)
        configs = [given | {"run_id": run_id} if index == 0 else given for index in range(len(messages))]
        return legs.joined([self._generate_one(*row, stop, kwargs) for row in zip(messages, configs, strict=True)])

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Any = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        given = legs.run_config(callbacks=callbacks, tags=tags, metadata=metadata, run_name=run_name)
        configs = [given | {"run_id": run_id} if index == 0 else given for index in range(len(messages))]
        rows = zip(messages, configs, strict=True)
        return legs.joined(await asyncio.gather(*(self._agenerate_one(*row, stop, kwargs) for row in rows)))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey = self._dispatch.journey(messages, config, kwargs, legs.whole)
        held: list[AIMessageChunk] | None
        while True:
            model, options = legs.bound(self.models[journey.decision.tier], kwargs)
            chunks = model.stream(messages, journey.config(config), stop=stop, **options)
            try:
                # A checked answer is held back whole; any other one until it is known not to be a refusal.
                held = list(chunks if journey.is_checked else islice(chunks, 1))
                accepted = journey.accepts(held)
            except SpendLimitExceeded as refusal:
                held, accepted = journey.refused(refusal), True
            if accepted and held is not None:
                break
            chunks.close()
        shown = journey.arrived(held)
        with closing(chunks):
            yield from legs.marked_stream(shown, journey.decision)
            if shown is held:
                yield from chunks

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey = await self._dispatch.ajourney(messages, config, kwargs, legs.whole)
        held: list[AIMessageChunk] | None
        while True:
            model, options = legs.bound(self.models[journey.decision.tier], kwargs)
            chunks = model.astream(messages, journey.config(config), stop=stop, **options)
            try:
                held = await legs.gathered(chunks, only_first=not journey.is_checked)
                accepted = journey.accepts(held)
            except SpendLimitExceeded as refusal:
                held, accepted = journey.refused(refusal), True
            if accepted and held is not None:
                break
            await chunks.aclose()
        shown = journey.arrived(held)
        async with aclosing(chunks):
            for chunk in legs.marked_stream(shown, journey.decision):
                yield chunk
            if shown is held:
                async for chunk in chunks:
                    yield chunk

    def _chat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey = self._dispatch.journey(messages, config, kwargs, legs.itself)
        model, options = legs.bound(self.models[journey.decision.tier], kwargs)
        return model.stream_events(messages, journey.config(config), version="v3", stop=stop, **options)

    async def _achat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey = await self._dispatch.ajourney(messages, config, kwargs, legs.itself)
        model, options = legs.bound(self.models[journey.decision.tier], kwargs)
        return await model.astream_events(messages, journey.config(config), version="v3", stop=stop, **options)

    # Only somebody who wraps a router in a model of their own calls these; GuardedChatModel guards the tiers instead.

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.invoke(messages, stop=stop, **kwargs))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=await self.ainvoke(messages, stop=stop, **kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self.stream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in self.astream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    @property
    def _strongest(self) -> BaseChatModel:
        return list(self.models.values())[-1]

    @property
    def _bill(self) -> CostGuard | None:
        return self.guard or bill_of(self.models.values())

    def _config(self, config: RunnableConfig | None) -> RunnableConfig:
        config = ensure_config(config)
        own: Any = {name: value for name in _OPTIONS if (value := getattr(self, name))}
        return merge_configs(own, config) if own else config

    def _generate_one(self, prompt: list[BaseMessage], given: Any, stop: Any, kwargs: dict[str, Any]) -> LLMResult:
        config = self._config(given)
        journey = self._dispatch.journey(prompt, config, kwargs, legs.of_result)

        def ask(tier: str, config: RunnableConfig) -> LLMResult:
            model, options = legs.bound(self.models[tier], kwargs)
            found: LLMResult = model.generate([prompt], stop=stop, **legs.as_arguments(config), **options)
            return found

        return legs.marked_result(travel(journey, config, ask), journey.costed(self._prices, self.models))

    async def _agenerate_one(
        self, prompt: list[BaseMessage], given: Any, stop: Any, kwargs: dict[str, Any]
    ) -> LLMResult:
        config = self._config(given)
        journey: Journey[LLMResult] = await self._dispatch.ajourney(prompt, config, kwargs, legs.of_result)

        async def ask(tier: str, config: RunnableConfig) -> LLMResult:
            model, options = legs.bound(self.models[tier], kwargs)
            found: LLMResult = await model.agenerate([prompt], stop=stop, **legs.as_arguments(config), **options)
            return found

        return legs.marked_result(await atravel(journey, config, ask), journey.costed(self._prices, self.models))
