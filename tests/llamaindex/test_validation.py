"""What users hand in: wrong things are named at once, and copies, pickles and structured LLMs stay on the bill."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, Settings
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llamaindex_calls import HELLO, Person
from python_process import run_python

from costguard_core import ConfigurationError, CostGuard
from costguard_core.simulate import Simulator
from langchain_costguard import ExactCache as LangChainCache
from llamaindex_costguard import (
    CostGuardEventHandler,
    ExactCache,
    LayeredCache,
    SemanticCache,
    guard_embedding,
    guard_llm,
    install,
)

GUARD = CostGuard()
ANY: Any = None  # arguments of these tests are wrong on purpose

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a name for an LLM": (lambda: guard_llm(ANY or "gpt-4o", GUARD), "a LlamaIndex LLM, .* not a str"),
    "a class for an LLM": (lambda: guard_llm(ANY or MockLLM, GUARD), "not the class .*MockLLM"),
    "the wrong way round": (lambda: guard_llm(ANY or GUARD, ANY or MockLLM()), "not a .*CostGuard"),
    "an embedding model for an LLM": (lambda: guard_llm(ANY or _embedding(), GUARD), "use guard_embedding"),
    "an LLM for an embedding model": (lambda: guard_embedding(ANY or MockLLM(), GUARD), "use guard_llm"),
    "a name for an embedding model": (lambda: guard_embedding(ANY or "small", GUARD), "not a str"),
    "no guard": (lambda: guard_llm(MockLLM(), ANY), "a CostGuard, .* not None"),
    "a budget for a guard": (lambda: guard_embedding(_embedding(), ANY or "$1/day"), "not a str"),
    "no guard to install": (lambda: install(ANY), "not None"),
    "no guard to report to": (lambda: CostGuardEventHandler(ANY), "not None"),
    "a flag for a cache": (lambda: guard_llm(MockLLM(), GUARD, cache=ANY or True), "a bool is not a cache"),
    "LangChain's cache": (
        lambda: guard_llm(MockLLM(), GUARD, cache=ANY or LangChainCache("memory://")),
        "langchain_costguard.* is not a cache for LlamaIndex",
    ),
    "a cache of answers for vectors": (
        lambda: guard_embedding(_embedding(), GUARD, cache=ANY or ExactCache()),
        "where vectors are kept",
    ),
    "one layer, not in a list": (lambda: LayeredCache(ANY or ExactCache()), "a list of at least one layer"),
    "a URL for a layer": (lambda: LayeredCache([ANY or "memory://"]), "a str is not a cache"),
    "an unknown name for embeddings": (lambda: SemanticCache("foo"), "not known; use .* or an embedding model"),
    "no attempt": (
        lambda: guard_llm(MockLLM(), GUARD, billed_attempts=0),
        "billed_attempts=0 is not a whole number of at least 1",
    ),
}


def _embedding() -> MockEmbedding:
    return MockEmbedding(embed_dim=3)


@pytest.mark.parametrize("given", WRONG)
def test_a_wrong_argument_is_named_at_once(given: str) -> None:
    make, said = WRONG[given]
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_what_fails_to_install_leaves_nothing_behind() -> None:
    bare, foreign = MockLLM(), guard_embedding(_embedding(), CostGuard())
    before = Settings._llm, Settings._embed_model
    Settings.llm, Settings.embed_model = bare, foreign
    try:
        with pytest.raises(ConfigurationError, match="another guard's bill"):
            install(GUARD)
        assert Settings.llm is bare
        assert Settings.embed_model is foreign
    finally:
        Settings._llm, Settings._embed_model = before


def test_without_llama_index_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["llama_index"] = sys.modules["llama_index.core"] = None
import llamaindex_costguard
try:
    llamaindex_costguard.guard_llm
except ImportError as error:
    print(error)
"""
    said = run_python(program).stdout
    assert "pip install 'langchain-costguard[llamaindex]'" in said


def test_embedding_models_stay_on_the_bill_when_copied_and_pickled(make_embedding: Any) -> None:
    guard = CostGuard(["1000 requests/day"])
    model = guard_embedding(make_embedding(), guard, cache=None)
    model.get_text_embedding("makes its client")
    # The clients of these hold locks, which cannot be pickled; LlamaIndex then leaves them out, of the copy.
    mock = guard_embedding(MockEmbedding(embed_dim=3), guard, cache=None)
    copies = [copy.copy(model), model.model_copy(), copy.copy(mock), copy.deepcopy(mock)]
    copies += [pickle.loads(pickle.dumps(mock)), mock]
    for number, copied in enumerate(copies, start=2):
        copied.get_text_embedding("hello")
        assert guard.status()[0].spent == number


def test_a_pickled_embedding_model_without_its_guard_says_so() -> None:
    pickled = pickle.dumps(guard_embedding(_embedding(), CostGuard()))
    lost = pickle.loads(pickled)
    for use in (lambda: lost.get_text_embedding("hello"), lambda: lost.get_query_embedding("hello"), lost._get_client):
        with pytest.raises(ConfigurationError, match="CostGuard with store='memory://' cannot be pickled"):
            use()
    with pytest.raises(ConfigurationError):
        pickle.dumps(lost)


def test_an_ingestion_pipeline_pays_once(make_embedding: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["1000 requests/day"])
    model = guard_embedding(make_embedding(), guard)
    documents = [Document(text=f"document {number}", id_=str(number)) for number in range(3)]
    for _ in range(2):
        pipeline = IngestionPipeline(transformations=[SentenceSplitter(), model], disable_cache=True)
        assert len(pipeline.run(documents=documents)) == 3
    assert guard.status()[0].spent == openai_server.count == 1


@pytest.mark.parametrize("guarded_before", [False, True])
async def test_a_structured_llm_gives_objects_from_the_cache_too(
    guarded_before: bool, make_openai: Any, openai_server: Simulator
) -> None:
    guard = CostGuard(["1000 requests/day"])
    inner = guard_llm(make_openai(), guard) if guarded_before else make_openai()
    llm = guard_llm(inner.as_structured_llm(Person), guard, cache="memory://")
    first = llm.chat(HELLO).raw
    assert isinstance(first, Person)
    assert llm.chat(HELLO).raw == first
    assert (await llm.achat([ChatMessage(role="user", content="hi there")])).raw == first
    assert openai_server.count == guard.status()[0].spent == 1
