"""What is told from names alone: secrets, tools that read the world, tools that sign in."""

from __future__ import annotations

from typing import Any

import pytest

from costguard_core.cache import CachePolicy
from costguard_core.cache.provider_tools import has_live_option, is_live_model, is_live_name, is_live_tool
from costguard_core.cache.secrets import is_secret, signs_in


@pytest.mark.parametrize(
    "name",
    ["Authorization", "api_key", "x-api-key", "aws_access_key_id", "session_token", "Set-Cookie", "client_secret"]
    + ["password", "google_credentials", "proxy-auth", "author_token", "key"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["author", "authors", "X-Author-Name", "max_tokens", "keyboard", "monkey", "model"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("tool", "live"),
    [
        ({"type": "web_search_preview"}, True),
        ({"google_search": {}}, True),
        ({"type": "code_interpreter", "name": "python"}, True),
        ({"type": "function", "function": {"name": "web_search"}}, False),  # the application's own
        ({"name": "lookup"}, False),
        ({1: "web_"}, False),
        ("web_search", False),
    ],
)
def test_tools_that_the_provider_runs_on_live_data(tool: Any, live: bool) -> None:
    assert is_live_tool(tool) is live


def test_options_that_look_something_up() -> None:
    assert is_live_name("web_search_options")
    assert not is_live_name("temperature")


@pytest.mark.parametrize(
    ("options", "live"),
    [
        ({"web_search_options": {}}, True),
        ({"extra_body": {"search_parameters": {"mode": "on"}}}, True),
        ({"extra_body": {"search_parameters": {"mode": "off"}}}, False),
        ({"model_kwargs": {"extra_body": {"plugins": [{"id": "web"}]}}}, True),
        ({"additional_kwargs": {"enable_search": False}}, False),
        ({"extra_body": {"data_sources": [{"type": "azure_search"}]}}, True),
        ({"tools": [{"type": "web_search_preview"}]}, True),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}], "temperature": 0}, False),
        ({"metadata": {"web_page": "x"}, "extra_body": {"top_k": 3}}, False),
    ],
)
def test_options_that_look_something_up_wherever_they_stand(options: Any, live: bool) -> None:
    assert has_live_option(options) is live


@pytest.mark.parametrize(
    ("model", "live"),
    [
        ("gpt-4o-search-preview", True),
        ("perplexity/sonar-pro", True),
        ("openai/gpt-4o:online", True),
        ("groq/compound", True),
        ("gpt-4o", False),
        ("my-research-model", False),
        (None, False),
    ],
)
def test_models_that_always_search(model: str | None, live: bool) -> None:
    assert is_live_model(model) is live


@pytest.mark.parametrize(
    ("tool", "signs"),
    [
        ({"type": "mcp", "authorization": "abc"}, True),
        ({"type": "url", "authorization_token": "abc"}, True),
        ({"type": "mcp", "headers": {"X-Api-Key": "abc"}}, True),
        ({"type": "mcp", "headers": {"X-Trace": "1"}, "authorization": ""}, False),
        (len, False),
    ],
)
def test_tools_that_sign_in(tool: Any, signs: bool) -> None:
    assert signs_in(tool) is signs


def test_a_life_given_beside_a_policy_wins() -> None:
    policy = CachePolicy(ttl=60, scope=("tenant", "user"))
    assert CachePolicy.of(policy, None) is policy
    assert CachePolicy.of(policy, 5) == CachePolicy(ttl=5, scope=("tenant", "user"))
    assert CachePolicy.of(None, None) == CachePolicy()
