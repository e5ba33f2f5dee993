"""Calls that Costguard makes for itself while it serves another one, and that are no part of it.

A judge or a verifier is asked in the context of the call that it is about, so that it is on the bill of the same user.
What else that context says is about the other call: which tier a router chose, what its template was filled with, that
its agent is to conclude.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_not_inherited: list[tuple[ContextVar[Any], Any]] = []


def not_inherited(variable: ContextVar[T], value: T) -> ContextVar[T]:
    """``variable``, which has this value in internal calls whatever it is around them. For modules, once each."""
    _not_inherited.append((variable, value))
    return variable


@contextmanager
def internal_call() -> Iterator[None]:
    """A call that is made inside is one of its own."""
    tokens = [variable.set(value) for variable, value in _not_inherited]
    try:
        yield
    finally:
        for token in reversed(tokens):
            token.var.reset(token)
