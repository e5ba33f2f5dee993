"""How ``guard.status()`` looks in a terminal and in a notebook."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser

from IPython.lib.pretty import pretty

from costguard_core.budgets.status import BudgetStatus, Status
from costguard_core.reports.report import Report, Totals
from costguard_core.util.amounts import public_amount

HALF_SPENT = BudgetStatus(
    budget="$1/day per user",
    scope={"user": "<script>alert(1)</script>"},
    unit="usd",
    limit=Decimal(1),
    spent=Decimal("0.5"),
    held=Decimal("0.25"),
    remaining=Decimal("0.25"),
    resets_at=0.0,
)
REQUESTS = BudgetStatus("60 requests/minute", {}, "requests", 60, 3, 0, 57, None)


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(status: Status) -> _Cells:
    cells = _Cells()
    cells.feed(status._repr_html_())
    return cells


def test_a_notebook_shows_the_cells_of_the_terminal() -> None:
    status = Status((HALF_SPENT, REQUESTS))
    shown = parsed(status).text
    for line in str(status).splitlines()[1:]:
        for cell in re.split(r"\s{2,}", line):
            assert cell in shown


def test_ipython_prints_the_table_where_there_is_no_html() -> None:
    for shown in (Status((HALF_SPENT,)), Report(("user",), (), Totals())):
        assert pretty(shown) == str(shown)


def test_amounts_print_as_a_person_writes_them() -> None:
    assert [str(public_amount(nanos, "usd")) for nanos in (0, 20_000_000, 100 * 10**9)] == ["0", "0.02", "100"]
    assert public_amount(100, "requests") == 100


def test_spent_and_held_are_bars_one_after_the_other() -> None:
    html = Status((HALF_SPENT,))._repr_html_()
    assert "0.0% 50.0%" in html
    assert "50.0% 75.0%" in html
    assert "transparent 75.0%" in html


def test_names_are_text_and_dollars_are_no_formulas() -> None:
    cells = parsed(Status((HALF_SPENT,)))
    assert "script" not in cells.tags
    assert "user=<script>alert(1)</script>" in cells.text
    assert "mathjax_ignore" in Status(())._repr_html_()


def test_the_switch_and_the_breaker_are_said_below() -> None:
    status = Status((REQUESTS,), tripped="enough", breaker="open, $3 in the last minute")
    for shown in (parsed(status).text, str(status).splitlines()):
        assert shown[-2:] == ["STOPPED BY HAND: enough", "breaker: open, $3 in the last minute"]
