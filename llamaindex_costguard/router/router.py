"""An LLM that is several: each request goes to the cheapest one that is good enough for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from pydantic import PrivateAttr

from costguard_core import ConfigurationError, CostGuard
from costguard_core.lifecycle import same_class
from costguard_core.routing import Decision
from costguard_core.routing.cascade import BaseTieredRouter, RouterOptions, RoutingEngine
from costguard_core.routing.cascade.base_router import same_as
from costguard_core.routing.decision import route_in
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.caches.exact import opened_cache
from llamaindex_costguard.llm.guarded import GuardedLLM
from llamaindex_costguard.router.requests import (
    CompletionRequest,
    PendingTools,
    RouterRequest,
    StructuredRequest,
    TemplateRequest,
)
from llamaindex_costguard.router.tier_call import TierCall
from llamaindex_costguard.router.tiers import LLM_TIERS, common_metadata
from llamaindex_costguard.router.translate import messages_of


class TieredRouter(BaseTieredRouter, FunctionCallingLLM):
    """Several LLMs as one. Use it wherever one of them was used: in engines, agents, ``Settings.llm``.

    When you know which model a request needs (a condition gets the list of messages, which also has ``.text``,
    ``.tag``, ``.turns``, ``.input_tokens`` …)::

        TieredRouter((lambda messages: len(messages.text) > 500, strong), (is_about_code, coder), cheap)

    By a score, when you want it to find out; keywords name the tiers, cheapest first, in any number::

        TieredRouter(cheap=mini, strong=large, score=learned("router.json"), share=0.3)

    Tiers may be of different providers. A request is handed on as LlamaIndex made it, with its template, tools or
    output class, and each tier puts it into its provider's words; tool calls are read by the tier that made them.
    Responses say why they came from there: ``additional_kwargs["costguard"]["route"]``; so does the ledger. A session
    (``attribute(session=...)``) stays on its model while changing costs more than it saves. Where a budget with
    ``on_exceed="downgrade"`` refuses a tier, the next cheaper one answers.

    Args:
        cache: see :func:`guard_llm`; answers are kept under the tier that gave them. Needs ``guard``.
        callback_manager: every tier gets it.

    All other options are those of :class:`costguard_core.routing.cascade.RouterOptions`.
    """

    tier_models: dict[str, str]  # what is shown of the tiers; their settings hold secrets

    _models: dict[str, LLM] = PrivateAttr()
    _engine: RoutingEngine = PrivateAttr()

    @same_as(BaseTieredRouter.__init__)
    def __init__(self, *branches: object, **options: object) -> None: ...

    def _construct(self, branches: Sequence[Any], named: dict[str, Any], options: RouterOptions, cache: Any) -> None:
        if cache is not None and options.guard is None:
            raise ConfigurationError("a cache needs a guard: TieredRouter(..., guard=CostGuard(), cache=...)")
        callback_manager = named.pop("callback_manager", None)
        self._set_up(*LLM_TIERS.build(branches, named, options, cache=opened_cache(cache)))
        if callback_manager is not None:
            self.callback_manager = callback_manager

    def _set_up(self, models: dict[str, LLM], engine: RoutingEngine) -> None:
        FunctionCallingLLM.__init__(self, tier_models={name: LLM_TIERS.runs(llm).name for name, llm in models.items()})
        self._models, self._engine = models, engine
        same_class.remember(engine)

    @classmethod
    def class_name(cls) -> str:
        return "costguard_tiered_router"

    @property
    def metadata(self) -> LLMMetadata:
        """What all tiers can do."""
        return common_metadata(self._models)

    @property
    def models(self) -> Mapping[str, LLM]:
        """The LLMs by the names of their tiers, cheapest first."""
        return dict(self._models)

    def explain(self, messages: Any, **kwargs: Any) -> Decision:
        """What would be decided now about a text, a message or messages. Spends nothing, remembers nothing."""
        return self._call("chat", RouterRequest(messages_of(messages), kwargs)).explain()

    def is_hard(self, messages: Any, **kwargs: Any) -> bool:
        """Whether they go to a dearer tier than the first; remembered as decided."""
        return self._call("chat", RouterRequest(messages_of(messages), kwargs)).is_hard()

    def _route_of(self, answer: ChatResponse | CompletionResponse) -> Mapping[str, Any]:
        return route_in(answer.additional_kwargs)

    def guarded_by(self, guard: CostGuard, *, cache: Cache | str | None = None, **options: object) -> Self:
        """The same router, remembering together with this one, with its tiers on the bill of ``guard``."""
        return self._copied(
            *LLM_TIERS.guard_all(self._models, self._engine, guard, cache=opened_cache(cache), **options)
        )

    def with_models(self, models: Mapping[str, LLM]) -> Self:
        """The same router, remembering together with this one, with other LLMs behind the same tiers."""
        return self._copied(dict(models), self._engine)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return self._call("chat", RouterRequest(messages, kwargs)).call()

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await self._call("achat", RouterRequest(messages, kwargs)).acall()

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return self._call("stream_chat", RouterRequest(messages, kwargs)).stream()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await self._call("astream_chat", RouterRequest(messages, kwargs)).astream()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return self._call("complete", CompletionRequest(prompt, formatted, kwargs)).call()

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return await self._call("acomplete", CompletionRequest(prompt, formatted, kwargs)).acall()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return self._call("stream_complete", CompletionRequest(prompt, formatted, kwargs)).stream()

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return await self._call("astream_complete", CompletionRequest(prompt, formatted, kwargs)).astream()

    def predict(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        return self._call("predict", TemplateRequest(self, prompt, prompt_args)).call()

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        return await self._call("apredict", TemplateRequest(self, prompt, prompt_args)).acall()

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        return self._call("stream", TemplateRequest(self, prompt, prompt_args)).stream()

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        return await self._call("astream", TemplateRequest(self, prompt, prompt_args)).astream()

    def structured_predict(
        self, output_cls: object, prompt: BasePromptTemplate, llm_kwargs: object = None, **prompt_args: object
    ) -> Any:
        request = StructuredRequest(self, output_cls, prompt, llm_kwargs, prompt_args)
        return self._call("structured_predict", request).call()

    async def astructured_predict(
        self, output_cls: object, prompt: BasePromptTemplate, llm_kwargs: object = None, **prompt_args: object
    ) -> Any:
        request = StructuredRequest(self, output_cls, prompt, llm_kwargs, prompt_args)
        return await self._call("astructured_predict", request).acall()

    def stream_structured_predict(
        self, output_cls: object, prompt: BasePromptTemplate, llm_kwargs: object = None, **prompt_args: object
    ) -> Any:
        request = StructuredRequest(self, output_cls, prompt, llm_kwargs, prompt_args)
        return self._call("stream_structured_predict", request).stream()

    async def astream_structured_predict(
        self, output_cls: object, prompt: BasePromptTemplate, llm_kwargs: object = None, **prompt_args: object
    ) -> Any:
        request = StructuredRequest(self, output_cls, prompt, llm_kwargs, prompt_args)
        return await self._call("astream_structured_predict", request).astream()

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: object
    ) -> list[ToolSelection]:
        """The tool calls of a response, read by the tier that made it."""
        strongest = self._models[self.tiers[-1].name]
        tier: Any = self._models.get(route_in(response.additional_kwargs).get("tier", ""), strongest)
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
            "messages": [*(chat_history or []), *(messages_of(user_msg) if user_msg is not None else [])],
            "tools": PendingTools(tools),
            "verbose": verbose,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            "tool_required": tool_required,
            **kwargs,
        }

    def _call(self, method: str, request: RouterRequest) -> TierCall:
        return TierCall(request, method, self._models, self._engine)

    def _copied(self, models: dict[str, LLM], engine: RoutingEngine) -> Self:
        copied = self.model_copy()
        copied._set_up(models, engine)
        return copied

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "callback_manager":  # Settings and engines set it, and it is the tiers that call back
            for llm in self._models.values():
                llm.callback_manager = value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copied = self.model_copy()
        copied._models = {name: _copied_llm(llm) for name, llm in self._models.items()}
        return copied

    def __reduce_ex__(self, protocol: object) -> Any:
        return _restored, (self._engine.name, self._models)


def _copied_llm(llm: LLM) -> LLM:
    """Settings are copied and clients are shared: many of those can neither be copied nor fail to be copied cleanly."""
    settings = {name: deepcopy(value) for name, value in llm.__dict__.items() if isinstance(value, (dict, list, set))}
    return llm.model_copy(update=settings)


def _restored(name: str, models: dict[str, LLM]) -> Any:
    engine = same_class.known(name, RoutingEngine)
    if engine is None:
        problem = "a router is not data; pickle its tiers, and make it anew"
        return same_class.unusable(next(iter(models.values())), GuardedLLM, problem)
    router = TieredRouter.__new__(TieredRouter)
    router._set_up(models, engine)
    return router
