"""Each integration sends the cap that a budget sets, where its protocol takes it, and the call still works."""

from __future__ import annotations

from typing import Any

import pytest
from caps import NotingHeld, limit_sent, limits_in
from integrations import LANGCHAIN, langchain_model
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer

from costguard_core import CostGuard, SpendLimitExceeded
from langchain_costguard import GuardedChatModel

pytestmark = IGNORED_WARNINGS
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens


def guarded(integration: str, provider_server: ProviderServer, *budgets: str, **options: Any) -> GuardedChatModel:
    model = LANGCHAIN[integration]
    prices = {model: ANY_PRICE}
    made = langchain_model(integration, provider_server.url, model, **options)
    return GuardedChatModel(made, CostGuard(budgets, prices=prices), cache=False)


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("integration", LANGCHAIN)
def test_what_the_budget_can_pay(integration: str, way: str, provider_server: ProviderServer) -> None:
    model = guarded(integration, provider_server, "$0.02/call")
    if way == "invoke":
        assert model.invoke("hi").text
    else:
        assert "".join(chunk.text for chunk in model.stream("hi"))
    assert 256 <= limit_sent(*provider_server.requests[-1]) <= 2000  # $0.02 are 2,000 tokens of output


LIMITED: dict[str, dict[str, int]] = {
    "openai": {"max_tokens": 300},
    "openai, responses": {"max_tokens": 300},
    "azure_openai": {"max_tokens": 300},
    "anthropic": {"max_tokens": 300},
    "google_genai": {"max_output_tokens": 300},
    "ollama": {"num_predict": 300},
    "mistralai": {"max_tokens": 300},
    "groq": {"max_tokens": 300},
    "deepseek": {"max_tokens": 300},
    "bedrock_converse": {"max_tokens": 300},
}


@pytest.mark.parametrize("integration", LIMITED)
def test_never_more_than_the_model_was_given(integration: str, provider_server: ProviderServer) -> None:
    guarded(integration, provider_server, "$1/day", **LIMITED[integration]).invoke("hi")
    assert limit_sent(*provider_server.requests[-1]) == 300


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 800}, {"max_completion_tokens": 800}])
def test_azures_reasoning_deployments_take_one_name_only(
    limits: dict[str, int], provider_server: ProviderServer
) -> None:
    model = langchain_model("azure_openai", provider_server.url, "o3-mini", **limits)
    GuardedChatModel(model, CostGuard(["$1/day"], prices={"o3-mini": ANY_PRICE}), cache=False).invoke("hi")
    assert list(limits_in(*provider_server.requests[-1])) == ["max_completion_tokens"]


def test_never_below_a_thinking_budget(provider_server: ProviderServer) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1500}, "max_tokens": 4000}
    guarded("anthropic", provider_server, "$0.03/call", **thinking).invoke("hi")
    assert 1500 < limit_sent(*provider_server.requests[-1]) <= 3000
    with pytest.raises(SpendLimitExceeded):
        guarded("anthropic", provider_server, "$0.01/call", **thinking).invoke("hi")
    assert len(provider_server.requests) == 1


def test_never_more_than_the_context_leaves(provider_server: ProviderServer) -> None:
    model = langchain_model("openai", provider_server.url, "gpt-4")  # prompt and answer have 8,192 tokens together
    GuardedChatModel(model, CostGuard(["100000 tokens/hour"]), cache=False).invoke("word " * 7000)
    assert 0 < limit_sent(*provider_server.requests[-1]) <= 8192 - 7000


@pytest.mark.parametrize("integration", LANGCHAIN)
def test_without_a_budget_nothing_is_added(integration: str, provider_server: ProviderServer) -> None:
    made = langchain_model(integration, provider_server.url, LANGCHAIN[integration])
    made.invoke("hi")
    GuardedChatModel(made, CostGuard(), cache=False).invoke("hi")
    bare, call = (request.body for request in provider_server.requests[-2:])
    assert call == bare


# Spellings of a limit that an integration passes on, and what it must not be more than.
SPELLED: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("ollama", {"num_predict": 600}, {"options": {"temperature": 0.1}}, 2000),  # options replace the model's
    ("ollama", {"num_predict": 600}, {"options": {"num_predict": 5000}}, 2000),
    ("bedrock_converse", {"max_tokens": 600}, {"inferenceConfig": {"maxTokens": 9600}}, 2000),
    ("google_genai", {}, {"generation_config": {"maxOutputTokens": 600}}, 600),
    ("google_genai", {"max_output_tokens": 600}, {"generation_config": {"max_output_tokens": 6000}}, 2000),
    ("groq", {"model_kwargs": {"max_completion_tokens": 600}}, {}, 600),
    ("openrouter", {"max_completion_tokens": 600}, {}, 600),
]


@pytest.mark.parametrize("budget", ["$0.02/call", "$100/day"])
@pytest.mark.parametrize(("integration", "settings", "bound", "most"), SPELLED)
def test_a_limit_is_known_however_it_is_spelled(
    integration: str,
    settings: dict[str, Any],
    bound: dict[str, Any],
    most: int,
    budget: str,
    provider_server: ProviderServer,
) -> None:
    """One limit is sent, and none that is above what was held."""
    model = LANGCHAIN[integration]
    made = langchain_model(integration, provider_server.url, model, **settings)
    guard = NotingHeld([budget], prices={model: ANY_PRICE})
    GuardedChatModel(made, guard, cache=False).bind(**bound).invoke("hi")
    (sent,) = limits_in(*provider_server.requests[-1]).values()
    assert sent <= guard.held[0]
    if budget == "$0.02/call":
        assert sent <= most
