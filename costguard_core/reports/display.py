"""How a :class:`Report` looks: in a terminal (rich) and in a notebook (HTML). Both show the same cells."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from costguard_core.reports.html_table import Bar, Cell, html_table
from costguard_core.types import usd
from costguard_core.util.text import NONE, printable

if TYPE_CHECKING:
    from rich.table import Table

    from costguard_core.reports.report import Report, Totals

_TEXT_ROWS, _HTML_ROWS = 30, 200
_GAP = 2


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
        notes: what a reader must know beside the figures.
    """

    title: str
    names: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    total: tuple[str, ...]
    shares: tuple[float, ...]
    notes: tuple[str, ...]


def _spend(totals: Totals, digits: int) -> str:
    """A price that nobody knows is never shown as nothing."""
    if not totals.unpriced:
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
        width: how many columns a terminal must have for it to be shown.
        cell: its text, from the totals of a group and the decimals of money.
    """

    head: str
    width: int
    cell: Callable[[Totals, int], str]


COLUMNS: tuple[Column, ...] = (
    Column("Calls", 0, lambda totals, _: f"{totals.calls:,}"),
    Column("Paid", 96, lambda totals, _: f"{totals.paid:,}"),
    Column("Hits", 96, lambda totals, _: f"{totals.hits:,}"),
    Column("Hit rate", 0, lambda totals, _: f"{totals.hit_rate:.0%}" if totals.answered else "–"),
    Column("Refused", 72, lambda totals, _: f"{totals.refused:,}"),
    Column("Errors", 72, lambda totals, _: f"{totals.errors:,}"),
    Column("Tokens in", 120, lambda totals, _: f"{totals.input_tokens:,}"),
    Column("Tokens out", 120, lambda totals, _: f"{totals.output_tokens:,}"),
    Column("Spend", 0, _spend),
    Column("Saved", 0, lambda totals, digits: format_money(totals.saved, digits)),
    Column("p50", 96, lambda totals, _: format_seconds(totals.p50)),
    Column("p95", 0, lambda totals, _: format_seconds(totals.p95)),
)


def report_cells(report: Report, *, limit: int, width: int = 1_000) -> ReportCells:
    """The cells of at most ``limit`` rows, in the figures that a terminal of ``width`` columns has room for."""
    shown = report.rows[:limit]
    columns = [column for column in COLUMNS if column.width <= width]
    digits = _digits(report.total.cost, report.total.saved)
    whole = report.total.cost or 1

    def figures(totals: Totals) -> tuple[str, ...]:
        return tuple(column.cell(totals, digits) for column in columns)

    return ReportCells(
        title=_title(report),
        names=tuple(name.capitalize() for name in report.by),
        heads=tuple(column.head for column in columns),
        rows=tuple((_names(row.key), figures(row.totals)) for row in shown),
        total=figures(report.total),
        shares=tuple(row.totals.cost / whole for row in shown),
        notes=tuple(_notes(report, len(shown))),
    )


def as_table(report: Report, *, width: int) -> Table:
    """The report as a rich table, for a console of ``width`` columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = report_cells(report, limit=_TEXT_ROWS, width=width)
    table = Table(
        title=cells.title,
        title_style="bold",
        title_justify="left",
        caption="\n".join(cells.notes) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_footer=True,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    names = cells.names or ("",)
    room = (width - sum(_GAP + figure for figure in _widths(cells))) // len(names) - _GAP
    for index, name in enumerate(names):  # a name may be cut, a figure never
        table.add_column(
            name, footer="" if index else "Total", overflow="ellipsis", no_wrap=True, max_width=max(6, room)
        )
    for head, total in zip(cells.heads, cells.total, strict=True):
        table.add_column(head, footer=total, justify="right", no_wrap=True)
    for key, figures in cells.rows:
        table.add_row(*(Text(part) for part in key), *figures)
    return table


def _widths(cells: ReportCells) -> list[int]:
    """The width of each column of figures."""
    lines = [cells.heads, cells.total, *(figures for _, figures in cells.rows)]
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def as_text(report: Report, *, width: int | None = None) -> str:
    """The report as plain text, without colours, as wide as the terminal (100 columns where there is none)."""
    from rich.console import Console

    columns = width or shutil.get_terminal_size((100, 24)).columns
    text = StringIO()
    # In a notebook rich would display the table instead of writing it to `text`.
    console = Console(
        file=text, width=columns, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    console.print(as_table(report, width=columns))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def show(report: Report) -> None:
    """Print the report on the terminal: in colour if it has some and ``NO_COLOR`` is not set."""
    from rich.console import Console

    console = Console()
    console.print(as_table(report, width=console.width))


def as_html(report: Report) -> str:
    """The report as one self-contained HTML fragment."""
    cells = report_cells(report, limit=_HTML_ROWS)
    spend = cells.heads.index("Spend")
    rows: list[tuple[tuple[str, ...], tuple[Cell, ...]]] = []
    for (key, figures), share in zip(cells.rows, cells.shares, strict=True):
        rows.append((key or ("",), (*figures[:spend], Bar(figures[spend], (share,)), *figures[spend + 1 :])))
    return html_table(cells.title, cells.names or ("",), cells.heads, rows, total=cells.total, notes=cells.notes)


def _digits(*nanos: int) -> int:
    """Decimals for a column: cents are too coarse where the whole column is worth a few dollars."""
    largest = usd(max(nanos))
    if not largest or largest >= 10:
        return 2
    return 4 if 100 * largest >= 1 else 6


def _names(key: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple([NONE if part is None else printable(part) for part in key])


def _title(report: Report) -> str:
    by = f" by {', '.join(report.by)}" if report.by else ""
    since = f" · since {_when(report.since)}" if report.since is not None else ""
    until = f" · until {_when(report.until)}" if report.until is not None else ""
    return f"LLM spend{by}{since}{until}"


def _when(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def _notes(report: Report, shown: int) -> Iterable[str]:
    total, more = report.total, len(report.rows) - shown
    if more:
        yield f"… and {more:,} more rows; the total is of all."
    if total.unpriced:
        yield f"{_calls(total.unpriced)} without a known price: not in Spend. Add it with CostGuard(prices={{…}})."
    if total.estimated:
        yield f"{_calls(total.estimated)} without reported usage: counted here, so Spend is an estimate."
    if total.abandoned:
        yield f"{_calls(total.abandoned)} abandoned (cancelled, or the process died): counted at the likely cost."


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"
