"""The objects of a kind that are still in use, which threads may make and drop while others look through them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from weakref import ref

T = TypeVar("T")


class LiveObjects(Generic[T]):
    """Objects for as long as something else refers to them, in the order in which they were added.

    A ``WeakSet`` raises ``RuntimeError`` in whoever iterates while another thread adds to it.
    """

    def __init__(self) -> None:
        self._found: dict[ref[T], None] = {}

    def add(self, item: T) -> None:
        self._found[ref(item, self._forget)] = None

    def _forget(self, gone: ref[T]) -> None:
        self._found.pop(gone, None)

    def __iter__(self) -> Iterator[T]:
        for reference in tuple(self._found):  # one step of the interpreter: no other thread comes between
            if (item := reference()) is not None:
                yield item
