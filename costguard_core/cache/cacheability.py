"""Questions whose answer must not be shared or must not be old, recognised by their words.

They read the question only, and err towards paying: a false alarm costs one call, a miss serves a wrong answer. English
is read fully. In some other languages, questions that ask how something is done or what it is are recognised as
general; everything else in another language is :attr:`Classification.unread`. Extend the rules with
``CachePolicy(never_cache=(predicate, ...))``.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.detection import is_english, language_of
from costguard_core.cache.language.english import corrected

# In a long prompt (a document with a question) words like "today" belong to the document; the question is at an end.
_HEAD, _TAIL = 300, 300  # characters
# How many questions (of at most that length) are remembered, because reading one takes longer than a hit. A choice: at
# most some 5 MB.
_MAX_REMEMBERED = 4096
_PACKAGE = "costguard_core.cache.language"


class Classification(NamedTuple):
    """What the words of a question say about its answer.

    Attributes:
        dynamic: it changes with time.
        personal: it belongs to who asks.
        unread: the language is not one that the rules read, so the answer may be either.
    """

    dynamic: bool = False
    personal: bool = False
    unread: bool = False


def classify(question: str) -> Classification:
    """Whether the answer to a question changes with time or belongs to who asks."""
    if len(question) > _HEAD + _TAIL:
        question = f"{question[:_HEAD]}\n{question[-_TAIL:]}"
    return _classified(question)


@lru_cache(_MAX_REMEMBERED)
def _classified(text: str) -> Classification:
    text = _NO_APOSTROPHE.sub(lambda word: "'".join(filter(None, word.groups())), text.replace("’", "'"))
    if not text.strip():
        return Classification()
    found = _by_rules(text)
    if any(found):
        return found
    if is_english(text):
        for word in _LOWER_CASE.findall(text):  # nearly always all are right: calling a function for each takes longer
            if corrected(word) != word:
                return _by_rules(_LOWER_CASE.sub(lambda wrong: corrected(wrong[0]), text))
        return found
    language = language_of(text)
    # One word in plain letters may be anything, and asks nothing.
    known = language is not None or len(text.split()) > 1 or not text.isascii()
    return Classification(unread=known and not _is_general(text, language))


def _by_rules(text: str) -> Classification:
    """What the English rules say, which leave ``unread`` to others."""
    rules = _patterns()
    dynamic = rules["dynamic"].search(text) is not None
    personal = bool(
        _IDENTIFIER.search(text)
        or rules["own"].search(text)
        or (
            not rules["what_to_do"].search(text)
            and (rules["state"].search(text) or (_POSSESSIVE.search(text) and not rules["how_to"].search(text)))
        )
    )
    return Classification(dynamic, personal)


def is_dynamic(question: str) -> bool:
    """True when the answer changes with time: "now", "today's …", "latest …", "weather in …", "is … down?"."""
    return classify(question).dynamic


def is_personal(question: str) -> bool:
    """True when the answer belongs to who asks: "my order", "the parcel I sent", "order 1182", an e-mail address."""
    return classify(question).personal


# English

_NO_APOSTROPHE = re.compile(  # "whats", "hasnt", "im"
    r"\b(?:(what|who|where|when|how)(s)|(can|don|didn|doesn|isn|wasn|hasn|haven|couldn|aren|won)(t)|(i)(m|ve))\b",
    re.IGNORECASE,
)
_LOWER_CASE = re.compile(r"\b[a-z]{4,}\b")  # a capital may be a name's
_IDENTIFIER = re.compile(
    r"""
    [\w.+-]+@[\w-]+\.\w{2,}
  | \b(?:order|invoice|ticket|case|booking|tracking|policy|customer|account|member|reference|ref|claim|parcel|shipment
      |confirmation|reservation|transaction|contract|user|patient|employee|request|incident|flight)
    (?:\s*(?:number|num|no\.?|nr\.?|id|code|\#))?\s*(?:is|:|=)?\s*\#?\s*[a-z]{0,6}[-_/]?\d{3,}
  | (?<![\w.])\+\d[\d\s().-]{7,}\d
  | (?<!\w)\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}\b
  | \b\d{3}-\d{2}-\d{4}\b
  | \b(?:\d{4}[\s-]){3}\d{1,7}\b
  | \b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){3,7}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_POSSESSIVE = re.compile(
    r"\b(?:my|mine|our|ours|myself)\b(?!\s+(?:favou?rite|question|query|guess|example)\b)", re.IGNORECASE
)
_MACRO = re.compile(r"<(\w+)>")
_MACROS = {
    "unless": "".join(rf"(?<!\b{word}\s)" for word in "if when whether after once before unless until".split()),
    "dated": r"\b(?:1\d{3}|20[01]\d|202[0-4]|first|\d+(?:st|nd|rd|th))\b",
}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """The English rules by name: ``dynamic``, ``own``, ``state``, ``how_to`` and ``what_to_do``."""
    found: dict[str, list[str]] = {}
    for line in word_lists.lines(_PACKAGE, "en/question_patterns.txt"):
        name, _, pattern = line.partition(": ")
        spaced = pattern.replace(" ", r"\s+").replace(r"[.,;:!?]\s+)", r"[.,;:!?]\s)")
        found.setdefault(name, []).append(rf"\b(?:{_MACRO.sub(_expanded, spaced)})(?!\w)")
    return {name: re.compile("|".join(patterns), re.IGNORECASE) for name, patterns in found.items()}


def _expanded(macro: re.Match[str]) -> str:
    name = macro.group(1)
    if name in _MACROS:
        return _MACROS[name]
    words = word_lists.table(_PACKAGE, "en/questions.txt")[name]
    return "(?:" + "|".join(re.escape(word).replace("_", r"\s+") for word in words) + ")"


# Other languages


@cache
def _general() -> dict[str, re.Pattern[str]]:
    """By language: how something is done, how long it takes, what it costs, what it is."""
    table = word_lists.table(_PACKAGE, "general_questions.txt")
    return {
        language: re.compile("|".join(_phrase(item) for item in items), re.IGNORECASE)
        for language, items in table.items()
    }


@cache
def _specific() -> dict[str, re.Pattern[str]]:
    """By language: words that make the answer one of who asks, or of now."""
    table = word_lists.table(_PACKAGE, "specific_words.txt")
    return {
        language: re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
        for language, words in table.items()
    }


def _phrase(item: str) -> str:
    return r"^\W*" + item.replace("_", r"\s+").replace("*", r"[^\W\d]+") + r"\b"


def _is_general(text: str, language: str | None) -> bool:
    if language not in _general() or _general()[language].search(text) is None:
        return False
    return _specific()[language].search(text) is None
