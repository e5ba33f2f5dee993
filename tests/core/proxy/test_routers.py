"""Virtual models of the proxy: the router of the Python packages, for clients of any language."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from waiting import wait_until

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.policy.policy import PolicyError, parse_policy
from costguard_core.proxy.feedback import AnswerNames
from costguard_core.proxy.own_calls import OwnCalls
from costguard_core.proxy.routers import open_routers, with_shared_routers
from costguard_core.proxy.settings import proxy_settings
from costguard_core.proxy.upstream import UpstreamClient
from costguard_core.routing.shadow.prompt_log import PromptLog
from costguard_core.simulate import Fault, Simulator

EASY = "What is the capital of France?"
HARD = (
    "Prove by induction that the sum of the first n odd numbers is n squared, then explain step by step why the same "
    "argument fails for even numbers, and write a Python function that checks it: def check(n): return sum(...)"
)
AUTO: Any = {"auto": {"tiers": ["gpt-4o-mini", "gpt-4o"], "threshold": 0.5}}


def _body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def _chunks(url: str, **body: Any) -> list[dict[str, Any]]:
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    return [chunk.model_dump() for chunk in client.chat.completions.create(stream=True, **body)]


def _ask(proxy: Any, text: str, **more: Any) -> httpx.Response:
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json=_body(text, **more), timeout=60)
    proxy.guard.flush()
    return answer


def _models(server: Simulator) -> list[str]:
    return [request.body["model"] for request in server.requests]


def test_each_request_goes_to_the_cheapest_model_that_will_do(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day", routers=AUTO)
    easy, hard = _ask(proxy, EASY), _ask(proxy, HARD)
    assert _models(openai_server) == ["gpt-4o-mini", "gpt-4o"]
    assert easy.headers["x-costguard-route"].startswith("gpt-4o-mini")
    assert hard.headers["x-costguard-route"].startswith("gpt-4o (")
    assert (easy.json()["model"], hard.json()["model"]) == ("gpt-4o-mini", "gpt-4o")
    rows = {row.key[0]: row for row in proxy.guard.report("model").rows}
    assert set(rows) == {"gpt-4o-mini", "gpt-4o"}
    assert rows["gpt-4o-mini"].totals.saved > 0  # against the strongest tier
    assert proxy.guard.report("route").total.calls == 2


def test_streams_and_other_formats_are_routed(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(
        routers={**AUTO, "claude": {"tiers": ["claude-haiku-4-5", "claude-sonnet-4-5"], "threshold": 0.5}}
    )
    messages: Any = [{"role": "user", "content": EASY}]
    chunks = _chunks(proxy.base_url, model="auto", messages=messages)
    assert {chunk["model"] for chunk in chunks} == {"gpt-4o-mini"}
    answer = httpx.post(f"{proxy.base_url}/responses", json={"model": "auto", "input": HARD}, timeout=60)
    assert answer.json()["model"] == "gpt-4o"
    body = {"model": "claude", "max_tokens": 90, "messages": [{"role": "user", "content": EASY}]}
    assert httpx.post(f"{proxy.url}/v1/messages", json=body, timeout=60).json()["model"] == "claude-haiku-4-5"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fails_its_check_is_asked_of_the_next_tier(
    stream: bool, openai_server: Simulator, start_proxy: Any
) -> None:
    openai_server.reply = lambda body: "" if body["model"] == "gpt-4o-mini" else "Paris."
    proxy = start_proxy("$1/day", routers={"auto": {**AUTO["auto"], "verify": True}})
    answer = _ask(proxy, EASY, stream=stream)
    assert "Paris." in answer.text
    assert "escalated" in answer.headers["x-costguard-route"]
    assert _models(openai_server) == ["gpt-4o-mini", "gpt-4o"]
    total = proxy.guard.report().total
    assert (total.paid, proxy.guard.status().budgets[0].held) == (2, 0)
    assert total.saved <= 0  # an escalation costs more than asking the strong tier at once


@pytest.mark.parametrize("answered", ["{broken", "[" * 5000])
@pytest.mark.parametrize("stream", [False, True])
def test_json_that_is_none_is_asked_of_the_next_tier(
    stream: bool, answered: str, openai_server: Simulator, start_proxy: Any
) -> None:
    openai_server.reply = lambda body: answered if body["model"] == "gpt-4o-mini" else '{"a": 1}'
    proxy = start_proxy(routers={"auto": {**AUTO["auto"], "threshold": 2.0, "verify": True}})
    answer = _ask(proxy, EASY, stream=stream, response_format={"type": "json_object"})
    assert answer.status_code == 200
    assert _models(openai_server) == ["gpt-4o-mini", "gpt-4o"]


def test_a_budget_that_wants_a_cheaper_model_gets_it_and_the_cheapest_is_refused(
    openai_server: Simulator, start_proxy: Any
) -> None:
    dear = Budget.parse("$0.002/call", on_exceed="downgrade")
    proxy = start_proxy(guard=CostGuard([dear]), routers=AUTO)
    answer = _ask(proxy, HARD, max_tokens=1000)
    assert (answer.status_code, answer.json()["model"]) == (200, "gpt-4o-mini")
    assert "downgraded" in answer.headers["x-costguard-route"]
    proxy = start_proxy(guard=CostGuard([Budget.parse("$0.00001/call", on_exceed="downgrade")]), routers=AUTO)
    refused = _ask(proxy, HARD)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "spend_limit_exceeded")
    assert openai_server.count == 1


def test_a_routed_answer_is_cached_by_the_tier_that_gave_it(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(routers=AUTO)
    first, second = _ask(proxy, EASY), _ask(proxy, EASY)
    assert (openai_server.count, second.headers["x-costguard-cache"]) == (1, "exact")
    assert second.json() == first.json()
    direct = httpx.post(f"{proxy.base_url}/chat/completions", json={**_body(EASY), "model": "gpt-4o-mini"}, timeout=60)
    assert direct.headers["x-costguard-cache"] == "exact"
    assert "x-costguard-route" not in direct.headers


def test_a_tier_that_cannot_answer_falls_back_as_the_file_says(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(routers=AUTO, fallbacks={"gpt-4o-mini": ("gpt-4.1-mini",)})
    openai_server.faults.append(Fault(status=503))
    assert _ask(proxy, EASY).json()["model"] == "gpt-4.1-mini"
    openai_server.faults.append(Fault(status=400))
    assert _ask(proxy, EASY + " And why?").status_code == 400


def test_embeddings_have_no_router(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(routers=AUTO)
    answer = httpx.post(f"{proxy.base_url}/embeddings", json={"model": "auto", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_model")
    assert openai_server.count == 0


@pytest.mark.parametrize(
    ("router", "text"),
    [
        ({"tiers": ["gpt-4o-mini", "gpt-4o-mini"]}, "two tiers"),
        ({"tiers": ["gpt-4o-mini", "llama3"]}, "no upstream serves 'llama3'"),
        ({"tiers": ["gpt-4o-mini", "gpt-4o"], "default": "gpt4o"}, "did you mean 'gpt-4o'"),
        ({"tiers": ["gpt-4o-mini", "auto"]}, "a router itself"),
        ({"tiers": ["gpt-4o-mini", "claude-sonnet-4-5"]}, "one format"),
        ({"tiers": ["gpt-4o-mini", "gpt-4o"], "budget": "$5/day"}, "not a dollar budget of the guard"),
    ],
)
def test_what_does_not_fit_together_is_said_at_the_start(router: dict[str, Any], text: str) -> None:
    upstreams = [
        {"url": "https://a.example", "models": ["gpt-*"], "vendor": "openai"},
        {"url": "https://b.example", "models": ["claude-*"], "vendor": "anthropic"},
    ]
    settings = proxy_settings({"upstreams": upstreams, "routers": {"auto": router}}, {})
    guard = CostGuard()
    with pytest.raises(ConfigurationError, match=text):
        open_routers(settings, guard, OwnCalls(settings, guard, UpstreamClient(settings)), AnswerNames())


def test_a_router_is_declared_in_the_file() -> None:
    text = '[proxy.routers.auto]\ntiers = ["gpt-4o-mini", "gpt-4o"]\nshare = 0.2\nverify = true\n'
    assert parse_policy(text).proxy["routers"]["auto"]["share"] == 0.2
    with pytest.raises(PolicyError, match="tires"):
        parse_policy('[proxy.routers.auto]\ntires = ["a", "b"]\n')
    with pytest.raises(ConfigurationError, match="both an alias and a router"):
        proxy_settings({"aliases": {"auto": "x"}, "routers": {"auto": {"tiers": ["a", "b"]}}}, {})


def test_a_judge_is_asked_near_the_cut_on_the_bill_of_the_operator(openai_server: Simulator, start_proxy: Any) -> None:
    openai_server.reply = lambda body: "9" if body["model"] == "gpt-4.1-nano" else "Well."
    router = {"tiers": ["gpt-4o-mini", "gpt-4o"], "share": 0.5, "judge": "gpt-4.1-nano"}
    proxy = start_proxy("$1/day per user", routers={"auto": router}, headers={"x-user": "user"})
    answers = [
        httpx.post(f"{proxy.base_url}/chat/completions", json=_body(f"{EASY} {n}"), headers={"x-user": "u"}, timeout=60)
        for n in range(40)
    ]
    assert {answer.status_code for answer in answers} == {200}
    proxy.guard.flush()
    asked = _models(openai_server)
    assert "gpt-4.1-nano" in asked
    rows = {row.key[0]: row.totals for row in proxy.guard.report("endpoint").rows}
    assert rows["costguard/judge"].calls == asked.count("gpt-4.1-nano")
    users = {row.key[0]: row.totals for row in proxy.guard.report("user").rows}
    assert users["u"].calls == 40
    assert proxy.guard.status().budgets[0].held == 0


def test_judges_need_none_of_the_threads_that_wait_for_them(
    openai_server: Simulator, start_proxy: Any, tmp_path: Any
) -> None:
    router = {"tiers": ["gpt-4o-mini", "gpt-4o"], "share": 0.5, "judge": "gpt-4.1-nano"}
    proxy = start_proxy(guard=CostGuard(store=f"sqlite:///{tmp_path}/counters.db"), routers={"auto": router})
    loop = proxy.app._own._loop
    loop.call_soon_threadsafe(loop.set_default_executor, ThreadPoolExecutor(1))  # which many requests would fill
    proxy.guard.emergency(duration="1h", max_input=30)  # refuses judges, after a look at the store from a thread
    answers = [_ask(proxy, f"{EASY} {number}") for number in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert any("judge" in answer.headers["x-costguard-route"] for answer in answers)
    assert "gpt-4.1-nano" not in _models(openai_server)


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_log_gets_the_answers_of_both_ends_and_what_users_think(
    stream: bool, openai_server: Simulator, start_proxy: Any, tmp_path: Any
) -> None:
    log = tmp_path / "prompts.db"
    proxy = start_proxy("$1/day", routers={"auto": {**AUTO["auto"], "log": str(log), "shadow": 1.0}})
    headers = {"authorization": "Bearer not-for-upstream"}
    answer = httpx.post(
        f"{proxy.base_url}/chat/completions", json=_body(EASY, stream=stream), headers=headers, timeout=60
    )
    sample = answer.headers["x-costguard-sample"]
    engine = proxy.app._routers["auto"].engine
    wait_until(lambda: len(PromptLog(log)) == 1)
    assert _models(openai_server) == ["gpt-4o-mini", "gpt-4o"]
    assert "stream" not in openai_server.requests[1].body
    told = httpx.post(f"{proxy.url}/costguard/v1/feedback", json={"sample": sample, "quality": 0.25}, headers=headers)
    assert told.status_code == 200
    [(pair, quality)] = PromptLog(log).pairs()
    assert (pair.id, pair.prompt, pair.shown, quality) == (sample, EASY, "weak", 0.25)
    assert (pair.weak_model, pair.strong_model, pair.strong_answer is not None) == ("gpt-4o-mini", "gpt-4o", True)
    proxy.guard.flush()
    assert proxy.guard.report().total.paid == 2
    assert engine.status().pairs == 1


def test_only_who_got_an_answer_says_what_it_was_worth(
    openai_server: Simulator, start_proxy: Any, tmp_path: Any
) -> None:
    log = tmp_path / "prompts.db"
    proxy = start_proxy(routers={"auto": {**AUTO["auto"], "log": str(log), "shadow": 1.0}})

    def tell(sample: str, key: str) -> int:
        headers, told = {"authorization": f"Bearer {key}"}, {"sample": sample, "quality": 0.0}
        return httpx.post(f"{proxy.url}/costguard/v1/feedback", json=told, headers=headers).status_code

    headers = {"authorization": "Bearer mine"}
    sample = httpx.post(f"{proxy.base_url}/chat/completions", json=_body(EASY), headers=headers, timeout=60).headers[
        "x-costguard-sample"
    ]
    wait_until(lambda: len(PromptLog(log)) == 1)
    unknown = (sample, "other"), ("never-given", "mine"), (sample.partition(".")[0], "mine"), (f"x{sample}", "mine")
    assert [tell(*said) for said in unknown] == [404, 404, 404, 404]
    assert [quality for _, quality in PromptLog(log).pairs()] == [None]
    assert tell(sample, "mine") == 200
    assert [quality for _, quality in PromptLog(log).pairs()] == [0.0]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://example.com"}]},
        {"previous_response_id": "resp_1"},
    ],
)
def test_what_does_something_at_the_provider_is_not_asked_twice(
    more: dict[str, Any], openai_server: Simulator, start_proxy: Any, tmp_path: Any
) -> None:
    routers = {"auto": {**AUTO["auto"], "log": str(tmp_path / "prompts.db"), "shadow": 1.0}}
    proxy = start_proxy(routers=routers)
    answer = httpx.post(f"{proxy.base_url}/responses", json={"model": "auto", "input": EASY, **more}, timeout=60)
    assert answer.status_code == 200
    assert "x-costguard-sample" not in answer.headers
    assert proxy.app._routers["auto"].engine.shadow.flush()
    assert openai_server.count == 1


def test_a_clients_own_key_pays_no_second_answer(openai_server: Simulator, start_proxy: Any, tmp_path: Any) -> None:
    routers = {"auto": {**AUTO["auto"], "log": str(tmp_path / "prompts.db"), "shadow": 1.0}}
    upstreams = [{"url": openai_server.base_url, "provider": "openai"}]
    proxy = start_proxy(routers=routers, upstreams=upstreams)
    headers = {"authorization": "Bearer sk-mine"}
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json=_body(EASY), headers=headers, timeout=60)
    assert "x-costguard-sample" not in answer.headers
    assert proxy.app._routers["auto"].engine.shadow.flush()
    assert openai_server.count == 1


@pytest.mark.parametrize(
    ("judge", "text"), [("llama3", "no upstream serves 'llama3'"), ("auto", "'auto' is a router: name a model")]
)
def test_a_judge_that_nobody_serves_is_said_at_the_start(judge: str, text: str, start_proxy: Any) -> None:
    upstreams = [{"url": "https://a.example", "models": ["gpt-*"]}]
    with pytest.raises(ConfigurationError, match=text):
        start_proxy(routers={"auto": {**AUTO["auto"], "judge": judge}}, upstreams=upstreams)


def test_routers_for_everybody_are_models_of_the_proxy_too(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        '[routers.auto]\ntiers = ["gpt-4o-mini", "gpt-4o"]\nlog = "p.db"\nrules = [{ tools = true, tier = "gpt-4o" }]\n'
        '[routers.mine]\ntiers = ["gpt-4o-mini", "llama3"]\n'
        '[routers.both]\ntiers = ["gpt-4o-mini", "gpt-4o"]\nshare = 0.1\n'
        '[proxy]\nupstreams = [{ url = "https://a.example", models = ["gpt-*"] }]\n'
        '[proxy.routers.both]\ntiers = ["gpt-4o-mini", "gpt-4o"]\nshare = 0.9\n'
    )
    monkeypatch.chdir(tmp_path)  # where the prompt log goes
    policy = parse_policy(text)
    settings = with_shared_routers(proxy_settings(policy.proxy, {}), policy.routers)
    assert set(settings.routers) == {"auto", "both"}
    assert settings.routers["both"]["share"] == 0.9
    assert settings.routers["auto"]["log"] == "p.db"
    assert "routers.mine" in caplog.text
    guard = CostGuard()
    made = open_routers(settings, guard, OwnCalls(settings, guard, UpstreamClient(settings)), AnswerNames())
    assert set(made) == {"auto", "both"}


def test_rules_of_a_router_are_followed_by_the_proxy(openai_server: Simulator, start_proxy: Any) -> None:
    rules = [{"endpoint": "/legal", "tier": "gpt-4o"}, {"min_input_tokens": 300, "tier": "gpt-4o-mini"}]
    proxy = start_proxy(
        "$1/day", routers={"auto": {**AUTO["auto"], "rules": rules}}, headers={"x-endpoint": "endpoint"}
    )
    httpx.post(
        f"{proxy.base_url}/chat/completions", json=_body("Hi"), headers={"x-endpoint": "/legal"}, timeout=60
    ).raise_for_status()
    _ask(proxy, HARD + " and so on" * 200)
    assert _models(openai_server) == ["gpt-4o", "gpt-4o-mini"]
