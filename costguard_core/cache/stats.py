"""What happened in a cache, as counts for reports and for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from costguard_core.types import usd
from costguard_core.util.html_table import html_table

if TYPE_CHECKING:
    from costguard_core.cache.semantic.hit import SemanticStats


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts since the cache was made.

    Attributes:
        hits, misses: lookups that found an answer or did not.
        coalesced: requests answered by an identical one that was under way.
        stored: answers written.
        errors: failures of the store, each of which was a miss or an answer that was not kept.
        foreign: stored values that this release could not read.
        saved: nano-dollars that hits did not cost.
        declined: requests and answers that the policy kept out, by reason.
    """

    hits: int
    misses: int
    coalesced: int
    stored: int
    errors: int
    foreign: int
    saved: int
    declined: dict[str, int]

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)

    def _repr_html_(self) -> str:
        return stats_table("Cache", self)


def stats_table(title: str, stats: CacheStats | SemanticStats) -> str:
    """What a cache did since it was made, for a notebook."""
    shown = {name: f"{count:,}" for name in _SHOWN if (count := getattr(stats, name, None)) is not None}
    rows = [((name.replace("_", " ").capitalize(),), (figure,)) for name, figure in shown.items()]
    answered = stats.hits + stats.misses
    rows.insert(0, (("Hit rate",), (f"{stats.hits / answered:.0%}" if answered else "–",)))
    rows.append((("Saved",), (f"${stats.saved_usd:,.4f}",)))
    rows += [((f"Declined: {reason}",), (f"{count:,}",)) for reason, count in sorted(stats.declined.items())]
    return html_table(title, ("",), ("",), rows)


_SHOWN = ("hits", "misses", "coalesced", "stored", "evicted", "audits", "confirmed", "refuted", "errors", "foreign")
