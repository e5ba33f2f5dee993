"""The shadow sample: a few questions are asked of the other tier as well, in the background, for the prompt log.

Nothing here is on the user's path: what is asked waits in a short queue for one thread, is dropped when that is full,
is paid from a budget of its own, and fails without anybody but the counters noticing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import RunnableConfig

from costguard_core import CostGuard, CostGuardError, SpendLimitExceeded, attribute
from costguard_core.background import Background
from costguard_core.caching import cache_control
from costguard_core.ids import CallIds
from costguard_core.prices import PriceBook
from costguard_core.routing import Decision, Shadow
from costguard_core.routing.labels import STRONG, WEAK
from costguard_core.routing.prompt_log import Pair, PromptLog
from costguard_core.routing.purse import Purse
from costguard_core.routing.verify import Check
from costguard_core.values import Attribution, Call
from langchain_costguard import calls, routes
from langchain_costguard.handler import CostGuardCallbackHandler
from langchain_costguard.routes import ChatRequest

WAITING = 64  # calls that may wait for the thread; more are dropped
TAG = "costguard-shadow"
_FRAME = 16  # tokens that a message may cost besides its text
_log = logging.getLogger("costguard")

Again = Callable[[str, RunnableConfig], BaseMessage]
"""Ask a tier the same question once more."""


class Bill(NamedTuple):
    """The models of a router by tier, cheapest first, and what they cost."""

    prices: PriceBook
    models: Mapping[str, BaseChatModel]

    @property
    def first(self) -> str:
        return next(iter(self.models))

    @property
    def last(self) -> str:
        return list(self.models)[-1]

    def name(self, tier: str) -> tuple[str, str | None]:
        """Model and provider of a tier."""
        ls: Mapping[str, Any] = self.models[tier]._get_ls_params()
        return calls.model_name(ls, {}), ls.get("ls_provider")

    def cost(self, tier: str, message: BaseMessage) -> int | None:
        """Nano-dollars of what a message says it used, at the prices of a tier; ``None`` if nobody knows."""
        usage = calls.message_usage(message)
        if usage is None:
            return None
        model, provider = self.name(tier)
        return self.prices.cost(usage, model=model, provider=provider)


class Job(NamedTuple):
    """One sampled call: what was answered to the user, and how to ask again."""

    id: str
    request: ChatRequest
    attribution: Attribution
    answers: Mapping[str, BaseMessage]
    decision: Decision
    again: Again
    bill: Bill
    callbacks: Any


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
        self._queue: Background[Job] = Background(
            self._work, name="costguard-shadow", interval=0.0, batch=1, capacity=WAITING, patience=0.0
        )

    def __deepcopy__(self, memo: dict[int, object]) -> Sampling:
        return self

    def paid_by(self, guard: CostGuard) -> None:
        """Count the budget of the sample in the store of ``guard``, at its prices."""
        self.purse = Purse(self.purse.budget, guard.store, guard.prices)

    def drawn(self, request: ChatRequest) -> str | None:
        """The id of a call that is sampled, or ``None``. What is more than text, or nothing, teaches nothing."""
        made = self._new_id()
        if request.modalities or not request.text.strip() or not self._shadow.wants(made):
            return None
        return made

    def submit(self, job: Job) -> None:
        """Hand over a call whose user has been served; never raises, never waits."""
        shown = job.answers[job.decision.tier]
        if routes.is_reply_of_budget(shown) or routes.is_hit(shown):
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

    def _asked(self, job: Job, tier: str) -> BaseMessage | None:
        """The answer of a tier, paid from the purse; ``None`` if there is no money for it."""
        who = job.attribution
        # On the operator's bill, not on the user's, whose budget must not be used up by what nobody asked for.
        with attribute(endpoint=who.endpoint, feature=who.feature, template=who.template) as payer, _uncached():
            permit = self.purse.hold(_call(job, tier, payer, self._new_id(), self.log.clock()))
            if permit is None:
                return None
            try:
                message = job.again(tier, _config(job, tier))
            except SpendLimitExceeded:
                self.purse.release(permit)
                return None
            except BaseException as error:
                self.purse.fail(permit, error)
                raise
        refused = routes.is_reply_of_budget(message)
        if refused:
            self.purse.release(permit)
        else:
            self.purse.settle(permit, calls.message_usage(message))
        return None if refused else message

    def _pair(self, job: Job, weak: BaseMessage, strong: BaseMessage) -> Pair:
        who, bill = job.attribution, job.bill
        return Pair(
            id=job.id,
            time=self.log.clock(),
            prompt=job.request.text,
            weak_answer=_text(weak),
            strong_answer=_text(strong),
            # With a tier in between, the user may have seen neither.
            shown=WEAK if job.decision.tier == bill.first else STRONG if job.decision.tier == bill.last else "other",
            tag=job.request.tag,
            user=who.user,
            tenant=who.tenant,
            session=who.session,
            weak_model=bill.name(bill.first)[0],
            strong_model=bill.name(bill.last)[0],
            weak_cost=bill.cost(bill.first, weak),
            strong_cost=bill.cost(bill.last, strong),
            weak_ok=self._passes(job, weak),
            strong_ok=self._passes(job, strong),
        )

    def _passes(self, job: Job, message: BaseMessage) -> bool | None:
        if self._check is None:
            return None
        return self._check(routes.answer_of(message, structured=job.request.structured)).ok


def _uncached() -> Any:
    # The answer belongs to no tenant: it must neither come from a cache nor go into one.
    return cache_control(no_cache=True)


def _config(job: Job, tier: str) -> RunnableConfig:
    """Nobody's callbacks but those that meter: for everybody else this call did not happen."""
    return {"callbacks": job.callbacks, "tags": [TAG], "metadata": {calls.ROUTE: f"shadow: {tier}"}}


def metering(config: RunnableConfig) -> list[CostGuardCallbackHandler]:
    """The handlers of a call that keep its books."""
    given = config.get("callbacks")
    handlers = given.handlers if isinstance(given, BaseCallbackManager) else given or []
    return [handler for handler in handlers if isinstance(handler, CostGuardCallbackHandler)]


def _call(job: Job, tier: str, payer: Attribution, id: str, now: float) -> Call:
    model = job.bill.models[tier]
    ls: Mapping[str, Any] = model._get_ls_params()
    name, provider = job.bill.name(tier)
    return Call(
        id=id,
        model=name,
        started=now,
        provider=provider,
        attribution=payer,
        input_tokens=_bound(job.request),
        max_output_tokens=calls.output_limit(model._get_invocation_params(), ls),
    )


def _bound(request: ChatRequest) -> int:
    """More tokens than the prompt has: a hold, which is settled to what the provider says."""
    return sum(len(str(message.content).encode("utf-8", "replace")) // 2 + _FRAME for message in request.messages)


def _text(message: BaseMessage) -> str:
    return calls.text_of([ChatGeneration(message=cast(AIMessage, message))])
