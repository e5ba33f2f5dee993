"""Whether one of two questions denies what the other says."""

from __future__ import annotations

import re

from costguard_core.cache.semantic.rules.lexicon import NEGATORS, POLITE_NEGATIONS, PREVENTING
from costguard_core.cache.semantic.rules.phrase import Phrase, stem

_REFUSALS = (("no",), ("nope",))
_AUXILIARIES = frozenset("is are was were do does did has have had can could will would should".split())
_PRONOUNS = frozenset("i you he she it we they".split())
_PREVENTING = frozenset(map(stem, PREVENTING))
_REPLACED = re.compile(r" and not (?=(\w+))")
_INTERJECTION = re.compile(r"\s*(?:no|nope)\s*,", re.IGNORECASE)


def one_negated(a: Phrase, b: Phrase) -> bool:
    """Whether "not" makes a difference between the two, politeness, idioms and interjections aside."""
    if NEGATORS.isdisjoint(a.words) and NEGATORS.isdisjoint(b.words):
        return False
    return _negations(a, b) % 2 != _negations(b, a) % 2 and not (_prevents(a, b) or _prevents(b, a))


def _negations(p: Phrase, other: Phrase) -> int:
    text, beside = f" {' '.join(_without_interjection(p, other))} ", f" {' '.join(other.words)} "
    denies = not NEGATORS.isdisjoint(other.words)
    for idiom in POLITE_NEGATIONS:
        affirmed = idiom.replace("not ", "")
        # "I can't find it" asks as "help me find it" does; but beside "I can find it", it is a negation.
        if idiom.endswith(" you") or affirmed == idiom or denies or f" {affirmed} " not in beside:
            text = text.replace(f" {idiom} ", " ")
    return sum(word in NEGATORS for word in _plainly(text, beside).split())


def _plainly(text: str, beside: str) -> str:
    """Without a "not" that a tag takes back ("it will not hurt, will it"), or that the other says as "instead of"."""
    tag = text.split()[-2:]
    if len(tag) == 2 and tag[0] in _AUXILIARIES and tag[1] in _PRONOUNS:
        text = text.replace(f" {tag[0]} not ", f" {tag[0]} ", 1)
    return _REPLACED.sub(lambda found: " " if f" instead of {found.group(1)} " in beside else found.group(), text)


def _without_interjection(p: Phrase, other: Phrase) -> tuple[str, ...]:
    """ "No, that is wrong" says that it is wrong."""
    interjected = p.words[:1] in _REFUSALS and (
        other.words[:1] in _REFUSALS or not NEGATORS.isdisjoint(p.words[1:]) or _INTERJECTION.match(p.text) is not None
    )
    words = p.words[1:] if interjected else p.words
    repeated = words[-1:] in _REFUSALS and not NEGATORS.isdisjoint(words[:-1])  # "that is not right, no"
    return words[:-1] if repeated else words


def _prevents(p: Phrase, other: Phrase) -> bool:
    """ "Stop syncing" beside "do not sync": the verb says no in the other's place."""
    if not NEGATORS.isdisjoint(p.words):
        return False
    verbs = _PREVENTING | ({"keep", "protect"} if "from" in p.words else frozenset())
    found = verbs & {stem(word) for word in p.words}
    return bool(found) and verbs.isdisjoint(stem(word) for word in other.words)
