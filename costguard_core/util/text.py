"""What came from outside, made safe to show: ids, names, reasons and prompts are text, whatever characters they hold.

Every place that shows such a text uses these functions: terminals, refusals, logs, CSV, HTML and the labels of metrics.
JSON needs none of them: its strings are escaped by ``json`` itself.
"""

from __future__ import annotations

from unicodedata import category

# A choice: as long as the longest name that `attribute()` keeps.
MOST_CHARACTERS = 200

# What stands for a name that was not given.
NONE = "(none)"

# Unicode categories that move the cursor, reorder a line, or cannot be encoded: control, format, surrogate, and the
# line and paragraph separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # format characters that Persian words and composed emoji need, and that do nothing else

# OWASP, "CSV Injection": a cell that begins like this is a formula to a spreadsheet, in East Asian locales also where
# the character is a full-width one. https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """``text`` on one line, with every unsafe character as its Python escape (``\\x1b``), cut after ``most``.

    The result can be encoded, holds no control characters, and has at most ``most`` characters of the text.
    """
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join([_escaped(character) if _is_unsafe(character) else character for character in text])


def csv_cell(text: str) -> str:
    """``text`` for a CSV file: printable, and with an apostrophe before what a spreadsheet would read as a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown


def _is_unsafe(character: str) -> bool:
    return category(character) in _UNSAFE and character not in _JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
