"""Limits and caps are changed on the page, by whoever has its token, and who did so is recorded."""

from __future__ import annotations

import csv
import html
import io
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from asgi_server import serving

from costguard_core.attribution import attribute
from costguard_core.budgets.loops import Loops
from costguard_core.guard import CostGuard
from costguard_core.ledger import open_ledger
from costguard_core.ledger.outcomes import RecordedOutcome
from costguard_core.reports.economics import unit_economics
from costguard_core.types import Attribution, Call, Event, Outcome, Usage
from costguard_core.web.app import create_page, dollars
from costguard_core.web.serve import open_page

TOKEN = "0123456789abcdef"


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[CostGuard]:
    policy = tmp_path / "costguard.toml"
    policy.write_text(
        f'store = "sqlite:///{tmp_path}/counters.db"\nledger = "sqlite:///{tmp_path}/calls.db"\n'
        'budgets = ["10 requests/day per user", "$5/day"]\n'
    )
    with CostGuard.from_file(policy) as guard:
        who = Attribution(user="u<1>")
        guard.after(guard.before(Call("1", "gpt-4o", time.time(), attribution=who)), Usage(input_tokens=1))
        guard.flush()
        yield guard


@pytest.fixture
def browser(guard: CostGuard, tmp_path: Path) -> Iterator[httpx.Client]:
    opened = open_page(str(tmp_path / "costguard.toml"), token=TOKEN)
    with (
        serving(create_page(opened), lifespan="off") as url,
        httpx.Client(base_url=url, follow_redirects=True) as browser,
    ):
        browser.post("/login", data={"token": TOKEN})
        yield browser


def send(browser: httpx.Client, **fields: str) -> httpx.Response:
    """A form of the page, with its key."""
    key = re.search(r'name="key" value="([^"]+)"', browser.get("/").text)
    assert key is not None
    return browser.post("/switch", data={"key": key[1], **fields})


def test_a_limit_is_granted_shown_and_revoked(browser: httpx.Client, guard: CostGuard, tmp_path: Path) -> None:
    text = browser.get("/").text
    assert '<input type="hidden" name="scope:user" value="u&lt;1&gt;">' in text
    grant = {"do": "grant", "budget": "10 requests/day per user", "scope:user": "u<1>", "limit": "20 requests"}
    answer = send(browser, **grant, until="7d", reason="<b>launch</b>")
    assert answer.status_code == 200, answer.text
    (granted,) = guard.status().grants
    assert (granted.limit, granted.scope, granted.reason) == (20, {"user": "u<1>"}, "<b>launch</b>")
    assert "&lt;b&gt;launch&lt;/b&gt;" in answer.text
    assert "1 of 20" in answer.text
    assert "u<1>" not in answer.text
    send(browser, do="revoke", budget="10 requests/day per user", **{"scope:user": "u<1>"})
    assert guard.status().grants == ()
    with open_ledger(f"sqlite:///{tmp_path}/calls.db", read_only=True) as ledger:
        assert [(change.action, change.by) for change in ledger.changes()] == [
            ("grant", "the page"),
            ("revoke", "the page"),
        ]


def test_a_limit_is_granted_to_somebody_who_made_no_call(browser: httpx.Client, guard: CostGuard) -> None:
    send(browser, do="grant", budget="10 requests/day per user", scope="user=new", limit="3 requests", reason="trial")
    (granted,) = guard.status().grants
    assert (granted.scope, granted.limit) == ({"user": "new"}, 3)


def test_a_limit_is_granted_to_calls_that_say_no_user(browser: httpx.Client, guard: CostGuard) -> None:
    guard.after(guard.before(Call("2", "gpt-4o", time.time())), Usage(input_tokens=1))
    assert '<input type="hidden" name="scope:user" value="">' in browser.get("/").text
    whose = {"budget": "10 requests/day per user", "scope:user": ""}
    assert send(browser, do="grant", **whose, limit="3 requests").status_code == 200
    (granted,) = guard.status().grants
    assert (granted.scope, granted.limit) == ({"user": ""}, 3)
    send(browser, do="revoke", **whose)
    assert guard.status().grants == ()


async def test_a_form_that_is_too_long_is_not_read_to_its_end(guard: CostGuard, tmp_path: Path) -> None:
    page = create_page(open_page(str(tmp_path / "costguard.toml"), token=TOKEN))
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1_000
            yield b"token=" + b"x" * 994

    async with httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url="http://page") as browser:
        answer = await browser.post("/login", content=endless())
    assert answer.status_code == 400
    assert "at most 10,000 bytes" in answer.text
    assert read == 11_000


def test_everybody_is_capped_for_a_while(browser: httpx.Client, guard: CostGuard) -> None:
    answer = send(browser, do="emergency", duration="2h", rate="30/minute", max_input="4000", reason="spike")
    assert answer.status_code == 200, answer.text
    emergency = guard.status().emergency
    assert emergency is not None
    assert (emergency.max_input, emergency.rate, emergency.by) == (4_000, "30/minute", "the page")
    assert "Emergency caps are in force" in answer.text
    assert "Emergency caps" not in send(browser, do="end emergency").text
    assert guard.status().emergency is None


