"""Which entries to give up: those that have saved least for the room they take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from costguard_core.cache.semantic.index.base import Entry, Index

_SHARE = 0.05  # of a full scope goes at once, so that looking through it is rare


class Use(Protocol):
    @property
    def served(self) -> int: ...
    @property
    def wrong(self) -> int: ...


class Keeper:
    """Bounds an index: ``max_entries`` in a scope, and ``max_scopes``, of which those used longest ago go first."""

    def __init__(self, index: Index, *, max_entries: int, max_scopes: int) -> None:
        self._index, self._max_entries, self._max_scopes = index, max_entries, max_scopes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._known = False

    def stored(self, scope: str, uses: Callable[[str], Use]) -> int:
        """After a write: evict what is too much; returns how many entries went."""
        self._learn_scopes()
        size = self._sizes.get(scope)
        self._sizes[scope] = self._index.count(scope) if size is None else size + 1
        self._sizes.move_to_end(scope)
        return self._shrink(scope, uses) + self._drop_scopes()

    def forget(self) -> None:
        """The index was emptied."""
        self._sizes.clear()

    def _learn_scopes(self) -> None:
        if not self._known:
            self._known = True
            for scope in self._index.scopes():
                self._sizes.setdefault(scope, self._index.count(scope))

    def _shrink(self, scope: str, uses: Callable[[str], Use]) -> int:
        if self._sizes[scope] <= self._max_entries:
            return 0
        entries = self._index.entries(scope)
        self._sizes[scope] = len(entries)
        surplus = len(entries) - self._max_entries
        if surplus <= 0:
            return 0
        least = least_valuable(entries, uses, surplus + int(_SHARE * self._max_entries))
        self._index.delete(scope, [entry.id for entry in least])
        self._sizes[scope] -= len(least)
        return len(least)

    def _drop_scopes(self) -> int:
        dropped = 0
        while len(self._sizes) > self._max_scopes:
            scope, size = self._sizes.popitem(last=False)
            self._index.delete(scope, [entry.id for entry in self._index.entries(scope)])
            dropped += size
        return dropped


def least_valuable(entries: Iterable[Entry], uses: Callable[[str], Use], many: int) -> list[Entry]:
    """The entries with the least value, worst first. Pinned ones have no price."""
    movable = [entry for entry in entries if not entry.pinned]
    return sorted(movable, key=lambda entry: (value(entry, uses(entry.id)), entry.created))[:many]


def value(entry: Entry, use: Use) -> float:
    """Nano-dollars saved so far, plus one more time, per character; refuted entries are worth less."""
    cost = entry.cost if entry.cost is not None else 1
    return max(cost, 1) * (1 + use.served) / (1 + use.wrong) / max(entry.size, 1)
