"""Embeddings over real HTTP: metered, budgeted, and each text paid once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_openai import OpenAIEmbeddings
from ledger_events import events
from pydantic import BaseModel

from costguard_core import CostGuard, Outcome, SpendLimitExceeded, UnpricedModelError, attribute
from costguard_core.simulate import Fault, Simulator
from langchain_costguard import GuardedEmbeddings


@pytest.fixture
async def bare(openai_server: Simulator) -> AsyncIterator[OpenAIEmbeddings]:
    made = OpenAIEmbeddings(
        base_url=openai_server.base_url,
        api_key="simulated",
        model="text-embedding-3-small",
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    yield made
    made.client._client.close()  # nobody else does, and an open socket is a warning, which is an error here
    await made.async_client._client.close()


def test_a_text_is_paid_once_also_within_a_batch(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    embeddings = GuardedEmbeddings(bare, guard)
    vectors = embeddings.embed_documents(["a cat", "a dog", "a cat"])
    assert vectors == bare.embed_documents(["a cat", "a dog", "a cat"])
    assert openai_server.requests[0].body["input"] == ["a cat", "a dog"]
    assert embeddings.embed_documents(["a dog"]) == vectors[1:2]
    assert openai_server.count == 2  # one by the guarded, one by the bare
    miss, hit = events(guard)
    assert (miss.kind, miss.outcome, miss.usage.input_tokens, miss.provider) == ("embedding", Outcome.MISS, 4, "openai")
    assert miss.cost == 4 * 20  # $0.02 per million tokens
    assert (hit.outcome, hit.cost, hit.saved) == (Outcome.EXACT, 0, 2 * 20)


async def test_async_too(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    guard = CostGuard()
    embeddings = GuardedEmbeddings(bare, guard)
    with attribute(user="ann"):
        first = await embeddings.aembed_query("a cat")
    assert await embeddings.aembed_query("a cat") == first
    assert embeddings.embed_query("a cat") == first
    assert openai_server.count == 1
    assert [event.attribution.user for event in events(guard)] == ["ann", None, None]


def test_queries_and_documents_are_not_mixed(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    embeddings = GuardedEmbeddings(bare, CostGuard())
    embeddings.embed_query("a cat")
    embeddings.embed_documents(["a cat"])
    assert openai_server.count == 2


def test_two_models_on_one_store_never_cross(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'vectors.db'}"
    small = GuardedEmbeddings(DeterministicFakeEmbedding(size=4), CostGuard(), cache=store, model="small")
    large = GuardedEmbeddings(DeterministicFakeEmbedding(size=8), CostGuard(), cache=store, model="large")
    assert (len(small.embed_query("x")), len(large.embed_query("x"))) == (4, 8)
    again = GuardedEmbeddings(DeterministicFakeEmbedding(size=8), CostGuard(), cache=store, model="small")
    assert len(again.embed_query("x")) == 4


def test_a_refusal_reaches_the_caller_before_the_provider(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    embeddings = GuardedEmbeddings(bare, CostGuard(["100 tokens/day"]))
    embeddings.embed_query("short")
    with pytest.raises(SpendLimitExceeded):
        embeddings.embed_documents(["word " * 200])
    assert openai_server.count == 1


def test_an_error_costs_nothing(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    openai_server.faults.append(Fault(status=500))
    embeddings = GuardedEmbeddings(bare, guard)
    with pytest.raises(Exception, match="simulated 500"):
        embeddings.embed_query("x")
    assert guard.status()[0].spent == guard.status()[0].held == 0
    assert events(guard)[0].outcome is Outcome.ERROR


class Local(BaseModel, Embeddings):
    """Like an integration that runs a model here: how it embeds is in fields of its own."""

    model_name: str = "local"
    encode_kwargs: dict[str, Any] = {}
    query_instruction: str = ""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(self.encode_kwargs)), float(len(self.query_instruction))] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_vectors_made_in_different_ways_are_kept_apart(tmp_path: Path) -> None:
    with CostGuard() as guard:
        ways: list[dict[str, Any]] = [{}, {"encode_kwargs": {"normalize": True}}, {"query_instruction": "Q: "}]
        cache = f"sqlite:///{tmp_path / 'vectors.db'}"
        made = [GuardedEmbeddings(Local(**way), guard, cache=cache).embed_query("lease") for way in ways]
    assert made == [[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]


def test_the_host_decides_whose_price_it_has(bare: OpenAIEmbeddings, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    GuardedEmbeddings(bare, guard).embed_query("a cat")
    assert [event.host for event in events(guard)] == ["127.0.0.1"]
    elsewhere = OpenAIEmbeddings(base_url="https://api.groq.com/openai/v1", api_key="simulated")
    with pytest.raises(UnpricedModelError):
        GuardedEmbeddings(elsewhere, guard).embed_query("a dog")
