"""``SemanticCache`` in LlamaIndex: same question in other words, and never across what must be equal."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.agent.workflow import CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage, CompletionResponse, ImageBlock, TextBlock
from llamaindex_calls import SECRET, Person, add_tool, agent_reply
from llamaindex_embeddings import BagOfWordsEmbeddings
from python_process import run_python

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.cache.semantic.comparator.comparator import Comparison
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.simulate import Simulator
from langchain_costguard import VectorStoreCacheIndex
from llamaindex_costguard import ExactCache, LayeredCache, SemanticCache, TieredRouter, cache_control, guard_llm
from llamaindex_costguard.llm.guarded import guarding_of

PASSWORD, REWORDED, OTHER = (
    "How do I reset my password?",
    "how can I reset my password please",
    "how can I reset your password",
)


class Failing(BagOfWordsEmbeddings):
    def _get_query_embedding(self, query: str) -> list[float]:
        raise ConnectionError


def made(embeddings: Any = None, **options: Any) -> SemanticCache:
    given = {"index": MemoryIndex(), "decide": "guarded", "threshold": 0.7, **options}
    return SemanticCache(embeddings or BagOfWordsEmbeddings(model_name="bag-256"), **given)


def echo(body: Any) -> str | None:
    """The simulated provider answers with the question, so that a wrong hit shows."""
    if body.get("tools") or body.get("response_format"):
        return None
    said = body["messages"][-1]["content"]
    return f"answer to: {said if isinstance(said, str) else said[-1].get('text')}"


@pytest.fixture
def server(openai_server: Simulator) -> Simulator:
    openai_server.reply = echo
    return openai_server


@pytest.fixture
def cache() -> SemanticCache:
    return made()


@pytest.fixture
def make(make_openai: Any, server: Simulator) -> Any:
    return lambda cache, guard=None, **options: guard_llm(make_openai(**options), guard or CostGuard(), cache=cache)


def ask(text: str, *before: ChatMessage) -> list[ChatMessage]:
    return [*before, ChatMessage(role="user", content=text)]


def says(role: str, text: str) -> ChatMessage:
    return ChatMessage(role=role, content=text)


def mark(response: Any) -> dict[str, Any]:
    return response.additional_kwargs.get("costguard", {})


def test_other_words_get_the_same_answer_marked_and_fresh(make: Any, cache: SemanticCache, server: Simulator) -> None:
    llm = make(cache)
    first = llm.chat(ask(PASSWORD))
    hit = llm.chat(ask(REWORDED))
    assert hit.message.content == first.message.content
    assert mark(hit)["cache"] == "semantic"
    assert 0.7 <= mark(hit)["similarity"] <= 1
    assert float(mark(hit)["saved_usd"]) > 0
    hit.message.blocks.clear()
    hit.additional_kwargs.clear()
    assert mark(llm.chat(ask(REWORDED)))["cache"] == "semantic"
    assert "costguard" not in llm.chat(ask(OTHER)).additional_kwargs
    assert server.count == 2


def test_a_vector_store_of_langchain_holds_the_entries(make: Any, server: Simulator) -> None:
    stores: dict[str, InMemoryVectorStore] = {}

    def open_store(scope: str, embeddings: Embeddings) -> InMemoryVectorStore:
        return stores.setdefault(scope, InMemoryVectorStore(embeddings))

    cache = made(index=VectorStoreCacheIndex(open_store))
    paid = make(cache).chat(ask(PASSWORD))
    cache.close()
    assert sum(len(store.store) for store in stores.values()) == 1
    other_process = make(made(index=VectorStoreCacheIndex(open_store)))
    hit = other_process.chat(ask(REWORDED))
    assert (hit.message.content, mark(hit)["cache"]) == (paid.message.content, "semantic")
    assert "costguard" not in other_process.chat(ask(OTHER)).additional_kwargs
    assert server.count == 2


async def test_every_way_to_ask_is_served(make: Any, cache: SemanticCache, server: Simulator) -> None:
    llm = make(cache)
    about = PromptTemplate("Answer kindly: {query_str}")
    llm.chat(ask(PASSWORD))
    llm.complete(PASSWORD)
    llm.predict(about, query_str=PASSWORD)
    server.service.requests.clear()
    assert (await llm.achat(ask(REWORDED))).message.content == f"answer to: {PASSWORD}"
    assert [chunk.delta for chunk in llm.stream_chat(ask(REWORDED))] == [f"answer to: {PASSWORD}"]
    assert [chunk.delta async for chunk in await llm.astream_chat(ask(REWORDED))] == [f"answer to: {PASSWORD}"]
    assert llm.complete(REWORDED).text == f"answer to: {PASSWORD}"
    assert (await llm.acomplete(REWORDED)).text == f"answer to: {PASSWORD}"
    assert await llm.apredict(about, query_str=REWORDED) == f"answer to: Answer kindly: {PASSWORD}"
    assert "".join(llm.stream(about, query_str=REWORDED)) == f"answer to: Answer kindly: {PASSWORD}"
    hits = await asyncio.gather(*(llm.achat(ask(REWORDED)) for _ in range(5)))
    assert {hit.message.content for hit in hits} == {f"answer to: {PASSWORD}"}
    assert not server.requests


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-4o"},
        {"temperature": 0.5},
        {"system": "You are a pirate."},
        {"tenant": "b"},
        {"call": {"stop": ["x"]}},
        {"call": {"response_format": {"type": "json_object"}}},
        {"embeddings": "bag-other"},
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values()))),
)
def test_whatever_else_differs_is_another_cache(change: dict[str, Any], make: Any, server: Simulator) -> None:
    index = MemoryIndex()
    server.reply = lambda body: f"answer to: {body['messages'][-1]['content']}"

    def answered(
        question: str, *, system: str = "Be kind.", tenant: str = "a", call: Any = None, **options: Any
    ) -> Any:
        cache = made(BagOfWordsEmbeddings(model_name=options.pop("embeddings", "bag-256")), index=index)
        with attribute(tenant=tenant):
            return make(cache, **options).chat(ask(question, says("system", system)), **(call or {})).message.content

    assert answered(PASSWORD) == f"answer to: {PASSWORD}"
    assert answered(REWORDED) == f"answer to: {PASSWORD}"
    assert answered(REWORDED, **change) == f"answer to: {REWORDED}"


def engine(llm: Any, *pages: str, **options: Any) -> Any:
    index = VectorStoreIndex.from_documents([Document(text=page) for page in pages], embed_model=MockEmbedding(4))
    return index.as_query_engine(llm=llm, **options)


HOURS, CHANGED = "Passwords are reset in Settings.", "Passwords are reset by the help desk."


def test_only_the_question_of_a_rag_prompt_is_embedded_and_all_else_must_be_equal(
    make: Any, cache: SemanticCache, server: Simulator
) -> None:
    guard = CostGuard()
    llm = make(cache, guard)
    first = str(engine(llm, HOURS).query(PASSWORD))
    assert cache.vectors.embedder.model._calls == [PASSWORD]
    assert str(engine(llm, HOURS).query(REWORDED)) == first
    assert server.count == 1
    assert REWORDED in str(engine(llm, CHANGED).query(REWORDED))  # same question, other context
    assert OTHER in str(engine(llm, HOURS).query(OTHER))  # same context, other question
    assert server.count == 3
    template = PromptTemplate("Say it in verse.\n{context_str}\n{query_str}")
    assert REWORDED in str(engine(llm, HOURS, text_qa_template=template).query(REWORDED))  # other template
    assert server.count == 4
    guard.flush()
    assert [event.outcome.value for event in guard.ledger.events() if event.kind == "chat"] == [
        "miss",
        "semantic",
        "miss",
        "miss",
        "miss",
    ]


def test_a_context_that_holds_the_question_is_still_context(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    template = PromptTemplate("{query_str}\n{context_str}")  # the last place of the question is in the context
    for page in ("{} See Settings.", "{} See the help desk."):
        for question in (PASSWORD, REWORDED):
            answer = llm.predict(template, query_str=question, context_str=page.format(question))
            assert question in answer
    assert cache.stats().hits == 0


def test_a_template_that_is_filled_with_a_document_is_not_asked_semantically(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    template = PromptTemplate("{context_str}. Give three keywords.")
    for thing in ("An oak chair with a red cushion", "An oak table with a red cushion"):
        assert thing in str(llm.predict(template, context_str=thing))
    assert cache.stats().declined == {"a template without a question": 2}
    whole = PromptTemplate(PASSWORD)  # nothing is filled in: all of it is the question
    assert llm.predict(whole) == llm.predict(PromptTemplate(REWORDED))


async def test_a_written_answer_is_served_as_a_models(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    assert cache.seed({PASSWORD: "In Settings."}, llm) == 1
    assert (await llm.achat(ask(REWORDED))).message.content == "In Settings."
    seeded = cache.seed({"Where is my parcel?": "On its way."}, llm)
    assert seeded == 0
    assert list(seeded.declined) == ["Where is my parcel?"]


def test_conversations_are_left_alone_by_default_and_else_their_history_must_be_equal(
    make: Any, cache: SemanticCache
) -> None:
    def about(thing: str, question: str) -> list[ChatMessage]:
        return ask(question, says("user", f"Tell me about the {thing}"), says("assistant", "It is light."))

    llm = make(cache)
    for _ in range(2):
        assert not mark(llm.chat(about("laptop", "How much does it cost?")))
    assert cache.stats().declined == {"a conversation (history=True to allow)": 2}
    llm = make(made(history=True))
    llm.chat(about("laptop", "How much does it cost?"))
    assert mark(llm.chat(about("laptop", "how much does it cost then?")))["cache"] == "semantic"
    assert not mark(llm.chat(about("tent", "How much does it cost?")))
    assert not mark(llm.chat(about("laptop", "Is it waterproof?")))


@pytest.mark.parametrize("kind", [FunctionAgent, ReActAgent, CodeActAgent])
async def test_agents_never_hit(kind: Any, make: Any, server: Simulator) -> None:
    cache = made(history=True)
    llm = make(cache)
    server.reply = agent_reply
    options = {"code_execute_fn": lambda code: code} if kind is CodeActAgent else {}
    for question in ("please add 3 and 3", "please add 3 and 3 now"):
        await kind(tools=[add_tool()], llm=llm, **options).run(question)
    stats = cache.stats()
    assert (stats.hits, stats.stored) == (0, 0)
    assert set(stats.declined) <= {"tools are offered", "an agent's turn", "the last message is not a person's"}
    assert sum(stats.declined.values()) == server.count


def test_documents_pictures_and_tools_are_left_alone(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    picture = ImageBlock(image=b"\x89PNG\r\n\x1a\n" + b"\x00" * 16)
    for _ in range(2):
        llm.chat([ChatMessage(role="user", blocks=[TextBlock(text=PASSWORD), picture])])
        llm.chat(ask("word " * 65))
        llm.chat(ask("One paragraph.\n\nAnother one."))
        llm.chat_with_tools([add_tool()], user_msg=PASSWORD)
    stats = cache.stats()
    assert (stats.hits, stats.stored) == (0, 0)
    assert stats.declined == {
        "the last message is not only text": 2,
        "the prompt is more than a question": 4,
        "tools are offered": 2,
    }


def test_objects_are_cached_by_their_class(make: Any, cache: SemanticCache, server: Simulator) -> None:
    llm = make(cache)
    first = llm.structured_predict(Person, PromptTemplate("{query_str}"), query_str="Who wrote Emma?")
    again = llm.structured_predict(Person, PromptTemplate("{query_str}"), query_str="Emma: who wrote it?")
    assert (again, server.count) == (first, 1)

    class Author(Person):
        """An author."""

    llm.structured_predict(Author, PromptTemplate("{query_str}"), query_str="Emma: who wrote it?")
    assert server.count == 2


def test_the_policy_holds(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    for question in ("Where is my order?", "What is the weather in Rome today?"):
        llm.chat(ask(question))
        assert not mark(llm.chat(ask(question)))
    with cache_control(no_cache=True):
        llm.chat(ask(PASSWORD))
    assert not mark(llm.chat(ask(PASSWORD)))


async def test_feedback_explanations_and_care(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    llm.chat(ask(PASSWORD))
    hit = llm.chat(ask(REWORDED))
    assert cache.explain(llm, ask(REWORDED)).hit
    assert "whose" in cache.explain(llm, ask(OTHER)).reason
    assert cache.explain(llm, ask("a\n\nb")).reason == "the prompt is more than a question"
    assert cache.confirm(hit)
    assert cache.pin(mark(hit)["hit"])
    assert cache.refute(hit)
    assert not cache.refute(llm.chat(ask(OTHER)))
    assert llm.chat(ask(REWORDED)).message.content == f"answer to: {REWORDED}"
    with attribute(documents=("faq-7",)):
        llm.chat(ask("Where are the keys kept?"))
    assert cache.invalidate(document="faq-7") == 1
    assert await cache.ainvalidate(document="faq-7") == 0
    assert cache.purge() == 0
    await cache.aclear()
    assert not mark(llm.chat(ask(PASSWORD)))


def test_an_faq_starts_warm(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    kind = says("system", "Be kind.")
    assert cache.seed({PASSWORD: "In Settings."}, llm, before=[kind]) == 1
    assert llm.chat(ask(REWORDED, kind)).message.content == "In Settings."


async def test_a_written_answer_is_served_to_complete_as_a_completion(make: Any, cache: SemanticCache) -> None:
    llm = make(cache)
    assert cache.seed({PASSWORD: "In Settings."}, llm) == 1
    served = [llm.complete(REWORDED), await llm.acomplete(PASSWORD), *llm.stream_complete(REWORDED)]
    assert {(type(one), one.text) for one in served} == {(CompletionResponse, "In Settings.")}
    assert cache.explain(llm, REWORDED).hit
    assert not cache.explain(llm, "Where are the keys kept?").hit


def test_a_router_is_seeded_and_explained_as_the_tiers_that_answer(make_openai: Any, cache: SemanticCache) -> None:
    models = {"cheap": make_openai(), "strong": make_openai("gpt-4o")}
    router = TieredRouter(
        **models, guard=CostGuard(), cache=cache, score=lambda one: float("please" in one.text), threshold=1
    )
    seeded = cache.seed({PASSWORD: "In Settings.", "Where is my parcel?": "On its way."}, router)
    assert seeded == 1
    assert list(seeded.declined) == ["Where is my parcel?"]
    served = [router.chat(ask(text)) for text in (PASSWORD, REWORDED)]
    assert [(mark(one)["route"]["tier"], one.message.content) for one in served] == [
        ("cheap", "In Settings."),
        ("strong", "In Settings."),
    ]
    assert router.complete(REWORDED).text == "In Settings."
    assert cache.explain(router, ask(REWORDED)).hit
    assert cache.explain(router, REWORDED).hit


async def test_layers_share_a_request_and_a_semantic_hit_stays_refutable(
    make: Any, cache: SemanticCache, server: Simulator
) -> None:
    guard = CostGuard()
    layered = LayeredCache([ExactCache(), ExactCache(), cache])
    llm = make(layered, guard)
    await asyncio.gather(*(llm.achat(ask(PASSWORD)) for _ in range(4)))
    assert server.count == 1  # identical ones at the same time wait for each other
    hit = llm.chat(ask(REWORDED))
    assert mark(hit)["cache"] == "semantic"
    assert mark(llm.chat(ask(PASSWORD)))["cache"] == "exact"
    assert cache.refute(hit)
    assert llm.chat(ask(REWORDED)).message.content == f"answer to: {REWORDED}"
    layered.layers[0].clear()
    assert mark(await llm.achat(ask(PASSWORD)))["cache"] == "exact"
    assert layered.layers[0].stats().stored == 3  # filled again from the second
    guard.flush()
    outcomes = [event.outcome.value for event in guard.ledger.events() if event.kind == "chat"]
    assert sorted(outcomes) == ["coalesced"] * 3 + ["exact"] * 2 + ["miss"] * 2 + ["semantic"]
    with pytest.raises(ConfigurationError, match="at least one layer"):
        LayeredCache([])


async def test_embeddings_that_fail_cost_nothing(make: Any, server: Simulator) -> None:
    cache = made(Failing())
    llm = make(cache)
    assert llm.chat(ask(PASSWORD)).message.content == f"answer to: {PASSWORD}"
    assert (await llm.achat(ask(PASSWORD))).message.content == f"answer to: {PASSWORD}"
    assert cache.stats().errors >= 2


def test_embeddings_are_on_the_bill_once_each_and_a_router_binds_them_too(make_openai: Any, server: Simulator) -> None:
    guard = CostGuard(prices={"bag-256": {"input": "1", "output": "1"}})
    cache = made()
    router = TieredRouter(
        cheap=make_openai(),
        strong=make_openai("gpt-4o"),
        guard=guard,
        cache=cache,
        score=lambda request: 0,
        threshold=1,
    )
    router.chat(ask(PASSWORD))
    hit = router.chat(ask(REWORDED))
    assert mark(hit)["cache"] == "semantic"
    assert mark(hit)["route"]["tier"] == "cheap"
    guard.flush()
    events = list(guard.ledger.events())
    assert [event.model for event in events if event.kind == "embedding"] == ["bag-256"] * 2
    assert guarding_of(router.models["strong"]).cache is cache


def test_chroma_on_disk_holds_across_processes_and_no_secret(make: Any, tmp_path: Path, server: Simulator) -> None:
    first = made("wordllama", index=None, path=tmp_path / "chroma")
    make(first).chat(ask(PASSWORD))
    first.close()
    second = made("wordllama", index=None, path=tmp_path / "chroma")
    assert mark(make(second).chat(ask(REWORDED)))["cache"] == "semantic"
    second.close()
    assert server.count == 1
    assert "wordllama" in repr(second)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written


def test_embeddings_that_nobody_knows_are_said() -> None:
    with pytest.raises(ConfigurationError, match="not known"):
        SemanticCache("my-model", index=MemoryIndex())
    with pytest.raises(ConfigurationError, match="of the class BaseEmbedding, not a int"):
        SemanticCache(3, index=MemoryIndex())  # type: ignore[arg-type]


@pytest.mark.slow
def test_importing_loads_neither_langchain_nor_chroma_nor_weights() -> None:
    names = "guard_llm, TieredRouter, SemanticCache, LayeredCache, install"
    code = f"import sys; from llamaindex_costguard import {names}; print(*sys.modules)"
    done = run_python(code)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "llama_index" in loaded
    assert not loaded & {"chromadb", "wordllama", "onnxruntime", "langchain_costguard", "redis", "psycopg"}


def test_a_slow_comparator_keeps_nobody_waiting(server: Simulator, make_llm: Any) -> None:
    entered, release = threading.Event(), threading.Event()

    def judge(a: str, b: str) -> Comparison:
        entered.set()
        assert release.wait(60)
        return Comparison(a == b, 1.0, "judged")

    judge.slow = True  # type: ignore[attr-defined]
    cache = made(decide="calibrated", compare=judge)
    llm = guard_llm(make_llm(), CostGuard(), cache=cache)
    llm.chat([ChatMessage(content=PASSWORD)])
    cache.writer.wait()
    assert llm.chat([ChatMessage(content=REWORDED)]).message.content  # while the judge has not said a word
    assert entered.wait(60)
    release.set()
    cache.close()
    assert cache.stats().stored == 2
