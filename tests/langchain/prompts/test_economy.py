"""Prompt economy in a chain: asked for, told, and never at the cost of a prompt's shape."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever

from costguard_core import attribute
from costguard_core.errors import ConfigurationError
from langchain_costguard import PromptEconomy, SentenceFilter
from langchain_costguard.prompts.economy import MESSAGES

LONG = "You answer questions about our shop, politely and briefly. " * 200


def conversation(turns: int) -> list[BaseMessage]:
    made: list[BaseMessage] = [SystemMessage("Be brief.")]
    for turn in range(turns):
        made += [
            HumanMessage(f"What is the weather in town {turn}? " + "really " * 20),
            AIMessage("", tool_calls=[{"name": "weather", "args": {"town": turn}, "id": f"c{turn}"}]),
            ToolMessage("sunny " * 20, tool_call_id=f"c{turn}"),
            AIMessage("It is sunny."),
        ]
    return [*made, HumanMessage("And tomorrow?")]


def test_without_options_a_prompt_passes_as_it_is() -> None:
    messages = conversation(20)
    economy = PromptEconomy()
    assert economy.invoke(messages) == messages
    assert economy.report().steps == {}


def test_history_is_cut_in_whole_turns_and_told(caplog: pytest.LogCaptureFixture) -> None:
    steps: list[Any] = []
    economy = PromptEconomy(max_tokens=800, on_step=steps.append)
    with caplog.at_level(logging.INFO, logger="costguard"):
        kept = economy.invoke(conversation(30))
    assert kept[0] == SystemMessage("Be brief.")
    assert kept[-1] == HumanMessage("And tomorrow?")
    asked = {call["id"] for message in kept if isinstance(message, AIMessage) for call in message.tool_calls}
    assert {message.tool_call_id for message in kept if isinstance(message, ToolMessage)} == asked
    assert kept[1].type == "human"
    [step] = steps
    assert step.after <= 800 < step.before
    assert step.dropped == len(conversation(30)) - len(kept)
    assert "what was said in the oldest turns" in caplog.text
    trimmed = economy.report().steps["trim"]
    assert (trimmed.prompts, trimmed.saved) == (1, step.before - step.after)
    assert "trim:" in str(economy.report())


def test_a_growing_conversation_keeps_its_prefix_for_many_turns() -> None:
    firsts = [MESSAGES.trimmed(conversation(turns), max_tokens=2000).value[1].content for turns in range(1, 60)]
    changes = sum(one != two for one, two in zip(firsts, firsts[1:], strict=False))
    assert 1 <= changes <= 6


def test_cleaning_leaves_answers_tools_and_code_alone() -> None:
    code = "Fix:\n```python\nif  x:\n\n\n\n    y\n```"
    given = [SystemMessage("Be   brief.\n\n\n\nPlease.  "), HumanMessage(code), AIMessage("as   is"), HumanMessage([])]
    found = MESSAGES.cleaned(given)
    assert [message.content for message in found.value] == ["Be brief.\n\nPlease.", code, "as   is", []]
    assert found.saved > 0
    assert given[0].content.startswith("Be   brief")  # what was given is not changed
    chain = ChatPromptTemplate([("system", "Be   brief."), ("human", "{question}")]) | PromptEconomy(clean=True)
    assert [message.content for message in chain.invoke({"question": "why?"})] == ["Be brief.", "why?"]


def test_cache_marks_go_where_the_prefix_is_long_enough() -> None:
    messages = [SystemMessage(LONG), HumanMessage("one"), AIMessage("two"), HumanMessage("three")]
    marked = MESSAGES.cache_marked(messages, ttl="1h")
    control = {"type": "ephemeral", "ttl": "1h"}
    assert marked[0].content == [{"type": "text", "text": LONG, "cache_control": control}]
    assert marked[2].content == [{"type": "text", "text": "two", "cache_control": control}]
    assert [marked[1], marked[3]] == [messages[1], messages[3]]
    assert MESSAGES.cache_marked(marked) == marked  # the second one would not know better
    short = [SystemMessage("Be brief."), HumanMessage("one")]
    assert MESSAGES.cache_marked(short) == short
    silent = [SystemMessage(LONG), HumanMessage("a"), conversation(1)[2], HumanMessage("b")]
    assert MESSAGES.cache_marked(silent)[2] == silent[2]


def test_what_defeats_the_provider_cache_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    economy = PromptEconomy()
    with attribute(endpoint="/support"):
        for day in range(1, 4):
            economy.invoke([SystemMessage(f"Today is 2026-11-{day:02}. {LONG}"), HumanMessage("Open?")])
    assert sum("a date" in record.message for record in caplog.records) == 1
    assert "2026-11" not in caplog.text
    report = economy.report()
    assert report.findings == ["/support, message 0: a date"]
    assert report.shared < report.total / 100
    calm = PromptEconomy()
    for _ in range(3):
        calm.invoke([SystemMessage(LONG), HumanMessage("Open?")])
    assert calm.report().findings == []
    assert calm.report().shared > calm.report().total / 2
    assert "tokens were those of the request before" in str(calm.report())


def test_two_prompts_are_compared_by_hand() -> None:
    one, two = [SystemMessage("same"), HumanMessage("a b")], [SystemMessage("same"), HumanMessage("a c")]
    assert MESSAGES.linted(two, previous=one).differs_at == (1, 2)
    assert MESSAGES.linted([SystemMessage("id: 123e4567-e89b-12d3-a456-426614174000"), HumanMessage("?")]).findings


class Fixed(BaseRetriever):
    """Finds one document."""

    def _get_relevant_documents(self, query: str, **options: Any) -> list[Document]:
        text = "We open at nine. Our founder liked cats. Parking is free. Returns take two weeks."
        return [Document(text, metadata={"source": "a"})]


async def test_retrieved_context_keeps_what_was_asked_for_and_says_what_is_gone() -> None:
    retriever = ContextualCompressionRetriever(base_compressor=SentenceFilter(keep=0.3), base_retriever=Fixed())
    for [document] in (retriever.invoke("When do you open?"), await retriever.ainvoke("When do you open?")):
        assert document.page_content == "We open at nine."
        assert document.metadata["source"] == "a"
        assert document.metadata["costguard"]["dropped_sentences"] == 3
        assert document.metadata["costguard"]["after"] < document.metadata["costguard"]["before"]


async def test_it_is_a_link_of_a_chain() -> None:
    chain = PromptEconomy(max_tokens=100, clean=True) | FakeListChatModel(responses=["fine"])
    assert chain.invoke("hello").text == "fine"
    assert (await chain.ainvoke([("human", "hello")])).text == "fine"
    assert [chunk.text for chunk in chain.stream("hello")]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max_tokens": 0}, "max_tokens=0"), ({"max_tokens": 5, "keep": 0}, "keep=0"), ({"keep": 2}, "keep=2")],
)
def test_odd_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        PromptEconomy(**options)


@pytest.mark.parametrize("text", ["", " ", "\x00\ud800", "日本語" * 1000])
def test_odd_prompts_pass(text: str) -> None:
    economy = PromptEconomy(max_tokens=50, clean=True, cache_marks=True)
    assert economy.invoke([SystemMessage(text), HumanMessage(text)])
