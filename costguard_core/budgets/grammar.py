"""The one-line grammar of a budget: ``"$25/day per user"``. Text in, plain parts out; no policy.

::

    budget := amount window [scopes]
    amount := "$" NUMBER | NUMBER unit
    window := ("/" | "per" | "a") WINDOW | ["/" | "in"] "total"
    scopes := "per" SCOPE (("," | "and" | "per") SCOPE)*
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import get_close_matches
from typing import NamedTuple, NoReturn

from costguard_core.errors import ConfigurationError
from costguard_core.util.amounts import unit_name

UNITS = ("usd", "requests", "tokens", "input tokens")
WINDOWS = ("call", "minute", "hour", "day", "week", "month", "total")
SCOPES = ("user", "tenant", "session", "endpoint", "feature", "template", "model", "provider")
EXAMPLE = '"$25/day per user"'

_SYNONYMS = {"dollar": "usd", "dollars": "usd", "request": "requests", "token": "tokens", "input token": "input tokens"}
_TOKEN = re.compile(r"\s*(?:(?P<number>\d[\d,_]*(?:\.\d+)?|\.\d+)|(?P<word>[^\W\d_]+)|(?P<mark>[$/,])|(?P<other>\S))")


class Parts(NamedTuple):
    """What a budget's text says."""

    limit: Decimal
    unit: str
    window: str
    per: tuple[str, ...]


def parse(text: str) -> Parts:
    """Read a budget's text.

    Raises:
        ConfigurationError: the text is not in the grammar; the message points at the word and says what fits there.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"a budget is a line of text, such as {EXAMPLE}, not {text!r}")
    return _Reader(text).budget()


def write(limit: Decimal | int, unit: str, window: str, per: tuple[str, ...]) -> str:
    """The canonical text of a budget: :func:`parse` reads it back to the same parts."""
    amount = f"${_dollars(limit)}" if unit == "usd" else f"{limit} {unit_name(limit, unit)}"
    when = " in total" if window == "total" else f"/{window}"
    return f"{amount}{when}{' per ' + ', '.join(per) if per else ''}"


def choose(word: object, kind: str, valid: tuple[str, ...]) -> str:
    """``word`` as one of ``valid``, forgiving case and number.

    Raises:
        ConfigurationError: it is none of them; the message suggests the nearest.
    """
    found = _match(word, valid) if isinstance(word, str) else None
    if found is None:
        raise ConfigurationError(f"{word!r} is not a {kind}.{_hint(str(word), kind, valid)} Example: {EXAMPLE}")
    return found


def _match(word: str, valid: tuple[str, ...]) -> str | None:
    plain = " ".join(word.lower().split())
    for guess in (plain, _SYNONYMS.get(plain, plain), plain.removesuffix("s")):
        if guess in valid:
            return guess
    return None


def _hint(word: str, kind: str, valid: tuple[str, ...]) -> str:
    near = get_close_matches(word.lower(), valid, n=1)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    return f"{meant} A {kind} is one of: {', '.join(valid)}."


def _dollars(limit: Decimal | int) -> str:
    plain = f"{Decimal(limit):f}"
    whole, _, cents = plain.partition(".")
    cents = cents.rstrip("0")
    return f"{whole}.{cents:0<2}" if cents else whole


class _Word(NamedTuple):
    kind: str
    text: str
    start: int


class _Reader:
    """A cursor over the words of one budget text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [_word(match) for match in _TOKEN.finditer(text)] + [_Word("end", "", len(text.rstrip()))]
        self._at = 0

    def budget(self) -> Parts:
        limit, unit = self._amount()
        window = self._window()
        per = self._scopes()
        if self._next.kind != "end":
            self._fail(f"{_quoted(self._next)} is left over.")
        return Parts(limit, unit, window, per)

    @property
    def _next(self) -> _Word:
        return self._words[self._at]

    def _take(self, *texts: str) -> bool:
        if self._next.kind != "end" and self._next.text.lower() in texts:
            self._at += 1
            return True
        return False

    def _amount(self) -> tuple[Decimal, str]:
        dollars = self._take("$")
        if self._next.kind != "number":
            self._fail(f"expected an amount, found {_quoted(self._next)}.")
        limit = Decimal(self._next.text.replace(",", "").replace("_", ""))
        self._at += 1
        if dollars:
            self._take("usd")
            return limit, "usd"
        return limit, self._unit()

    def _unit(self) -> str:
        at = self._at
        self._take("input")
        words = " ".join(word.text for word in self._words[at : self._at + 1])
        unit = _match(words, UNITS)
        if unit is None:
            self._fail(f"{_quoted(self._next)} is not a unit.{_hint(words, 'unit', UNITS)}")
        self._at += 1
        return unit

    def _window(self) -> str:
        if self._take("in"):
            return self._word("window", ("total",))
        if self._take("/", "per", "a", "an", "every") or self._next.text.lower() == "total":
            return self._word("window", WINDOWS)
        hint = _hint(self._next.text, "window", WINDOWS)
        self._fail(f"expected a window such as /day, found {_quoted(self._next)}.{hint}")

    def _scopes(self) -> tuple[str, ...]:
        if not self._take("per"):
            return ()
        found = [self._word("scope", SCOPES)]
        while self._take(",", "and", "per"):
            self._take("and")
            found.append(self._word("scope", SCOPES))
        return tuple(dict.fromkeys(found))

    def _word(self, kind: str, valid: tuple[str, ...]) -> str:
        found = _match(self._next.text, valid)
        if found is None:
            self._fail(f"{_quoted(self._next)} is not a {kind}.{_hint(self._next.text, kind, valid)}")
        self._at += 1
        return found

    def _fail(self, problem: str) -> NoReturn:
        word = self._next
        pointer = " " * word.start + "^" * max(1, len(word.text))
        raise ConfigurationError(
            f'cannot read the budget "{self._text}": {problem} Example: {EXAMPLE}\n    {self._text}\n    {pointer}'
        )


def _word(match: re.Match[str]) -> _Word:
    kind = str(match.lastgroup)
    return _Word(kind, match[kind], match.start(kind))


def _quoted(word: _Word) -> str:
    return "the end" if word.kind == "end" else f'"{word.text}"'
