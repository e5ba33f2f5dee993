"""What those who run the proxy see: the room that is left, metrics and the page."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from asgi_server import serving

from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.proxy.app import ProxyApp
from costguard_core.proxy.operation import open_operation
from costguard_core.proxy.settings import proxy_settings
from costguard_core.simulate import Simulator

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
CENT = {"gpt-4o-mini": {"input": "0", "output": "0", "request": "0.01"}}
TOKEN = "0123456789abcdef"


def test_an_answer_says_what_the_tightest_dollar_budget_of_the_caller_has_left(start_proxy: Any) -> None:
    guard = CostGuard(["$1/day", "$0.05/day per user", "10 requests/day"], prices=CENT)
    proxy = start_proxy(guard=guard, cache=False)
    left = []
    for user in ("u1", "u1", "u2"):
        answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "user": user})
        left.append(Decimal(answer.headers["x-costguard-remaining-usd"]))
    assert left == [Decimal("0.04"), Decimal("0.03"), Decimal("0.04")]


@pytest.mark.parametrize("budgets", [[], ["10 requests/day"], ["$1/call"]])
def test_nothing_is_said_of_room_where_no_dollar_budget_counts(start_proxy: Any, budgets: list[str]) -> None:
    proxy = start_proxy(guard=CostGuard(budgets, prices=CENT), cache=False)
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json=BODY)
    assert answer.status_code == 200
    assert "x-costguard-remaining-usd" not in answer.headers


@pytest.fixture(params=[None, TOKEN], ids=["open", "with a token"])
def operated(request: pytest.FixtureRequest, openai_server: Simulator) -> Iterator[tuple[str, str | None]]:
    guard = CostGuard(["$1/day"], prices=CENT)
    upstreams = [{"url": openai_server.base_url, "provider": "openai"}]
    settings = proxy_settings({"upstreams": upstreams, "page": True, "metrics": True}, {})
    with serving(ProxyApp(guard, settings, operation=open_operation(settings, guard, request.param))) as url:
        assert httpx.post(f"{url}/v1/chat/completions", json=BODY).status_code == 200
        guard.flush()
        yield url, request.param


def test_page_and_metrics_show_what_was_spent_to_those_with_the_token(operated: tuple[str, str | None]) -> None:
    url, token = operated
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    metrics = httpx.get(f"{url}/metrics", headers=headers)
    assert 'llm_cost_usd_total{endpoint="",model="gpt-4o-mini",provider="openai"} 0.01' in metrics.text
    page = httpx.get(f"{url}/ui/", headers=headers)
    assert page.status_code == 200
    assert "gpt-4o-mini" in page.text
    assert 'href="/ui/' in page.text
    assert httpx.get(f"{url}/ui", headers=headers).text.count("gpt-4o-mini") == page.text.count("gpt-4o-mini")
    assert httpx.get(f"{url}/ui/rows.csv", headers=headers).status_code == 200


def test_without_the_token_neither_is_shown(operated: tuple[str, str | None]) -> None:
    url, token = operated
    if token is None:
        return
    for headers in ({}, {"authorization": "Bearer wrong"}):
        metrics = httpx.get(f"{url}/metrics", headers=headers)
        assert (metrics.status_code, "llm_" in metrics.text) == (401, False)
        page = httpx.get(f"{url}/ui/", headers=headers)
        assert (page.status_code, page.headers["location"]) == (303, "/ui/login")


def test_both_are_off_unless_asked_for(start_proxy: Any) -> None:
    proxy = start_proxy()
    assert [httpx.get(f"{proxy.url}{path}").status_code for path in ("/metrics", "/ui", "/ui/")] == [404] * 3


def test_on_other_hosts_they_want_a_token_that_cannot_be_guessed() -> None:
    settings = proxy_settings({"host": "0.0.0.0", "keys": "sqlite:///k.db", "page": True}, {})
    with pytest.raises(ConfigurationError, match="COSTGUARD_TOKEN"):
        open_operation(settings, CostGuard(), None)
    with pytest.raises(ConfigurationError, match="16 characters"):
        open_operation(settings, CostGuard(), "short")
