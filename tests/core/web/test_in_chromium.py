"""The page in a real browser: it draws, its policy is kept, the keyboard reaches everything, and names stay text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgi_server import serving
from chromium import Tab, chromium, chromium_binary

from costguard_core.ledger import open_ledger
from costguard_core.types import Attribution, Event, Outcome, Usage
from costguard_core.web.app import create_page
from costguard_core.web.serve import open_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium_binary() is None, reason="no Chromium: make browser installs one, or set CHROMIUM"),
]

NOW = 1_800_000_000.0
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "\x1b[31mred\x07",
    "{{ 7*7 }}",
    "x" * 190,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page over calls of two weeks, whose users, endpoints, models and tags have hostile names too."""
    path = tmp_path_factory.mktemp("page") / "calls.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number in range(300):
            name = HOSTILE[number % len(HOSTILE)] if number % 2 else f"u{number % 5}"
            who = Attribution(user=name, endpoint=name, template=name, session="s", tags=(("plan", name),))
            age = number * 3600.0 * (1 if number < 48 else 1.1)
            ledger.append(
                Event(
                    str(number),
                    NOW - age,
                    Outcome.REFUSED if number % 9 == 0 else Outcome.MISS,
                    name if number % 3 else "gpt-4o",
                    attribution=who,
                    usage=Usage(input_tokens=100 + (9_000 if number % 50 == 1 else 0), output_tokens=10),
                    cost=0 if number % 9 == 0 else None if number % 21 == 1 else 10**7 * (300 - number),
                    reason=name if number % 9 == 0 else None,
                    fingerprint=f"{number // 40:016x}",
                )
            )
    opened = open_page(db=str(path))
    opened.clock = lambda: NOW
    with serving(create_page(opened), lifespan="off") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    binary = chromium_binary()
    assert binary is not None
    with chromium(binary) as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """The browser's tab; when the test is over, its console must have stayed silent."""
    browser.complaints.clear()
    browser.show()
    yield browser
    assert browser.complaints == []


def _open(tab: Tab, url: str) -> None:
    tab.open(url)
    tab.wait_for("document.querySelectorAll('[data-from] > .note:only-child > a').length === 0")


@pytest.mark.parametrize(("range", "bars"), [("24h", 20), ("7d", 8), ("30d", 15)])
def test_the_chart_has_a_bar_for_each_hour_or_day(page: str, tab: Tab, range: str, bars: int) -> None:
    _open(tab, f"{page}/?range={range}&by=user")
    assert tab.value("Number(document.getElementById('chart').dataset.bars)") == bars
    painted = (
        "(() => { const c = document.querySelector('#chart canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; const seen = new Set(); for (let i = 0; i < d.length; i += 4) "
        "if (d[i + 3] === 255) seen.add(d[i] + ',' + d[i + 1] + ',' + d[i + 2]); return [...seen]; })()"
    )
    colours = tab.value(painted)
    assert "15,118,110" in colours  # of the first series
    assert "148,163,184" in colours  # of all others


def test_a_policy_that_is_broken_is_noticed_here(page: str, browser: Tab) -> None:
    browser.complaints.clear()
    _open(browser, page)
    browser.value("document.body.insertAdjacentHTML('beforeend', '<p style=\"color:red\" onclick=\"x()\">no</p>')")
    browser.value("new Promise((done) => setTimeout(done, 0))")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)
    browser.complaints.clear()


@pytest.mark.parametrize("path", ["/?by=user", "/?by=plan&range=30d", "/?by=model", "/calls", "/explain", "/forecast"])
def test_nothing_is_injected_by_names(page: str, tab: Tab, path: str) -> None:
    tab.open(f"{page}{path}")
    if path.startswith("/?"):
        tab.wait_for("document.querySelectorAll('[data-from] > .note:only-child > a').length === 0")
    own = "[...document.scripts].filter((s) => !s.src.startsWith(location.origin + '/static/')).length"
    assert tab.value(own) == 0
    assert tab.value("document.querySelectorAll('main img, main svg, [onload], [onerror], main script').length") == 0
    assert tab.value("[...document.links].every((a) => a.origin === location.origin)")
    text = tab.value("document.body.innerText")
    assert path == "/forecast" or any(name in text for name in HOSTILE if "<" in name)
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [1360, 900, 400, 320])
@pytest.mark.parametrize("path", ["/?by=user", "/calls", "/explain", "/forecast"])
def test_nothing_is_wider_than_the_window(page: str, tab: Tab, width: int, path: str) -> None:
    tab.show(width=width)
    tab.open(f"{page}{path}")
    if path.startswith("/?"):
        tab.wait_for("document.querySelectorAll('[data-from] > .note:only-child > a').length === 0")
    assert tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_keyboard_reaches_filters_bars_and_rows(page: str, tab: Tab) -> None:
    _open(tab, f"{page}/?range=7d")
    reached = []
    for _ in range(200):
        tab.press("Tab")
        if tab.value("document.activeElement === document.body"):  # after the last one
            break
        reached.append(tab.value("document.activeElement.getAttribute('href') || document.activeElement.id"))
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached[0] == "#main"
    assert any(href.startswith("/?range=30d") for href in reached)
    assert any("by=endpoint" in href for href in reached)
    assert "chart" in reached
    assert any(href.startswith("/explain") for href in reached)
    tab.value("document.getElementById('chart').focus()")
    whole = tab.value("document.getElementById('readout').textContent")
    tab.press("ArrowLeft")
    told = tab.value("document.getElementById('readout').textContent")
    assert told != whole
    assert told.startswith("2027-01-15: $")
    tab.value("document.querySelector('nav a[href*=\"range=30d\"]').focus()")
    tab.press("Enter")
    tab.wait_for("document.title.includes('30 days')")


def test_the_theme_follows_the_reader(page: str, tab: Tab) -> None:
    grounds = []
    for dark in (False, True):
        tab.show(dark=dark)
        _open(tab, page)
        grounds.append(tab.value("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 247, 249)", "rgb(14, 20, 27)"]


def test_a_click_on_what_changed_becomes_a_filter(page: str, tab: Tab) -> None:
    _open(tab, f"{page}/?by=user")
    first = "document.querySelector('#changes .carriers a')"
    name = tab.value(f"{first}.textContent")
    tab.value(f"{first}.click()")
    tab.wait_for("document.querySelector('.chip') !== null")
    assert name[:60] in tab.value("document.querySelector('.chip').textContent")
