"""The budget of the shadow sample: second answers are paid from it, and never make anybody's first one wait."""

from __future__ import annotations

from costguard_core.budgets.admission import AdmissionController, Permit
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.estimates import actual_amounts
from costguard_core.counters.base import CounterStore
from costguard_core.errors import SpendLimitExceeded, StoreUnavailable
from costguard_core.lifecycle.billable import was_billed
from costguard_core.lifecycle.drivers import run
from costguard_core.pricing import PriceBook
from costguard_core.types import Call, Usage

NAME = "shadow sample"


class Purse:
    """One budget of its own, counted in the store of the guard, so that all processes share it.

    Args:
        budget: e.g. ``"$1/day"``; ``None`` is no limit.
        store: where it is counted.
        prices: what answers cost. A model without a price cannot be held to a dollar budget: it is not sampled.
    """

    def __init__(self, budget: str | Budget | None, store: CounterStore, prices: PriceBook) -> None:
        self.budget = Budget.parse(budget, name=NAME) if isinstance(budget, str) else budget
        self.store, self.prices = store, prices
        self._admission = AdmissionController([] if self.budget is None else [self.budget], store, prices)

    def hold(self, call: Call) -> Permit | None:
        """Room for the call, reserved; ``None``: the budget or the store says no.

        Raises:
            UnpricedModelError: a dollar budget, and the model has no price.
        """
        if self.budget is None:
            return Permit(call, None, 0)
        try:
            return run(self._admission.reserve(call, wait=False))
        except (SpendLimitExceeded, StoreUnavailable):
            return None

    def settle(self, permit: Permit, usage: Usage | None) -> int | None:
        """End the reservation at what the answer cost (nano-dollars, ``None``: unknown, and charged as held)."""
        call = permit.call
        known = usage or Usage(call.input_tokens or 0, permit.assumed_output, estimated=True)
        cost = self.prices.cost(known, model=call.model, provider=call.provider, at=call.started)
        run(self._admission.settle(permit, actual_amounts(known, cost)))
        return cost if usage is not None else None

    def release(self, permit: Permit) -> None:
        """End the reservation of a call that was never made."""
        run(self._admission.settle(permit, {}))

    def fail(self, permit: Permit, error: BaseException) -> None:
        """End the reservation of a call that brought nothing: free, unless the provider bills such an end."""
        if was_billed(error):
            self.settle(permit, None)
        else:
            self.release(permit)
