"""The shadow sample: a few questions are asked of the other tier as well, in the background, for the prompt log.

Nothing here is on the user's path: sampled calls wait in a short queue for one thread, are dropped when it is full, are
paid from a budget of their own, and what fails is only counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple, Protocol
from zlib import crc32

from costguard_core.attribution import attribute
from costguard_core.budgets.budget import Budget
from costguard_core.cache import cache_control
from costguard_core.counters import open_store
from costguard_core.errors import CostGuardError, SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.lifecycle.calls import CallIds
from costguard_core.pricing import PriceBook
from costguard_core.routing.checks.verify import Check
from costguard_core.routing.decision import Decision
from costguard_core.routing.learning.labels import STRONG, WEAK
from costguard_core.routing.request import Request
from costguard_core.routing.shadow.budget import ShadowBudget
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog
from costguard_core.routing.tier_prices import TierPrices
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution, Call
from costguard_core.util.batch_worker import BatchWorker
from costguard_core.util.numbers import number

RATE = 0.02  # of the calls (a choice): 200 pairs, enough for a table of call sites, come with 10,000 calls
QUEUE_CAPACITY = 64  # sampled calls that wait; one more is dropped (a choice: they hold their prompts in memory)
_log = logging.getLogger("costguard")


@dataclass(frozen=True, slots=True)
class Shadow:
    """Which calls are sampled.

    Measured: 200 pairs are enough for a table of call sites, 500 for a model of the text; on one pair of models, 200
    extra strong calls were repaid after about 670 requests.

    Attributes:
        rate: part (0..1) of the calls.
        budget: nano-dollars that second answers may cost in all; ``None`` is no limit.
    """

    rate: float = RATE
    budget: int | None = None

    def wants(self, call_id: str, *, spent: int = 0, cost: int = 0) -> bool:
        """Whether this call is sampled; the same id always gets the same answer, in every process.

        Args:
            call_id: a unique id of the call, not its text: repeated questions must not all be in or out.
            spent: nano-dollars that second answers cost so far.
            cost: nano-dollars that this one would cost.
        """
        if self.budget is not None and spent + cost > self.budget:
            return False
        return crc32(call_id.encode("utf-8", "surrogatepass")) < self.rate * 2**32


class RepeatedCall(Protocol):
    """How an adapter asks the question of one call once more. Only the guard's own metering sees it."""

    def ask_again(self, tier: str) -> TierResult:
        """What that tier answers."""
        ...

    def input_tokens(self) -> int:
        """At least as many tokens as the prompt has, to be reserved (see ``request.most_tokens``)."""
        ...

    def output_limit(self, tier: str) -> int | None:
        """The tier's own cap on output tokens, if it has one."""
        ...


class SampledCall(NamedTuple):
    """One call of the sample.

    Attributes:
        id: under which the prompt log keeps it.
        request: what was asked.
        attribution: who asked.
        results: what tiers have answered so far, by their names.
        decision: which tier's answer the user got.
        repeat: asks another tier.
        prices: of the tiers.
    """

    id: str
    request: Request
    attribution: Attribution
    results: Mapping[str, TierResult]
    decision: Decision
    repeat: RepeatedCall
    prices: TierPrices


@dataclass(slots=True)
class SampleStats:
    """What became of the sampled calls of this process.

    Attributes:
        sampled: how many there were.
        pairs: were logged.
        unpaid: found no room in the budget of the sample.
        failed: brought an error.
        dropped: found the queue full.
    """

    sampled: int = 0
    pairs: int = 0
    unpaid: int = 0
    failed: int = 0
    dropped: int = 0


