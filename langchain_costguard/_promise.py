"""A refused run that may go on because the cache holds its answer: the cache's promise, kept in the run's context."""

from __future__ import annotations

from contextvars import ContextVar

from costguard_core import SpendLimitExceeded

_refusal: ContextVar[SpendLimitExceeded | None] = ContextVar("costguard_refusal", default=None)


def promise(refusal: SpendLimitExceeded) -> None:
    """The cache will answer the run that ``refusal`` was for."""
    _refusal.set(refusal)


def fulfilled() -> None:
    """Nothing is promised in this context (any more)."""
    _refusal.set(None)


def insist() -> None:
    """The cache has no answer after all (it was evicted in between): raise the refusal, if there is one."""
    refusal = _refusal.get()
    if refusal is not None:
        _refusal.set(None)
        raise refusal
