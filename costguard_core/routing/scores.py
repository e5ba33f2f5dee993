"""What a scorer says: how much a request needs the stronger model, and why; or that it has no opinion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from costguard_core.routing.request import Request


class Reason(NamedTuple):
    """One cause of a decision and its weight. Names features and tags, never words of the prompt."""

    name: str
    weight: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.weight:+.2f}" if self.weight else self.name


@dataclass(frozen=True, slots=True)
class Score:
    """Higher means *needs the stronger model*. Only the rank among a scorer's own scores means anything.

    ``tier`` names a tier outright (a topic that belongs to one model); the value then only informs.
    """

    value: float
    reasons: tuple[Reason, ...] = ()
    tier: str | None = None


@runtime_checkable
class Scorer(Protocol):
    """Anything callable with a request. ``None`` is *no opinion*, which is not the same as *easy*."""

    def __call__(self, request: Request, /) -> Score | None: ...


@dataclass(frozen=True, slots=True)
class FirstOpinion:
    """The opinion of the first scorer that has one."""

    scorers: tuple[Scorer, ...]

    def __call__(self, request: Request) -> Score | None:
        for scorer in self.scorers:
            score = scorer(request)
            if score is not None:
                return score
        return None


def first_opinion(*scorers: Scorer) -> FirstOpinion:
    """Ask the scorers in order; the first one with an opinion decides."""
    return FirstOpinion(scorers)


def strongest(weights: Sequence[tuple[str, float]], *, at_most: int = 4) -> tuple[Reason, ...]:
    """The heaviest causes, heaviest first; those without weight are left out."""
    told = [Reason(name, weight) for name, weight in weights if abs(weight) >= 0.005]
    return tuple(sorted(told, key=lambda reason: -abs(reason.weight))[:at_most])