class ShadowSample:
    """Collects pairs for one router. Copies of that router share it.

    Args:
        log: where pairs go.
        shadow: which calls are sampled.
        budget: what second answers are paid from.
        check: what answers are checked with; ``None``: they are not.
    """

    def __init__(self, log: PromptLog, shadow: Shadow, budget: ShadowBudget, *, check: Check | None = None) -> None:
        self.log, self.budget, self.stats = log, budget, SampleStats()
        self._shadow, self._check, self._new_id = shadow, check, CallIds()
        self._worker: BatchWorker[SampledCall] = BatchWorker(
            self._complete_all,
            name="costguard-shadow",
            interval=0.0,
            batch=1,
            capacity=QUEUE_CAPACITY,
            patience=0.0,
            retry=False,
        )

    def __deepcopy__(self, memo: dict[int, object]) -> ShadowSample:
        return self

    def paid_by(self, guard: CostGuard) -> None:
        """Count the budget of the sample in the store of ``guard`` from now on, at its prices."""
        self.budget = ShadowBudget(self.budget.budget, guard.store, guard.prices)

    def draw(self, request: Request) -> str | None:
        """The id of a call that is sampled, else ``None``. What holds more than text, or none, is never sampled."""
        call_id = self._new_id()
        if request.modalities or not request.text.strip() or not self._shadow.wants(call_id):
            return None
        return call_id

    def submit(self, call: SampledCall) -> None:
        """Hand over a call whose user has been served; never raises, never waits."""
        shown = call.results[call.decision.tier]
        if shown.refused or shown.from_cache:
            return  # no model was asked
        self.stats.sampled += 1
        if not self._worker.put(call):
            self.stats.dropped += 1

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all calls sampled so far are logged; ``False`` if that took longer than ``timeout`` seconds."""
        return self._worker.flush(timeout)

    def _complete_all(self, calls: list[SampledCall]) -> None:
        for call in calls:
            try:
                self._complete(call)
            except Exception as error:
                self.stats.failed += 1
                if self.stats.failed == 1:
                    # The text of another error may quote the prompt.
                    cause = str(error) if isinstance(error, CostGuardError) else type(error).__name__
                    _log.warning("costguard: no second answer for the prompt log: %s. More are only counted", cause)

    def _complete(self, call: SampledCall) -> None:
        """Ask the tiers of which the answer is missing, and log the pair."""
        results, prices = dict(call.results), call.prices
        for tier in (prices.cheapest, prices.strongest):
            if tier not in results:
                result = self._second_answer(call, tier)
                if result is None:
                    self.stats.unpaid += 1
                    return
                results[tier] = result
        self.log.add(self._pair(call, results[prices.cheapest], results[prices.strongest]))
        self.stats.pairs += 1

    def _second_answer(self, call: SampledCall, tier: str) -> TierResult | None:
        """The answer of a tier, paid from the budget of the sample; ``None`` if there is no room in it."""
        # It is on the operator's bill, not on the user's, whose budget must not be used up by what they did not ask
        # for; and it belongs to no tenant, so it must neither come from a cache nor go into one.
        who = call.attribution
        with (
            attribute(endpoint=who.endpoint, feature=who.feature, template=who.template) as payer,
            cache_control(no_cache=True),
        ):
            permit = self.budget.reserve(self._call(call, tier, payer))
            if permit is None:
                return None
            try:
                result = call.repeat.ask_again(tier)
            except SpendLimitExceeded:
                self.budget.release(permit)
                return None
            except BaseException as error:
                self.budget.fail(permit, error)
                raise
        if result.refused:
            self.budget.release(permit)
            return None
        self.budget.settle(permit, result.usage)
        return result

    def _call(self, call: SampledCall, tier: str, payer: Attribution) -> Call:
        model = call.prices.models[tier]
        return Call(
            id=self._new_id(),
            model=model.name,
            started=self.log.clock(),
            provider=model.provider,
            attribution=payer,
            input_tokens=call.repeat.input_tokens(),
            max_output_tokens=call.repeat.output_limit(tier),
        )

    def _pair(self, call: SampledCall, weak: TierResult, strong: TierResult) -> Pair:
        who, prices = call.attribution, call.prices
        # With a tier in between, the user may have seen neither.
        sides = {prices.cheapest: WEAK, prices.strongest: STRONG}
        return Pair(
            id=call.id,
            time=self.log.clock(),
            prompt=call.request.text,
            weak_answer=weak.text,
            strong_answer=strong.text,
            shown=sides.get(call.decision.tier, "other"),
            tag=call.request.tag,
            user=who.user,
            tenant=who.tenant,
            session=who.session,
            weak_model=prices.models[prices.cheapest].name,
            strong_model=prices.models[prices.strongest].name,
            weak_cost=prices.cost(prices.cheapest, weak.usage),
            strong_cost=prices.cost(prices.strongest, strong.usage),
            weak_ok=self._passes(weak),
            strong_ok=self._passes(strong),
        )

    def _passes(self, result: TierResult) -> bool | None:
        return None if self._check is None else self._check(result.answer).ok


def shadow_sample(
    log: PromptLog | str | PathLike[str] | None,
    rate: float,
    budget: str | Budget | None,
    guard: CostGuard | None,
    prices: PriceBook,
    check: Check | None,
) -> ShadowSample | None:
    """The shadow sample of a router, if there is a prompt log to keep it.

    Args:
        log: the prompt log or its path.
        rate: part (0..1) of the calls to sample.
        budget: what second answers may cost, e.g. ``"$1/day"``; ``None`` is no limit.
        guard: in whose store the budget is counted; ``None``: in this process.
        prices: what answers cost.
        check: what answers are checked with.

    Raises:
        ConfigurationError: ``rate`` is not a part, or the log cannot be used.
    """
    number("shadow", rate, at_least=0, at_most=1)
    if log is None:
        return None
    store = open_store("memory://") if guard is None else guard.store
    opened = log if isinstance(log, PromptLog) else PromptLog(log)
    return ShadowSample(opened, Shadow(rate), ShadowBudget(budget, store, prices), check=check)
