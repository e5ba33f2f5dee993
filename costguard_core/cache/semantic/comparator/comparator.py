"""Whether two answers say the same. Everything learned rests on it, so it prefers "cannot tell" to a guess.

Structured answers are compared exactly. Free text is *different* only where something says so: another number, name,
command or time, a yes beside a no, something denied, an opposite, or one sentence with another word in it
(:mod:`contradictions`). Of long answers it also says so that hardly any of their words are the same. Free text is *the
same* if nothing of that differs and enough of what the answers tell is in both. Words are weighed by what they tell:
nothing for a greeting, little for what assistants say anyway ("your request is being processed") and for words that
many of the answers seen contain, much for the rest. Words that only one answer has are no contradiction, because
answers may be short or long. Everything else may be the same in other words: it cannot be told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from costguard_core.cache.keys import NotCanonical, canonical
from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.comparator import contradictions
from costguard_core.cache.semantic.comparator.answer_features import (
    BOILERPLATE,
    AnswerFeatures,
    answer_features,
    answer_stem,
)
from costguard_core.cache.semantic.comparator.contradictions import (
    agree,
    alignment,
    contraries,
    is_one_sentence,
    same_quantities,
)
from costguard_core.cache.semantic.comparator.document_frequency import DocumentFrequency
from costguard_core.cache.semantic.comparator.results import is_calculation, same_result, states_result
from costguard_core.cache.semantic.rules.lexicon import KINDS, UNITS
from costguard_core.cache.semantic.rules.phrase import is_number
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

# Shares of common words. Choices, looked at on pairs written by hand (docs/semantic.md says which) and the generated
# answers of benchmarks/semantic.py.
_SAME_FRAME, _ONE_TEMPLATE = 0.65, 0.75  # of the words, in one order
_REWORDED = 6  # informative words that only one has: so many are another wording, of whatever; a choice
_LEAST_SHORT, _LEAST_LONG, _SHORT, _LONG = 0.18, 0.35, 10, 40  # the last two: informative words
_TEMPLATE = 0.3  # share of an answer's words that many answers contain
_UNSURE = 0.1
# Another wording of an answer has half of its words in another order; the answer to something near, in the same order.
_OWN_SENTENCE, _REWORDED_LESS, _LEAST_REWORDED = 0.4, 0.25, 3
_ALIKE, _SAME_ALIKE = 0.5, 0.82  # of the words in one order; what must be common then
_SURELY_SAME = 0.7  # below, each must not have a matter that the other does not name
_ONE_SIDED = 0.15  # what one answer adds counts so much against them being the same
_MIN_INFORMATION = 0.3  # an answer that tells less says nothing in particular
_NUMBER_WEIGHT = 1.5


class TextComparator:
    """The comparator for answers in words.

    Args:
        embed: text → vector; answers are then also compared by meaning, for wordings that share few words.
        same_words: share of the informative words, 0 to 1, that must be common.
        same_meaning: cosine from which vectors count as one meaning.
    """

    def __init__(
        self,
        embed: Embed | None = None,
        *,
        same_words: float = 0.65,
        same_meaning: float = 0.85,
    ) -> None:
        self._embed = embed
        self._same_words, self._same_meaning = same_words, same_meaning
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
        reason = contradictions.firm(left, right) or _other_key_words(left, right)
        if reason == contradictions.OTHER_NUMBERS and (is_calculation(a) or is_calculation(b)):
            if left.opening * right.opening < 0:
                return Comparison(False, 0.0, "yes / no")
            return Comparison(None, 0.0, "other numbers on the way to a result")
        if reason is None and contradictions.is_reordered(left, right):
            return Comparison(None, 1.0, "the same steps or numbers in another order")
        if reason is None and is_one_sentence(left, right):
            reason = contradictions.in_one_sentence(left, right) or self._replaced_fact(left, right)
        if reason is not None:
            return Comparison(None if stated else False, 0.0, reason)
        found = self._by_words(left, right)
        if found.same is True:
            doubt = contradictions.doubt(left, right)
            return found if doubt is None else Comparison(None, found.score, doubt)
        return found

    def _by_words(self, a: AnswerFeatures, b: AnswerFeatures) -> Comparison:
        equal = same_quantities(a, b)
        same = a.informative & b.informative
        ours, theirs = a.informative - same - equal[0], b.informative - same - equal[1]
        denied = contraries(a, b)
        ours, theirs = ours - denied, theirs - denied
        synonyms_a, synonyms_b = _synonyms(a, ours, b, theirs), _synonyms(b, theirs, a, ours)
        common = self._weight(same | equal[0]) + min(self._weight(synonyms_a), self._weight(synonyms_b))
        only_a, only_b = self._weight(ours - synonyms_a), self._weight(theirs - synonyms_b)
        if common + only_a < _MIN_INFORMATION or common + only_b < _MIN_INFORMATION:
            return Comparison(None, 0.0, "one of them says nothing in particular")
        order = alignment(a, b).ratio
        if _share_only_numbers(same | equal[0], ours - synonyms_a, theirs - synonyms_b):
            return Comparison(False if order >= _ALIKE else None, 0.0, "nothing but numbers in common")
        against = min(only_a, only_b) + _ONE_SIDED * (max(only_a, only_b) - min(only_a, only_b))
        share = common / (common + against)
        reason = f"{share:.2f} of what they tell in common"
        if self._embed and share < self._same_words <= 2 * share:
            meaning = _cosine(self._embed(a.text), self._embed(b.text))
            if meaning >= self._same_meaning:
                return Comparison(True, meaning, f"one meaning ({meaning:.2f})")
        if share >= self._same_words - _UNSURE and agree(a, b) and not is_one_sentence(a, b):
            return Comparison(True, share, f"the same values, {reason}")
        new = ours - synonyms_a, theirs - synonyms_b
        is_reworded = order < _OWN_SENTENCE and len(same) >= _LEAST_REWORDED and not self._are_templates(a, b)
        if is_reworded and share >= self._same_words - _REWORDED_LESS:
            return Comparison(True, share, f"reworded, {reason}")
        if order >= _ALIKE and share < self._same_words:  # a sentence that stayed, with something else in it
            return Comparison(False if _has_replaced(a, b, same) else None, share, f"worded alike, {reason}")
        if order >= _ALIKE and share < _SAME_ALIKE and all(len(words) > 1 for words in new):
            return Comparison(None, share, f"worded alike, {reason}")
        if share >= self._same_words:
            apart = all(any(map(_is_matter, words)) for words in new)
            return Comparison(None if apart and share < _SURELY_SAME else True, share, reason)
        return Comparison(False if share < self._least_common(a, b) else None, share, reason)

    def _replaced_fact(self, a: AnswerFeatures, b: AnswerFeatures) -> str | None:
        """The same sentence with another word in it: in answers made from one template, that word is the answer."""
        found = alignment(a, b)
        if found.ratio < _SAME_FRAME:
            return None
        one_template = found.ratio >= _ONE_TEMPLATE
        if not one_template and len(a.informative ^ b.informative) > _REWORDED:
            return None
        one_word = one_template and len(found.replaced) == 1
        for ours, theirs in found.replaced:
            new = _new_stems(a, ours, b), _new_stems(b, theirs, a)
            facts = [any(self._is_fact(word, one_template=one_template) for word in words) for words in new]
            if all(facts) or (one_word and any(facts) and all(new)):
                return f"{' '.join(ours)} / {' '.join(theirs)}"
        return None

    def _is_fact(self, word: str, *, one_template: bool) -> bool:
        """Whether a word tells something. Where all else is equal, boilerplate may ("your cost", "your history"), and
        so may a word that many answers contain."""
        boilerplate = word in BOILERPLATE
        return (one_template or not boilerplate) and (
            self._frequency.is_rare(word) or (one_template and not boilerplate)
        )

    def _least_common(self, a: AnswerFeatures, b: AnswerFeatures) -> float:
        """The share of common words below which two answers are different.

        The longer both are, the less probable it is that other words for the same leave so little in common. Where
        answers are made from templates (most of their words stand in many answers), what is left is what they tell, and
        is not said in other words.
        """
        if any(same_quantities(a, b)):
            return 0.0
        if self._are_templates(a, b):
            return self._same_words - _UNSURE
        words = min(len(a.informative), len(b.informative))
        return _LEAST_SHORT + (_LEAST_LONG - _LEAST_SHORT) * min(1.0, max(0, words - _SHORT) / (_LONG - _SHORT))

    def _are_templates(self, a: AnswerFeatures, b: AnswerFeatures) -> bool:
        return min(self._frequency.frequent_share(one.informative) for one in (a, b)) >= _TEMPLATE

    def _weight(self, words: frozenset[str]) -> float:
        return sum((_NUMBER_WEIGHT if is_number(word) else 1.0) * self._frequency.information(word) for word in words)


def _synonyms(a: AnswerFeatures, ours: frozenset[str], b: AnswerFeatures, theirs: frozenset[str]) -> frozenset[str]:
    """Those of our stems whose word has a synonym among the words of their stems."""
    said = [word for word in b.vocabulary if answer_stem(word) in theirs]
    mine = (word for word in a.vocabulary if answer_stem(word) in ours and not is_number(word))
    return frozenset(answer_stem(word) for word in mine if any(are_synonyms(word, one) for one in said))


def _new_stems(mine: AnswerFeatures, words: Sequence[str], other: AnswerFeatures) -> frozenset[str]:
    """Of words of the first answer, the stems of those that tell something and that the other does not give."""
    equal = contraries(mine, other) | same_quantities(mine, other)[0]
    stems = ((word, answer_stem(word)) for word in words)
    return frozenset(
        found
        for word, found in stems
        if found in mine.informative
        and found not in other.informative
        and found not in equal
        and not _has_synonym(word, other)
    )


def _has_synonym(word: str, other: AnswerFeatures) -> bool:
    return any(are_synonyms(word, said) for said in other.vocabulary if answer_stem(said) in other.informative)


def _has_replaced(a: AnswerFeatures, b: AnswerFeatures, same: frozenset[str]) -> bool:
    """Whether a few words are others, in a sentence of at least two words that tell something."""
    return len(same) > 1 and len(a.informative ^ b.informative) <= _REWORDED and a.is_negative == b.is_negative


def _share_only_numbers(common: frozenset[str], ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """ "The daily limit is $500" and "the annual deductible is $500": what they count is not the same."""
    return (
        any(map(is_number, common))
        and not any(map(_is_matter, common))
        and all(any(map(_is_matter, words)) for words in (ours, theirs))
    )


def _is_matter(word: str) -> bool:
    """Whether a stem is neither a number, nor a unit of one, nor what assistants say anyway."""
    unit = word in _UNIT_STEMS or KINDS.get(word) == "currency"
    return not (unit or is_number(word) or word in BOILERPLATE)


_UNIT_STEMS = frozenset(answer_stem(unit) for unit in UNITS if unit.isalpha())


def _says_nothing(a: AnswerFeatures) -> bool:
    facts = a.opening or a.is_key_words or a.numbers or a.names or _structured(a.text) is not None
    return a.words != () and not facts and a.informative <= BOILERPLATE


def _other_key_words(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """In a few words without a sentence, each one counts."""
    only_a, only_b = a.informative - b.informative, b.informative - a.informative
    if not (a.is_key_words and b.is_key_words and only_a and only_b):
        return None
    return f"{' '.join(sorted(only_a))} / {' '.join(sorted(only_b))}"


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
