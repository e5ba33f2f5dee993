"""Embeddings over real HTTP: metered with the provider's usage, budgeted, and each text paid once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.embeddings.openai import OpenAIEmbedding
from llamaindex_calls import SECRET
from provider_server import ProviderServer

from costguard_core import CostGuard, Outcome, SpendLimitExceeded, UnpricedModelError, attribute
from costguard_core.simulate import Fault, Simulator
from llamaindex_costguard import guard_embedding


def test_it_is_the_same_model_and_sends_the_same(make_embedding: Any, openai_server: Simulator) -> None:
    bare = make_embedding()
    guarded = guard_embedding(bare, CostGuard())
    assert isinstance(guarded, type(bare))
    assert guarded.to_dict() == bare.to_dict()
    assert SECRET not in repr(guarded)
    for model in (bare, guarded):
        assert len(model.get_text_embedding_batch(["a", "b"])) == 2
        model.get_query_embedding("q")
    sent = [request.body for request in openai_server.requests]
    assert sent[:2] == sent[2:]


def test_the_providers_usage_is_charged(make_embedding: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    guard_embedding(make_embedding(), guard).get_text_embedding_batch(["a cat", "a dog"])
    (event,) = events(guard)
    assert event.usage.input_tokens == (openai_server.requests[0].usage or {})["prompt_tokens"]
    assert (event.kind, event.estimated, event.provider) == ("embedding", False, "openai")
    assert event.cost == event.usage.input_tokens * 20


async def test_the_providers_usage_is_charged_async(make_embedding: Any, openai_server: Simulator) -> None:
    guard = CostGuard()
    model = guard_embedding(make_embedding(), guard)
    with attribute(user="ann"):
        await model.aget_query_embedding("q")
    await model.aget_text_embedding_batch(["a", "b", "a"])
    assert [(event.estimated, event.attribution.user) for event in events(guard)] == [(False, "ann"), (False, None)]
    assert openai_server.requests[1].body["input"] == ["a", "b"]


def test_a_text_is_paid_once_also_within_a_batch(make_embedding: Any, openai_server: Simulator) -> None:
    guard = CostGuard()
    model = guard_embedding(make_embedding(embed_batch_size=2), guard)
    vectors = model.get_text_embedding_batch(["a", "b", "a", "c", "b"])
    assert [request.body["input"] for request in openai_server.requests] == [["a", "b"], ["c"]]
    assert vectors[0] == vectors[2]
    assert model.get_text_embedding("b") == vectors[1]
    assert openai_server.count == 2
    assert [event.outcome for event in events(guard)] == [Outcome.MISS, Outcome.MISS, Outcome.EXACT]


def test_without_usage_it_is_an_estimate() -> None:
    guard = CostGuard()
    guard_embedding(MockEmbedding(embed_dim=4), guard).get_text_embedding_batch(["a cat", "a dog"])
    (event,) = events(guard)
    assert (event.estimated, event.usage.input_tokens >= 4) == (True, True)


def test_queries_documents_and_models_do_not_mix(make_embedding: Any, openai_server: Simulator, tmp_path: Path) -> None:
    store, guard = f"sqlite:///{tmp_path / 'vectors.db'}", CostGuard()
    small = guard_embedding(make_embedding(), guard, cache=store)
    large = guard_embedding(make_embedding("text-embedding-3-large"), guard, cache=store)
    short = guard_embedding(make_embedding(dimensions=8), guard, cache=store)
    for model in (small, large, short):
        model.get_text_embedding("x")
        model.get_query_embedding("x")
    assert openai_server.count == 6
    again = guard_embedding(make_embedding(), guard, cache=store)
    assert again.get_text_embedding("x") == small.get_text_embedding("x")
    assert openai_server.count == 6
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_refusal_and_an_error(make_embedding: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["100 tokens/day"])
    model = guard_embedding(make_embedding(), guard)
    with pytest.raises(SpendLimitExceeded):
        model.get_text_embedding_batch(["word " * 200])
    assert openai_server.count == 0
    openai_server.faults.append(Fault(status=400))
    with pytest.raises(Exception, match="400"):
        model.get_text_embedding("x")
    assert (guard.status()[0].spent, guard.status()[0].held) == (0, 0)


def test_an_index_is_built_once(make_embedding: Any, openai_server: Simulator) -> None:
    model = guard_embedding(make_embedding(), CostGuard())
    documents = [Document(text="cats purr"), Document(text="dogs bark")]
    for _ in range(2):
        VectorStoreIndex.from_documents(documents, embed_model=model)
    assert openai_server.count == 1


@pytest.mark.parametrize("reported", [0, -1, 1, 10**25])
def test_usage_that_cannot_be_true_is_counted(reported: int) -> None:
    text = "Tell me all about the history of postage stamps in Peru, with dates and names. " * 8
    with ProviderServer(usage={"prompt_tokens": reported, "total_tokens": reported}) as server, CostGuard() as guard:
        model = OpenAIEmbedding(model_name="text-embedding-3-small", api_base=f"{server.url}/v1", api_key="x")
        guard_embedding(model, guard).get_text_embedding_batch([text])
        model._get_client().close()
        (event,) = events(guard)
    assert event.estimated
    assert 120 < event.usage.input_tokens < 160
    assert event.cost == event.usage.input_tokens * 20


def test_the_host_decides_whose_price_it_has(make_embedding: Any) -> None:
    guard = CostGuard(["$1/day"])
    guard_embedding(make_embedding(), guard).get_query_embedding("a cat")
    assert [event.host for event in events(guard)] == ["127.0.0.1"]
    elsewhere = make_embedding()
    elsewhere.api_base = "https://api.groq.com/openai/v1"
    with pytest.raises(UnpricedModelError):
        guard_embedding(elsewhere, guard).get_query_embedding("a dog")
