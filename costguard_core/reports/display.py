"""How a :class:`Report` looks: in a terminal, in a notebook (HTML) and in Markdown. All show the same cells.

The terminal's table is laid out here, as loading a library for it takes as long as a report over a million calls.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import combining, east_asian_width

from costguard_core.reports.time_buckets import read_zone
from costguard_core.types import usd
from costguard_core.util.html_table import Bar, Cell, html_table
from costguard_core.util.text import markdown_cell, moment_text, value_text

if TYPE_CHECKING:
    from costguard_core.reports.report import Report, Totals

_TEXT_ROWS, _HTML_ROWS = 30, 200
_GAP = 2
_NARROWEST = 6  # columns of a name


@dataclass(frozen=True, slots=True)
class ReportCells:
    """A report as text in cells.

    Attributes:
        title: what is reported, by what and since when.
        names: the heads of the first columns, which hold the keys of the groups.
        heads: the heads of the other columns, which hold figures.
        rows: one per group: its key and its figures.
        total: the figures of all groups together.
        shares: of each row, its part of the total spend (0 to 1).
        banner: what makes the figures less than certain, to be read before them.
        notes: what a reader must know beside the figures.
    """

    title: str
    names: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    total: tuple[str, ...]
    shares: tuple[float, ...]
    banner: tuple[str, ...]
    notes: tuple[str, ...]


def _spend(totals: Totals, digits: int) -> str:
    """A price that nobody knows is never shown as nothing."""
    if not totals.unpriced and not totals.partly_priced:
        return format_money(totals.cost, digits)
    return f"≥ {format_money(totals.cost, digits)}" if totals.cost else "?"


def format_money(nanos: int, digits: int) -> str:
    """Dollars with a fixed number of decimals; what would round to nothing says so: ``<$0.01``."""
    smallest = Decimal(1).scaleb(-digits)
    rounded = usd(abs(nanos)).quantize(smallest, ROUND_HALF_UP)
    sign = "-" if nanos < 0 else ""  # where a router's escalation made an answer dearer
    return f"<${smallest}" if nanos and not rounded else f"{sign}${rounded:,}"


def format_seconds(value: float | None) -> str:
    """A duration as a reader wants it: ``3 ms``, ``420 ms``, ``1.42 s``; ``–`` for none."""
    if value is None:
        return "–"
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


class Column(NamedTuple):
    """One column of figures.

    Attributes:
        head: its heading.
        rank: 0: always shown; the others as far as there is room, in this order.
        cell: its text, from the totals of a group and the decimals of money.
    """

    head: str
    rank: int
    cell: Callable[[Totals, int], str]


def _share(part: float, answered: int) -> str:
    return f"{part:.0%}" if answered else "–"


COLUMNS: tuple[Column, ...] = (
    Column("Calls", 0, lambda totals, _: f"{totals.calls:,}"),
    Column("Paid", 3, lambda totals, _: f"{totals.paid:,}"),
    Column("Hits", 5, lambda totals, _: f"{totals.hits:,}"),
    Column("Hit rate", 0, lambda totals, _: _share(totals.hit_rate, totals.answered)),
    Column("Exact", 10, lambda totals, _: _share(totals.exact_rate, totals.answered)),
    Column("Semantic", 11, lambda totals, _: _share(totals.semantic_rate, totals.answered)),
    Column("Joined", 12, lambda totals, _: _share(totals.coalesced_rate, totals.answered)),
    Column("Refused", 1, lambda totals, _: f"{totals.refused:,}"),
    Column("Errors", 2, lambda totals, _: f"{totals.errors:,}"),
    Column("Tokens in", 6, lambda totals, _: f"{totals.input_tokens:,}"),
    Column("Cached", 8, lambda totals, _: _share(totals.prompt_cache_rate, totals.input_tokens)),
    Column("Written", 13, lambda totals, _: f"{totals.cache_write_tokens:,}"),
    Column("Tokens out", 7, lambda totals, _: f"{totals.output_tokens:,}"),
    Column("Reasoning", 9, lambda totals, _: f"{totals.reasoning_tokens:,}"),
    Column("Spend", 0, _spend),
    Column("Saved", 0, lambda totals, digits: format_money(totals.saved, digits)),
    Column("by cache", 14, lambda totals, digits: format_money(_saved_by_caches(totals), digits)),
    Column("by routing", 15, lambda totals, digits: format_money(totals.saved_routing, digits)),
    Column("p50", 4, lambda totals, _: format_seconds(totals.p50)),
    Column("p95", 0, lambda totals, _: format_seconds(totals.p95)),
)
_HTML_WIDTH = 100  # characters; wider tables hide the spend behind a scroll bar
_MARKDOWN_WIDTH = 120
_LONGEST_NAME = 60  # characters that a column of figures gives way to
_NUMBER = re.compile(r"\d{3,}|\d{1,3}(?:,\d{3})+")


def _saved_by_caches(totals: Totals) -> int:
    return totals.saved_exact + totals.saved_semantic + totals.saved_coalesced


def report_cells(report: Report, *, limit: int, width: int = 1_000) -> ReportCells:
    """The cells of at most ``limit`` rows, in the figures that a terminal of ``width`` columns has room for.

    Names are kept whole as far as the figures that are always shown leave room; large counts are shortened for them.
    """
    shown = report.rows[:limit]
    digits = _digits(report.total.cost, report.total.saved)
    whole = report.total.cost or 1
    keys = [_names(row.key) for row in shown]
    groups = [report.total, *(row.totals for row in shown)]
    texts = {column: [column.cell(totals, digits) for totals in groups] for column in COLUMNS}
    columns = [column for column in COLUMNS if not column.rank]
    for_names = sum(_GAP + _longest(names) for names in zip(report.by, *keys, strict=True)) if report.by else 5 + _GAP
    room = width - for_names
    if sum(map(_width, columns, [texts[column] for column in columns])) > room:
        texts = {column: [*map(_squeezed, cells)] for column, cells in texts.items()}
    room -= sum(map(_width, columns, [texts[column] for column in columns]))
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if column.rank:
            room -= _width(column, texts[column])
            if room < 0:
                break
            columns.append(column)
    columns.sort(key=COLUMNS.index)
    rows = zip(*(texts[column] for column in columns), strict=True)
    total, *figures = rows
    return ReportCells(
        title=_title(report),
        names=tuple(name.capitalize() for name in report.by),
        heads=tuple(column.head for column in columns),
        rows=tuple(zip(keys, figures, strict=True)),
        total=total,
        shares=tuple(row.totals.cost / whole for row in shown),
        banner=tuple(_banner(report.total)),
        notes=tuple(_notes(report, len(shown))),
    )


def _width(column: Column, cells: Iterable[str]) -> int:
    return _GAP + max(len(column.head), *map(len, cells))


def _longest(names: Iterable[str]) -> int:
    return min(_LONGEST_NAME, max(map(len, names)))


def _squeezed(text: str) -> str:
    """A cell with a large count shortened: ``1.23M`` for 1,234,567."""
    if not _NUMBER.fullmatch(text):
        return text
    count = int(text.replace(",", ""))
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= max(size, 100_000):
            return f"{count / size:.3g}{letter}" if count / size < 999.5 else f"{count / size:.0f}{letter}"
    return text


def as_text(report: Report, *, width: int | None = None, bold: bool = False) -> str:
    """The report as plain text, as wide as the terminal (100 columns where there is none).

    No line is wider, a name is cut before a figure is. ``bold`` marks the title and the total for a terminal.
    """
    columns = width or shutil.get_terminal_size((100, 24)).columns
    cells = report_cells(report, limit=_TEXT_ROWS, width=columns)
    names = cells.names or ("",)
    lines = [
        (*names, *cells.heads),
        *((*(key or ("",)), *figures) for key, figures in cells.rows),
        ("Total", *[""] * (len(names) - 1), *cells.total),
    ]
    widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
    room = columns - sum(_GAP + width for width in widths[len(names) :])
    widths[: len(names)] = _shared(widths[: len(names)], room - _GAP * (len(names) - 1))
    head, *rows, total = ["".join(_aligned(line, widths, len(names))).rstrip() for line in lines]
    rule = "─" * min(columns, sum(widths) + _GAP * (len(widths) - 1))
    wrapped = [textwrap.wrap(line, columns) for line in (cells.title, *(f"! {line}" for line in cells.banner))]
    title = [line for part in wrapped for line in part]
    notes = [line for note in cells.notes for line in textwrap.wrap(note, columns)]
    if bold:
        title, total = [f"\x1b[1m{line}\x1b[0m" for line in title], f"\x1b[1m{total}\x1b[0m"
    return "\n".join([*title, head, rule, *rows, rule, total, *notes])


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """Widths of the columns of names: what they want if there is room, else an equal part of it."""
    if sum(wanted) <= room:
        return list(wanted)
    found, left = list(wanted), len(wanted)
    for place in sorted(range(len(wanted)), key=lambda place: wanted[place]):  # short ones leave their room to others
        found[place] = min(wanted[place], max(_NARROWEST, room // left))
        room, left = room - found[place], left - 1
    return found


def _aligned(line: Sequence[str], widths: Sequence[int], names: int) -> Iterable[str]:
    for place, (text, width) in enumerate(zip(line, widths, strict=True)):
        shown = _cut(text, width)
        padding = " " * (width - _columns(shown))
        yield (" " * _GAP if place else "") + (f"{shown}{padding}" if place < names else f"{padding}{shown}")


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters take two, and what combines with one before none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    if _columns(text) <= width:
        return text
    kept = ""
    for character in text:
        if _columns(kept + character) > width - 1:
            break
        kept += character
    return f"{kept}…"


def show(report: Report) -> None:
    """Print the report: on a terminal with a bold title and total, if ``NO_COLOR`` is not set."""
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = as_text(report, bold=bold)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def as_html(report: Report) -> str:
    """The report as one self-contained HTML fragment, as wide as the cell of a notebook."""
    cells = report_cells(report, limit=_HTML_ROWS, width=_HTML_WIDTH)
    spend = cells.heads.index("Spend")
    rows: list[tuple[tuple[str, ...], tuple[Cell, ...]]] = []
    for (key, figures), share in zip(cells.rows, cells.shares, strict=True):
        rows.append((key or ("",), (*figures[:spend], Bar(figures[spend], (share,)), *figures[spend + 1 :])))
    return html_table(
        cells.title,
        cells.names or ("",),
        cells.heads,
        rows,
        total=cells.total,
        banner=cells.banner,
        notes=cells.notes,
    )


def as_markdown(report: Report) -> str:
    """The report as a Markdown table (GitHub's), with the figures of a terminal of 120 columns."""
    cells = report_cells(report, limit=_HTML_ROWS, width=_MARKDOWN_WIDTH)
    names = cells.names or ("",)
    lines = [f"**{markdown_cell(cells.title)}**", ""]
    lines += [f"> {markdown_cell(line)}\n" for line in cells.banner]
    lines.append(_markdown_row((*names, *cells.heads)))
    lines.append("|" + " :--- |" * len(names) + " ---: |" * len(cells.heads))
    lines += [_markdown_row((*(key or ("",)), *figures)) for key, figures in cells.rows]
    lines.append(_markdown_row(("Total", *[""] * (len(names) - 1), *cells.total), strong=True))
    lines += [f"\n{markdown_cell(note)}" for note in cells.notes]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str], *, strong: bool = False) -> str:
    texts = [markdown_cell(cell) for cell in cells]
    return "| " + " | ".join(f"**{text}**" if strong and text else text for text in texts) + " |"


