"""Each integration sends the cap that a budget sets, where its protocol takes it, and the call still works."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from caps import NotingHeld, limit_sent, limits_in
from integrations import LLAMAINDEX, llamaindex_llm
from llamaindex_calls import HELLO, user_message
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer

from costguard_core import CostGuard, SpendLimitExceeded
from llamaindex_costguard import guard_llm

pytestmark = IGNORED_WARNINGS
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens
SLOW = pytest.param("litellm", marks=pytest.mark.slow)  # to import
EVERY = [SLOW if name == "litellm" else name for name in LLAMAINDEX]


def guarded(integration: str, provider_server: ProviderServer, *budgets: str, **options: Any) -> Any:
    model = LLAMAINDEX[integration]
    prices = {model: ANY_PRICE, f"openai/{model}": ANY_PRICE}
    return guard_llm(
        llamaindex_llm(integration, provider_server.url, model, **options), CostGuard(budgets, prices=prices)
    )


@pytest.mark.parametrize("way", ["chat", "stream_chat"])
@pytest.mark.parametrize("integration", EVERY)
def test_what_the_budget_can_pay(integration: str, way: str, provider_server: ProviderServer) -> None:
    llm = guarded(integration, provider_server, "$0.005/call")
    if way == "chat":
        assert llm.chat(HELLO).message.content
    else:
        assert list(llm.stream_chat(HELLO))[-1].message.content
    assert 256 <= limit_sent(*provider_server.requests[-1]) <= 500  # $0.005 are 500 tokens of output


LIMITED: dict[str, dict[str, Any]] = {
    "openai": {"max_tokens": 300},
    "openai, responses": {"max_output_tokens": 300},
    "azure_openai": {"max_tokens": 300},
    "openai_like": {"max_tokens": 300},
    "anthropic": {"max_tokens": 300},
    "google_genai": {"max_tokens": 300},
    "ollama": {"additional_kwargs": {"num_predict": 300}},
    "mistralai": {"max_tokens": 300},
    "bedrock_converse": {"max_tokens": 300},
}


@pytest.mark.parametrize("integration", LIMITED)
def test_never_more_than_the_model_was_given(integration: str, provider_server: ProviderServer) -> None:
    guarded(integration, provider_server, "$1/day", **LIMITED[integration]).chat(HELLO)
    assert limit_sent(*provider_server.requests[-1]) == 300


def test_azures_reasoning_deployments_take_one_name_only(provider_server: ProviderServer) -> None:
    llm = llamaindex_llm("azure_openai", provider_server.url, "o3-mini")
    guard_llm(llm, CostGuard(["$1/day"], prices={"o3-mini": ANY_PRICE})).chat(HELLO)
    assert list(limits_in(*provider_server.requests[-1])) == ["max_completion_tokens"]


def test_never_below_a_thinking_budget(provider_server: ProviderServer) -> None:
    thinking = {"thinking_dict": {"type": "enabled", "budget_tokens": 1500}, "max_tokens": 4000, "temperature": 1}
    guarded("anthropic", provider_server, "$0.03/call", **thinking).chat(HELLO)
    assert 1500 < limit_sent(*provider_server.requests[-1]) <= 3000
    with pytest.raises(SpendLimitExceeded):
        guarded("anthropic", provider_server, "$0.01/call", **thinking).chat(HELLO)
    assert len(provider_server.requests) == 1


def test_geminis_thinking_budget_counts_too(provider_server: ProviderServer) -> None:
    from google.genai.types import GenerateContentConfig, ThinkingConfig

    config = GenerateContentConfig(thinking_config=ThinkingConfig(thinking_budget=1500), max_output_tokens=4000)
    guarded("google_genai", provider_server, "$0.03/call", generation_config=config).chat(HELLO)
    assert 1500 < limit_sent(*provider_server.requests[-1]) <= 3000


def test_never_more_than_the_context_leaves(provider_server: ProviderServer) -> None:
    llm = llamaindex_llm("openai", provider_server.url, "gpt-4")  # prompt and answer have 8,192 tokens together
    guard_llm(llm, CostGuard(["100000 tokens/hour"])).chat(user_message("word " * 7000))
    assert 0 < limit_sent(*provider_server.requests[-1]) <= 8192 - 7000


@pytest.mark.parametrize("integration", EVERY)
def test_without_a_budget_nothing_is_added(integration: str, provider_server: ProviderServer) -> None:
    llm = llamaindex_llm(integration, provider_server.url, LLAMAINDEX[integration])
    llm.chat(HELLO)
    guard_llm(llm, CostGuard()).chat(HELLO)
    bare, call = (request.body for request in provider_server.requests[-2:])
    assert call == bare


# Spellings of a limit: settings, arguments of the call, and whether it is passed on.
SPELLED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("openai", {"additional_kwargs": {"extra_body": {"max_tokens": 6000}}}, {}),
    ("openai", {}, {"extra_body": {"max_tokens": 6000}}),
    ("groq", {}, {"extra_body": {"max_tokens": 6000}}),
    ("google_genai", {}, {"max_tokens": 600}),  # these are not passed on
    ("google_genai", {}, {"max_output_tokens": 600}),
    ("google_genai", {"max_tokens": 600}, {"generation_config": {"max_output_tokens": 6000}}),
    ("google_genai", {"max_tokens": 600}, {"generation_config": {"temperature": 0.1}}),
    ("ollama", {}, {"num_predict": 600}),
    ("ollama", {"additional_kwargs": {"num_predict": 600}}, {"options": {"num_predict": 6000}}),
]


@pytest.mark.parametrize(("integration", "settings", "arguments"), SPELLED)
def test_no_call_has_a_higher_limit_than_was_held(
    integration: str, settings: dict[str, Any], arguments: dict[str, Any], provider_server: ProviderServer
) -> None:
    model = LLAMAINDEX[integration]
    llm = llamaindex_llm(integration, provider_server.url, model, **settings)
    roomy, tight = (NotingHeld([budget], prices={model: ANY_PRICE}) for budget in ("$100/day", "$0.02/call"))
    guard_llm(llm, roomy).chat(HELLO, **arguments)
    (sent,) = limits_in(*provider_server.requests[-1]).values()
    assert sent <= roomy.held[0]
    provider_server.requests.clear()
    with suppress(SpendLimitExceeded):
        guard_llm(llm, tight).chat(HELLO, **arguments)
    for request in provider_server.requests:
        assert max(limits_in(*request).values()) <= tight.held[-1] <= 2000


GEMINI_THINKS = {"thinking_config": {"thinking_budget": 8000}}
CLAUDE_THINKS = {"thinking": {"type": "enabled", "budget_tokens": 8000}}
ROOMY = {"max_tokens": 12_000, "temperature": 1}


@pytest.mark.parametrize(
    ("integration", "settings", "arguments"),
    [
        ("google_genai", {}, {"generation_config": GEMINI_THINKS}),
        ("google_genai", {"generation_config": {"thinking_budget": 100}}, {"generation_config": GEMINI_THINKS}),
        ("anthropic", ROOMY, CLAUDE_THINKS),
        ("anthropic", {**ROOMY, "additional_kwargs": CLAUDE_THINKS}, {}),
    ],
)
def test_a_cap_is_never_below_what_a_call_itself_lets_the_model_think(
    integration: str, settings: dict[str, Any], arguments: dict[str, Any], provider_server: ProviderServer
) -> None:
    if config := settings.get("generation_config"):
        from google.genai.types import GenerateContentConfig, ThinkingConfig

        settings = {"generation_config": GenerateContentConfig(thinking_config=ThinkingConfig(**config))}
    model = LLAMAINDEX[integration]
    llm = llamaindex_llm(integration, provider_server.url, model, **settings)
    guard = CostGuard(["$0.07/call"], prices={model: ANY_PRICE})  # 7,000 tokens of output
    with pytest.raises(SpendLimitExceeded):
        guard_llm(llm, guard).chat(HELLO, **arguments)
    assert not provider_server.requests
