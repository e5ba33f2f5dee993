"""Whether genai-prices has published other prices than those that are installed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from costguard_core.errors import CostGuardError

if TYPE_CHECKING:
    from datetime import datetime

    from genai_prices.types import ModelInfo


class PriceChange(NamedTuple):
    """One model whose price is another one in the newer list.

    Attributes:
        seller: the list's id of who sells it.
        model: its name there.
        before, after: the prices that differ, by the list's own keys; empty: the model is not in that list.
    """

    seller: str
    model: str
    before: dict[str, str]
    after: dict[str, str]


def published_url() -> str:
    """Where genai-prices publishes its newest list."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    return DEFAULT_UPDATE_URL


def fetch_changes(url: str, now: datetime) -> list[PriceChange]:
    """Fetch the newest list and say what is other in it than in the one in force. Changes nothing.

    Raises:
        CostGuardError: it cannot be fetched or read.
    """
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.update_prices import UpdatePrices

    try:
        newer = UpdatePrices(url=url).fetch()
    except Exception as error:  # of the network, of JSON or of the shape: the library promises none of them
        raise CostGuardError(f"cannot fetch prices from {url}: {type(error).__name__}: {error}") from None
    before = {(seller.id, model.id): model for seller in get_snapshot().providers for model in seller.models}
    after = {(seller.id, model.id): model for seller in (newer.providers if newer else ()) for model in seller.models}
    changes = []
    for key in sorted({*before, *after}):
        old, new = (_prices(models[key], now) if key in models else {} for models in (before, after))
        differing = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        if differing:
            changes.append(PriceChange(*key, _only(old, differing), _only(new, differing)))
    return changes


def _prices(info: ModelInfo, now: datetime) -> dict[str, str]:
    prices = info.get_prices(now) if info.prices else None
    return {name: _text(value) for name, value in vars(prices).items() if value is not None} if prices else {}


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    steps = "".join(f", above {tier.start:,}: {tier.price.normalize():f}" for tier in value.tiers)
    return f"{value.base.normalize():f}{steps}"


def _only(prices: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: prices[name] for name in sorted(names) if name in prices}
