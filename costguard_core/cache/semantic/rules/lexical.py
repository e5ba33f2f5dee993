"""Vetoes: differences between two questions that change the answer although the questions look alike to an embedding.

Each guard reads two phrases and knows one kind of difference. A veto is a reason, for people to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import dropwhile, pairwise, product, takewhile

from costguard_core.cache.language.english import base_forms
from costguard_core.cache.semantic.rules import quantities
from costguard_core.cache.semantic.rules.lexicon import (
    FUNCTION_WORDS,
    KINDS,
    NEGATING_PREFIXES,
    NEGATORS,
    NOT_NEGATED,
    OPPOSITE_PREFIXES,
    OPPOSITES,
    POSSESSIVES,
    SYNONYMS,
    UNITS,
    WORDNET_OPPOSITES,
)
from costguard_core.cache.semantic.rules.negation import one_negated
from costguard_core.cache.semantic.rules.phrase import Phrase, is_number, phrase, stem
from costguard_core.cache.semantic.rules.quantities import Quantity
from costguard_core.cache.semantic.rules.substitution import same_word

Guard = Callable[[Phrase, Phrase], str | None]

_LONGEST_ARGUMENT = 4
_PREFIXES = sorted({prefix for pair in OPPOSITE_PREFIXES for prefix in pair}, key=len, reverse=True)


def veto(question: str, stored: str) -> str | None:
    """Why an answer to ``stored`` must not be given to ``question``; ``None`` if nothing speaks against it."""
    asked, known = phrase(question), phrase(stored)
    return next((reason for guard in GUARDS if (reason := guard(asked, known))), None)


def numbers(a: Phrase, b: Phrase) -> str | None:
    only_a, only_b = quantities.difference(a, b)
    if not (only_a or only_b) or _only_one(a, b) or _only_one(b, a):
        return None
    written = [f"{n.number} {n.unit}" for n in (*only_a, *only_b) if isinstance(n, Quantity)]
    if len(written) == len(only_a) + len(only_b) == 2 and only_a and written[0].split()[0] == written[1].split()[0]:
        return f"units: {written[0]} / {written[1]}"
    return f"numbers: {_listed(a.numbers)} / {_listed(b.numbers)}"


def negation(a: Phrase, b: Phrase) -> str | None:
    if not one_negated(a, b):
        return None
    opposed = _opposed(a, b)
    if (opposed and NEGATORS.isdisjoint(opposed)) or _contrary(a, b) or _contrary(b, a):
        return None  # "not right" is "wrong"
    return "negation: one of the two says not"


def _contrary(a: Phrase, b: Phrase) -> bool:
    """ "It is not true, it is false" beside "it is false": what is denied is the opposite of what the other says."""
    denied = {after for word, after in pairwise(a.words) if word == "not"} - set(b.words)
    return any(are_opposites(*pair) for pair in product(denied, b.words))


def opposites(a: Phrase, b: Phrase) -> str | None:
    found = _opposed(a, b)
    if found is None or (one_negated(a, b) and NEGATORS.isdisjoint(found)):
        return None
    return f"opposites: {found[0]} / {found[1]}"


def kinds(a: Phrase, b: Phrase) -> str | None:
    equal = quantities.units_of_equal_quantities(a, b)
    only_a, only_b = _members(a, equal), _members(b, equal)
    for kind in only_a.keys() & only_b.keys():
        if only_a[kind] - only_b[kind] and only_b[kind] - only_a[kind]:
            return f"another {kind}: {_listed(only_a[kind])} / {_listed(only_b[kind])}"
    return None


def names(a: Phrase, b: Phrase) -> str | None:
    """A name in one that the other does not mention at all, where both were written with capitals."""
    only_a, only_b = a.names - _spellings(b), b.names - _spellings(a)
    if (only_a and only_b) or (only_a and b.names) or (only_b and a.names):
        return f"names: {_listed(only_a) or '–'} / {_listed(only_b) or '–'}"
    return None


def order(a: Phrase, b: Phrase) -> str | None:
    """Two arguments that changed places: "USD to EUR", "does Ann owe Bob"."""
    if _names_the_same_two(a.words, b.words):
        return None
    found = _swapped(a.words, b.words) or _turned(a, b) or _roles(a, b)
    return None if found is None else f"order: {found}"


def _names_the_same_two(a: Sequence[str], b: Sequence[str]) -> bool:
    """ "The distance between Rome and Naples", "between Naples and Rome"."""
    if "between" not in a or "between" not in b:
        return False
    start, other = a.index("between"), b.index("between")
    return a[:start] == b[:other] and "and" in a[start:] and sorted(a[start:]) == sorted(b[other:])


def arguments(a: Phrase, b: Phrase) -> str | None:
    """The same sentence about something else: only what follows a preposition differs ("for Ann", "for Bob")."""
    found = _replaced(a.words, b.words)
    if found is None or found[0] == 0:
        return None
    start, ours, theirs = found
    before = a.words[start - 1] if a.words[start - 1] not in _DETERMINERS else a.words[max(0, start - 2)]
    after = a.words[start + len(ours) : start + len(ours) + 1]
    if before == "to" and not _DETERMINERS.isdisjoint(after):  # a verb: "to use a timer", "to set a timer"
        return None
    if before not in _PREPOSITIONS or not all(map(_is_name_like, (ours, theirs))) or _one_spelling(ours, theirs):
        return None
    if len(ours) == len(theirs) == 1 and same_word(ours[0], theirs[0]):
        return None
    return f"about something else: {' '.join(ours)} / {' '.join(theirs)}"


def possessives(a: Phrase, b: Phrase) -> str | None:
    mine = {POSSESSIVES[word] for word in a.words if word in POSSESSIVES}
    yours = {POSSESSIVES[word] for word in b.words if word in POSSESSIVES}
    if mine and yours and mine.isdisjoint(yours) and not (_speaks_of(a, mine) and _speaks_of(b, yours)):
        return f"whose: {_listed(mine)} / {_listed(yours)}"
    return None


def _speaks_of(p: Phrase, owners: set[str]) -> bool:
    """ "How do I change my tyres" and "how do you change your tyres": the owner is whoever does it."""
    asked = {("can", "you"), ("could", "you"), ("would", "you"), ("will", "you"), ("tell", "you"), ("thank", "you")}
    named = (pair for pair in pairwise(("", *p.words)) if pair not in asked)
    return {_SUBJECTS[word] for _, word in named if word in _SUBJECTS} >= owners


_SUBJECTS = {"i": "me", "you": "you", "we": "me", "they": "them"}


def units(a: Phrase, b: Phrase) -> str | None:
    """The same number of something else: "5 mg", "5 ml"."""
    ours, theirs = dict(_counted(a)), dict(_counted(b))
    other = next((n for n in ours if n in theirs and ours[n] != theirs[n]), None)
    return None if other is None else f"units: {other} {ours[other]} / {other} {theirs[other]}"


def codes(a: Phrase, b: Phrase) -> str | None:
    """Letters beside digits, as in "bus 12a" and "room B12"."""
    ours, theirs = _codes(a), _codes(b)
    if ours and theirs and ours != theirs:
        return f"codes, numbers in names: {_listed(ours)} / {_listed(theirs)}"
    return None


def _counted(p: Phrase) -> Iterator[tuple[str, str]]:
    for number, unit in pairwise(p.words):
        if is_number(number) and _unit(unit) is not None:
            yield number, SYNONYMS.get(unit, stem(unit))


def _unit(word: str) -> str | None:
    kind = KINDS.get(word) or KINDS.get(word.removesuffix("s"))
    return kind if kind in _UNITS else None


def _codes(p: Phrase) -> frozenset[str]:
    named = (word for word in p.words if any(map(str.isdecimal, word)) and any(map(str.isalpha, word)))
    return frozenset(_PLURAL_CODE.sub("", word) for word in named)  # several W2s are of the kind W2


_UNITS = frozenset("span currency length weight volume temperature data period".split())
_PLURAL_CODE = re.compile(r"(?<=^[a-z]\d)s$")

GUARDS: tuple[Guard, ...] = (
    numbers,
    codes,
    negation,
    opposites,
    kinds,
    order,
    units,
    names,
    arguments,
    possessives,
)


def are_opposites(a: str, b: str) -> bool:
    """Whether two words mean the contrary: listed pairs, and pairs by prefix or ending ("un-", "-less/-ful",
    "-er/-ee")."""
    if frozenset((a, b)) in OPPOSITES or any(
        frozenset(pair) in _STEMMED for pair in product(_base_forms(a), _base_forms(b))
    ):
        return True
    if any(frozenset(pair) in WORDNET_OPPOSITES for pair in product(base_forms(a), base_forms(b))):
        return True
    short, long = sorted((a, b), key=len)
    if len(short) >= 4 and long.endswith(short) and long[: -len(short)] in NEGATING_PREFIXES:
        return long not in NOT_NEGATED
    if (a.endswith("less") and b.endswith("ful")) or (a.endswith("ful") and b.endswith("less")):
        return a.removesuffix("less").removesuffix("ful") == b.removesuffix("less").removesuffix("ful")
    if {_one_who(a), _one_who(b)} == {"does", "undergoes"}:  # "interviewer" and "interviewee"
        return a.removesuffix("s")[:-2] == b.removesuffix("s")[:-2]
    # After their prefixes both are the same three letters or more; few words that differ end so.
    return a[-3:] == b[-3:] and any(_prefixed_apart(a, b, one, other) for one, other in _PREFIX_PAIRS)


def _one_who(word: str) -> str | None:
    """By the ending, whether a word names who does something ("payer", "lessor") or whom it is done to ("payee")."""
    word = word.removesuffix("s")
    ending = word[-2:] if len(word) >= 5 else ""  # neither a "fee" nor "for"
    return "undergoes" if ending == "ee" else "does" if ending in ("er", "or") else None


_STEMMED = frozenset(frozenset(stem(word) for word in pair) for pair in OPPOSITES if len({stem(w) for w in pair}) == 2)
_PREFIX_PAIRS = tuple(tuple(sorted(pair)) for pair in OPPOSITE_PREFIXES)


@lru_cache(maxsize=16384)
def _base_forms(word: str) -> tuple[str, ...]:
    """Its stem, and what it compares or how it is done: "cheapest" is about "cheap", "quickly" about "quick"."""
    forms = {stem(word)}
    for ending in ("est", "er", "ly", "ier", "iest", "ily"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word.removesuffix(ending) + ("y" if ending.startswith("i") else "")
            forms |= {base, stem(base), base[:-1] if base[-1] == base[-2] else base}
    return tuple(forms)


def _prefixed_apart(a: str, b: str, one: str, other: str) -> bool:
    for first, second in ((one, other), (other, one)):
        if a.startswith(first) and b.startswith(second) and len(a) - len(first) >= 3:
            return a[len(first) :] == b[len(second) :]
    return False


def _only_one(a: Phrase, b: Phrase) -> bool:
    """ "One ticket" is "a ticket"; "one cookie" beside "cookies" is any; "Capital One" is a name in both."""
    if "1" not in a.words or "first" in a.text.lower() or a.numbers != tuple(sorted((*b.numbers, _ONE))):
        return False
    counted = {stem(after) for number, after in pairwise(a.words) if number == "1"}
    alike = "one" in b.words or not counted.isdisjoint(b.content)
    return (alike and "one" in a.text.lower().split()) or not (b.numbers or _ARTICLES.isdisjoint(b.words))


_ONE = Decimal(1)
_ARTICLES = frozenset(("a", "an"))
_DETERMINERS = frozenset(("the", "a", "an", "my", "this", "our"))
_PREPOSITIONS = frozenset("to from in of for about with at between than near into as by versus vs and or".split())
_ASKED = frozenset("what which who where when why how it there".split())
_LIKE_SPELLING = 0.8


def _replaced(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[int, tuple[str, ...], tuple[str, ...]] | None:
    """Where, and by what, a short part of ``a`` is replaced in ``b``; nothing if they differ otherwise."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest = min(len(a), len(b)) - start
    end = next((i for i in range(rest) if a[-1 - i] != b[-1 - i]), rest)
    ours, theirs = a[start : len(a) - end], b[start : len(b) - end]
    if not (1 <= len(ours) <= _LONGEST_ARGUMENT and 1 <= len(theirs) <= _LONGEST_ARGUMENT):
        return None
    return start, ours, theirs


