"""``decide="verified"`` and ``judged`` with an LLM of LlamaIndex."""

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import MockLLM
from llamaindex_embeddings import BagOfWordsEmbeddings

from costguard_core import CostGuard
from costguard_core.cache.semantic.index.memory import MemoryIndex
from llamaindex_costguard import SemanticCache, guard_llm, judged

STORED, ASKED = "How do I reset my password?", "How do I reset my old mail password?"


class Says(MockLLM):
    """Replies with one text."""

    _reply: str = PrivateAttr("")

    def __init__(self, reply: str) -> None:
        super().__init__()
        self._reply = reply

    def chat(self, messages, **kwargs):
        return ChatResponse(message=ChatMessage(role="assistant", content=self._reply))


def sure(**options):
    cache = SemanticCache(BagOfWordsEmbeddings(model_name="bag-256"), index=MemoryIndex(), audit=0.0, **options)
    cache.engine.evidence.model.weights[0] += 3.0  # the estimate puts the pair where a yes decides
    cache.engine.evidence.verifier._audits_without_error = 10**9
    return cache


def ask(llm, question):
    return llm.chat([ChatMessage(role="user", content=question)])


def test_a_confirmed_question_is_served_and_the_verifier_is_on_the_bill():
    seen = []
    guard = CostGuard(unpriced={"input": "1", "output": "1"}, hooks=[seen.append])
    cache = sure(decide="verified", verify=Says("[1]"), guard=guard)
    llm = guard_llm(Says("In Settings."), guard, cache=cache)
    ask(llm, STORED)
    assert ask(llm, ASKED).message.content == "In Settings."
    found = [(one.attribution.endpoint, one.outcome.value) for one in seen if one.kind == "chat"]
    assert found == [(None, "miss"), ("costguard/verify", "miss"), (None, "semantic")]


def test_a_denied_question_is_paid_for():
    seen = []
    guard = CostGuard(unpriced={"input": "1", "output": "1"}, hooks=[seen.append])
    llm = guard_llm(Says("In Settings."), guard, cache=sure(decide="verified", verify=Says("[]"), guard=guard))
    ask(llm, STORED)
    ask(llm, ASKED)
    found = [one.attribution.endpoint for one in seen if one.kind == "chat"]
    assert found == [None, "costguard/verify", None]


def test_judged_asks_where_words_do_not_tell():
    compare = judged(Says("Yes."))
    assert compare("Okay, I am on it.", "Right away, just a second!").same is True
    assert judged(Says("perhaps"))("Okay, I am on it.", "Right away, just a second!").same is None


def test_paraphrases_are_served_at_once():
    cache = SemanticCache(BagOfWordsEmbeddings(model_name="bag-256"), index=MemoryIndex())
    inner = Says("?")
    assert cache.seed({STORED: "In Settings."}, inner, paraphrases={STORED: ["how to reset the password"]}) == 2
    llm = guard_llm(inner, CostGuard(), cache=cache)
    assert ask(llm, "How can I reset my password").message.content == "In Settings."
    assert ask(llm, "Why do I reset my password").message.content == "?"
