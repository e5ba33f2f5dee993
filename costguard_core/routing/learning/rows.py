"""Paired rows from a file: what both models made of the same questions."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.training import Row


def read_rows(path: str | PathLike[str]) -> Iterator[Row]:
    """Rows from JSON lines (``.gz`` too): ``prompt``, ``weak`` and ``strong`` (qualities 0..1), optional ``tag``.

    Raises:
        ConfigurationError: there is no such file, or a line is not such a row; the text names the line, never its
            content.
    """
    file = Path(path)
    opened: Any = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as lines:
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
        told = f"no {error}" if isinstance(error, KeyError) else "not a JSON object with numbers in weak and strong"
        raise ConfigurationError(f"{where}: {told}. A row is {_EXAMPLE}") from error
    if not isinstance(prompt, str) or not (0 <= weak <= 1 and 0 <= strong <= 1):
        raise ConfigurationError(f"{where}: prompt is text, weak and strong are 0 to 1. A row is {_EXAMPLE}")
    return Row(prompt, weak, strong, tag=None if tag is None else str(tag))


_EXAMPLE = '{"prompt": "When do you open?", "weak": 1, "strong": 1, "tag": "/faq"}'
