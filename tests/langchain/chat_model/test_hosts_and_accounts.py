"""The ledger says where a call was sent and which account was billed, and a known host decides whose price it has."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from costguard_core import ConfigurationError, CostGuard, Event, Outcome
from costguard_core.simulate import Simulator
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel, TieredRouter

KEY = "sk-very-secret-1234567890"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://api.groq.com/openai/v1", "api.groq.com"),
        ("https://OpenRouter.ai/api/v1", "openrouter.ai"),
        (None, "api.openai.com"),
    ],
)
def test_it_is_read_once_from_the_model(address: str | None, host: str) -> None:
    model = ChatOpenAI(model="gpt-4o-mini", base_url=address, api_key=KEY)
    guarded = GuardedChatModel(model, CostGuard())
    assert guarded.host == host
    assert GuardedChatModel(guarded, guarded.guard).host == host


def test_from_azures_endpoint() -> None:
    where = {"azure_endpoint": "https://team.openai.azure.com", "api_version": "2025-04-01-preview", "api_key": KEY}
    assert GuardedChatModel(AzureChatOpenAI(model="gpt-4o", **where), CostGuard()).host == "team.openai.azure.com"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's client reads it, and LangChain's model does not show it."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.deepseek.com/v1")
    guarded = GuardedChatModel(ChatOpenAI(model="deepseek-chat", api_key=KEY), CostGuard())
    assert guarded.host == "api.deepseek.com"


@pytest.mark.parametrize("way", ["invoke", "stream", "handler"])
def test_the_ledger_has_host_account_and_what_was_asked(way: str, openai_server: Simulator) -> None:
    seen: list[Event] = []
    guard = CostGuard(hooks=[seen.append])  # type: ignore[list-item]
    bare = ChatOpenAI(model="gpt-4o-mini", base_url=openai_server.base_url, api_key=KEY, max_retries=0)
    guarded = GuardedChatModel(bare, guard, cache=False, account="production")
    handlers: list[BaseCallbackHandler] = [CostGuardCallbackHandler(guard, account="production")]
    match way:
        case "invoke":
            guarded.invoke("hi")
        case "stream":
            list(guarded.stream("hi"))
        case "handler":
            bare.invoke("hi", {"callbacks": handlers})
    (event,) = seen
    assert (event.host, event.account) == ("127.0.0.1", "production")
    assert event.requested_model == "gpt-4o-mini"
    (row,) = guard.report(by="account").rows
    assert row.key == ("production",)


def test_a_hit_has_them_too(openai_server: Simulator) -> None:
    seen: list[Event] = []
    guard = CostGuard(hooks=[seen.append])  # type: ignore[list-item]
    bare = ChatOpenAI(model="gpt-4o-mini", base_url=openai_server.base_url, api_key=KEY, max_retries=0)
    guarded = GuardedChatModel(bare, guard, cache="memory://", account="production")
    for _ in range(2):
        guarded.invoke("hi")
    assert [(event.outcome, event.host, event.account) for event in seen] == [
        (outcome, "127.0.0.1", "production") for outcome in (Outcome.MISS, Outcome.EXACT)
    ]


def test_a_router_hands_the_account_to_its_tiers() -> None:
    model: Any = ChatOpenAI(model="gpt-4o-mini", api_key=KEY)
    router = TieredRouter(cheap=model, strong=model, score=lambda request: 1.0, threshold=0.5)
    guarded = GuardedChatModel(router, CostGuard(), account="production")
    assert {tier.account for tier in guarded.models.values()} == {"production"}


def test_a_key_is_no_account() -> None:
    with pytest.raises(ConfigurationError, match="looks like a key") as error:
        GuardedChatModel(ChatOpenAI(model="gpt-4o-mini", api_key=KEY), CostGuard(), account=KEY)
    assert KEY not in str(error.value)
