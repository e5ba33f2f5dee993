"""Whether two answers say the same."""

from __future__ import annotations

from costguard_core.cache.semantic.comparator.comparator import Comparator, Comparison, TextComparator

__all__ = ["Comparator", "Comparison", "TextComparator"]
