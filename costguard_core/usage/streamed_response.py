"""What a stream of cumulative responses has said so far: each chunk holds all of the text up to it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, Protocol, TypeVar

from costguard_core.types import Usage
from costguard_core.usage.client_reports import answer_model
from costguard_core.usage.reader import end_sources, finish_reasons, is_refusal
from costguard_core.usage.totals import latest_usage


class RawResponse(Protocol):
    """A response that holds the provider's own, or ``None``."""

    @property
    def raw(self) -> Any: ...


R = TypeVar("R", bound=RawResponse)


class StreamedResponse(Generic[R]):
    """One stream. Usage and the reason to end may come in any of its chunks.

    Attributes:
        provider: whose usage it is.
        last: the newest chunk; ``None``: not one arrived.
        usage, model: what the provider says was consumed, and by which model.
        finish: why the answer ended, in the provider's words.
        refused: the model declined to answer.
    """

    __slots__ = ("finish", "last", "model", "provider", "refused", "usage")

    def __init__(self, provider: str | None) -> None:
        self.provider = provider
        self.last: R | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.finish: list[str] = []
        self.refused = False

    @abstractmethod
    def kept(self, chunk: R) -> R:
        """The chunk as it is now: whoever receives it may change it."""

    @abstractmethod
    def reported(self, chunk: R) -> Usage | None:
        """What a chunk says was consumed."""

    @abstractmethod
    def said(self, chunk: R) -> str:
        """All that was said up to a chunk, tool calls included."""

    def add(self, chunk: R) -> None:
        """The next chunk."""
        self.last = self.kept(chunk)
        found = self.reported(chunk)
        if found is not None:
            self.usage = found if self.usage is None else latest_usage(self.usage, found)
        if chunk.raw is None:
            return
        sources = end_sources(chunk)
        self.finish += finish_reasons(sources)
        self.refused = self.refused or is_refusal(sources)
        if self.model is None:
            self.model = answer_model(chunk.raw)

    @property
    def text(self) -> str | None:
        """``None``: not one chunk arrived."""
        return None if self.last is None else self.said(self.last)
