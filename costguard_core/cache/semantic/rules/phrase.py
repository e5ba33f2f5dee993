"""A text as words: contractions undone, numbers read, endings taken off. Made once per text and kept."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from threading import Lock
from typing import Any

from costguard_core.cache.language.english import corrected, irregular_forms
from costguard_core.cache.semantic.rules.lexicon import (
    CONTRACTED_ENDINGS,
    CONTRACTIONS,
    FUNCTION_WORDS,
    KINDS,
    MULTIPLES,
    NEGATORS,
    NEUTRAL,
    ORDINALS,
    ROMAN,
    SCALES,
    SMALL_NUMBERS,
    TENS,
    UNITS,
)
from costguard_core.util.forks import renew_locks

# A name with a digit in it is one word: EC2, IPv6, 2FA. The unit of a number was split off before.
_TOKEN = re.compile(
    r"[^\W\d_]+\d[^\W_]*|\d+[^\W\d_][^\W_]*|\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*"
    r"|[%$€£¥+*/=<>^#]|(?<=\s)-(?=[\s\d])|(?<=\d)-(?=\d)"
)
_NUMBER = re.compile(r"-?\d[\d.,:]*")
_INITIALS = re.compile(r"\b(?:[A-Za-z]\.)+[A-Za-z]\b\.?")
_NAME = re.compile(r"(?<=[^\s.?!:;\n\"'(*-] )[A-Z][\w']*|(?<=[a-z0-9],\s)[A-Z][\w']*")
_SUFFIXED = re.compile(
    rf"(?<!\w)(\d[\d.,]*)(st|nd|rd|th|k|m|bn|am|pm|s|x|{'|'.join(sorted(UNITS, key=len, reverse=True))})\b",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?<!\S)[-−](?=\d)")
_ENDING = re.compile("(" + "|".join(CONTRACTED_ENDINGS) + r"|'s)$")
_SCALE_LETTERS = {"k": 1_000, "m": 1_000_000, "bn": 1_000_000_000}
# Often "one" is not a number: "that one", "the next one".
_PRONOUN_ONE_AFTER = frozenset(ORDINALS) | frozenset(
    "this that which no any every each the another some does do can should would could how".split()
    + "next last other right wrong good new".split()
)
_MAX_CHARACTERS = 2_000  # a question has fewer; a choice


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words of a text.

    Attributes:
        text: as it was given.
        words: lower case, contractions undone, numbers in digits, in order.
        content: stems of the words with meaning, in order.
        numbers: sorted.
        names: words written with a capital inside a sentence, lower case.
    """

    text: str
    words: tuple[str, ...]
    content: tuple[str, ...]
    numbers: tuple[Decimal, ...]
    names: frozenset[str]


@lru_cache(maxsize=4096)
def phrase(text: str) -> Phrase:
    """The words of a text; of a very long one, of its beginning."""
    plain = _INITIALS.sub(lambda found: found.group().replace(".", ""), _normalised(text[:_MAX_CHARACTERS]))
    plain = _MINUS.sub("minus ", plain.replace("’", "'"))
    raw = _TOKEN.findall(_SUFFIXED.sub(r"\1 \2", plain))
    spelled = (_spelled(token, inside=place > 0) for place, token in enumerate(raw))
    words = tuple(_with_numbers([word for token in spelled for word in _expanded(token)]))
    numbers = tuple(sorted(Decimal(word) for word in words if is_number(word)))
    content = tuple(stem(word) for word in words if word not in FUNCTION_WORDS)
    return Phrase(text, words, content, numbers, _names(plain))


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """The word without its ending, so that "refunds" meets "refund", and "took" meets "take": Snowball's English
    stemmer, after a list of irregular forms.

    https://snowballstem.org/algorithms/english/stemmer.html
    """
    word = irregular_forms().get(word, word)
    if len(word) <= 3 or not word.isalpha():
        return word
    with _stemming:
        return str(_stemmer().stemWord(word))


_stemming = Lock()  # the stemmer keeps the word that it works on in itself: two threads would get each other's stems
renew_locks(sys.modules[__name__], "_stemming")


@cache
def _stemmer() -> Any:
    import snowballstemmer  # type: ignore[import-untyped]

    return snowballstemmer.stemmer("english")


