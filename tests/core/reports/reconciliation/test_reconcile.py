"""Ledgers against local servers that speak the reports of OpenAI and Anthropic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billing_server import DAY, KEY, Answer, BillingServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from costguard_core import CostGuard
from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.pricing import PriceBook
from costguard_core.reports.reconciliation import Reconciliation, parse_tolerance, reconcile
from costguard_core.types import Event, Outcome, Usage

MONDAY = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
DAYS = [datetime.fromtimestamp(MONDAY + number * DAY, UTC).date().isoformat() for number in range(7)]
NOW = MONDAY + 7 * DAY + 3600.0
MODEL, CLAUDE = "gpt-4o-2024-08-06", "claude-sonnet-4-5-20250929"
INPUT, CACHED, OUTPUT = 2_500, 1_250, 10_000  # nano-dollars a token of gpt-4o
ENVIRONMENT = {"OPENAI_ADMIN_KEY": KEY, "ANTHROPIC_ADMIN_KEY": KEY}


@pytest.fixture(scope="module")
def prices() -> PriceBook:
    return PriceBook()


@pytest.fixture
def server() -> Iterator[BillingServer]:
    with BillingServer() as running:
        yield running


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_db")
    with open_ledger(url, clock=lambda: NOW) as opened:
        yield opened


@pytest.fixture
def small() -> Iterator[Ledger]:
    with open_ledger("memory://", clock=lambda: NOW) as opened:
        yield opened


class Calls:
    """Writes events with ids of their own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.number = ledger, 0

    def add(self, day: int, usage: Usage, cost: int | None, **values: Any) -> None:
        self.number += 1
        given: dict[str, Any] = {
            "id": f"c{self.number}",
            "time": MONDAY + day * DAY + 40_000.0 + self.number,
            "outcome": Outcome.MISS,
            "model": "gpt-4o",
            "answered_model": MODEL,
            "provider": "openai",
            "priced_by": "list",
        }
        self.ledger.append(Event(usage=usage, cost=cost, **{**given, **values}))


def gpt_cost(sent: int, got: int, cached: int = 0) -> int:
    return (sent - cached) * INPUT + cached * CACHED + got * OUTPUT


def bill_gpt(server: BillingServer, day: int, sent: int, got: int, requests: int, cached: int = 0) -> None:
    for part, count, price in (
        ("input", sent - cached, INPUT),
        ("cached input", cached, CACHED),
        ("output", got, OUTPUT),
    ):
        if count:
            server.openai_cost(DAYS[day], f"{MODEL}, {part}", count * price / 1e9, float(count))
    server.openai_usage(
        DAYS[day],
        MODEL,
        input_tokens=sent,
        input_cached_tokens=cached,
        output_tokens=got,
        num_model_requests=requests,
    )


def ask(server: BillingServer, ledger: Ledger, **options: Any) -> Reconciliation:
    options.setdefault("provider", "openai")
    waits: list[float] = options.pop("waits", [])
    return reconcile(
        ledger,
        environment=ENVIRONMENT,
        base_urls={"openai": server.url, "anthropic": server.url},
        sleep=waits.append,
        timeout=30.0,
        **options,
    )


