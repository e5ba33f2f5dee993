"""One request's way through the tiers: where it starts, when it escalates, when it gives way to a budget.

No I/O of its own: :class:`langchain_costguard.TieredRouter` says how to ask a tier, and here it is decided which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import Attribution, SpendLimitExceeded
from costguard_core.routing import Decision, Router, Verdict
from costguard_core.routing.verify import Check
from costguard_core.values import Baseline
from langchain_costguard import calls
from langchain_costguard.routes import ChatRequest, answer_of, gives_way, is_reply_of_budget
from langchain_costguard.shadow import Again, Bill, Job, Sampling, metering

T = TypeVar("T")


class Journey(Generic[T]):
    """``T`` is what one call brings: a message, a result, the chunks of a stream.

    Args:
        decision: where it starts.
        attribution: who asks.
        bill: the models and what they cost.
        sampling: where the call goes that is one of the shadow sample.
        message_of: the message in what a call brought, which is what is checked.
        failed: for structured output, whether what a call brought could not be parsed.
    """

    def __init__(
        self,
        router: Router,
        request: ChatRequest,
        decision: Decision,
        *,
        attribution: Attribution,
        bill: Bill,
        check: Check | None,
        sampling: Sampling | None,
        message_of: Callable[[T], BaseMessage],
        failed: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self.decision = decision
        self._router, self._request, self._check = router, request, check
        self._attribution, self._bill, self._sampling = attribution, bill, sampling
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
        metadata = {**(config.get("metadata") or {}), calls.ROUTE: self.decision.text, **self._baseline()}
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

    def finished(self, message: BaseMessage, again: Again, config: RunnableConfig) -> Decision:
        """What is told of the answer, and of what it really saved, where the provider said what was used.

        A sampled call goes on from here in the background; ``again`` asks a tier the same question.
        """
        if self._sampling is not None and self.decision.sample is not None:
            answers = {**dict(self._paid), self.decision.tier: message}
            self._sampling.submit(
                Job(
                    self.decision.sample,
                    self._request,
                    self._attribution,
                    answers,
                    self.decision,
                    again,
                    self._bill,
                    metering(config),
                )
            )
        return self._costed()

    def _costed(self) -> Decision:
        spent = [self._bill.cost(tier, message) for tier, message in self._paid]
        instead = self._bill.cost(self._bill.last, self._paid[-1][1]) if self._paid else None
        if instead is None or not all(cost is not None for cost in spent):
            return self.decision
        return self.decision.costing(sum(cost or 0 for cost in spent), strongest=instead)

    def _baseline(self) -> dict[str, object]:
        """For the ledger: what the next call is held against. Calls that failed their check claimed a saving that an
        escalation takes back.
        """
        owed = sum(self._bill.cost(self._bill.last, message) or 0 for _, message in self._paid)
        if self.decision.tier == self._bill.last and not owed:
            return {}
        return dict(calls.against(Baseline(*self._bill.name(self._bill.last), owed)))

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
