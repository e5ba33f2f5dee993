"""Whether two answers say the same. Everything learned rests on it, so it prefers "no" and "cannot tell" to a guess.

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
from itertools import product
from typing import Any, NamedTuple

from costguard_core.cache.keys import NotCanonical, canonical
from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.comparator.answer_features import (
    BOILERPLATE,
    AnswerFeatures,
    answer_features,
    answer_stem,
    denied_words,
)
from costguard_core.cache.semantic.comparator.document_frequency import DocumentFrequency
from costguard_core.cache.semantic.comparator.results import clock_times, same_result, states_result
from costguard_core.cache.semantic.rules import frame, lexical
from costguard_core.cache.semantic.rules.lexicon import KINDS, UNITS
from costguard_core.cache.semantic.rules.phrase import is_number, phrase
from costguard_core.cache.semantic.rules.quantities import stated_in_one
from costguard_core.cache.semantic.rules.substitution import are_synonyms

Vector = Sequence[float]
Embed = Callable[[str], Vector]


class Comparison(NamedTuple):
    """What a comparator says.

    Attributes:
        same: ``None`` when it cannot be told.
        score: 0 (nothing in common) to 1.
        reason: for people.
    """

    same: bool | None
    score: float
    reason: str


Comparator = Callable[[str, str], Comparison]
"""A comparator may have more: ``observe(answer)`` is called with each paid answer; ``slow = True`` has it called in the
background; ``quick`` is then a comparator for what cannot wait."""

# Shares of common words, tuned on the generated answers of benchmarks/semantic.py.
_ONE_TEMPLATE, _ONE_SENTENCE, _ALIKE = 0.6, 0.75, 0.5
_ONE_SIDED = 0.15  # what one answer adds counts so much against them being the same
_MIN_INFORMATION = 0.3  # an answer that tells less says nothing in particular
_NUMBER_WEIGHT = 1.5
_YES_AND_NO, _NEGATION = "yes / no", "negation"
# Opposites in questions that answers use both of: "come and go", and "we send it", "you receive it".
_WEAK_OPPOSITES = frozenset("give take get come go bring find help leave end send sent receive received".split())


class TextComparator:
    """The comparator for answers in words.

    Args:
        embed: text → vector; answers are then also compared by meaning, for wordings that share few words.
        same_words: share of the informative words, 0 to 1, that must be common.
        unsure: up to so much less, it says that it cannot tell; of sentences that are built otherwise, up to twice as
            much less.
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
        self._frequency = DocumentFrequency()

    def __call__(self, a: str, b: str) -> Comparison:
        if a.strip() == b.strip():
            if _says_nothing(answer_features(a)):  # "OK" fits every question, and nothing could contradict it later
                return Comparison(None, 1.0, "identical, but says nothing")
            return Comparison(True, 1.0, "identical")
        structured = _structured(a), _structured(b)
        if structured != (None, None):
            same = structured[0] == structured[1]
            return Comparison(same, float(same), "structured")
        left, right = answer_features(a), answer_features(b)
        if not left.words or not right.words:
            return Comparison(None, 0.0, "no words")
        if left.words == right.words:
            return Comparison(True, 1.0, "the same words")
        result = same_result(a, b)
        if result is not None:
            return Comparison(result, float(result), "the same result" if result else "another result")
        if not (is_english(a) and is_english(b)):
            return Comparison(None, 0.0, "not English")
        return self._compare_sentences(a, b)

    def observe(self, answer: str) -> None:
        """Learn which words answers have in common anyway."""
        if _structured(answer) is None:
            self._frequency.add(answer_features(answer).informative)

    def _compare_sentences(self, a: str, b: str) -> Comparison:
        stated = states_result(a, b)
        if stated is False:
            return Comparison(False, 0.0, "another result")
        left, right = answer_features(a), answer_features(b)
        firm = _other_facts(left, right)
        if firm is not None:
            return Comparison(False, 0.0, firm)
        conflict = _conflict(left, right) or _other_key_words(left, right) or self._replaced_fact(left, right)
        found = self._by_words(left, right) if conflict is None else Comparison(False, 0.0, conflict)
        if conflict in (_YES_AND_NO, _NEGATION) and _is_said_otherwise(left, right):
            return Comparison(None, found.score, f"{conflict}, in other words")
        if found.same is True and _is_reordered(left, right):
            return Comparison(None, found.score, "the same steps or numbers in another order")
        if found.same is False and (stated or _is_reworded(left, right)):
            return Comparison(None, found.score, f"the same numbers in other words ({found.reason})")
        return found

    def _by_words(self, a: AnswerFeatures, b: AnswerFeatures) -> Comparison:
        same = a.informative & b.informative
        ours, theirs = a.informative - same, b.informative - same
        contraries = _contraries(a, b)
        ours, theirs = ours - contraries, theirs - contraries
        synonyms_a, synonyms_b = _synonyms(a, ours, b, theirs), _synonyms(b, theirs, a, ours)
        common = self._weight(same) + min(self._weight(synonyms_a), self._weight(synonyms_b))
        only_a, only_b = self._weight(ours - synonyms_a), self._weight(theirs - synonyms_b)
        if common + only_a < _MIN_INFORMATION or common + only_b < _MIN_INFORMATION:
            return Comparison(None, 0.0, "one of them says nothing in particular")
        if _share_only_numbers(a, b):
            return Comparison(None, 0.0, "nothing but numbers in common")
        against = min(only_a, only_b) + _ONE_SIDED * (max(only_a, only_b) - min(only_a, only_b))
        share = common / (common + against)
        reason = f"{share:.2f} of what they tell in common"
        if self._embed and share < self._same_words <= 2 * share:
            meaning = _cosine(self._embed(a.text), self._embed(b.text))
            if meaning >= self._same_meaning:
                return Comparison(True, meaning, f"one meaning ({meaning:.2f})")
        unsure = self._unsure * (1 if _is_built_alike(a, b) else 2)
        if self._same_words - unsure <= share < self._same_words:
            return Comparison(None, share, reason)
        return Comparison(share >= self._same_words, share, reason)

    def _replaced_fact(self, a: AnswerFeatures, b: AnswerFeatures) -> str | None:
        """The same sentence with another word in it: in answers made from one template, that word is the answer."""
        if _dice(a, b) < _ONE_TEMPLATE:
            return None
        matched = SequenceMatcher(None, a.words, b.words, autojunk=False)
        one_sentence = matched.ratio() >= _ONE_SENTENCE
        for kind, i, j, k, m in matched.get_opcodes():
            if kind == "replace" and all(
                self._holds_fact(mine, words, other, count_boilerplate=one_sentence)
                for mine, words, other in ((a, a.words[i:j], b), (b, b.words[k:m], a))
            ):
                return f"{' '.join(a.words[i:j])} / {' '.join(b.words[k:m])}"
        return None

    def _holds_fact(
        self, mine: AnswerFeatures, words: Sequence[str], other: AnswerFeatures, *, count_boilerplate: bool
    ) -> bool:
        """Whether a replaced part holds a fact that the other answer does not give elsewhere. Where all else is equal,
        boilerplate is one ("your cost", "your history"), and so is a word that many answers contain."""
        return any(
            found in mine.informative
            and found not in other.informative
            and found not in _contraries(mine, other)
            and not _has_synonym(word, other)
            and (count_boilerplate or found not in BOILERPLATE)
            and (self._frequency.is_rare(found) or (count_boilerplate and found not in BOILERPLATE))
            for word, found in ((word, answer_stem(word)) for word in words)
        )

    def _weight(self, words: frozenset[str]) -> float:
        return sum((_NUMBER_WEIGHT if is_number(word) else 1.0) * self._frequency.information(word) for word in words)


