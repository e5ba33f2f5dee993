"""The word lists that the rules read (English), from the files in ``data/``."""

from __future__ import annotations

from decimal import Decimal

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.english import function_words

_PACKAGE = "costguard_core.cache.semantic.rules"
_negation = word_lists.table(_PACKAGE, "en/negation.txt")
_numbers = {name: word_lists.mapping(items) for name, items in word_lists.table(_PACKAGE, "en/numbers.txt").items()}
_contractions = dict(line.split(": ", 1) for line in word_lists.lines(_PACKAGE, "en/contractions.txt"))

FUNCTION_WORDS = function_words()

# Pairs of words that mean the contrary, by hand and from WordNet.
OPPOSITES = word_lists.pairs(word_lists.lines(_PACKAGE, "en/opposites.txt"))
WORDNET_OPPOSITES = word_lists.pairs(word_lists.lines(_PACKAGE, "en/wordnet_opposites.txt.gz"))

# Word → the kind of thing that it is, for kinds of which a question names one member.
KINDS = {
    word: kind.replace("_", " ")
    for kind, members in word_lists.table(_PACKAGE, "en/kinds.txt").items()
    for word in members
}
# Word → the name that stands for all names of the same member.
SYNONYMS = {word: names.split()[0] for names in word_lists.lines(_PACKAGE, "en/synonyms.txt") for word in names.split()}

# Words that change no answer when one question has them more.
NEUTRAL = frozenset(word_lists.words(_PACKAGE, "en/neutral.txt"))

NEGATORS = frozenset(_negation["negators"])
NEGATING_PREFIXES = tuple(_negation["negating_prefixes"])
NOT_NEGATED = frozenset(_negation["not_negated"])
OPPOSITE_PREFIXES = word_lists.pairs(_negation["opposite_prefixes"])
PREVENTING = frozenset(_negation["preventing"])
POLITE_NEGATIONS = tuple(word_lists.lines(_PACKAGE, "en/polite_negations.txt"))

# Possessive → whose it is.
POSSESSIVES = {word: owner for owner, words in word_lists.table(_PACKAGE, "en/owners.txt").items() for word in words}

CONTRACTIONS = {word: full for word, full in _contractions.items() if word[0].isalpha() and word != "n't"}
CONTRACTED_ENDINGS = {word: full for word, full in _contractions.items() if word not in CONTRACTIONS}

SMALL_NUMBERS, TENS, SCALES, ORDINALS, ROMAN = (
    {word: int(value) for word, value in _numbers[name].items()}
    for name in ("small", "tens", "scales", "ordinals", "roman")
)
MULTIPLES = _numbers["multiples"]  # word → decimal number, as text

# How a unit is written → its dimension, and its factor to the base unit.
UNITS = {
    spelling: (measure.partition("/")[0], Decimal(measure.partition("/")[2]))
    for measure, spellings in word_lists.table(_PACKAGE, "en/units.txt").items()
    for spelling in spellings
}


def _meanings() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    by_hand = word_lists.lines(_PACKAGE, "en/similar_words.txt")
    for number, line in enumerate([*by_hand, *word_lists.lines(_PACKAGE, "en/wordnet_synonyms.txt.gz")]):
        for word in line.split():
            found.setdefault(word, set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


# Word → the numbers of its meanings; words of one meaning are synonyms.
MEANINGS = _meanings()
