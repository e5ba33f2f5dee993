"""The page over real ledgers and counters: its figures are those of the ledger, and every name stays text."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_server import serving

from costguard_core.budgets.loops import Loops
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.ledger import open_ledger
from costguard_core.reports.explain import explain
from costguard_core.reports.forecast import forecast
from costguard_core.types import Attribution, Call, Event, Outcome, Usage
from costguard_core.web.app import Page, create_page, dollars
from costguard_core.web.serve import open_page, serve_page

NOW = 1_800_000_000.0
TOKEN = "0123456789abcdef"
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=1+1", "\x1b[31mred", "{{ 7*7 }}", "a\nb")


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/calls.db"
    url = url if request.param == "sqlite" else request.getfixturevalue("postgres_db")
    with open_ledger(url) as ledger:
        for number, user in enumerate(("u1", "u1", "u2", *HOSTILE)):
            who = Attribution(user=user, endpoint="/faq", tags=(("plan", "free"),))
            ledger.append(
                Event(
                    f"paid-{number}",
                    NOW - 3600 * number,
                    Outcome.MISS,
                    "gpt-4o",
                    attribution=who,
                    usage=Usage(input_tokens=100, output_tokens=10),
                    cost=250_000_000 * (number + 1),
                )
            )
        ledger.append(Event("hit", NOW - 60, Outcome.EXACT, "gpt-4o", cost=0, saved=10**9))
        refusal = "$25/day per user"
        ledger.append(Event("refused", NOW - 60, Outcome.REFUSED, "gpt-4o", cost=0, reason=refusal))
        ledger.append(Event("unknown", NOW - 60, Outcome.MISS, "my-deployment", cost=None))
        ledger.append(Event("earlier", NOW - 8 * 86_400, Outcome.MISS, "gpt-4o", cost=10**9))
    return url


@pytest.fixture
def page(ledger_url: str) -> Iterator[str]:
    opened = open_page(db=ledger_url)
    opened.clock = lambda: NOW + 1
    with serving(create_page(opened), lifespan="off") as url:
        yield url


def _text(page: str, **query: str) -> str:
    answer = httpx.get(page, params=query)
    assert answer.status_code == 200
    return answer.text


def test_the_first_screen_shows_what_the_ledger_adds_up_to(page: str) -> None:
    text = _text(page)
    assert "<title>$11.25 in 7 days" in text
    assert "+1025 %" in text  # against the dollar of the week before
    assert re.search(r"Saved</h2><p class=\"figure\">\$1.00", text)
    assert "my-deployment (1 call)" in text
    assert re.search(r"the same request again</dt><dd class=\"n\">\$1.00", text)
    assert re.search(r"\$25/day per user</dt><dd class=\"n\">1<", text)


def _chart(text: str) -> Any:
    found = re.search(r'data-chart="([^"]+)"', text)
    assert found is not None
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize(("range", "unit", "buckets"), [("24h", "hour", 25), ("7d", "day", 8), ("30d", "day", 31)])
def test_the_chart_adds_up_to_what_was_spent(page: str, range: str, unit: str, buckets: int) -> None:
    for by in ("model", "user", "plan", "session"):
        text = _text(page, range=range, by=by)
        chart = _chart(text)
        assert chart["unit"] == unit
        assert len(chart["labels"]) == buckets
        spent = sum(value for line in chart["series"] for value in line["values"])
        assert f"<title>{dollars(round(spent * 10**9))} in" in text
        assert len(chart["series"]) <= 7


def test_hours_and_days_are_those_of_the_zone_that_was_asked_for(ledger_url: str) -> None:
    opened = open_page(db=ledger_url, timezone="Asia/Kolkata")
    opened.clock = lambda: NOW  # 2027-01-15 08:00 UTC
    with serving(create_page(opened), lifespan="off") as url:
        text = _text(url, range="24h")
        assert _chart(text)["labels"][-1] == "2027-01-15 13:00+0530"
        assert "Times and days are Asia/Kolkata" in text
        assert "2027-01-15 13:30:00" in _text(f"{url}/calls")
    with pytest.raises(ConfigurationError, match="time zone"):
        open_page(db=ledger_url, timezone="Mars/Base")


def test_a_tag_may_have_any_name_and_its_links_stay_on_the_page(tmp_path: Path) -> None:
    names = ("path", "drop", "prefix", "wanted", "range", "by", "part", "self", "team")
    with open_ledger(f"sqlite:///{tmp_path}/calls.db") as ledger:
        who = Attribution(tags=tuple((name, "//elsewhere.example") for name in sorted(names)))
        ledger.append(Event("1", NOW - 60, Outcome.MISS, "gpt-4o", attribution=who, cost=9 * 10**9))
        ledger.append(Event("2", NOW - 60, Outcome.MISS, "gpt-4o", cost=10**9))
    opened = open_page(db=f"sqlite:///{tmp_path}/calls.db")
    opened.clock = lambda: NOW
    with serving(create_page(opened), lifespan="off") as url:
        tabs = re.findall(r'<a href="/\?range=7d&amp;by=(\w+)"', _text(url))
        assert tabs[-9:] == [
            "provider",
            "by",
            "drop",
            "part",
            "path",
            "prefix",
            "range",
            "self",
            "team",
        ]  # at most eight
        for name in names:
            text = _text(url, by=name)
            assert "<title>$10.00 in" in text
            row = re.search(r'<th scope="row">(?:<a href="([^"]*)">)?//elsewhere.example<', text)
            assert row is not None, name
            if name in ("range", "by", "part"):
                assert row[1] is None  # these mean something else in a URL
            else:
                assert html.unescape(row[1]) == f"/?range=7d&by={name}&{name}=%2F%2Felsewhere.example"
                assert "<title>$9.00 in" in httpx.get(f"{url}{html.unescape(row[1])}").text
        changes = httpx.get(f"{url}/explain").text
        links = [html.unescape(link) for link in re.findall(r'href="([^"]*elsewhere[^"]*)"', changes)]
        assert min(links) == "/?range=7d&by=model&drop=%2F%2Felsewhere.example"
        assert all(link.startswith("/?range=7d&by=model&") for link in links)


def test_what_changed_is_the_explanation_of_the_same_spans(page: str, ledger_url: str) -> None:
    with open_ledger(ledger_url, read_only=True) as ledger:
        found = explain(ledger, since=NOW + 1 - 7 * 86_400, until=NOW + 1, against=NOW + 1 - 14 * 86_400)
    assert found.difference == 10_250_000_000
    for path in ("/explain", "/explain?part=1"):
        text = httpx.get(f"{page}{path}").text
        assert "<strong>$1.00</strong>, then <strong>$11.25</strong>: +$10.25" in text
        for name, nanos in found.parts:
            assert (f"<span>{name}</span>" in text) is (nanos != 0)
        # On the overview there is room for three dimensions, and users have the most values.
        assert ("&lt;img src=x onerror=alert(1)&gt;" in text) is (path == "/explain")
        assert "<img src=x" not in text
    assert "Nothing was billed in either span" in httpx.get(f"{page}/explain?user=nobody").text
    assert 'href="/explain?range=7d' in _text(page)


@pytest.mark.parametrize("form", ["lines", "file"])
def test_what_changed_is_explained_with_the_prices_of_the_policy(tmp_path: Path, form: str) -> None:
    ledger_url = f"sqlite:///{tmp_path}/calls.db"
    declared = 'input = "1"\noutput = "9"\n'
    (tmp_path / "prices.toml").write_text(f"[prices.my-deployment]\n{declared}")
    said = 'prices = "prices.toml"' if form == "file" else f"[prices.my-deployment]\n{declared}"
    policy = tmp_path / "costguard.toml"
    policy.write_text(f'ledger = "{ledger_url}"\n{said}\n')
    usages = (Usage(input_tokens=900_000, output_tokens=100_000), Usage(input_tokens=100_000, output_tokens=900_000))
    with open_ledger(ledger_url) as ledger:
        for day, usage in zip((8, 1), usages, strict=True):
            cost = 1_000 * usage.input_tokens + 9_000 * usage.output_tokens
            made = Event(f"call-{day}", NOW - day * 86_400, Outcome.MISS, "my-deployment", usage=usage, cost=cost)
            ledger.append(made)
    opened = open_page(str(policy))
    assert opened.prices.find("my-deployment").priced_by == "declared"
    opened.clock = lambda: NOW
    with open_ledger(ledger_url, read_only=True) as ledger:
        spans = {"since": NOW - 7 * 86_400, "until": NOW, "against": NOW - 14 * 86_400}
        found = dict(explain(ledger, prices=opened.prices, **spans).parts)
        assert found != dict(explain(ledger, **spans).parts)
    with serving(create_page(opened), lifespan="off") as url:
        text = httpx.get(f"{url}/explain").text
    for name, nanos in found.items():
        assert (f"<span>{name}</span>" in text) is (nanos != 0)
        assert nanos == 0 or dollars(abs(nanos)) in text


def test_the_month_is_what_the_forecast_says(ledger_url: str) -> None:
    with (
        open_ledger(ledger_url, read_only=True, clock=lambda: NOW + 1) as ledger,
        serving(create_page(Page(ledger, clock=lambda: NOW + 1)), lifespan="off") as url,
    ):
        found = forecast(ledger)
        assert found.expected is not None
        assert found.spent == 12_250_000_000  # all of them are in January
        for path in ("/forecast", "/forecast?part=1"):
            text = httpx.get(f"{url}{path}").text
            assert 'Spent so far</dt><dd class="n">$12.25' in text
            assert f"<strong>{dollars(found.expected)}</strong>" in text
        assert 'data-from="/forecast?part=1"' in httpx.get(url).text


def test_budgets_that_will_run_out_are_named_with_the_moment(tmp_path: Path) -> None:
    policy = tmp_path / "costguard.toml"
    policy.write_text(
        f'store = "sqlite:///{tmp_path}/counters.db"\nledger = "sqlite:///{tmp_path}/calls.db"\n'
        'budgets = ["$3 in total per user", "10 requests/day"]\n[prices.m]\ninput = "1000000"\noutput = "0"\n'
    )
    with (
        CostGuard.from_file(policy) as guard,
        serving(create_page(open_page(str(policy))), lifespan="off") as url,
    ):
        who = Attribution(user="<b>u1")
        guard.after(guard.before(Call("1", "m", time.time(), attribution=who, input_tokens=1)), Usage(input_tokens=1))
        guard.flush()
        text = httpx.get(f"{url}/forecast").text
        assert "$3 in total per user" in text, text
        assert "user=&lt;b&gt;u1</span> runs out" in text
        assert "requests" not in text
        assert "are too few for a forecast" in text


def test_filters_are_in_the_address_and_can_be_removed(page: str) -> None:
    text = _text(page, by="user", endpoint="/faq", plan="free")
    assert "<title>$11.25" in text
    assert 'aria-label="Remove the filter plan"' in text
    assert "<title>$1.00" in _text(page, by="model", user="<script>alert(1)</script>")
    assert "No calls match these filters" in _text(page, user="nobody")


def test_names_stay_text_everywhere(page: str) -> None:
    for path in ("/?by=user", "/calls"):
        text = httpx.get(f"{page}{path}").text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "\x1b" not in text
        assert "{{ 7*7 }}" in text
        assert "49" not in re.findall(r"<a [^>]*>([^<]*)</a>", text)


def test_the_table_can_be_taken_along_as_csv_without_formulas(page: str) -> None:
    answer = httpx.get(f"{page}/rows.csv?by=user")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert sum(float(row["spend_usd"]) for row in rows) == 11.25
    assert not any(row["user"].startswith("=") for row in rows)


def test_single_calls_are_shown_without_prompts(page: str) -> None:
    text = httpx.get(f"{page}/calls?user=u1").text
    assert text.count('<tr><td class="mono">') == 2
    assert "unknown" in httpx.get(f"{page}/calls").text


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(page: str) -> None:
    answer = httpx.get(page)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
    assert not re.search(r"<style|style=| on\w+=\"|<script>", answer.text)
    for asset in set(re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", answer.text)):
        assert httpx.get(f"{page}{asset}").status_code == 200


@pytest.mark.parametrize("query", ["by=usr", "range=9y", "usr=u1", "by=%1b%5b31m", "by=day' OR 1=1"])
def test_a_wrong_address_is_told_what_to_write(page: str, query: str) -> None:
    answer = httpx.get(f"{page}/?{query}")
    assert answer.status_code == 400
    assert "This is not possible" in answer.text


def test_an_empty_ledger_says_what_to_do_next(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/empty.db").close()
    with serving(create_page(open_page(db=f"{tmp_path}/empty.db")), lifespan="off") as url:
        assert "Give your application the ledger that this page reads" in httpx.get(url).text


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, CostGuard]]:
    """A page with a token over counters that an application uses."""
    policy = tmp_path / "costguard.toml"
    policy.write_text(
        f'store = "sqlite:///{tmp_path}/counters.db"\nledger = "sqlite:///{tmp_path}/calls.db"\n'
        'budgets = ["10 requests/day per user"]\n'
    )
    with (
        CostGuard.from_file(policy) as guard,
        serving(create_page(open_page(str(policy), token=TOKEN)), lifespan="off") as url,
    ):
        yield url, guard


def test_a_page_with_a_token_is_closed_without_it(guarded: tuple[str, CostGuard]) -> None:
    url, _ = guarded
    for path in ("/", "/calls", "/rows.csv", "/explain", "/explain?part=1", "/forecast"):
        assert httpx.get(f"{url}{path}").headers["location"] == "/login"
    assert httpx.post(f"{url}/switch", data={"do": "trip"}).headers["location"] == "/login"
    assert httpx.get(url, headers={"authorization": "Bearer wrong"}).status_code == 303
    assert httpx.post(f"{url}/login", data={"token": "wrong"}).status_code == 403
    assert httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_budgets_are_live_and_spending_can_be_stopped_and_allowed_again(guarded: tuple[str, CostGuard]) -> None:
    url, guard = guarded
    guard.after(guard.before(Call("1", "m", NOW, attribution=Attribution(user="u1"))), Usage())
    guard.flush()
    with httpx.Client(base_url=url, follow_redirects=True) as browser:
        text = browser.post("/login", data={"token": TOKEN}).text
        assert TOKEN not in str(browser.cookies)
        text = browser.get("/").text
        assert re.search(r"user=u1</span></span><span class=\"n\">1 of 10", text)
        form: dict[str, Any] = {"do": "trip", "reason": "<b>too dear</b>"}
        assert browser.post("/switch", data={**form, "key": "forged"}).status_code == 400
        assert guard.status().tripped is None
        key = re.search(r'name="key" value="([^"]+)"', text)
        assert key is not None
        stopped = browser.post("/switch", data={**form, "key": key[1]})
        assert "&lt;b&gt;too dear&lt;/b&gt;" in stopped.text
        assert guard.status().tripped == "<b>too dear</b>"
        browser.post("/switch", data={"do": "reset", "key": key[1]})
        assert guard.status().tripped is None


def test_incidents_are_shown(guarded: tuple[str, CostGuard]) -> None:
    url, guard = guarded
    guard.emergency(rate="1/minute", duration="1h", reason="<b>spike</b>")
    guard.store.grant_limit(Loops().stop("<i>s1</i>", guard.store.now()))
    guard.after(guard.before(Call("1", "m", NOW, attribution=Attribution(user="u1"))), Usage())
    guard.flush()
    text = httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}).text
    assert "Emergency caps are in force:</strong> 1 request/minute for everybody until" in text
    assert "&lt;b&gt;spike&lt;/b&gt;" in text
    assert "session &lt;i&gt;s1&lt;/i&gt; (the same step more than 5 times within one hour)" in text


def test_it_is_shown_to_others_only_with_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        serve_page(db=str(tmp_path / "x.db"), host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="16 characters"):
        serve_page(db=str(tmp_path / "x.db"), token="short")
    with pytest.raises(ConfigurationError, match="no ledger at"):
        serve_page(db=str(tmp_path / "x.db"))
    with pytest.raises(ConfigurationError, match="memory"):
        serve_page(db="memory://")


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0"),
        (1, "<$0.0001"),
        (10**6, "$0.0010"),
        (10**9, "$1.00"),
        (1234567 * 10**9, "$1,234,567"),
        (-(10**9), "-$1.00"),
    ],
)
def test_money_has_as_many_digits_as_it_needs(nanos: int, text: str) -> None:
    assert dollars(nanos) == text
