"""How a tier is asked once more for the shadow sample (see :mod:`costguard_core.routing.shadow.sampling`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core.routing import Request
from costguard_core.routing.cascade import Brought
from langchain_costguard.callbacks.handler import CostGuardCallbackHandler
from langchain_costguard.router import translate as routes
from langchain_costguard.translate import parameters as calls

TAG = "costguard-shadow"
_FRAME = 16  # tokens that a message may cost besides its text

Ask = Callable[[str, RunnableConfig], BaseMessage]
"""Ask a tier the same question once more."""


class Again(NamedTuple):
    """One question, to be asked of any tier. Only ``callbacks`` hear of it: for everybody else it did not happen."""

    request: Request
    models: Mapping[str, BaseChatModel]
    tell: Ask
    callbacks: Sequence[CostGuardCallbackHandler]

    @classmethod
    def of(cls, request: Request, models: Mapping[str, BaseChatModel], tell: Ask, config: RunnableConfig) -> Self:
        """The question of a call that was made with this configuration."""
        return cls(request, models, tell, metering(config))

    def ask(self, tier: str) -> Brought:
        """What that tier answers."""
        config: RunnableConfig = {
            "callbacks": list(self.callbacks),
            "tags": [TAG],
            "metadata": {calls.ROUTE: f"shadow: {tier}"},
        }
        return routes.brought(self.tell(tier, config), structured=self.request.structured)

    def input_tokens(self) -> int:
        """More tokens than the prompt has: a hold, which is settled to what the provider says."""
        messages: Sequence[BaseMessage] = getattr(self.request, "messages", ())
        return sum(len(str(message.content).encode("utf-8", "replace")) // 2 + _FRAME for message in messages)

    def output_limit(self, tier: str) -> int | None:
        """The tier's own cap on output tokens, if it has one."""
        model = self.models[tier]
        ls: Mapping[str, Any] = model._get_ls_params()
        return calls.output_limit(model._get_invocation_params(), ls)


def metering(config: RunnableConfig) -> list[CostGuardCallbackHandler]:
    """The handlers of a call that keep its books."""
    given = config.get("callbacks")
    handlers = given.handlers if isinstance(given, BaseCallbackManager) else given or []
    return [handler for handler in handlers if isinstance(handler, CostGuardCallbackHandler)]
