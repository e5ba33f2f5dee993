"""``SemanticCache`` as LangChain uses it: same question in other words, and never across what must be equal."""

import asyncio
import pickle

import pytest
from bag_of_words import BagOfWordsEmbeddings
from langchain_core.caches import BaseCache
from langchain_core.language_models import FakeListLLM
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.cache.semantic.index.memory import MemoryIndex
from langchain_costguard import (
    CachePolicy,
    ExactCache,
    GuardedChatModel,
    LayeredCache,
    SemanticCache,
    TieredRouter,
    VectorStoreCacheIndex,
    cache_control,
)

PASSWORD, REWORDED, OTHER = (
    "How do I reset my password?",
    "how can I reset my password please",
    "how can I reset your password",
)


class Echo(FakeListChatModel):
    """Answers with the question, so that a wrong hit shows."""

    flavour: str = "plain"
    temperature: float | None = None

    def _call(self, messages, *args, **kwargs):
        return f"answer to: {messages[-1].content}"

    @property
    def _identifying_params(self):
        return {"flavour": self.flavour, "temperature": self.temperature}


def made(**options):
    return SemanticCache(
        BagOfWordsEmbeddings(), **{"index": MemoryIndex(), "decide": "guarded", "threshold": 0.7, **options}
    )


def echo(cache, **options):
    return Echo(responses=["unused"], cache=cache, **options)


@pytest.fixture
def cache():
    return made()


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, tmp_path) -> BaseCache:
        found = SemanticCache(BagOfWordsEmbeddings(), path=tmp_path)
        yield found
        found.close()


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, tmp_path) -> BaseCache:
        found = SemanticCache(BagOfWordsEmbeddings(), path=tmp_path)
        yield found
        found.close()


def test_other_words_get_the_same_answer_marked_and_fresh(cache):
    model = echo(cache)
    first = model.invoke(PASSWORD)
    hit = model.invoke(REWORDED)
    assert hit.content == first.content
    mark = hit.response_metadata["costguard"]
    assert mark["cache"] == "semantic"
    assert 0.7 <= mark["similarity"] <= 1
    assert hit.id != first.id
    hit.response_metadata.clear()
    assert model.invoke(REWORDED).response_metadata["costguard"]


async def test_native_async(cache):
    model = echo(cache)
    await model.ainvoke(PASSWORD)
    hits = await asyncio.gather(*(model.ainvoke(REWORDED) for _ in range(5)))
    assert {hit.content for hit in hits} == {f"answer to: {PASSWORD}"}


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"flavour": "other"}},
        {"model": {"temperature": 0.5}},
        {"system": "You are a pirate."},
        {"tenant": "b"},
        {"call": {"stop": ["x"]}},
        {"call": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}},
        {"call": {"response_format": {"type": "json_object"}}},
        {"embeddings": "bag-other"},
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values()))),
)
def test_whatever_else_differs_is_another_cache(change):
    index = MemoryIndex()

    def ask(question, *, model=None, system="Be kind.", tenant="a", call=None, embeddings="bag-256"):
        cache = SemanticCache(BagOfWordsEmbeddings(embeddings), index=index, decide="guarded", threshold=0.7)
        with attribute(tenant=tenant):
            messages = [SystemMessage(system), HumanMessage(question)]
            return echo(cache, **(model or {})).invoke(messages, **(call or {})).content

    assert ask(PASSWORD) == f"answer to: {PASSWORD}"
    assert ask(REWORDED) == f"answer to: {PASSWORD}"
    assert ask(REWORDED, **change) == f"answer to: {REWORDED}"


def test_only_the_question_is_embedded(cache):
    echo(cache).invoke([SystemMessage("Rules " * 200), HumanMessage(PASSWORD)])
    assert cache.vectors.embedder.embeddings.calls == [PASSWORD]


def laptop(question):
    return [HumanMessage("Tell me about the laptop"), AIMessage("It is light."), HumanMessage(question)]


def tent(question):
    return [HumanMessage("Tell me about the tent"), AIMessage("It is green."), HumanMessage(question)]


def test_conversations_are_left_alone_by_default(cache):
    model = echo(cache)
    model.invoke(laptop("How much does it cost?"))
    assert "costguard" not in model.invoke(laptop("How much does it cost?")).response_metadata
    assert cache.stats().declined == {"a conversation (history=True to allow)": 4}


def test_with_history_the_history_must_be_equal():
    model = echo(made(history=True))
    model.invoke(laptop("How much does it cost?"))
    assert "costguard" in model.invoke(laptop("how much does it cost then?")).response_metadata
    assert "costguard" not in model.invoke(tent("How much does it cost?")).response_metadata
    assert "costguard" not in model.invoke(laptop("Is it waterproof?")).response_metadata


