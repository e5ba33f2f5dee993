"""How ``guard.status()`` looks in a terminal and in a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from IPython.lib.pretty import pretty
from local_redis import BUSY_MACHINE_TIMEOUT

from costguard_core.budgets.status import BudgetStatus, Status
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.reports.report import Report, Totals
from costguard_core.types import Attribution, Call, Usage
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


def test_a_table_wider_than_the_terminal_has_each_budget_above_its_rows() -> None:
    status = Status((HALF_SPENT, HALF_SPENT, REQUESTS))
    wide = str(status).splitlines()
    assert status.to_text(max(map(len, wide))) == str(status)
    lines = status.to_text(40).splitlines()
    assert lines.count(HALF_SPENT.budget) == lines.count(REQUESTS.budget) == 1
    assert len(lines) == len(wide) + 2
    assert max(map(len, lines)) < max(map(len, wide))


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


def spend(guard: CostGuard, **who: str) -> None:
    call = Call(guard.new_id(), "m", guard.store.now(), None, Attribution(**who), input_tokens=1, max_output_tokens=1)
    guard.after(guard.before(call), Usage(input_tokens=1, output_tokens=1))


@pytest.fixture(params=["memory", "sqlite", "redis"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CostGuard]:
    """With one call each of user 0 to 4 of tenant a, and of user 0 of tenant b."""
    url = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{tmp_path}/c.db"}.get(
        request.param, lambda: f"{request.getfixturevalue('redis_url')}?timeout={BUSY_MACHINE_TIMEOUT}"
    )()
    budgets = ["9 requests/day per user", "9 requests/day per tenant, user", "99 requests/day", "5 requests/call"]
    guard = CostGuard(budgets, store=url)
    for number in range(5):
        spend(guard, user=f"u{number}", tenant="a")
    spend(guard, user="u0", tenant="b")
    yield guard
    guard.close()


def test_a_limit_shows_so_many_scopes_of_each_budget(guard: CostGuard) -> None:
    assert len(guard.status()) == 5 + 6 + 1
    cut = guard.status(limit=2)
    assert [sum(row.budget == name for row in cut) for name in ("9 requests/day per user", "99 requests/day")] == [2, 1]
    assert "more scopes than these" in str(cut)
    assert not guard.status(limit=6).truncated


def test_a_scope_shows_only_what_counts_for_it(guard: CostGuard) -> None:
    rows = guard.status(scope={"user": "u0"})
    assert sorted((row.scope.get("tenant", ""), row.spent) for row in rows) == [("", 2), ("a", 1), ("b", 1)]
    [row] = guard.status(scope={"tenant": "b", "user": "u0"})
    assert (row.spent, row.remaining) == (1, 8)
    [unknown] = guard.status(scope={"tenant": "b", "user": "nobody"})
    assert unknown.spent == 0
    assert len(guard.status(scope={"tenant": "a"}, limit=2)) == 2


def test_a_scope_that_nothing_counts_per_is_an_error(guard: CostGuard) -> None:
    with pytest.raises(ConfigurationError, match="tenant, user"):
        guard.status(scope={"endpoint": "/x"})
    with pytest.raises(ConfigurationError, match="limit"):
        guard.status(limit=0)


def test_a_scope_with_a_long_name_is_found() -> None:
    guard = CostGuard(["5 requests/day per user, tenant"])
    spend(guard, user="x" * 100, tenant="y" * 100)
    (row,) = guard.status(scope={"user": "x" * 100})
    assert row.spent == 1
    assert len(guard.status(scope={"user": "x" * 101})) == 0
