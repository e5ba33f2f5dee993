"""What the provider reports is charged, also where LlamaIndex's integration keeps only the text or the object."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from integrations import LLAMAINDEX, llamaindex_llm
from ledger_events import events
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.prompts import PromptTemplate
from llamaindex_calls import HELLO, Person
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer
from pydantic import PrivateAttr

from costguard_core import CostGuard
from llamaindex_costguard import guard_llm

pytestmark = IGNORED_WARNINGS
TEMPLATE = PromptTemplate("{who} is three years old.")


def _last(stream: Any) -> Any:
    return list(stream)[-1]


async def _alast(stream: Awaitable[Any]) -> Any:
    return [item async for item in await stream][-1]


SYNC: dict[str, Callable[[Any], Any]] = {
    "chat": lambda llm: llm.chat(HELLO).message.content,
    "stream_chat": lambda llm: _last(llm.stream_chat(HELLO)).message.content,
    "structured_predict": lambda llm: llm.structured_predict(Person, TEMPLATE, who="Bob"),
    "stream_structured_predict": lambda llm: _last(llm.stream_structured_predict(Person, TEMPLATE, who="Bob")),
}
ASYNC: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "achat": lambda llm: llm.achat(HELLO),
    "astream_chat": lambda llm: _alast(llm.astream_chat(HELLO)),
    "astructured_predict": lambda llm: llm.astructured_predict(Person, TEMPLATE, who="Bob"),
    "astream_structured_predict": lambda llm: _alast(llm.astream_structured_predict(Person, TEMPLATE, who="Bob")),
}
SLOW = pytest.param("litellm", marks=pytest.mark.slow)  # to import
# Their servers say nothing of it, or in a header only.
NO_ID = ("ollama", "bedrock_converse")


@pytest.mark.parametrize("way", SYNC)
@pytest.mark.parametrize("integration", [SLOW if name == "litellm" else name for name in LLAMAINDEX])
def test_what_is_reported_is_charged(integration: str, way: str, provider_server: ProviderServer) -> None:
    seen: list[Any] = []
    guard = CostGuard(hooks=[seen.append])
    llm = guard_llm(llamaindex_llm(integration, provider_server.url, LLAMAINDEX[integration]), guard)
    SYNC[way](llm)
    (event,) = seen
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.estimated) == (1000, 500, False)
    assert (event.request_id is None) == (integration in NO_ID)
    assert len([request for request in provider_server.requests if "show" not in request.path]) == 1


@pytest.mark.parametrize("way", ASYNC)
@pytest.mark.parametrize("integration", ["openai, responses", "anthropic", "google_genai", "mistralai"])
async def test_also_on_an_event_loop(integration: str, way: str, provider_server: ProviderServer) -> None:
    seen: list[Any] = []
    guard = CostGuard(hooks=[seen.append])
    await ASYNC[way](guard_llm(llamaindex_llm(integration, provider_server.url, LLAMAINDEX[integration]), guard))
    (event,) = seen
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.estimated) == (1000, 500, False)


def test_cached_tokens_of_a_streams_first_event(provider_server: ProviderServer) -> None:
    provider_server.usage = {"input_tokens": 700, "cache_read_input_tokens": 300, "output_tokens": 500}
    seen: list[Any] = []
    guard = CostGuard(hooks=[seen.append])
    llm = guard_llm(llamaindex_llm("anthropic", provider_server.url, "claude-sonnet-4-5"), guard)
    llm.chat(HELLO)
    _last(llm.stream_chat(HELLO))
    called, streamed = seen
    assert called.usage == streamed.usage
    assert (streamed.usage.input_tokens, streamed.usage.cache_read_tokens) == (1000, 300)


def test_the_model_that_answered_is_known_where_only_an_object_comes_back(provider_server: ProviderServer) -> None:
    provider_server.model = "claude-sonnet-4-5-20250929"
    seen: list[Any] = []
    guard = CostGuard(hooks=[seen.append])
    guard_llm(llamaindex_llm("anthropic", provider_server.url, "claude-sonnet-4-5"), guard).structured_predict(
        Person, TEMPLATE, who="Bob"
    )
    (event,) = seen
    assert (event.requested_model, event.answered_model) == ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929")


async def test_calls_at_the_same_time_keep_their_own(provider_server: ProviderServer) -> None:
    """One LLM, many calls: what one of them reports is not another's."""
    guard = CostGuard()
    llm = guard_llm(llamaindex_llm("google_genai", provider_server.url, "gemini-2.5-flash"), guard)
    await asyncio.gather(*(llm.astructured_predict(Person, TEMPLATE, who=str(number)) for number in range(8)))
    assert [event.usage.input_tokens for event in events(guard)] == [1000] * 8


def test_the_llm_and_its_client_stay_what_they_were(provider_server: ProviderServer) -> None:
    bare = llamaindex_llm("anthropic", provider_server.url, "claude-sonnet-4-5")
    llm = guard_llm(bare, CostGuard())
    llm.structured_predict(Person, TEMPLATE, who="Bob")
    assert llm._client is bare._client
    for other in (copy.copy(llm), llm.model_copy()):
        assert other._client is bare._client
    ollama = guard_llm(llamaindex_llm("ollama", provider_server.url, "llama3.1:8b"), CostGuard())
    kept = pickle.loads(pickle.dumps(ollama))
    assert kept.chat(HELLO).message.content == provider_server.text


def test_a_client_that_the_integration_makes_late_is_kept(provider_server: ProviderServer) -> None:
    llm = guard_llm(llamaindex_llm("ollama", provider_server.url, "llama3.1:8b"), CostGuard())
    assert llm._client is None
    _last(llm.stream_chat(HELLO))
    made = llm._client
    assert type(made).__name__ == "Client"
    llm.chat(HELLO)
    assert llm._client is made


class Counting(CustomLLM):
    """Somebody's own, which keeps a count in its settings and something like a client to itself."""

    calls: int = 0
    _client: object = PrivateAttr(default_factory=object)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="own")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.calls += 1
        return CompletionResponse(text=f"{self._client is not None} {self.calls}")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt)


def test_what_an_llm_writes_down_is_kept() -> None:
    llm = guard_llm(Counting(), CostGuard())
    assert [llm.complete("hi").text for _ in range(2)] == ["True 1", "True 2"]
    assert llm.calls == 2


def test_tool_calls_that_are_no_blocks_are_output() -> None:
    class Calling(Counting):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            function = {"name": "add", "arguments": '{"a": 1, "b": 2, "note": "a sum that is asked for"}'}
            call = {"id": "1", "type": "function", "function": function}
            message = ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]})
            return ChatResponse(message=message)

    guard = CostGuard()
    guard_llm(Calling(), guard).chat(HELLO)
    (event,) = events(guard)
    assert event.estimated
    assert event.usage.output_tokens > 10
