"""Vetoes by words of closed classes: what is asked for, possibility and obligation, tense, how much of something.

Questions that differ in nothing but such a word look alike to an embedding, and are answered differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from costguard_core.cache.language import word_lists
from costguard_core.cache.language.english import irregular_forms
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, NEGATORS, PREVENTING
from costguard_core.cache.semantic.rules.negation import one_negated
from costguard_core.cache.semantic.rules.phrase import Phrase, stem
from costguard_core.cache.semantic.rules.phrase import phrase as read

_WORDS = word_lists.table("costguard_core.cache.semantic.rules", "en/frame.txt")
_MAX_PHRASE = 6  # words of the longest entry in the file
_ASKED_FOR = ("when", "where", "why", "whose", "who", "how_often", "how_long", "how_far", "how_many", "how", "what")
_MODALITIES, _TENSES = ("can", "must", "should"), ("past", "future", "present")
_PERIODS = frozenset(_WORDS["periods"])
_STRANDED = frozenset("for of from with about to in on by at into after".split())
_AUXILIARIES = frozenset(
    "is are was were am do does did has have had can could may might must shall should will would".split()
)
# Prepositions at the end that belong to a verb and change nothing: "what number should I log in".
_PARTICLES_OF = frozenset("log sign check pay get go come opt fill plug turn switch move".split())


class Frame(NamedTuple):
    """The closed-class words of a question.

    Attributes:
        asked_for: ``"when"``, ``"why"``, … or ``"how_to"``; ``"whether"`` for a yes or no, ``None`` for key words and
            orders.
        stranded: the preposition at the end that belongs to the question word: "what is it used *for*".
        modality: ``"can"``, ``"must"``, ``"should"``.
        tense: past, present or future, of the first verb; "happened" if it could as well be told of who it was ("who
            wrote it", "who is the author"); ``None`` if it does not show.
    """

    asked_for: str | None
    stranded: str | None
    modality: frozenset[str]
    tense: str | None


def veto(a: Phrase, b: Phrase) -> str | None:
    """Why the answer to one question is not that to the other, whoever asks and however it is worded."""
    return next((reason for guard in GUARDS if (reason := guard(a, b))), None)


def strict_veto(a: Phrase, b: Phrase) -> str | None:
    """:func:`veto`, and differences that sometimes change the answer and sometimes only the wording: for a decision
    that has no other evidence than similarity."""
    return next((reason for guard in (*GUARDS, *STRICT_GUARDS) if (reason := guard(a, b))), None)


def asked_for(a: Phrase, b: Phrase) -> str | None:
    """ "When is it refunded" and "why is it refunded"."""
    ours, theirs = frame_of(a).asked_for, frame_of(b).asked_for
    if ours and theirs and ours != theirs and frozenset((ours, theirs)) not in _COMPATIBLE | _SOMETIMES_COMPATIBLE:
        return f"asked for: {ours} / {theirs}"
    return None


def what_is_asked_for(a: Phrase, b: Phrase) -> str | None:
    """ "What is it" and "what is it used for"; "what is it made of" and "how is it made"."""
    left, right = frame_of(a), frame_of(b)
    ours, theirs = left.asked_for, right.asked_for
    pair = frozenset((ours, theirs))
    if ours and theirs and pair in _SOMETIMES_COMPATIBLE and not _one_measure(a, b):
        return f"asked for: {ours} / {theirs}"
    if ours and theirs and pair in _COMPATIBLE_IN_OTHER_WORDS and _same_content(a, b):
        return f"asked for: {ours} / {theirs}"
    if pair == {"how_to", "whether"} and not _is_request(left if ours == "whether" else right):
        return f"asked for: {ours} / {theirs}"
    if None in pair and _reports(left, right):  # "put bread on my list" and "did I put bread on my list"
        return f"asked for: {ours or 'order'} / {theirs or 'order'}"
    if left.stranded != right.stranded and pair <= {"what", "how", "how_to", "where", "who"}:
        return f"asked for: {ours} {left.stranded or ''} / {theirs} {right.stranded or ''}"
    return None


def _one_measure(a: Phrase, b: Phrase) -> bool:
    """ "How deep is it" and "what is its depth"; "how do they differ" and "what is the difference"."""
    if all("differ" in map(stem, one.words) for one in (a, b)):
        return True
    return any(
        _MEASURES.get(word, "") in other.words
        for one, other in ((a, b), (b, a))
        for before, word in pairwise(one.words)
        if before == "how"
    )


_MEASURES = word_lists.mapping(_WORDS["measures"])


def price(a: Phrase, b: Phrase) -> str | None:
    """ "What does a permit cost" and "how do I get a permit"."""
    return "asked for: a price" if _asks_price_only(a, b) or _asks_price_only(b, a) else None


def _asks_price_only(a: Phrase, b: Phrase) -> bool:
    words = _without_opening(a.words)
    asks = "_".join(words[:3]) in _PRICE_ASKED or (frame_of(a).asked_for in ("what", "how_many") and _words_of_price(a))
    return bool(asks) and frame_of(b).asked_for not in (None, "what", "how_many") and not _words_of_price(b, _MONEY)


def _words_of_price(a: Phrase, more: frozenset[str] = frozenset()) -> frozenset[str]:
    return (_PRICE | more).intersection(a.words)


_PRICE, _MONEY, _PRICE_ASKED = (frozenset(_WORDS[name]) for name in ("price", "money", "price_asked"))


def use(a: Phrase, b: Phrase) -> str | None:
    """ "What can I do with a student card" and "how do I get a student card"."""
    for one, other in ((a, b), (b, a)):
        if _asks_for_use(one) and not _asks_for_use(other) and frame_of(other).asked_for not in (None, "why"):
            return "asked for: what it is for"
    return None


def _asks_for_use(a: Phrase) -> bool:
    words = _without_opening(a.words)
    return frame_of(a).stranded == "for" or any("_".join(words[:size]) in _USE_ASKED for size in (4, 5))


_USE_ASKED = frozenset(_WORDS["use_asked"])


def outside(a: Phrase, b: Phrase) -> str | None:
    """ "Can we marry outside the town hall" and "how do we get married at the town hall"."""
    ours, theirs = _relations(a), _relations(b)
    for one, other, words in ((ours, theirs, b.words), (theirs, ours, a.words)):
        for thing, names in one.items():
            if names & _EXCLUDING and not names & other.get(thing, set()) and thing in map(stem, words):
                return f"relation: {' '.join(sorted(names))} / – {thing}"
    return None


_EXCLUDING = frozenset(("outside", "except"))


def _is_request(frame: Frame) -> bool:
    """ "Can I reset it" asks how it is done; "must I reset it", "did I reset it" and "is it reset" do not."""
    return "can" in frame.modality and frame.tense != "past"


def _reports(a: Frame, b: Frame) -> bool:
    """Whether one of a question and an order asks what was, or when or why something is."""
    asking = a if a.asked_for else b
    return asking.asked_for in ("when", "why") or (asking.asked_for == "whether" and asking.tense == "past")


def _same_content(a: Phrase, b: Phrase) -> bool:
    return set(a.content) == set(b.content)


# What may be asked for in either way.
_COMPATIBLE = frozenset(
    frozenset(pair)
    for pair in (
        *(
            ("what", kind)
            for kind in ("when", "where", "who", "how_long", "how_far", "how_many", "how_to", "how_often")
        ),
        *(
            ("whether", kind)
            for kind in ("what", "how_to", "how_many", "how_long", "where", "who", "how_often", "when")
        ),
        ("how", "how_to"),
        ("how_long", "when"),
        ("how_many", "how_long"),
        ("how_to", "where"),
        ("who", "whose"),
    )
)


_SOMETIMES_COMPATIBLE = frozenset(
    map(frozenset, (("what", "how"), ("whether", "why"), ("what", "why"), ("whether", "how")))
)
# In the same words they ask for different things: "Is it refunded?", "When is it refunded?"
_COMPATIBLE_IN_OTHER_WORDS = frozenset(
    map(
        frozenset,
        (
            ("what", "where"),
            ("what", "who"),
            ("whether", "what"),
            ("whether", "when"),
            ("whether", "where"),
            ("whether", "how_often"),
        ),
    )
)


def modality(a: Phrase, b: Phrase) -> str | None:
    """ "Can you eat" and "must you eat"."""
    left, right = frame_of(a), frame_of(b)
    if "how_to" in (left.asked_for, right.asked_for):  # "how can I" and "how should I"
        return None
    if _measured(left) and _measured(right) and left.modality | right.modality <= {"should", "must"}:
        return None  # "how often should I water it", "how often do I need to water it"
    if left.modality and right.modality and left.modality.isdisjoint(right.modality):
        return f"modality: {' '.join(sorted(left.modality))} / {' '.join(sorted(right.modality))}"
    return None


def _measured(frame: Frame) -> bool:
    return frame.asked_for in ("how_often", "how_long", "how_many")


def tense(a: Phrase, b: Phrase) -> str | None:
    """ "Did it go up" and "will it go up"."""
    left, right = frame_of(a), frame_of(b)
    if left.asked_for != right.asked_for or left.asked_for in ("why", None):
        return None
    if {left.tense, right.tense} in ({"past", "future"}, {"happened", "future"}):
        return f"tense: {left.tense} / {right.tense}"
    return None


def past_and_present(a: Phrase, b: Phrase) -> str | None:
    """ "What was the rate" and "what is the rate"."""
    left, right = frame_of(a), frame_of(b)
    if left.asked_for == right.asked_for in _OF_ONE_TIME and {left.tense, right.tense} == {"past", "present"}:
        return f"tense: {left.tense} / {right.tense}"
    return None


_OF_ONE_TIME = frozenset(("whether", "what", "who", "whose", "when", "where", "how_many"))


def amount(a: Phrase, b: Phrase) -> str | None:
    """ "Most insurers" and "all insurers"; "all pods" and "a pod"."""
    return _other_amount(_amounts(a), _amounts(b))


def share(a: Phrase, b: Phrase) -> str | None:
    """:func:`amount` for sentences that are not worded alike: "also" and "a little" say nothing there, and "a month"
    says what "each month" does."""
    ours, theirs = _amounts(a), _amounts(b)
    return _other_amount(*({kind: found[kind] for kind in found.keys() - _WEAK} for found in (ours, theirs)))


def only_what(a: Phrase, b: Phrase) -> str | None:
    """ "Is only evidence admissible" and "is evidence only admissible"."""
    ours, theirs = _words_after_only(a), _words_after_only(b)
    return f"only: {' '.join(ours)} / {' '.join(theirs)}" if ours and theirs and ours != theirs else None


def _words_after_only(phrase: Phrase) -> list[str]:
    after = (second for first, second in pairwise(_content_of(phrase)) if first == "only")
    return sorted(map(stem, after))


def _content_of(phrase: Phrase) -> Iterator[str]:
    return (word for word in phrase.words if word == "only" or word not in FUNCTION_WORDS)


_WEAK = frozenset(("also", "few", "one"))


def _other_amount(ours: Mapping[str, frozenset[str]], theirs: Mapping[str, frozenset[str]]) -> str | None:
    for some, others in ((ours, theirs), (theirs, ours)):
        if some.get("all", frozenset()) & (others.get("one", frozenset()) - some.get("one", frozenset())):
            return "how much: all / one"
    kinds = ours.keys() - theirs.keys() - {"one"}, theirs.keys() - ours.keys() - {"one"}
    return f"how much: {' '.join(sorted(kinds[0]))} / {' '.join(sorted(kinds[1]))}" if all(kinds) else None


def period(a: Phrase, b: Phrase) -> str | None:
    """ "Last year" and "this year"."""
    ours, theirs = _which_period(a), _which_period(b)
    if ours and theirs and ours.isdisjoint(theirs):
        return f"period: {' '.join(sorted(ours))} / {' '.join(sorted(theirs))}"
    return None


def relation(a: Phrase, b: Phrase) -> str | None:
    """ "Within the trial period" and "after the trial period"."""
    return _other_relation(_relations(a), _relations(b))


def ends(a: Phrase, b: Phrase) -> str | None:
    """ "Shipped from Berlin" and "shipped to Berlin"; "out of my account" and "into my account"."""
    return _other_relation(_ends(a), _ends(b))


def _other_relation(ours: Mapping[str, set[str]], theirs: Mapping[str, set[str]]) -> str | None:
    """A thing that both name and to which something stands in another way; of each: stem of a thing → the ways."""
    for thing in ours.keys() & theirs.keys():
        if ours[thing].isdisjoint(theirs[thing]):
            return f"relation: {' '.join(sorted(ours[thing]))} / {' '.join(sorted(theirs[thing]))} {thing}"
    return None


def how_many_best(a: Phrase, b: Phrase) -> str | None:
    """ "Which month has the highest costs" and "which months have the highest costs"."""
    ours, theirs = _is_plural(a), _is_plural(b)
    best = any(word.endswith("est") or word in ("most", "first", "top") for word in (*a.words, *b.words))
    apart = {*map(stem, a.words)} ^ {*map(stem, b.words)}
    return "one / several" if best and None not in (ours, theirs) and ours != theirs and apart <= _FORMS else None


def _is_plural(phrase: Phrase) -> bool | None:
    """Of the verb at the beginning; ``None`` if it does not show."""
    verb = next((word for word in phrase.words[:_BEGINNING] if word in _SINGULAR or word in _PLURAL), None)
    return None if verb is None else verb in _PLURAL


_BEGINNING = 3  # words: "which months have"
_SINGULAR, _PLURAL = frozenset(("is", "was", "has")), frozenset(("are", "were", "have"))
_FORMS = frozenset(map(stem, _SINGULAR | _PLURAL))


def out(a: Phrase, b: Phrase) -> str | None:
    """ "Rent out a house" and "rent a house"."""
    ours, theirs = _done_out(a), _done_out(b)
    verbs = [verb for verb in ours ^ theirs if verb in map(stem, (b if verb in ours else a).words)]
    return f"out: {verbs[0]}" if verbs else None


def _done_out(phrase: Phrase) -> frozenset[str]:
    return frozenset(stem(verb) for verb, after in pairwise(phrase.words) if after == "out") & _OUT_CHANGES


_OUT_CHANGES = frozenset(map(stem, _WORDS["out_changes"]))


def direction(a: Phrase, b: Phrase) -> str | None:
    """ "Increase my limit" and "a smaller limit"."""
    ours, theirs = _directions(a), _directions(b)
    if len(ours) == len(theirs) == 1 and ours != theirs and not (one_negated(a, b) or _denies_both(a, b)):
        return f"direction: {' '.join(ours)} / {' '.join(theirs)}"
    return None


Guard = Callable[[Phrase, Phrase], str | None]
GUARDS: tuple[Guard, ...] = (asked_for, tense, period, relation, ends)
STRICT_GUARDS: tuple[Guard, ...] = (
    what_is_asked_for,
    price,
    use,
    outside,
    modality,
    past_and_present,
    amount,
    only_what,
    how_many_best,
    out,
    direction,
)


@lru_cache(maxsize=4096)
def frame_of(phrase: Phrase) -> Frame:
    """The closed-class words of a question."""
    words = _without_opening(phrase.words)
    kind = _what_kind(words)
    if "," in phrase.text and (kind is None or (kind in _ASKED_LAST and _is_clause(words))):
        # "At the gym, when do classes start?", "When I miss my connection, who rebooks me?"
        kind = next(filter(None, map(_what_kind, _after_commas(phrase.text))), kind)
    return Frame(kind, _stranded(words, kind), _modality(words), _tense(words))


def _what_kind(words: tuple[str, ...]) -> str | None:
    kind = "how_to" if _starts(words, "how_to") else next((name for name in _ASKED_FOR if _starts(words, name)), None)
    if kind is None and len(words) > 1 and words[-1] in _ASKED_LAST:  # "I have to pay when?"
        kind = words[-1]
    if kind is None and words[:1] and words[0] in _AUXILIARIES:
        kind = "whether"
    return "how" if kind == "how_to" and not _asks_for_action(words) else kind


def _is_clause(words: Sequence[str]) -> bool:
    """ "When I miss my connection"; not "when does it end"."""
    return len(words) > 2 and words[1] not in _AUXILIARIES and words[1] not in _ASKED_FOR


def _after_commas(text: str) -> Iterator[tuple[str, ...]]:
    """The words behind each of the first commas, up to the end."""
    parts = text.split(",", _COMMAS)
    for place in range(1, len(parts)):
        yield _without_opening(read(",".join(parts[place:])).words)


_COMMAS = 3  # what is in front of a question has no more; each is one more text to read


_ASKED_LAST = ("when", "why", "where")


def _asks_for_action(words: Sequence[str]) -> bool:
    """ "How do I", "how to"; not "how does the trial end", "how do bees fly"."""
    if words[:2] in (("how", "do"), ("how", "could"), ("how", "would"), ("how", "can"), ("how", "should")):
        return len(words) > 2 and words[2] in ("i", "you", "we", "one", "people", "u", "someone", "it", "my", "the")
    return True


def _without_opening(words: tuple[str, ...]) -> tuple[str, ...]:
    while True:
        size = next((size for size in range(_MAX_PHRASE, 0, -1) if "_".join(words[:size]) in _OPENINGS), 0)
        if size == 0 and words[:2] in _REQUESTS and len(words) > 2 and words[2] in _REQUESTED:
            size = 2
        # What is left must ask something, or the opening was the question: "do you know", "about me".
        if size == 0 or len(words) <= size:
            return words
        words = words[size:]


_OPENINGS = frozenset(_WORDS["openings"])
_REQUESTS = frozenset((verb, "you") for verb in ("can", "could", "would", "will"))
_REQUESTED = frozenset(_WORDS["requested"])
_STARTS = {name: frozenset(_WORDS[name]) for name in (*_ASKED_FOR, "how_to")}


def _starts(words: Sequence[str], name: str) -> bool:
    return any("_".join(words[:size]) in _STARTS[name] for size in range(1, _MAX_PHRASE + 1))


def _stranded(words: Sequence[str], kind: str | None) -> str | None:
    if kind not in ("what", "where", "who") or len(words) < 3 or words[-1] not in _STRANDED:
        return None
    is_state = words[-2] in ("is", "are", "was", "were")  # "what does it mean when the light is on"
    return None if is_state or stem(words[-2]) in _PARTICLES_OF else words[-1]


def _modality(words: Sequence[str]) -> frozenset[str]:
    joined = f"_{'_'.join(words)}_"
    return frozenset(name for name in _MODALITIES if any(f"_{entry}_" in joined for entry in _WORDS[name]))


def _tense(words: Sequence[str]) -> str | None:
    """Of the first auxiliary; "have you offered" is past, and "who won" happened."""
    if words[:1] == ("who",) and len(words) > 1 and _is_past(words[1]):
        return "happened"
    place = next((place for place, word in enumerate(words) if word in _AUXILIARIES or word == "going"), None)
    if place is None:
        return None
    word = words[place]
    if word in ("has", "have") and "got" in words[place + 1 : place + 3]:  # "have you got" is "do you have"
        return "present"
    if word in ("has", "have") and (place == 0 or any(map(_is_participle, words[place + 1 : place + _TO_PARTICIPLE]))):
        return "past"
    if word == "going" or tuple(words[place + 1 : place + 4])[-2:] == ("going", "to"):
        return "future"
    return next((name for name in _TENSES if word in _WORDS[name]), None)


def _is_past(verb: str) -> bool:
    return verb.endswith("ed") or (verb in irregular_forms() and not verb.endswith("s"))


_TO_PARTICIPLE = 6  # words from "have" on within which its participle stands: "what have the largest banks changed"


def _is_participle(word: str) -> bool:
    return word.endswith("ed") or word in (
        "been",
        "had",
        "done",
        "gone",
        "got",
        "made",
        "taken",
        "paid",
        "sent",
        "seen",
    )


def _amounts(phrase: Phrase) -> dict[str, frozenset[str]]:
    """Kind of amount → stems of the words behind it that it may count."""
    found: dict[str, set[str]] = {}
    for place, word in enumerate(phrase.words):
        for kind in _AMOUNTS.get(word, ()):
            found.setdefault(kind, set()).update(_counted(phrase.words[place + 1 :]))
    return {kind: frozenset(stems) for kind, stems in found.items()}


_AMOUNTS: dict[str, list[str]] = {}
for _kind in ("all", "most", "many", "some", "few", "only", "also", "half", "one"):
    for _word in _WORDS[_kind]:
        _AMOUNTS.setdefault(_word, []).append(_kind)


def _counted(words: Sequence[str]) -> Iterator[str]:
    following = (word for word in words[:4] if word not in FUNCTION_WORDS)
    yield from (stem(word) for _, word in zip(range(2), following, strict=False))


def _which_period(phrase: Phrase) -> frozenset[str]:
    return frozenset(
        name
        for word, after in pairwise(phrase.words)
        if after in _PERIODS
        for name in ("last", "this", "next")
        if word in _WORDS[name]
    )


_RELATIONS = ("before", "after", "within", "until", "since", "without", "outside", "over", "under", "except")
_RELATION_OF = {entry: name for name in _RELATIONS for entry in _WORDS[name]}
_DIRECTION_OF = {stem(word): name for name in ("up", "down") for word in _WORDS[name]}


def _relations(phrase: Phrase) -> dict[str, set[str]]:
    """Stem of a thing → how something stands to it, from the preposition before it."""
    found: dict[str, set[str]] = {}
    words = phrase.words
    for place in range(len(words)):
        name = _RELATION_OF.get("_".join(words[place : place + 2])) or _RELATION_OF.get(words[place])
        if name is not None:
            for thing in _counted(words[place + 1 :]):
                found.setdefault(thing, set()).add(name)
    return found


_ENDS = {"from": "from", "to": "to", "into": "to", "onto": "to"}
_DETERMINERS = frozenset(("the", "a", "an", "my", "our", "your", "this", "that"))


def _ends(phrase: Phrase) -> dict[str, set[str]]:
    """Stem of a thing → whether something goes from it or to it."""
    found: dict[str, set[str]] = {}
    for place, word in enumerate(phrase.words):
        start = word == "of" and phrase.words[max(0, place - 1) : place] == ("out",)
        if start or word in _ENDS:
            rest = phrase.words[place + 1 : place + 3]
            thing = rest[1] if len(rest) > 1 and rest[0] in _DETERMINERS else rest[0] if rest else ""
            if thing and thing not in FUNCTION_WORDS:
                found.setdefault(stem(thing), set()).add("from" if start else _ENDS[word])
    return found


def _directions(phrase: Phrase) -> set[str]:
    return {name for word in phrase.words if (name := _DIRECTION_OF.get(stem(word))) is not None}


def _denies_both(a: Phrase, b: Phrase) -> bool:
    """ "Stop it from going down" and "keep it from getting worse" are about no direction of their own."""
    return any(not _NEGATING.isdisjoint(map(stem, phrase.words)) for phrase in (a, b))


_NEGATING = frozenset(map(stem, (*NEGATORS, *PREVENTING, "keep", "protect")))
