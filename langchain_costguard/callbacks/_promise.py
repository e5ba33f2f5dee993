"""A refused run that may go on because the cache holds its answer: the cache's promise, kept in the run's context."""

from __future__ import annotations

from abc import abstractmethod
from contextvars import ContextVar

from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

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


class InsistingCache(BaseCache):
    """A cache whose miss is the last word on a promise: subclasses say how they look for an answer."""

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """A list, always: LangChain takes any other sequence for a miss."""
        found = self.find(prompt, llm_string)
        if found is None:
            insist()
        return found

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` for an event loop."""
        found = await self.afind(prompt, llm_string)
        if found is None:
            insist()
        return found

    @abstractmethod
    def find(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`lookup` as one layer of several, where a miss is not the last word."""

    @abstractmethod
    async def afind(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """:meth:`find` for an event loop."""