def test_a_stopped_session_goes_on(browser: httpx.Client, guard: CostGuard) -> None:
    guard.store.grant_limit(Loops().stop("<i>s1</i>", guard.store.now()))
    assert "Let &lt;i&gt;s1&lt;/i&gt; go on" in browser.get("/").text
    send(browser, do="resume", session="<i>s1</i>")
    assert guard.status().stopped == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"do": "grant", "budget": "10 requests/day per usr", "limit": "3 requests"}, "did you mean|per user"),
        ({"do": "grant", "budget": "$5/day", "limit": ""}, "needs a limit"),
        ({"do": "grant", "budget": "$5/day", "limit": "soon"}, "soon"),
        ({"do": "grant", "budget": "10 requests/day per user", "limit": "3 requests", "scope": "u1"}, "user=u1"),
        ({"do": "emergency", "duration": "1h"}, "cap"),
        ({"do": "emergency", "duration": "1h", "max_input": "many"}, "whole number"),
        ({"do": "emergency", "duration": "1h", "max_input": "²"}, "whole number"),
        ({"do": "emergency", "duration": "1h", "max_input": "9" * 5_000}, "whole number"),
        ({"do": "erase"}, "erase"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    browser: httpx.Client, guard: CostGuard, fields: dict[str, str], said: str
) -> None:
    answer = send(browser, **fields)
    assert answer.status_code == 400
    assert re.search(said, html.unescape(answer.text)), answer.text
    assert guard.status().grants == ()
    assert guard.status().emergency is None


def test_nothing_is_changed_without_a_token_or_with_a_foreign_form(guard: CostGuard, tmp_path: Path) -> None:
    fields = {"do": "emergency", "duration": "1h", "rate": "1/minute"}
    for token in (None, TOKEN):
        opened = open_page(str(tmp_path / "costguard.toml"), token=token)
        with serving(create_page(opened), lifespan="off") as url:
            headers = {"authorization": f"Bearer {token}"}
            answer = httpx.post(f"{url}/switch", data={**fields, "key": "forged"}, headers=headers)
            assert answer.status_code == 400
            if token is None:
                assert 'name="do"' not in httpx.get(url).text
    assert guard.status().emergency is None


def test_what_it_pays_for_is_what_unit_economics_says(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    url = f"sqlite:///{tmp_path}/calls.db"
    with open_ledger(url) as ledger:
        for number in range(12):
            who = Attribution(user=f"u{number % 6}", session=f"s{number}", endpoint="/a" if number % 2 else "/b")
            paid = Event(f"c{number}", now - 9_000 - number, Outcome.MISS, "m", attribution=who, cost=10**9 * number)
            ledger.append(paid)
            ledger.append_outcome(RecordedOutcome(f"o{number}", now - 60, "<b>sale</b>", 10**10, f"u{number % 6}"))
    with open_ledger(url, read_only=True, clock=lambda: now) as ledger:
        opened = open_page(db=url)
        opened.clock = lambda: now
        with serving(create_page(opened), lifespan="off") as page:
            for query in ("", "&endpoint=/a", "&user=u1"):
                where = dict([query[1:].split("=")]) if query else None
                sale = unit_economics(ledger, "<b>sale</b>", since=now - 7 * 86_400, until=now, where=where)
                users = unit_economics(ledger, "active_user", since=now - 7 * 86_400, until=now, where=where)
                text = httpx.get(f"{page}/economics?part=1{query}").text
                assert "&lt;b&gt;sale&lt;/b&gt;" in text
                for one in (sale, users):
                    assert f"{dollars(one.attributed // one.outcomes)} each" in text
                assert f"margin on {dollars(sale.value or 0)}" in text
                table = httpx.get(f"{page}/economics.csv?{query[1:]}").text
                rows = {row["name"]: row for row in csv.DictReader(io.StringIO(table))}
                assert float(rows["<b>sale</b>"]["attributed_usd"]) * 1e9 == sale.attributed
            assert sale.outcomes == 2
            assert sale.attributed == 8 * 10**9


@pytest.mark.parametrize("table", ["calls", "changes", "budgets", "refused", "rows", "economics"])
def test_each_table_is_there_as_csv(browser: httpx.Client, guard: CostGuard, table: str) -> None:
    with attribute(user="=1+1"):
        guard.after(guard.before(Call("2", "gpt-4o", time.time())), Usage(input_tokens=1))
    guard.flush()
    answer = browser.get(f"/{table}.csv?by=user&range=24h")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert all(len(row) == len(head) for row in rows)
    assert not any(cell.startswith("=") for row in rows for cell in row)
    assert browser.get("/nothing.csv").status_code == 400
