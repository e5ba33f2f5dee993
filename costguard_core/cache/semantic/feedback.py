"""What people said of answers, written into the entries themselves: so every process that shares the index knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from costguard_core.cache.semantic.index.base import Entry, Index


def rewrite(index: Index, scope: str, name: str, change: Callable[[Entry], Entry]) -> bool:
    """Change an entry as it is *now*, not as it was when it was served; whether it is still there."""
    entry = next((one for one in index.entries(scope) if one.id == name), None)
    if entry is not None:
        index.replace(scope, change(entry))
    return entry is not None


def as_pinned(entry: Entry) -> Entry:
    return replace(entry, pinned=True, expires=None)


def refuted_for(pair: str) -> Callable[[Entry], Entry]:
    """The entry, never again to be given to the question that ``pair`` names."""
    return lambda entry: entry if pair in entry.refuted else replace(entry, refuted=(*entry.refuted, pair))
