"""The words of English: which there are, and what a misspelt one was meant to be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache

from costguard_core.cache.language import word_lists

_PACKAGE = "costguard_core.cache.language"
_MIN_CORRECTED = 4  # letters: a shorter word has too many neighbours
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Endings that a word of the vocabulary may have, and what stands in their place in it.
_ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ied", "y"), ("ing", ""), ("ing", "e"), ("er", ""),
    ("er", "e"), ("ers", ""), ("est", ""), ("est", "e"), ("ly", ""), ("able", ""), ("ness", ""),
)  # fmt: skip


@cache
def function_words() -> frozenset[str]:
    """Words without content, such as "the" and "what"."""
    return word_lists.words(_PACKAGE, "en/function_words.txt")


@cache
def vocabulary() -> frozenset[str]:
    """76,000 words in their basic form, and irregular forms. About 20 ms and 7 MB when first used."""
    return word_lists.words(_PACKAGE, "en/vocabulary.txt.gz") | function_words()


@cache
def irregular_forms() -> dict[str, str]:
    """Irregular form → basic form: "took" → "take"."""
    return dict(line.split() for line in word_lists.lines(_PACKAGE, "en/irregular.txt.gz"))


@lru_cache(maxsize=16384)
def is_word(word: str) -> bool:
    """Whether it is an English word in any form. ``word`` is lower case."""
    return _is_form(word)


def _is_form(word: str) -> bool:
    known = vocabulary()
    if word in known:
        return True
    for ending, instead in _ENDINGS:
        if word.endswith(ending):
            base = word[: -len(ending)]
            doubled = len(base) > 3 and base[-1] == base[-2] and base[:-1] in known
            if len(base) > 1 and (base + instead in known or doubled):
                return True
    return False


@lru_cache(maxsize=16384)
def base_forms(word: str) -> tuple[str, ...]:
    """The words of the vocabulary that it may be a form of, itself included: "leaves" of "leave" and "leaf"."""
    known, found = vocabulary(), [word, irregular_forms().get(word, word)]
    for ending, instead in _ENDINGS:
        if word.endswith(ending):
            base = word[: -len(ending)]
            undoubled = base[:-1] if len(base) > 3 and base[-1] == base[-2] else base
            found += [one for one in (base + instead, undoubled) if len(one) > 1 and one in known]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=16384)
def corrected(word: str, preferred: frozenset[str] = frozenset()) -> str:
    """The word that a misspelt one was meant to be, if one letter is wrong, missing, too much or exchanged with the
    next; else ``word``. ``preferred`` words win over others."""
    if len(word) < _MIN_CORRECTED or not word.isascii() or not word.isalpha() or is_word(word):
        return word
    edits = dict.fromkeys(_edits(word))
    near = next((one for one in edits if one in preferred), None)
    return near or next(filter(_is_form, edits), word)


def _edits(word: str) -> Iterator[str]:
    """Texts that are one mistake away, the likeliest mistakes first."""
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    for place in range(1, len(word) + 1):  # the first letter is hardly ever wrong
        yield from (word[:place] + letter + word[place:] for letter in _LETTERS)
    for place in range(1, len(word)):
        yield word[:place] + word[place + 1 :]
    for place in range(1, len(word)):
        yield from (word[:place] + letter + word[place + 1 :] for letter in _LETTERS)
