"""What came from outside, made safe to show: ids, names, reasons and prompts are text, whatever characters they hold.

Every place that shows such a text uses these functions: terminals, refusals, logs, CSV, HTML and the labels of metrics.
JSON needs none of them: its strings are escaped by ``json`` itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from costguard_core.errors import escaped

# A choice: as long as the longest name that `attribute()` keeps.
MOST_CHARACTERS = 200

# What stands for a name that was not given.
NONE = "(none)"

# OWASP, "CSV Injection": a cell that begins like this is a formula to a spreadsheet, in East Asian locales also where
# the character is a full-width one. https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


# What GitHub's Markdown reads as markup. https://github.github.com/gfm/
_MARKUP = frozenset("\\`*_[]|~#!")


def printable(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """``text`` on one line, with every unsafe character as its Python escape (``\\x1b``), cut after ``most``.

    The result can be encoded, holds no control characters, and has at most ``most`` characters of the text.
    """
    return escaped(text if len(text) <= most else f"{text[: most - 1]}…")


def value_text(value: str | None) -> str:
    """A value of a dimension, or that there is none, on one line."""
    return NONE if value is None else printable(value)


def csv_cell(text: str) -> str:
    """``text`` for a CSV file: printable, and with an apostrophe before what a spreadsheet would read as a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown


def markdown_cell(text: str) -> str:
    """``text`` for a cell of a Markdown table: printable, and nothing in it is markup or the end of the cell."""
    shown = _no_tags(printable(text))
    return "".join([f"\\{character}" if character in _MARKUP else character for character in shown])


def _no_tags(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def moment_text(moment: float, zone: tzinfo = UTC) -> str:
    """Unix seconds as people write a minute: ``2026-11-29 14:05 UTC``."""
    return f"{datetime.fromtimestamp(moment, zone):%Y-%m-%d %H:%M %Z}"
