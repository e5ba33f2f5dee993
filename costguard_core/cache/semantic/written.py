"""Answers that a person wrote, as both adapters store and serve them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

from costguard_core.cache.answer import Answer
from costguard_core.util.text import printable

_TEXT = "text"


class Seeded(int):
    """How many written answers were stored; a number, with more to say.

    Attributes:
        declined: the questions whose answers were not stored, and why not.
    """

    declined: Mapping[str, str]

    def __new__(cls, stored: int, declined: Mapping[str, str] = MappingProxyType({})) -> Self:
        made = super().__new__(cls, stored)
        made.declined = MappingProxyType(dict(declined))
        return made

    def __reduce__(self) -> tuple[type[Seeded], tuple[int, dict[str, str]]]:
        return Seeded, (int(self), dict(self.declined))

    def __repr__(self) -> str:
        why = "".join([f"\n  not {printable(question)!r}: {reason}" for question, reason in self.declined.items()])
        return f"{int(self)} stored{why}"


def written_answer(text: str) -> Answer:
    """An answer that a person wrote."""
    return Answer(payload={_TEXT: text}, finish=("stop",))


def written_text(payload: object) -> str | None:
    """The text in the payload of a :func:`written_answer`; ``None`` for an answer that a model gave."""
    return payload[_TEXT] if isinstance(payload, dict) and payload.keys() == {_TEXT} else None
