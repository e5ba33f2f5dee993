"""Numbers in exports: where the comma is the decimal mark and where it is between thousands.

``1,234`` is one or one thousand, so the mark is decided once for a file: by the numbers in it that can only be meant in
one way. Where columns are separated by commas, the decimal mark is a point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from costguard_core.errors import CostGuardError
from costguard_core.util.text import printable

POINT, COMMA = ".", ","
_SPACES = re.compile(r"(?<=\d)[\u00a0\u202f\u2009 '’](?=\d{3})")  # between thousands too
_GROUPS = {
    POINT: re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"),
    COMMA: re.compile(r"[-+]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?"),
}
_DECIMALS = {POINT: re.compile(r"[-+]?\d*\.\d+"), COMMA: re.compile(r"[-+]?\d*,\d+")}
_ONE_GROUP = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")


def plain(text: str, mark: str) -> str:
    """A number as Python writes it; what is no number in this way of writing stays as it is."""
    number = _bare(text)
    if _GROUPS[mark].fullmatch(number):
        number = number.replace(POINT if mark == COMMA else COMMA, "")
    return number.replace(COMMA, POINT) if mark == COMMA and _DECIMALS[mark].fullmatch(number) else number


def decimal_mark(amounts: Iterable[str], counts: Iterable[str], *, delimiter: str) -> str:
    """The decimal mark of a file, from its amounts of money, else from its counts, which have no decimals.

    Raises:
        CostGuardError: both are written, or nothing says which is meant.
    """
    if delimiter == ",":
        return POINT
    numbers = [_bare(text) for text in amounts]
    unsure = next((text for text in numbers if _ONE_GROUP.fullmatch(text)), None)
    said: dict[str, str] = {}
    for text in numbers:
        said.update(dict.fromkeys(_marks_of(text), text) if not _ONE_GROUP.fullmatch(text) else {})
    if not said:
        counted = map(_bare, counts)
        said = {mark: text for text in counted for mark in (POINT, COMMA) if _GROUPS[mark].fullmatch(text)}
    if len(said) > 1:
        both = " and ".join(repr(printable(text, most=40)) for text in said.values())
        raise CostGuardError(f"{both}: the decimal mark is a point in one and a comma in the other")
    if not said and unsure is not None:
        whole = re.sub("[.,]", "", unsure)
        raise CostGuardError(
            f"{unsure!r} may be {unsure.replace(COMMA, POINT)} or {whole}, and no other amount says which: write it "
            f"with two decimals, or export with columns that are separated by commas"
        )
    return next(iter(said), POINT)


def _marks_of(text: str) -> list[str]:
    return [mark for mark in (POINT, COMMA) if _GROUPS[mark].fullmatch(text) or _DECIMALS[mark].fullmatch(text)]


def _bare(text: str) -> str:
    return _SPACES.sub("", text.replace("$", "").strip())
