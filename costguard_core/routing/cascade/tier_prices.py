"""What the tiers of a router run, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costguard_core.pricing import PriceBook
from costguard_core.types import Usage


class Model(NamedTuple):
    """What a tier runs, for its price."""

    name: str
    provider: str | None = None


class Bill(NamedTuple):
    """The models of a router by tier, cheapest first, and what they cost."""

    prices: PriceBook
    models: Mapping[str, Model]

    @property
    def first(self) -> str:
        """The cheapest tier."""
        return next(iter(self.models))

    @property
    def last(self) -> str:
        """The strongest tier, whose price every other answer is compared with."""
        return list(self.models)[-1]

    def cost(self, tier: str, usage: Usage | None) -> int | None:
        """Nano-dollars of a usage at the prices of a tier; ``None`` if nobody knows them."""
        if usage is None:
            return None
        model = self.models[tier]
        return self.prices.cost(usage, model=model.name, provider=model.provider)
