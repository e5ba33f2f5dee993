"""Which entries to remove when there are too many: those that have saved least for the room they take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from costguard_core.cache.semantic.index.base import Entry, Index

_SHARE_AT_ONCE = 0.05  # of a full scope, so that looking through all its entries is rare; a choice


class EntryUse(Protocol):
    """How an entry did: hits, and how often its answer was wrong."""

    @property
    def served(self) -> int: ...
    @property
    def wrong(self) -> int: ...


class Evictor:
    """Bounds an index: ``max_entries`` in a scope, and ``max_scopes``, of which those written longest ago go first."""

    def __init__(self, index: Index, *, max_entries: int, max_scopes: int) -> None:
        self._index, self._max_entries, self._max_scopes = index, max_entries, max_scopes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._read_scopes = False

    def after_write(self, scope: str, use_of: Callable[[str], EntryUse]) -> int:
        """Remove what is too much after an entry was written; returns how many entries were removed.

        Raises what the index raises.
        """
        self._learn_scopes()
        size = self._sizes.get(scope)
        self._sizes[scope] = self._index.count(scope) if size is None else size + 1
        self._sizes.move_to_end(scope)
        return self._shrink(scope, use_of) + self._drop_scopes()

    def forget(self) -> None:
        """The index was emptied."""
        self._sizes.clear()

    def _learn_scopes(self) -> None:
        if not self._read_scopes:
            self._read_scopes = True
            for scope in self._index.scopes():
                self._sizes.setdefault(scope, self._index.count(scope))

    def _shrink(self, scope: str, use_of: Callable[[str], EntryUse]) -> int:
        if self._sizes[scope] <= self._max_entries:
            return 0
        entries = self._index.entries(scope)
        self._sizes[scope] = len(entries)
        surplus = len(entries) - self._max_entries
        if surplus <= 0:
            return 0
        least = least_valuable(entries, use_of, surplus + int(_SHARE_AT_ONCE * self._max_entries))
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


def least_valuable(entries: Iterable[Entry], use_of: Callable[[str], EntryUse], count: int) -> list[Entry]:
    """The ``count`` entries with the least value, worst first. Pinned ones are never among them."""
    removable = [entry for entry in entries if not entry.pinned]
    return sorted(removable, key=lambda entry: (value(entry, use_of(entry.id)), entry.created))[:count]


def value(entry: Entry, use: EntryUse) -> float:
    """Nano-dollars saved so far and once more, per character; entries that were wrong are worth less."""
    cost = entry.cost if entry.cost is not None else 1
    return max(cost, 1) * (1 + use.served) / (1 + use.wrong) / max(entry.size, 1)
