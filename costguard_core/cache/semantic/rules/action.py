"""What a question asks to do: "submit" in "how do I submit my meter reading"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

from costguard_core.cache.language import word_lists
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS
from costguard_core.cache.semantic.rules.phrase import phrase, stem
from costguard_core.cache.semantic.rules.substitution import same_word

_PACKAGE = "costguard_core.cache.semantic.rules"
_WORDS = word_lists.table(_PACKAGE, "en/actions.txt")
_AUXILIARIES, _SUBJECTS, _BEFORE_TO, _BETWEEN, _PARTICLES = (
    frozenset(_WORDS[name]) for name in ("auxiliaries", "subjects", "before_to", "between", "particles")
)
_WIDE = frozenset(map(stem, _WORDS["wide"]))
_PHRASAL = {verb: frozenset(same) for verb, same in word_lists.table(_PACKAGE, "en/phrasal_verbs.txt").items()}
_LONGEST_OBJECT = 3  # words between a verb and its particle: "give my old room up"; a choice


def is_asked(question: str, wordings: Sequence[str]) -> bool:
    """Whether one of the wordings asks to do what the question asks to do, or says it with a noun ("cancellation").

    ``True`` also if the question does not say what is to be done.
    """
    asked = actions(question)
    if not asked:
        return True
    theirs = {verb for wording in wordings for verb in actions(wording) or phrase(wording).words}
    return any(_is_same(ours, other) for ours, other in product(asked, theirs))


@lru_cache(maxsize=4096)
def actions(text: str) -> tuple[str, ...]:
    """The verbs of a question that say what is to be done, without those of wide meaning ("get", "do"). One with a
    particle is one verb: "give_up"."""
    return tuple(dict.fromkeys(verb for verb in _verbs(phrase(text).words) if stem(verb) not in _WIDE))


def _verbs(words: Sequence[str]) -> Iterator[str]:
    """What follows an auxiliary and its subject ("how do I *submit*"), or a "to" that an infinitive follows."""
    for place in range(1, len(words) - 1):
        before, here = words[place - 1], words[place]
        if (before in _AUXILIARIES and here in _SUBJECTS) or (here == "to" and before in _BEFORE_TO):
            rest = [word for word in words[place + 1 :] if word not in _BETWEEN]
            verb = _with_particle(rest) if rest else ""
            if verb and verb not in FUNCTION_WORDS:
                yield verb


def _with_particle(rest: Sequence[str]) -> str:
    """The verb that this begins with, and its particle: next to it, or last ("pick my ticket up")."""
    found = [f"{rest[0]}_{rest[1]}"] if rest[1:2] and rest[1] in _PARTICLES else []
    if 2 < len(rest) <= _LONGEST_OBJECT + 2 and rest[-1] in _PARTICLES:
        found.append(f"{rest[0]}_{rest[-1]}")
    return next((verb for verb in found if verb in _PHRASAL), rest[0])


def _is_same(a: str, b: str) -> bool:
    if "_" in a or "_" in b:
        return a == b or b in _PHRASAL.get(a, ()) or a in _PHRASAL.get(b, ())
    return same_word(a, b)
