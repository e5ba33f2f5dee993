"""What has a provider look something up, what tells callers apart, and what cannot change an answer: by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from costguard_core.cache.parameters import answering, caller_of
from costguard_core.cache.provider_tools import has_live_option, is_live_model, is_live_tool
from costguard_core.cache.secrets import identified


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-search-preview",
        "GPT-5-SEARCH-API",
        "openai/gpt-4o:online",
        "anthropic/claude-sonnet-4:online:beta",
        "sonar-pro",
        "perplexity/llama-3.1-sonar-small-128k-online",
        "groq/compound-mini",
        "o4-mini-deep-research-2025-06-26",
        "jina-deepsearch-v1",
        "glm-4-alltools",
        "exa",
    ],
)
def test_models_that_read_the_web(model: str) -> None:
    assert is_live_model(model)


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "claude-sonnet-4", "o3", "webster-7b", "my-research-model", "exaone", None]
)
def test_models_that_do_not(model: str | None) -> None:
    assert not is_live_model(model)


@pytest.mark.parametrize(
    "options",
    [
        {"webSearch": True},
        {"enable_web_search": True},
        {"web_search_options": {}},
        {"search_domain_filter": ["example.org"]},
        {"extra_body": {"online": True}},
        {"extra_body": {"tools": [{"googleSearch": {}}]}},
        {"extra_body": {"tools": [{"type": "retrieval"}]}},
        {"extra_body": {"provider": {"anything": {"web_search": True}}}},
        {"default_query": {"internet": "1"}},
        {"model_kwargs": {"extra_body": {"grounding": {"enabled": True}}}},
        {"extra_body": {"knowledge_base_id": "k"}},
        {"extra_body": {"conversation": "conv_1"}},
        {"previous_response_id": "resp_1"},
        {"extra_body": {"thread_id": "t"}},
        {"extra_body": {"prompt": {"id": "pmpt_1"}}},
        {"extra_body": {"models": ["openai/gpt-4o", "openai/gpt-4o:online"]}},
        {"extra_body": {"model": "sonar"}},
        {"built_in_tools": [{"type": "web_search"}]},
        {"fallbacks": ["gpt-4o-search-preview"]},
    ],
)
def test_options_that_look_something_up_or_go_on_with_what_the_provider_keeps(options: dict[str, Any]) -> None:
    assert has_live_option(options)


@pytest.mark.parametrize(
    "options",
    [
        {"webSearch": False, "enable_search": "off", "search_parameters": {"mode": "off"}, "plugins": []},
        {"beam_search": 4, "penalty_alpha": 0.6, "temperature": 0.1, "logit_bias": {"1": 2}},
        {"tools": [{"type": "function", "function": {"name": "web_search", "parameters": {"search": {}}}}]},
        {"extra_body": {"prompt": {"id": "pmpt_1", "version": "2"}}},
        {"extra_body": {"models": ["openai/gpt-4o", "gpt-4o-mini"]}, "built_in_tools": [], "model": "gpt-4o"},
        {"conversation": None, "extra_body": {"previous_response_id": ""}},
        {"google_api_key": "(secret)", "web_search_api_key": "(secret)"},
    ],
)
def test_options_that_do_not(options: dict[str, Any]) -> None:
    assert not has_live_option(options)


def test_tools_of_the_application_are_not_the_providers() -> None:
    assert not is_live_tool({"name": "search_orders", "description": "…", "input_schema": {"type": "object"}})


@pytest.mark.parametrize("name", ["Authorization", "x-goog-api-key", "Cookie", "Helicone-Auth", "X-User", "JWT"])
def test_callers_are_told_apart_by_their_headers_and_no_secret_is_written(name: str) -> None:
    alice, bob = identified({name: "Bearer alice-hunter2"}), identified({name: "Bearer bob"})
    assert alice != bob
    assert alice == identified({name.upper(): "Bearer alice-hunter2"})
    if name not in ("X-User", "JWT"):
        assert "hunter2" not in str(alice)


@pytest.mark.parametrize("inside", [None, "extra_body", "model_kwargs"])
@pytest.mark.parametrize("secret", [str, str.encode, SecretStr])
def test_who_signs_in_can_be_left_out_of_what_changes_an_answer(inside: str | None, secret: Any) -> None:
    def call(token: str) -> dict[str, Any]:
        headers = {"extra_headers": {"Authorization": secret(token), "X-Variant": "b", "traceparent": token}}
        return headers if inside is None else {inside: headers}

    alice, bob = call("hunter-1"), call("hunter-2")
    assert answering(alice, callers=False) == answering(bob, callers=False) != {}
    assert answering(alice) != answering(bob)
    assert len({caller_of(alice), caller_of(bob), caller_of({}), caller_of({"extra_headers": {"X-Variant": "b"}})}) == 3
    assert "hunter" not in caller_of(alice) + str(answering(alice, callers=False))


def test_what_cannot_change_an_answer_splits_nothing() -> None:
    aside = {
        "user": "a",
        "safety_identifier": "b",
        "prompt_cache_key": "c",
        "service_tier": "flex",
        "metadata": {"d": 1},
    }
    tracing = {"X-Request-ID": "1", "traceparent": "2", "User-Agent": "3", "x-stainless-lang": "python"}
    plain = {"temperature": 0.5, "extra_body": {"top_k": 3}}
    assert answering({**plain, **aside, "extra_headers": tracing}) == plain
    assert answering({"temperature": 0.5, "extra_body": {**aside, "top_k": 3}}) == plain
    assert answering({"extra_body": aside, "default_headers": tracing}) == {}
    assert answering({"default_headers": {"X-Variant": "b"}}) == {"default_headers": {"x-variant": "b"}}
