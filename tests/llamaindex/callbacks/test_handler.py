"""Models that nobody wrapped are metered from LlamaIndex's events, each call once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import Settings
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from llamaindex_calls import ASYNC_CALLS, SYNC_CALLS, pets_index

from costguard_core import CostGuard, attribute
from costguard_core.simulate import Simulator
from llamaindex_costguard import CostGuardEventHandler, guard_embedding, guard_llm, install, uninstall

HI = [ChatMessage(role="user", content="hi")]


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    guard = CostGuard()
    handler = CostGuardEventHandler(guard)
    get_dispatcher().add_event_handler(handler)
    handler.watch_spans()  # before the first call, whose host it learns then
    yield guard
    assert not handler._under  # nothing is forgotten half-way
    assert not handler._spans._under_way
    handler.detach()


@pytest.fixture
def settings() -> Iterator[Any]:
    yield Settings
    uninstall()
    Settings._llm = Settings._embed_model = None


def outputs(server: Simulator) -> list[int]:
    return [(request.usage or {})["completion_tokens"] for request in server.requests]


@pytest.mark.parametrize(
    "method", ["chat", "complete", "predict", "as_structured_llm", "query engine, refine", "predict_and_call"]
)
def test_every_call_once_with_its_usage(
    guard: CostGuard, make_openai: Any, openai_server: Simulator, method: str
) -> None:
    SYNC_CALLS[method](make_openai())
    calls = [event for event in events(guard) if event.kind != "embedding"]
    assert [event.usage.output_tokens for event in calls] == outputs(openai_server)
    assert {(event.model, event.provider, event.estimated) for event in calls} == {("gpt-4o-mini", "openai", False)}
    assert {event.host for event in calls} == {"127.0.0.1"}


async def test_agents(guard: CostGuard, make_openai: Any, openai_server: Simulator) -> None:
    with instrument_tags({"user": "ann"}):
        await ASYNC_CALLS["FunctionAgent, not streaming"](make_openai())
    assert [event.usage.output_tokens for event in events(guard)] == outputs(openai_server)
    assert {event.attribution.user for event in events(guard)} == {"ann"}


def test_layers_are_one_call(guard: CostGuard) -> None:
    MockLLM(max_tokens=5).chat(HI)
    list(MockLLM(max_tokens=5).stream_chat(HI))
    assert [event.usage.output_tokens for event in events(guard)] == [5, 4]  # its last chunk has four words


def test_a_stream_is_in_the_name_of_who_asked(guard: CostGuard, make_openai: Any) -> None:
    with attribute(user="ann"):
        stream = make_openai().stream_chat(HI)
    list(stream)
    (event,) = events(guard)
    assert (event.attribution.user, event.estimated) == ("ann", True)


def test_a_streaming_query_engine_too(guard: CostGuard, make_openai: Any) -> None:
    """It calls its LLM when the answer is read."""
    with instrument_tags({"user": "ann"}):
        bare = pets_index().as_query_engine(llm=make_openai(), streaming=True).query("what do cats do?")
    with attribute(user="bob"):
        guarded = pets_index().as_query_engine(llm=guard_llm(make_openai(), guard), streaming=True).query("what?")
    assert "".join(bare.response_gen)
    assert "".join(guarded.response_gen)
    assert [event.attribution.user for event in events(guard) if event.kind == "chat"] == ["ann", "bob"]


def test_an_abandoned_stream(guard: CostGuard, make_openai: Any) -> None:
    stream = make_openai().stream_chat(HI)
    next(stream)
    next(stream)
    stream.close()
    assert [event.outcome.value for event in events(guard)] == ["abandoned"]


def test_guarded_models_are_not_counted_again(guard: CostGuard, make_openai: Any, make_embedding: Any) -> None:
    llm = guard_llm(make_openai(), guard)
    llm.chat(HI)
    list(llm.stream_chat(HI))
    embedding = guard_embedding(make_embedding(), guard)
    embedding.get_text_embedding_batch(["a", "b"])
    assert [event.kind for event in events(guard)] == ["chat", "chat", "embedding"]
    other = CostGuard()
    guard_llm(make_openai(), other).chat(HI)
    assert (len(events(guard)), len(events(other))) == (4, 1)  # on another bill: each of the two has it once


def test_embeddings(guard: CostGuard) -> None:
    MockEmbedding(embed_dim=4, embed_batch_size=2).get_text_embedding_batch(["one two", "three", "four"])
    assert [event.usage.input_tokens > 0 for event in events(guard)] == [True, True]
    assert {event.kind for event in events(guard)} == {"embedding"}


def test_spend_counts_in_the_budget_although_it_cannot_be_refused(make_openai: Any) -> None:
    guard = CostGuard(["2 requests/day"])
    handler = CostGuardEventHandler(guard)
    get_dispatcher().add_event_handler(handler)
    try:
        for _ in range(3):
            make_openai().chat(HI)
    finally:
        handler.detach()
    assert guard.status()[0].spent == 2
    assert [event.outcome.value for event in events(guard)] == ["miss"] * 3


def test_install_guards_settings_and_meters_the_rest(settings: Any, make_openai: Any, openai_server: Simulator) -> None:
    bare, embedding = make_openai(), MockEmbedding(embed_dim=4)
    settings.llm, settings.embed_model = bare, embedding
    guard = CostGuard(["100 requests/day"])
    install(guard, cache="memory://")
    settings.llm.chat(HI)
    settings.llm.chat(HI)
    make_openai().complete("not wrapped")
    settings.embed_model.get_query_embedding("q")
    assert openai_server.count == 2
    assert [(e.kind, e.outcome.value) for e in events(guard)] == [
        ("chat", "miss"),
        ("chat", "exact"),
        ("completion", "miss"),
        ("embedding", "miss"),
    ]
    uninstall()
    assert settings._llm is bare
    assert settings._embed_model is embedding
    bare.chat(HI)
    assert len(events(guard)) == 4
    uninstall()
