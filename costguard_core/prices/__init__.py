"""Usage + model + time → exact nano-dollars, or *unknown*. Never zero for a model whose price nobody knows."""

from __future__ import annotations

from costguard_core.prices.book import UNLIMITED_OUTPUT, PriceBook
from costguard_core.prices.overrides import PRICE_KEYS

__all__ = ["PRICE_KEYS", "UNLIMITED_OUTPUT", "PriceBook"]
