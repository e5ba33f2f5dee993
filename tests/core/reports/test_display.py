"""How reports look: aligned, complete, and safe whatever the names are."""

from __future__ import annotations

import builtins
from html.parser import HTMLParser

import pytest

from costguard_core.reports.display import as_html, as_text, format_money, format_seconds
from costguard_core.reports.report import Report, Row, Totals

SUPPORT = Totals(
    calls=1_200, paid=700, answered=1_000, hits=300, refused=4, errors=6, cost=3_471_234_567, p50=0.92, p95=3.4
)
UNPRICED = Totals(calls=3, paid=3, answered=3, unpriced=2, cost=10_000_000, input_tokens=123_456, p50=0.001, p95=0.002)


def report(*rows: tuple[str | None, Totals], total: Totals = SUPPORT) -> Report:
    return Report(("user",), tuple(Row((name,), totals) for name, totals in rows), total)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    text = as_text(report(("a-user-with-a-long-name@example.com", SUPPORT), ("u2", UNPRICED)), width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("1,200", "30%", "$3.4712", "3.40 s", "Hit rate", "≥ $0.0100"):
        assert figure in text


def test_text_stays_text_inside_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})  # how rich recognises a notebook; there it displays
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    assert "1,200" in as_text(report(("u", SUPPORT)))


def test_a_wide_terminal_shows_tokens_and_a_narrow_one_does_not() -> None:
    rows = report(("u", UNPRICED))
    assert "123,456" in as_text(rows, width=140)
    assert "123,456" not in as_text(rows, width=80)


def test_what_nobody_attributed_is_a_row_of_its_own() -> None:
    assert "(none)" in as_text(report((None, SUPPORT)))


def test_an_unknown_cost_is_never_shown_as_nothing() -> None:
    unknown = Totals(calls=2, paid=2, answered=2, unpriced=2)
    text = as_text(report(("u1", unknown), ("u2", UNPRICED), total=UNPRICED), width=120)
    (line,) = [line for line in text.splitlines() if line.startswith("u1")]
    assert "?" in line
    assert "≥ $0.0100" in text
    assert "2 calls without a known price" in text
    assert "CostGuard(prices=" in text


def test_notes_appear_only_when_there_is_something_to_note() -> None:
    assert "calls" not in as_text(report(("u", SUPPORT)), width=120).replace("Calls", "")
    noted = Totals(calls=9, paid=9, answered=9, estimated=1, abandoned=2, cost=1)
    text = as_text(report(("u", noted), total=noted), width=120)
    assert "1 call without reported usage" in text
    assert "2 calls abandoned" in text


def test_names_cannot_play_tricks_on_the_terminal() -> None:
    text = as_text(report(("\x1b[31mred\n[bold]x[/bold]\u202e", SUPPORT)), width=140)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]x[/bold]" in text


def test_plain_text_has_no_colour_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in str(report(("u", SUPPORT)))


def test_long_reports_say_how_much_is_not_shown() -> None:
    many = report(*((f"u{n}", SUPPORT) for n in range(500)))
    assert "… and 470 more rows" in as_text(many)
    assert "… and 300 more rows" in as_html(many)


class Tags(HTMLParser):
    """Collects what a browser would make of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_escaped_and_self_contained() -> None:
    html = as_html(report(("<script>alert(1)</script>", SUPPORT), ('"><img src=x>', UNPRICED)))
    page = Tags()
    page.feed(html)
    assert page.open == []
    assert page.seen <= {"div", "table", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert "http" not in html
    assert "&lt;script&gt;" in html
    assert "1,200" in html


@pytest.mark.parametrize(
    ("nanos", "digits", "text"),
    [
        (0, 2, "$0.00"),
        (4_999_999, 2, "<$0.01"),
        (5_000_000, 2, "$0.01"),
        (1, 6, "<$0.000001"),
        (1_234_567_890_123_456, 2, "$1,234,567.89"),
        (12_345_678, 4, "$0.0123"),
        (-12_345_678, 4, "-$0.0123"),
        (-1, 4, "<$0.0001"),
    ],
)
def test_money(nanos: int, digits: int, text: str) -> None:
    assert format_money(nanos, digits) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0004, "0 ms"), (0.42, "420 ms"), (0.9996, "1.00 s"), (12.3, "12.30 s")]
)
def test_seconds(value: float | None, text: str) -> None:
    assert format_seconds(value) == text