def agent_turn(last):
    call = AIMessage("", tool_calls=[{"name": "look", "args": {"q": "x"}, "id": "1"}])
    return [HumanMessage(PASSWORD), call, ToolMessage("found", tool_call_id="1"), *last]


@pytest.mark.parametrize("last", [[], [HumanMessage(PASSWORD)]], ids=["tool result", "question after tools"])
def test_agents_turns_never_hit(last):
    model = echo(made(history=True))
    for _ in range(2):
        assert "costguard" not in model.invoke(agent_turn(last)).response_metadata


RAG = "Use the context.\nContext: {context}\nQuestion: {question}\nAnswer:"


def test_retrieved_context_is_not_the_question_and_must_be_equal(cache):
    model = echo(cache)
    model.invoke(RAG.format(context="Doors open at nine.", question=PASSWORD))
    assert cache.vectors.embedder.embeddings.calls == [PASSWORD]
    assert "costguard" in model.invoke(RAG.format(context="Doors open at nine.", question=REWORDED)).response_metadata
    other = model.invoke(RAG.format(context="Doors open at ten.", question=REWORDED))
    assert "costguard" not in other.response_metadata


def test_documents_and_pictures_are_left_alone(cache):
    model = echo(cache)
    model.invoke("word " * 100)
    model.invoke("Compare the offers.\n\nPlan the work before you start.")
    model.invoke(
        [HumanMessage([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "u"}}])]
    )
    assert set(cache.stats().declined) == {"the prompt is more than a question", "the last message is not only text"}
    assert cache.vectors.embedder.embeddings.calls == []


def test_completion_models_too(cache):
    model = FakeListLLM(responses=["one", "two", "three"], cache=cache)
    assert model.invoke(PASSWORD) == "one"
    assert model.invoke(REWORDED) == "one"
    assert model.invoke("Human: hello\nAI: hi\nHuman: " + PASSWORD) == "two"
    assert model.invoke("Human: hello\nAI: hi\nHuman: " + REWORDED) == "three"


def test_the_policy_holds(cache):
    model = echo(cache)
    for question in ("Where is my order?", "What is the weather in Rome today?"):
        model.invoke(question)
        assert "costguard" not in model.invoke(question).response_metadata
    with cache_control(no_cache=True):
        model.invoke(PASSWORD)
    assert "costguard" not in model.invoke(PASSWORD).response_metadata


def test_refuting_takes_the_message_that_was_served(cache):
    model = echo(cache)
    model.invoke(PASSWORD)
    hit = model.invoke(REWORDED)
    assert cache.confirm(hit)
    assert cache.refute(hit)
    assert model.invoke(REWORDED).content == f"answer to: {REWORDED}"
    assert not cache.refute(AIMessage("never served"))


def test_explain_says_why(cache):
    model = echo(cache)
    model.invoke(PASSWORD)
    assert cache.explain(model, [HumanMessage(REWORDED)]).hit
    verdict = cache.explain(model, [HumanMessage(OTHER)])
    assert not verdict.hit
    assert "whose" in verdict.reason
    assert cache.stats().hits == 0
    first, *near = str(verdict).splitlines()
    assert first == f"miss: {verdict.reason}"
    assert any(PASSWORD in line for line in near)


def test_a_guarded_model_is_seeded_and_explained_as_the_model_that_it_asks(cache):
    model = GuardedChatModel(FakeListChatModel(responses=["paid"]), CostGuard(), cache=cache)
    assert cache.seed({PASSWORD: "In Settings."}, model) == 1
    assert cache.explain(model, [HumanMessage(PASSWORD)]).hit
    assert model.invoke(PASSWORD).content == "In Settings."


def test_a_router_is_seeded_and_explained_as_the_tiers_that_answer(cache):
    models = {name: Echo(responses=["unused"], flavour=name) for name in ("cheap", "strong")}
    router = TieredRouter(
        **models, guard=CostGuard(), cache=cache, score=lambda one: float("please" in one.text), threshold=1
    )
    seeded = cache.seed({PASSWORD: "In Settings.", "Where is my parcel?": "On its way."}, router)
    assert seeded == 1
    assert list(seeded.declined) == ["Where is my parcel?"]
    served = [router.invoke(text) for text in (PASSWORD, REWORDED)]
    assert [(one.response_metadata["costguard"]["route"]["tier"], one.content) for one in served] == [
        ("cheap", "In Settings."),
        ("strong", "In Settings."),
    ]
    assert cache.explain(router, [HumanMessage(REWORDED)]).hit
    assert cache.explain(router, REWORDED).hit


def test_an_faq_starts_warm(cache):
    model = echo(cache)
    before = [SystemMessage("Be kind.")]
    assert cache.seed({PASSWORD: "In Settings."}, model, before=before) == 1
    assert model.invoke([*before, HumanMessage(REWORDED)]).content == "In Settings."


