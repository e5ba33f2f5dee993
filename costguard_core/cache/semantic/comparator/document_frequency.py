"""How much a word tells, from how many of the answers seen contain it."""

from __future__ import annotations

import math

from costguard_core.cache.semantic.comparator.answer_features import BOILERPLATE, BOILERPLATE_ACTIONS
from costguard_core.util.lru import LRUMap

# Tuned on the generated answers of benchmarks/semantic.py.
_RARE_SHARE = 0.12  # of the answers
_TRUST_AFTER = 30  # answers; before, every word but boilerplate tells something
_BOILERPLATE_FIRST, _BOILERPLATE_MAX = 0.1, 0.5  # what boilerplate tells at first, and at most


class DocumentFrequency:
    """Counts in how many answers each word occurs. Keeps ``max_words`` words, those seen last."""

    def __init__(self, *, max_words: int = 20_000) -> None:
        self._words: LRUMap[str, int] = LRUMap(max_words)
        self._answers = 0

    def add(self, words: frozenset[str]) -> None:
        """Count one answer."""
        self._answers += 1  # two threads at once may lose a count, which changes nothing
        for word in words:
            self._words.put(word, self._words.get(word, 0) + 1)

    def is_rare(self, word: str) -> bool:
        """Whether few of the answers seen contain it; before enough were seen, boilerplate is taken for frequent."""
        if self._answers < _TRUST_AFTER and word in BOILERPLATE - BOILERPLATE_ACTIONS:
            return False
        return self._words.get(word, 0) <= max(1, _RARE_SHARE * self._answers)

    def frequent_share(self, words: frozenset[str]) -> float:
        """Which share of the words many of the answers seen contain, 0 to 1; 0 before enough were seen."""
        if self._answers < _TRUST_AFTER or not words:
            return 0.0
        return sum(not self.is_rare(word) for word in words) / len(words)

    def information(self, word: str) -> float:
        """0 to 1: inverse document frequency, squared so that a template does not outvote a fact.

        https://en.wikipedia.org/wiki/Tf-idf#Inverse_document_frequency
        """
        boilerplate = word in BOILERPLATE
        total = self._answers + 2
        rarity = math.log(total / (min(self._words.get(word, 0), self._answers) + 1)) / math.log(total)
        trust = self._answers / (self._answers + _TRUST_AFTER)
        first = _BOILERPLATE_FIRST if boilerplate else 1.0
        learned = rarity**2 * (_BOILERPLATE_MAX if boilerplate else 1.0)
        return (1 - trust) * first + trust * learned
