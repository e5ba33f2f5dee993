"""Do two answers say the same? The judgement that everything learned rests on, so it prefers "no" and "I cannot tell"
to a guess.

Structured answers are compared exactly. Free text is compared by what it states: numbers, names, kinds of things, yes
or no, and then by its words, weighed by what they tell: nothing for a greeting, little for what assistants say anyway
("your request is being processed") and for words that many of the answers seen contain, much for the rest. Words that
only one answer has are no contradiction, because answers may be short or long; words that *each* has instead of the
other's are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, NamedTuple

from costguard_core.cache.keys import NotCanonical, canonical
from costguard_core.cache.semantic.comparator.answer_features import SMALL_TALK, Said, said
from costguard_core.cache.semantic.comparator.document_frequency import Background
from costguard_core.cache.semantic.rules.language import is_english
from costguard_core.cache.semantic.rules.lexical import classes, opposites
from costguard_core.cache.semantic.rules.phrase import is_number, phrase

Vector = Sequence[float]
Embed = Callable[[str], Vector]


class Comparison(NamedTuple):
    """``same``: ``None`` when it cannot be told. ``score`` is 0 (nothing in common) to 1; ``reason`` is for people."""

    same: bool | None
    score: float
    reason: str


Comparator = Callable[[str, str], Comparison]

_ONE_TEMPLATE, _ONE_SENTENCE, _ALIKE = 0.6, 0.75, 0.5
_ONE_SIDED = 0.15  # what one answer adds counts so much against them being the same
_LEAST_TOLD = 0.3
_DIRECTION = frozenset("give take get come go bring find help leave end".split())
_FACT = 1.5


class TextComparator:
    """The comparator for answers in words.

    Args:
        embed: text → vector; answers are then also compared by meaning, for wordings that share few words.
        same_words: share of the informative words that must be common. unsure: up to so much less, it says that it
            cannot tell.
        same_meaning: cosine from which vectors count as one meaning.
    """

    def __init__(
        self,
        embed: Embed | None = None,
        *,
        same_words: float = 0.65,
        unsure: float = 0.1,
        same_meaning: float = 0.85,
    ) -> None:
        self._embed = embed
        self._same_words, self._unsure, self._same_meaning = same_words, unsure, same_meaning
        self._background = Background()

    def __call__(self, a: str, b: str) -> Comparison:
        if a.strip() == b.strip():
            if _says_nothing(said(a)):  # "OK" fits every question, and nothing could contradict it later
                return Comparison(None, 1.0, "identical, but says nothing")
            return Comparison(True, 1.0, "identical")
        structured = _structured(a), _structured(b)
        if structured != (None, None):
            same = structured[0] == structured[1]
            return Comparison(same, float(same), "structured")
        left, right = said(a), said(b)
        if not left.words or not right.words:
            return Comparison(None, 0.0, "no words")
        if left.words == right.words:
            return Comparison(True, 1.0, "the same words")
        if not (is_english(a) and is_english(b)):
            return Comparison(None, 0.0, "not English")
        conflict = _conflict(left, right) or _other_key_words(left, right) or self._filled_otherwise(left, right)
        if conflict is not None:
            return Comparison(False, 0.0, conflict)
        return self._by_words(left, right)

    def observe(self, answer: str) -> None:
        """Learn which words answers have in common anyway."""
        if _structured(answer) is None:
            self._background.add(said(answer).telling)

    def _by_words(self, a: Said, b: Said) -> Comparison:
        common = self._weight(a.telling & b.telling)
        only_a, only_b = self._weight(a.telling - b.telling), self._weight(b.telling - a.telling)
        if common + only_a < _LEAST_TOLD or common + only_b < _LEAST_TOLD:
            return Comparison(None, 0.0, "one of them says nothing in particular")
        against = min(only_a, only_b) + _ONE_SIDED * (max(only_a, only_b) - min(only_a, only_b))
        share = common / (common + against)
        reason = f"{share:.2f} of what they tell in common"
        if self._embed and share < self._same_words <= 2 * share:
            meaning = _cosine(self._embed(a.text), self._embed(b.text))
            if meaning >= self._same_meaning:
                return Comparison(True, meaning, f"one meaning ({meaning:.2f})")
        if self._same_words - self._unsure <= share < self._same_words:
            return Comparison(None, share, reason)
        return Comparison(share >= self._same_words, share, reason)

    def _filled_otherwise(self, a: Said, b: Said) -> str | None:
        """The same sentence with another word in it: in answers made from one template, that word is the answer."""
        if _alike(a, b) < _ONE_TEMPLATE:
            return None
        matched = SequenceMatcher(None, a.words, b.words, autojunk=False)
        word_for_word = matched.ratio() >= _ONE_SENTENCE
        for kind, i, j, k, m in matched.get_opcodes():
            if kind == "replace" and all(
                self._tells(mine, words, other, small_talk=word_for_word)
                for mine, words, other in ((a, a.words[i:j], b), (b, b.words[k:m], a))
            ):
                return f"{' '.join(a.words[i:j])} / {' '.join(b.words[k:m])}"
        return None

    def _tells(self, mine: Said, words: Sequence[str], other: Said, *, small_talk: bool) -> bool:
        """Whether a replaced part holds a fact that the other answer does not give elsewhere. Where all else is equal,
        small talk is one: "your cost", "your history"."""
        stems = (mine.stem_of(word) for word in words)
        return any(
            found in mine.telling
            and found not in other.telling
            and (small_talk or found not in SMALL_TALK)
            and self._background.is_rare(found)
            for found in stems
        )

    def _weight(self, words: frozenset[str]) -> float:
        return sum((_FACT if is_number(word) else 1.0) * self._background.information(word) for word in words)


def _says_nothing(a: Said) -> bool:
    told = a.stands or a.bare or a.numbers or a.names or _structured(a.text) is not None
    return a.words != () and not told and a.telling <= SMALL_TALK


def _other_key_words(a: Said, b: Said) -> str | None:
    """In a few words without a sentence, each one counts."""
    if not (a.bare and b.bare) or not (a.telling - b.telling and b.telling - a.telling):
        return None
    return f"{' '.join(sorted(a.telling - b.telling))} / {' '.join(sorted(b.telling - a.telling))}"


def _conflict(a: Said, b: Said) -> str | None:
    """Something stated in both and not the same."""
    if _apart(a.numbers, b.numbers):
        return "other numbers"
    if (a.names - b.every) and (b.names - a.every):
        return "other names"
    if a.short and b.short and a.denies != b.denies and (a.stands or b.stands or _alike(a, b) >= _ALIKE):
        return "yes / no"
    if (a.denied & (b.telling - b.denied)) or (b.denied & (a.telling - a.denied)):
        return "negation"
    if _alike(a, b) >= _ALIKE:
        left, right = phrase(a.text), phrase(b.text)
        found = opposites(left, right)
        if found and _DIRECTION.isdisjoint(found.removeprefix("opposites: ").split()):
            return found
        return classes(left, right)
    return None


def _apart(a: frozenset[str], b: frozenset[str]) -> bool:
    """Both say something and neither says all that the other does."""
    return bool(a) and bool(b) and not (a <= b or b <= a)


def _alike(a: Said, b: Said) -> float:
    left, right = a.telling, b.telling
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else 0.0


@lru_cache(maxsize=4096)
def _structured(text: str) -> str | None:
    """JSON in one spelling; ``None`` for prose."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not bare.startswith(("{", "[")):
        return None
    try:
        data: Any = json.loads(bare)
        return canonical(data)
    except (ValueError, RecursionError, NotCanonical):
        return None


def _cosine(a: Vector, b: Vector) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    norm = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return dot / norm if norm else 0.0
