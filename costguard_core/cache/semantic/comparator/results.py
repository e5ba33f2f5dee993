"""What an answer arrives at, where it says so: the last number of a calculation, a marked result, a time of day.

Two calculations that arrive at the same are the same answer, whatever steps each shows; numbers on the way are no
facts.
"""

from __future__ import annotations

import re
from decimal import Decimal, DivisionByZero, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from costguard_core.cache.semantic.rules import lexical
from costguard_core.cache.semantic.rules.phrase import phrase
from costguard_core.cache.semantic.rules.quantities import numbers_in

_MARKED = re.compile(
    r"####\s*(.+)|\\boxed\{([^{}]+)\}|^A:[ \t]*([$€£]?-?\d[\d.,/]*[ \t]*\S*)$"
    r"|\b(?:final\s+)?(?:answer|result|solution)\s*(?:is|:|=)\s*(?:(?:therefore|thus)\s*)?([^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
# The last three terms, where there are more, so that a long sum is not read again from each of its numbers.
_CALCULATION = re.compile(
    r"\d\s*(?:[%)]\s*)?(?:[-+*/×x÷−]\s*(?:[($]\s*)?\d[\d.,]*\s*){1,3}=|=\s*(?:[$€£]\s*)?-?\d|####|\\boxed"
)
_RESULT_OF = re.compile(r"=\s*((?:[$€£]\s*)?-?\d[^=\n;]*)(?=$|[\n.;])")
_NUMBER = re.compile(r"-?\d")
_FRACTION = re.compile(r"(?<![\d/.,])(\d+)\s*/\s*(\d+)(?![\d/])")
_AND_A_HALF = re.compile(
    r"\b(an?|one|two|three|four|five|six|seven|eight|nine|ten|\d+) (\w+?)s? and an? (half|quarter)\b"
)
_AND_A_HALF_OF = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|\d+) and an? (half|quarter) (?=[a-z])", re.IGNORECASE
)
_HALF_AN = re.compile(r"\b(half|quarter) (?:of )?an? (hour|day|year|mile|kilo|dozen|pound|liter|litre)\b")
_HOURS_AND_MINUTES = re.compile(
    r"\b(\d{1,3}) ?(?:hours?|hrs?|h),?(?: and)? (\d{1,2}) ?(?:minutes?|mins?|m)\b", re.IGNORECASE
)
_ONE_OF = re.compile(
    r"\b(about|around|roughly|approximately|within|for|in|least|most|after|than) an? (hour|day|week|month|year)\b"
)
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))?\s*([ap])\.?\s?m\b\.?|\b([01]?\d|2[0-3]):([0-5]\d)\b", re.IGNORECASE)
_SPOKEN_CLOCK = re.compile(r"\b(\d{1,2}) (?:o'?clock )?in the (morning|afternoon|evening)\b|\b(noon|midday|midnight)\b")
_REASON = re.compile(r",?\s+(?:since|because|as|for)\b", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_SMALL = {word: number for number, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_PARTS = {"half": Decimal("0.5"), "quarter": Decimal("0.25")}


class Result(NamedTuple):
    """A number that an answer arrives at, in the base unit of its dimension; ``None`` for a bare one."""

    value: Decimal
    dimension: str | None
    bare: Decimal


def same_result(a: str, b: str) -> bool | None:
    """Whether two answers that calculate arrive at the same; ``None`` if one of them does not or it cannot be told."""
    calculates = _calculates(a), _calculates(b)
    if not (any(calculates) and (calculates[0] or _is_bare(a)) and (calculates[1] or _is_bare(b))):
        return None
    marked = _marked(a), _marked(b)
    said = marked if all(marked) else (a, b)  # a time or a colour on the way is no result
    if any(map(clock_times, said)) or lexical.kinds(*map(phrase, said)) is not None:  # dollars and euros
        return None
    left, right = result_of(a), result_of(b)
    if left is None or right is None:
        return None
    if left.dimension is not None and right.dimension is not None:
        return left.dimension == right.dimension and left.value == right.value
    return left.bare == right.bare


def states_result(a: str, b: str) -> bool | None:
    """Where one answer calculates, and the other has numbers in its words: whether what the first arrives at is among
    these. ``None`` elsewhere."""
    if _calculates(a) == _calculates(b) or clock_times(a) or clock_times(b):
        return None
    calculation, words = (a, b) if _calculates(a) else (b, a)
    result, stated = result_of(calculation), numbers_in(phrase(plain_numbers(words)))
    if result is None or not (stated.quantities or stated.bare):
        return None
    values = {(one.value, one.dimension) for one in stated.quantities}
    bare = {*stated.bare, *(one.number for one in stated.quantities)}
    return result.bare in bare or (result.value, result.dimension) in values


@lru_cache(maxsize=2048)
def result_of(text: str) -> Result | None:
    """The marked result, what the last calculation comes to, or the one number of the last sentence that has any."""
    if marked := _marked(text):
        return _only_number(_REASON.split(marked)[0])
    sentences = [one for one in _SENTENCES.split(plain_numbers(text)) if _NUMBER.search(one)]
    if not sentences:
        return None
    computed = _RESULT_OF.findall(sentences[-1])
    return _only_number(computed[-1]) if computed else _only_number(sentences[-1])


def _marked(text: str) -> str:
    """What follows the last mark of a result, "The answer is"; nothing if there is none."""
    found = _MARKED.findall(text)
    return next(filter(None, found[-1])) if found else ""


@lru_cache(maxsize=2048)
def plain_numbers(text: str) -> str:
    """``1/2`` as 0.5, "an hour and a half" and "one and a half hours" as
    1.5 hours, "half an hour" as 0.5 hours, "1 hour 30 minutes" as 90 minutes, "within a day" as within 1 day, "9:30 pm"
    as 21:30."""
    text = _CLOCK.sub(_on_24_hours, text)
    text = _HOURS_AND_MINUTES.sub(lambda found: f"{60 * int(found.group(1)) + int(found.group(2))} minutes", text)
    text = _AND_A_HALF.sub(_with_part, text)
    text = _AND_A_HALF_OF.sub(_with_part_before, text)
    text = _HALF_AN.sub(lambda found: f"{_PARTS[found.group(1)]} {found.group(2)}s", text)
    text = _ONE_OF.sub(r"\1 1 \2", text)
    return _FRACTION.sub(_quotient, text)


@lru_cache(maxsize=2048)
def clock_times(text: str) -> frozenset[int]:
    """The times of day that it names, in minutes since midnight."""
    found = {_minutes(*groups) for groups in _CLOCK.findall(text)}
    words = " ".join(phrase(text).words)
    for hour, part, name in _SPOKEN_CLOCK.findall(words):
        if name:
            found.add(0 if name == "midnight" else 720)
        else:
            found.add(60 * (int(hour) % 12 + (0 if part == "morning" else 12)))
    return frozenset(time for time in found if time is not None)


def _calculates(text: str) -> bool:
    return _CALCULATION.search(text) is not None or _MARKED.search(text) is not None


def _is_bare(text: str) -> bool:
    """Whether it is a number and its unit, and no more."""
    words = phrase(plain_numbers(text)).words
    return 0 < len(words) <= _BARE and len(phrase(plain_numbers(text)).numbers) == 1


_BARE = 3  # words; a choice


def _only_number(text: str) -> Result | None:
    numbers = numbers_in(phrase(plain_numbers(text)))
    if len(numbers.quantities) + len(numbers.bare) != 1:
        return None
    if numbers.quantities:
        one = numbers.quantities[0]
        return Result(one.value, one.dimension, one.number)
    return Result(numbers.bare[0], None, numbers.bare[0])


def _with_part(found: re.Match[str]) -> str:
    number, unit, part = found.groups()
    whole = 1 if number in ("a", "an") else _SMALL.get(number) or int(number)
    return f"{whole + _PARTS[part]} {unit}s"


def _with_part_before(found: re.Match[str]) -> str:
    number, part = (group.lower() for group in found.groups())
    return f"{(_SMALL.get(number) or int(number)) + _PARTS[part]} "


def _on_24_hours(found: re.Match[str]) -> str:
    minutes = _minutes(*found.groups())
    return found.group() if minutes is None else f"{minutes // 60}:{minutes % 60:02d}"


def _quotient(found: re.Match[str]) -> str:
    try:
        value = (Decimal(found.group(1)) / Decimal(found.group(2))).normalize()
    except (DivisionByZero, InvalidOperation):
        return found.group()
    return found.group() if len(value.as_tuple().digits) > _DIGITS else format(value, "f")


_DIGITS = 6  # 1/3 stays 1/3


def _minutes(hour: str, minute: str, half: str, hour24: str, minute24: str) -> int | None:
    if hour24:
        return 60 * int(hour24) + int(minute24)
    if not 1 <= int(hour) <= 12:
        return None
    return 60 * (int(hour) % 12 + (12 if half.lower() == "p" else 0)) + int(minute or 0)