def _is_name_like(words: tuple[str, ...]) -> bool:
    return not any(word in FUNCTION_WORDS for word in words)


def _one_spelling(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """A misspelling, an inflection, or a word more: "playlist" / "play list"."""
    if {stem(word) for word in a} & {stem(word) for word in b}:
        return True
    return SequenceMatcher(None, "".join(a), "".join(b)).ratio() >= _LIKE_SPELLING


def _opposed(a: Phrase, b: Phrase) -> tuple[str, str] | None:
    only_a, only_b = _apart(a, b)
    pairs = product(sorted(only_a), sorted(only_b))
    return next((pair for pair in pairs if are_opposites(*pair) and _play_one_part(pair, a, b)), None)


def _play_one_part(pair: tuple[str, str], a: Phrase, b: Phrase) -> bool:
    """ "In" and "out" are opposites after the same word ("log in", "log out"), "from" and "until" before the same;
    elsewhere they are mere prepositions."""
    if set(pair) == {"in", "out"}:
        return not _beside(a, pair[0], -1).isdisjoint(_beside(b, pair[1], -1))
    if "keep" in pair and "from" in (a if pair[0] == "keep" else b).words:  # "keep it from falling"
        return False
    if set(pair) <= {"from", "since", "until", "till", "into"}:
        return not _beside(a, pair[0], 1).isdisjoint(_beside(b, pair[1], 1))
    return True


def _beside(p: Phrase, word: str, step: int) -> set[str]:
    padded = ("", *p.words, "")
    return {stem(padded[place + step]) for place, found in enumerate(padded) if found == word}


def _apart(a: Phrase, b: Phrase) -> tuple[set[str], set[str]]:
    """The words of each whose stem the other has not: who adds and removes has also "added" and "removed"."""
    stems_a, stems_b = {stem(word) for word in a.words}, {stem(word) for word in b.words}
    return {w for w in a.words if stem(w) not in stems_b}, {w for w in b.words if stem(w) not in stems_a}


# Spellings of one unit: "tablespoon", "tbsp".
_UNIT_NAMES = {word: f"{dimension} {factor}" for word, (dimension, factor) in UNITS.items()}


def _members(p: Phrase, ignored: frozenset[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for word in (word for word in p.words if word not in ignored):
        kind = KINDS.get(word) or KINDS.get(word.removesuffix("s"))
        if kind:
            found.setdefault(kind, set()).add(_UNIT_NAMES.get(word) or SYNONYMS.get(word, stem(word)))
    return {kind: frozenset(members) for kind, members in found.items()}


def _spellings(p: Phrase) -> frozenset[str]:
    return frozenset(p.words) | {stem(word) for word in p.words} | {f"{word}s" for word in p.words}


def _swapped(a: tuple[str, ...], b: tuple[str, ...]) -> str | None:
    """``P X M Y S`` against ``P Y M X S``: the same words with two parts exchanged."""
    if len(a) != len(b) or a == b or sorted(a) != sorted(b):
        return None
    start = next(i for i in range(len(a)) if a[i] != b[i])
    end = next(i for i in range(len(a), 0, -1) if a[i - 1] != b[i - 1])
    left, right = a[start:end], b[start:end]
    for x, y in product(range(1, _LONGEST_ARGUMENT + 1), repeat=2):
        if x + y >= len(left):  # without anything between them, it is one phrase turned: "lights off", "off lights"
            continue
        if not _ASKED.isdisjoint((*left[:x], *right[:y])):  # "what is X" and "X is what"
            continue
        if left[x:-y] in _ALTERNATIVES or (left[x:-y] == ("is",) and not _DEFINITE.isdisjoint((left[0], right[0]))):
            continue  # "tea or coffee" is "coffee or tea", "Ann is my name" is "my name is Ann"
        if left[:x] == right[-x:] and left[-y:] == right[:y] and left[x:-y] == right[y:-x]:
            return f"{' '.join(left[:x])} / {' '.join(right[:y])}"
    return None


_DEFINITE = frozenset(("the", "my", "our"))
_ALTERNATIVES = (("or",), ("or", "a"), ("or", "an"), ("or", "the"))
_DIRECTED = frozenset(
    "to from than over into versus vs before after by minus divided per against under owe owes".split()
)


def _turned(a: Phrase, b: Phrase) -> str | None:
    """``X to Y`` in one and ``Y to X`` in the other, whatever stands around them."""
    for link, left, right in _frames(a):
        for other, there, here in _frames(b):
            crossed = (left <= here and right <= there) or (here <= left and there <= right)
            if link == other and crossed and not (left & there or right & here):
                return f"{' '.join(sorted(left))} {link} {' '.join(sorted(right))}, and turned"
    from_a, from_b = _ends(a), _ends(b)
    if all((*from_a, *from_b)) and from_a == from_b[::-1] and from_a[0] != from_a[1]:
        return f"from {from_a[0]} to {from_a[1]} / from {from_b[0]} to {from_b[1]}"
    for ours, theirs in ((from_a, from_b), (from_b, from_a)):
        if ours[0] and ours[0] == theirs[1] != ours[1] is not None:  # the end of the one is the start of the other
            return f"from {ours[0]} / to {theirs[1]}"
    return None


def _roles(a: Phrase, b: Phrase) -> str | None:
    """ "Who follows Ann" and "who does Ann follow"."""
    asked = [p.words[i : i + 3] for p in (a, b) for i, word in enumerate(p.words) if word == "who"]
    if len(asked) != 2 or min(map(len, asked)) < 3 or sorted(a.content) != sorted(b.content):
        return None
    helped = [words[1] in _HELPING and words[2] not in FUNCTION_WORDS for words in asked]
    acting = [words[1] not in FUNCTION_WORDS for words in asked]
    crossed = (helped[0] and acting[1]) or (helped[1] and acting[0])
    return f"{' '.join(asked[0])} / {' '.join(asked[1])}" if crossed else None


_HELPING = frozenset(("do", "does", "did"))


def _frames(p: Phrase) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """A directed word, and the stems of the two content words before and behind it."""
    for place, word in enumerate(p.words):
        if word in _DIRECTED:
            left = list(takewhile(_is_content, reversed(p.words[:place])))[:_SPAN]
            behind = dropwhile(lambda one: one in _DETERMINERS or one in POSSESSIVES, p.words[place + 1 :])
            right = list(takewhile(_is_content, behind))[:_SPAN]
            if left and right:
                yield word, frozenset(map(stem, left)), frozenset(map(stem, right))


def _is_content(word: str) -> bool:
    return word not in FUNCTION_WORDS


_SPAN = 2  # words of what a directed word stands between


def _ends(p: Phrase) -> tuple[str | None, str | None]:
    """What follows the last "from" and the last "to"."""
    found: dict[str, str | None] = {}
    for place, word in enumerate(p.words):
        if word in ("from", "to"):
            found[word] = next((stem(w) for w in p.words[place + 1 :] if w not in FUNCTION_WORDS), None)
    return found.get("from"), found.get("to")


def _listed(items: object) -> str:
    return ", ".join(str(item) for item in sorted(items))  # type: ignore[call-overload]
