"""The comparison as tables that a manager understands, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_costguard.demo.compare import Comparison, Line, Tally, dollars

_USERS_SHOWN = 6


def show(comparison: Comparison, *, title: str, console: Console) -> None:
    """Print the comparison."""
    console.print(
        Group(
            Text(),
            Text(title, style="bold"),
            Text(),
            _days(comparison.total),
            Text(),
            _groups("By endpoint", comparison.by_endpoint()),
            Text(),
            _groups("By user", _folded(comparison.by_user())),
            Text(),
            *_conclusion(comparison),
        )
    )


def _days(total: Line) -> RenderableType:
    table = _table("The same day, twice")
    for heading in ("without Costguard", "with Costguard"):
        table.add_column(heading, justify="right")
    for label, without, guarded in _facts(total.without, total.guarded):
        table.add_row(label, without, guarded)
    table.add_section()
    table.add_row("Spend", _money(total.without.spend), _money(total.guarded.spend), style="bold")
    saving = f"{_money(total.saved)}  ({total.saved_share:.0%})"
    table.add_row("Saved", "", Text(saving, style="bold green"), style="bold")
    return table


def _facts(without: Tally, guarded: Tally) -> Iterator[tuple[str, str, str]]:
    def row(label: str, name: str) -> tuple[str, str, str]:
        return label, _count(getattr(without, name)), _count(getattr(guarded, name))

    yield row("Requests", "requests")
    yield row("Paid calls to the provider", "paid")
    yield row("Answered from the exact cache", "hits")
    yield row("Refused by a budget", "refused")
    if without.failed or guarded.failed:
        yield row("Failed at the provider", "failed")
    yield "Latency, median", _milliseconds(without.p50), _milliseconds(guarded.p50)
    yield "Latency, slowest 5 %", _milliseconds(without.p95), _milliseconds(guarded.p95)


def _groups(title: str, lines: Sequence[Line]) -> RenderableType:
    table = _table(title)
    for heading in ("requests", "paid", "hits", "refused", "p50", "without", "with", "saved"):
        table.add_column(heading, justify="right")
    for line in lines:
        style = "yellow" if line.guarded.refused else ""
        table.add_row(
            line.name,
            _count(line.guarded.requests),
            _count(line.guarded.paid),
            _count(line.guarded.hits),
            _count(line.guarded.refused),
            _milliseconds(line.guarded.p50),
            _money(line.without.spend),
            _money(line.guarded.spend),
            f"{line.saved_share:.0%}" if line.saved > 0 else "–",
            style=style,
        )
    return table


def _folded(lines: list[Line]) -> list[Line]:
    """The dearest users, and the others as one line (their latency is left to the tables above)."""
    if len(lines) <= _USERS_SHOWN + 1:
        return lines
    others = lines[_USERS_SHOWN:]
    together = Line(
        f"{len(others)} others", _sum([line.without for line in others]), _sum([line.guarded for line in others])
    )
    return [*lines[:_USERS_SHOWN], together]


def _sum(tallies: Sequence[Tally]) -> Tally:
    def total(name: str) -> int:
        return sum(getattr(tally, name) for tally in tallies)

    middle = sorted(tally.p50 for tally in tallies)[len(tallies) // 2]
    counts = {name: total(name) for name in ("requests", "paid", "hits", "refused", "failed", "spend")}
    return Tally(**counts, p50=middle, p95=max(tally.p95 for tally in tallies))


def _conclusion(comparison: Comparison) -> Iterator[RenderableType]:
    total, loop, causes = comparison.total, comparison.runaway, comparison.saved_by()
    parts = ", ".join(f"{_money(nanos)} by the {cause}" for cause, nanos in causes.items() if nanos > 0)
    yield Text(f"Saved {_money(total.saved)} of {_money(total.without.spend)} ({total.saved_share:.0%}): {parts}.")
    if loop.guarded.refused:
        yield Text(
            f"The runaway loop of {loop.name} was stopped after {loop.guarded.paid} of {loop.without.paid} calls: "
            f"it cost {_money(loop.guarded.spend)} instead of {_money(loop.without.spend)}."
        )


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    return table


def _money(nanos: int) -> str:
    return f"${dollars(nanos):,}"


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds else "–"
