"""How a router is doing, in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costguard_core.routing import Drift
from costguard_core.routing.shadow.sampling import Tally


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """What ``router.status()`` returns. ``share`` (0..1) went above the first tier lately (``None``: nothing scored).

    ``drift`` compares the last scores with those of the training rows. ``sample`` counts the shadow sample of this
    process and ``pairs`` what the prompt log holds; both are ``None`` without one.
    """

    tiers: tuple[str, ...]
    share: float | None
    drift: Drift
    sample: Tally | None = None
    pairs: int | None = None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        share = "nothing scored yet" if self.share is None else f"{self.share:.0%} above the first lately"
        yield f"tiers: {', '.join(self.tiers)}; {share}"
        yield f"drift: {self.drift.hint or self._calm()}"
        if self.sample is not None:
            told = self.sample
            yield (
                f"shadow sample: {told.sampled} calls, {told.pairs} pairs logged, {told.unpaid} over its budget, "
                f"{told.failed} failed, {told.dropped} dropped; the log holds {self.pairs}"
            )

    def _calm(self) -> str:
        if not self.drift.distance:
            return f"nothing to compare yet ({self.drift.scores} scores)"
        return f"none (distance {self.drift.distance:.2f} over {self.drift.scores} scores)"
