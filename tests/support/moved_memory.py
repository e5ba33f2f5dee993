"""Counters in memory on a clock that the test moves, as two processes would have them."""

from __future__ import annotations

from collections.abc import Callable

from costguard_core.counters.base import CounterStore
from costguard_core.counters.memory import MemoryStore


class SharedMemory(MemoryStore):
    """Its steps are effects, as those of other stores, so that they can be played in every order: threads may."""


def shared_memory() -> tuple[list[CounterStore], Callable[[float], None]]:
    """The store, twice, and what lets seconds pass."""
    moved = [1_800_000_000.0]

    def move(seconds: float) -> None:
        moved[0] += seconds

    return [SharedMemory(clock=lambda: moved[0])] * 2, move
