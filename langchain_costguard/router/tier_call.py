"""One request to a router in LangChain's terms: what each tier is asked, and with which configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import reduce
from operator import add
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig

from costguard_core.attribution import current_attribution
from costguard_core.routing import Decision
from costguard_core.routing.cascade import BaseTierCall
from costguard_core.routing.request import ChatRequest, most_tokens
from costguard_core.routing.run_metadata import ROUTE, route_metadata
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution
from costguard_core.usage.parameters import Known, output_limit
from langchain_costguard.callbacks.handler import metering_config
from langchain_costguard.router.tiers import judging_for
from langchain_costguard.router.translate import request_of, tier_result, with_route
from langchain_costguard.translate import parameters

if TYPE_CHECKING:
    from langchain_costguard.router.router import TieredRouter

T = TypeVar("T")
_SHADOW_TAG = "costguard-shadow"


class TierCall(BaseTierCall[BaseChatModel, T]):
    """One request to a router. ``T`` is what a call to a tier returns: a message, a result, a stream.

    Args:
        router: whose tiers may answer.
        messages: what is asked.
        config: the caller's configuration.
        options: further arguments of the call.
        message_of: the message in a reply.
    """

    is_structured = False

    def __init__(
        self,
        router: TieredRouter,
        messages: list[BaseMessage],
        config: RunnableConfig,
        options: Mapping[str, object] = MappingProxyType({}),
        message_of: Callable[[T], BaseMessage] = lambda reply: cast(BaseMessage, reply),
    ) -> None:
        super().__init__(router.models, router.engine)
        self.messages, self.config, self.options = messages, config, options
        self._message_of, self._asked, self._begun = message_of, False, False

    def deciding(self) -> AbstractContextManager[object]:
        return judging_for(self.config)

    def read(self, reply: T) -> TierResult:
        return self.result(self._message_of(reply))

    def read_values(self, values: Sequence[AIMessageChunk]) -> TierResult:
        return self.result(joined(values))

    def marked(self, value: AIMessageChunk, decision: Decision) -> AIMessageChunk:
        """Only the first chunk holds the decision, because sums of chunks join equal strings."""
        is_first, self._begun = not self._begun, True
        return with_route(value, decision) if is_first else value

    def result(self, message: BaseMessage) -> TierResult:
        """What the message of a reply means."""
        return tier_result(message, structured=self.cascade.request.structured)

    def request(self) -> tuple[ChatRequest, Attribution]:
        metadata = self.config.get("metadata") or {}
        attribution = current_attribution(metadata, self._engine.tags)
        request = request_of(self.messages, self.options, attribution, metadata, structured=self.is_structured)
        return request, attribution

    def result_again(self, reply: Any) -> TierResult:
        """What the reply of another tier means, which ``invoke`` returned for the shadow sample."""
        return self.result(reply)

    def ask(self, method: str, **options: object) -> Callable[[Decision], Any]:
        """A function that asks a tier through this method of chat models."""

        def ask(decision: Decision) -> Any:
            return self.send(method, decision.tier, self.next_config(), **options)

        return ask

    def ask_to_generate(self, method: str) -> Callable[[Decision], Any]:
        """A function that asks a tier through ``generate`` or ``agenerate``, whose arguments are others."""

        def ask(decision: Decision) -> Any:
            model, options = _bound(self._models[decision.tier], self.options)
            config = self.next_config()
            arguments = {name: config.get(name) for name in ("callbacks", "tags", "metadata", "run_name", "run_id")}
            return getattr(model, method)([self.messages], **arguments, **options)

        return ask

    def send(self, method: str, tier: str, config: RunnableConfig, **options: object) -> Any:
        """Ask a tier."""
        model, bound_options = _bound(self._models[tier], self.options)
        return getattr(model, method)(self.messages, config, **bound_options, **options)

    def next_config(self) -> RunnableConfig:
        """The caller's configuration for the next call, with the decision in the metadata of its run."""
        metadata = {
            **(self.config.get("metadata") or {}),
            **route_metadata(self.cascade.decision.text, self.cascade.baseline()),
        }
        config: RunnableConfig = {**self.config, "metadata": metadata}
        if self._asked:
            config.pop("run_id", None)  # it was the id of the first run
        self._asked = True
        return config

    def finish(self, message: BaseMessage) -> Decision:
        """The decision for the metadata of the answer, with what it really saved, where its usage is known.

        A sampled call goes on from here in the background.
        """
        if self.cascade.is_sampled:
            self.cascade.sample(self, self.result(message))
        return self.cascade.decision_with_costs()

    # For the shadow sample (see costguard_core.routing.shadow.sampling.RepeatedCall)

    def ask_again(self, tier: str) -> TierResult:
        """Only the handlers that meter the call are told."""
        config = metering_config(self.config, _SHADOW_TAG, {ROUTE: f"shadow: {tier}"})
        return self.result_again(self.send("invoke", tier, config))

    def input_tokens(self) -> int:
        return most_tokens(str(message.content) for message in self.messages)

    def output_limit(self, tier: str) -> int | None:
        model = self._models[tier]
        ls: Mapping[str, Any] = model._get_ls_params()
        return output_limit(model._get_invocation_params(), Known(*map(ls.get, parameters.KNOWN)))


def joined(chunks: Sequence[AIMessageChunk]) -> BaseMessage:
    """The message that chunks make."""
    return reduce(add, chunks) if chunks else AIMessage("")


def _bound(model: BaseChatModel, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A model and the arguments of the call, with tools in the form of its provider."""
    if not options.get("tools"):
        return model, dict(options)
    rest = {name: value for name, value in options.items() if name not in ("tools", "stop")}
    bound: Any = model.bind_tools(options["tools"], **rest)
    arguments: dict[str, Any] = {"stop": options.get("stop")}
    while isinstance(bound, RunnableBinding):
        bound, arguments = bound.bound, {**bound.kwargs, **arguments}
    return bound, arguments
