"""Do two answers say the same? The judgement that everything learned rests on, so it prefers "no" and "I cannot tell"
to a guess.

Structured answers are compared exactly. Free text is compared by what it states: numbers, names, kinds of things, yes
or no, and then by its words, where a word that many answers contain (a greeting, a closing line, a template) counts
for little.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

from costguard_core.caching.keys import NotCanonical, canonical
from costguard_core.semantic.guards import classes, opposites
from costguard_core.semantic.lexicon import FUNCTION_WORDS, NEGATORS
from costguard_core.semantic.words import Phrase, phrase, stem

Vector = Sequence[float]
Embed = Callable[[str], Vector]


class Comparison(NamedTuple):
    """``same``: ``None`` when it cannot be told. ``score`` is 0 (nothing in common) to 1; ``reason`` is for people."""

    same: bool | None
    score: float
    reason: str


Comparator = Callable[[str, str], Comparison]

_ONE_TEMPLATE, _FEW_WORDS = 0.6, 3
_RARE, _BOILERPLATE, _FEWEST_ANSWERS = 0.12, 0.5, 20
# In a question these carry nothing ("tell me", "find me"); in an answer they can be what is said.
_EMPTY = FUNCTION_WORDS - set(
    "need want know tell give show get find help going bit kind out off able like sort lot".split()
)
_YES = frozenset("yes yeah yep sure certainly absolutely correct true".split())
_NO = frozenset("no nope false incorrect unfortunately".split())
_NOT_NAMES = frozenset("ok faq url http https www com".split())


class TextComparator:
    """The comparator for answers in words.

    Args:
        embed: text → vector; answers are then also compared by meaning, for wordings that share few words.
        same_words: share of the informative words that must be common.
        same_meaning: cosine from which vectors count as one meaning.
    """

    def __init__(self, embed: Embed | None = None, *, same_words: float = 0.55, same_meaning: float = 0.85) -> None:
        self._embed = embed
        self._same_words, self._same_meaning = same_words, same_meaning
        self._background = Background()

    def __call__(self, a: str, b: str) -> Comparison:
        if a.strip() == b.strip():
            return Comparison(True, 1.0, "identical")
        structured = _structured(a), _structured(b)
        if structured != (None, None):
            same = structured[0] == structured[1]
            return Comparison(same, float(same), "structured")
        left, right = phrase(a), phrase(b)
        if not left.words or not right.words:
            return Comparison(None, 0.0, "no words")
        conflict = _conflict(left, right)
        if conflict is not None:
            return Comparison(False, 0.0, conflict)
        return self._by_words(a, b, left, right)

    def observe(self, answer: str) -> None:
        """Learn which words answers have in common anyway."""
        if _structured(answer) is None:
            self._background.add(frozenset(_informative(phrase(answer))))

    def _by_words(self, a: str, b: str, left: Phrase, right: Phrase) -> Comparison:
        if left.numbers != right.numbers or not left.numbers:
            other = self._filled_otherwise(left, right)
            if other is not None:
                return Comparison(False, 0.0, other)
        if (short := self._short_and_other(left, right)) is not None:
            return Comparison(False, 0.0, short)
        words = self._background.overlap(frozenset(_informative(left)), frozenset(_informative(right)))
        meaning = _cosine(self._embed(a), self._embed(b)) if self._embed else 0.0
        same = words >= self._same_words or (meaning >= self._same_meaning and words >= self._same_words / 2)
        return Comparison(same, max(words, meaning if same else 0.0), f"{words:.2f} of the informative words in common")

    def _short_and_other(self, a: Phrase, b: Phrase) -> str | None:
        """In an answer of a few words each one counts, unless nearly every answer has it."""
        ours, theirs = ({word for word in _informative(p) if not self._background.is_boilerplate(word)} for p in (a, b))
        if min(len(ours), len(theirs)) > _FEW_WORDS or not (ours - theirs and theirs - ours):
            return None
        return f"{', '.join(sorted(ours - theirs))} / {', '.join(sorted(theirs - ours))}"

    def _filled_otherwise(self, a: Phrase, b: Phrase) -> str | None:
        """The same sentence with another word in it: in answers made from one template, that word is the answer."""
        if _alike(a, b) < _ONE_TEMPLATE:
            return None
        for kind, i, j, k, m in SequenceMatcher(None, a.words, b.words, autojunk=False).get_opcodes():
            if kind == "replace" and self._tells(a.words[i:j]) and self._tells(b.words[k:m]):
                return f"{' '.join(a.words[i:j])} / {' '.join(b.words[k:m])}"
        return None

    def _tells(self, words: Sequence[str]) -> bool:
        """Whether a replaced part holds something that is rarely said: a fact, not a greeting."""
        return any(self._background.is_rare(stem(word)) for word in words if word not in _EMPTY)


class Background:
    """In how many of the answers seen a word occurs; bounded, and the words not seen for longest go first."""

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

    def overlap(self, a: frozenset[str], b: frozenset[str]) -> float:
        """The weight of what is common, as a share (Dice) of the weight of both."""
        total = self._weight(a) + self._weight(b)
        return 2 * self._weight(a & b) / total if total else 0.0

    def is_rare(self, word: str) -> bool:
        return self._words.get(word, 0) <= _RARE * self._answers

    def is_boilerplate(self, word: str) -> bool:
        return self._words.get(word, 0) > _BOILERPLATE * max(self._answers, _FEWEST_ANSWERS)

    def _weight(self, words: frozenset[str]) -> float:
        return sum(self._information(word) for word in words)

    def _information(self, word: str) -> float:
        """Inverse document frequency, squared: a word of a template shall not outvote a fact."""
        return math.log((self._answers + 2) / (self._words.get(word, 0) + 1)) ** 2 + 1e-3


def _conflict(a: Phrase, b: Phrase) -> str | None:
    """Something stated in both and not the same."""
    if _apart(frozenset(map(str, a.numbers)), frozenset(map(str, b.numbers))):
        return "other numbers"
    if (_codes(a) - frozenset(b.words)) and (_codes(b) - frozenset(a.words)):
        return "other names"
    if _stance(a) * _stance(b) < 0:
        return "yes / no"
    alike = _alike(a, b)
    if alike >= 0.5 and _denials(a) % 2 != _denials(b) % 2:
        return "negation"
    if alike >= 0.5 and (found := opposites(a, b) or classes(a, b)):
        return found
    return None


def _apart(a: frozenset[str], b: frozenset[str]) -> bool:
    """Both say something and neither says all that the other does."""
    return bool(a) and bool(b) and not (a <= b or b <= a)


def _codes(p: Phrase) -> frozenset[str]:
    return frozenset(name for name in p.names if name not in _NOT_NAMES and not name.endswith("ly"))


def _stance(p: Phrase) -> int:
    first = p.words[:2]
    return 1 if not _YES.isdisjoint(first) else -1 if not _NO.isdisjoint(first) else 0


def _denials(p: Phrase) -> int:
    return sum(word in NEGATORS for word in p.words)


def _alike(a: Phrase, b: Phrase) -> float:
    left, right = set(a.content), set(b.content)
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else 0.0


def _informative(p: Phrase) -> Sequence[str]:
    return [stem(word) for word in p.words if word not in _EMPTY]


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
    norm = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return dot / norm if norm else 0.0
