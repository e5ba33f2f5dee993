"""An answer as what it says: the words that tell something, numbers, names, what is denied."""

# ruff: noqa: E501 -- lists of words
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, NEGATORS
from costguard_core.cache.semantic.rules.phrase import phrase, stem

# In a question these carry nothing ("tell me", "find me"); in an answer they can be what is said.
_EMPTY = (FUNCTION_WORDS - set("off out up down need want know tell give show get find help".split())) | set(
    "ll ve re d s t".split()
)

# What assistants say whatever the question was. It tells little, and never on its own that two answers differ.
_SMALL_TALK = """
able absolutely accept action activity additional advise afraid ahead allow already alright always annoying answer anything apologies
apologise apologize appreciate apply appropriate area around arrange ask assist assistant assistance available away back base basically below best
better bring button call care carry case certain certainly change charge charges chat check choose clarify clear click close come
comes coming common complete concern concerns confirm confirmed confirmation confusion contact continue contact correct cost costs could course cover coverage
current currently customer day deal dealt definitely department desk detail details dear different direct directly done double each easy easily
else email end ensure enter enjoy enough entire especially etc everything everyone exactly example expect explain fact feel fill final finally
find fine finish first follow following follows for form forward free full further general generally get give given glad go goes going
good got great guide guidance hand handle handled happen happy hate have head hear help helpful helps hesitate here hold home hope
however idea ill immediately important include includes including inconvenience info inform information instance instead instruct instruction instructions issue item just keep kind
kindly know known large last latest lead least leave let letting like likely line link list little located location long look looking
lot love made main make makes making manage many mark matter mean means mention message method mind minute moment momentarily more most move
much must name near necessary need needed needs new next nice normal normally note noted notice now number obtain off offer often oh ok okay
once online one only open option options order ordinary other otherwise out over overall own page part particular particularly patience pay paid payment people
perfect perhaps period person place plan please pleased plus point points possible prefer prepare press previous price priced prior problem problems proceed process
processed processing proper properly provide provided purpose put question quick quickly quite rather reach read ready really reason receive received recommend record refer
regard regarding regards related remain remember reply report request requested require required requires resolve respond response rest result right run say see seem select
send sent service set several short should show shown side simple simply since single sincerely situated small so some something soon sorry specific specifically standard
start started state stay step steps still sub submit such suggest summary support supported supports sure system take taken takes taking talk team tell thank thanks thing things
think though through time times today together took top topic total touch trouble try turn type typically under understand understood unfortunately until up update updated upon
use used useful user using usual usually various via view visit wait waiting want way welcome well whatever whenever wherever will wish within without wonder wonderful word
work working works worry would write yeah year yep yes yet
cent costs dollar euro pound total amount sum fee price quid bill
"""
SMALL_TALK = frozenset(stem(word) for word in _SMALL_TALK.split()) - {
    stem(word) for word in "off out up down open close first last".split()
}

# Those of them that name a deed or a matter: where all else is equal, they are what is said ("send it", "check it").
_DEEDS = """
find give help show tell change check choose close confirm contact cost cover carry come deal enter fill follow get go hand handle keep leave link list look manage mark move name note
order pay place plan prepare price process provide read receive record refer report request require resolve respond run select send show start state stay step
submit summary update use view visit wait word write home area branch address form email chat charge account department desk team page option history location
"""
DEEDS = SMALL_TALK & {stem(word) for word in _DEEDS.split()}

_IDIOMS = re.compile(
    r"\bno (?:problem|worries|doubt|need to worry|matter what)s?\b(?: at all)?|\boh no\b|\bnot (?:only|to worry|sure)\b|\b(?:do not|don't|don’t|never) "
    r"(?:hesitate|worry|forget|mind)\b|\bno later than\b|\bif not\b|\bwhy not\b|\bor not\b|\bwithout (?:any )?(?:problem|trouble|delay|doubt|further ado)s?\b|\b(?:one|a) (?:moment|second|sec|minute)\b(?= ?(?:please|[.!,…]))",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(r"^[ \t]*(?:(?:step\s+)?\(?\d{1,2}[.):]|[-*•–+#>]+)(?=\s)", re.MULTILINE | re.IGNORECASE)
_MARKUP = re.compile(r"[*_`#>|]+")
_SYMBOLS = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "%": "percent", "&": "and"}
_UNIT_NAMES = {
    "usd": "dollar",
    "buck": "dollar",
    "eur": "euro",
    "gbp": "pound",
    "jpy": "yen",
    "min": "minut",
    "hr": "hour",
    "sec": "second",
    "approx": "about",
}
_YES = frozenset("yes yeah yep absolutely correct true".split())
_NO = frozenset("no nope false incorrect unfortunately afraid".split())
# Denials in one word, and what they deny.
_DENIALS = {
    "impossible": "possible", "unavailable": "available", "unable": "able", "unsupported": "support", "prohibited": "allow", "forbidden": "allow",
    "invalid": "valid", "ineligible": "eligible", "disallowed": "allow", "refuse": "accept", "decline": "accept", "fail": "work",
}  # fmt: skip
_NOT_NAMES = frozenset("ok faq url http https www com i pm am usd eur gbp step steps note yes no".split())
_SCOPE = 3  # words after a "not" that it denies
_SHORT = 25