def _synonyms(a: AnswerFeatures, ours: frozenset[str], b: AnswerFeatures, theirs: frozenset[str]) -> frozenset[str]:
    """Those of our stems whose word has a synonym among the words of their stems."""
    said = [word for word in b.vocabulary if answer_stem(word) in theirs]
    mine = (word for word in a.vocabulary if answer_stem(word) in ours and not is_number(word))
    return frozenset(answer_stem(word) for word in mine if any(are_synonyms(word, one) for one in said))


def _has_synonym(word: str, other: AnswerFeatures) -> bool:
    return any(are_synonyms(word, said) for said in other.vocabulary if answer_stem(said) in other.informative)


def _is_said_otherwise(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether "not" in one only may be how it says what the other says without: "only assigned at check-in" and "not
    assigned before". Not in one sentence, and not where one begins with yes or no."""
    return not (a.opens_with_yes_or_no or b.opens_with_yes_or_no or _is_built_alike(a, b))


def _is_built_alike(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether it is one sentence with other words in it."""
    return SequenceMatcher(None, a.words, b.words, autojunk=False).ratio() >= _ONE_TEMPLATE


def _share_only_numbers(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """ "The daily limit is $500" and "the annual deductible is $500": what they count is not the same."""
    common = a.informative & b.informative
    apart = a.informative - b.informative, b.informative - a.informative
    return (
        any(map(is_number, common))
        and not any(map(_is_matter, common))
        and all(any(map(_is_matter, words)) for words in apart)
    )


def _is_matter(word: str) -> bool:
    """Whether a stem is neither a number, nor a unit of one, nor what assistants say anyway."""
    unit = word in _UNIT_STEMS or KINDS.get(word) == "currency"
    return not (unit or is_number(word) or word in BOILERPLATE)


_UNIT_STEMS = frozenset(answer_stem(unit) for unit in UNITS if unit.isalpha())


def _says_nothing(a: AnswerFeatures) -> bool:
    facts = a.opens_with_yes_or_no or a.is_key_words or a.numbers or a.names or _structured(a.text) is not None
    return a.words != () and not facts and a.informative <= BOILERPLATE


def _other_key_words(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """In a few words without a sentence, each one counts."""
    only_a, only_b = a.informative - b.informative, b.informative - a.informative
    if not (a.is_key_words and b.is_key_words and only_a and only_b):
        return None
    return f"{' '.join(sorted(only_a))} / {' '.join(sorted(only_b))}"


def _other_facts(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """A number, a name, a command or one of a kind in each that the other has not."""
    if _other_times(a.text, b.text):
        return "other times of day"
    if all(stated_in_one(phrase(a.text), phrase(b.text))) and not _same_times(a, b):
        return "other numbers"
    if _is_contradiction(a.code, b.code):
        return "other commands"
    if _ends_elsewhere(a, b) and _ends_elsewhere(b, a):
        return "other paths"
    if (a.names - b.vocabulary) and (b.names - a.vocabulary):
        return "other names"
    return lexical.kinds(phrase(a.text), phrase(b.text)) if _dice(a, b) >= _ALIKE else None


def _ends_elsewhere(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether a path through menus leads to what the other does not name at all."""
    return bool(a.path) and not any(b.vocabulary.issuperset(end) for end in a.path)


def _is_reordered(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """The same numbered steps, or the same sentence with its numbers, in another order: "$500, of which $100"."""
    if a.steps != b.steps and sorted(a.steps) == sorted(b.steps):
        return True
    (ours, our_words), (theirs, their_words) = _numbers_apart(a), _numbers_apart(b)
    if ours == theirs or sorted(ours) != sorted(theirs):
        return False
    return SequenceMatcher(None, our_words, their_words, autojunk=False).ratio() >= _ONE_SENTENCE


def _numbers_apart(a: AnswerFeatures) -> tuple[list[str], list[str]]:
    """Its numbers and its other words, in order."""
    words = phrase(a.text).words
    return [word for word in words if word in a.numbers], [word for word in words if word not in a.numbers]


def _other_times(a: str, b: str) -> bool:
    """Each names a time of day that the other does not."""
    ours, theirs = clock_times(a), clock_times(b)
    return bool(ours - theirs) and bool(theirs - ours)


def _same_times(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Times of day are numbers too: "9:30 pm" and "21:30"."""
    ours, theirs = clock_times(a.text), clock_times(b.text)
    return bool(ours) and ours == theirs and len(a.numbers) == len(b.numbers) == len(ours)


def _is_reworded(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """The same numbers in sentences that are not the same: the rest may be said in other words."""
    if not a.numbers or any(stated_in_one(phrase(a.text), phrase(b.text))):
        return False
    return SequenceMatcher(None, a.words, b.words, autojunk=False).ratio() < _ONE_SENTENCE


def _conflict(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """Something stated in both and not the same."""
    comparable = a.opens_with_yes_or_no or b.opens_with_yes_or_no or _dice(a, b) >= _ALIKE
    if _contraries(a, b) or (a.says_free and b.says_free):  # "is free" says what "there is no charge" does
        return None
    if a.is_short and b.is_short and a.is_negative != b.is_negative and comparable:
        return _YES_AND_NO
    # Where both deny one thing, what else follows the "not" of one is its circumstances.
    one_denies = _denied(a).isdisjoint(_denied(b))
    if one_denies and ((a.denied & (b.informative - b.denied)) or (b.denied & (a.informative - a.denied))):
        return _NEGATION
    if (a.says_free and b.says_paid) or (b.says_free and a.says_paid):
        return "free / paid"
    if _dice(a, b) >= _ALIKE:
        left, right = phrase(a.text), phrase(b.text)
        found = lexical.opposites(left, right)
        if found and _WEAK_OPPOSITES.isdisjoint(found.removeprefix("opposites: ").split()):
            return found
        return frame.relation(left, right)
    return None


def _denied(a: AnswerFeatures) -> frozenset[str]:
    return a.denied.union(map(answer_stem, denied_words(a)))


def _contraries(a: AnswerFeatures, b: AnswerFeatures) -> frozenset[str]:
    """ "It does not open on Mondays" beside "it is closed on Mondays": the stems of what one denies and of the opposite
    that the other says, which itself denies nothing."""
    for denying, other in ((a, b), (b, a)):
        if denying.is_short and other.is_short and not other.is_negative and not other.denied:
            said = {word for word in other.words if answer_stem(word) not in denying.informative}
            pairs = product(denied_words(denying), said)
            found = next((pair for pair in pairs if lexical.are_opposites(*pair)), None)
            if found is not None:
                return frozenset(map(answer_stem, found))
    return frozenset()


def _is_contradiction(a: frozenset[str], b: frozenset[str]) -> bool:
    """Both say something and neither says all that the other does."""
    return bool(a) and bool(b) and not (a <= b or b <= a)


def _dice(a: AnswerFeatures, b: AnswerFeatures) -> float:
    """Sørensen-Dice coefficient of the informative words: https://en.wikipedia.org/wiki/Dice-Sørensen_coefficient"""
    left, right = a.informative, b.informative
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
