"""A chat model that is several: each request goes to the cheapest one that is good enough for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Self, TypeVar

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs
from pydantic import PrivateAttr

from costguard_core import Budget, CostGuard
from costguard_core.pricing import PriceBook
from costguard_core.routing import Decision, Tier
from costguard_core.routing.cascade.status import RouterStatus
from costguard_core.routing.cascade.validation import check, pace
from costguard_core.routing.shadow.agreement import RATE
from costguard_core.routing.shadow.prompt_log import PromptLog
from costguard_core.routing.shadow.sampling import sampling
from langchain_costguard.router import event_streams
from langchain_costguard.router import judge as judging
from langchain_costguard.router import steps as legs
from langchain_costguard.router import streams as routed_stream
from langchain_costguard.router import translate as routes
from langchain_costguard.router.cascade import Journey, atravel, travel
from langchain_costguard.router.delegating_model import Proxy
from langchain_costguard.router.dispatch import Dispatch
from langchain_costguard.router.shadow import Ask
from langchain_costguard.router.tiers import RUNGS, check_options, common_profile, on_bill

T = TypeVar("T")

_OPTIONS = ("callbacks", "tags", "metadata")  # of the router itself, handed on to whichever tier answers


class TieredRouter(Proxy):
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
            ``costguard_core.routing.checks.verify``, a Pydantic class, a JSON schema, a function of an ``Answer`` that
            says true or false, or ``True`` (neither empty, cut short nor refused). Structured output must also parse.
            A stream is held back until it has passed.
        guard: puts every tier on this bill, as :class:`GuardedChatModel` does.
        cache: see :class:`GuardedChatModel`.
        budget: one of the guard's dollar budgets (name or text), to be spent evenly: the strong tier only while spend
            is under a straight line, so that nothing is refused for want of cheap money.
        log: a :class:`PromptLog` or its path: opts into writing down paired answers to train from. Nothing is written,
            and nothing asked twice, without it.
        shadow: the part (0..1) of the calls that the other tier answers too, in the background.
        shadow_budget: what these second answers may cost, e.g. ``"$1/day"``; ``None`` is no limit.

    Where a budget with ``on_exceed="downgrade"`` refuses a tier, the next cheaper one answers.

    Raises:
        ConfigurationError: fewer than two tiers, or options that do not fit together.
    """

    models: dict[str, BaseChatModel]
    guard: CostGuard | None = None

    _dispatch: Dispatch = PrivateAttr()
    _prices: PriceBook = PrivateAttr()
    _judge: Any = PrivateAttr()

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
        log: PromptLog | str | PathLike[str] | None = None,
        shadow: float = RATE,
        shadow_budget: str | Budget | None = "$1/day",
        **options: Any,
    ) -> None:
        given = {name: options.pop(name) for name, value in list(options.items()) if isinstance(value, BaseChatModel)}
        given |= options.pop("models", {})
        check_options(options, type(self).model_fields)
        ladder = RUNGS.ladder(branches, given, guard, score, share, threshold)
        asked = judging.judge(judge, guard or RUNGS.bill_of(ladder.models.values()))
        router = ladder.router(
            score=score, share=share, threshold=threshold, default=default, judge=asked, sticky=sticky
        )
        models = {tier.name: on_bill(ladder.models[tier.name], guard, cache=cache) for tier in router.tiers}
        super().__init__(models=models, guard=guard, **{"profile": common_profile(models.values()), **options})
        self._prices, self._judge = ladder.prices, judge
        bill, checked = self.guard or RUNGS.bill_of(models.values()), check(verify)
        self._dispatch = Dispatch(
            router,
            pace=pace(bill, budget),
            check=checked,
            strongest=routes.model_of(models[router.tiers[-1].name]),
            asks=asked is not None,
            sampling=sampling(log, shadow, shadow_budget, bill, self._prices, checked),
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
        return self._dispatch.explained(routes.messages_of(input), ensure_config(config), kwargs)

    def is_hard(self, input: Any, config: RunnableConfig | None = None) -> bool:
        """Whether the input goes to a dearer tier than the first: ``RunnableBranch((router.is_hard, …), …)``."""
        return self._dispatch.decided(routes.messages_of(input), ensure_config(config)).tier != self.tiers[0].name

    def status(self) -> RouterStatus:
        """Its tiers, the share that went up lately, whether scores have drifted, and what the shadow sample did."""
        return self._dispatch.status()

    def feedback(self, message: BaseMessage, quality: float) -> bool:
        """Tell the prompt log what the user thinks of an answer: 0 (bad) to 1 (good).

        Returns:
            Whether that was of use: only answers of the shadow sample are in the log.
        """
        sample = routes.sample_of(message)
        if sample is None or self._dispatch.sampling is None:
            return False
        self._dispatch.sampling.log.feedback(sample, quality)
        return True

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait for the shadow sample to be written; ``False`` if that takes longer than ``timeout`` seconds."""
        return self._dispatch.sampling is None or self._dispatch.sampling.flush(timeout)

    def guarded_by(self, guard: CostGuard, *, cache: BaseCache | bool | None = None, **options: Any) -> Self:
        """The same router, remembering together with this one, with its tiers on the bill of ``guard``."""
        models = {name: on_bill(model, guard, cache=cache, **options) for name, model in self.models.items()}
        copied = self.model_copy(update={"models": models, "guard": guard})
        copied._prices = guard.prices
        if isinstance(self._judge, BaseChatModel):
            copied._dispatch = self._dispatch.judged_by(judging.judge(self._judge, guard))
        if self._dispatch.sampling is not None:
            self._dispatch.sampling.paid_by(guard)
        return copied

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # Not the models' own words: an integration may print the headers that it signs in with.
        runs = {name: routes.model_of(model).name for name, model in self.models.items()}
        return [("models", runs), ("guard", self.guard)]

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
        from langchain_costguard.router.structured import RoutedOutput

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
        journey: Journey[AIMessage] = self._journey(messages, config, kwargs, message_of=legs.itself)
        ask = self._asking(messages, stop, kwargs)
        answer = travel(journey, config, ask)
        return routes.marked(answer, journey.finished(answer, ask, config))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        journey: Journey[AIMessage] = await self._ajourney(messages, config, kwargs, message_of=legs.itself)

        async def ask(tier: str, config: RunnableConfig) -> AIMessage:
            model, options = legs.bound(self.models[tier], kwargs)
            found: AIMessage = await model.ainvoke(messages, config, stop=stop, **options)
            return found

        answer = await atravel(journey, config, ask)
        return routes.marked(answer, journey.finished(answer, self._asking(messages, stop, kwargs), config))

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
        return routed_stream.routed(self, messages, config, stop, kwargs)

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        return routed_stream.arouted(self, messages, config, stop, kwargs)

    def _chat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        return event_streams.routed(self, messages, config, stop, kwargs)

    async def _achat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        messages, config = self._convert_input(input).to_messages(), self._config(config)
        return await event_streams.arouted(self, messages, config, stop, kwargs)

    @property
    def _strongest(self) -> BaseChatModel:
        return list(self.models.values())[-1]

    def _config(self, config: RunnableConfig | None) -> RunnableConfig:
        config = ensure_config(config)
        own: Any = {name: value for name in _OPTIONS if (value := getattr(self, name))}
        return merge_configs(own, config) if own else config

    def _journey(self, *call: Any, message_of: Any, failed: Any = None) -> Journey[Any]:
        """``call``: messages, configuration, arguments. ``failed`` is for structured output; see :class:`Journey`."""
        start = self._dispatch.begun(*call, structured=failed is not None)
        return Journey(start, models=self.models, prices=self._prices, message_of=message_of, failed=failed)

    async def _ajourney(self, *call: Any, message_of: Any, failed: Any = None) -> Journey[Any]:
        start = await self._dispatch.abegun(*call, structured=failed is not None)
        return Journey(start, models=self.models, prices=self._prices, message_of=message_of, failed=failed)

    def _asking(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Callable[[str, RunnableConfig], AIMessage]:
        def ask(tier: str, config: RunnableConfig) -> AIMessage:
            model, options = legs.bound(self.models[tier], kwargs)
            found: AIMessage = model.invoke(messages, config, stop=stop, **options)
            return found

        return ask

    def _generate_one(self, prompt: list[BaseMessage], given: Any, stop: Any, kwargs: dict[str, Any]) -> LLMResult:
        config = self._config(given)
        journey: Journey[LLMResult] = self._journey(prompt, config, kwargs, message_of=legs.of_result)

        def ask(tier: str, config: RunnableConfig) -> LLMResult:
            model, options = legs.bound(self.models[tier], kwargs)
            found: LLMResult = model.generate([prompt], stop=stop, **legs.as_arguments(config), **options)
            return found

        return self._told(journey, travel(journey, config, ask), self._asking(prompt, stop, kwargs), config)

    async def _agenerate_one(
        self, prompt: list[BaseMessage], given: Any, stop: Any, kwargs: dict[str, Any]
    ) -> LLMResult:
        config = self._config(given)
        journey: Journey[LLMResult] = await self._ajourney(prompt, config, kwargs, message_of=legs.of_result)

        async def ask(tier: str, config: RunnableConfig) -> LLMResult:
            model, options = legs.bound(self.models[tier], kwargs)
            found: LLMResult = await model.agenerate([prompt], stop=stop, **legs.as_arguments(config), **options)
            return found

        return self._told(journey, await atravel(journey, config, ask), self._asking(prompt, stop, kwargs), config)

    def _told(self, journey: Journey[LLMResult], found: LLMResult, again: Ask, config: RunnableConfig) -> LLMResult:
        return legs.marked_result(found, journey.finished(legs.of_result(found), again, config))
