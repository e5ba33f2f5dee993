"""Usage + model + time → exact nano-dollars, or *unknown*. Never zero for a model whose price nobody knows."""

from __future__ import annotations

from costguard_core.pricing.overrides import PRICE_KEYS
from costguard_core.pricing.price_book import UNLIMITED_OUTPUT, PriceBook, public_prices

__all__ = ["PRICE_KEYS", "UNLIMITED_OUTPUT", "PriceBook", "public_prices"]
