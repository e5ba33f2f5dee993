"""Re-computing the sums that an answer writes down. No ``eval``: a small parser over numbers and ``+ - * / ( ) %``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

MAX_SUMS = 200  # an answer with more is not checked further

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "[": "(", "]": ")"})
_NUMBER = r"\$?\d[\d,]*(?:\.\d+)?%?"
# A run of numbers and operators, an equals sign, a number. The run must not continue something that was cut off
# ("5 apples + 3 * 2 = 11"), so what stands before it may not be an operator.
_SUM = re.compile(
    rf"(?<![\w.,)$+\-*/^=])(?<![+\-*/^=(]\s)(?P<left>-?(?:\(\s*)*{_NUMBER}(?:[\s()]*[-+*/]\s*[\s(]*{_NUMBER}[\s)]*)+)"
    rf"=\s*(?P<right>-?{_NUMBER})(?!\s*[-+*/^\w(])(?!\.\d)"
)
_MARK = re.compile(r"<<([^<>=]{1,80})=([^<>=]{1,40})>>")  # the calculator marks of GSM8K-style answers
_LATEX = re.compile(r"\\(?:times|cdot|div)\b|\\[,;!$]|\\text\{[^{}]*\}")
_LATEX_SIGNS = {r"\times": "*", r"\cdot": "*", r"\div": "/"}
_PIECE = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()%])")


class Sum(NamedTuple):
    """One equation found in a text and whether it holds to the precision it was written with."""

    left: str
    right: str
    holds: bool


def sums(text: str) -> list[Sum]:
    """The equations in ``text`` that could be read, at most :data:`MAX_SUMS`."""
    found = []
    for left, right in _equations(text):
        computed, written = value_of(left), value_of(right)
        if computed is not None and written is not None:
            found.append(Sum(left.strip(), right.strip(), _close(computed, written, right)))
        if len(found) >= MAX_SUMS:
            break
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
    for found in _SUM.finditer(_MARK.sub("", plain)):
        yield found["left"], found["right"]


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
