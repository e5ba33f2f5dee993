"""How commands answer: in words, or as JSON where it was asked for."""

from __future__ import annotations

import json
from typing import Any

import typer


def say(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print ``data`` or ``text``."""
    if as_json:
        print_json(data)
    else:
        typer.echo(text)


def print_json(data: object) -> None:
    """Print JSON; what JSON does not know is written as text."""
    typer.echo(json.dumps(data, indent=2, default=str))
