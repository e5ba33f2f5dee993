"""The word lists that the rules read (English), from the files in ``data/``."""

from __future__ import annotations

from costguard_core.cache.semantic import word_lists

_PACKAGE = "costguard_core.cache.semantic.rules"
_negation = word_lists.table(_PACKAGE, "en/negation.txt")
_numbers = {name: word_lists.mapping(items) for name, items in word_lists.table(_PACKAGE, "en/numbers.txt").items()}
_contractions = dict(line.split(": ", 1) for line in word_lists.lines(_PACKAGE, "en/contractions.txt"))

FUNCTION_WORDS = word_lists.words(_PACKAGE, "en/function_words.txt")

# Pairs of words that mean the contrary.
OPPOSITES = word_lists.pairs(word_lists.lines(_PACKAGE, "en/opposites.txt"))

# Word → the kind of thing that it is, for kinds of which a question names one member.
KINDS = {
    word: kind.replace("_", " ")
    for kind, members in word_lists.table(_PACKAGE, "en/kinds.txt").items()
    for word in members
}
# Word → the name that stands for all names of the same member.
SYNONYMS = {word: names.split()[0] for names in word_lists.lines(_PACKAGE, "en/synonyms.txt") for word in names.split()}

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

# Frequent words of other languages that are no English words.
OTHER_LANGUAGES = frozenset(
    word for words in word_lists.table(_PACKAGE, "other_languages.txt").values() for word in words
)
