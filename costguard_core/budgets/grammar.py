"""The one-line grammar of a budget: ``"$25/day per user where plan=free"``. Text in, plain parts out; no policy.

::

    budget     := amount (window | scope)* ["where" conditions]
    amount     := "$" NUMBER | NUMBER unit            a number may end with k or m: 10k tokens
    window     := ("/" | "per" | "a" | "every") WINDOW | ["in" | "/"] "total" | "daily" | "hourly" | ...
    scope      := ("/" | "per") SCOPE (("," | "and" | "per") SCOPE)*
    conditions := NAME "=" VALUE (("," | "and") NAME "=" VALUE)*

There is exactly one window. A SCOPE, or the NAME of a condition, is one of :data:`SCOPES` or a tag. A VALUE is text
without spaces and commas, or in quotation marks.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple, NoReturn

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError
from costguard_core.types import ATTRIBUTE_NAMES, LONGEST_VALUE
from costguard_core.util.amounts import unit_name, without_thousands
from costguard_core.util.options import nearest

UNITS = ("usd", "requests", "tokens", "input tokens")
WINDOWS = ("call", "minute", "hour", "day", "week", "month", "total")
SCOPES = (*ATTRIBUTE_NAMES, "model", "provider")
EXAMPLE = '"$25/day per user"'

Conditions = tuple[tuple[str, str], ...]

_UNIT_SPELLINGS = {
    "dollar": "usd",
    "dollars": "usd",
    "request": "requests",
    "req": "requests",
    "reqs": "requests",
    "call": "requests",
    "calls": "requests",
    "token": "tokens",
    "input token": "input tokens",
}
_WINDOW_SPELLINGS = {
    "min": "minute",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
    "h": "hour",
    "d": "day",
    "wk": "week",
    "mo": "month",
    "request": "call",
    "req": "call",
}
_ADVERBS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
_SCOPE_SPELLINGS = {"user_id": "user", "tenant_id": "tenant", "session_id": "session"}
_OTHER_MONEY = frozenset("€£¥₹")
_MULTIPLES = {"k": 10**3, "m": 10**6}

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d[\d,_]*(?:\.\d+)?|\.\d+)|(?P<word>[^\W\d_][\w.-]*)|(?P<mark>[$/,=])|(?P<other>\S))"
)
_CONDITION = re.compile(r"""\s*(?P<name>[^\W\d_][\w.-]*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s,"']+)""")
_BETWEEN_CONDITIONS = re.compile(r"\s*(?:,\s*and\b|,|and\b)", re.IGNORECASE)
_BARE_VALUE = re.compile(r"""[^\s,"']+""")


class Parts(NamedTuple):
    """What a budget's text says.

    Attributes:
        limit: dollars, or a number of requests or tokens.
        unit: one of :data:`UNITS`.
        window: one of :data:`WINDOWS`.
        per: what is counted apart.
        where: the names and values of calls that the budget is for; empty: of all.
    """

    limit: Decimal
    unit: str
    window: str
    per: tuple[str, ...]
    where: Conditions


