"""How long the simulated provider thinks."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from random import Random


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds until an answer is complete: ``median`` spread log-normally by ``sigma``, plus ``per_token`` of output.

    A stream shows its first token after ``first_token`` seconds; if that is ``None``, after 30 % of the whole time.
    """

    median: float = 0.0
    sigma: float = 0.0
    per_token: float = 0.0
    first_token: float | None = None

    def total(self, output_tokens: int, random: Random) -> float:
        """Drawn from ``random``, so that the same request takes the same time again."""
        spread = exp(self.sigma * random.gauss(0.0, 1.0)) if self.sigma else 1.0
        return self.median * spread + self.per_token * output_tokens

    def until_first(self, total: float) -> float:
        return min(total, 0.3 * total if self.first_token is None else self.first_token)


def as_latency(latency: float | Latency) -> Latency:
    """A plain number is a fixed latency in seconds."""
    return latency if isinstance(latency, Latency) else Latency(median=latency)
