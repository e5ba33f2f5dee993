"""What a vector index promises, and one in memory. It finds what is near; it decides nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple, Protocol, runtime_checkable

Vector = Sequence[float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer.

    Attributes:
        id: the digest of the request that it answered.
        question: as it was asked.
        answer: the encoded :class:`~costguard_core.cache.Answer`.
        text: what the answer says, for comparing.
        group: names the answers that say the same.
        created: unix seconds.
        expires: unix seconds; ``None``: when it is evicted or invalidated.
        cost: nano-dollars that the answer cost; ``None`` when nobody knows.
        tags: ``name=value``, for invalidation.
        pinned: it neither expires nor is evicted.
        refuted: digests of questions that it does not answer.
        written: a person wrote the answer.
    """

    id: str
    question: str
    answer: str
    text: str
    group: str
    created: float
    expires: float | None = None
    cost: int | None = None
    tags: tuple[str, ...] = ()
    pinned: bool = False
    refuted: tuple[str, ...] = ()
    written: bool = False

    @property
    def size(self) -> int:
        """Characters that the entry takes, without its vector."""
        return len(self.question) + len(self.answer) + len(self.text)

    def alive(self, now: float) -> bool:
        return self.expires is None or now < self.expires

    def dump(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def load(text: str) -> Entry:
        """The entry that :meth:`dump` wrote.

        Raises:
            ValueError, TypeError, KeyError: damaged, or of another release.
        """
        data = json.loads(text)
        known = {field.name: data[field.name] for field in fields(Entry) if field.name in data}
        return Entry(**{**known, "tags": tuple(known["tags"]), "refuted": tuple(known.get("refuted", ()))})


class Found(NamedTuple):
    """An entry and its cosine similarity to what was asked."""

    entry: Entry
    similarity: float


class IndexUnavailable(RuntimeError):
    """The index cannot be used now; it is tried again later."""


class Index(Protocol):
    """Entries and their vectors by scope; scopes never mix. Any method may raise anything: the cache turns that into
    misses.

    Methods:
        search: the ``k`` nearest entries of a scope, nearest first.
        put: store an entry, in place of one with the same id.
        replace: change an entry that is there, and keep its vector.
        invalidate: delete the entries of all scopes that carry all the tags, and return how many; with ``scrub``
            nothing of them stays on disk.
        load_state, save_state: one text for the cache: what it has learned.
    """

    url: str  # printable, without credentials

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]: ...
    def put(self, scope: str, entry: Entry, vector: Vector) -> None: ...
    def replace(self, scope: str, entry: Entry) -> None: ...
    def delete(self, scope: str, ids: Sequence[str]) -> None: ...
    def entries(self, scope: str) -> list[Entry]: ...
    def count(self, scope: str) -> int: ...
    def scopes(self) -> list[str]: ...
    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int: ...
    def clear(self) -> None: ...
    def load_state(self) -> str | None: ...
    def save_state(self, state: str) -> None: ...
    def close(self) -> None: ...

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]: ...


@runtime_checkable
class BatchIndex(Protocol):
    """An index that stores several entries of a scope in one write, which takes little longer than one."""

    def put_many(self, scope: str, entries: Sequence[Entry], vectors: Sequence[Vector]) -> None: ...


def normalised(vector: Vector) -> list[float]:
    """The vector at length one; the zero vector stays zero and so is near to nothing.

    Raises:
        ValueError: a component is not finite.
    """
    length = math.sqrt(sum(x * x for x in vector))
    if not math.isfinite(length):
        raise ValueError("an embedding has a component that is not a finite number")
    return [x / length for x in vector] if length else [0.0] * len(vector)
