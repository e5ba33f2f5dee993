"""Over LangChain's own vector stores: what their interface can do.

Weaviate's is tested where ``COSTGUARD_TEST_WEAVIATE_URL`` names a server.
"""

import os
import uuid
from urllib.parse import urlsplit

import pytest
from bag_of_words import bag_of_words
from langchain_core.vectorstores import InMemoryVectorStore

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.query import SemanticQuery
from langchain_costguard import VectorStoreCacheIndex

WEAVIATE = os.environ.get("COSTGUARD_TEST_WEAVIATE_URL")  # read before tests lose the developer's settings


def in_memory(tmp_path):
    documents = {}

    def opened(scope, embeddings):
        store = InMemoryVectorStore(embeddings)
        store.store = documents.setdefault(scope, {})
        return store

    yield opened


def chroma(tmp_path):
    from chromadb import PersistentClient
    from langchain_chroma import Chroma

    client = PersistentClient(str(tmp_path))
    yield lambda scope, embeddings: Chroma(
        f"scope-{scope}", embeddings, client=client, collection_metadata={"hnsw:space": "cosine"}
    )


def weaviate(tmp_path):
    if WEAVIATE is None:
        pytest.skip("COSTGUARD_TEST_WEAVIATE_URL names no Weaviate")
    connect = pytest.importorskip("weaviate").connect_to_local
    from langchain_weaviate import WeaviateVectorStore

    parts, mine = urlsplit(WEAVIATE), uuid.uuid4().hex
    with connect(parts.hostname, parts.port or 8080) as client:
        yield lambda scope, embeddings: WeaviateVectorStore(client, f"Costguard{mine}{scope}", "text", embeddings)


@pytest.fixture(params=[in_memory, pytest.param(chroma, marks=pytest.mark.slow), weaviate])
def open_store(request, tmp_path):
    yield from request.param(tmp_path)


def asked(question, scope="scope"):
    return SemanticQuery(question, scope, CacheKey(digest=digest(scope, question)))


def put(engine, question, text, scope="scope"):
    answer = Answer(payload=[text], choices=1)
    return engine.save(asked(question, scope), bag_of_words(question), answer, text)


def get(engine, question, scope="scope"):
    hit = engine.lookup(asked(question, scope), bag_of_words(question))
    return None if hit is None else hit.answer.payload[0]


def test_answers_and_refutations_are_shared_and_scopes_are_not(open_store):
    mine = SemanticEngine(VectorStoreCacheIndex(open_store), decide="guarded", threshold=0.7)
    theirs = SemanticEngine(VectorStoreCacheIndex(open_store), decide="guarded", threshold=0.7)
    put(mine, "how do I reset my password", "In Settings.")
    assert get(theirs, "how to reset my password") == "In Settings."
    assert get(theirs, "how to reset my password", scope="other") is None
    hit = mine.lookup(asked("how to reset my password"), bag_of_words("how to reset my password"))
    assert mine.feedback.refute(hit.id)
    assert get(theirs, "how to reset my password") is None
    assert get(theirs, "how do I reset my password") == "In Settings."


async def test_what_this_process_stored_is_replaced_invalidated_and_deleted(open_store):
    index = VectorStoreCacheIndex(open_store)
    vector = bag_of_words("question")
    index.put("scope", Entry("1", "question", "{}", "old", "g", 0.0, tags=("user=u1",)), vector)
    index.put("scope", Entry("1", "question", "{}", "new", "g", 0.0, tags=("user=u1",)), vector)
    assert [one.entry.text for one in await index.asearch("scope", vector, 5)] == ["new"]
    assert index.invalidate(["user=u2"]) == 0
    assert index.invalidate(["user=u1"]) == 1
    assert index.search("scope", vector, 5) == []


def test_a_document_of_an_earlier_release_is_found_and_replaced(tmp_path):
    """It was named as its entry, which Weaviate and Qdrant do not take."""
    store = next(in_memory(tmp_path))
    vector = bag_of_words("question")
    VectorStoreCacheIndex(store).put("scope", Entry("1", "question", "{}", "old", "g", 0.0), vector)
    stored = store("scope", None).store
    [document] = stored.values()
    del document["metadata"]["costguard_id"]
    stored.clear()
    stored["1"] = document | {"id": "1"}
    index = VectorStoreCacheIndex(store)
    assert [one.entry.text for one in index.search("scope", vector, 5)] == ["old"]
    index.replace("scope", Entry("1", "question", "{}", "new", "g", 0.0))
    assert [one.entry.text for one in VectorStoreCacheIndex(store).search("scope", vector, 5)] == ["new"]
    assert uuid.UUID(*stored)
    index.delete("scope", ["1"])
    assert not stored


def test_a_store_that_fails_is_a_miss(caplog):
    def down(scope, embeddings):
        raise ConnectionError("secret-host")

    engine = SemanticEngine(VectorStoreCacheIndex(down), decide="guarded")
    assert get(engine, "where is it") is None
    assert put(engine, "where is it", "Here.") == "the index failed"
    assert "secret-host" not in caplog.text