def test_seed_says_what_it_did_not_store_and_why(cache, caplog):
    seeded = cache.seed({PASSWORD: "In Settings.", "Where is my parcel?": "On its way.", REWORDED: " "}, echo(cache))
    assert seeded == 1
    personal = "a personal question, and the scope does not include the user"
    assert dict(seeded.declined) == {"Where is my parcel?": personal, REWORDED: "the answer is empty"}
    assert "not 'Where is my parcel?': " in repr(seeded)
    assert "2 of 3 written answers were not stored" in caplog.text
    assert "parcel" not in caplog.text
    assert pickle.loads(pickle.dumps(seeded)).declined == seeded.declined
    with pytest.raises(ConfigurationError, match="questions to answers"):
        cache.seed({PASSWORD: None}, echo(cache))


def test_guarded_models_serve_semantic_hits_in_streams_and_record_them(cache):
    guard = CostGuard()
    model = GuardedChatModel(Echo(responses=["x"]), guard, cache=LayeredCache([ExactCache(), cache]))
    model.invoke(PASSWORD)
    assert "".join(chunk.content for chunk in model.stream(REWORDED)) == f"answer to: {PASSWORD}"
    assert guard.report().total.hits == 1
    assert cache.stats().hits == 1


def test_a_semantic_hit_is_not_copied_into_the_exact_cache_so_that_refuting_works(cache):
    for model in (
        echo(LayeredCache([ExactCache(), cache])),
        GuardedChatModel(Echo(responses=["x"]), CostGuard(), cache=LayeredCache([ExactCache(), made()])),
    ):
        layers = model.cache.layers if not isinstance(model, GuardedChatModel) else model.answer_cache.layers
        model.invoke(PASSWORD)
        hit = model.invoke(REWORDED)
        assert hit.response_metadata["costguard"]["cache"] == "semantic"
        assert model.invoke(PASSWORD).response_metadata["costguard"]["cache"] == "exact"
        assert layers[1].refute(hit)
        assert model.invoke(REWORDED).content == f"answer to: {REWORDED}"


class Failing(BagOfWordsEmbeddings):
    def embed_query(self, text):
        raise ConnectionError


async def test_embeddings_that_fail_cost_nothing():
    cache = SemanticCache(Failing(), index=MemoryIndex(), decide="guarded")
    model = echo(cache)
    assert model.invoke(PASSWORD).content == f"answer to: {PASSWORD}"
    assert (await model.ainvoke(PASSWORD)).content == f"answer to: {PASSWORD}"
    assert cache.stats().errors >= 2


def test_embeddings_are_on_the_bill_of_the_guard_once_each(tmp_path):
    guard = CostGuard(prices={"bag-256": {"input": "1", "output": "1"}}, ledger=f"sqlite:///{tmp_path}/bill.db")
    cache = made(guard=guard)
    model = echo(cache)
    for question in (PASSWORD, REWORDED, PASSWORD):
        model.invoke(question)
    guard.flush()
    total = guard.report().total
    assert total.calls == len(cache.vectors.embedder.embeddings.calls) == 2
    assert total.cost > 0
    guard.close()


def test_embeddings_beyond_the_budget_are_not_made_and_the_answer_is_paid():
    guard = CostGuard(budgets=["1 requests/hour"], prices={"bag-256": {"input": "1", "output": "1"}})
    cache = made(guard=guard)
    model = echo(cache)
    model.invoke(PASSWORD)
    assert model.invoke(REWORDED).content == f"answer to: {REWORDED}"
    assert cache.vectors.embedder.embeddings.calls == [PASSWORD]


def in_memory(scope, embeddings):
    return InMemoryVectorStore(embeddings)


def chroma(scope, embeddings):
    import chromadb
    from langchain_chroma import Chroma

    return Chroma(f"c{scope[:20]}", embeddings, client=chromadb.EphemeralClient())


@pytest.mark.parametrize("store", [in_memory, chroma])
async def test_over_any_vector_store(store):
    cache = made(index=VectorStoreCacheIndex(store))
    model = echo(cache)
    model.invoke(PASSWORD)
    assert model.invoke(REWORDED).content == f"answer to: {PASSWORD}"
    assert (await model.ainvoke(REWORDED)).content == f"answer to: {PASSWORD}"
    assert model.invoke(OTHER).content == f"answer to: {OTHER}"
    assert model.invoke([SystemMessage("other"), HumanMessage(REWORDED)]).content == f"answer to: {REWORDED}"
    assert len(cache.vectors.embedder.embeddings.calls) == 3
    cache.clear()
    assert "costguard" not in model.invoke(PASSWORD).response_metadata


def test_tags_and_tenants_invalidate():
    cache = made(policy=CachePolicy())
    model = echo(cache)
    with attribute(tenant="a", documents=("faq-7",)):
        model.invoke(PASSWORD)
        assert cache.invalidate(document="faq-7", tenant="a") == 1
        assert "costguard" not in model.invoke(PASSWORD).response_metadata
