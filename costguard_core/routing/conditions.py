"""Conditions in order, like ``RunnableBranch``: the first one that holds names the tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from costguard_core.routing.request import Request
from costguard_core.routing.scores import Reason, Score

Condition = Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Branches:
    """Pairs of condition and tier name. No condition holds: no opinion."""

    pairs: tuple[tuple[Condition, str], ...]

    def __call__(self, request: Request) -> Score | None:
        for number, (condition, tier) in enumerate(self.pairs, start=1):
            if condition(request):
                name = getattr(condition, "__name__", "")
                told = name if name and name != "<lambda>" else f"condition {number}"
                return Score(1.0, (Reason(told),), tier=tier)
        return None


def branches(*pairs: tuple[Condition, str]) -> Branches:
    """A scorer of (condition, tier name) pairs."""
    return Branches(pairs)
