"""Vetoes that read the characters of two questions: signs, quotations, addresses, flags, and what each number counts.

An embedding hardly sees them, and they are often what the question is about: ``<`` and ``>``, ``ls -l`` and ``ls -a``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS
from costguard_core.cache.semantic.rules.phrase import Phrase, is_number, phrase, stem

# Punctuation that says nothing, and signs that have words for them: these speak only where both questions have some.
_SILENT = frozenset(".,;:?!'\"()-_`“”„«»…¿¡。、؟،—*\u00b4\u2018\u2019\u2013\uff0c\uff1f\uff01\ufe0f\u200d")
_SPOKEN = frozenset("-&$€£¥#+/°·•×÷−")
_FACTORIAL = re.compile(r"(?<=[\d)])!(?!=)")
_PERCENT = re.compile(r"%|\bper ?cents?\b", re.IGNORECASE)
_ADDRESS = re.compile(
    r"\w+://[^\s\"'<>]+|\b[\w.-]+@[\w-]+\.\w+|(?<![\w/])~?/\w[^\s\"']*|\b[\w-]+\.[a-z]{2,4}/[^\s\"']*"
)
_FLAG = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*")
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|`([^`]+)`|(?<!\w)'([^']+)'(?!\w)")
_BOUNDS = {
    "more than": "over", "over": "over", "above": "over", "greater than": "over", "exceeding": "over",
    "less than": "under", "under": "under", "below": "under", "fewer than": "under", "at least": "from",
    "minimum": "from", "at most": "up to", "up to": "up to", "maximum": "up to", "no more than": "up to",
}  # fmt: skip
_EXCLUSIVE = frozenset(("only", "solely", "exclusively"))
_QUANTITIES = {"all": "all", "every": "all", "each": "all", "everything": "all", "some": "some", "few": "few"}


def veto(question: str, stored: str) -> str | None:
    """Why an answer to ``stored`` must not be given to ``question``, by their characters; ``None`` if it may."""
    return next((reason for guard in GUARDS if (reason := guard(question, stored))), None)


def signs(a: str, b: str) -> str | None:
    ours, theirs = _signs(a), _signs(b)
    apart_a, apart_b = ours - theirs, theirs - ours
    loud = any(sign not in _SPOKEN for sign in (*apart_a, *apart_b) if not _is_picture(sign))
    if loud or (apart_a and apart_b):
        return f"signs: {_listed(apart_a)} / {_listed(apart_b)}"
    return None


def addresses(a: str, b: str) -> str | None:
    return _sets_apart("addresses", _ADDRESS, a, b)


def flags(a: str, b: str) -> str | None:
    return _sets_apart("flags", _FLAG, a, b)


def quotations(a: str, b: str) -> str | None:
    """What is quoted is meant to the letter; but marks of quotation may be left out."""
    ours, theirs = _quoted(a), _quoted(b)
    if ours and theirs and ours != theirs:
        return f"quotations: {_listed(ours)} / {_listed(theirs)}"
    return None


def counted(a: str, b: str) -> str | None:
    """The same numbers of other things: "2 nights, 3 guests" and "3 nights, 2 guests"."""
    ours, theirs = _counted(phrase(a)), _counted(phrase(b))
    for thing in ours.keys() & theirs.keys():
        if ours[thing] != theirs[thing]:
            return f"how many: {thing} {_listed(ours[thing])} / {_listed(theirs[thing])}"
    return None


def bounds(a: str, b: str) -> str | None:
    """ "Up to 5" and "over 5"."""
    ours, theirs = _bounds(phrase(a)), _bounds(phrase(b))
    for number in ours.keys() & theirs.keys():
        if ours[number] != theirs[number]:
            return f"bounds: {ours[number] or 'just'} {number} / {theirs[number] or 'just'} {number}"
    return None


def shares(a: str, b: str) -> str | None:
    """ "Only", and all against some."""
    ours, theirs = set(phrase(a).words), set(phrase(b).words)
    if _EXCLUSIVE.isdisjoint(ours) != _EXCLUSIVE.isdisjoint(theirs):
        return "only: one of the two says so"
    all_a, all_b = ({_QUANTITIES[word] for word in words if word in _QUANTITIES} for words in (ours, theirs))
    if all_a and all_b and all_a.isdisjoint(all_b):
        return f"how much: {_listed(all_a)} / {_listed(all_b)}"
    return None


GUARDS: tuple[Callable[[str, str], str | None], ...] = (
    signs,
    addresses,
    flags,
    quotations,
    counted,
    bounds,
    shares,
)


@lru_cache(maxsize=4096)
def _signs(text: str) -> Counter[str]:
    bare, words = _ADDRESS.sub(" ", _FLAG.sub(" ", text)), phrase(text).words
    found = Counter(char for char in bare if _is_sign(char))
    found["!"] = len(_FACTORIAL.findall(text))
    found["%"] = len(_PERCENT.findall(bare))
    found["-"] = sum(_is_minus(*three) for three in zip(words, words[1:], words[2:], strict=False))
    found["*"] = sum(char == "*" for char in bare) if "**" not in bare else 2 * bare.count("**")
    return +found


def _is_minus(before: str, sign: str, after: str) -> bool:
    return sign == "-" and is_number(before) and is_number(after)


def _is_sign(char: str) -> bool:
    if char in _SILENT or char == "%" or char.isalnum() or char.isspace():
        return False
    return unicodedata.category(char)[0] in "PS"


def _is_picture(char: str) -> bool:
    return unicodedata.category(char) in ("So", "Sk")


def _sets_apart(what: str, pattern: re.Pattern[str], a: str, b: str) -> str | None:
    ours, theirs = ({found.rstrip(".,;:?!)") for found in pattern.findall(text)} for text in (a, b))
    return None if ours == theirs else f"{what}: {_listed(ours)} / {_listed(theirs)}"


def _quoted(text: str) -> set[str]:
    return {"".join(groups).strip(" .,!?").casefold() for groups in _QUOTED.findall(text)} - {""}


def _counted(p: Phrase) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for number, thing in pairwise(p.words):
        if is_number(number) and thing.isalpha() and thing not in FUNCTION_WORDS:
            found.setdefault(stem(thing), set()).add(number)
    return {thing: frozenset(many) for thing, many in found.items()}


def _bounds(p: Phrase) -> dict[str, str]:
    return dict(_each_bound(p.words))


def _each_bound(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(words):
        if is_number(word):
            before = [" ".join(words[max(0, place - size) : place]) for size in (3, 2, 1)]
            yield word, next((_BOUNDS[text] for text in before if text in _BOUNDS), "")


def _listed(items: object) -> str:
    return ", ".join(sorted(map(str, items))) or "–"  # type: ignore[call-overload]