def parse(text: str) -> Parts:
    """Read a budget's text.

    Raises:
        ConfigurationError: the text is not in the grammar; the message points at the word and says what fits there.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"a budget is a line of text, such as {EXAMPLE}, not {text!r}")
    return _Reader(text).budget()


def write(limit: Decimal | int, unit: str, window: str, per: tuple[str, ...], where: Conditions = ()) -> str:
    """The canonical text of a budget: :func:`parse` reads it back to the same parts."""
    amount = f"${_dollars(limit)}" if unit == "usd" else f"{limit} {unit_name(limit, unit)}"
    when = " in total" if window == "total" else f"/{window}"
    apart = f" per {', '.join(per)}" if per else ""
    return f"{amount}{when}{apart}{f' where {write_conditions(where)}' if where else ''}"


def write_conditions(where: Conditions) -> str:
    """Conditions as the grammar reads them: ``plan=free, endpoint=/search``."""
    return ", ".join([f"{name}={_written_value(value)}" for name, value in where])


def choose(word: object, kind: str, valid: tuple[str, ...]) -> str:
    """``word`` as one of ``valid``, forgiving case, number and abbreviations. ``kind`` is "unit" or "window".

    Raises:
        ConfigurationError: it is none of them; the message suggests the nearest.
    """
    found = _match(word, kind, valid) if isinstance(word, str) else None
    if found is None:
        raise ConfigurationError(f"{word!r} is not a {kind}.{_hint(str(word), kind, valid)} Example: {EXAMPLE}")
    return found


def choose_name(word: object) -> str:
    """``word`` as a name that calls are attributed to: one of :data:`SCOPES`, or a tag.

    Raises:
        ConfigurationError: it can be neither.
    """
    found = _match(word, "scope", SCOPES) if isinstance(word, str) else None
    if found is not None:
        return found
    try:
        return check_tag_name(str(word))
    except ConfigurationError:
        hint = _hint(str(word), "scope", SCOPES).removesuffix(".")
        raise ConfigurationError(f"{word!r} is not a scope.{hint}, or a tag. Example: {EXAMPLE}") from None


def _match(word: str, kind: str, valid: tuple[str, ...]) -> str | None:
    plain = " ".join(word.lower().split())
    spellings = {"unit": _UNIT_SPELLINGS, "window": _WINDOW_SPELLINGS, "scope": _SCOPE_SPELLINGS}[kind]
    for guess in (plain, spellings.get(plain, plain), plain.removesuffix("s")):
        if guess in valid:
            return guess
    return None


def _hint(word: str, kind: str, valid: tuple[str, ...]) -> str:
    return f"{nearest(word.lower(), valid)} A {kind} is one of: {', '.join(valid)}."


def _dollars(limit: Decimal | int) -> str:
    plain = f"{Decimal(limit):f}"
    whole, _, cents = plain.partition(".")
    cents = cents.rstrip("0")
    return f"{whole}.{cents:0<2}" if cents else whole


def _written_value(value: str) -> str:
    if _BARE_VALUE.fullmatch(value) and value.lower() != "and":
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


class _Word(NamedTuple):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Reader:
    """A cursor over the words of one budget text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [_word(match) for match in _TOKEN.finditer(text)] + [_Word("end", "", len(text.rstrip()))]
        self._at = 0

    def budget(self) -> Parts:
        limit, unit = self._amount()
        window, per = self._window_and_scopes()
        where = self._conditions() if self._take("where") else ()
        if self._next.kind != "end":
            self._fail(f"{_quoted(self._next)} is left over.{nearest(self._next.text, ('per', 'where', 'and'))}")
        return Parts(limit, unit, window, tuple(dict.fromkeys(per)), where)

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
            money = " Money is in US dollars: $5." if self._next.text in _OTHER_MONEY else ""
            self._fail(f"expected an amount, found {_quoted(self._next)}.{money}")
        number = self._next
        try:
            limit = Decimal(without_thousands(number.text.replace("_", "")))
        except ValueError as error:
            self._fail(f"{error}.")
        self._at += 1
        if self._next.start == number.end and self._next.text.lower() in _MULTIPLES:
            limit *= _MULTIPLES[self._next.text.lower()]
            self._at += 1
        if dollars:
            self._take("usd")
            return limit, "usd"
        return limit, self._unit()

    def _unit(self) -> str:
        at = self._at
        self._take("input")
        words = " ".join(word.text for word in self._words[at : self._at + 1])
        unit = _match(words, "unit", UNITS)
        if unit is None:
            self._fail(f"{_quoted(self._next)} is not a unit.{_hint(words, 'unit', UNITS)}")
        self._at += 1
        return unit

    def _window_and_scopes(self) -> tuple[str, list[str]]:
        """In any order, because people write ``$5/day/user`` and ``$5 per user per day`` too."""
        window, per = "", list[str]()
        while True:
            adverb = _ADVERBS.get(self._next.text.lower())
            if window == "" and (adverb is not None or self._next.text.lower() == "total"):
                window = adverb or "total"
                self._at += 1
            elif window == "" and self._take("in"):
                window = self._window(("total",))
            elif window == "" and self._take("a", "an", "every"):
                window = self._window(WINDOWS)
            elif self._take("/", "per") or (per and self._take(",", "and")):
                self._take("and")
                self._take("per")
                if window == "" and _match(self._next.text, "scope", SCOPES) is None:
                    window = self._window(WINDOWS)
                else:
                    per.append(self._name())
            else:
                break
        if window == "":
            hint = _hint(self._next.text, "window", WINDOWS)
            self._fail(f"expected a window such as /day, found {_quoted(self._next)}.{hint}")
        return window, per

    def _window(self, valid: tuple[str, ...]) -> str:
        found = _match(self._next.text, "window", valid)
        if found is None:
            self._fail(f"{_quoted(self._next)} is not a window.{_hint(self._next.text, 'window', valid)}")
        self._at += 1
        return found

    def _name(self) -> str:
        try:
            name = choose_name(self._next.text)
        except ConfigurationError:
            self._fail(f"{_quoted(self._next)} is not a scope.{_hint(self._next.text, 'scope', SCOPES)}")
        self._at += 1
        return name

    def _conditions(self) -> Conditions:
        """Read from the text itself: values hold characters that are words of their own elsewhere."""
        found: dict[str, str] = {}
        at = self._next.start
        while True:
            match = _CONDITION.match(self._text, at)
            self._at = next(index for index, word in enumerate(self._words) if word.start >= at or word.kind == "end")
            if match is None:
                self._fail(f"expected a condition such as plan=free, found {_quoted(self._next)}.")
            value = match["value"]
            found[self._name()] = value[1:-1] if value[0] in "\"'" else value
            at = match.end()
            between = _BETWEEN_CONDITIONS.match(self._text, at)
            if between is None:
                break
            at = between.end()
        self._at = next(index for index, word in enumerate(self._words) if word.start >= at or word.kind == "end")
        return check_conditions(found)

    def _fail(self, problem: str) -> NoReturn:
        word = self._next
        pointer = " " * word.start + "^" * max(1, len(word.text))
        raise ConfigurationError(
            f'cannot read the budget "{self._text}": {problem} Example: {EXAMPLE}\n    {self._text}\n    {pointer}'
        )


def check_conditions(given: dict[str, str]) -> Conditions:
    """Conditions in the order of their names.

    Raises:
        ConfigurationError: a value that no call can have, or that cannot be written in a budget.
    """
    for name, value in given.items():
        if not value or len(value) > LONGEST_VALUE or ('"' in value and "'" in value) or "\n" in value:
            raise ConfigurationError(
                f"where {name}={value!r}: a value has 1 to {LONGEST_VALUE} characters on one line, and not both "
                "kinds of quotation marks"
            )
    return tuple(sorted(given.items()))


def _word(match: re.Match[str]) -> _Word:
    kind = str(match.lastgroup)
    return _Word(kind, match[kind], match.start(kind))


def _quoted(word: _Word) -> str:
    return "the end" if word.kind == "end" else f'"{word.text}"'
