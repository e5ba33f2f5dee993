"""One request's way through the tiers: where it starts, when it escalates, when it gives way to a budget.

No I/O of its own: an adapter says how to ask a tier and what that brought, and here it is decided which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from costguard_core.errors import SpendLimitExceeded
from costguard_core.routing import Decision, Request, Router, Verdict
from costguard_core.routing.cascade.tier_prices import Bill
from costguard_core.routing.cascade.tier_result import Brought
from costguard_core.routing.checks.verify import Check
from costguard_core.routing.shadow.sampling import Again, Job, Sampling
from costguard_core.types import Attribution, Baseline

T = TypeVar("T")


class Start(NamedTuple):
    """Where a request starts. ``check``: what the answers of all tiers but the strongest must pass, if anything."""

    router: Router
    request: Request
    attribution: Attribution
    decision: Decision
    check: Check | None = None
    sampling: Sampling | None = None


class Journey(Generic[T]):
    """``T`` is what one call returns in the adapter's words.

    Args:
        start: where it starts.
        bill: what the tiers cost.
        read: what a call brought, from what it returned.
    """

    def __init__(self, start: Start, bill: Bill, read: Callable[[T], Brought]) -> None:
        self.decision, self.bill = start.decision, bill
        self._start, self._read = start, read
        self._paid: list[tuple[str, Brought]] = []
        self._kept: tuple[T, Decision] | None = None
        self._downgraded = False

    @property
    def is_checked(self) -> bool:
        """Whether what this tier brings is checked before anybody sees it: a stream must then be held back."""
        top = self._start.router.tiers[-1].name
        return self._start.check is not None and not self._downgraded and self.decision.tier != top

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

    def accepts(self, returned: T) -> bool:
        """Whether this is the answer (see :meth:`arrived`); if not, ``decision`` names the tier to ask next."""
        brought = self._read(returned)
        if brought.from_budget:
            return not brought.gives_way or self._kept is not None or not self._step_down()
        self._paid.append((self.decision.tier, brought))
        if not self.is_checked:
            return True
        verdict = self._verdict(brought)
        if verdict.ok:
            return True
        higher = self._start.router.escalated(self.decision, self._start.request, verdict)
        noted = self.decision.noting(verdict.reason)
        if higher is None:
            self.decision = noted
            return True
        self._kept, self.decision = (returned, noted), higher
        return False

    def arrived(self, returned: T) -> T:
        """What to give to the caller: a refused escalation gives the answer that there is."""
        refused = self._kept is not None and self._read(returned).gives_way
        return self._keep() if refused else returned

    @property
    def is_sampled(self) -> bool:
        """Whether the answer is wanted for the shadow sample (see :meth:`sample`)."""
        return self._start.sampling is not None and self.decision.sample is not None

    def sample(self, shown: Brought, again: Again) -> None:
        """The caller has ``shown``: a sampled call goes on from here, in the background."""
        sampling, id = self._start.sampling, self.decision.sample
        if sampling is None or id is None:
            return
        answers = {**dict(self._paid), self.decision.tier: shown}
        who = self._start.attribution
        sampling.submit(Job(id, self._start.request, who, answers, self.decision, again, self.bill))

    def costed(self, *, ended: bool = True) -> Decision:
        """The decision with what it really saved, where it is known what all its calls used.

        Of a stream that has not ``ended``, the last call is still an estimate.
        """
        spent = [self.bill.cost(tier, brought.usage) for tier, brought in self._paid]
        if not ended:
            return replace(self.decision, saved=self.decision.saved - sum(cost or 0 for cost in spent[:-1]))
        instead = self.bill.cost(self.bill.last, self._paid[-1][1].usage) if self._paid else None
        known = [cost for cost in spent if cost is not None]
        if instead is None or len(known) < len(spent):
            return self.decision
        return self.decision.costing(sum(known), strongest=instead)

    def baseline(self) -> Baseline | None:
        """For the ledger: what the next call is held against. Calls that failed their check claimed a saving that an
        escalation takes back.
        """
        top = self.bill.last
        owed = sum(self._claimed(tier, brought) for tier, brought in self._paid)
        if self.decision.tier == top and not owed:
            return None
        return Baseline(*self.bill.models[top], owed)

    def _claimed(self, tier: str, brought: Brought) -> int:
        """What the books say that a call which failed its check was worth: the price of the strongest tier; of a hit,
        the price of its own.
        """
        return self.bill.cost(tier if brought.from_cache else self.bill.last, brought.usage) or 0

    def _verdict(self, brought: Brought) -> Verdict:
        assert self._start.check is not None
        return Verdict(False, "does not fit the schema") if brought.unparsed else self._start.check(brought.answer)

    def _step_down(self) -> bool:
        lower = self._start.router.cheaper(self.decision, self._start.request)
        if lower is None:
            return False
        self.decision, self._downgraded = lower, True
        return True

    def _keep(self) -> T:
        assert self._kept is not None
        returned, decision = self._kept
        self.decision = replace(decision.noting("not escalated: budget"), escalated=False)
        return returned


def travel(journey: Journey[T], ask: Callable[[Decision], T]) -> T:
    """Ask tier after tier until one has the answer.

    Raises:
        SpendLimitExceeded: a budget refuses, and nothing cheaper is to be had.
    """
    while True:
        try:
            returned = ask(journey.decision)
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
        else:
            if journey.accepts(returned):
                return journey.arrived(returned)


async def atravel(journey: Journey[T], ask: Callable[[Decision], Awaitable[T]]) -> T:
    """:func:`travel` on an event loop."""
    while True:
        try:
            returned = await ask(journey.decision)
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
        else:
            if journey.accepts(returned):
                return journey.arrived(returned)
