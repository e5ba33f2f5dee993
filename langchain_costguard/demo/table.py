"""The comparison as tables that a manager understands, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_costguard.demo.compare import SERVED_BY, Comparison, Line, Tally, money

_USERS_SHOWN = 6
_MISSES_SHOWN = 3


def show(comparison: Comparison, *, title: str, budgets: Sequence[str], console: Console) -> None:
    """Print the comparison."""
    parts = (
        Text(title),
        _headline(comparison),
        _causes(comparison, budgets),
        _days(comparison.total),
        _groups("By endpoint", comparison.by_endpoint()),
        _groups("By user", comparison.by_user(most=_USERS_SHOWN)),
        *_notes(comparison),
    )
    for part in parts:
        console.print()
        console.print(part)


def _headline(comparison: Comparison) -> RenderableType:
    total, loop = comparison.total, comparison.runaway
    text = Text(f"{money(total.without.spend)} without Costguard, {money(total.guarded.spend)} with it: ")
    text.append(f"{total.saved_share:.0%} saved", "bold green")
    everyday = total.without.spend - loop.without.spend
    if loop.guarded.refused and everyday:
        text.append(f", {(total.saved - loop.saved) / everyday:.0%} without the loop")
    return text.append(".")


def _causes(comparison: Comparison, budgets: Sequence[str]) -> RenderableType:
    loop = comparison.runaway
    labels = {
        "loop": f"Stopping a runaway loop after {loop.guarded.paid} of {loop.without.paid} calls",
        "repeats": "Paying once for the same request",
        "other_words": "The same question in other words",
        "routing": "The cheaper model where it is enough",
        "budgets": "Other calls over a budget",
        "other": "Chance, such as the provider's own prompt cache",
    }
    table = _table("What saved it")
    table.add_column("requests", justify="right", min_width=9)
    table.add_column("saved", justify="right", min_width=9)
    for cause, saving in sorted(comparison.saved_by().items(), key=lambda item: (item[0] == "other", -item[1].nanos)):
        if saving.nanos or saving.requests:
            table.add_row(labels[cause], _count(saving.requests), money(saving.nanos))
    table.caption = f"Budgets: {' · '.join(budgets)}"
    table.caption_justify = "left"
    return table


def _days(total: Line) -> RenderableType:
    table = _table("The day")
    for heading in ("without", "with"):
        table.add_column(heading, justify="right", min_width=9)
    for label, without, guarded in _facts(total.without, total.guarded):
        table.add_row(label, without, guarded)
    return table


def _facts(without: Tally, guarded: Tally) -> Iterator[tuple[str, str, str]]:
    yield "Requests", _count(without.requests), _count(guarded.requests)
    yield "Paid calls to the provider", _count(without.paid), _count(guarded.paid)
    if guarded.routed:
        yield "… of these by the cheaper model", "–", _count(guarded.routed)
    for source, label in SERVED_BY.items():
        if guarded.served[source]:
            yield label, "–", _count(guarded.served[source])
    yield "Refused by a budget", _count(without.refused), _count(guarded.refused)
    if without.failed or guarded.failed:
        yield "Failed at the provider", _count(without.failed), _count(guarded.failed)
    yield "Spend", money(without.spend), money(guarded.spend)
    yield "Latency, median (p50)", f"{_milliseconds(without.p50)} ms", f"{_milliseconds(guarded.p50)} ms"
    yield "Latency, slowest 5 % (p95)", f"{_milliseconds(without.p95)} ms", f"{_milliseconds(guarded.p95)} ms"


def _groups(heading: str, lines: Sequence[Line]) -> RenderableType:
    table = _table(heading)
    for column in ("calls", "paid", "hits", "refused", "p50", "p95", "without", "with", "saved"):
        table.add_column(column, justify="right")
    for line in lines:
        day = line.guarded
        table.add_row(
            line.name,
            *map(_count, (day.requests, day.paid, day.hits, day.refused)),
            *map(_milliseconds, (day.p50, day.p95)),
            *map(money, (line.without.spend, day.spend)),
            f"{line.saved_share:.0%}" if line.saved_share >= 0.005 else "–",
            style="yellow" if day.refused else "",
        )
    return table


def _notes(comparison: Comparison) -> Iterator[RenderableType]:
    total = comparison.total
    yield Text("hits: answers that cost nothing · p50, p95: latency in milliseconds, of this run", style="dim")
    if comparison.first_error:
        failed = total.without.failed + total.guarded.failed
        yield Text(f"{failed} requests failed; the first error was: {comparison.first_error}", style="red")
    for miss in list({miss.reason: miss for miss in comparison.near_misses}.values())[:_MISSES_SHOWN]:
        yield Text(f'Not the same: "{miss.question}" / "{miss.stored}" ({miss.reason})', style="dim")


def _table(heading: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False, header_style="")
    table.add_column(Text(heading, style="bold"), no_wrap=True, min_width=12)
    return table


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if seconds else "–"
