"""From a request to the journey it starts on: the budget that is spent evenly, and the decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from costguard_core.dispatch.journey import Brought, Journey, Model
from costguard_core.routing import Decision, Request, Router, Spending
from costguard_core.routing.verify import Check
from costguard_core.tiering import Pace
from costguard_core.values import Attribution

T = TypeVar("T")


class Dispatch:
    """Decides for one router. Copies of that router share it, and so remember together.

    Args:
        router: the decision.
        pace: the budget that is spent evenly, if one is.
        check: what the answers of all tiers but the strongest are checked with.
        strongest: what the strongest tier runs, for budgets that count per model.
        asks: whether deciding may take a call to a judge.
    """

    def __init__(
        self, router: Router, *, pace: Pace | None, check: Check | None, strongest: Model, asks: bool = False
    ) -> None:
        self.router, self.check = router, check
        self._pace, self._strongest = pace, strongest
        self._slow = asks or (pace is not None and pace.is_remote)

    def __deepcopy__(self, memo: dict[int, object]) -> Dispatch:
        return self

    def journey(self, request: Request, attribution: Attribution, read: Callable[[T], Brought]) -> Journey[T]:
        """See :class:`Journey`."""
        decision = self.router.decide(request, spending=self._spending(request, attribution))
        return Journey(self.router, request, decision, check=self.check, read=read)

    async def ajourney(self, request: Request, attribution: Attribution, read: Callable[[T], Brought]) -> Journey[T]:
        """:meth:`journey` on an event loop, and off it where a judge is called or counters are over the network."""
        if self._slow:
            return await asyncio.to_thread(self.journey, request, attribution, read)
        return self.journey(request, attribution, read)

    def decide(self, request: Request, attribution: Attribution) -> Decision:
        """The decision alone."""
        return self.router.decide(request, spending=self._spending(request, attribution))

    def explain(self, request: Request, attribution: Attribution) -> Decision:
        """The decision, without remembering it."""
        return self.router.explain(request, spending=self._spending(request, attribution, remember=False))

    def _spending(self, request: Request, attribution: Attribution, *, remember: bool = True) -> Spending | None:
        if self._pace is None:
            return None
        return self._pace.spending(
            attribution,
            model=self._strongest.name,
            provider=self._strongest.provider,
            strong_cost=self.router.tiers[-1].cost(request) or 0,
            weak_cost=self.router.tiers[0].cost(request) or 0,
            remember=remember,
        )