@dataclass(frozen=True, slots=True)
class Said:
    """``words``: as spoken, without idioms and enumeration. ``telling``: stems of those with meaning. ``every``: all words.
    ``denied``: the telling stems behind a "not". ``denies``: whether the whole is a no; ``stands``: it begins with yes or no."""

    text: str
    words: tuple[str, ...]
    telling: frozenset[str]
    every: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    denied: frozenset[str]
    denies: bool
    stands: bool

    @property
    def bare(self) -> bool:
        """Key words and no sentence: "change gift card"."""
        return self.words != () and all(_says(word) and word not in _EMPTY - _NO for word in self.words)

    @property
    def short(self) -> bool:
        return len(self.words) <= _SHORT

    @staticmethod
    def stem_of(word: str) -> str:
        return _stem(word)


@lru_cache(maxsize=4096)
def said(text: str) -> Said:
    """What an answer says."""
    bare = _MARKUP.sub(" ", _IDIOMS.sub(" ", _ENUMERATION.sub(" ", text)))
    read = phrase(bare)
    words = tuple(_SYMBOLS.get(word, word) for word in read.words)
    telling = frozenset(_stem(word) for word in words if word not in _EMPTY and word not in NEGATORS and _says(word))
    names = frozenset(
        name
        for name in read.names
        if name not in _NOT_NAMES and not name.endswith("ly") and _stem(name) not in SMALL_TALK
    )
    opening = _opening(words)
    return Said(
        text=bare,
        words=words,
        telling=telling,
        every=frozenset(words),
        numbers=frozenset(map(str, read.numbers)),
        names=names,
        denied=frozenset(_denied(words)),
        denies=_denies(words, opening),
        stands=opening != 0,
    )


def is_refusal(text: str) -> bool:
    """A short "I'm sorry, I can't help with that" (English), which answers nothing."""
    return len(text.split()) <= _SHORT and _REFUSAL.search(text.replace("’", "'")) is not None


_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we'?re|we are)\s+)?(?:(?:really|very|so|terribly)\s+)?(?:sorry|afraid|apologi[sz]e|unfortunately)?\W*"
    r"(?:but|that|as an ai\b[^,]{0,40},)?\s*(?:i|we)(?:\s+(?:can ?not|can't|could not|couldn't|won't)|(?:'m| am|'re| are) (?:unable to|not able to))\s+"
    r"(?:be able to\s+)?(?:help|assist|answer|comply|respond|provide that|do that|discuss|fulfil+)\b",
    re.IGNORECASE,
)


def _says(word: str) -> bool:
    return word.lstrip("-")[:1].isalnum()


@lru_cache(maxsize=16384)
def _stem(word: str) -> str:
    word = _DENIALS.get(word, word)
    found = stem(word)
    return _UNIT_NAMES.get(found, found)


def _opening(words: Sequence[str]) -> int:
    first = words[:3]
    return -1 if not _NO.isdisjoint(first) else 1 if not _YES.isdisjoint(first) else 0


def _denies(words: Sequence[str], opening: int) -> bool:
    rest = words[1:] if words[:1] and words[0] in _NO else words
    negated = sum(word in NEGATORS or word in _DENIALS for word in rest)
    return negated % 2 == 1 or (opening < 0 and not negated)


def _denied(words: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        if word in NEGATORS and not (place == 0 and word == "no"):
            behind = (_stem(one) for one in words[place + 1 :] if one not in _EMPTY and _says(one))
            yield from (found for _, found in zip(range(_SCOPE), behind, strict=False) if found not in SMALL_TALK)
        elif word in _DENIALS:
            yield _stem(word)
