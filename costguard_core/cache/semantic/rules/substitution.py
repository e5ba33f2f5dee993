"""Whether two questions of nearly the same words ask about something else: "a joint account", "an individual account".

Stricter than the vetoes: what differs is taken to matter unless the words are synonyms, spellings of one word, or say
nothing. For a decision that has no other evidence than similarity.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, product

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.english import base_forms, is_word
from costguard_core.cache.semantic.rules.frame import frame_of
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, MEANINGS, NEUTRAL, SYNONYMS
from costguard_core.cache.semantic.rules.phrase import Phrase, is_number, stem
from costguard_core.cache.semantic.rules.quantities import units_of_equal_quantities

_NEUTRAL = frozenset(map(stem, NEUTRAL))
# Share of the content words that must be common before the others count against the pair: in freely reworded questions
# other words are no sign of another question. Tuned on fow-cache's pairs and the paraphrases of handwritten_pairs.tsv.
_MIN_COMMON = 0.34
# Prepositions that other rules compare.
_EMPTY = FUNCTION_WORDS | frozenset(
    "under via between through per upon within during across along around against towards after before than".split()
)
_MIN_PREFIX = 5  # letters that words of one family have in common: "cancel", "cancellation"


def veto(a: Phrase, b: Phrase, *, least: float = _MIN_COMMON) -> str | None:
    """What one question is about and the other is not, where all else is nearly the same: at least the share ``least``
    of the content words."""
    only_a, only_b, common = _compared(a, b)
    only_a, only_b = only_a - _said_by_other(only_a, a, b), only_b - _said_by_other(only_b, b, a)
    if not only_a or not only_b:  # "which city", "what documents" say no more than "what"
        only_a, only_b = only_a - _asked_for(a), only_b - _asked_for(b)
    if not (only_a or only_b):
        return None
    share = common / (common + max(len(only_a), len(only_b)))
    if share < least:
        return None
    return f"about something else: {' '.join(sorted(only_a)) or '–'} / {' '.join(sorted(only_b)) or '–'}"


def _said_by_other(only: frozenset[str], a: Phrase, b: Phrase) -> frozenset[str]:
    """The words that only ``a`` has and ``b`` says with a wider verb, or by asking for permission."""
    wide = {wanted for word in map(stem, b.words) for wanted in _WIDE.get(word, ())}
    return _permitted(a, b) | frozenset(word for word in only if stem(word) in wide)


_WIDE = {
    stem(verb): frozenset(map(stem, verbs))
    for verb, verbs in word_lists.table("costguard_core.cache.semantic.rules", "en/said_otherwise.txt").items()
}


def _permitted(a: Phrase, b: Phrase) -> frozenset[str]:
    """The words of ``a`` for what ``b`` asks permission for: "can I *pay* with PayPal", "is PayPal accepted"."""
    if not all(frame_of(one).asked_for == "whether" for one in (a, b)) or frame_of(a).modality != {"can"}:
        return frozenset()
    return frozenset(wanted for word in b.words for wanted in _PERMITTED.get(word, ()))


_PERMITTED = word_lists.table("costguard_core.cache.semantic.rules", "en/permitted.txt")


def _compared(a: Phrase, b: Phrase) -> tuple[frozenset[str], frozenset[str], int]:
    """The content words that only one of the questions has, and how many they have in common."""
    equal = units_of_equal_quantities(a, b)
    ours, theirs = _content(a) - equal, _content(b) - equal
    only_a = {word for word in ours if not any(same_word(word, other) for other in theirs)}
    only_b = {word for word in theirs if not any(same_word(word, other) for other in ours)}
    return frozenset(only_a), frozenset(only_b), max(len(ours) - len(only_a), len(theirs) - len(only_b))


def _asked_for(p: Phrase) -> frozenset[str]:
    return frozenset(after for word, after in pairwise(p.words) if word in ("which", "what"))


def _content(p: Phrase) -> frozenset[str]:
    words = (word for word in p.words if word not in _EMPTY and word[:1].isalnum() and not is_number(word))
    return frozenset(word for word in words if stem(word) not in _NEUTRAL)


@lru_cache(maxsize=65536)
def same_word(a: str, b: str) -> bool:
    """Whether two words are forms, spellings or synonyms of one."""
    if a == b or stem(a) == stem(b) or SYNONYMS.get(a, a) == SYNONYMS.get(b, b):
        return True
    if _root(a) == _root(b):
        return True
    if are_synonyms(a, b):
        return True
    size = len(_common_prefix(a, b))
    if size >= max(_MIN_PREFIX, min(len(a), len(b)) - 2):
        return not _is_compound(max(a, b, key=len)[size:])
    return not (is_word(a) and is_word(b)) and _one_mistake(a, b)


@lru_cache(maxsize=16384)
def are_synonyms(a: str, b: str) -> bool:
    """Whether two words, in any of their forms, have a meaning in common (WordNet, and a list by hand)."""
    return any(not _meanings(one).isdisjoint(_meanings(other)) for one, other in product(base_forms(a), base_forms(b)))


@lru_cache(maxsize=16384)
def _root(word: str) -> str:
    """Without endings that make a noun or an adjective of a word: "formation", "forming" → "form"."""
    for ending in ("ications", "ication"):  # "application" is of "apply"
        if word.endswith(ending):
            return stem(word.removesuffix(ending) + "y").rstrip("e")
    ending = next((one for one in _DERIVED if word.endswith(one) and len(word) - len(one) >= _MIN_ROOT), "")
    return stem(word.removesuffix(ending)).rstrip("e")


_DERIVED = (
    "ations",
    "ation",
    "ments",
    "ment",
    "ions",
    "ion",
    "ances",
    "ance",
    "ences",
    "ence",
    "als",
    "al",
    "able",
    "ers",
    "er",
)
_MIN_ROOT = 4


def _meanings(word: str) -> frozenset[int]:
    return MEANINGS.get(word, frozenset())


def _is_compound(rest: str) -> bool:
    """Whether what follows a word is one itself: "grapefruit" is no kind of "grapes", "membership" is of "members"."""
    return len(rest) >= _MIN_ROOT and rest not in ("ship", "ships", "able") and is_word(rest)


def _common_prefix(a: str, b: str) -> str:
    size = next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:size]


def _one_mistake(a: str, b: str) -> bool:
    """One letter wrong, missing or exchanged with the next, in words of five letters or more without digits."""
    if min(len(a), len(b)) < 5 or abs(len(a) - len(b)) > 1 or not (a.isalpha() and b.isalpha()):
        return False
    start = len(_common_prefix(a, b))
    left, right = a[start:], b[start:]
    return (
        left[1:] == right[1:]
        or left[1:] == right
        or left == right[1:]
        or (left[:2] == right[:2][::-1] and left[2:] == right[2:])
    )
