"""What a lookup finds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from costguard_core.cache.answer import Answer, answer_in
from costguard_core.types import Outcome, usd


class Hit(NamedTuple):
    """An answer that was not paid for. ``coalesced``: it came from an identical request that was under way."""

    document: Mapping[str, Any]
    coalesced: bool = False

    @property
    def answer(self) -> Answer:
        return answer_in(self.document)

    @property
    def payload(self) -> Any:
        """The answer's data; the caller may keep it and change it."""
        return self.document["p"]

    @property
    def cost(self) -> int | None:
        """Nano-dollars that the original call cost; ``None`` when nobody knows."""
        cost: int | None = self.document["c"]
        return cost

    @property
    def outcome(self) -> Outcome:
        return Outcome.COALESCED if self.coalesced else Outcome.EXACT

    @property
    def saved(self) -> int:
        """Nano-dollars; 0 when nobody knows."""
        return self.cost or 0

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)

    @property
    def marks(self) -> Mapping[str, Any]:
        """What the served message says of this hit, beside where it came from and what it saved: nothing."""
        return {}
