"""What a word tells, from how many of the answers seen contain it."""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock

from costguard_core.cache.semantic.comparator.answer_features import DEEDS, SMALL_TALK

_RARE = 0.12
_TRUST_AFTER = 30  # answers; before, every word but small talk tells something
_SMALL_TALK_TELLS, _SMALL_TALK_AT_MOST = 0.1, 0.5


class Background:
    """Counts words over answers; bounded, and the words not seen for longest go first."""

    def __init__(self, *, most_words: int = 20_000) -> None:
        self._words: OrderedDict[str, int] = OrderedDict()
        self._answers, self._most, self._lock = 0, most_words, Lock()

    def add(self, words: frozenset[str]) -> None:
        with self._lock:
            self._answers += 1
            for word in words:
                self._words[word] = self._words.get(word, 0) + 1
                self._words.move_to_end(word)
            while len(self._words) > self._most:
                self._words.popitem(last=False)

    def is_rare(self, word: str) -> bool:
        """Whether few of the answers seen contain it; before enough were seen, small talk is taken for frequent."""
        if self._answers < _TRUST_AFTER and word in SMALL_TALK - DEEDS:
            return False
        return self._words.get(word, 0) <= max(1, _RARE * self._answers)

    def information(self, word: str) -> float:
        """0 to 1: inverse document frequency, squared so that a template does not outvote a fact."""
        small_talk = word in SMALL_TALK
        many = self._answers + 2
        seldom = math.log(many / (min(self._words.get(word, 0), self._answers) + 1)) / math.log(many)
        trust = self._answers / (self._answers + _TRUST_AFTER)
        first = _SMALL_TALK_TELLS if small_talk else 1.0
        learned = seldom**2 * (_SMALL_TALK_AT_MOST if small_talk else 1.0)
        return (1 - trust) * first + trust * learned