def test_a_week_of_openai_with_everything_in_it(server: BillingServer, ledger: Ledger) -> None:
    calls = Calls(ledger)
    for day in range(7):
        calls.add(day, Usage(1_000, 100, cache_read_tokens=400), gpt_cost(1_000, 100, 400))
    bill_gpt(server, 0, 1_000, 100, 1, 400)  # agrees
    bill_gpt(server, 1, 4_000, 400, 4, 1_600)  # three calls went another way
    calls.add(2, Usage(2_000, 500, estimated=True), gpt_cost(2_000, 500), estimated=True)
    bill_gpt(server, 2, 3_000, 400, 2, 400)  # the estimate of an answer was 200 tokens too long
    late = {"outcome": Outcome.ABANDONED, "estimated": True, "reason": "CancelledError"}
    calls.add(3, Usage(1_000, 4_000, estimated=True), gpt_cost(1_000, 4_000), **late)
    bill_gpt(server, 3, 1_000, 100, 1, 400)  # the cancelled call was not billed
    bill_gpt(server, 4, 1_000, 100, 1, 0)  # nothing was read from the cache
    calls.add(5, Usage(500, 50), None)
    bill_gpt(server, 5, 1_500, 150, 2, 400)
    bill_gpt(server, 6, 1_000, 100, 1, 400)
    server.openai_cost(DAYS[6], "gpt-4.1-mini-2025-04-14, output", "0.500000000000000000000000")
    server.openai_usage(DAYS[6], "gpt-4.1-mini-2025-04-14", output_tokens=312_500, num_model_requests=9)
    found = ask(server, ledger)
    assert (found.since, found.until) == (DAYS[0], "2026-11-23")
    parts = {row.day: dict(row.parts) for row in found if row.name == MODEL}
    assert parts == {
        DAYS[0]: {},
        DAYS[1]: {"outside": 3 * gpt_cost(1_000, 100, 400)},
        DAYS[2]: {"estimate": -200 * OUTPUT},
        DAYS[3]: {"failed": -gpt_cost(1_000, 4_000)},
        DAYS[4]: {"cache": 400 * (INPUT - CACHED)},
        DAYS[5]: {"unpriced": gpt_cost(500, 50)},
        DAYS[6]: {},
    }
    assert {row.name: row.parts for row in found if row.name != MODEL} == {
        "gpt-4.1-mini-2025-04-14": (("outside", 500_000_000),)
    }
    assert found.rest == 0
    assert sum(nanos for _, nanos in found.parts) == found.difference == found.billed - found.recorded
    assert found.parts[0][0] == "outside"


def test_a_week_of_anthropic_in_cents_with_searches(server: BillingServer, ledger: Ledger) -> None:
    calls, claude = Calls(ledger), {"model": CLAUDE, "answered_model": None, "provider": "anthropic"}
    usage = Usage(10_000, 500, cache_read_tokens=6_000, cache_write_tokens=2_000, cache_write_1h_tokens=500)
    cost = 2_000 * 3_000 + 6_000 * 300 + 1_500 * 3_750 + 500 * 6_000 + 500 * 15_000
    calls.add(0, usage, cost, **claude)
    calls.add(0, Usage(1_000, 100, web_searches=3), 1_000 * 3_000 + 100 * 15_000 + 3 * 10_000_000, **claude)
    calls.add(0, Usage(1_000, 100), 1_000 * 3_000 + 100 * 15_000, **claude)  # ran as a batch, which the ledger missed
    server.anthropic_usage(
        DAYS[0],
        CLAUDE,
        uncached_input_tokens=3_000,
        cache_read_input_tokens=6_000,
        cache_creation={"ephemeral_5m_input_tokens": 1_500, "ephemeral_1h_input_tokens": 500},
        output_tokens=600,
        server_tool_use={"web_search_requests": 3},
    )
    server.anthropic_usage(DAYS[0], CLAUDE, uncached_input_tokens=1_000, output_tokens=100, service_tier="batch")
    for part, cents in (
        ("uncached_input_tokens", "0.9"),
        ("cache_read_input_tokens", "0.18"),
        ("cache_creation.ephemeral_5m_input_tokens", "0.5625"),
        ("cache_creation.ephemeral_1h_input_tokens", "0.30"),
        ("output_tokens", "0.9"),
    ):
        server.anthropic_cost(DAYS[0], CLAUDE, part, cents)
    server.anthropic_cost(DAYS[0], CLAUDE, "uncached_input_tokens", "0.15", service_tier="batch")
    server.anthropic_cost(DAYS[0], CLAUDE, "output_tokens", "0.075", service_tier="batch")
    server.anthropic_cost(DAYS[0], None, None, "3", cost_type="web_search")
    found = ask(server, ledger, provider="anthropic")
    rows = {row.name: row for row in found}
    assert rows[CLAUDE].parts == (("tier", -(1_000 * 1_500 + 100 * 7_500)),)
    assert (rows["web_search"].billed, rows["web_search"].recorded, rows["web_search"].parts) == (30_000_000,) * 2 + (
        (),
    )
    assert found.rest == 0
    assert {header["anthropic-version"] for _, _, header in server.asked} == {"2023-06-01"}


