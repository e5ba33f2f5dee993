"""Whose price a call has, by the host that it is sent to."""

from __future__ import annotations

from typing import Any

import pytest

from costguard_core import Call, ConfigurationError, CostGuard, UnpricedModelError, Usage
from costguard_core.pricing.providers import seller_of
from costguard_core.util.options import account_name
from costguard_core.util.urls import host_in, host_of

USAGE = Usage(input_tokens=1000, output_tokens=500)


def charged(model: str, provider: str | None, host: str | None, **options: Any) -> tuple[int | None, str | None]:
    guard = CostGuard(**options)
    call = Call(guard.new_id(), model, 1_790_000_000.0, provider, host=host)
    charge = guard.after(guard.before(call), USAGE)
    return charge.cost, charge.priced_by


@pytest.mark.parametrize(
    ("host", "seller"),
    [
        ("openrouter.ai", "openrouter"),
        ("api.deepseek.com", "deepseek"),
        ("my-team.openai.azure.com", "azure"),
        ("api.groq.com", "groq"),
        ("api.together.xyz", "together"),
        ("generativelanguage.googleapis.com", "google"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws"),
        ("vpce-0a1b.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws"),
        ("api.openai.com", "openai"),
        ("api.anthropic.com", "anthropic"),
        ("gateway.example.com", "gateway.example.com"),
        ("api.openai.com.example.com", "api.openai.com.example.com"),
        ("127.0.0.1", "openai"),
        ("localhost", "openai"),
        ("::1", "openai"),
        (None, "openai"),
    ],
)
def test_the_host_of_openais_client_decides_the_seller(host: str | None, seller: str) -> None:
    found = seller_of("openai", host)
    assert (found or "") == seller or seller_of(found, None) == seller


def test_a_client_of_one_seller_keeps_it_at_a_private_address() -> None:
    assert seller_of("mistralai", "llm.internal.example.com") == "mistralai"
    assert seller_of("ollama", "10.0.0.7") == "ollama"


def test_another_sellers_price_is_not_openais() -> None:
    at_groq, at_openai = charged("gpt-oss-120b", "openai", "api.groq.com"), charged("gpt-4o", "openai", None)
    assert at_groq == charged("gpt-oss-120b", "groq", None)
    assert at_openai[1] == "list"


def test_at_an_unknown_host_the_makers_price_is_a_guess_and_an_open_model_has_none() -> None:
    cost, priced_by = charged("gpt-4o", "openai", "gateway.example.com")
    assert (cost, priced_by) == (charged("gpt-4o", "openai", None)[0], "estimate")
    assert charged("gpt-oss-120b", "openai", "gateway.example.com") == (None, None)
    with pytest.raises(UnpricedModelError, match="provider 'gateway.example.com'"):
        charged("gpt-oss-120b", "openai", "gateway.example.com", budgets=["$1/day"])


@pytest.mark.parametrize("key", ["gpt-oss-120b", "gateway.example.com/gpt-oss-120b"])
def test_a_declared_price_holds_there(key: str) -> None:
    prices = {key: {"input": "1", "output": "2"}}
    assert charged("gpt-oss-120b", "openai", "gateway.example.com", prices=prices, budgets=["$1/day"]) == (
        1000 * 1_000 + 500 * 2_000,
        "declared",
    )


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"openai_api_base": "https://User:pw@API.Groq.com:8443/openai/v1"}, "api.groq.com"),
        ({"base_url": "localhost:11434"}, "localhost"),
        ({"base_url": None, "azure_endpoint": "https://x.openai.azure.com/"}, "x.openai.azure.com"),
        ({"base_url": ""}, None),
        ({"base_url": "http://["}, None),
        ({"base_url": "x" * 300}, None),
        ({}, None),
    ],
)
def test_the_host_is_read_from_a_models_settings(settings: dict[str, Any], host: str | None) -> None:
    assert host_in(settings) == host


def test_a_host_has_no_password() -> None:
    assert host_of("https://me:secret@example.com/v1?key=secret") == "example.com"


@pytest.mark.parametrize("name", ["production", "team search", "org-4711", None])
def test_an_account_is_a_name(name: str | None) -> None:
    assert account_name(name) == name


@pytest.mark.parametrize("key", ["sk-ant-api03-abcdefghijklmnopqrst", "gsk_abcdefghijklmnop1234", "", 3])
def test_an_account_is_never_a_key(key: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        account_name(key)
    assert not key or str(key) not in str(error.value)
