"""OpenAI's client at other sellers: what they add to OpenAI's form of a usage is charged in every way of calling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from integrations import langchain_model
from langchain_models import WAYS, ask
from ledger_events import events
from open_connections import IGNORED_WARNINGS
from other_sellers import SELLERS, Seller, is_all_of, langchain_at
from provider_server import ProviderServer
from pydantic import BaseModel

from costguard_core import CostGuard, Event
from costguard_core.usage.reader import read_usage
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

pytestmark = IGNORED_WARNINGS
STREAMS = ["stream", "astream"]


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


SHAPES: dict[str, Callable[[Any], Any]] = {
    "schema": lambda model: model.with_structured_output(Person, method="json_schema"),
    "function": lambda model: model.with_structured_output(Person, method="function_calling"),
    "tools": lambda model: model.bind_tools([Person]),
}


async def charged(provider_server: ProviderServer, seller: Seller, way: str, shape: str | None = None) -> Event:
    provider_server.usage = seller.usage
    with CostGuard() as guard:
        model: Any = GuardedChatModel(langchain_at(provider_server.url, seller), guard, cache=False)
        await ask(model if shape is None else SHAPES[shape](model), way)
        (event,) = events(guard)
    return event


@pytest.mark.parametrize(("way", "apart"), [("invoke", True), ("ainvoke", True), *product(STREAMS, (True, False))])
@pytest.mark.parametrize("name", SELLERS)
async def test_all_that_a_seller_bills_is_charged(
    name: str, way: str, apart: bool, provider_server: ProviderServer
) -> None:
    provider_server.apart = apart
    event = await charged(provider_server, SELLERS[name], way)
    assert is_all_of(event, SELLERS[name])
    assert event.usage.estimated == (event.priced_by == "estimate")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["openrouter", "perplexity, research"])
async def test_also_of_objects_and_tools(name: str, way: str, shape: str, provider_server: ProviderServer) -> None:
    assert is_all_of(await charged(provider_server, SELLERS[name], way, shape), SELLERS[name])


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("name", SELLERS)
async def test_a_handler_marks_what_a_stream_may_have_lost(
    name: str, way: str, provider_server: ProviderServer
) -> None:
    seller = SELLERS[name]
    provider_server.usage, guard = seller.usage, CostGuard()
    model = langchain_at(provider_server.url, seller, stream_usage=True, callbacks=[CostGuardCallbackHandler(guard)])
    await ask(model, way)
    (event,) = events(guard)
    assert event.usage.estimated


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", SELLERS)
async def test_a_handler_is_told_all_of_a_whole_answer(name: str, way: str, provider_server: ProviderServer) -> None:
    seller = SELLERS[name]
    provider_server.usage, guard = seller.usage, CostGuard()
    await ask(langchain_at(provider_server.url, seller, callbacks=[CostGuardCallbackHandler(guard)]), way)
    (event,) = events(guard)
    assert is_all_of(event, seller)
    assert event.usage.estimated == (event.priced_by == "estimate")


@pytest.mark.parametrize("way", STREAMS)
async def test_a_handler_does_not_doubt_openai_itself(way: str, provider_server: ProviderServer) -> None:
    seller = SELLERS["deepseek"]._replace(host="api.openai.com", model="gpt-4o-mini")
    provider_server.usage, guard = {**seller.usage, "prompt_tokens_details": {"cached_tokens": 800}}, CostGuard()
    model = langchain_at(provider_server.url, seller, stream_usage=True, callbacks=[CostGuardCallbackHandler(guard)])
    await ask(model, way)
    (event,) = events(guard)
    assert (event.usage.cache_read_tokens, event.usage.estimated) == (800, False)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_what_the_responses_api_adds(way: str, provider_server: ProviderServer) -> None:
    stated = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500, "cost": 0.0456}
    seller = Seller("openrouter.ai", "openai/gpt-5-mini", stated, {"stated_cost": 45_600_000})
    provider_server.usage = stated
    seen: list[Event] = []
    guard = CostGuard(hooks=[seen.append])
    bare = langchain_at(provider_server.url, seller, use_responses_api=True)
    await ask(GuardedChatModel(bare, guard, cache=False), way)
    watched = langchain_at(
        provider_server.url, seller, use_responses_api=True, callbacks=[CostGuardCallbackHandler(guard)]
    )
    await ask(watched, way)
    assert is_all_of(seen[0], seller)
    assert seen[1].usage.estimated


OWN = {
    "mistralai": ("mistral-large-latest", {"num_cached_tokens": 400, "prompt_audio_seconds": 12}),
    "perplexity": ("sonar", {"citation_tokens": 10, "cost": {"total_cost": 0.0065}}),
    "xai": ("grok-4", {"num_sources_used": 7, "cost_in_usd_ticks": 37_756_000}),
    "deepseek": ("deepseek-chat", {"prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200}),
    "openrouter": ("openai/gpt-4o-mini", {"cost": 0.0123, "is_byok": False}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("integration", OWN)
async def test_the_sellers_own_integrations(integration: str, way: str, provider_server: ProviderServer) -> None:
    model, more = OWN[integration]
    provider_server.usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500, **more}
    guard = CostGuard()
    await ask(GuardedChatModel(langchain_model(integration, provider_server.url, model), guard, cache=False), way)
    (event,) = events(guard)
    told = read_usage(provider_server.usage)
    assert told is not None
    assert (event.usage.cache_read_tokens, event.usage.units) == (told.cache_read_tokens, told.units)
    assert event.usage.stated_cost == told.stated_cost
    assert event.usage.estimated == (event.priced_by == "estimate")


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("integration", ["mistralai", "perplexity", "xai"])
async def test_a_handler_marks_what_those_drop(integration: str, way: str, provider_server: ProviderServer) -> None:
    model, more = OWN[integration]
    provider_server.usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500, **more}
    guard = CostGuard()
    made = langchain_model(integration, provider_server.url, model, callbacks=[CostGuardCallbackHandler(guard)])
    await ask(made, way)
    (event,) = events(guard)
    assert event.usage.estimated
