"""One request's way through the tiers: where it starts, when it escalates, when it gives way to a budget.

No I/O of its own: :class:`langchain_costguard.TieredRouter` says how to ask a tier, and here it is decided which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import SpendLimitExceeded, Usage
from costguard_core.prices import PriceBook
from costguard_core.routing import Decision, Router, Verdict
from costguard_core.routing.verify import Check
from langchain_costguard import calls
from langchain_costguard.routes import ChatRequest, answer_of, gives_way, is_reply_of_budget

T = TypeVar("T")


class Journey(Generic[T]):
    """``T`` is what one call brings: a message, a result, the chunks of a stream.

    Args:
        decision: where it starts.
        message_of: the message in what a call brought, which is what is checked.
        failed: for structured output, whether what a call brought could not be parsed.
    """

    def __init__(
        self,
        router: Router,
        request: ChatRequest,
        decision: Decision,
        *,
        check: Check | None,
        message_of: Callable[[T], BaseMessage],
        failed: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self.decision = decision
        self._router, self._request, self._check = router, request, check
        self._message_of, self._failed = message_of, failed
        self._paid: list[tuple[str, BaseMessage]] = []
        self._kept: tuple[T, Decision] | None = None
        self._started = self._downgraded = False

    @property
    def is_checked(self) -> bool:
        """Whether what this tier brings is checked before anybody sees it: a stream must then be held back."""
        top = self._router.tiers[-1].name
        return self._check is not None and not self._downgraded and self.decision.tier != top

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The caller's configuration for the next call, with the decision in the metadata of its run."""
        metadata = {**(config.get("metadata") or {}), calls.ROUTE: self.decision.text}
        next_config: RunnableConfig = {**config, "metadata": metadata}
        if self._started:
            next_config.pop("run_id", None)  # the id of the first run cannot be that of a second one
        self._started = True
        return next_config

    def refused(self, refusal: SpendLimitExceeded) -> T | None:
        """A budget said no: what to return instead, or ``None`` for *try again, on the tier of* ``decision``.

        Raises:
            SpendLimitExceeded: the budget does not want a cheaper tier, or there is none.
        """
        if refusal.on_exceed != "downgrade":
            raise refusal
        if self._kept is not None:
            return self._keep()
        if not self._step_down():
            raise refusal
        return None

    def accepts(self, brought: T) -> bool:
        """Whether this is the answer (see :meth:`arrived`); if not, ``decision`` names the tier to ask next."""
        message = self._message_of(brought)
        if is_reply_of_budget(message):
            return not gives_way(message) or self._kept is not None or not self._step_down()
        self._paid.append((self.decision.tier, message))
        if not self.is_checked:
            return True
        verdict = self._verdict(brought, message)
        if verdict.ok:
            return True
        higher = self._router.escalated(self.decision, self._request, verdict)
        if higher is None:
            self.decision = self.decision.noting(verdict.reason)
            return True
        self._kept = brought, self.decision.noting(verdict.reason)
        self.decision = higher
        return False

    def arrived(self, brought: T) -> T:
        """What to give to the caller: a refused escalation gives the answer that there is."""
        refused = self._kept is not None and gives_way(self._message_of(brought))
        return self._keep() if refused else brought

    def costed(self, prices: PriceBook, models: Mapping[str, BaseChatModel]) -> Decision:
        """The decision with what it really saved, where the provider said what was used."""
        strongest = self._router.tiers[-1].name
        used = [(tier, calls.message_usage(message)) for tier, message in self._paid]
        spent = [None if usage is None else _price(prices, models[tier], usage) for tier, usage in used]
        last = used[-1][1] if used else None
        instead = None if last is None else _price(prices, models[strongest], last)
        if instead is None or not all(cost is not None for cost in spent):
            return self.decision
        return self.decision.costing(sum(cost or 0 for cost in spent), strongest=instead)

    def _verdict(self, brought: T, message: BaseMessage) -> Verdict:
        assert self._check is not None
        if self._failed(brought):
            return Verdict(False, "does not fit the schema")
        return self._check(answer_of(message, structured=self._request.structured))

    def _step_down(self) -> bool:
        lower = self._router.cheaper(self.decision, self._request)
        if lower is None:
            return False
        self.decision, self._downgraded = lower, True
        return True

    def _keep(self) -> T:
        assert self._kept is not None
        brought, decision = self._kept
        self.decision = replace(decision.noting("not escalated: budget"), escalated=False)
        return brought


def travel(journey: Journey[T], config: RunnableConfig, ask: Callable[[str, RunnableConfig], T]) -> T:
    """Ask tier after tier until one has the answer.

    Raises:
        SpendLimitExceeded: a budget refuses, and nothing cheaper is to be had.
    """
    while True:
        try:
            brought = ask(journey.decision.tier, journey.config(config))
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
        else:
            if journey.accepts(brought):
                return journey.arrived(brought)


async def atravel(journey: Journey[T], config: RunnableConfig, ask: Callable[[str, RunnableConfig], Awaitable[T]]) -> T:
    """:func:`travel` on an event loop."""
    while True:
        try:
            brought = await ask(journey.decision.tier, journey.config(config))
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
        else:
            if journey.accepts(brought):
                return journey.arrived(brought)


def _price(prices: PriceBook, model: BaseChatModel, usage: Usage) -> int | None:
    ls: Mapping[str, Any] = model._get_ls_params()
    return prices.cost(usage, model=calls.model_name(ls, {}), provider=ls.get("ls_provider"))
