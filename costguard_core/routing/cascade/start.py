"""From a request to where it starts: the budget that is spent evenly, the decision, and whether it is sampled."""

from __future__ import annotations

import asyncio
import logging
from copy import copy
from dataclasses import replace
from typing import Self

from costguard_core.routing import Decision, Judge, Request, Router, Spending
from costguard_core.routing.cascade.cascade import Start
from costguard_core.routing.cascade.status import RouterStatus
from costguard_core.routing.cascade.tier_prices import Model
from costguard_core.routing.checks.verify import Check
from costguard_core.routing.pacing import Pace
from costguard_core.routing.shadow.sampling import Sampling
from costguard_core.types import Attribution

_log = logging.getLogger("costguard")
_LOOK = 100  # decisions between two looks at the drift


class Dispatch:
    """Decides for one router. Copies of that router share it, and so remember together.

    Args:
        router: the decision.
        pace: the budget that is spent evenly, if one is.
        check: what the answers of all tiers but the strongest are checked with.
        strongest: what the strongest tier runs, for budgets that count per model.
        asks: whether deciding may take a call to a judge.
        sampling: where sampled calls go, if there is a prompt log.
    """

    def __init__(
        self,
        router: Router,
        *,
        pace: Pace | None,
        check: Check | None,
        strongest: Model,
        asks: bool = False,
        sampling: Sampling | None = None,
    ) -> None:
        self.router, self.check, self.sampling = router, check, sampling
        self._decided, self._drifted = 0, False
        self._pace, self._strongest = pace, strongest
        self._slow = asks or (pace is not None and pace.is_remote)

    def __deepcopy__(self, memo: dict[int, object]) -> Dispatch:
        return self

    def judged_by(self, judge: Judge | None) -> Self:
        """The same, remembering together with this one, with another judge."""
        made = copy(self)
        made.router = self.router.judged_by(judge)
        return made

    def start(self, request: Request, attribution: Attribution) -> Start:
        """Where the :class:`Journey` of a request begins."""
        decision = self.router.decide(request, spending=self._spending(request, attribution))
        self._watch()
        drawn = None if self.sampling is None else self.sampling.drawn(request)
        if drawn is not None:
            decision = replace(decision, sample=drawn)
        return Start(self.router, request, attribution, decision, self.check, self.sampling)

    async def astart(self, request: Request, attribution: Attribution) -> Start:
        """:meth:`start` on an event loop, and off it where a judge is called or counters are over the network."""
        if self._slow:
            return await asyncio.to_thread(self.start, request, attribution)
        return self.start(request, attribution)

    def decide(self, request: Request, attribution: Attribution) -> Decision:
        """The decision alone."""
        return self.router.decide(request, spending=self._spending(request, attribution))

    def explain(self, request: Request, attribution: Attribution) -> Decision:
        """The decision, without remembering it."""
        found = self.router.explain(request, spending=self._spending(request, attribution, remember=False))
        return found.noting("scores have drifted: train again") if self.router.drift.retrain else found

    def status(self) -> RouterStatus:
        """How the router is doing."""
        tiers = tuple(tier.name for tier in self.router.tiers)
        status = RouterStatus(tiers, self.router.share_now, self.router.drift)
        if self.sampling is None:
            return status
        return replace(status, sample=replace(self.sampling.tally), pairs=len(self.sampling.log))

    def _watch(self) -> None:
        """Say once that it is time to train again, and once more if that passes and comes back."""
        self._decided += 1
        if self._decided % _LOOK:
            return
        found = self.router.drift
        if found.hint is not None and not self._drifted:
            _log.warning("costguard: %s (costguard router train)", found.hint)
        self._drifted = found.retrain

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
