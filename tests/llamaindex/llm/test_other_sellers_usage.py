"""LLMs like OpenAI's at other sellers: what they add to OpenAI's form of a usage is charged in every way of calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from integrations import llamaindex_llm
from ledger_events import events
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llamaindex_calls import HELLO, Person
from open_connections import IGNORED_WARNINGS
from other_sellers import SELLERS, is_all_of, llamaindex_at
from provider_server import ProviderServer

from costguard_core import CostGuard
from llamaindex_costguard import guard_llm, install, uninstall

pytestmark = IGNORED_WARNINGS
TEMPLATE = PromptTemplate("{who} is three years old.")
TOOL = FunctionTool.from_defaults(lambda name, age: name, name="Person", description="Somebody")


async def _read(stream: Awaitable[Any]) -> None:
    _ = [item async for item in await stream]


SYNC: dict[str, Callable[[Any], Any]] = {
    "chat": lambda llm: llm.chat(HELLO),
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO)),
    "complete": lambda llm: llm.complete("hi"),
    "stream_complete": lambda llm: list(llm.stream_complete("hi")),
    "structured_predict": lambda llm: llm.structured_predict(Person, TEMPLATE, who="Bob"),
    "stream_structured_predict": lambda llm: list(llm.stream_structured_predict(Person, TEMPLATE, who="Bob")),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], user_msg="hi"),
    "stream_chat_with_tools": lambda llm: list(llm.stream_chat_with_tools([TOOL], user_msg="hi")),
}
ASYNC: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "achat": lambda llm: llm.achat(HELLO),
    "astream_chat": lambda llm: _read(llm.astream_chat(HELLO)),
    "astructured_predict": lambda llm: llm.astructured_predict(Person, TEMPLATE, who="Bob"),
    "astream_structured_predict": lambda llm: _read(llm.astream_structured_predict(Person, TEMPLATE, who="Bob")),
    "astream_chat_with_tools": lambda llm: _read(llm.astream_chat_with_tools([TOOL], user_msg="hi")),
}


@pytest.mark.parametrize(("way", "apart"), [("chat", True), ("stream_chat", True), ("stream_chat", False)])
@pytest.mark.parametrize("name", SELLERS)
def test_all_that_a_seller_bills_is_charged(name: str, way: str, apart: bool, provider_server: ProviderServer) -> None:
    provider_server.usage, provider_server.apart, guard = SELLERS[name].usage, apart, CostGuard()
    SYNC[way](guard_llm(llamaindex_at(provider_server.url, SELLERS[name]), guard))
    (event,) = events(guard)
    assert is_all_of(event, SELLERS[name])
    assert event.usage.estimated == (event.priced_by == "estimate")


@pytest.mark.parametrize("way", SYNC)
@pytest.mark.parametrize("name", ["openrouter", "perplexity, research"])
def test_in_every_way_of_calling(name: str, way: str, provider_server: ProviderServer) -> None:
    provider_server.usage, guard = SELLERS[name].usage, CostGuard()
    SYNC[way](guard_llm(llamaindex_at(provider_server.url, SELLERS[name]), guard))
    (event,) = events(guard)
    assert is_all_of(event, SELLERS[name])


@pytest.mark.parametrize("way", ASYNC)
@pytest.mark.parametrize("name", ["openrouter", "perplexity, research"])
async def test_also_on_an_event_loop(name: str, way: str, provider_server: ProviderServer) -> None:
    provider_server.usage, guard = SELLERS[name].usage, CostGuard()
    await ASYNC[way](guard_llm(llamaindex_at(provider_server.url, SELLERS[name]), guard))
    (event,) = events(guard)
    assert is_all_of(event, SELLERS[name])


@pytest.mark.parametrize("way", ["chat", "stream_chat", "complete", "stream_complete"])
@pytest.mark.parametrize("name", ["openrouter", "deepseek", "mistral", "moonshot"])
def test_calls_that_nobody_wrapped(name: str, way: str, provider_server: ProviderServer) -> None:
    """LlamaIndex' events hand on the provider's own answer, in a stream that asks for its usage."""
    provider_server.usage, guard = SELLERS[name].usage, CostGuard()
    wish = {"stream_options": {"include_usage": True}}
    install(guard)
    try:
        SYNC[way](llamaindex_at(provider_server.url, SELLERS[name], additional_kwargs=wish if "stream" in way else {}))
    finally:
        uninstall()
    (event,) = events(guard)
    found = {part: getattr(event.usage, part) for part in SELLERS[name].expected}
    assert found == SELLERS[name].expected or event.usage.estimated


@pytest.mark.parametrize("way", ["chat", "stream_chat"])
@pytest.mark.parametrize(
    ("integration", "more", "expected"),
    [
        ("deepseek", {"prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200}, {"cache_read_tokens": 800}),
        ("mistralai", {"num_cached_tokens": 400}, {"cache_read_tokens": 400}),
        ("groq", {"prompt_tokens_details": {"cached_tokens": 512}}, {"cache_read_tokens": 512}),
    ],
)
def test_the_sellers_own_integrations(
    integration: str, more: dict[str, Any], expected: dict[str, int], way: str, provider_server: ProviderServer
) -> None:
    provider_server.usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500, **more}
    model = {"deepseek": "deepseek-chat", "mistralai": "mistral-large-latest", "groq": "llama-3.3-70b-versatile"}
    guard = CostGuard()
    SYNC[way](guard_llm(llamaindex_llm(integration, provider_server.url, model[integration]), guard))
    (event,) = events(guard)
    assert {name: getattr(event.usage, name) for name in expected} == expected
    assert event.usage.estimated == (event.priced_by == "estimate")
