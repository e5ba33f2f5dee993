"""The objects of a kind that are still in use, which threads may make and drop while others look through them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from weakref import ref

T = TypeVar("T")
N = TypeVar("N")


class LiveObjects(Generic[T, N]):
    """Objects for as long as something else refers to them, each with a note, in the order in which they were added.

    Iterating over a ``WeakSet`` or a ``WeakKeyDictionary`` raises ``RuntimeError`` when another thread adds to it.
    """

    def __init__(self) -> None:
        self._notes: dict[ref[T], N] = {}

    def add(self, item: T, note: N) -> None:
        """Add an object, or give it another note."""
        self._notes[ref(item, self._forget)] = note

    def _forget(self, gone: ref[T]) -> None:
        self._notes.pop(gone, None)

    def __iter__(self) -> Iterator[tuple[T, N]]:
        for reference, note in tuple(self._notes.items()):  # one step of the interpreter: no other thread comes between
            if (item := reference()) is not None:
                yield item, note