def _digits(*nanos: int) -> int:
    """Decimals for a column: cents are too coarse where the whole column is worth a few dollars."""
    largest = usd(max(nanos))
    if not largest or largest >= 10:
        return 2
    return 4 if 100 * largest >= 1 else 6


def _names(key: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple([value_text(part) for part in key])


def _title(report: Report) -> str:
    by = f" by {', '.join(report.by)}" if report.by else ""
    zone = read_zone(report.timezone)
    since = f" · since {moment_text(report.since, zone)}" if report.since is not None else ""
    until = f" · until {moment_text(report.until, zone)}" if report.until is not None else ""
    return f"LLM spend{by}{since}{until}"


def _banner(total: Totals) -> Iterable[str]:
    if total.unpriced:
        yield f"{_calls(total.unpriced)} without a known price: not in Spend. Add it with CostGuard(prices={{…}})."
    if total.partly_priced:
        yield f"{_calls(total.partly_priced)} with a part that has no known price: Spend is a floor."
    if total.estimated:
        yield f"{_calls(total.estimated)} without reported usage: counted here, so Spend is an estimate."


def _notes(report: Report, shown: int) -> Iterable[str]:
    more = len(report.rows) - shown + report.more
    if more:
        yield f"… and {more:,} more rows; the total is of all."
    yield from report.notes
    if report.total.abandoned:
        abandoned = _calls(report.total.abandoned)
        yield f"{abandoned} abandoned (cancelled, or the process died): counted at the likely cost."


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"
