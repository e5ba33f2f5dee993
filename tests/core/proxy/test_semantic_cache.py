"""The semantic cache of the proxy: the same question in other words, in the format asked for, and nobody else's."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from waiting import wait_until

from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.policy.policy import PolicyError, parse_policy
from costguard_core.proxy.serve import serve
from costguard_core.simulate import Simulator

# Guarded, so that it serves from the first pair on; the calibrated decision begins closed.
KEY = {"authorization": "Bearer k"}
SEMANTIC: Any = {"embeddings": "wordllama", "decide": "guarded", "threshold": 0.9}
ASKED, REWORDED, OTHER = (
    "How do I reset my wifi router?",
    "how can I reset my wifi router",
    "How do I replace my wifi router?",
)
ANSWERS = (
    (
        "Find the recessed switch at the rear of the router and keep it pressed with a paper clip until the lamp turns "
        "green again."
    ),
    "Find the switch at the rear of the router, keep it pressed with a pin, and let go when the light is green.",
)  # of which words alone do not show that they say the same
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def _body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def _chunks(url: str, **body: Any) -> list[dict[str, Any]]:
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    return [chunk.model_dump() for chunk in client.chat.completions.create(stream=True, **body)]


def _ask(proxy: Any, text: str, headers: dict[str, str] = KEY, **more: Any) -> httpx.Response:
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json=_body(text, **more), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    proxy.guard.flush()
    return answer


@pytest.fixture
def proxy(start_proxy: Any) -> Any:
    return start_proxy("$1/day", semantic=SEMANTIC, cache="memory://")


def _stored(proxy: Any, openai_server: Simulator) -> httpx.Response:
    """A first answer, when it can be found (entries are written in the background)."""
    first = _ask(proxy, ASKED)
    wait_until(lambda: proxy.app._caches.semantic.stats().stored == 1)
    return first


def test_the_same_question_in_other_words_is_answered_without_a_call(openai_server: Simulator, proxy: Any) -> None:
    first = _stored(proxy, openai_server)
    second = _ask(proxy, REWORDED)
    assert openai_server.count == 1
    assert second.json() == first.json()
    assert second.headers["x-costguard-cache"] == "semantic"
    assert (second.headers["x-costguard-cost-usd"], float(second.headers["x-costguard-similarity"]) > 0.9) == (
        "0",
        True,
    )
    assert second.headers["x-costguard-hit"]
    assert "x-costguard-similarity" not in first.headers
    total = proxy.guard.report().total
    assert (total.paid, total.hits) == (1, 1)
    assert total.saved == total.cost > 0
    assert _ask(proxy, OTHER).headers["x-costguard-cache"] == "miss"


def test_a_hit_is_streamed_in_the_format_asked_for(openai_server: Simulator, proxy: Any) -> None:
    first = _stored(proxy, openai_server).json()
    messages: Any = [{"role": "user", "content": REWORDED}]
    chunks = _chunks(proxy.base_url, model="gpt-4o-mini", messages=messages)
    assert openai_server.count == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    text = "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks)
    assert text == first["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 90, "messages": []}),
        ("/v1/responses", {"model": "gpt-4o-mini"}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "max_tokens": 900}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_every_format_that_has_questions_is_served(
    path: str, body: dict[str, Any], stream: bool, openai_server: Simulator, proxy: Any
) -> None:
    field = {"/v1/messages": "messages", "/v1/responses": "input", "/v1/completions": "prompt"}[path]

    def ask(text: str) -> httpx.Response:
        asked = [{"role": "user", "content": text}] if field == "messages" else text
        more = {"stream": True} if stream else {}
        return httpx.post(f"{proxy.url}{path}", json={**body, field: asked, **more}, timeout=60)

    first = ask(ASKED)
    wait_until(lambda: proxy.app._caches.semantic.stats().stored == 1)
    second = ask(REWORDED)
    assert (first.status_code, second.status_code, openai_server.count) == (200, 200, 1)
    assert second.headers["x-costguard-cache"] == "semantic"
    if not stream:
        assert second.json() == first.json()


@pytest.mark.parametrize(
    "more",
    [
        {"model": "gpt-4o"},
        {"temperature": 0.1},
        {"tools": [TOOL]},
        {"messages": [{"role": "system", "content": "Be a pirate."}, {"role": "user", "content": REWORDED}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
                      {"role": "user", "content": REWORDED}]},
        {"response_format": {"type": "json_object"}},
    ],
)  # fmt: skip
def test_whatever_else_differs_is_another_question(more: dict[str, Any], openai_server: Simulator, proxy: Any) -> None:
    _stored(proxy, openai_server)
    assert _ask(proxy, REWORDED, **more).headers["x-costguard-cache"] == "miss"
    assert openai_server.count == 2


def test_tenants_and_callers_with_other_keys_are_not_served(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(semantic=SEMANTIC, headers={"x-tenant": "tenant", "x-user": "user"})
    _stored(proxy, openai_server)
    for headers in ({**KEY, "x-tenant": "t1"}, {"authorization": "Bearer another"}, {"x-api-key": "a third"}):
        assert _ask(proxy, REWORDED, headers).headers["x-costguard-cache"] == "miss", headers
    # Who only is another user of the same application is served, as in the Python packages.
    assert _ask(proxy, REWORDED, {**KEY, "x-user": "u2"}).headers["x-costguard-cache"] == "semantic"


def test_personal_and_dynamic_questions_are_nobody_elses(openai_server: Simulator, proxy: Any) -> None:
    for text in ("What is my account balance?", "What is the weather in Rome today?"):
        for _ in range(2):
            assert _ask(proxy, text).headers["x-costguard-cache"] == "miss"
    assert openai_server.count == 4


def test_calls_of_tools_and_cut_answers_are_not_kept(openai_server: Simulator, proxy: Any) -> None:
    openai_server.reply = lambda ask: {"tool_calls": [{"name": "f", "arguments": {}}]}
    _ask(proxy, ASKED, tools=[TOOL])
    openai_server.reply = lambda ask: {"content": "You take", "finish_reason": "length"}
    _ask(proxy, OTHER)
    declined = proxy.app._caches.semantic.stats().declined
    assert declined["the answer is a tool call"] == 1
    assert proxy.app._caches.semantic.stats().stored == 0


def test_embeddings_are_not_asked(openai_server: Simulator, proxy: Any) -> None:
    body = {"model": "text-embedding-3-small", "input": ASKED}
    for text in (ASKED, REWORDED):
        answer = httpx.post(f"{proxy.base_url}/embeddings", json={**body, "input": text}, timeout=60)
        assert answer.headers["x-costguard-cache"] == "miss"


def test_it_is_declared_in_the_file() -> None:
    text = '[proxy.semantic]\nembeddings = "minilm"\nttl = "1h"\ndecide = "guarded"\n'
    assert parse_policy(text).proxy["semantic"]["embeddings"] == "minilm"
    with pytest.raises(PolicyError, match="embeddings"):
        parse_policy('[proxy.semantic]\nembeddings = "openai"\n')
    with pytest.raises(PolicyError, match="treshold"):
        parse_policy("[proxy.semantic]\ntreshold = 0.9\n")


def test_a_folder_is_for_one_worker(tmp_path: Any) -> None:
    config = tmp_path / "costguard.toml"
    config.write_text('store = "sqlite:///c.db"\n[proxy.semantic]\npath = "costguard.chroma"\n')
    with pytest.raises(ConfigurationError, match="one process"):
        serve(str(config), workers=2)


def test_it_is_off_unless_asked_for(start_proxy: Any) -> None:
    assert start_proxy().app._caches.semantic is None
    assert start_proxy(guard=CostGuard(), semantic=False).app._caches.semantic is None
    assert json.dumps(SEMANTIC)


def test_a_model_of_the_file_verifies_and_is_paid(openai_server: Simulator, start_proxy: Any) -> None:
    def reply(body: dict[str, Any]) -> str:
        return "[1]" if body["model"] == "gpt-4.1-nano" else "Hold the button for ten seconds."

    openai_server.reply = reply
    semantic = {"embeddings": "wordllama", "decide": "verified", "verify": "gpt-4.1-nano"}
    proxy = start_proxy("$1/day", semantic=semantic, cache=False)
    _stored(proxy, openai_server)
    _ask(proxy, REWORDED)
    asked = [request.body["model"] for request in openai_server.requests]
    rows = {row.key[0]: row.totals for row in proxy.guard.report("endpoint").rows}
    assert asked.count("gpt-4.1-nano") == rows["costguard/verify"].calls == 1
    assert rows["costguard/verify"].cost > 0
    assert proxy.app._caches.semantic.stats().verification_cost == rows["costguard/verify"].cost


def test_a_model_that_thinks_has_room_to_before_it_verifies(openai_server: Simulator, start_proxy: Any) -> None:
    def reply(body: dict[str, Any]) -> dict[str, Any]:
        thinking = {"content": "[1]", "reasoning_tokens": 128}
        return thinking if body["model"] == "gpt-5-nano" else {"content": "Hold the button for ten seconds."}

    openai_server.reply = reply
    semantic = {"embeddings": "wordllama", "decide": "verified", "verify": "gpt-5-nano"}
    proxy = start_proxy("$1/day", semantic=semantic, cache=False)
    _stored(proxy, openai_server)
    _ask(proxy, REWORDED)
    [asked] = [request.body for request in openai_server.requests if request.body["model"] == "gpt-5-nano"]
    assert asked["max_completion_tokens"] > 128  # as the budget allows


def test_a_model_of_the_file_judges_answers_in_the_background(openai_server: Simulator, start_proxy: Any) -> None:
    def reply(body: dict[str, Any]) -> str:
        if body["model"] == "claude-haiku-4-5":
            return "yes"
        return ANSWERS[body["messages"][-1]["content"] == ASKED]

    openai_server.reply = reply
    semantic = {"embeddings": "wordllama", "judge": "claude-haiku-4-5"}
    upstreams = [
        {"url": openai_server.base_url, "provider": "anthropic", "vendor": "anthropic", "models": ["claude-*"]},
        {"url": openai_server.base_url, "provider": "openai", "vendor": "openai"},
    ]
    proxy = start_proxy("$1/day", semantic=semantic, cache=False, upstreams=upstreams)
    _stored(proxy, openai_server)
    _ask(proxy, REWORDED)
    wait_until(lambda: "claude-haiku-4-5" in [request.body["model"] for request in openai_server.requests])
    judged = next(request for request in openai_server.requests if request.body["model"] == "claude-haiku-4-5")
    assert (judged.path, judged.headers["anthropic-version"]) == ("/v1/messages", "2023-06-01")
    assert judged.body["max_tokens"] == 5
    wait_until(lambda: proxy.guard.flush() and "costguard/judge" in str(proxy.guard.report("endpoint")))


@pytest.mark.parametrize("option", [{"decide": "verified", "verify": "gpt-9"}, {"judge": "gpt-9"}])
def test_a_model_that_no_upstream_serves_is_said_at_the_start(option: dict[str, Any], start_proxy: Any) -> None:
    upstreams = [{"url": "https://a.example", "models": ["gpt-4*"]}]
    with pytest.raises(ConfigurationError, match=r"\[proxy.semantic\] \w+: no upstream serves 'gpt-9'"):
        start_proxy(semantic={"embeddings": "wordllama", **option}, upstreams=upstreams)
