"""What a question is about, without how it is opened and closed: "how can I reset my password?" and "I'd like to reset
my password, how does that work?" are both about "reset my password".

This is what is embedded: an opening takes up much of the vector of a short question and says nothing of its answer.
What kind of answer is wanted (how, when, whether) is the business of the rules, which read the whole question.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS
from costguard_core.cache.semantic.rules.phrase import phrase

_NAME = re.compile(r"<(\w+)>")
_KINDS = ("open", "act", "close")
_ROUNDS = 6  # of openings within openings; more are not met
_QUOTED = re.compile(r"[\"`“”„«»{}<>\\]")


@lru_cache(maxsize=4096)
def core(text: str) -> str:
    """The words of a question without its opening and its closing, typing errors undone. The text as it is, if it is
    not English, quotes something, or would have nothing left that means something."""
    if _QUOTED.search(text) or not is_english(text):
        return text
    words = phrase(text).words
    left = _stripped(" ".join(words))
    return left if _says_something(left) else " ".join(words) or text


def _stripped(text: str) -> str:
    rules = _patterns()
    for _ in range(_ROUNDS):
        before = text
        for kind in _KINDS:
            shorter = rules[kind].sub("", text, count=1).strip()
            if _says_something(shorter):
                text = shorter
        if text == before:
            break
    return text


def _says_something(text: str) -> bool:
    return any(word not in FUNCTION_WORDS for word in text.split())


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for line in word_lists.lines("costguard_core.cache.semantic.rules", "en/openings.txt"):
        name, _, pattern = line.partition(": ")
        pattern = _NAME.sub(lambda macro: names[macro.group(1)], pattern)
        if name in found:
            found[name].append(pattern)
        else:
            names[name] = pattern
    return {
        kind: re.compile(rf"^(?:{'|'.join(ways)})(?= |$)" if kind != "close" else rf"(?:^| )(?:{'|'.join(ways)})$")
        for kind, ways in found.items()
    }
