"""What a scorer returns: how much a request needs the stronger model and why, or no opinion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from costguard_core.routing.request import Request


class Reason(NamedTuple):
    """One cause of a decision. It never quotes the prompt.

    Attributes:
        name: a feature, a call site or a rule.
        weight: what it added to the score.
    """

    name: str
    weight: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.weight:+.2f}" if self.weight else self.name


@dataclass(frozen=True, slots=True)
class Score:
    """A scorer's opinion about one request.

    Attributes:
        value: the higher, the more the request needs the stronger model. Only its rank among the scores of the same
            scorer is used.
        reasons: what the value is made of.
        tier: names a tier outright, for topics that belong to one model; the value then only informs.
    """

    value: float
    reasons: tuple[Reason, ...] = ()
    tier: str | None = None


@runtime_checkable
class Scorer(Protocol):
    """A function of a request. ``None`` means *no opinion*, which is not the same as *easy*."""

    def __call__(self, request: Request, /) -> Score | None: ...


@dataclass(frozen=True, slots=True)
class FirstOpinion:
    """Returns the opinion of the first scorer that has one.

    Attributes:
        scorers: in the order in which they are asked.
    """

    scorers: tuple[Scorer, ...]

    def __call__(self, request: Request) -> Score | None:
        return next((score for scorer in self.scorers if (score := scorer(request)) is not None), None)


def first_opinion(*scorers: Scorer) -> FirstOpinion:
    """A scorer that asks others in order and returns the first opinion."""
    return FirstOpinion(scorers)


def strongest(weights: Sequence[tuple[str, float]], *, at_most: int = 4) -> tuple[Reason, ...]:
    """The heaviest causes, heaviest first, without those whose weight rounds to nothing (below .005)."""
    reasons = [Reason(name, weight) for name, weight in weights if abs(weight) >= 0.005]
    return tuple(sorted(reasons, key=lambda reason: -abs(reason.weight))[:at_most])
