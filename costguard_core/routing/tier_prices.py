"""What the models behind the tiers cost: estimates for a decision, and the real cost of what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from costguard_core.pricing import PriceBook
from costguard_core.types import Usage

_MILLION = 1_000_000
_PROBE = 10_000  # tokens that a price is asked for: an ordinary prompt, below the steps of long-context prices


@dataclass(frozen=True, slots=True)
class TierPrice:
    """Prices of a model in nano-dollars per million tokens.

    Attributes:
        input: of a token that no cache holds.
        output: of a token of the answer.
        cached: of a token that the provider's prompt cache holds; ``None``: as ``input``.
        write: of a token that is written into that cache; ``None``: as ``input``.
    """

    input: int
    output: int
    cached: int | None = None
    write: int | None = None

    def cost(self, *, fresh: int = 0, cached: int = 0, written: int = 0, output: int = 0) -> int:
        """Nano-dollars of a call with that many tokens of each kind, rounded up."""
        read = self.input if self.cached is None else self.cached
        write = self.input if self.write is None else self.write
        return -(-(fresh * self.input + cached * read + written * write + output * self.output) // _MILLION)


class TierModel(NamedTuple):
    """The model that a tier runs, as the price book knows it.

    Attributes:
        name: e.g. ``"gpt-4.1-mini"``.
        provider: who sells it, if known.
    """

    name: str
    provider: str | None = None


class TierPrices(NamedTuple):
    """What calls to the tiers of a router cost.

    Attributes:
        book: the prices.
        models: what each tier runs, by the tier's name, cheapest first.
    """

    book: PriceBook
    models: Mapping[str, TierModel]

    @property
    def cheapest(self) -> str:
        """Name of the first tier."""
        return next(iter(self.models))

    @property
    def strongest(self) -> str:
        """Name of the last tier, whose price every saving is measured against."""
        return next(reversed(list(self.models)))

    def cost(self, tier: str, usage: Usage | None) -> int | None:
        """Nano-dollars of ``usage`` at the prices of a tier; ``None`` if usage or price is unknown."""
        if usage is None:
            return None
        model = self.models[tier]
        return self.book.cost(usage, model=model.name, provider=model.provider)


def tier_price(prices: PriceBook, model: str, provider: str | None = None) -> TierPrice | None:
    """The prices of a model, ``None`` if input or output has none."""

    def per_million(usage: Usage) -> int | None:
        nanos = prices.cost(usage, model=model, provider=provider)
        return None if nanos is None else nanos * (_MILLION // _PROBE)

    fresh, output = per_million(Usage(input_tokens=_PROBE)), per_million(Usage(output_tokens=_PROBE))
    if fresh is None or output is None:
        return None
    cached = per_million(Usage(input_tokens=_PROBE, cache_read_tokens=_PROBE))
    written = per_million(Usage(input_tokens=_PROBE, cache_write_tokens=_PROBE))
    return TierPrice(fresh, output, cached, written)
