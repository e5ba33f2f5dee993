"""One request on its way through the tiers: which is asked, whether its answer will do, and which is asked next.

The rules are one generator of effects, so that they are written once for blocking callers, for event loops and for
streams: an adapter says how a tier is asked and what its reply means, and a driver
(:mod:`costguard_core.lifecycle.drivers`) asks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeGuard, TypeVar

from costguard_core.errors import SpendLimitExceeded
from costguard_core.routing.checks.verify import Check, Verdict
from costguard_core.routing.decision import Decision
from costguard_core.routing.request import Request
from costguard_core.routing.router import Router
from costguard_core.routing.shadow.sampling import RepeatedCall, SampledCall, ShadowSample
from costguard_core.routing.tier_prices import TierPrices
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution, Baseline

T = TypeVar("T")

# Exceptions of the OpenAI client for structured output that ended early: by length, or by the content filter.
_CUT_SHORT = ("LengthFinishReasonError", "ContentFilterFinishReasonError")


class AskTier(NamedTuple):
    """The effect of asking a tier.

    Attributes:
        ask: an adapter's function; it returns the reply, or on an event loop something to await.
        decision: names the tier.
    """

    ask: Callable[[Decision], Any]
    decision: Decision

    def perform(self) -> object:
        return self.ask(self.decision)

    async def aperform(self) -> Any:
        return await self.ask(self.decision)


class Discard(NamedTuple):
    """The effect of closing a reply that nobody will get, such as a stream under way.

    Attributes:
        close: an adapter's function; on an event loop it returns something to await.
        reply: what to close.
    """

    close: Callable[[Any], Any]
    reply: Any

    def perform(self) -> None:
        self.close(self.reply)

    async def aperform(self) -> None:
        await self.close(self.reply)


Steps = Generator[AskTier | Discard, Any, T]
"""A flow over the tiers, which returns a reply."""


class Cascade(Generic[T]):
    """One request and the tiers that it is sent to. ``T`` is a reply in the adapter's terms.

    Args:
        router: decides where to go next.
        request: what is asked.
        attribution: who asks.
        decision: the tier to begin with.
        prices: of the tiers.
        read: what a reply means.
        check: what answers of all tiers but the strongest must pass; ``None``: nothing.
        shadow: where the call goes on if it is sampled.
    """

    def __init__(
        self,
        router: Router,
        request: Request,
        attribution: Attribution,
        decision: Decision,
        prices: TierPrices,
        read: Callable[[T], TierResult],
        *,
        check: Check | None = None,
        shadow: ShadowSample | None = None,
    ) -> None:
        self.decision = decision
        """The tier that is asked next, or has answered, and why."""
        self.request, self.prices = request, prices
        self._router, self._attribution, self._read = router, attribution, read
        self._check, self._shadow = check, shadow
        self._results: list[tuple[str, TierResult]] = []  # of the tiers that answered, in order
        self._kept: tuple[T, Decision] | None = None  # the last answer that failed its check
        self._downgraded = False

    @property
    def is_checked(self) -> bool:
        """Whether the answer of the next tier is checked before anybody sees it: a stream must then be read first."""
        strongest = self._router.tiers[-1].name
        return self._check is not None and not self._downgraded and self.decision.tier != strongest

    def steps(
        self,
        ask: Callable[[Decision], object],
        *,
        close: Callable[[T], object] | None = None,
        unparsed: Callable[[Exception], T] | None = None,
    ) -> Steps[T]:
        """Ask tier after tier until one has the answer for the caller.

        An answer that fails its check leads one tier up. A refusal by a budget that wants a cheaper tier leads one tier
        down; of an escalation, it leads back to the answer that there is.

        Args:
            ask: see :class:`AskTier`.
            close: see :class:`Discard`; ``None``: replies need not be closed.
            unparsed: a reply from the error of a client that parses structured output itself. To a check, that is an
                answer that does not fit its schema; where nothing is checked, the error is raised.

        Raises:
            SpendLimitExceeded: a budget refuses, and no cheaper tier may answer.
        """
        while True:
            try:
                reply: T = yield AskTier(ask, self.decision)
            except SpendLimitExceeded as refusal:
                if refusal.on_exceed != "downgrade" or not self._give_way():
                    raise
                if self._kept is not None:
                    return self._kept[0]
                continue
            except Exception as error:
                if unparsed is None or not self.is_checked or not is_parse_error(error):
                    raise
                reply = unparsed(error)
            result = self._read(reply)
            if self._is_final(reply, result):
                return reply
            if close is not None:
                yield Discard(close, reply)
            if result.refused and self._kept is not None:
                return self._kept[0]

    def first_step(self, open_tier: Callable[[Decision], object]) -> Steps[T]:
        """Open the stream of the first tier that no budget refuses. :meth:`steps` goes on from there.

        Raises:
            SpendLimitExceeded: a budget refuses, and no cheaper tier may answer.
        """
        while True:
            try:
                stream: T = yield AskTier(open_tier, self.decision)
            except SpendLimitExceeded as refusal:
                if refusal.on_exceed != "downgrade" or not self._give_way():
                    raise
            else:
                return stream

    @property
    def is_sampled(self) -> bool:
        """Whether :meth:`sample` has a use for the answer."""
        return self._shadow is not None and self.decision.sample is not None

    def sample(self, repeat: RepeatedCall, shown: TierResult | None = None) -> None:
        """Hand a sampled call over to the shadow sample, which goes on in the background.

        Args:
            repeat: asks another tier the same.
            shown: what the caller got, where the reply was a stream that had not been read as a whole.
        """
        results = dict(self._results)
        if shown is not None:
            results[self.decision.tier] = shown
        if self._shadow is None or self.decision.sample is None or self.decision.tier not in results:
            return  # not sampled, or refused
        self._shadow.submit(
            SampledCall(
                self.decision.sample, self.request, self._attribution, results, self.decision, repeat, self.prices
            )
        )

    def decision_with_costs(self, *, ended: bool = True) -> Decision:
        """The decision with what it really saved, where it is known what all calls used.

        Args:
            ended: the last answer is there as a whole. Of a stream under way, its cost is still an estimate.
        """
        spent = [self.prices.cost(tier, result.usage) for tier, result in self._results]
        if not ended:
            return replace(self.decision, saved=self.decision.saved - sum(cost or 0 for cost in spent[:-1]))
        strongest = self.prices.cost(self.prices.strongest, self._results[-1][1].usage) if self._results else None
        known = [cost for cost in spent if cost is not None]
        if strongest is None or len(known) < len(spent):
            return self.decision
        return self.decision.with_costs(sum(known), strongest=strongest)

    def baseline(self) -> Baseline | None:
        """What the ledger compares the next call with: the strongest tier, less the savings that earlier calls claimed.

        ``None`` for a call of the strongest tier itself, to which nothing is owed.
        """
        strongest = self.prices.strongest
        owed = sum(self._claimed(tier, result) for tier, result in self._results)
        if self.decision.tier == strongest and not owed:
            return None
        return Baseline(*self.prices.models[strongest], owed)

    def _claimed(self, tier: str, result: TierResult) -> int:
        """Nano-dollars that a call which failed its check was compared with in the ledger: the price of the strongest
        tier, or for a cache hit that of its own tier.
        """
        return self.prices.cost(tier if result.from_cache else self.prices.strongest, result.usage) or 0

    def _is_final(self, reply: T, result: TierResult) -> bool:
        """Whether the caller gets this reply. If not, ``decision`` names the tier to ask next."""
        if result.refused:
            return not (result.downgrade and self._give_way())
        self._results.append((self.decision.tier, result))
        if not self.is_checked:
            return True
        verdict = self._verdict(result)
        if verdict.ok:
            return True
        reasoned = self.decision.with_reason(verdict.reason)
        higher = self._router.escalated(self.decision, self.request, verdict)
        if higher is None:
            self.decision = reasoned
            return True
        self._kept, self.decision = (reply, reasoned), higher
        return False

    def _verdict(self, result: TierResult) -> Verdict:
        assert self._check is not None
        return Verdict(False, "does not fit the schema") if result.unparsed else self._check(result.answer)

    def _give_way(self) -> bool:
        """After a refusal: to the answer that failed its check, if there is one, else one tier down. False: neither."""
        if self._kept is not None:
            self.decision = replace(self._kept[1].with_reason("not escalated: budget"), escalated=False)
            return True
        lower = self._router.cheaper(self.decision, self.request)
        if lower is None:
            return False
        self.decision, self._downgraded = lower, True
        return True


def is_parse_error(error: BaseException) -> TypeGuard[Exception]:
    """Whether structured output could not be made of an answer (pydantic's error is a ``ValueError``)."""
    return isinstance(error, (ValueError, TypeError)) or type(error).__name__ in _CUT_SHORT
