"""The shadow sample: a few questions are asked of the other tier as well, in the background, for the prompt log.

Nothing here is on the user's path: what is asked waits in a short queue for one thread, is dropped when that is full,
is paid from a budget of its own, and fails without anybody but the counters noticing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple, Protocol

from costguard_core.attribution import attribute
from costguard_core.budgets.budget import Budget
from costguard_core.cache import cache_control
from costguard_core.counters import open_store
from costguard_core.errors import ConfigurationError, CostGuardError, SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.pricing import PriceBook
from costguard_core.routing import Decision, Request, Shadow
from costguard_core.routing.cascade.tier_prices import Bill
from costguard_core.routing.cascade.tier_result import Brought
from costguard_core.routing.checks.verify import Check
from costguard_core.routing.learning.labels import STRONG, WEAK
from costguard_core.routing.shadow.budget import Purse
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog
from costguard_core.types import Attribution, Call
from costguard_core.util.batch_worker import BatchWorker
from costguard_core.util.ids import CallIds

WAITING = 64  # calls that may wait for the thread; more are dropped
_log = logging.getLogger("costguard")


class Again(Protocol):
    """How an adapter asks a tier the question of one call once more, unseen by everybody but the books of the guard."""

    def ask(self, tier: str) -> Brought:
        """What that tier answers."""
        ...

    def input_tokens(self) -> int:
        """At least as many tokens as the prompt has: a hold, which is settled to what the provider says."""
        ...

    def output_limit(self, tier: str) -> int | None:
        """The tier's own cap on output tokens, if it has one."""
        ...


class Job(NamedTuple):
    """One sampled call: what was answered to the user, and how to ask again."""

    id: str
    request: Request
    attribution: Attribution
    answers: Mapping[str, Brought]
    decision: Decision
    again: Again
    bill: Bill


@dataclass(slots=True)
class Tally:
    """What became of the sampled calls of this process: ``pairs`` were logged, ``unpaid`` were more than the budget of
    the sample had room for, ``failed`` brought an error, ``dropped`` found the queue full."""

    sampled: int = 0
    pairs: int = 0
    unpaid: int = 0
    failed: int = 0
    dropped: int = 0


class Sampling:
    """Collects pairs for one router. Copies of that router share it.

    Args:
        log: where pairs go.
        shadow: which calls are sampled.
        purse: what second answers are paid from.
        check: what answers are checked with, if they are.
    """

    def __init__(self, log: PromptLog, shadow: Shadow, purse: Purse, *, check: Check | None = None) -> None:
        self.log, self.purse, self.tally = log, purse, Tally()
        self._shadow, self._check, self._new_id = shadow, check, CallIds()
        self._queue: BatchWorker[Job] = BatchWorker(
            self._work, name="costguard-shadow", interval=0.0, batch=1, capacity=WAITING, patience=0.0
        )

    def __deepcopy__(self, memo: dict[int, object]) -> Sampling:
        return self

    def paid_by(self, guard: CostGuard) -> None:
        """Count the budget of the sample in the store of ``guard``, at its prices."""
        self.purse = Purse(self.purse.budget, guard.store, guard.prices)

    def drawn(self, request: Request) -> str | None:
        """The id of a call that is sampled, or ``None``. What is more than text, or nothing, teaches nothing."""
        made = self._new_id()
        if request.modalities or not request.text.strip() or not self._shadow.wants(made):
            return None
        return made

    def submit(self, job: Job) -> None:
        """Hand over a call whose user has been served; never raises, never waits."""
        shown = job.answers[job.decision.tier]
        if shown.from_budget or shown.from_cache:
            return  # nobody was asked just now
        self.tally.sampled += 1
        before = self._queue.dropped
        self._queue.put(job)
        self.tally.dropped += self._queue.dropped > before

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all calls sampled so far are logged; ``False`` if that took longer than ``timeout`` seconds."""
        return self._queue.flush(timeout)

    def _work(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                self._complete(job)
            except Exception as error:
                self.tally.failed += 1
                if self.tally.failed == 1:
                    # The text of another error may quote the prompt.
                    told = str(error) if isinstance(error, CostGuardError) else type(error).__name__
                    _log.warning("costguard: no second answer for the prompt log: %s. More are only counted", told)

    def _complete(self, job: Job) -> None:
        answers = dict(job.answers)
        for tier in (job.bill.first, job.bill.last):
            if tier not in answers:
                found = self._asked(job, tier)
                if found is None:
                    self.tally.unpaid += 1
                    return
                answers[tier] = found
        self.log.add(self._pair(job, answers[job.bill.first], answers[job.bill.last]))
        self.tally.pairs += 1

    def _asked(self, job: Job, tier: str) -> Brought | None:
        """The answer of a tier, paid from the purse; ``None`` if there is no money for it."""
        who = job.attribution
        # On the operator's bill, not on the user's, whose budget must not be used up by what nobody asked for. The
        # answer belongs to no tenant: it must neither come from a cache nor go into one.
        payer = attribute(endpoint=who.endpoint, feature=who.feature, template=who.template)
        with payer as paying, cache_control(no_cache=True):
            permit = self.purse.hold(_call(job, tier, paying, self._new_id(), self.log.clock()))
            if permit is None:
                return None
            try:
                brought = job.again.ask(tier)
            except SpendLimitExceeded:
                self.purse.release(permit)
                return None
            except BaseException as error:
                self.purse.fail(permit, error)
                raise
        if brought.from_budget:
            self.purse.release(permit)
            return None
        self.purse.settle(permit, brought.usage)
        return brought

    def _pair(self, job: Job, weak: Brought, strong: Brought) -> Pair:
        who, bill = job.attribution, job.bill
        return Pair(
            id=job.id,
            time=self.log.clock(),
            prompt=job.request.text,
            weak_answer=weak.text,
            strong_answer=strong.text,
            # With a tier in between, the user may have seen neither.
            shown=WEAK if job.decision.tier == bill.first else STRONG if job.decision.tier == bill.last else "other",
            tag=job.request.tag,
            user=who.user,
            tenant=who.tenant,
            session=who.session,
            weak_model=bill.models[bill.first].name,
            strong_model=bill.models[bill.last].name,
            weak_cost=bill.cost(bill.first, weak.usage),
            strong_cost=bill.cost(bill.last, strong.usage),
            weak_ok=self._passes(weak),
            strong_ok=self._passes(strong),
        )

    def _passes(self, brought: Brought) -> bool | None:
        return None if self._check is None else self._check(brought.answer).ok


def sampling(
    log: PromptLog | str | PathLike[str] | None,
    rate: float,
    budget: str | Budget | None,
    guard: CostGuard | None,
    prices: PriceBook,
    check: Check | None,
) -> Sampling | None:
    """The shadow sample of ``rate`` (0..1) of the calls, if there is a prompt log to keep it.

    Raises:
        ConfigurationError: ``rate`` is not a part.
    """
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"shadow={rate!r} is a part of the calls: 0 to 1")
    if log is None:
        return None
    kept = log if isinstance(log, PromptLog) else PromptLog(log)
    store = open_store("memory://") if guard is None else guard.store
    return Sampling(kept, Shadow(rate), Purse(budget, store, prices), check=check)


def _call(job: Job, tier: str, payer: Attribution, id: str, now: float) -> Call:
    name, provider = job.bill.models[tier]
    return Call(
        id=id,
        model=name,
        started=now,
        provider=provider,
        attribution=payer,
        input_tokens=job.again.input_tokens(),
        max_output_tokens=job.again.output_limit(tier),
    )
