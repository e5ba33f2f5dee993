"""What says that two answers are not the same. English.

*Firm* signs hold however the answers are worded. In two answers that are one sentence with other words in it, any word
that changes what is said is a sign; in sentences of their own it may be how the other wording says the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

from costguard_core.cache.semantic.comparator.answer_features import DENIALS, AnswerFeatures, answer_stem, denied_words
from costguard_core.cache.semantic.comparator.values import clock_times, dates, is_vague, name_other_dates
from costguard_core.cache.semantic.rules import frame, lexical
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, KINDS, NEGATORS
from costguard_core.cache.semantic.rules.phrase import Phrase, is_number, phrase
from costguard_core.cache.semantic.rules.quantities import numbers_in

# Shares of common words, chosen on pairs written by hand: of 80 pairs of two wordings of one answer one had .6 and more
# of its words in one order, of 80 pairs that differ in one thing 48 had.
_ONE_SENTENCE, _NEARLY_ONE, _ALIKE = 0.6, 0.75, 0.5
# Of 14 pairs of two wordings of which one denies something, 12 had fewer of their words in one order.
_OTHER_ORDER = 0.4
_LONGEST_REPLACED = 6  # words; a choice
# Opposites in questions that answers use both of: "come and go", and "we send it", "you receive it".
_WEAK_OPPOSITES = frozenset(
    "give take get come go bring find help leave end send sent receive received pay paid owe owed".split()
)
_COMPARING = frozenset("more less fewer most least over under above below".split())  # "no less than" is "at least"
_ONLY = frozenset(("only", "solely", "exclusively"))
_EVERY = frozenset("all any every everyone everybody anyone anybody everywhere anywhere both".split())
_PERCENT = frozenset(("%", "percent", "per_cent"))
OTHER_NUMBERS = "other numbers"
_SPAN = "another span"  # "24 hours" and "within a day"
_BEFORE_NOT, _AFTER_NOT = 4, 3  # words between a subject, "not" and its verb; choices


class Alignment(NamedTuple):
    """Two answers side by side.

    Attributes:
        ratio: share of the words that are the same in the same order, 0 to 1.
        replaced: words of the first, and the words of the second that stand in their place.
    """

    ratio: float
    replaced: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def alignment(a: AnswerFeatures, b: AnswerFeatures) -> Alignment:
    """What of two answers is the same in the same order; the same whichever comes first."""
    if a.words <= b.words:
        return _aligned(a.words, b.words)
    found = _aligned(b.words, a.words)
    return found._replace(replaced=tuple((ours, theirs) for theirs, ours in found.replaced))


@lru_cache(maxsize=2048)
def _aligned(a: tuple[str, ...], b: tuple[str, ...]) -> Alignment:
    matched = SequenceMatcher(None, [*map(answer_stem, a)], [*map(answer_stem, b)], autojunk=False)
    replaced = ((a[i:j], b[k:m]) for kind, i, j, k, m in matched.get_opcodes() if kind == "replace")
    short = ((ours, theirs) for ours, theirs in replaced if max(len(ours), len(theirs)) <= _LONGEST_REPLACED)
    return Alignment(matched.ratio(), tuple(short))


def is_one_sentence(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether it is one sentence with other words in it."""
    return alignment(a, b).ratio >= _ONE_SENTENCE


def dice(a: AnswerFeatures, b: AnswerFeatures) -> float:
    """Sørensen-Dice coefficient of the informative words: https://en.wikipedia.org/wiki/Dice-Sørensen_coefficient"""
    left, right = a.informative, b.informative
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else 0.0


