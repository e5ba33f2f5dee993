"""Whether a text is English. The vetoes and the comparator read English: of another language they must not say that
nothing speaks against it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, OTHER_LANGUAGES

_WORD = re.compile(r"[^\W\d_]+")
_LAST_LATIN = 0x24F  # the end of Latin Extended-B


@lru_cache(maxsize=4096)
def is_english(text: str) -> bool:
    """No letters of another script, and no more words of another language than of English. Key words alone pass."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    if any(_is_of_another_script(word) for word in words):
        return False
    foreign = sum(word in OTHER_LANGUAGES for word in words)
    english = sum(word in FUNCTION_WORDS and word not in OTHER_LANGUAGES for word in words)
    accented = sum(not word.isascii() for word in words)
    return foreign <= english if foreign else not (accented and not english)


def _is_of_another_script(word: str) -> bool:
    """Two letters or more: one is a symbol ("µ", "π")."""
    return sum(ord(letter) > _LAST_LATIN for letter in word) > (len(word) > 1)
