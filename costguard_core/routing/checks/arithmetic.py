"""Re-computing the sums that an answer writes down. No ``eval``: a small parser over numbers and ``+ - * / ( ) %``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

MAX_SUMS = 100  # that are checked in one answer (a choice)
MAX_CHARACTERS = 8_000  # that are read of it (a choice)

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_NUMBER = r"\$?\d+(?:,\d{3})*(?:\.\d+)?%?"
_LEFT = re.compile(rf"-?(?:\(\s*)*{_NUMBER}(?:[\s()]*[-+*/][\s(]*{_NUMBER})+[\s)]*$")
_RIGHT = re.compile(rf"\s*(-?{_NUMBER})(?!\s*[-+*/^]\s*[\d($])(?![\w(])")
_REACH = 120  # characters looked at on either side of an equals sign
_MARK = re.compile(r"<<([^<>=]{1,80})=([^<>=]{1,40})>>")  # the calculator marks of GSM8K-style answers
_LATEX = re.compile(r"\\(?:times|cdot|div)\b|\\[\[\](),;!$]|\\text\{[^{}]{0,80}\}")
_LATEX_SIGNS = {r"\times": "*", r"\cdot": "*", r"\div": "/"}
_CROSS = re.compile(r"(?<=\d)\s?[xX]\s?(?=\d)")
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()%])")


class Sum(NamedTuple):
    """One equation found in a text.

    Attributes:
        left: the arithmetic before the equals sign.
        right: the number after it.
        holds: both are equal to the precision that the number is written with.
    """

    left: str
    right: str
    holds: bool


def sums(text: str) -> list[Sum]:
    """The equations in ``text`` that could be read, at most :data:`MAX_SUMS`."""
    found = []
    for left, right in islice(_equations(text[:MAX_CHARACTERS]), MAX_SUMS):
        computed, written = value_of(left), value_of(right)
        if computed is not None and written is not None:
            found.append(Sum(left.strip(), right.strip(), _close(computed, written, right)))
    return found


def value_of(expression: str) -> Fraction | None:
    """The exact value of an arithmetic expression; ``None`` when it is none, divides by zero or is too long."""
    pieces = _pieces(expression)
    if pieces is None:
        return None
    parser = _Parser(pieces)
    try:
        value = parser.sum()
    except (ValueError, ZeroDivisionError, IndexError, RecursionError):
        return None
    return value if parser.at == len(pieces) else None


def _equations(text: str) -> Iterator[tuple[str, str]]:
    plain = _LATEX.sub(lambda found: _LATEX_SIGNS.get(found[0], ""), text).translate(_SIGNS)
    for mark in _MARK.finditer(plain):
        yield mark[1], mark[2]
    rest = _CROSS.sub("*", _MARK.sub("", plain))
    for sign in re.finditer("=", rest):
        right = _RIGHT.match(rest[sign.end() : sign.end() + _REACH])
        left = _left_of(rest[max(0, sign.start() - _REACH) : sign.start()]) if right else None
        if left is not None and right is not None:
            yield left, right[1]


def _left_of(before: str) -> str | None:
    """The arithmetic that ends here, unless it goes on to the left ("5 apples + 3 * 2 = 11")."""
    found = _LEFT.search(before)
    if found is None:
        return None
    ahead = before[: found.start()]
    continued = ahead.rstrip().endswith(("+", "-", "*", "/", "^"))
    glued = ahead[-1:].isalnum() or ahead[-1:] in (".", ",", ":", "^", ")", "_", "$")
    return None if continued or glued else found[0]


def _close(computed: Fraction, written: Fraction, as_text: str) -> bool:
    percent = "%" in as_text
    decimals = len(as_text.partition(".")[2].strip().rstrip("%"))
    unit = Fraction(1, 10**decimals)
    # "20 / 50 = 40%" says .4; "0.2 * 100 = 20%" says 20: both are how people write it.
    wanted = [written, written * 100] if percent else [written]
    return any(abs(computed - value) <= (unit if decimals else Fraction(1, 100)) for value in wanted)


def _pieces(expression: str) -> list[str] | None:
    text = expression.replace(",", "").replace("$", "").strip()
    if not text or len(text) > 200:
        return None
    pieces, at = [], 0
    while at < len(text):
        found = _PIECE.match(text, at)
        if found is None:
            return None
        pieces.append(found[1])
        at = found.end()
    return pieces


@dataclass(slots=True)
class _Parser:
    pieces: list[str]
    at: int = 0

    def sum(self) -> Fraction:
        value = self.product()
        while self._peek() in ("+", "-"):
            value = value + self.product() if self._next() == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.atom()
        while self._peek() in ("*", "/"):
            value = value * self.atom() if self._next() == "*" else value / self.atom()
        return value

    def atom(self) -> Fraction:
        piece = self._next()
        if piece == "-":
            return -self.atom()
        if piece == "(":
            value = self.sum()
            if self._next() != ")":
                raise ValueError("unbalanced")
        else:
            value = Fraction(piece)
        while self._peek() == "%":
            self._next()
            value /= 100
        return value

    def _peek(self) -> str | None:
        return self.pieces[self.at] if self.at < len(self.pieces) else None

    def _next(self) -> str:
        self.at += 1
        return self.pieces[self.at - 1]
