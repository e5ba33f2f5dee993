"""The ledger says where a call was sent and which account was billed, and a known host decides whose price it has."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from llamaindex_calls import HELLO, SECRET

from costguard_core import ConfigurationError, CostGuard, Event, Outcome
from llamaindex_costguard import ExactCache, guard_llm
from llamaindex_costguard.llm.guarded import guarding_of
from llamaindex_costguard.translate.parameters import model_settings


@pytest.mark.parametrize(
    ("llm", "host"),
    [
        (lambda: OpenAI(model="gpt-4o-mini", api_key=SECRET), "api.openai.com"),
        (lambda: OpenAI(model="gpt-4o-mini", api_key=SECRET, api_base="https://api.groq.com/v1"), "api.groq.com"),
        (lambda: OpenAILike(model="m", api_key=SECRET, api_base="https://openrouter.ai/api/v1"), "openrouter.ai"),
    ],
)
def test_it_is_read_from_the_settings(llm: Any, host: str) -> None:
    made = llm()
    assert model_settings(made, type(made)).host == host


@pytest.mark.parametrize("way", ["chat", "stream"])
def test_the_ledger_has_host_and_account(way: str, make_openai: Any) -> None:
    seen: list[Event] = []
    guard = CostGuard(hooks=[seen.append])  # type: ignore[list-item]
    llm = guard_llm(make_openai(), guard, account="production")
    match way:
        case "chat":
            llm.chat(HELLO)
        case "stream":
            list(llm.stream_chat(HELLO))
    (event,) = seen
    assert (event.host, event.account) == ("127.0.0.1", "production")
    assert event.requested_model == "gpt-4o-mini"


def test_a_hit_has_them_too(make_openai: Any) -> None:
    seen: list[Event] = []
    guard = CostGuard(hooks=[seen.append])  # type: ignore[list-item]
    llm = guard_llm(make_openai(), guard, cache="memory://", account="production")
    for _ in range(2):
        llm.chat(HELLO)
    assert [(event.outcome, event.host, event.account) for event in seen] == [
        (outcome, "127.0.0.1", "production") for outcome in (Outcome.MISS, Outcome.EXACT)
    ]


def test_a_key_is_no_account(make_openai: Any) -> None:
    with pytest.raises(ConfigurationError, match="looks like a key") as error:
        guard_llm(make_openai(), CostGuard(), account="sk-very-secret-1234567890")
    assert "secret" not in str(error.value)


def test_a_llm_that_is_guarded_again_keeps_what_is_not_said_now(make_openai: Any) -> None:
    seen: list[Event] = []
    guard, cache = CostGuard(hooks=[seen.append]), ExactCache()  # type: ignore[list-item]
    first = guard_llm(make_openai(), guard, account="a", billed_attempts=3, cache=cache)
    again = guard_llm(first, guard)
    settings = guarding_of(again)
    assert settings is not None
    assert (settings.account, settings.billed_attempts, settings.cache) == ("a", 3, cache)
    for _ in range(2):
        again.chat(HELLO)
    assert [event.outcome.is_hit for event in seen] == [False, True]
    assert seen[0].account == "a"
    other = guarding_of(guard_llm(first, guard, account="b", billed_attempts=2))
    assert other is not None
    assert (other.account, other.billed_attempts) == ("b", 2)
