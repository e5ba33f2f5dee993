"""An LLM that is several: each request goes to the cheapest one that is good enough for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Self

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from pydantic import PrivateAttr

from costguard_core import Budget, ConfigurationError, CostGuard
from costguard_core.pricing import PriceBook
from costguard_core.routing import Decision, Judge, Tier
from costguard_core.routing.cascade import Bill, Dispatch, Journey
from costguard_core.routing.cascade.validation import check, pace
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.caches.exact import ExactCache
from llamaindex_costguard.llm import pickling
from llamaindex_costguard.llm.call_context import who_asks
from llamaindex_costguard.router import requests as asks
from llamaindex_costguard.router import translate as routes
from llamaindex_costguard.router.requests import Ask, Got, Offered
from llamaindex_costguard.router.steps import Way
from llamaindex_costguard.router.tiers import RUNGS, on_bill
from llamaindex_costguard.translate.responses import RESPONSES


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Routing:
    """What a router knows beyond its tiers. Copies of it share this. ``name`` is what pickles call it."""

    name: str
    dispatch: Dispatch
    prices: PriceBook
    guard: CostGuard | None
    judge: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Routing:
        return self


class TieredRouter(FunctionCallingLLM):
    """Several LLMs as one. Use it wherever one of them was used: in engines, agents, ``Settings.llm``.

    When you know which model a request needs (a condition gets the list of messages, which also has ``.text``,
    ``.tag``, ``.turns``, ``.input_tokens`` …)::

        TieredRouter((lambda messages: len(messages.text) > 500, strong), (is_about_code, coder), cheap)

    By a score, when you want it to find out; keywords name the tiers, cheapest first, in any number::

        TieredRouter(cheap=mini, strong=large, score=learned("router.json"), share=0.3)

    Tiers may be of different providers. A request is handed on as LlamaIndex made it, with its template, tools or
    output class, and each tier puts it into its provider's words; tool calls are read by the tier that made them.
    Responses say why they came from there: ``additional_kwargs["costguard"]["route"]``; so does the ledger. A session
    (``attribute(session=...)``) stays on its model while changing costs more than it saves.

    Args:
        score: a scorer (``rules()``, ``learned(...)``, ``examples(...)``), the path of a trained router, or a function
            of a ``Request`` that returns a number; more is harder. Default: ``rules()``.
        share: the part of the requests that goes to the strong tier (0..1), or one number per tier above the first.
        threshold: cut at this score instead.
        default: name of the tier for requests about which nobody has an opinion; the strongest if not said.
        judge: an LLM that is asked about scores near the cut, or a function of a ``Request``.
        sticky: keep sessions on their model; with conditions only if you say so.
        verify: check answers of all tiers but the strongest, and ask the next tier if they fail: a check of
            ``costguard_core.routing.checks.verify``, a Pydantic class, a JSON schema, a function of an ``Answer`` that
            says true or false, or ``True`` (neither empty, cut short nor refused). Structured output must also parse.
            A stream is held back until it has passed.
        guard: puts every tier on this bill, as :func:`guard_llm` does.
        cache: see :func:`guard_llm`; answers are kept under the tier that gave them. Needs ``guard``.
        budget: one of the guard's dollar budgets (name or text), to be spent evenly: the strong tier only while spend
            is under a straight line, so that nothing is refused for want of cheap money.
        callback_manager: given to every tier.

    Where a budget with ``on_exceed="downgrade"`` refuses a tier, the next cheaper one answers.

    Raises:
        ConfigurationError: fewer than two tiers, or options that do not fit together.
    """

    tier_models: dict[str, str]  # what is shown of the tiers; their settings hold secrets

    _models: dict[str, LLM] = PrivateAttr()
    _routing: Routing = PrivateAttr()

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
        cache: Cache | str | None = None,
        budget: str | Budget | None = None,
        callback_manager: CallbackManager | None = None,
        **tiers: LLM,
    ) -> None:
        _check_tiers(tiers)
        if cache is not None and guard is None:
            raise ConfigurationError("a cache needs a guard: TieredRouter(..., guard=CostGuard(), cache=...)")
        kept = ExactCache(cache) if isinstance(cache, str) else cache
        ladder = RUNGS.ladder(branches, tiers, guard, score, share, threshold)
        asked = _judge(judge, guard or RUNGS.bill_of(ladder.models.values()))
        router = ladder.router(
            score=score, share=share, threshold=threshold, default=default, judge=asked, sticky=sticky
        )
        models = {tier.name: on_bill(ladder.models[tier.name], guard, cache=kept) for tier in router.tiers}
        dispatch = Dispatch(
            router,
            pace=pace(guard or RUNGS.bill_of(models.values()), budget),
            check=check(verify),
            strongest=routes.model_of(models[router.tiers[-1].name]),
            asks=asked is not None,
        )
        self._set_up(models, Routing(token_hex(8), dispatch, ladder.prices, guard, judge))
        if callback_manager is not None:
            self.callback_manager = callback_manager

    def _set_up(self, models: dict[str, LLM], routing: Routing) -> None:
        super().__init__(tier_models={name: routes.model_of(llm).name for name, llm in models.items()})
        self._models, self._routing = models, routing
        pickling.remember(routing)

    @classmethod
    def class_name(cls) -> str:
        return "costguard_tiered_router"

    @property
    def metadata(self) -> LLMMetadata:
        """What all tiers can do."""
        return routes.common_metadata(self._models)

    @property
    def models(self) -> Mapping[str, LLM]:
        """The LLMs by the names of their tiers, cheapest first."""
        return dict(self._models)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, cheapest first."""
        return self._routing.dispatch.router.tiers

    @property
    def share_now(self) -> float | None:
        """The part of the scored requests that lately went above the first tier."""
        return self._routing.dispatch.router.share_now

    def explain(self, messages: Any, **kwargs: Any) -> Decision:
        """What would be decided now about a text, a message or messages. Spends nothing, remembers nothing."""
        who = who_asks()
        return self._routing.dispatch.explain(routes.request_of(routes.messages_of(messages), kwargs, who), who)

    def is_hard(self, messages: Any, **kwargs: Any) -> bool:
        """Whether they go to a dearer tier than the first; counted as a request that was decided about."""
        who = who_asks()
        request = routes.request_of(routes.messages_of(messages), kwargs, who)
        return self._routing.dispatch.decide(request, who).tier != self.tiers[0].name

    def guarded_by(self, guard: CostGuard, *, cache: Cache | str | None = None, **options: Any) -> Self:
        """The same router, remembering together with this one, with its tiers on the bill of ``guard``."""
        kept = ExactCache(cache) if isinstance(cache, str) else cache
        models = {name: on_bill(llm, guard, cache=kept, **options) for name, llm in self._models.items()}
        copied = self.model_copy()
        dispatch, judge = self._routing.dispatch, self._routing.judge
        if isinstance(judge, LLM):
            dispatch = dispatch.judged_by(_judge(judge, guard))
        copied._set_up(models, Routing(token_hex(8), dispatch, guard.prices, guard, judge))
        return copied

    # The methods that reach a model

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return self._call(asks.chat("chat", messages, kwargs))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return await self._acall(asks.chat("achat", messages, kwargs))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return self._way(asks.chat("stream_chat", messages, kwargs)).stream()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return await (await self._away(asks.chat("astream_chat", messages, kwargs))).astream()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return self._call(asks.complete("complete", prompt, kwargs, formatted=formatted))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return await self._acall(asks.complete("acomplete", prompt, kwargs, formatted=formatted))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return self._way(asks.complete("stream_complete", prompt, kwargs, formatted=formatted)).stream()

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return await (
            await self._away(asks.complete("astream_complete", prompt, kwargs, formatted=formatted))
        ).astream()

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        return self._call(asks.predict("predict", self, prompt, prompt_args))

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        return await self._acall(asks.predict("apredict", self, prompt, prompt_args))

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        return self._way(asks.predict("stream", self, prompt, prompt_args)).stream()

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        return await (await self._away(asks.predict("astream", self, prompt, prompt_args))).astream()

    def structured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        return self._call(asks.structured("structured_predict", self, output_cls, prompt, llm_kwargs, prompt_args))

    async def astructured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        ask = asks.structured("astructured_predict", self, output_cls, prompt, llm_kwargs, prompt_args)
        return await self._acall(ask)

    def stream_structured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        ask = asks.structured("stream_structured_predict", self, output_cls, prompt, llm_kwargs, prompt_args)
        return self._way(ask).stream()

    async def astream_structured_predict(
        self, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        ask = asks.structured("astream_structured_predict", self, output_cls, prompt, llm_kwargs, prompt_args)
        return await (await self._away(ask)).astream()

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls of a response, read by the tier that made it."""
        route = routes.mark_of(response).get("route") or {}
        tier: Any = self._models.get(route.get("tier", ""), self._strongest)
        found: list[ToolSelection] = tier.get_tool_calls_from_response(
            response, error_on_no_tool_call=error_on_no_tool_call, **kwargs
        )
        return found

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The request as it came: the tier that is chosen puts tools into the words of its provider."""
        return {
            "messages": [*(chat_history or []), *(routes.messages_of(user_msg) if user_msg is not None else [])],
            "tools": Offered(tools),
            "verbose": verbose,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            "tool_required": tool_required,
            **kwargs,
        }

    # Inside

    def _way(self, ask: Ask, *, stream: bool = True) -> Way:
        who = who_asks()
        read = ask.read_stream if stream else ask.read
        start = self._routing.dispatch.start(ask.request(who), who)
        return Way(ask, Journey(start, self._bill, read), self._models)

    async def _away(self, ask: Ask, *, stream: bool = True) -> Way:
        who = who_asks()
        read = ask.read_stream if stream else ask.read
        start = await self._routing.dispatch.astart(ask.request(who), who)
        return Way(ask, Journey(start, self._bill, read), self._models)

    def _call(self, ask: Ask) -> Any:
        way = self._way(ask, stream=False)
        return self._given(way.call(), way)

    async def _acall(self, ask: Ask) -> Any:
        way = await self._away(ask, stream=False)
        return self._given(await way.acall(), way)

    def _given(self, got: Got, way: Way) -> Any:
        if got.error is not None:
            raise got.error
        if not isinstance(got.value, RESPONSES):
            return got.value
        return routes.marked(got.value, way.journey.costed().as_dict())

    @property
    def _bill(self) -> Bill:
        return routes.bill(self._routing.prices, self._models)

    @property
    def _strongest(self) -> LLM:
        return self._models[self.tiers[-1].name]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "callback_manager":  # Settings and engines set it, and it is the tiers that call back
            for llm in self._models.values():
                llm.callback_manager = value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copied = self.model_copy()
        copied._models = {name: _copied(llm) for name, llm in self._models.items()}
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (self._routing.name, self._models)


def _judge(given: Any, guard: CostGuard | None) -> Judge | None:
    return routes.judge(on_bill(given, guard, cache=None) if isinstance(given, LLM) else given)


def _copied(llm: LLM) -> LLM:
    """Settings are copied and clients are shared: many of those can neither be copied nor fail to be copied cleanly."""
    settings = {name: deepcopy(value) for name, value in llm.__dict__.items() if isinstance(value, (dict, list, set))}
    return llm.model_copy(update=settings)


def _restored(name: str, models: dict[str, LLM]) -> TieredRouter:
    routing = pickling.known(name, Routing)
    if routing is None:
        raise ConfigurationError("this pickled router is from another process; pickle its tiers, and make it anew")
    made = TieredRouter.__new__(TieredRouter)
    made._set_up(models, routing)
    return made


def _check_tiers(tiers: Mapping[str, Any]) -> None:
    for name, llm in tiers.items():
        if not isinstance(llm, LLM):
            raise ConfigurationError(f"{name}= is neither an option of a router nor an LLM, but {type(llm).__name__}")
        if isinstance(llm, TieredRouter):
            raise ConfigurationError(f"{name}= is a router itself; give its tiers to this one")
