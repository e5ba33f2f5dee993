"""How a :class:`Reconciliation` looks: text, HTML and Markdown show the same cells."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Literal, NamedTuple

from costguard_core.reports.reconciliation.differences import KINDS
from costguard_core.types import usd
from costguard_core.util.html_table import html_table
from costguard_core.util.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from costguard_core.reports.reconciliation.result import Reconciliation, Row

_TEXT_ROWS, _OTHER_ROWS = 30, 200
_NAMES = ("Day", "Model or tool")
_HEADS = ("Billed", "In the ledger", "Difference", "Requests", "Calls")
_WHY_TITLE = "Why the bill differs"
_MARKDOWN_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|~"})


class Cells(NamedTuple):
    """The texts of one line.

    Attributes:
        names: what it is about.
        figures: its money and counts.
        why: why the two sides differ.
    """

    names: tuple[str, ...]
    figures: tuple[str, ...]
    why: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.names, *self.figures, *self.why)


_WHOLE = Cells(_NAMES, _HEADS, ("Why",))
_WHY = Cells(("Why", "What it is"), ("Money",))


def as_text(found: Reconciliation, *, width: int | None = None) -> str:
    """Two tables, as wide as the terminal (100 columns where there is none)."""
    from rich.console import Console

    columns = width or shutil.get_terminal_size((100, 24)).columns
    text = StringIO()
    console = Console(
        file=text, width=columns, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    print_on(console, found)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def print_on(console: Console, found: Reconciliation) -> None:
    """Print both tables on a rich console."""
    console.print(_table(_title(found), _WHOLE, _rows(found, _TEXT_ROWS), _total(found)))
    if found.parts:
        console.print()
        console.print(_table(_WHY_TITLE, _WHY, _why(found), None))
    for note in _notes(found, _TEXT_ROWS):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def as_html(found: Reconciliation) -> str:
    """One self-contained HTML fragment."""
    rows = [((*line.names, *line.why), line.figures) for line in _rows(found, _OTHER_ROWS)]
    notes, total = _notes(found, _OTHER_ROWS), _total(found).figures
    whole = html_table(_title(found), (*_NAMES, "Why"), _HEADS, rows, total=total, notes=notes)
    parts = [(line.names, line.figures) for line in _why(found)]
    return whole + html_table(_WHY_TITLE, _WHY.names, _WHY.figures, parts) if parts else whole


def as_markdown(found: Reconciliation) -> str:
    """Two tables in Markdown."""
    lines = [f"**{_escaped(_title(found))}**", ""]
    lines += _markdown_table(_WHOLE, [*_rows(found, _OTHER_ROWS), _total(found)])
    if found.parts:
        lines += ["", f"**{_WHY_TITLE}**", "", *_markdown_table(_WHY, list(_why(found)))]
    lines += [f"\n{_escaped(note)}" for note in _notes(found, _OTHER_ROWS)]
    return "\n".join(lines) + "\n"


def money(nanos: int, *, sign: bool = False) -> str:
    """Dollars with as many decimals as the amount needs: cents, or up to nano-dollars where there are less than one."""
    dollars = usd(abs(nanos))
    digits = 2 if not nanos or dollars >= 1 else 4 if dollars >= 1 / 100 else 6 if dollars >= 1 / 10_000 else 9
    before = "-" if nanos < 0 else "+" if sign and nanos else ""
    return f"{before}${dollars:,.{digits}f}"


def _table(title: str, heads: Cells, rows: Iterator[Cells], total: Cells | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_footer=total is not None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    foot = ("",) * len(heads.all) if total is None else total.all
    for index, head in enumerate(heads.all):
        is_figure = 0 <= index - len(heads.names) < len(heads.figures)
        justify: Literal["left", "right"] = "right" if is_figure else "left"
        table.add_column(head, footer=foot[index], justify=justify, no_wrap=is_figure or not index, overflow="fold")
    for line in rows:
        table.add_row(*(Text(cell) for cell in line.all))
    return table


def _shown(found: Reconciliation, most: int) -> tuple[Row, ...]:
    """The rows that differ, as far as there is room."""
    return tuple(row for row in found.rows if row.parts)[:most]


def _rows(found: Reconciliation, most: int) -> Iterator[Cells]:
    several = len({row.provider for row in found.rows}) > 1
    for row in _shown(found, most):
        name = printable(f"{row.provider} · {row.name}" if several else row.name)
        why = ", ".join(f"{kind} {money(nanos, sign=True)}" for kind, nanos in row.parts)
        yield Cells((row.day, name), _figures(row), (why,))


def _figures(row: Row) -> tuple[str, ...]:
    requests = "–" if row.requests is None else f"{row.requests:,}"
    return (money(row.billed), money(row.recorded), money(row.difference, sign=True), requests, f"{row.calls:,}")


def _total(found: Reconciliation) -> Cells:
    requests = [row.requests for row in found.rows]
    known = "–" if None in requests else f"{sum(count or 0 for count in requests):,}"
    calls = f"{sum(row.calls for row in found.rows):,}"
    figures = (money(found.billed), money(found.recorded), money(found.difference, sign=True), known, calls)
    return Cells(("Total", ""), figures, ("",))


def _why(found: Reconciliation) -> Iterator[Cells]:
    for kind, nanos in found.parts:
        yield Cells((kind, KINDS[kind]), (money(nanos, sign=True),))


def _title(found: Reconciliation) -> str:
    sellers = ", ".join(sorted({row.provider for row in found.rows})) or "the provider"
    return f"Bill of {sellers} against the ledger · {found.since} to before {found.until} ({found.zone})"


def _notes(found: Reconciliation, most: int) -> Iterator[str]:
    differ = sum(1 for row in found.rows if row.parts)
    if agree := len(found.rows) - differ:
        yield f"{agree:,} more {'row agrees' if agree == 1 else 'rows agree'}; the total is of all."
    if differ > most:
        yield f"… and {differ - most:,} more rows that differ by less; the total is of all."
    yield f"Unexplained: {money(found.rest)} of {money(found.billed)}."
    yield from (printable(note, most=500) for note in found.notes)
    yield f"From {'; '.join(printable(source, most=200) for source in found.sources)}."


def _markdown_table(heads: Cells, rows: list[Cells]) -> list[str]:
    marks = [*("---" for _ in heads.names), *("---:" for _ in heads.figures), *("---" for _ in heads.why)]
    lines = [f"| {' | '.join(heads.all)} |", f"| {' | '.join(marks)} |"]
    lines += [f"| {' | '.join(_escaped(cell) for cell in line.all)} |" for line in rows]
    return lines


def _escaped(text: str) -> str:
    return printable(text, most=1_000).translate(_MARKDOWN_SPECIAL)
