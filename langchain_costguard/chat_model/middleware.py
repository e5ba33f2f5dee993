"""The guard inside ``create_agent``: every model call of the agent goes through a :class:`GuardedChatModel`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.budgets.agents import wrap_up_text
from costguard_core.errors import MissingExtraError
from costguard_core.guard import check_guard
from costguard_core.types import MARK
from costguard_core.util.options import check_choice, names_options
from langchain_costguard.caches.exact import opened_cache

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtraError("CostGuardMiddleware", "agents") from error

from langchain_core.caches import BaseCache
from langchain_core.messages import AIMessage, HumanMessage

from langchain_costguard.chat_model.guarded import GuardedChatModel

if TYPE_CHECKING:
    _AgentMiddleware = AgentMiddleware[Any, Any, Any]
else:
    _AgentMiddleware = AgentMiddleware  # before langchain 1.2.11 it takes two parameters


@names_options
class CostGuardMiddleware(_AgentMiddleware):
    """``create_agent(model, tools, middleware=[..., CostGuardMiddleware(guard)])``.

    Put it last: a middleware after it that replaces the model (a fallback, a router) would replace the guard as well.
    Model calls that another middleware makes on its own (``SummarizationMiddleware``) do not pass here; give that one a
    :class:`GuardedChatModel`, or :func:`install` the guard. Inside ``with guard.agent(...)`` it tells when to conclude.

    Args:
        guard: the bill that the agent is on.
        cache: see :class:`GuardedChatModel`.
        exit_behavior: ``"error"`` raises :class:`SpendLimitExceeded` out of the agent; ``"end"`` ends the run with a
            message that says why.
    """

    def __init__(
        self,
        guard: CostGuard,
        *,
        cache: BaseCache | str | bool | None = None,
        exit_behavior: Literal["error", "end"] = "error",
    ) -> None:
        super().__init__()
        check_guard(guard)
        check_choice("exit_behavior", exit_behavior, ("error", "end"))
        self.cache = opened_cache(cache, bool)  # made once, not for each call
        self.guard, self.exit_behavior = guard, exit_behavior

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        try:
            return handler(self._guarded(request))
        except SpendLimitExceeded as refusal:
            return self._ended(refusal)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any] | AIMessage:
        try:
            return await handler(self._guarded(request))
        except SpendLimitExceeded as refusal:
            return self._ended(refusal)

    def _guarded(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        model = request.model
        if not isinstance(model, GuardedChatModel) or model.guard is not self.guard:
            model = GuardedChatModel(model, self.guard, cache=self.cache)
        told = [HumanMessage(text) for text in [wrap_up_text()] if text is not None]
        return request.override(model=model, messages=[*request.messages, *told])

    def _ended(self, refusal: SpendLimitExceeded) -> AIMessage:
        if self.exit_behavior == "error":
            raise refusal
        return AIMessage(content=refusal.public, response_metadata={MARK: refusal.mark})