def test_the_priority_tier_is_not_in_anthropics_costs(server: BillingServer, small: Ledger) -> None:
    usage = Usage(1_000, 100, tier="priority")
    Calls(small).add(0, usage, 4_500_000, model=CLAUDE, answered_model=None, provider="anthropic")
    server.anthropic_usage(DAYS[0], CLAUDE, uncached_input_tokens=1_000, output_tokens=100, service_tier="priority")
    found = ask(server, small, provider="anthropic")
    assert [row.parts for row in found] == [(("tier", -4_500_000),)]
    assert "priority tier" in str(found)


def test_every_page_is_read(server: BillingServer, small: Ledger) -> None:
    server.page_days = 2
    for day in range(7):
        bill_gpt(server, day, 1_000, 100, 1)
        Calls(small).add(day, Usage(1_000, 100), gpt_cost(1_000, 100), id=f"page{day}")
    found = ask(server, small)
    assert len(found) == 7
    assert found.difference == found.rest == 0
    assert sum(path.endswith("/costs") for path, _, _ in server.asked) == 4


def test_the_requests_are_those_of_the_documentation(server: BillingServer, small: Ledger) -> None:
    ask(server, small, projects=["proj_1", "proj_2"], since="2026-11-16", until="2026-11-18")
    path, query, headers = server.asked[0]
    assert path == "/v1/organization/costs"
    assert (query["start_time"], query["end_time"]) == ([str(MONDAY)], [str(MONDAY + 2 * DAY)])
    assert (query["group_by[]"], query["bucket_width"]) == (["line_item"], ["1d"])
    assert query["project_ids[]"] == ["proj_1", "proj_2"]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert [path for path, _, _ in server.asked[1:]] == [
        "/v1/organization/usage/completions",
        "/v1/organization/usage/embeddings",
    ]
    assert server.asked[1][1]["group_by[]"] == ["model", "batch", "service_tier"]


def test_workspaces_of_anthropic_are_kept_apart(server: BillingServer, small: Ledger) -> None:
    server.anthropic_cost(DAYS[0], CLAUDE, "output_tokens", "15", workspace_id="wrkspc_a")
    server.anthropic_cost(DAYS[0], CLAUDE, "output_tokens", "150", workspace_id="wrkspc_b")
    found = ask(server, small, provider="anthropic", workspaces=["wrkspc_a"])
    assert found.billed == 150_000_000
    assert server.asked[-1][1]["workspace_ids[]"] == ["wrkspc_a"]


def test_a_limit_on_the_rate_is_waited_for_as_long_as_the_server_says(server: BillingServer, small: Ledger) -> None:
    bill_gpt(server, 0, 1_000, 100, 1)
    server.instead += [Answer(429, headers={"Retry-After": "17"}), Answer(503), Answer(200, b"<html>"), Answer(0)]
    waits: list[float] = []
    assert ask(server, small, waits=waits).billed == gpt_cost(1_000, 100)
    assert waits[0] == 17
    assert [0.75 * 2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits[1:], start=1)] == [True] * 3


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(500), "HTTP 500, after 6 tries"),
        (Answer(429), "HTTP 429, after 6 tries"),
        (Answer(200, b"[1, 2]"), "no JSON object"),
        (Answer(200, b"{"), "no JSON"),
        (Answer(200, b"[" * 100_000), "no JSON"),
        (Answer(200, b'{"data": 7}'), "no report"),
        (Answer(200, b'{"data": [{"results": [null]}]}'), "results is no list of objects"),
        (Answer(200, b'{"data": [{"results": {}, "result": 5}]}'), "result is no list of objects"),
        (Answer(200, b'{"data": [{"start_time": "soon", "results": []}]}'), "'soon'"),
        (Answer(200, b'{"data": [{"start_time": 99999999999999, "results": []}]}'), "a day that begins at"),
        (Answer(200, b'{"data": [], "has_more": true}'), "more pages"),
        (Answer(200, b'{"data": [], "has_more": true, "next_page": "p"}'), "again and again"),
        (Answer(400, b'{"error": {"message": "start_time is bad: ' + KEY.encode() + b'"}}'), "start_time is bad: …"),
        (Answer(302, headers={"Location": "https://elsewhere.example"}), "redirects are not followed"),
        (Answer(0), "after 6 tries"),
    ],
)
def test_what_stays_broken_is_one_clear_line(server: BillingServer, small: Ledger, answer: Answer, text: str) -> None:
    server.instead += [answer] * 6
    with pytest.raises(CostGuardError, match=text.replace("(", "\\(")) as caught:
        ask(server, small)
    assert not isinstance(caught.value, ConfigurationError)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("status", "words"), [(401, "is not accepted"), (403, "may not read this report")])
