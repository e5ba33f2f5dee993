"""What a call costs, from admission to the record of its end, as flows that serve sync and async callers alike.

Every way out of an admitted call ends its reservation, exactly once, and is recorded as one event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from costguard_core.budgets.admission import Permit
from costguard_core.budgets.agents import RUN_SECONDS
from costguard_core.budgets.estimates import actual_amounts, assumed_usage
from costguard_core.budgets.reservation_note import read_note
from costguard_core.budgets.run_time import RunTimeControls
from costguard_core.counters.effects import Flow
from costguard_core.errors import CostGuardError, SpendLimitExceeded
from costguard_core.lifecycle.billable import failure_of
from costguard_core.lifecycle.drivers import run
from costguard_core.pricing.price_book import Cost, billed_tier, priced
from costguard_core.types import LEASE_EXPIRED, Call, Charge, Event, Outcome, Usage, UsageReport
from costguard_core.usage.token_counter import complete_usage
from costguard_core.usage.totals import sum_usage

if TYPE_CHECKING:
    from costguard_core.budgets.alerts import Alerts
    from costguard_core.counters.base import Abandoned
    from costguard_core.pricing import PriceBook
    from costguard_core.usage.token_counter import TokenCounter

_NOTHING = Cost(0, None, "")  # of a call that was not made, or that nobody bills


class CallAccounting(RunTimeControls):
    """The part of :class:`costguard_core.guard.CostGuard` that reserves, settles and records calls."""

    prices: PriceBook
    tokens: TokenCounter
    _alerts: Alerts
    _abandoned: deque[tuple[Permit, Callable[[], UsageReport] | None]]
    """Ends of calls whose consumers went away, in the order in which they were noticed."""

    def admit(self, call: Call, *, wait: bool = True) -> Permit:
        """:meth:`reserving`, blocking; without a flow where nothing limits the call."""
        permit = self._admission.at_once(call) if self._admission.unlimited and not self._abandoned else None
        return run(self.reserving(call, wait=wait)) if permit is None else permit

    def settle(self, permit: Permit, report: UsageReport) -> Charge:
        """:meth:`settling`, blocking; without a flow where nothing was reserved."""
        if permit.grant is None:
            return self._record(self._finished(permit, report, Outcome.MISS, None))
        return run(self.settling(permit, report))

    def reserving(self, call: Call, *, wait: bool = True) -> Flow[Permit]:
        """Admit a call: :meth:`costguard_core.guard.CostGuard.before` as a flow, which says what it raises."""
        if self._abandoned:
            yield from self.settling_abandoned()
        try:
            permit = self._admission.at_once(call) if self._admission.unlimited else None
            return (yield from self._admission.reserve(call, wait=wait)) if permit is None else permit
        except CostGuardError as error:
            reason = error.budget if isinstance(error, SpendLimitExceeded) else type(error).__name__
            self._record(self._ended(call, Outcome.REFUSED, Usage(), _NOTHING, reason=reason))
            raise

    def settling(self, permit: Permit, report: UsageReport) -> Flow[Charge]:
        """End a call that has an answer: :meth:`costguard_core.guard.CostGuard.after` as a flow."""
        ended = self._finished(permit, report, Outcome.MISS, None)
        totals: tuple[int, ...] = ()
        if permit.grant is not None:
            try:
                totals = yield from self._settled(permit, ended)
            except asyncio.CancelledError:  # the settlement itself goes on
                self._record(ended)
                raise
        return self._record(ended, totals)

    def failing(self, permit: Permit, error: BaseException, report: UsageReport) -> Flow[Charge]:
        """End a call that has none: :meth:`costguard_core.guard.CostGuard.fail` as a flow."""
        ended = self._failed(permit, error, report)
        try:
            yield from self._settled(permit, ended)
        except asyncio.CancelledError:
            self._record(ended)
            raise
        return self._record(ended)

    def settling_abandoned(self) -> Flow[None]:
        """Charge the calls whose consumers went away."""
        while self._abandoned:
            try:
                permit, report = self._abandoned.popleft()
            except IndexError:  # another thread took the last one
                return
            if report is None:
                yield from self._admission.settle(permit, {})
            else:
                yield from self.failing(permit, GeneratorExit(), report())

    def hit(self, call: Call, outcome: Outcome, *, saved: int | None, usage: Usage | None = None) -> None:
        """Record an answer that was served without a provider call: cost 0, and what it saved (nano-dollars).

        Less what earlier calls for the same answer, which failed their check, were said to save (see ``Baseline``).
        """
        owed = 0 if call.baseline is None else call.baseline.owed
        event = Event(
            id=call.id,
            time=call.started,
            outcome=outcome,
            model=call.model,
            provider=call.provider,
            attribution=call.attribution,
            usage=usage or Usage(),
            cost=0,
            saved=(saved or 0) - owed,
            latency=max(0.0, self.clock() - call.started),
            kind=call.kind,
            fingerprint=call.fingerprint,
            route=call.route,
            host=call.host,
            account=call.account,
        )
        self.ledger.append(event)
        if self._hooks.hooks:
            self._hooks.emit(replace(event))

    def abandon(self, permit: Permit, report: Callable[[], UsageReport] | None) -> None:
        """End a call whose consumer went away; ``report`` gives what is known of it, ``None``: it was never made.

        Safe inside the garbage collector: the end is queued without a lock, and the next call, status or report
        charges it.
        """
        self._abandoned.append((permit, report))

    def _settle_abandoned(self) -> None:
        run(self.settling_abandoned())

    def _settled(self, permit: Permit, ended: _Ended) -> Flow[tuple[int, ...]]:
        usage, cost = ended.usage, ended.cost.nanos
        free = ended.outcome is Outcome.ERROR and not cost and not usage.total_tokens
        if cost is None:  # nobody knows the price of what was billed (a tier, sound): it is not free, its hold counts
            cost = max((line.amount for line in permit.lines if line.unit == "usd"), default=0)
        amounts = {"requests": 1} if free else actual_amounts(usage, cost)
        settlement = yield from self._admission.settle(permit, amounts)
        if settlement is None:
            return ()
        for agent, total in zip(reversed(permit.runs), reversed(settlement.totals), strict=False):
            claim = f"alert:wrap up:{agent.key}"
            if agent.settled(total) and (yield from self._admission.first_to_tell(claim, RUN_SECONDS)):
                self._tell_wrap_up(agent, total)
        if self._hooks.hooks:  # nobody else hears an alert
            for key in settlement.opened:
                self._tell_opened(permit, key)
            yield from self._alerts.check(permit, settlement)
        return settlement.totals

    def _finished(self, permit: Permit, report: UsageReport, outcome: Outcome, reason: str | None) -> _Ended:
        call, usage = permit.call, complete_usage(report, permit.call, self.tokens)
        if report.usage is not None and usage.output_tokens == report.usage.output_tokens:
            length = usage.output_tokens // max(call.choices, 1)
            if length > self._admission.assumed_anyway:
                self._admission.learn(call, length)
        cost = priced(self.prices, call, usage, report.model)
        if call.tier is not None:
            usage = billed_tier(call, usage)
        routed = call.baseline is not None and outcome is Outcome.MISS
        saved = self._routed_saving(call, usage, cost.nanos) if routed else 0
        return self._ended(call, outcome, usage, cost, reason=reason, answered=report.model, saved=saved)

    def _routed_saving(self, call: Call, usage: Usage, cost: int | None) -> int:
        """What the same answer would have cost from the strongest model, less what it did (nano-dollars)."""
        assert call.baseline is not None
        model, provider, owed = call.baseline
        instead = self.prices.cost(usage, model=model, provider=provider, at=call.started)
        return -owed if instead is None or cost is None else instead - cost - owed

    def _failed(self, permit: Permit, error: BaseException, report: UsageReport) -> _Ended:
        call = permit.call
        billed, reason = failure_of(error)
        outcome = Outcome.ERROR if isinstance(error, Exception) else Outcome.ABANDONED
        text = None if report.text is None else report.text()
        if report.usage is not None or text:
            return self._finished(permit, report._replace(model=None, text=lambda: text or ""), outcome, reason)
        if not billed:
            return self._ended(call, outcome, Usage(), _NOTHING, reason=reason)
        prompt = call.input_tokens
        if prompt is None:
            prompt = 0 if report.prompt_tokens is None else report.prompt_tokens()
        # A stream that has begun and says nothing yet: a model that thinks may have thought for long.
        output = permit.assumed_output if text is None or call.reasoning else 0
        assumed = billed_tier(call, assumed_usage(call, prompt, output))
        cost = priced(self.prices, call, assumed)
        if call.attempts > 1:  # each of them may have failed in the same way
            assumed = reduce(sum_usage, [assumed] * call.attempts)
            cost = cost._replace(nanos=None if cost.nanos is None else cost.nanos * call.attempts)
        return self._ended(call, outcome, assumed, cost, reason=reason)

    def _ended(
        self,
        call: Call,
        outcome: Outcome,
        usage: Usage,
        cost: Cost,
        *,
        reason: str | None = None,
        answered: str | None = None,
        saved: int = 0,
    ) -> _Ended:
        guessed = cost.priced_by == "estimate" and outcome is not Outcome.REFUSED
        latency = max(0.0, self.clock() - call.started)
        return _Ended(call, outcome, usage, cost, usage.estimated or guessed, latency, answered, reason, saved)

    def _record(self, ended: _Ended, totals: tuple[int, ...] = ()) -> Charge:
        self.ledger.append(ended.event)
        if self._hooks.hooks:
            self._hooks.emit(ended.event())  # their own: whatever they do with it, the ledger says what was
        nanos, priced_by, model, unpriced, source = ended.cost
        return Charge(
            nanos, ended.usage, ended.estimated, model or ended.call.model, priced_by, unpriced, source, totals
        )

    def _record_abandoned(self, swept: Sequence[Abandoned]) -> None:
        """Calls of crashed processes: their hold has been charged by the store, and this is their one event."""
        for lease in swept:
            noted = read_note(lease.id, lease.note)
            if noted is None:
                continue  # reserved by something else that shares the store
            call, usage = noted
            held = lease.amounts.get("usd")
            cost = priced(self.prices, call, usage) if held is None else Cost(held, "estimate", call.model)
            self._record(self._ended(call, Outcome.ABANDONED, usage, cost, reason=LEASE_EXPIRED))


class _Ended(NamedTuple):
    """How a call ended, as long as nobody asks for the event of it: the ledger's thread makes that, not the caller's.

    Attributes:
        call: that was admitted.
        outcome, usage, cost: how it ended, what it consumed, and the price of that.
        estimated: counts were not reported, or the price is a guess.
        latency: seconds that it took.
        answered: the model that the provider says it used.
        reason: why it was refused, or the class of the error.
        saved: nano-dollars that a router's choice of the model did not cost.
    """

    call: Call
    outcome: Outcome
    usage: Usage
    cost: Cost
    estimated: bool
    latency: float
    answered: str | None
    reason: str | None
    saved: int

    def event(self) -> Event:
        """The record of the call."""
        call, usage, cost = self.call, self.usage, self.cost
        return Event(
            id=call.id,
            time=call.started,
            outcome=self.outcome,
            model=cost.model or call.model,
            provider=call.provider,
            attribution=call.attribution,
            usage=usage,
            cost=cost.nanos,
            saved=self.saved,
            estimated=self.estimated,
            priced_by=cost.priced_by,
            unpriced=cost.unpriced,
            price_source=cost.source,
            requested_model=call.model,
            answered_model=self.answered,
            request_id=usage.request_id,
            host=call.host,
            account=call.account,
            latency=self.latency,
            kind=call.kind,
            fingerprint=call.fingerprint,
            reason=self.reason,
            route=call.route,
        )
