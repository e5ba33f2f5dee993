"""The second source of list prices: LiteLLM's public table, as of the day on which it was taken.

``data/litellm_prices.json.gz`` is written by ``benchmarks/make_price_table.py`` from the table inside the ``litellm``
package (MIT licence, Copyright (c) 2023 Berri AI; the text is in ``data/LICENSE.litellm``). Models are kept by seller
and exact name; each has its prices as a user would declare them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import copy
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, NamedTuple

_FILE = "data/litellm_prices.json.gz"
_DAY = 86400
_SOUND_AND_PICTURES = ("audio_input", "audio_output", "image_input", "image_output")


class TablePrices(NamedTuple):
    """What the table says of one model.

    Attributes:
        prices: as ``CostGuard(prices=...)`` takes them, with those of the service tiers and of longer prompts.
        off_peak: ``windows`` and the ``prices`` that hold in them, ``None`` if every hour costs the same.
    """

    prices: Mapping[str, Any]
    off_peak: Mapping[str, Any] | None = None

    def at(self, moment: float) -> tuple[Mapping[str, Any], float, float]:
        """The prices at ``moment``, and the unix seconds ``since <= t < until`` between which they stay the same."""
        if self.off_peak is None:
            return self.prices, float("-inf"), float("inf")
        day, minute = moment // _DAY * _DAY, moment % _DAY / 60
        edges = sorted({0, 1440, *(edge for window in self._windows(moment) for edge in window)})
        since = max(edge for edge in edges if edge <= minute)
        until = min(edge for edge in edges if edge > minute)
        prices = {**self.prices, **self.off_peak["prices"]} if self.is_off_peak(moment) else self.prices
        return prices, day + since * 60, day + until * 60

    def missing_at(self, tier: str | None, moment: float) -> list[str]:
        """Kinds of sound and pictures that have a price at the standard tier, and none among those of ``tier``."""
        prices, _, _ = self.at(moment)
        special = prices.get(tier or "")
        if not isinstance(special, Mapping):
            return []
        return [name for name in _SOUND_AND_PICTURES if name in prices and name not in special]

    def is_off_peak(self, moment: float) -> bool:
        """Whether ``moment`` is in an hour at which the model is cheaper."""
        return any(begin <= moment % _DAY / 60 < end for begin, end in self._windows(moment))

    def _windows(self, moment: float) -> list[tuple[int, int]]:
        """Minutes of the UTC day of ``moment``."""
        if self.off_peak is None:
            return []
        weekday = int(moment // _DAY + 3) % 7 + 1  # the first of January 1970 was a Thursday
        return [(begin, end) for days, begin, end in self.off_peak["windows"] if weekday in days]


class PriceTable:
    """Prices by seller and exact name.

    Attributes:
        source: what the table is and which version, such as ``"LiteLLM 1.110.2"``.
        taken: unix seconds of the day (UTC) on which it was taken.
        sellers: ids of the sellers that it has models of.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.source = f"{data['source']} {data['version']}"
        self.taken = datetime.combine(date.fromisoformat(data["taken"]), time.min, UTC).timestamp()
        self._cards: list[Any] = data["cards"]
        self._models: dict[str, dict[str, int]] = data["models"]
        self._bare: dict[str, str] = data["bare"]
        self.sellers = frozenset(self._models)

    def find(self, sellers: Iterable[str], name: str) -> TablePrices | None:
        """The prices of a model at the first of the sellers that has exactly this name."""
        name = name.lower()
        for seller in sellers:
            card = self._models.get(seller, {}).get(name)
            if card is not None:
                return TablePrices(*self._cards[card])
        return None

    def seller_of(self, name: str) -> str | None:
        """Whose model it is, where the table has this name without naming a seller."""
        return self._bare.get(name.lower())

    def without(self, *names: str) -> PriceTable:
        """A table that has no model of these names."""
        gone = {name.lower() for name in names}
        copied = copy(self)
        copied._models = {
            seller: {name: card for name, card in models.items() if name not in gone}
            for seller, models in self._models.items()
        }
        copied._bare = {name: seller for name, seller in self._bare.items() if name not in gone}
        return copied

    def names_at(self, sellers: Iterable[str]) -> Iterable[str]:
        """The models of some sellers."""
        return (name for seller in sellers for name in self._models.get(seller, ()))

    def names(self) -> Iterable[tuple[str, str]]:
        """Seller and name of every model."""
        return ((seller, name) for seller, names in self._models.items() for name in names)


@cache
def bundled_table() -> PriceTable:
    """The table that this release carries (about 10 ms, once per process)."""
    import gzip
    from importlib.resources import files

    packed = files(__package__ or "costguard_core.pricing").joinpath(_FILE).read_bytes()
    return PriceTable(json.loads(gzip.decompress(packed)))