def test_a_wrong_key_is_named_by_its_variable_and_never_shown(
    server: BillingServer, small: Ledger, status: int, words: str
) -> None:
    said = f'{{"error": {{"message": "Incorrect API key provided: {KEY[:6]}***{KEY[-4:]}"}}}}'
    server.instead.append(Answer(status, said.encode()))
    with pytest.raises(ConfigurationError, match=f"OPENAI_ADMIN_KEY {words}") as caught:
        ask(server, small)
    assert "administrator" in str(caught.value)
    assert KEY[:6] not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_key_goes_to_no_other_host(
    server: BillingServer, small: Ledger, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with BillingServer() as other:
        server.instead.append(Answer(status, headers={"Location": f"{other.url}/v1/organization/costs"}))
        with pytest.raises(CostGuardError, match="redirects are not followed"):
            ask(server, small)
        monkeypatch.setenv("http_proxy", other.url)  # it would see the headers of plain http
        ask(server, small)
        assert other.asked == []


@pytest.mark.parametrize("field", ["cache_creation", "server_tool_use"])
def test_an_answer_of_anthropic_that_is_no_report(server: BillingServer, small: Ledger, field: str) -> None:
    server.anthropic_usage(DAYS[0], CLAUDE, **{field: 5})
    with pytest.raises(CostGuardError, match=f"{field} is no object"):
        ask(server, small, provider="anthropic")


def test_lines_for_no_call_are_not_called_calls(server: BillingServer, small: Ledger) -> None:
    server.openai_cost(DAYS[0], "web search tool calls", 0.05, 5.0)
    server.openai_cost(DAYS[0], "Sales tax", 3)
    server.openai_cost(DAYS[0], "file search storage", 0.1, 0.53)
    found = ask(server, small)
    assert [(row.name, row.parts) for row in found] == [
        ("Sales tax", (("other", 3_000_000_000),)),
        ("file search storage", (("other", 100_000_000),)),
        ("web_search", (("outside", 50_000_000),)),
    ]
    assert found.rest == 0


def test_money_that_is_given_back_for_a_tool_is_subtracted(server: BillingServer, small: Ledger) -> None:
    server.openai_cost(DAYS[0], "web search tool calls", 0.05, 5.0)
    server.openai_cost(DAYS[0], "web search tool calls", -0.02, -2.0)
    (row,) = ask(server, small)
    assert (row.billed, row.requests) == (30_000_000, 3)


def test_searches_by_two_tools_of_openai_are_one_line_of_its_bill(server: BillingServer, small: Ledger) -> None:
    searches = 2 * 25_000_000 + 10_000_000  # two by the preview tool, whose models do not think, and one by the newer
    usage = Usage(1_000, 100, web_searches=3, units=(("preview_search", 2),))
    Calls(small).add(0, usage, gpt_cost(1_000, 100) + searches)
    bill_gpt(server, 0, 1_000, 100, 1)
    server.openai_cost(DAYS[0], "web search tool calls", 0.06, 3.0)
    found = ask(server, small)
    assert [(row.name, row.parts) for row in found if row.parts] == []
    assert (found.recorded, found.rest) == (found.billed, 0)


def test_days_whose_calls_are_deleted_are_not_compared(server: BillingServer, tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db", clock=lambda: NOW) as ledger:
        for day in range(7):
            Calls(ledger).add(day, Usage(1_000, 100), gpt_cost(1_000, 100), id=f"day{day}")
            bill_gpt(server, day, 1_000, 100, 1)
        ledger.roll_up(few=1)
        assert ledger.prune(MONDAY + 2 * DAY) == 2
        with pytest.raises(ConfigurationError, match=f"say since={DAYS[2]}"):
            ask(server, ledger)
        assert server.asked == []
        found = ask(server, ledger, since=DAYS[2])
    assert (found.difference, found.rest, len(found)) == (0, 0, 5)


def test_money_in_another_currency_is_not_compared(server: BillingServer, small: Ledger) -> None:
    server.openai_cost(DAYS[0], f"{MODEL}, input", 1.0)
    server.results["/v1/organization/costs"][DAYS[0]][0]["amount"]["currency"] = "eur"
    with pytest.raises(CostGuardError, match="only usd"):
        ask(server, small)


def test_digits_of_money_are_not_lost(server: BillingServer, small: Ledger) -> None:
    for _ in range(10):
        server.openai_cost(DAYS[0], f"{MODEL}, input", 0.1)
    server.openai_cost(DAYS[0], f"{MODEL}, output", "123456789.000000001")
    assert ask(server, small).billed == 123_456_789 * 10**9 + 1 + 10**9


def test_calls_at_midnight_are_the_days_edge(server: BillingServer, ledger: Ledger) -> None:
    calls = Calls(ledger)
    for day in range(7):
        calls.add(day, Usage(1_000, 100), gpt_cost(1_000, 100))
    calls.add(2, Usage(300, 30), gpt_cost(300, 30), time=MONDAY + 3 * DAY - 20.0)  # ends on the next day
    for day in range(7):
        extra = day == 3
        bill_gpt(server, day, 1_000 + 300 * extra, 100 + 30 * extra, 1 + extra)
    found = ask(server, ledger)
    assert {row.day: row.parts for row in found if row.parts} == {
        DAYS[2]: (("edge", -gpt_cost(300, 30)),),
        DAYS[3]: (("edge", gpt_cost(300, 30)),),
    }
    assert found.difference == found.rest == 0


def test_calls_just_before_the_span_are_the_edge_of_its_first_day(server: BillingServer, ledger: Ledger) -> None:
    calls = Calls(ledger)
    calls.add(0, Usage(1_000, 100), gpt_cost(1_000, 100))
    calls.add(0, Usage(200, 20), gpt_cost(200, 20), time=MONDAY - 5.0)
    bill_gpt(server, 0, 1_200, 120, 2)
    assert [row.parts for row in ask(server, ledger)] == [(("edge", gpt_cost(200, 20)),)]


def test_hits_refusals_and_other_sellers_are_not_compared(server: BillingServer, small: Ledger) -> None:
    calls = Calls(small)
    calls.add(0, Usage(1_000, 100), gpt_cost(1_000, 100))
    calls.add(0, Usage(1_000, 100), 0, outcome=Outcome.EXACT)
    calls.add(0, Usage(), 0, outcome=Outcome.REFUSED)
    calls.add(0, Usage(), 0, outcome=Outcome.ERROR, reason="RateLimitError")
    calls.add(0, Usage(9, 9), 99, provider="azure")
    calls.add(0, Usage(9, 9), 99, host="my-own.openai.azure.com")
    calls.add(0, Usage(9, 9), 99, provider="anthropic", model=CLAUDE)
    calls.add(0, Usage(500, 50), gpt_cost(500, 50), provider=None)  # nobody said whose, but the bill has the model
    bill_gpt(server, 0, 1_500, 150, 2)
    assert [row.parts for row in ask(server, small)] == [()]


def test_embeddings_and_batches_are_compared(server: BillingServer, small: Ledger) -> None:
    calls, model = Calls(small), "text-embedding-3-small"
    calls.add(0, Usage(1_000_000, 0), 20_000_000, model=model, answered_model=model, kind="embedding")
    server.openai_cost(DAYS[0], f"{model}, input", 0.02)
    server.openai_usage(DAYS[0], model, kind="embeddings", input_tokens=1_000_000, num_model_requests=1)
    calls.add(0, Usage(1_000, 100, tier="batch"), gpt_cost(1_000, 100) // 2)
    server.openai_cost(DAYS[0], f"batch | {MODEL}, input", 0.00125)
    server.openai_cost(DAYS[0], f"batch | {MODEL}, output", 0.0005)
    server.openai_usage(DAYS[0], MODEL, batch=True, input_tokens=1_000, output_tokens=100, num_model_requests=1)
    found = ask(server, small)
    assert {row.name: row.parts for row in found} == {model: (), MODEL: ()}


def test_both_providers_are_asked_where_both_keys_are_set(server: BillingServer, small: Ledger) -> None:
    server.openai_cost(DAYS[0], f"{MODEL}, input", 1)
    server.anthropic_cost(DAYS[0], CLAUDE, "output_tokens", "100")
    found = ask(server, small, provider=None)
    assert {row.provider for row in found} == {"openai", "anthropic"}
    assert found.billed == 2 * 10**9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"environment": {}}, "set OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY"),
        ({"environment": {}, "provider": "openai"}, "OPENAI_ADMIN_KEY is not set"),
        ({"environment": {"OPENAI_ADMIN_KEY": "a\nb"}}, "OPENAI_ADMIN_KEY: the header"),
        ({"provider": "anthopic"}, 'Did you mean "anthropic"'),
        ({"provider": "openai", "base_urls": {"openai": "http://api.openai.com"}}, "https://"),
        ({"provider": "openai", "since": "2026-11-20", "until": "2026-11-18"}, "since= is not before until="),
        ({"provider": "openai", "since": "today"}, "today is not over"),
        ({"provider": "openai", "since": "whenever"}, "is not a time"),
        ({"provider": "openai", "since": "1999-01-01"}, "choose a shorter span"),
        ({"provider": "openai", "timezone": "Europe/Vienna"}, "the APIs report UTC days"),
        ({"csv": "x.csv", "timezone": "Mars/Base"}, "no time zone"),
        ({"provider": "openai", "columns": {"cost": "a"}}, "columns="),
        ({"provider": "openai", "workspaces": ["w"]}, "workspaces are those of anthropic"),
        ({"provider": "anthropic", "projects": ["p"]}, "projects are those of openai"),
        ({"csv": "x.csv", "projects": ["p"]}, "for the APIs"),
        ({"provider": "openai", "base_urls": {"opnai": "https://x"}}, 'Did you mean "openai"'),
        ({"provider": "openai", "base_urls": {"openai": "https://x:abc"}}, "port"),
        ({"provider": "openai", "base_urls": {"openai": "https://me:secret@x"}}, "name and a password"),
    ],
)
def test_bad_options_are_named_before_anything_is_asked(small: Ledger, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        reconcile(small, **{"environment": ENVIRONMENT, **options})


def test_the_guard_reconciles_what_it_recorded(server: BillingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setattr("costguard_core.reports.reconciliation.openai_bill.BASE_URL", server.url)
    bill_gpt(server, 0, 1_000, 100, 1)
    with CostGuard(ledger=open_ledger("memory://", clock=lambda: NOW)) as guard:
        Calls(guard.ledger).add(0, Usage(1_000, 100), gpt_cost(1_000, 100))
        found = guard.reconcile()
    assert (found.difference, found.rest, len(found)) == (0, 0, 1)


def test_what_is_shown_is_the_same_everywhere(server: BillingServer, small: Ledger) -> None:
    bill_gpt(server, 0, 1_000, 100, 1)
    server.openai_cost(DAYS[0], "=evil|\x1b[31m, input", 1.5)
    found = ask(server, small)
    text, markdown, html, data = str(found), found.to_markdown(), found._repr_html_(), json.loads(found.to_json())
    for shown in (text, markdown, html):
        assert "\x1b" not in shown
        assert "calls that did not go through Costguard" in shown
        assert "1.50" in shown
    assert "\\|" in markdown
    assert data["billed_usd"] == "1.503500000"
    assert [(part["kind"], Decimal(part["usd"])) for part in data["parts"]] == [
        ("other", Decimal("1.5")),
        ("outside", Decimal("0.0035")),
    ]
    assert {row["difference_usd"] for row in data["rows"]} == {"1.500000000", "0.003500000"}
    assert KEY not in text + markdown + html + found.to_json() + repr(found)


def test_a_tolerance_is_money_or_a_share() -> None:
    assert parse_tolerance("$0.50").nanos(10**12) == parse_tolerance("0.5").nanos(0) == 500_000_000
    assert parse_tolerance("1.5 %").nanos(2 * 10**9) == 30_000_000
    for text in ("", "much", "-1", "$1%", "1e3"):
        with pytest.raises(ConfigurationError, match="no tolerance"):
            parse_tolerance(text)


_events = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["miss", "estimate", "unpriced", "timeout", "free error", "hit", "batch", "cached", "search"]),
        st.integers(0, 5_000),
        st.integers(0, 900),
        st.integers(0, 86_399),
    ),
    max_size=30,
)
_billed = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(
            [f"{MODEL}, input", f"batch | {MODEL}, output", f"{MODEL}, cached input", "web search tool call"]
        ),
        st.integers(-(10**4), 10**9),
        st.integers(0, 10**5),
        st.integers(0, 40),
    ),
    max_size=20,
)