def firm(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """What both state and not the same, however it is worded: a time, number, command, path, name; a yes beside a no;
    a subject whose verb one denies; free and paid; opposites, or two of a kind, in one place."""
    are_contraries = contraries(a, b) or (a.says_free and b.says_free)
    return _other_facts(a, b) or (None if are_contraries else _denied(a, b)) or _kinds(a, b)


def _other_facts(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    if name_other_dates(a.raw, b.raw):
        return "other dates"
    if _other_times(a.raw, b.raw):
        return "other times of day"
    if _states_other_numbers(a, b) and not _same_times(a, b):
        return OTHER_NUMBERS
    if _has_other_commands(a, b) and _has_other_commands(b, a):
        return "other commands"
    if _ends_elsewhere(a, b) and _ends_elsewhere(b, a):
        return "other paths"
    if _names_more(a, b) and _names_more(b, a) and not (dates(a.raw) and dates(a.raw) == dates(b.raw)):
        return "other names"
    if (a.says_free and b.says_paid) or (b.says_free and a.says_paid):
        return "free / paid"
    return None


def _names_more(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    known = {answer_stem(word)[:_NAME_PREFIX] for word in b.vocabulary}  # England, English
    names = (name for name in a.names if KINDS.get(name) != "currency")
    return any(answer_stem(name)[:_NAME_PREFIX] not in known for name in names)


_NAME_PREFIX = 4  # letters; a choice


def _denied(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    if _yes_beside_no(a, b) or _yes_beside_no(b, a):
        return "yes / no"
    if _denies_verb(a, b) or _denies_verb(b, a):
        return "negation"
    return _opposites_in_one_place(a, b)


def in_one_sentence(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """What changes the sense of a sentence that is else nearly the same."""
    if contraries(a, b):
        return None
    if a.is_negative != b.is_negative and not (a.says_free and b.says_free):  # "is free" and "there is no charge"
        return "yes / no"
    if a.vocabulary & _ONLY != b.vocabulary & _ONLY and (a.vocabulary ^ b.vocabulary) - _ONLY != set():
        return "only"
    left, right = phrase(a.text), phrase(b.text)
    if _is_share_of(left, right) or _is_share_of(right, left):
        return "percent / number"
    if (reason := _other_bounds(left, right)) is not None:
        return reason
    signs = (frame.modality, frame.amount, lexical.opposites, frame.relation, frame.ends, lexical.kinds, lexical.order)
    return next((found for sign in signs if (found := sign(left, right))), None)


def doubt(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """What keeps two answers that share most of their words from being called the same."""
    if _ordinal_apart(a.raw, b.raw) or _ordinal_apart(b.raw, a.raw):
        return "a number / its ordinal"
    if _other_condition(a, b):
        return "another condition"
    if (reason := _other_relation(a, b)) is not None:
        return reason
    if _first_denied(a) & b.informative - b.denied and _first_denied(b) & a.informative - a.denied:
        return "each denies what the other says"
    if contraries(a, b) or (a.says_free and b.says_free):
        return None
    if not (a.is_short or b.is_short):  # of several sentences, some say what one must or must not do
        return None
    if a.is_negative != b.is_negative and (
        alignment(a, b).ratio >= _OTHER_ORDER or _denies_what_is_said(a, b) or _denies_what_is_said(b, a)
    ):
        return "negation, in other words"
    left, right = phrase(a.text), phrase(b.text)
    return next((found for sign in (frame.modality, frame.share) if (found := sign(left, right))), None)


def _is_done_to(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """ "The fleet was beaten by the storm" and "the fleet beat the storm"."""
    there = [answer_stem(word) for word in b.words]
    for found in _PASSIVE.finditer(f" {' '.join(a.words)} "):
        subject, verb, agent = (answer_stem(word) for word in found.groups())
        places = [there.index(word) for word in (subject, verb, agent) if word in there]
        if len(places) == 3 and places == sorted(places) and "by" not in b.vocabulary:
            return True
    return False


_PASSIVE = re.compile(r" (\w+) (?:is|are|was|were|be|been|being) (\w+) by (?:the |an? |our |your )?(?=(\w+) )")


def _preferred(a: AnswerFeatures) -> set[tuple[str, str]]:
    """ "Butter rather than oil": what is preferred, and to what."""
    found = _PREFERRED.findall(f" {' '.join(a.words)} ")
    return {(answer_stem(one), answer_stem(other)) for one, other in found}


_PREFERRED = re.compile(r" (\w+) (?:rather than|instead of|but not|and not) (?:the |an? |in |on |for |by )?(?=(\w+) )")


def _says_only_beside_every(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    return not a.vocabulary.isdisjoint(_ONLY) and b.vocabulary.isdisjoint(_ONLY) and not b.vocabulary.isdisjoint(_EVERY)


def _says_pay(a: AnswerFeatures) -> bool:
    return not a.is_negative and not _PAY.isdisjoint(a.words)


_PAY = frozenset(("pay", "pays", "paid"))


def _first_denied(a: AnswerFeatures) -> frozenset[str]:
    """The stems right after a "not"."""
    places = (place for place, word in enumerate(a.words) if word in NEGATORS)
    found = (next(filter(_is_content, a.words[place + 1 :]), "") for place in places)
    return frozenset(map(answer_stem, found))


def _other_relation(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """The same things in another relation: a ratio, a bound, who does it to whom, a part of a command."""
    if "ratio" in f"{a.raw} {b.raw}".lower() and _numbers_apart(a)[0] != _numbers_apart(b)[0]:
        return "a ratio"
    if a.code and b.code and _commands(a) != _commands(b):
        return "more of a command"
    if _is_done_to(a, b) or _is_done_to(b, a):
        return "who does it to whom"
    if any(pair[::-1] in _preferred(b) for pair in _preferred(a)):
        return "which is preferred"
    if _says_only_beside_every(a, b) or _says_only_beside_every(b, a):
        return "only / every"
    if a.says_free and b.says_free and _says_pay(a) != _says_pay(b):
        return "free, and partly paid"
    return None if a.is_negative or b.is_negative else _other_bounds(phrase(a.text), phrase(b.text))


def _denies_what_is_said(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether one denies a word that the other uses and does not deny: "without a visa" and "you need a visa"."""
    said = {answer_stem(word) for word in b.words} - b.denied - _first_denied(b)
    return not (a.denied | _first_denied(a)).isdisjoint(said)


def _other_condition(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """ "It is free if your salary is paid in" and "it is free if you are a student"."""
    ours, theirs = (frozenset(answer_stem(word) for word in one.condition if _is_content(word)) for one in (a, b))
    return bool(ours) and bool(theirs) and ours.isdisjoint(theirs)


def _ordinal_apart(a: str, b: str) -> bool:
    """ "The 8th floor" and "8 persons"."""
    ordinals, others = (frozenset(_ORDINAL.findall(text)) for text in (a, b))
    return not (ordinals - others).isdisjoint(_CARDINAL.findall(b))


_ORDINAL, _CARDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b"), re.compile(r"\b\d+\b")


def agree(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether both state values (numbers, commands, paths), and the same ones."""
    if _commands(a) != _commands(b) or (a.path and b.path and a.path != b.path):
        return False
    if _other_numbers(a, b) or _other_numbers(b, a):
        return False
    return bool(a.code or (a.path and b.path) or any(same_quantities(a, b)))


def same_quantities(a: AnswerFeatures, b: AnswerFeatures) -> tuple[frozenset[str], frozenset[str]]:
    """The stems of the numbers of each that the other states too, in whatever unit, and of their units."""
    left, right = numbers_in(phrase(a.text)), numbers_in(phrase(b.text))
    bare = {str(number) for number in ({*left.bare} & {*right.bare}) - {_ONE}}
    both = {(one.dimension, one.value) for one in left.quantities} & {
        (one.dimension, one.value) for one in right.quantities
    }
    ours, theirs = (
        frozenset(bare).union(
            *(
                (str(one.number), answer_stem(one.unit))
                for one in found.quantities
                if (one.dimension, one.value) in both
            )
        )
        for found in (left, right)
    )
    return (ours | a.numbers, theirs | b.numbers) if _same_times(a, b) else (ours, theirs)


_ONE = Decimal(1)  # "one of them"


def contraries(a: AnswerFeatures, b: AnswerFeatures) -> frozenset[str]:
    """ "It does not open on Mondays" beside "it is closed on Mondays": the stems of what one denies and of the opposite
    that the other says, which itself denies nothing."""
    for denying, affirming in ((a, b), (b, a)):
        if denying.denied and not affirming.denied:
            pairs = product(denied_words(denying), affirming.vocabulary)
            found = next((pair for pair in pairs if lexical.are_opposites(*pair)), None)
            if found is not None:
                return frozenset(map(answer_stem, found))
    return frozenset()


def _yes_beside_no(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether one begins with yes, and the other with no or with a sentence that denies something."""
    denies = b.is_negative and b.is_short and not _WHOLE.isdisjoint(word for clause in b.clauses for word in clause)
    return a.opening > 0 and (b.opening < 0 or (b.opening == 0 and denies))


def _denies_verb(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether one says of a subject what the other denies of it, in a main clause: "tickets can be changed", "tickets
    cannot be changed"."""
    affirmed = [clause for clause in b.clauses if _NEGATING.isdisjoint(clause)]
    return any(
        _says(clause, subject, verb)
        for denying in a.clauses
        for subject, verb in _denied_pairs(denying)
        for clause in affirmed
    )


_NEGATING = NEGATORS | frozenset(DENIALS)
_WHOLE = _NEGATING - {"without"}  # what denies a sentence; "it works without a network" does not


def _denied_pairs(clause: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(clause):
        if word in NEGATORS:
            before = [one for one in clause[max(0, place - _BEFORE_NOT) : place] if _is_content(one)]
            after = [one for one in clause[place + 1 : place + 1 + _AFTER_NOT] if _is_content(one)]
            if before and after:
                yield answer_stem(before[-1]), answer_stem(after[0])
            elif len(after) > 1 and word != "no":  # "you can't move the eSIM": the verb and what it is done to
                yield answer_stem(after[0]), answer_stem(after[1])


def _says(clause: tuple[str, ...], subject: str, verb: str) -> bool:
    stems = [answer_stem(word) for word in clause if _is_content(word)]
    return (subject, verb) in pairwise(stems)


def _is_content(word: str) -> bool:
    return word not in FUNCTION_WORDS and word[:1].isalnum()


def _opposites_in_one_place(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    """ "Before dispatch" and "after dispatch", "weight loss" and "weight gain": opposites beside the same word."""
    stems_a, stems_b = (frozenset(map(answer_stem, one.words)) for one in (a, b))
    ours = {word for word in a.words if answer_stem(word) not in stems_b} - _WEAK_OPPOSITES - _COMPARING
    theirs = {word for word in b.words if answer_stem(word) not in stems_a} - _WEAK_OPPOSITES - _COMPARING
    for mine, other in product(sorted(ours), sorted(theirs)):
        if lexical.are_opposites(mine, other) and not _beside(a, mine).isdisjoint(_beside(b, other)):
            return f"opposites: {mine} / {other}"
    return None


def _beside(a: AnswerFeatures, word: str) -> set[tuple[int, str]]:
    """The content words next to a word, each with the side on which it stands."""
    words = [one for one in a.words if one == word or _is_content(one)]
    found = set()
    for place, one in enumerate(words):
        if one == word:
            near = [(side, words[place + side]) for side in (-1, 1) if 0 <= place + side < len(words)]
            found |= {(side, answer_stem(other)) for side, other in near if not is_number(other)}
    return found


def _kinds(a: AnswerFeatures, b: AnswerFeatures) -> str | None:
    found = lexical.kinds(phrase(a.text), phrase(b.text)) if dice(a, b) >= _ALIKE else None
    return None if found is None or found.startswith(_SPAN) else found


def _has_other_commands(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether each names commands, and the first one that is neither part of one of the second's nor the reverse."""
    theirs = _commands(b)
    return bool(theirs) and any(not any(one <= other or other <= one for other in theirs) for one in _commands(a))


def _commands(a: AnswerFeatures) -> frozenset[frozenset[str]]:
    """Of each command the words, without what stands for something else: "<name>", "(...)", the object of a method."""
    found = (_COMMAND_WORDS.findall(_STANDS_FOR.sub(" ", code)) for code in a.code)
    return frozenset(frozenset(words) for words in found if words)


_STANDS_FOR = re.compile(r"<[^<>]*>|\(\s*(?:\.\.\.|…)?\s*\)|\b\w+\.(?=\w+\()")
_COMMAND_WORDS = re.compile(r"-{0,2}\w[\w.-]*|[^\w\s]")


def _ends_elsewhere(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether a path through menus leads to what the other does not name at all."""
    return bool(a.path) and not any(b.vocabulary.issuperset(end) for end in a.path)


def is_reordered(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """The same numbered steps, or the same sentence with its numbers, in another order: "$500, of which $100"."""
    if a.steps != b.steps and sorted(a.steps) == sorted(b.steps):
        return True
    (ours, our_words), (theirs, their_words) = _numbers_apart(a), _numbers_apart(b)
    if ours == theirs or sorted(ours) != sorted(theirs):
        return False
    return SequenceMatcher(None, our_words, their_words, autojunk=False).ratio() >= _NEARLY_ONE


def _numbers_apart(a: AnswerFeatures) -> tuple[list[str], list[str]]:
    """Its numbers and its other words, in order."""
    words = phrase(a.text).words
    others = [answer_stem(word) for word in words if word not in a.numbers]
    return [word for word in words if word in a.numbers], others


def _other_times(a: str, b: str) -> bool:
    """Each names a time of day that the other does not."""
    ours, theirs = _times(a, b)
    return bool(ours - theirs) and bool(theirs - ours)


def _times(a: str, b: str) -> tuple[frozenset[int], frozenset[int]]:
    """The times of day of both; on a clock of twelve hours where one of them does not say which half of the day."""
    found = clock_times(a), clock_times(b)
    if is_vague(a) or is_vague(b):
        return frozenset(time % 720 for time in found[0]), frozenset(time % 720 for time in found[1])
    return found


def _same_times(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Times of day are numbers too: "9:30 pm" and "21:30"."""
    ours, theirs = _times(a.raw, b.raw)
    return bool(ours) and ours == theirs and len(a.numbers) == len(b.numbers) == len(ours)


def _states_other_numbers(a: AnswerFeatures, b: AnswerFeatures) -> bool:
    """Whether each states a number that the other has nowhere, in whatever unit, and the two can be compared: grams
    beside a number of tablets are no contradiction where other numbers agree."""
    ours, theirs = _other_numbers(a, b), _other_numbers(b, a)
    if not (ours and theirs):
        return False
    return not ours.isdisjoint(theirs) or not any(same_quantities(a, b))


def _other_numbers(a: AnswerFeatures, b: AnswerFeatures) -> frozenset[str]:
    """What the numbers measure that only the first states: a dimension, or "" for a bare number."""
    mine, others = numbers_in(phrase(a.text)), numbers_in(phrase(b.text))
    known = {(one.dimension, one.value) for one in others.quantities}
    loose = {*others.bare, *(one.number for one in others.quantities if one.dimension in _LOOSE)}
    written = {*loose, *(one.number for one in others.quantities)}
    written |= {number / 100 for number in _percents(phrase(b.text))} | _as_shares(phrase(a.text), written)
    measured = [one for one in mine.quantities if one.dimension not in _LOOSE]
    bare = [*mine.bare, *(one.number for one in mine.quantities if one.dimension in _LOOSE)]
    new = {one.dimension for one in measured if (one.dimension, one.value) not in known and one.number not in loose}
    return frozenset(new | {"" for number in bare if number not in written})


def _is_share_of(a: Phrase, b: Phrase) -> bool:
    """ "Fifteen percent of the employees" and "fifteen employees"."""
    shares, others = (
        {one.number for one in numbers_in(text).quantities if one.dimension == "share"} for text in (a, b)
    )
    return not (shares - others).isdisjoint(numbers_in(b).bare)


def _other_bounds(a: Phrase, b: Phrase) -> str | None:
    """ "At least 5" and "at most 5"; "rose by 6 percent" and "rose to 6 percent"."""
    ours, theirs = _bounds(a), _bounds(b)
    for number in ours.keys() & theirs.keys():
        if ours[number] != theirs[number]:
            return f"{ours[number]} / {theirs[number]} {number}"
    return None


def _bounds(a: Phrase) -> dict[str, str]:
    """Number → how it bounds what is said, where it does."""
    found = {}
    for place, word in enumerate(a.words):
        if is_number(word):
            before = ("_".join(a.words[max(0, place - size) : place]) for size in (3, 2, 1))
            bound = next((_BOUND_OF[words] for words in before if words in _BOUND_OF), None)
            if bound is not None:
                found[word] = bound
    return found


_BOUND_OF = {
    **dict.fromkeys(("at_least", "no_less_than", "not_less_than", "more_than", "over", "above", "minimum_of"), "over"),
    **dict.fromkeys(("at_most", "no_more_than", "not_more_than", "less_than", "under", "below", "up_to"), "under"),
    **dict.fromkeys(("maximum_of", "no_older_than", "no_later_than", "fewer_than"), "under"),
    "by": "by",
    "to": "to",
    "from": "from",
}
_LOOSE = frozenset(("angle",))  # "220 degrees" may be of Celsius


def _percents(a: Phrase) -> set[Decimal]:
    return {Decimal(number) for number, unit in pairwise(a.words) if is_number(number) and unit in _PERCENT}


def _as_shares(a: Phrase, written: set[Decimal]) -> set[Decimal]:
    """The percentages of a text that another writes as a share: 25 % is .25."""
    return {number for number in _percents(a) if number / 100 in written}
