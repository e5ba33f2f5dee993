"""What a router knows beyond its models: it starts requests on their way and says how the router is doing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Self, TypeVar

from costguard_core.guard import CostGuard
from costguard_core.routing.cascade.cascade import Cascade
from costguard_core.routing.checks.judge import Judge
from costguard_core.routing.checks.verify import Check
from costguard_core.routing.decision import Decision
from costguard_core.routing.learning.drift import Drift
from costguard_core.routing.pacing import Pace
from costguard_core.routing.request import Request
from costguard_core.routing.router import Router
from costguard_core.routing.shadow.sampling import SampleStats, ShadowSample
from costguard_core.routing.spend import Spending
from costguard_core.routing.tier_prices import TierPrices
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution
from costguard_core.util.threads import ask_in_thread

T = TypeVar("T")
_DRIFT_PERIOD = 100  # decisions between two looks at the drift (a choice: a look takes about a millisecond)
_log = logging.getLogger("costguard")


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """What ``router.status()`` returns.

    Attributes:
        tiers: their names, cheapest first.
        share: part (0..1) of the recent scored requests that went above the first tier; ``None``: none was scored.
        drift: recent scores compared with those of the training rows.
        sample: the shadow sample of this process; ``None`` without a prompt log.
        pairs: how many pairs the prompt log holds; ``None`` without one.
    """

    tiers: tuple[str, ...]
    share: float | None
    drift: Drift
    sample: SampleStats | None = None
    pairs: int | None = None

    def __str__(self) -> str:
        share = "nothing scored yet" if self.share is None else f"{self.share:.0%} above the first lately"
        lines = [f"tiers: {', '.join(self.tiers)}; {share}", f"drift: {self.drift.hint or self._no_drift()}"]
        if self.sample is not None:
            stats = self.sample
            lines.append(
                f"shadow sample: {stats.sampled} calls, {stats.pairs} pairs logged, {stats.unpaid} over its budget, "
                f"{stats.failed} failed, {stats.dropped} dropped; the log holds {self.pairs}"
            )
        return "\n".join(lines)

    def _no_drift(self) -> str:
        if not self.drift.distance:
            return f"nothing to compare yet ({self.drift.scores} scores)"
        return f"none (distance {self.drift.distance:.2f} over {self.drift.scores} scores)"


class RoutingEngine:
    """Decides for one router. Copies of that router share it, and so remember together.

    Args:
        router: the decision.
        prices: of the tiers.
        pace: the budget that is spent evenly; ``None``: none is.
        check: what answers of all tiers but the strongest must pass; ``None``: nothing.
        shadow: the shadow sample; ``None`` without a prompt log.
        judge: what the router's judge was made of.
        tags: the names that are taken from a framework's metadata as tags.
        guard: whose emergency caps may want the cheapest tier only; ``None``: nobody's.
    """

    def __init__(
        self,
        router: Router,
        prices: TierPrices,
        *,
        judge: object = None,
        pace: Pace | None = None,
        check: Check | None = None,
        shadow: ShadowSample | None = None,
        tags: frozenset[str] = frozenset(),
        guard: CostGuard | None = None,
    ) -> None:
        self.tags = tags
        self.router, self.prices, self.judge, self.shadow = router, prices, judge, shadow
        self.name = token_hex(8)
        """Unique: under it a copy of the router in another process image finds its engine again."""
        self._pace, self._check = pace, check
        self._decisions, self._drifted = 0, False
        self._guard = guard

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def guarded_by(self, guard: CostGuard, judge: Judge | None) -> Self:
        """An engine that shares its memory with this one, for tiers that ``guard`` meters.

        Args:
            guard: whose prices count from now on; the budget of the shadow sample moves into its store.
            judge: replaces the one that was on another guard's bill; ``None``: the judge stays.
        """
        copied = copy(self)
        copied.name = token_hex(8)
        copied.prices, copied.tags = self.prices._replace(book=guard.prices), guard.tags
        copied._guard = guard
        if judge is not None:
            copied.router = self.router.with_judge(judge)
        if self.shadow is not None:
            self.shadow.paid_by(guard)
        return copied

    def start(self, request: Request, attribution: Attribution, read: Callable[[T], TierResult]) -> Cascade[T]:
        """Decide about a request, remember it, and begin its way through the tiers.

        Args:
            request: what is asked.
            attribution: who asks.
            read: what a reply of a tier means.
        """
        decision = self.router.decide(request, spending=self._spending(request, attribution))
        self._watch_drift()
        cheapest_only = self._guard is not None and self._guard.cheapest_only
        if cheapest_only:
            decision = self.router.cheapest(decision, request, because="emergency")
        sample = None if self.shadow is None or cheapest_only else self.shadow.draw(request)
        return Cascade(
            self.router,
            request,
            attribution,
            replace(decision, sample=sample),
            self.prices,
            read,
            check=None if cheapest_only else self._check,
            shadow=self.shadow,
        )

    async def astart(self, request: Request, attribution: Attribution, read: Callable[[T], TierResult]) -> Cascade[T]:
        """:meth:`start` on an event loop, and off it where a judge is asked or counters are over the network."""
        if self.router.has_judge or (self._pace is not None and self._pace.is_remote):
            return await ask_in_thread(self.start, request, attribution, read)
        return self.start(request, attribution, read)

    def is_hard(self, request: Request, attribution: Attribution) -> bool:
        """Whether the request goes to a dearer tier than the first; it is remembered as decided."""
        return self.router.is_hard(request, spending=self._spending(request, attribution))

    def explain(self, request: Request, attribution: Attribution) -> Decision:
        """What would be decided now, without remembering it."""
        decision = self.router.explain(request, spending=self._spending(request, attribution, remember=False))
        return decision.with_reason("scores have drifted: train again") if self.router.drift.retrain else decision

    def status(self) -> RouterStatus:
        """How the router is doing."""
        status = RouterStatus(tuple(tier.name for tier in self.router.tiers), self.router.share_now, self.router.drift)
        if self.shadow is None:
            return status
        return replace(status, sample=replace(self.shadow.stats), pairs=len(self.shadow.log))

    def feedback(self, sample: str | None, quality: float) -> bool:
        """Record in the prompt log what the user thinks of an answer, 0 (bad) to 1 (good).

        Args:
            sample: the id that the decision about it holds; ``None``: it is not part of the shadow sample.

        Returns:
            Whether the log has a use for it.
        """
        if sample is None or self.shadow is None:
            return False
        self.shadow.log.feedback(sample, quality)
        return True

    def _watch_drift(self) -> None:
        """Log once that it is time to train again, and once more when that passes and comes back."""
        self._decisions += 1
        if self._decisions % _DRIFT_PERIOD:
            return
        drift = self.router.drift
        if drift.hint is not None and not self._drifted:
            _log.warning("costguard: %s (costguard router train)", drift.hint)
        self._drifted = drift.retrain

    def _spending(self, request: Request, attribution: Attribution, *, remember: bool = True) -> Spending | None:
        if self._pace is None:
            return None
        model = self.prices.models[self.prices.strongest]
        return self._pace.spending(
            attribution,
            model=model.name,
            provider=model.provider,
            strong_cost=self.router.tiers[-1].cost(request) or 0,
            weak_cost=self.router.tiers[0].cost(request) or 0,
            remember=remember,
        )