@settings(max_examples=60)
@given(_events, _billed)
@example([], [(0, f"{MODEL}, input", 0, 0, 0)] * 5 + [(1, "web search tool call", 0, 0, 0)])  # rows of nothing at all
def test_rows_and_parts_add_up_under_random_ledgers_and_bills(
    prices: PriceBook, events: list[tuple[int, str, int, int, int]], billed: list[tuple[int, str, int, int, int]]
) -> None:
    kinds: dict[str, Callable[[int, int], tuple[Usage, int | None, dict[str, Any]]]] = {
        "miss": lambda a, b: (Usage(a, b), gpt_cost(a, b), {}),
        "estimate": lambda a, b: (Usage(a, b, estimated=True), gpt_cost(a, b), {"estimated": True}),
        "unpriced": lambda a, b: (Usage(a, b), None, {}),
        "timeout": lambda a, b: (
            Usage(a, b, estimated=True),
            gpt_cost(a, b),
            {"outcome": Outcome.ERROR, "estimated": True, "reason": "APITimeoutError"},
        ),
        "free error": lambda a, b: (Usage(), 0, {"outcome": Outcome.ERROR, "reason": "InternalServerError"}),
        "hit": lambda a, b: (Usage(a, b), 0, {"outcome": Outcome.EXACT}),
        "batch": lambda a, b: (Usage(a, b, tier="batch"), gpt_cost(a, b) // 2, {}),
        "cached": lambda a, b: (Usage(a, b, cache_read_tokens=a // 2), gpt_cost(a, b, a // 2), {}),
        "search": lambda a, b: (Usage(a, b, web_searches=1), gpt_cost(a, b) + 10_000_000, {}),
    }
    with BillingServer(page_days=3) as server, open_ledger("memory://", clock=lambda: NOW) as ledger:
        calls, spent = Calls(ledger), 0
        for day, kind, sent, got, second in events:
            usage, cost, values = kinds[kind](sent, got)
            calls.add(day, usage, cost, time=MONDAY + day * DAY + float(second), **values)
            spent += cost or 0
        owed = 0
        for day, line, nanos, tokens, requests in billed:
            server.openai_cost(DAYS[day], line, f"{Decimal(nanos).scaleb(-9):f}", float(requests))
            server.openai_usage(
                DAYS[day],
                MODEL,
                batch=line.startswith("batch"),
                input_tokens=tokens,
                output_tokens=tokens // 9,
                input_cached_tokens=tokens // 3,
                num_model_requests=requests,
            )
            owed += nanos
        found = ask(server, ledger, prices=prices)
    assert (found.billed, found.recorded) == (owed, spent)
    for row in found:
        assert sum(nanos for _, nanos in row.parts) == row.difference
    assert sum(nanos for _, nanos in found.parts) == found.difference
    assert sum(row.difference for row in found) == owed - spent
