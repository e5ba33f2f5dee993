"""A small table as one self-contained HTML fragment: no script, nothing to download, readable on light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from costguard_core.util.text import printable

_LEFT = "text-align:left;padding:4px 8px"
_RIGHT = "text-align:right;padding:4px 8px;font-variant-numeric:tabular-nums"
_FIGURE = f"{_RIGHT};white-space:nowrap"  # a heading may wrap, a figure never
_NAME = f"{_LEFT};white-space:nowrap"  # a short one: browsers break "user-03" at its hyphen
_SHORT = 24  # characters
_FONT = "font-family:system-ui,sans-serif;font-size:13px"
_MOST_CHARACTERS = 1_000  # of a cell or a note: a choice, so that no name fills the page
_BANNER = "border-left:3px solid #d97706;padding:2px 8px;margin-bottom:4px"
_LINE = "1px solid rgba(128,128,128,.45)"


class Bar(NamedTuple):
    """A figure with a bar behind it; ``shares`` (0 to 1, one after the other) are its parts, each paler than before."""

    text: str
    shares: tuple[float, ...]


Cell = str | Bar


def html_table(
    title: str,
    names: Sequence[str],
    figures: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Sequence[Cell]]],
    *,
    total: Sequence[str] = (),
    banner: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """A table with what must be read before it (``banner``) and after it (``notes``).

    ``names`` head the left-aligned columns, ``figures`` the right-aligned ones; a row is a pair of such lengths.
    """
    head = _cells("th", _LEFT, names) + _cells("th", _RIGHT, figures)
    body = "".join(f"<tr>{_names(key)}{_cells('td', _FIGURE, cells)}</tr>" for key, cells in rows)
    foot = f'<td style="{_LEFT}" colspan="{len(names)}">Total</td>{_cells("td", _FIGURE, total)}' if total else ""
    return (
        # The classes keep MathJax from reading what stands between two dollar signs as a formula.
        f'<div class="tex2jax_ignore mathjax_ignore" style="{_FONT}">'
        f'<div style="font-weight:600;margin-bottom:6px">{_safe(title)}</div>'
        + "".join(f'<div style="{_BANNER}">{_safe(line)}</div>' for line in banner)
        + f'<table style="border-collapse:collapse"><thead style="border-bottom:{_LINE}"><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody><tfoot style="border-top:{_LINE};font-weight:600"><tr>{foot}</tr></tfoot></table>'
        + "".join(f'<div style="opacity:.7;margin-top:4px">{_safe(note)}</div>' for note in notes)
        + "</div>"
    )


def _names(key: Sequence[str]) -> str:
    return "".join(_cells("td", _NAME if len(name) <= _SHORT else _LEFT, (name,)) for name in key)


def _cells(tag: str, style: str, cells: Iterable[Cell]) -> str:
    return "".join(f'<{tag} style="{style}{_bar(cell)}">{_safe(_text(cell))}</{tag}>' for cell in cells)


def _safe(text: str) -> str:
    return escape(printable(text, most=_MOST_CHARACTERS))


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Bar) else cell


def _bar(cell: Cell) -> str:
    if not isinstance(cell, Bar):
        return ""
    stops, edge = [], 0.0
    for depth, share in enumerate(cell.shares):
        colour = f"rgba(37,99,235,{0.18 / (depth + 1):.2f})"
        stops.append(f"{colour} {100 * edge:.1f}% {100 * (edge := edge + share):.1f}%")
    return f";background:linear-gradient(90deg,{','.join(stops)},transparent {100 * edge:.1f}%)"
