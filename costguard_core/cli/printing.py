"""How commands print: in words, or as JSON where it was asked for. What a user typed never reaches a terminal raw."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer

from costguard_core.util.text import printable

_LONGEST_LINE = 10_000  # characters: a choice, far beyond any table


def print_text(text: str, *, error: bool = False) -> None:
    """Print lines, with what is not printable in them as escapes; ``error`` prints to standard error."""
    typer.echo("\n".join([printable(line, most=_LONGEST_LINE) for line in text.split("\n")]), err=error)


def print_result(data: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print ``data`` or ``text``."""
    if as_json:
        print_json(data)
    else:
        print_text(text)


def print_json(data: object) -> None:
    """Print JSON; what JSON does not know is written as text."""
    typer.echo(json.dumps(data, indent=2, default=str))
