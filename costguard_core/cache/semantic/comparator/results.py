"""What an answer arrives at, where it says so: the last number of a calculation, a marked result, a fraction.

Two calculations that arrive at the same are the same answer, whatever steps each shows; numbers on the way are no
facts.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from costguard_core.cache.semantic.comparator.values import clock_times, fraction, plain_numbers
from costguard_core.cache.semantic.rules import lexical
from costguard_core.cache.semantic.rules.lexicon import UNITS
from costguard_core.cache.semantic.rules.phrase import phrase
from costguard_core.cache.semantic.rules.quantities import numbers_in

_MARKED = re.compile(
    r"####\s*(.+)|\\boxed\{([^{}]+)\}|^A:[ \t]*([$€£]?-?\d[\d.,/]*[ \t]*\S*)$"
    r"|\b(?:final\s+)?(?:answer|result|solution|final\s+[a-z]+)\s*(?:is|:|=)\s*(?:(?:therefore|thus)\s*)?([^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
# The last three terms, where there are more, so that a long sum is not read again from each of its numbers.
_CALCULATION = re.compile(
    r"\d\s*(?:[%)]\s*)?(?:[-+*/×x÷−]\s*(?:[($]\s*)?\d[\d.,]*\s*){1,3}=|=\s*(?:[$€£]\s*)?-?\d|####|\\boxed"
)
_RESULT_OF = re.compile(r"=\s*((?:[$€£]\s*)?-?\d[^=\n;]*)(?=$|[\n.;])")
_CONCLUSION = re.compile(
    r"\b(?:so|thus|therefore|hence|makes?|gives?|leaves?|comes? to|totals?|equals?)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"-?\d")
_COMMA = re.compile(r",\s")  # "= 80 min, that is 1 hour and 20 minutes"
_REASON = re.compile(r",?\s+(?:since|because|as|for)\b", re.IGNORECASE)
_BECAUSE = re.compile(r",?\s+because\b", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")


class Result(NamedTuple):
    """A number that an answer arrives at, in the base unit of its dimension; ``None`` for a bare one."""

    value: Decimal
    dimension: str | None
    bare: Decimal


def same_result(a: str, b: str) -> bool | None:
    """Whether two answers that calculate arrive at the same; ``None`` if one of them does not or it cannot be told."""
    calculates = is_calculation(a), is_calculation(b)
    left, right = result_of(a), result_of(b)
    is_equal = None if left is None or right is None else _is_equal(left, right)
    if is_equal and any(calculates) and not all(calculates):
        return True
    if not (any(calculates) and (calculates[0] or _is_bare(a)) and (calculates[1] or _is_bare(b))):
        return None
    marked = _marked(a), _marked(b)
    said = marked if all(marked) else (a, b)  # a time or a colour on the way is no result
    if any(map(clock_times, said)):
        return None
    if lexical.kinds(*map(phrase, said)) is not None:  # dollars and euros
        return None if is_equal else is_equal
    return is_equal


def _is_equal(a: Result, b: Result) -> bool:
    if a.dimension is not None and b.dimension is not None:
        return a.dimension == b.dimension and a.value == b.value
    return a.bare == b.bare or _is_share(a, b) or _is_share(b, a)


def _is_share(a: Result, b: Result) -> bool:
    """25 % is .25."""
    return a.dimension == "share" and a.bare == 100 * b.bare


def states_result(a: str, b: str) -> bool | None:
    """Where one answer calculates, and the other has numbers in its words: whether what the first arrives at is among
    these. ``None`` elsewhere."""
    if is_calculation(a) == is_calculation(b) or clock_times(a) or clock_times(b):
        return None
    calculation, words = (a, b) if is_calculation(a) else (b, a)
    result, stated = result_of(calculation), numbers_in(phrase(plain_numbers(_no_version(words))))
    if result is None or not (stated.quantities or stated.bare):
        return None
    found = [Result(one.value, one.dimension, one.number) for one in stated.quantities]
    found += [Result(number, None, number) for number in stated.bare]
    return any(result.bare == one.bare or _is_equal(result, one) for one in found)


@lru_cache(maxsize=2048)
def result_of(text: str) -> Result | None:
    """The marked result, what the last calculation comes to, or the one number of the last sentence that has any."""
    text = _plain(text)
    if marked := _marked(text):
        return _only_number(_REASON.split(marked)[0])
    sentences = [one for one in _SENTENCES.split(plain_numbers(text)) if _NUMBER.search(one)]
    if not sentences:
        return None
    last = sentences[-1]
    concluded = _CONCLUSION.split(last)[-1]
    if concluded != last and "=" not in concluded and (found := _only_number(concluded)) is not None:
        return found
    if "=" not in (said := _BECAUSE.split(last)[0]) and said != last and (found := _only_number(said)) is not None:
        return found
    computed = _RESULT_OF.findall(last)
    if not computed:
        return _only_number(last)
    return _only_number(computed[-1]) or _only_number(_COMMA.split(computed[-1])[0])


def _marked(text: str) -> str:
    """What follows the last mark of a result, "The answer is"; nothing if there is none."""
    found = _MARKED.findall(_plain(text))
    return next(filter(None, found[-1])) if found else ""


def is_calculation(text: str) -> bool:
    """Whether it calculates something, or marks its result."""
    text = _plain(text)
    return _CALCULATION.search(text) is not None or _MARKED.search(text) is not None


@lru_cache(maxsize=2048)
def _plain(text: str) -> str:
    """Without bold, LaTeX and the sign for minus."""
    text = _FRAC.sub(r"\1/\2", _TEXT.sub(r"\1", _BOLD.sub(r"\1", text)))
    for written, meant in _SIGNS.items():
        text = text.replace(written, meant)
    return text


_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_FRAC = re.compile(r"\\[dt]?frac\{(\d{1,15})\}\{(\d{1,15})\}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf)\{([^{}\n]*)\}")
_SIGNS = {"{,}": ",", "\\,": " ", "\\;": " ", "\\$": "$", "\\%": "%", "\\times": "×", "\\cdot": "×", "−": "-"}


def _is_bare(text: str) -> bool:
    """Whether it is a number and its unit, and no more."""
    words = phrase(plain_numbers(text)).words
    return 0 < len(words) <= _BARE and len(phrase(plain_numbers(text)).numbers) == 1


_BARE = 3  # words; a choice


_POWER = re.compile(r"(?<=\d)(\s?)([a-z]{1,2})(?:\^?([23])\b|([²³]))")  # of a unit: cm³


def _no_version(text: str) -> str:
    """ "64.80" as 64.8: elsewhere it may be the version of something."""
    return _LAST_ZEROS.sub(lambda found: found.group(1).removesuffix("."), text)


_LAST_ZEROS = re.compile(r"(?<![\d.])(\d{1,15}\.\d{0,9}?)0+(?![\d.]*\d)")


def _unit_of_area(found: re.Match[str]) -> str:
    """ "54 m²" as "54 m2", the area; a unit that is not known, without its power."""
    blank, unit, power, sign = found.groups()
    known = f"{unit}{power or {'²': '2', '³': '3'}[sign]}"
    return f" {known}" if known in UNITS else f"{blank}{unit}"


def _only_number(text: str) -> Result | None:
    if (value := fraction(text)) is not None:
        return Result(value, None, value)
    numbers = numbers_in(phrase(plain_numbers(_POWER.sub(_unit_of_area, _no_version(text)))))
    if len(numbers.quantities) + len(numbers.bare) != 1:
        return None
    if numbers.quantities:
        one = numbers.quantities[0]
        return Result(one.value, one.dimension, one.number)
    return Result(numbers.bare[0], None, numbers.bare[0])
