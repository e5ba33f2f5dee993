"""One request's way through the tiers: where it starts, when it escalates, when it gives way to a budget.

No I/O of its own: an adapter says how to ask a tier and what that brought, and here it is decided which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from costguard_core.errors import SpendLimitExceeded
from costguard_core.prices import PriceBook
from costguard_core.routing import Answer, Decision, Request, Router, Verdict
from costguard_core.routing.verify import Check
from costguard_core.values import Baseline, Usage

T = TypeVar("T")


class Brought(NamedTuple):
    """What one call brought, as far as the way depends on it.

    ``usage`` is what was paid for (``None``: nobody knows, or nothing was). ``from_budget``: it is the static reply of
    a budget that refused, and nobody was asked; ``gives_way``: that budget would rather have a cheaper tier answer.
    ``unparsed``: structured output that does not fit its schema.
    """

    answer: Answer
    usage: Usage | None = None
    from_budget: bool = False
    gives_way: bool = False
    unparsed: bool = False


class Model(NamedTuple):
    """What a tier runs, for its price."""

    name: str
    provider: str | None = None


class Journey(Generic[T]):
    """``T`` is what one call returns in the adapter's words; ``read`` translates it.

    Args:
        decision: where it starts.
        check: what the answers of all tiers but the strongest must pass, if anything.
    """

    def __init__(
        self, router: Router, request: Request, decision: Decision, *, check: Check | None, read: Callable[[T], Brought]
    ) -> None:
        self.decision = decision
        self._router, self._request, self._check, self._read = router, request, check, read
        self._paid: list[tuple[str, Usage | None]] = []
        self._kept: tuple[T, Decision] | None = None
        self._downgraded = False

    @property
    def is_checked(self) -> bool:
        """Whether what this tier brings is checked before anybody sees it: a stream must then be held back."""
        top = self._router.tiers[-1].name
        return self._check is not None and not self._downgraded and self.decision.tier != top

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
        self._paid.append((self.decision.tier, brought.usage))
        if not self.is_checked:
            return True
        verdict = self._verdict(brought)
        if verdict.ok:
            return True
        higher = self._router.escalated(self.decision, self._request, verdict)
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

    def costed(self, prices: PriceBook, models: Mapping[str, Model]) -> Decision:
        """The decision with what it really saved, where it is known what all its calls used."""
        if not self._paid:
            return self.decision
        strongest = models[self._router.tiers[-1].name]
        spent = [None if used is None else _price(prices, models[tier], used) for tier, used in self._paid]
        last = self._paid[-1][1]
        instead = None if last is None else _price(prices, strongest, last)
        known = [cost for cost in spent if cost is not None]
        if instead is None or len(known) < len(spent):
            return self.decision
        return self.decision.costing(sum(known), strongest=instead)

    def baseline(self, prices: PriceBook, models: Mapping[str, Model]) -> Baseline | None:
        """For the ledger: what the next call is held against. Calls that failed their check claimed a saving that an
        escalation takes back.
        """
        top = self._router.tiers[-1].name
        owed = sum(_price(prices, models[top], used) or 0 for _, used in self._paid if used is not None)
        if self.decision.tier == top and not owed:
            return None
        return Baseline(*models[top], owed)

    def _verdict(self, brought: Brought) -> Verdict:
        assert self._check is not None
        return Verdict(False, "does not fit the schema") if brought.unparsed else self._check(brought.answer)

    def _step_down(self) -> bool:
        lower = self._router.cheaper(self.decision, self._request)
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


def _price(prices: PriceBook, model: Model, usage: Usage) -> int | None:
    return prices.cost(usage, model=model.name, provider=model.provider)
