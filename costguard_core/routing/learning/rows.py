"""Paired rows: what both models made of the same questions. A router is trained on them and measured with them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, NamedTuple, cast

from costguard_core.errors import ConfigurationError

_EXAMPLE = '{"prompt": "When do you open?", "weak": 1, "strong": 1, "tag": "/faq"}'


class Row(NamedTuple):
    """One question that both models answered.

    Attributes:
        prompt: the question.
        weak: how good the weak model's answer was, 0 to 1.
        strong: how good the strong model's answer was, 0 to 1.
        tag: the call site.
        answer: the weak model's answer, for a router that also reads answers.
    """

    prompt: str
    weak: float
    strong: float
    tag: str | None = None
    answer: str | None = None


def read_rows(path: str | PathLike[str]) -> Iterator[Row]:
    """Rows from JSON lines (``.gz`` too): ``prompt``, ``weak`` and ``strong`` (qualities 0..1), optional ``tag``.

    Raises:
        ConfigurationError: there is no such file, or a line is not such a row; the text names the line, never its
            content.
    """
    file = Path(path)
    open_text = gzip.open if file.suffix == ".gz" else open
    try:
        with cast(IO[str], open_text(file, "rt", encoding="utf-8-sig")) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"{file} cannot be read: {error.__class__.__name__}") from error


def _row(line: str, where: str) -> Row:
    try:
        raw = json.loads(line)
        prompt, tag = raw["prompt"], raw.get("tag")
        weak, strong = float(raw["weak"]), float(raw["strong"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else "not a JSON object with numbers in weak and strong"
        raise ConfigurationError(f"{where}: {what}. A row is {_EXAMPLE}") from error
    if not isinstance(prompt, str) or not (0 <= weak <= 1 and 0 <= strong <= 1):
        raise ConfigurationError(f"{where}: prompt is text, weak and strong are 0 to 1. A row is {_EXAMPLE}")
    return Row(prompt, weak, strong, tag=None if tag is None else str(tag))
