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
from costguard_core.reports.report import NONE, Report, Totals
from costguard_core.types import usd

if TYPE_CHECKING:
    from rich.table import Table

_TEXT_ROWS, _HTML_ROWS = 30, 200
_GAP = 2


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report as text in cells: ``names`` head the first columns (keys), ``heads`` the others (figures)."""

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
        return money(totals.cost, digits)
    return f"≥ {money(totals.cost, digits)}" if totals.cost else "?"


def money(nanos: int, digits: int) -> str:
    """Dollars with a fixed number of decimals; what would round to nothing says so: ``<$0.01``."""
    smallest = Decimal(1).scaleb(-digits)
    rounded = usd(abs(nanos)).quantize(smallest, ROUND_HALF_UP)
    sign = "-" if nanos < 0 else ""  # where a router's escalation made an answer dearer
    return f"<${smallest}" if nanos and not rounded else f"{sign}${rounded:,}"


def seconds(value: float | None) -> str:
    """A duration as a reader wants it: ``3 ms``, ``420 ms``, ``1.42 s``; ``–`` for none."""
    if value is None:
        return "–"
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


class Figure(NamedTuple):
    """A column: shown from ``width`` columns of terminal on; ``cell`` takes the totals and the decimals of money."""

    head: str
    width: int
    cell: Callable[[Totals, int], str]


FIGURES: tuple[Figure, ...] = (
    Figure("Calls", 0, lambda totals, _: f"{totals.calls:,}"),
    Figure("Paid", 96, lambda totals, _: f"{totals.paid:,}"),
    Figure("Hits", 96, lambda totals, _: f"{totals.hits:,}"),
    Figure("Hit rate", 0, lambda totals, _: f"{totals.hit_rate:.0%}" if totals.answered else "–"),
    Figure("Refused", 72, lambda totals, _: f"{totals.refused:,}"),
    Figure("Errors", 72, lambda totals, _: f"{totals.errors:,}"),
    Figure("Tokens in", 120, lambda totals, _: f"{totals.input_tokens:,}"),
    Figure("Tokens out", 120, lambda totals, _: f"{totals.output_tokens:,}"),
    Figure("Spend", 0, _spend),
    Figure("Saved", 0, lambda totals, digits: money(totals.saved, digits)),
    Figure("p50", 96, lambda totals, _: seconds(totals.p50)),
    Figure("p95", 0, lambda totals, _: seconds(totals.p95)),
)


def as_sheet(report: Report, *, limit: int, width: int = 1_000) -> Sheet:
    """The cells of at most ``limit`` rows, in the figures that a terminal of ``width`` columns has room for."""
    shown = report.rows[:limit]
    figures = [figure for figure in FIGURES if figure.width <= width]
    digits = _digits(report.total.cost, report.total.saved)
    whole = report.total.cost or 1

    def cells(totals: Totals) -> tuple[str, ...]:
        return tuple(figure.cell(totals, digits) for figure in figures)

    return Sheet(
        title=_title(report),
        names=tuple(name.capitalize() for name in report.by),
        heads=tuple(figure.head for figure in figures),
        rows=tuple((tuple(map(_printable, row.key)), cells(row.totals)) for row in shown),
        total=cells(report.total),
        shares=tuple(row.totals.cost / whole for row in shown),
        notes=tuple(_notes(report, len(shown))),
    )


def as_table(report: Report, *, width: int) -> Table:
    """The report as a rich table, for a console of ``width`` columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    sheet = as_sheet(report, limit=_TEXT_ROWS, width=width)
    table = Table(
        title=sheet.title,
        title_style="bold",
        title_justify="left",
        caption="\n".join(sheet.notes) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_footer=True,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    names = sheet.names or ("",)
    room = (width - sum(_GAP + figure for figure in _widths(sheet))) // len(names) - _GAP
    for index, name in enumerate(names):  # a name may be cut, a figure never
        table.add_column(
            name, footer="" if index else "Total", overflow="ellipsis", no_wrap=True, max_width=max(6, room)
        )
    for head, total in zip(sheet.heads, sheet.total, strict=True):
        table.add_column(head, footer=total, justify="right", no_wrap=True)
    for key, figures in sheet.rows:
        table.add_row(*(Text(part) for part in key), *figures)
    return table


def _widths(sheet: Sheet) -> list[int]:
    """The width of each column of figures."""
    lines = [sheet.heads, sheet.total, *(figures for _, figures in sheet.rows)]
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
    sheet = as_sheet(report, limit=_HTML_ROWS)
    spend = sheet.heads.index("Spend")
    rows: list[tuple[tuple[str, ...], tuple[Cell, ...]]] = []
    for (key, figures), share in zip(sheet.rows, sheet.shares, strict=True):
        rows.append((key or ("",), (*figures[:spend], Bar(figures[spend], (share,)), *figures[spend + 1 :])))
    return html_table(sheet.title, sheet.names or ("",), sheet.heads, rows, total=sheet.total, notes=sheet.notes)


def _digits(*nanos: int) -> int:
    """Decimals for a column: cents are too coarse where the whole column is worth a few dollars."""
    largest = usd(max(nanos))
    if not largest or largest >= 10:
        return 2
    return 4 if 100 * largest >= 1 else 6


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


def _printable(part: str | None) -> str:
    """Names come from requests: no control characters reach the terminal."""
    if part is None:
        return NONE
    return "".join(character if character.isprintable() else "�" for character in part)
