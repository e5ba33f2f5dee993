"""A TOML text with the place of each key, and with ``${NAME}`` replaced by the environment.

Format: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError

Path = tuple[str | int, ...]
"""The way to a value: keys of tables and positions in arrays, such as ``("budgets", 0, "limit")``."""

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=\s*")
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
        self._lines = text.splitlines()
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as cause:
            raise error(name, [_syntax_problem(cause, self._lines)]) from None
        self._places = dict(_keys(self._lines))

    def place(self, path: Path) -> Place:
        """Where the value at ``path`` is written, or else the nearest table or array around it."""
        for length in range(len(path), 0, -1):
            if (place := self._places.get(path[:length])) is not None:
                return self._inside(place, self._value(path)) if length < len(path) else place
        return Place(1, 1)

    def header_line(self, table: Path) -> int | None:
        """The line, from 1, of the header ``[table]``; ``None``: it has none, because it is written otherwise."""
        place = self._places.get(table)
        found = None if place is None else _TABLE.match(self._lines[place.line - 1])
        return place.line if place is not None and found is not None and found[1] == "[" else None

    def error(self, problems: list[Problem]) -> DocumentError:
        """The problems as one error, in the order of the lines."""
        placed = [(self.place(path), dotted(path), text) for path, text in problems]
        return self._error(self.name, sorted(placed, key=lambda item: item[0]))

    def _value(self, path: Path) -> Any:
        value: Any = self.values
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _inside(self, start: Place, value: object) -> Place:
        """The first place after ``start`` at which a text or a number of an array or an inline table is written."""
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            shown = value if isinstance(value, str) else json.dumps(value)
            for number, line in enumerate(self._lines[start.line - 1 :], start.line):
                if shown and (column := line.find(shown, start.column - 1 if number == start.line else 0)) >= 0:
                    return Place(number, column if isinstance(value, str) and column else column + 1)
        return start


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


def has_variable(text: str) -> bool:
    """Whether a text takes a part from the environment."""
    return _VARIABLE.search(text) is not None


def _syntax_problem(error: tomllib.TOMLDecodeError, lines: list[str]) -> tuple[Place, str, str]:
    text = str(error)
    if found := _SYNTAX_PLACE.search(text):
        return Place(int(found[1]), int(found[2])), "", text[: found.start()].strip()
    return Place(max(len(lines), 1), 1), "", text.replace("(at end of document)", "at the end of the file").strip()


def _keys(lines: list[str]) -> Iterator[tuple[Path, Place]]:
    """The path and place of every table header and of every key that begins a line."""
    table: Path = ()
    arrays: dict[Path, int] = {}
    quotes = ""  # the three quotes that end the text we are in
    for number, line in enumerate(lines, 1):
        if quotes:
            quotes = "" if quotes in line else quotes
            continue
        rest = line
        if header := _TABLE.match(line):
            table = _with_positions(_parts(header[2]), arrays)
            if header[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
            yield table, Place(number, line.index("[") + 1)
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_parts(assignment[1]))
            yield path, Place(number, len(line) - len(line.lstrip()) + 1)
            rest = line[assignment.end() :]
        for mark in ('"""', "'''"):
            if rest.count(mark) % 2:
                quotes = mark


def _with_positions(keys: Path, arrays: Mapping[Path, int]) -> Path:
    """``keys`` below an array of tables are keys of its last table."""
    path: Path = ()
    for index, key in enumerate(keys):
        path = (*path, key)
        if path in arrays and index < len(keys) - 1:
            path = (*path, arrays[path])
    return path


def _parts(text: str) -> Path:
    found = re.findall(_KEY, text)
    return tuple(json.loads(key) if key[0] == '"' else key.strip("'") for key in found)


def toml_key(name: str) -> str:
    """A name as TOML is written, in quotation marks where it needs them."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else toml_text(name)


def toml_text(text: str) -> str:
    """A text as TOML is written. JSON's escapes are TOML's, but for surrogates, which no file can hold."""
    clean = text.encode("utf-8", "replace").decode()
    written = json.dumps(clean, ensure_ascii=False).translate(_ESCAPED)
    return written.replace("$" + "{", "$ {")  # a policy file takes ${…} from outside
