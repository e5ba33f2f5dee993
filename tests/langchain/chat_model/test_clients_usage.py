"""Usage that LangChain's integrations drop is read at their clients, which stay as they were."""

from __future__ import annotations

import base64
import wave
from io import BytesIO
from typing import Any

import pytest
from integrations import langchain_model
from langchain_core.messages import HumanMessage
from langchain_models import WAYS, ask
from ledger_events import events
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer

from costguard_core import CostGuard, Event
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

pytestmark = IGNORED_WARNINGS
SOUND = {
    "promptTokenCount": 1000,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 900}],
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 1080,
}
HOUR = {
    "input_tokens": 10,
    "output_tokens": 50,
    "cache_creation_input_tokens": 2000,
    "cache_creation": {"ephemeral_1h_input_tokens": 2000, "ephemeral_5m_input_tokens": 0},
}


@pytest.fixture
def server(provider_server: ProviderServer) -> ProviderServer:
    provider_server.older = False
    return provider_server


async def charged(model: Any, way: str, *budgets: str) -> Event:
    guard = CostGuard(budgets)
    await ask(GuardedChatModel(model, guard, cache=False), way)
    (event,) = events(guard)
    return event


@pytest.mark.parametrize("budgets", [(), ("$1/day",)])
@pytest.mark.parametrize("way", WAYS)
async def test_sound_in_a_prompt_to_gemini(way: str, budgets: tuple[str, ...], server: ProviderServer) -> None:
    server.usage = SOUND
    event = await charged(langchain_model("google_genai", server.url, "gemini-2.5-flash"), way, *budgets)
    assert (event.usage.audio_input_tokens, event.usage.input_tokens, event.usage.output_tokens) == (900, 1000, 80)
    assert event.cost == 100 * 300 + 900 * 1000 + 80 * 2500
    assert not event.estimated


@pytest.mark.parametrize("budgets", [(), ("$1/day",)])
@pytest.mark.parametrize("way", WAYS)
async def test_the_handler_prices_sound_by_its_length_and_says_so(
    way: str, budgets: tuple[str, ...], server: ProviderServer
) -> None:
    """The integration drops how much of the prompt was sound: 20 seconds of it are some 650 tokens."""
    server.usage = SOUND
    guard = CostGuard(budgets)
    model = langchain_model("google_genai", server.url, "gemini-2.5-flash").with_config(
        callbacks=[CostGuardCallbackHandler(guard)]
    )
    sound = {"type": "audio", "base64": base64.b64encode(wav(20)).decode(), "mime_type": "audio/wav"}
    await ask(model, way, [HumanMessage([{"type": "text", "text": "What is said?"}, sound])])
    (event,) = events(guard)
    assert event.estimated
    assert 640 <= event.usage.audio_input_tokens <= 700


def wav(seconds: int) -> bytes:
    made = BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(100)
        file.writeframes(bytes(100 * seconds))
    return made.getvalue()


@pytest.mark.parametrize("budgets", [(), ("$1/day",)])
@pytest.mark.parametrize("way", WAYS)
async def test_a_cache_that_claude_writes_for_an_hour(
    way: str, budgets: tuple[str, ...], server: ProviderServer
) -> None:
    server.usage = HOUR
    event = await charged(langchain_model("anthropic", server.url, "claude-sonnet-4-5"), way, *budgets)
    assert event.usage.cache_write_1h_tokens == 2000
    assert event.cost == 10 * 3_000 + 2000 * 6_000 + 50 * 15_000
    assert not event.estimated


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["message", "request", "tool"])
async def test_a_handler_marks_what_a_stream_does_not_tell_of_an_hours_cache(
    place: str, way: str, server: ProviderServer
) -> None:
    server.usage = HOUR
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    model: Any = langchain_model("anthropic", server.url, "claude-sonnet-4-5")
    question: Any = [HumanMessage([{"type": "text", "text": "long " * 500, **(mark if place == "message" else {})}])]
    if place == "request":
        model = model.bind(**mark)
    if place == "tool":
        tool = {"name": "look", "description": "up", "input_schema": {"type": "object", "properties": {}}, **mark}
        model = model.bind_tools([tool])
    guard = CostGuard()
    await ask(model.with_config(callbacks=[CostGuardCallbackHandler(guard)]), way, question)
    (event,) = events(guard)
    assert "1h" in str(server.body)
    assert event.usage.cache_write_1h_tokens == event.usage.cache_write_tokens == 2000
    assert event.cost == 10 * 3_000 + 2000 * 6_000 + 50 * 15_000
    assert event.estimated is ("stream" in way)


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_handler_takes_writes_for_five_minutes_where_none_asks_for_more(
    way: str, server: ProviderServer
) -> None:
    server.usage = {**HOUR, "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 2000}}
    block = {"type": "text", "text": "long " * 500, "cache_control": {"type": "ephemeral"}}
    guard = CostGuard()
    model: Any = langchain_model("anthropic", server.url, "claude-sonnet-4-5")
    model = model.with_config(callbacks=[CostGuardCallbackHandler(guard)])
    await ask(model, way, [HumanMessage([block])])
    (event,) = events(guard)
    assert (event.cost, event.estimated) == (10 * 3_000 + 2000 * 3_750 + 50 * 15_000, False)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("integration", "name"), [("google_genai", "gemini-2.5-flash"), ("anthropic", "claude-sonnet-4-5")]
)
async def test_the_model_and_what_it_sends_stay_as_they_were(
    integration: str, name: str, way: str, server: ProviderServer
) -> None:
    bare = langchain_model(integration, server.url, name)
    await ask(bare, way)
    sent = server.body
    model = langchain_model(integration, server.url, name)
    before = {key: id(value) for key, value in vars(model).items()}
    await charged(model, way)
    assert server.body == sent
    assert before.items() <= {key: id(value) for key, value in vars(model).items()}.items()
    assert model.model_fields_set == bare.model_fields_set
    await ask(model, way)  # it still works by itself
    assert len(server.requests) == 3
