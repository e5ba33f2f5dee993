"""Questions as vectors: each text embedded once, and every vector checked before it reaches the index."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Protocol

from costguard_core.cache.semantic.embeddings import LocalEmbedding, fingerprint
from costguard_core.util.lru import LRUMap

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

# A question is looked up and, after a miss, stored some seconds later: enough for as many calls under way. A choice.
_MAX_REMEMBERED = 512


class QuestionEmbedder(Protocol):
    """An embedding model as the semantic cache uses it. Any method may raise what the model raises.

    Attributes:
        name: for people.
        space: identifies the vectors: another model, size or endpoint has another space.
    """

    @property
    def name(self) -> str: ...
    @property
    def space(self) -> str: ...

    def bind(self, guard: CostGuard | None) -> None:
        """Charge calls that cost something to this guard; ``None`` for nobody."""

    def embed(self, text: str) -> list[float]: ...
    async def aembed(self, text: str) -> list[float]: ...


class LocalEmbedder:
    """A model that runs in this process and costs nothing."""

    def __init__(self, model: LocalEmbedding) -> None:
        self._model = model
        self.name = model.name
        self.space = fingerprint("local", model.name)

    def bind(self, guard: CostGuard | None) -> None:
        """It costs nothing, so nobody is charged."""

    def embed(self, text: str) -> list[float]:
        return self._model.embed([text])[0]

    async def aembed(self, text: str) -> list[float]:
        return self.embed(text)  # 0.1 to 6 ms: handing it to a thread costs as much


class QuestionVectors:
    """Embeds questions and remembers the last :data:`_MAX_REMEMBERED` of them."""

    def __init__(self, embedder: QuestionEmbedder) -> None:
        self.embedder = embedder
        self._recent: LRUMap[str, list[float]] = LRUMap(_MAX_REMEMBERED)

    def of(self, text: str) -> list[float]:
        """The vector of a question.

        Raises:
            ValueError: the model returned nothing or a number that is not finite.
            Exception: whatever the model raises.
        """
        return self._recent.get_or(text, lambda: _checked(self.embedder.embed(text)))

    async def aof(self, text: str) -> list[float]:
        """:meth:`of` for an event loop."""
        known = self._recent.get(text)
        if known is None:
            known = _checked(await self.embedder.aembed(text))
            self._recent.put(text, known)
        return known

    def __repr__(self) -> str:
        return f"QuestionVectors({self.embedder.name!r})"


def _checked(vector: list[float]) -> list[float]:
    """In the index, a bad vector would look like an index that is down for everybody."""
    if len(vector) == 0 or not isfinite(sum(x * x for x in vector)):
        raise ValueError("an embedding must be finite numbers")
    return vector
