"""``decide="verified"`` with a chat model: on the guard's bill, and savings net of it."""

from typing import ClassVar

import pytest
from bag_of_words import BagOfWordsEmbeddings
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache.semantic.index.memory import MemoryIndex
from langchain_costguard import GuardedChatModel, SemanticCache, TieredRouter

STORED, ASKED = "How do I reset my password?", "How do I reset my old mail password?"
USAGE = {"input_tokens": 1_000, "output_tokens": 1, "total_tokens": 1_001}


class Model(FakeListChatModel):
    """Says what it is told to, and reports usage."""

    model_name: str = "big"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        text = self.responses[0]
        message = AIMessage(text, usage_metadata=USAGE, response_metadata={"model_name": self.model_name})
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def _identifying_params(self):
        return {"model_name": self.model_name}


@pytest.fixture
def seen():
    return []


@pytest.fixture
def guard(seen):
    prices = {"big": {"input": "1.00", "output": "1.00"}, "small": {"input": "0.10", "output": "1.00"}}
    return CostGuard(prices=prices, hooks=[seen.append])


def cache_of(guard, reply):
    small = Model(responses=[reply], model_name="small")
    cache = SemanticCache(
        BagOfWordsEmbeddings(), index=MemoryIndex(), decide="verified", verify=small, guard=guard, audit=0.0
    )
    cache.engine.evidence.model.weights[0] += 3.0  # the estimate puts the pair where a yes decides
    cache.engine.evidence.verifier._audits_without_error = 10**9
    return cache


def test_a_confirmed_hit_saves_what_is_left_after_the_verifier(guard, seen):
    model = GuardedChatModel(Model(responses=["In Settings."]), guard, cache=cache_of(guard, "[1]"))
    model.invoke(STORED)
    hit = model.invoke(ASKED)
    assert hit.text == "In Settings."
    assert hit.response_metadata["costguard"]["saved_usd"] == "0.0009"
    chats = [one for one in seen if one.kind == "chat"]
    assert [(one.attribution.endpoint, one.outcome.value, one.cost, one.saved) for one in chats] == [
        (None, "miss", 1_001_000, 0),
        ("costguard/verify", "miss", 101_000, 0),
        (None, "semantic", 0, 900_000),
    ]


def test_a_verifier_is_a_run_that_only_metering_handlers_hear_of(guard, seen):
    class Heard(BaseCallbackHandler):
        models: ClassVar[list[str]] = []

        def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs):
            self.models.append(metadata["ls_model_name"])

    tiers = {"cheap": Model(responses=["In Settings."]), "strong": Model(responses=["In Settings."])}
    router = TieredRouter(**tiers, score=lambda request: 0.0, threshold=0.5, guard=guard, cache=cache_of(guard, "[1]"))
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | router
    for question in (STORED, ASKED):
        chain.invoke({"question": question}, {"callbacks": [Heard()], "metadata": {"user_id": "u1"}})
    assert "small" not in Heard.models
    [verified] = [one for one in seen if one.attribution.endpoint == "costguard/verify"]
    assert (verified.attribution.user, verified.route, verified.saved) == ("u1", None, 0)


def test_what_a_verifier_denies_is_paid_for_and_denied_once(guard, seen):
    model = GuardedChatModel(Model(responses=["In Settings."]), guard, cache=cache_of(guard, "[]"))
    model.invoke(STORED)
    model.invoke(ASKED)
    assert [one.attribution.endpoint for one in seen if one.kind == "chat"] == [None, "costguard/verify", None]


def test_a_budget_that_stops_the_verifier_stops_nobody_else():
    guard = CostGuard(
        ["$0.00001/day where endpoint=costguard/verify"],
        prices={"big": {"input": "1.00", "output": "1.00"}, "small": {"input": "0.10", "output": "1.00"}},
    )
    model = GuardedChatModel(Model(responses=["In Settings."]), guard, cache=cache_of(guard, "[1]"))
    model.invoke(STORED)
    assert "costguard" not in model.invoke(ASKED).response_metadata


async def test_async_and_a_function_as_verifier(guard):
    cache = SemanticCache(
        BagOfWordsEmbeddings(),
        index=MemoryIndex(),
        decide="verified",
        verify=lambda question, stored: [True] * len(stored),
        audit=0.0,
    )
    cache.engine.evidence.model.weights[0] += 3.0
    cache.engine.evidence.verifier._audits_without_error = 10**9
    model = GuardedChatModel(Model(responses=["In Settings."]), guard, cache=cache)
    await model.ainvoke(STORED)
    assert (await model.ainvoke(ASKED)).response_metadata["costguard"]["cache"] == "semantic"


def test_verify_takes_a_model_or_a_function():
    with pytest.raises(ConfigurationError, match="chat model, or a function"):
        SemanticCache(BagOfWordsEmbeddings(), index=MemoryIndex(), decide="verified", verify="gpt-5-nano")


def test_paraphrases_are_served_at_once_with_the_default_decision(guard):
    cache = SemanticCache(BagOfWordsEmbeddings(), index=MemoryIndex())
    inner = Model(responses=["?"])
    seeded = cache.seed({STORED: "In Settings."}, inner, paraphrases={STORED: ["how to reset the password"]})
    assert seeded == 2
    model = GuardedChatModel(inner, guard, cache=cache)
    assert model.invoke("How can I reset my password").text == "In Settings."
    assert model.invoke("Why do I reset my password").text == "?"
