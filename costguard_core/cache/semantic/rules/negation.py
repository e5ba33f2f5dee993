"""Whether one of two questions denies what the other says."""

from __future__ import annotations

import re
from itertools import pairwise

from costguard_core.cache.semantic.rules.lexicon import NEGATORS, POLITE_NEGATIONS, PREVENTING
from costguard_core.cache.semantic.rules.phrase import Phrase, stem

_REFUSALS = (("no",), ("nope",))
_AUXILIARIES = frozenset("is are was were do does did has have had can could will would should".split())
_PRONOUNS = frozenset("i you he she it we they".split())
_PREVENTING = frozenset(map(stem, PREVENTING))
# "Fails to qualify" does not qualify.
_FAILS_TO = frozenset((verb, "to") for verb in "fail fails failed failing refuse refuses refused forget".split())
_KEEP = "keep"
_REPLACED = re.compile(r" and not (?=(\w+))")
_INTERJECTION = re.compile(r"\s*(?:no|nope)\s*,", re.IGNORECASE)


def one_negated(a: Phrase, b: Phrase) -> bool:
    """Whether "not" makes a difference between the two, politeness, idioms and interjections aside."""
    kept = [_keeps_from(p) for p in (a, b) if _KEEP in map(stem, p.words)]
    if len(kept) == 2 and kept[0] != kept[1]:
        return True
    if _never_denies(a) and _never_denies(b):
        return False
    return _negations(a, b) % 2 != _negations(b, a) % 2 and not (_prevents(a, b) or _prevents(b, a))


def _never_denies(p: Phrase) -> bool:
    return NEGATORS.isdisjoint(p.words) and not any(pair in _FAILS_TO for pair in pairwise(p.words))


def _keeps_from(p: Phrase) -> bool:
    """ "Keep the pod from restarting" is the contrary of "keep the pod restarting"."""
    place = next((place for place, word in enumerate(p.words) if stem(word) == _KEEP), None)
    after = () if place is None else p.words[place + 1 : place + 6]
    return "from" in after and any(word.endswith("ing") for word in after[after.index("from") :])


def _negations(p: Phrase, other: Phrase) -> int:
    text, beside = f" {' '.join(_without_interjection(p, other))} ", f" {' '.join(other.words)} "
    denies = not NEGATORS.isdisjoint(other.words)
    for idiom in POLITE_NEGATIONS:
        affirmed = idiom.replace("not ", "")
        # "I can't find it" asks as "help me find it" does; but beside "I can find it", it is a negation.
        if idiom.endswith(" you") or affirmed == idiom or denies or f" {affirmed} " not in beside:
            text = text.replace(f" {idiom} ", " ")
    words = _plainly(text, beside).split()
    return sum(word in NEGATORS for word in words) + sum(pair in _FAILS_TO for pair in pairwise(words))


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