def same_wording(a: str, b: str) -> bool:
    """Whether two texts differ in white space and closing punctuation only."""
    if a == b:
        return True
    left, right = _without_closing_marks(a), _without_closing_marks(b)
    return left == right and left != ""


@lru_cache(maxsize=4096)
def _without_closing_marks(text: str) -> str:
    """In code and quotations white space matters; "5!" is not 5."""
    plain = _normalised(text).strip()
    closed = _CLOSING.sub("", plain if _LITERAL.search(plain) else " ".join(plain.split()))
    return closed.rstrip()


_LITERAL = re.compile(r"[\"`“”„«»\n]|(?<!\w)'|'(?!\w)")
_CLOSING = re.compile(r"(?<=[^\W\d])[\s.?!]+$|[\s.?]+$")


def _normalised(text: str) -> str:
    """One spelling for one character; but 5² is not 52, and 1½ is not 11/2."""
    raised = _RAISED.sub(lambda found: "^" + unicodedata.normalize("NFKC", found.group()), text)
    return unicodedata.normalize("NFKC", _FRACTION.sub(r" \g<0>", raised))


_RAISED = re.compile("[²³¹⁰⁴-⁹⁺⁻]+")
_FRACTION = re.compile("(?<=\\d)[¼-¾⅐-⅞]")


def _spelled(token: str, *, inside: bool) -> str:
    """Lower case, a typing error corrected; a name inside a sentence is none."""
    word = token.lower()
    return word if word in NEUTRAL or (inside and not token.islower()) else corrected(word, NEGATORS)


def _expanded(token: str) -> Iterator[str]:
    if token in CONTRACTIONS:
        yield from CONTRACTIONS[token].split()
        return
    found = _ENDING.search(token) if "'" in token else None
    if found is None:
        yield token.replace("'", "")
        return
    yield token[: found.start()]
    if found.group() == "'s":
        if token[:-2] in ("what", "where", "who", "how", "that", "there", "it", "he", "she", "when"):
            yield "is"
        return
    yield CONTRACTED_ENDINGS[found.group()]


def _names(text: str) -> frozenset[str]:
    """Capitals say something only inside a sentence of a text that also has small letters."""
    if text.upper() == text:
        return frozenset()
    found = (match.group().lower().partition("'")[0] for match in _NAME.finditer(text))
    return frozenset(name for name in found if name not in CONTRACTIONS and name.isalpha()) - FUNCTION_WORDS


def is_number(word: str) -> bool:
    """Whether one of :attr:`Phrase.words` is a number."""
    return _NUMBER.fullmatch(word) is not None


def _with_numbers(words: Sequence[str]) -> Iterator[str]:
    """The words with numbers in one spelling: ``1,000`` and "one thousand" are ``1000``, "third" is ``3``."""
    place = 0
    while place < len(words):
        value, used = _number_at(words, place)
        if value is None:
            yield words[place]
            place += 1
        else:
            yield format(value.normalize(), "f")
            place += used


def _number_at(words: Sequence[str], place: int) -> tuple[Decimal | None, int]:
    word = words[place]
    if word in ("minus", "negative") and _is_below_zero(words, place):
        value, used = _digits_at(words, place + 1)
        return (None, 0) if value is None else (-value, used + 1)
    if is_number(word):
        return _digits_at(words, place)
    if _is_idiom(words, place):
        return None, 0
    if word in ORDINALS:
        return Decimal(ORDINALS[word]), 1
    if word in ROMAN:
        return Decimal(ROMAN[word]), 1
    if word in MULTIPLES:
        return Decimal(MULTIPLES[word]), 1
    return _spelled_at(words, place)


def _is_idiom(words: Sequence[str], place: int) -> bool:
    """Whether a word for a number counts nothing here: "that one", "a second", "at first", "double check"."""
    word, before, last = words[place], words[place - 1] if place else "", place + 1 == len(words)
    if word == "one":
        return _is_pronoun(words, place)
    if word == "second":
        return not _counts(words, place)
    if word == "first":
        return bool(before) and (before == "at" or last)
    if word == "two":
        return before == "between" and not last and words[place + 1] != "and"
    return (word == "half" and before == "in") or (word == "double" and not last and words[place + 1] == "check")


