"""What a reviewer tried, to get a wrong answer out of ``SemanticCache``."""

import pytest
from bag_of_words import BagOfWordsEmbeddings
from chromadb import EphemeralClient
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.errors import ConfigurationError
from langchain_costguard import SemanticCache, cache_control

ASKED, REWORDED = "How do I reset my wifi router?", "how can I reset my wifi router"
MAIL = {"type": "function", "function": {"name": "mail", "parameters": {"type": "object", "properties": {}}}}


class Model(BaseChatModel):
    """Numbers its answers; ``acts``: answers with a tool call; ``says``: always the same."""

    acts: bool = False
    says: str = ""
    paid: list[int] = []

    @property
    def _llm_type(self):
        return "test"

    @property
    def _identifying_params(self):
        return {"model": "test"}

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools, **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.paid.append(1)
        message = AIMessage(self.says or f"answer {len(self.paid)}")
        if self.acts:
            message = AIMessage("", tool_calls=[{"name": "mail", "args": {}, "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=message)])


def made(index=None, **options):
    return SemanticCache(
        BagOfWordsEmbeddings(), **{"index": index or MemoryIndex(), "decide": "guarded", "threshold": 0.7, **options}
    )


def use(cache, **options):
    return Model(cache=cache, paid=[], **options)


def is_hit(answer):
    return "costguard" in answer.response_metadata


def test_a_tool_call_is_a_deed_and_is_not_repeated_for_other_words():
    model = use(made(), acts=True).bind_tools([MAIL])
    model.invoke("please mail the report")
    assert not is_hit(model.invoke("mail the report"))


def test_a_filled_in_schema_is_an_answer():
    model = use(made(), acts=True).bind_tools([MAIL], tool_choice="mail")
    model.invoke("please mail the report")
    assert is_hit(model.invoke("mail the report"))


@pytest.mark.parametrize(
    "says",
    [
        "I'm sorry, I can't help with that.",
        "Sorry, but I cannot assist with that request.",
        "I am unable to help with this.",
        "I’m sorry, but I can’t answer that.",
    ],
)
def test_a_refusal_in_words_is_not_stored(says):
    cache = made()
    model = use(cache, says=says)
    model.invoke(ASKED)
    assert not is_hit(model.invoke(ASKED))
    assert cache.stats().declined["a refusal in words"] == 2


@pytest.mark.parametrize(
    "says", ["I'm sorry to hear that. Hold the button.", "You can't help it.", "Unable to log in? Reset it."]
)
def test_what_only_looks_like_a_refusal_is(says):
    model = use(made(), says=says)
    model.invoke(ASKED)
    assert is_hit(model.invoke(REWORDED))


def test_a_refutation_holds_in_other_processes_and_after_they_wrote_down_what_they_know():
    index = MemoryIndex()
    ours, theirs = made(index), made(index)
    model = use(ours)
    wrong = model.invoke(ASKED).content
    model.cache = theirs
    assert model.invoke(REWORDED).content == wrong
    model.cache = ours
    assert ours.refute(model.invoke(REWORDED))
    model.cache = theirs
    theirs.engine.flush()  # its own knowledge, without the refutation
    assert model.invoke(REWORDED).content != wrong
    model.cache = made(index)
    assert model.invoke(REWORDED + "?").content != wrong


def test_pinning_keeps_the_answer_that_is_stored_now():
    cache = made()
    model = use(cache)
    model.invoke(ASKED)
    old = model.invoke(REWORDED)
    with cache_control(refresh=True):
        new = model.invoke(ASKED)
    assert cache.pin(old)
    assert model.invoke(REWORDED).content == new.content != old.content


def test_the_same_word_twice_counts_once():
    cache = made()
    model = use(cache)
    model.invoke(ASKED)
    hit = model.invoke(REWORDED)
    assert [cache.confirm(hit) for _ in range(50)] == [True] * 50
    assert cache.stats().confirmed == 1
    assert cache.refute(hit) and cache.refute(hit)
    assert cache.stats().refuted == 1
    assert not is_hit(model.invoke(REWORDED))


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_entries": -1}, {"max_scopes": 0}])
def test_a_size_of_nothing_is_a_mistake(options):
    with pytest.raises(ConfigurationError, match="at least 1"):
        made(**options)


@pytest.mark.parametrize("vector", [[], None, [float("nan")] * 3, [float("inf")] * 3, [1e300] * 3])
def test_one_bad_vector_does_not_take_the_index_down(vector):
    class Sometimes(BagOfWordsEmbeddings):
        def embed_query(self, text):
            return vector if "weird" in text else super().embed_query(text)

    cache = SemanticCache(Sometimes(), index=ChromaIndex(client=EphemeralClient()), decide="guarded", threshold=0.7)
    model = use(cache)
    model.invoke(ASKED)
    model.invoke("a weird question")
    assert is_hit(model.invoke(REWORDED))
    assert cache.stats().errors
    cache.clear()
