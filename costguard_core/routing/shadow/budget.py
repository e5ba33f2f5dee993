"""The budget that second answers are paid from, so that they never use up anybody else's."""

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


class ShadowBudget:
    """One budget, counted in the store of the guard, so that all processes share it.

    Args:
        budget: e.g. ``"$1/day"``; ``None`` is no limit.
        store: where it is counted.
        prices: what answers cost. A model without a price cannot be held to a dollar budget: it is not sampled.
    """

    def __init__(self, budget: str | Budget | None, store: CounterStore, prices: PriceBook) -> None:
        self.budget = Budget.parse(budget, name=NAME) if isinstance(budget, str) else budget
        self.store, self.prices = store, prices
        self._admission = AdmissionController([] if self.budget is None else [self.budget], store, prices)

    def reserve(self, call: Call) -> Permit | None:
        """Room for the call; ``None``: there is none, or the store cannot be reached.

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
        """End the reservation at what the answer cost.

        Returns:
            Nano-dollars; ``None`` if the usage is unknown: then what was reserved counts as spent.
        """
        call = permit.call
        known = usage or Usage(call.input_tokens or 0, permit.assumed_output, estimated=True)
        cost = self.prices.cost(known, model=call.model, provider=call.provider, at=call.started)
        run(self._admission.settle(permit, actual_amounts(known, cost)))
        return cost if usage is not None else None

    def release(self, permit: Permit) -> None:
        """End the reservation of a call that was never made."""
        run(self._admission.settle(permit, {}))

    def fail(self, permit: Permit, error: BaseException) -> None:
        """End the reservation of a call that raised: free, unless providers bill calls that end so."""
        if was_billed(error):
            self.settle(permit, None)
        else:
            self.release(permit)