def _is_below_zero(words: Sequence[str], place: int) -> bool:
    """Whether "minus" is a sign ("minus 5 degrees") and takes nothing away ("10 minus 5")."""
    following = words[place + 1 : place + 2]
    return bool(following) and is_number(following[0]) and not (place and is_number(words[place - 1]))


def _is_pronoun(words: Sequence[str], place: int) -> bool:
    """Whether "one" stands for something ("that one", "one was") and counts nothing ("one ticket", "one hundred")."""
    following = words[place + 1] if place + 1 < len(words) else "was"
    return (
        following in FUNCTION_WORDS
        or "another" in words[place + 1 :]
        or (place > 0 and words[place - 1] in _PRONOUN_ONE_AFTER)
    )


def _counts(words: Sequence[str], place: int) -> bool:
    """Whether "second" is an ordinal here ("the second option") and not a moment ("a second", "30 seconds")."""
    return bool(place) and words[place - 1] in ("the", "my", "our", "your", "his", "her") and place + 1 < len(words)


def _digits_at(words: Sequence[str], place: int) -> tuple[Decimal | None, int]:
    text = words[place].replace(":", ".")
    text = text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", text) else text.replace(",", ".")
    parts = text.split(".")
    if len(parts) > 2:  # a version, a date or an address: one name, not a number
        return _identifier(parts), 1
    if len(parts) == 2 and (_is_version(words, place) or _ends_in_zero(words, place, parts)):
        return _identifier(parts), 1  # 2.1 is not 2.10
    if len(parts) == 1 and len(text) > 2 and text[0] == "0":  # extension 020 is not 20
        return Decimal("8" + "0" * 12 + text), 1
    value, used = Decimal(text), 1
    if place + 1 < len(words):
        following = words[place + 1]
        scale = None if _is_length(words, place + 1) else SCALES.get(following) or _SCALE_LETTERS.get(following)
        if scale:
            value, used = value * scale, 2
    return value, used


def _is_length(words: Sequence[str], place: int) -> bool:
    """Whether "m" stands for metres: "330 m high", "50 m from here"; not "5 m users"."""
    return words[place] == "m" and place + 1 < len(words) and words[place + 1] in _AFTER_METRES


_AFTER_METRES = frozenset("high tall long wide deep thick away apart above below from of by and or and/or race".split())


def _is_version(words: Sequence[str], place: int) -> bool:
    return bool(place) and words[place - 1] in ("version", "v", "release")


def _ends_in_zero(words: Sequence[str], place: int, parts: Sequence[str]) -> bool:
    """ "Python 3.10" is not 3.1; but 5.50 dollars are 5.5, and 5.00 is 5."""
    beside = (*words[max(0, place - 1) : place], *words[place + 1 : place + 2])
    money = any(KINDS.get(word) == "currency" for word in beside)
    return parts[1].endswith("0") and parts[1].strip("0") != "" and len(parts[0]) <= 2 and not money


def _identifier(parts: Sequence[str]) -> Decimal:
    """A number for "1.11.2024" that no other parts have, "11.1.2024" for one; "01.11.2024" has the same."""
    bare = [part.lstrip("0") or "0" for part in parts]
    return Decimal("9" + "".join(f"{len(part):02d}{part}" for part in bare))


def _spelled_at(words: Sequence[str], place: int) -> tuple[Decimal | None, int]:
    total, current, used, seen = 0, 0, 0, False
    for word in words[place:]:
        if word in SMALL_NUMBERS and (not seen or (current % 10 == 0 and SMALL_NUMBERS[word] < 10 and current)):
            current += SMALL_NUMBERS[word]
        elif word in TENS and (not seen or (current % 100 == 0 and current)):
            current += TENS[word]
        elif word in SCALES and not seen:
            current = SCALES[word]
        elif word in SCALES and SCALES[word] == 100:
            current *= 100
        elif word in SCALES:
            total, current = total + current * SCALES[word], 0
        elif word == "and" and seen and place + used + 1 < len(words) and words[place + used - 1] in SCALES:
            used += 1
            continue
        else:
            break
        seen = True
        used += 1
    return (Decimal(total + current), used) if seen else (None, 0)
