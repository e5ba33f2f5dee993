"""Whether a text is English, which the rules about questions and answers read, and if not, which language it is in.

Short questions have too few letters for statistics of letters; they are told by their words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.english import corrected, function_words, is_word

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*(?!\w)")
_CODE = re.compile(r"`[^`]*`|\w+://\S+|\S+@\S+|\S*[\d_/\\{}<>=$]\S*")
_LAST_LATIN = 0x24F  # the end of Latin Extended-B
_MAX_WORDS = 200  # are looked at: the beginning and the end of a longer text; a choice
_MAX_UNKNOWN = 0.5  # share of words that no list has: of a trade, and names. A choice


@cache
def _frequent_words() -> dict[str, frozenset[str]]:
    """Language → its frequent words that are no English words."""
    lists = word_lists.table("costguard_core.cache.language", "other_languages.txt")
    return {language: frozenset(words) for language, words in lists.items()}


@cache
def _other_languages() -> frozenset[str]:
    return frozenset(word for words in _frequent_words().values() for word in words)


@lru_cache(maxsize=4096)
def is_english(text: str) -> bool:
    """Whether the rules that read English can read the text: no letters of another script, and more English words than
    others. A text without words passes."""
    words, others, function = _words(text), _other_languages(), function_words()
    english = foreign = accented = 0
    for word in words:  # in one loop, because every new question is read
        if not word.isascii():
            accented += 1
            if _is_of_another_script(word):
                return False
        if word in others:
            foreign += 1
        elif word in function:
            english += 1
    if (foreign and foreign >= english) or (accented and not english):
        return False
    if english > foreign and english >= 2:
        return True
    unknown = [word for word in words if not is_word(word)]
    if english:  # else a near English word is no evidence: "Passwort", "activer"
        unknown = [word for word in unknown if corrected(word) == word]
    return not words or len(unknown) < _MAX_UNKNOWN * len(words)


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """``"en"``, the ISO 639-1 code of another language in Latin letters whose frequent words are listed, or ``None``
    for any other."""
    if is_english(text):
        return "en"
    words = _words(text)
    counts = {language: sum(word in frequent for word in words) for language, frequent in _frequent_words().items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] and not any(map(_is_of_another_script, words)) else None


def _words(text: str) -> list[str]:
    """The words of a text, lower case, without names inside sentences, code and addresses."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text)
    found = _WORD.findall(_CODE.sub(" ", plain))
    if len(found) > _MAX_WORDS:
        found = found[: _MAX_WORDS // 2] + found[-_MAX_WORDS // 2 :]
    written = not plain.isupper()  # a text in capitals has no names
    words = []
    for place, word in enumerate(found):
        if not (written and place and word[0].isupper() and word.isascii()):
            words.append(word.lower().partition("'")[0].partition("’")[0])
    return words


def _is_of_another_script(word: str) -> bool:
    """Two letters or more: one is a symbol ("µ", "π")."""
    return sum(ord(letter) > _LAST_LATIN for letter in word) > (len(word) > 1)
