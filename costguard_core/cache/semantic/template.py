"""What the prompt of a call was made of: after a template was filled, question and context are one text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from costguard_core.util.internal_calls import not_inherited

# LlamaIndex's names for the variable of a template that takes the user's question, and those that people write.
_QUESTIONS = ("query_str", "question", "query")


class Retrieved(NamedTuple):
    """What a prompt template was filled with.

    Attributes:
        question: the user's question; ``None`` if the template has no variable for one.
        context: names and values of everything else.
    """

    question: str | None
    context: Mapping[str, Any]


_retrieved = not_inherited(ContextVar[Retrieved | None]("costguard_retrieved", default=None), None)
_formed = not_inherited(ContextVar[bool]("costguard_formed", default=False), False)

retrieved = _retrieved.get
"""What the prompt of the call that is being made was filled with, if it came from a template."""
is_forming = _formed.get
"""Whether an object is to be made of the answer to the call that is being made."""


@contextmanager
def forming() -> Iterator[None]:
    """Whatever is asked inside, an object is made of its answer."""
    token = _formed.set(True)
    try:
        yield
    finally:
        _formed.reset(token)


@contextmanager
def predicting(partial: Mapping[str, object], given: Mapping[str, object]) -> Iterator[None]:
    """Remember what a prompt template is filled with."""
    values = {**partial, **given}
    if not values:
        yield
        return
    token = _retrieved.set(Retrieved(question_in(values), values))
    try:
        yield
    finally:
        _retrieved.reset(token)


def question_in(values: dict[str, object]) -> str | None:
    """Takes the user's question out of what a template is filled with, if there is a variable for it."""
    name = next((name for name in _QUESTIONS if isinstance(values.get(name), str)), None)
    return None if name is None else str(values.pop(name))
