"""Budgets behind the proxy: exact under concurrency, refused in the words of the client, settled whatever happens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx
import openai
import pytest
from asgi_server import serving
from waiting import async_wait_until, wait_until

from costguard_core.budgets.budget import Budget
from costguard_core.guard import CostGuard
from costguard_core.simulate import Fault, Simulator
from costguard_core.wire.sse import event_of

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
CENT = {"input": "0", "output": "0", "request": "0.01"}


def _guard(*budgets: Any, **options: Any) -> CostGuard:
    return CostGuard(budgets, prices={"gpt-4o-mini": CENT, "claude-sonnet-4-5": CENT}, **options)


async def test_a_budget_of_ten_calls_lets_ten_of_many_concurrent_clients_through(
    openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy(guard=_guard("$0.10/day"), cache=False)
    async with httpx.AsyncClient(timeout=120) as client:
        answers = await asyncio.gather(
            *(client.post(f"{proxy.base_url}/chat/completions", json=BODY) for _ in range(200))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 190
    assert openai_server.count == 10


def test_openai_clients_get_a_rate_limit_error_that_names_no_budget(start_proxy: Any) -> None:
    proxy = start_proxy(guard=_guard("$0.001/day"))
    client = openai.OpenAI(base_url=proxy.base_url, api_key="k", max_retries=3)
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**BODY)
    assert refused.value.code == "spend_limit_exceeded"
    assert refused.value.type == "insufficient_quota"
    assert "0.001" not in str(refused.value)
    proxy.guard.flush()
    assert proxy.guard.report().total.refused == 1  # the client did not ask again


def test_anthropic_clients_get_a_rate_limit_error(start_proxy: Any) -> None:
    proxy = start_proxy(guard=_guard("$0.001/day"))
    client = anthropic.Anthropic(base_url=proxy.url, api_key="k", max_retries=3)
    with pytest.raises(anthropic.RateLimitError, match="rate_limit_error"):
        client.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=BODY["messages"])


def test_a_stream_is_refused_before_its_first_byte(start_proxy: Any) -> None:
    proxy = start_proxy(guard=_guard("$0.01/day"), cache=False)
    httpx.post(f"{proxy.base_url}/chat/completions", json=BODY)
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": True})
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_with_an_answer_gives_it_in_the_format_asked_for(start_proxy: Any, stream: bool) -> None:
    proxy = start_proxy(guard=_guard(Budget.parse("$0.001/day", answer="Come back tomorrow.")))
    client = openai.OpenAI(base_url=proxy.base_url, api_key="k")
    if stream:
        chunks = list(client.chat.completions.create(**BODY, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = client.chat.completions.create(**BODY).choices[0].message.content
    assert text == "Come back tomorrow."


def test_an_unlimited_request_is_capped_to_what_the_budget_allows(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$0.005/call", cache=False)
    httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "gpt-4o"})
    httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "gpt-5"})
    first, second = (request.body for request in openai_server.requests)
    assert 0 < first["max_tokens"] < 600
    assert 0 < second["max_completion_tokens"] < 600


class EndlessStream:
    """An upstream that says one word, and then nothing until its client goes away, which it remembers."""

    def __init__(self) -> None:
        self.left = Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        choice = {"index": 0, "delta": {"role": "assistant", "content": "word"}, "finish_reason": None}
        chunk = event_of({"id": "1", "model": "gpt-4o-mini", "choices": [choice]})
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await receive()
        self.left.set()


async def test_a_client_that_leaves_a_stream_ends_the_upstream_call_and_is_charged_for_what_came(
    start_proxy: Any,
) -> None:
    guard = CostGuard(["$100/day"])
    upstream = EndlessStream()
    with serving(upstream, lifespan="off") as url:
        proxy = start_proxy(guard=guard, cache=False, upstreams=[{"url": url, "provider": "openai"}])
        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", f"{proxy.base_url}/chat/completions", json={**BODY, "stream": True}) as answer,
        ):
            assert answer.status_code == 200
            await anext(aiter(answer.aiter_bytes()))
        await async_wait_until(upstream.left.is_set)
        await async_wait_until(lambda: guard.status().budgets[0].held == 0)
    guard.flush()
    total = guard.report().total
    assert (total.abandoned, total.unpriced) == (1, 0)
    assert 0 < total.cost < 10**7


async def test_a_client_that_leaves_a_plain_call_is_settled(openai_server: Simulator, start_proxy: Any) -> None:
    guard = _guard("$1/day")
    proxy = start_proxy(guard=guard, cache=False)
    parts = urlsplit(proxy.url)
    with openai_server.hold():
        with socket.create_connection((parts.hostname, parts.port)) as client:
            body = b'{"model": "gpt-4o-mini", "messages": []}'
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await asyncio.to_thread(openai_server.wait_for_requests, 1)
        await async_wait_until(lambda: guard.status().budgets[0].held == 0)
    guard.flush()
    assert guard.report().total.abandoned == 1


def test_errors_of_the_provider_pass_unchanged_and_cost_nothing(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day")
    for stream in (False, True):
        openai_server.faults.append(Fault(status=429, retry_after=7))
        answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": stream})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert "x-costguard-cost-usd" not in answer.headers
    proxy.guard.flush()
    assert proxy.guard.report().total.cost == 0
    assert proxy.guard.status().budgets[0].held == 0


def test_a_stream_that_breaks_off_reaches_the_client_broken_and_is_charged(
    openai_server: Simulator, start_proxy: Any
) -> None:
    guard = CostGuard(["$1/day"])
    proxy = start_proxy(guard=guard, cache=False)
    openai_server.faults.append(Fault(drop=3))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": True})
    wait_until(lambda: guard.status().budgets[0].held == 0)
    guard.flush()
    assert 0 < guard.report().total.cost


def test_fallbacks_are_asked_only_where_the_policy_says(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day", fallbacks={"gpt-4o": ["gpt-4o-mini"]}, aliases={"fast": "gpt-4o-mini"}, cache=False)
    openai_server.faults.append(Fault(status=503))
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "gpt-4o"})
    assert answer.json()["model"].startswith("gpt-4o-mini")
    openai_server.faults.append(Fault(status=503))
    assert httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "fast"}).status_code == 503
    assert [request.body["model"] for request in openai_server.requests] == ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]


def test_a_model_without_a_price_is_refused_under_a_money_budget(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day")
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "nobody-knows-me"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "unpriced_model")
    assert openai_server.count == 0


def test_a_stream_that_breaks_is_not_begun_anew_at_a_fallback(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(guard=_guard("$1/day"), fallbacks={"gpt-4o-mini": ("gpt-4o-mini-2",)})
    openai_server.faults.append(Fault(drop=3))
    url = f"{proxy.base_url}/chat/completions"
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", url, json={**BODY, "stream": True}) as answer:
        answer.read()
    wait_until(lambda: proxy.guard.status().budgets[0].held == 0)
    assert openai_server.count == 1


def test_a_hit_saves_the_price_of_its_usage_where_nobody_knew_what_it_cost(
    openai_server: Simulator, start_proxy: Any, tmp_path: Path
) -> None:
    body, cache = {**BODY, "model": "our-model"}, f"sqlite:///{tmp_path}/answers.db"
    for guard in (CostGuard(), CostGuard(prices={"our-model": {"input": "1", "output": "1"}})):
        proxy = start_proxy(guard=guard, cache=cache)
        assert httpx.post(f"{proxy.base_url}/chat/completions", json=body).status_code == 200
        guard.flush()
    assert openai_server.count == 1
    total = guard.report().total
    assert (total.calls, total.paid) == (1, 0)
    assert total.saved > 0
