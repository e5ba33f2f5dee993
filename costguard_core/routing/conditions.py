"""Conditions in order, like ``RunnableBranch``: the first one that holds names the tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from costguard_core.routing.request import Request
from costguard_core.routing.scores import Reason, Score
from costguard_core.routing.validation import not_awaitable, plain_function

Condition = Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Branches:
    """A scorer that names the tier of the first condition that holds. When none does, it has no opinion.

    Attributes:
        pairs: each a condition and the name of a tier.
    """

    pairs: tuple[tuple[Condition, str], ...]

    def __call__(self, request: Request) -> Score | None:
        for number, (condition, tier) in enumerate(self.pairs, start=1):
            if condition(request):
                name = getattr(condition, "__name__", "")
                reason = name if name and name != "<lambda>" else f"condition {number}"
                return Score(1.0, (Reason(reason),), tier=tier)
        return None


def branches(*pairs: tuple[Condition, str]) -> Branches:
    """A scorer of pairs, each a condition and the name of a tier."""
    return Branches(pairs)


class Conversation(list[Any]):
    """What a condition over messages is called with: the list of them, with the request's attributes.

    ``.text`` is what the user said last (the question alone, where the prompt came from a template that has one).
    ``.tag``, ``.session``, ``.input_tokens``, ``.turns``, ``.tools``, ``.modalities`` and ``.phase`` are those of
    :class:`costguard_core.routing.Request`.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(getattr(request, "messages", ()))
        self.request = request

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.request, name)


def over_messages(function: Callable[[object], object], name: str) -> Condition:
    """A condition over messages as one over requests, which reasons call ``name``.

    Raises:
        ConfigurationError: it is an ``async`` function.
    """
    plain = plain_function(function, "a condition")

    def condition(request: Request) -> bool:
        return bool(not_awaitable(plain(Conversation(request))))

    condition.__name__ = name
    return condition
