"""A TOML text with the place of each key, and with ``${NAME}`` replaced by the environment.

Format: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError

Path = tuple[str | int, ...]
"""The way to a value: keys of tables and positions in arrays, such as ``("budgets", 0, "limit")``."""

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_TABLE = re.compile(rf"(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_PAIR = re.compile(rf"({_DOTTED})[ \t]*=[ \t]*")
_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_OTHER = re.compile(r"[^,\]}#\n]*")  # a number, a moment (which may hold a space), true or false
_SYNTAX_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
# What JSON leaves as it is, and TOML forbids or a reader of lines takes for the end of one.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "\x7f\x85\u2028\u2029"}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Place(NamedTuple):
    """Where something is written; both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong in a file.

    Attributes:
        path: to the value.
        text: what is wrong and what to write instead.
    """

    path: Path
    text: str


class DocumentError(ConfigurationError):
    """A file cannot be used. The text has a line for each problem: file, line, column, key, and what to write.

    Attributes:
        problems: the same as triples of a place, a dotted key and a text.
    """

    def __init__(self, name: str, problems: list[tuple[Place, str, str]]) -> None:
        self.problems = problems
        lines = [
            f"{name}:{place.line}:{place.column}: {f'{key}: ' if key else ''}{text}" for place, key, text in problems
        ]
        super().__init__("\n".join(lines))


class Document:
    """A parsed text.

    Args:
        text: TOML.
        name: of the file, for messages.
        error: what is raised for a problem in this kind of file.

    Raises:
        DocumentError: the text is no TOML.
    """

    def __init__(self, text: str, name: str, error: type[DocumentError] = DocumentError) -> None:
        self.name, self._error = name, error
        lines = text.splitlines(keepends=True)
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as cause:
            raise error(name, [_syntax_problem(cause, lines)]) from None
        except RecursionError:
            raise error(name, [(Place(1, 1), "", "tables or arrays are nested too deeply")]) from None
        self._starts = [0, *accumulate(map(len, lines))]
        self._places = _Places(text)

    def place(self, path: Path) -> Place:
        """Where the key or the item at ``path`` is written, or else the nearest table or array around it."""
        for length in range(len(path), 0, -1):
            if (at := self._places.found.get(path[:length])) is not None:
                return self._place(at)
        return Place(1, 1)

    def header_line(self, table: Path) -> int | None:
        """The line, from 1, of the header ``[table]``; ``None``: it has none, because it is written otherwise."""
        at = self._places.headers.get(table)
        return None if at is None else self._place(at).line

    def _place(self, at: int) -> Place:
        line = bisect_right(self._starts, at)
        return Place(line, at - self._starts[line - 1] + 1)

    def error(self, problems: list[Problem]) -> DocumentError:
        """The problems as one error, in the order of the lines."""
        placed = [(self.place(path), dotted(path), text) for path, text in problems]
        return self._error(self.name, sorted(placed, key=lambda item: item[0]))


class _Places:
    """Reads a valid TOML text once more, for where its tables, keys and items of arrays begin.

    Attributes:
        found: their position in the text, by path.
        headers: those of ``[table]``.
    """

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.found: dict[Path, int] = {}
        self.headers: dict[Path, int] = {}
        table: Path = ()
        arrays: dict[Path, int] = {}
        while self._next():
            header = _TABLE.match(text, self._at)
            if header is None:
                self._pair(table)
                continue
            table = _with_positions(_parts(header[2]), arrays)
            if header[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
            else:
                self.headers[table] = self._at
            self.found[table] = self._at
            for length in range(1, len(table)):
                self.found.setdefault(table[:length], self._at)
            self._at = header.end()

    def _next(self) -> str:
        """The next character that is neither space nor comment; empty at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = self._at if space is None else space.end()
        return self._text[self._at : self._at + 1]

    def _pair(self, table: Path) -> None:
        pair = _PAIR.match(self._text, self._at)
        assert pair is not None
        path = table
        for key in re.finditer(_KEY, pair[1]):
            path = (*path, *_parts(key[0]))
            self.found.setdefault(path, self._at + key.start())
        self._at = pair.end()
        self._value(path)

    def _value(self, path: Path) -> None:
        opening, index = self._text[self._at], 0
        if opening not in "[{":
            value = _STRING.match(self._text, self._at) or _OTHER.match(self._text, self._at)
            self._at = self._at if value is None else value.end()
            return
        self._at += 1
        while self._next() not in "]}":
            if opening == "{":
                self._pair(path)
            else:
                self.found[(*path, index)] = self._at
                self._value((*path, index))
                index += 1
            if self._next() == ",":
                self._at += 1
        self._at += 1


def dotted(path: Path) -> str:
    """A path as people write it: ``endpoints."/faq".budgets[0]``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
            text += f".{shown}" if text else shown
    return text


def expanded(value: object, environment: Mapping[str, str], path: Path = ()) -> tuple[Any, list[Problem]]:
    """``value`` with ``${NAME}`` and ``${NAME:-default}`` in its texts replaced, and the names that are not set."""
    if isinstance(value, str):
        missing = [match[1] for match in _VARIABLE.finditer(value) if match[1] not in environment and match[2] is None]
        if missing:
            name = missing[0]
            return value, [Problem(path, f"the environment has no {name}: set it, or write ${{{name}:-default}}")]
        return _VARIABLE.sub(lambda match: environment.get(match[1], match[2] or ""), value), []
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        return value, []
    problems, made = [], []
    for key, item in pairs:
        new, found = expanded(item, environment, (*path, key))
        made.append((key, new))
        problems += found
    return (dict(made) if isinstance(value, Mapping) else [item for _, item in made]), problems


def takes_no_variable(text: str) -> bool:
    """Whether no part of a text must come from the environment; a variable with a default need not be there."""
    return all(match[2] for match in _VARIABLE.finditer(text))


def without_variables(text: str) -> str:
    """What of a text stands in the file itself, defaults of variables included."""
    return _VARIABLE.sub(lambda match: match[2] or "", text)


def _syntax_problem(error: tomllib.TOMLDecodeError, lines: list[str]) -> tuple[Place, str, str]:
    text = str(error)
    if found := _SYNTAX_PLACE.search(text):
        return Place(int(found[1]), int(found[2])), "", text[: found.start()].strip()
    return Place(max(len(lines), 1), 1), "", text.replace("(at end of document)", "at the end of the file").strip()


def _with_positions(keys: Path, arrays: Mapping[Path, int]) -> Path:
    """``keys`` below an array of tables are keys of its last table."""
    path: Path = ()
    for index, key in enumerate(keys):
        path = (*path, key)
        if path in arrays and index < len(keys) - 1:
            path = (*path, arrays[path])
    return path


def _parts(text: str) -> Path:
    return tuple(next(iter(tomllib.loads(f"{key} = 0"))) for key in re.findall(_KEY, text))


def toml_key(name: str) -> str:
    """A name as TOML is written, in quotation marks where it needs them."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else toml_text(name)


def toml_text(text: str) -> str:
    """A text as TOML is written. JSON's escapes are TOML's, but for surrogates, which no file can hold."""
    clean = text.encode("utf-8", "replace").decode()
    written = json.dumps(clean, ensure_ascii=False).translate(_ESCAPED)
    return written.replace("$" + "{", "$ {")  # a policy file takes ${…} from outside
