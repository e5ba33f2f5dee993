"""Prompt economy around real LLMs: in every way they are asked, told, and never at the cost of a prompt's shape."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import CachePoint, ImageBlock, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llamaindex_calls import ALL_CALLS, Person, about_prompt, add_tool, agent_reply, call_model, sent_bodies

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.simulate import Simulator
from llamaindex_costguard import ExactCache, PromptEconomy, SemanticCache, SentenceFilter, TieredRouter, guard_llm
from llamaindex_costguard.prompts.economy import MESSAGES

LONG = "You answer questions about our shop, politely and briefly. " * 200


def said(role: str, text: str) -> ChatMessage:
    return ChatMessage(role=role, content=text)


def conversation(turns: int) -> list[ChatMessage]:
    messages = [said("system", "Be brief.")]
    for turn in range(turns):
        call = ToolCallBlock(tool_call_id=f"c{turn}", tool_name="weather", tool_kwargs={"town": turn})
        messages += [
            said("user", f"What is the weather in town {turn}? " + "really " * 20),
            ChatMessage(role=MessageRole.ASSISTANT, blocks=[call]),
            ChatMessage(role=MessageRole.TOOL, content="sunny " * 20, additional_kwargs={"tool_call_id": f"c{turn}"}),
            said("assistant", "It is sunny."),
        ]
    return [*messages, said("user", "And tomorrow?")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_CALLS)
async def test_without_options_an_llm_sends_what_it_sent(name: str, make_llm: Any, openai_server: Simulator) -> None:
    openai_server.reply = agent_reply
    wanted = await call_model(name, make_llm())
    sent = sent_bodies(openai_server)
    openai_server.service.requests.clear()
    assert await call_model(name, PromptEconomy().wrap(make_llm())) == wanted
    assert sent_bodies(openai_server) == sent


@pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_history_is_cut_in_whole_turns_and_told(
    method: str, make_openai: Any, openai_server: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[Any] = []
    economy = PromptEconomy(max_tokens=800, on_step=steps.append)
    llm = economy.wrap(make_openai())
    with caplog.at_level(logging.INFO, logger="costguard"):
        answer = getattr(llm, method)(conversation(30))
        if method.startswith("a"):
            answer = await answer
        if method == "stream_chat":
            list(answer)
        if method == "astream_chat":
            [chunk async for chunk in answer]
    kept = openai_server.requests[-1].body["messages"]
    assert kept[0]["content"] == "Be brief."
    assert kept[1]["role"] == "user"
    assert kept[-1]["content"] == "And tomorrow?"
    called = {call["id"] for message in kept for call in message.get("tool_calls") or ()}
    assert {message["tool_call_id"] for message in kept if message["role"] == "tool"} == called
    [step] = steps
    assert step.after <= 800 < step.before
    assert step.dropped == len(conversation(30)) - len(kept)
    assert "what was said in the oldest turns" in caplog.text
    assert economy.report().steps["trim"].saved == step.before - step.after


def test_cleaning_leaves_answers_pictures_and_code_alone() -> None:
    code = "Fix:\n```python\nif  x:\n\n\n\n    y\n```"
    picture = ChatMessage(role="user", blocks=[TextBlock(text="a   b"), ImageBlock(url="http://x/y.png")])
    given = [said("system", "Be   brief.\n\n\n\nPlease.  "), said("user", code), said("assistant", "as   is"), picture]
    saving = MESSAGES.cleaned(given)
    assert [message.content for message in saving.value] == ["Be brief.\n\nPlease.", code, "as   is", "a   b"]
    assert saving.value[3] is picture
    assert saving.saved > 0
    assert given[0].content is not None
    assert given[0].content.startswith("Be   brief")  # what was given is not changed


def test_cache_marks_reach_the_provider_where_the_prefix_is_long_enough(
    make_anthropic: Any, openai_server: Simulator
) -> None:
    llm = PromptEconomy(cache_marks=True).wrap(make_anthropic())
    messages = [said("system", LONG), said("user", "one"), said("assistant", "two"), said("user", "three")]
    llm.chat(messages)
    body = openai_server.requests[-1].body
    control = {"type": "ephemeral", "ttl": "5m"}
    assert body["system"] == LONG  # the integration makes one text of system messages, which has no place for a mark
    assert body["messages"][1]["content"][-1]["cache_control"] == control
    assert "cache_control" not in str([body["messages"][0], body["messages"][2]])
    assert not any(isinstance(block, CachePoint) for message in messages for block in message.blocks)
    llm.chat([said("system", "Be brief."), said("user", "one")])
    assert "cache_control" not in str(openai_server.requests[-1].body)
    marked = MESSAGES.cache_marked(messages)
    assert MESSAGES.cache_marked(marked) == marked  # the second one would not know better


def test_what_defeats_the_provider_cache_is_told_once(make_openai: Any, caplog: pytest.LogCaptureFixture) -> None:
    economy = PromptEconomy()
    llm = economy.wrap(make_openai())
    with attribute(endpoint="/support"):
        for day in range(1, 4):
            llm.chat([said("system", f"Today is 2026-11-{day:02}. {LONG}"), said("user", "Open?")])
    assert sum("a date" in record.message for record in caplog.records) == 1
    assert "2026-11" not in caplog.text
    assert economy.report().findings == ["/support, message 0: a date"]
    assert economy.report().shared < economy.report().total / 100


async def test_agents_and_templates_go_through_it(make_openai: Any, openai_server: Simulator) -> None:
    economy = PromptEconomy(clean=True)
    llm = economy.wrap(make_openai(system_prompt="Be   terse."))
    await FunctionAgent(tools=[add_tool()], llm=llm, system_prompt="Add   well.").run("please add 3 and 3")
    assert openai_server.requests[0].body["messages"][0]["content"] == "Add well."
    llm.structured_predict(Person, about_prompt(), topic="ann   bell")
    llm.as_structured_llm(Person).chat([said("user", "ann   bell")])
    assert "   " not in str([request.body["messages"] for request in openai_server.requests])


def test_what_is_sent_is_what_is_cached_and_metered(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$5/day"])
    llm = PromptEconomy(clean=True).wrap(guard_llm(make_openai(), guard, cache=ExactCache()))
    llm.chat([said("user", "why   so?")])
    assert llm.chat([said("user", "why so?")]).additional_kwargs["costguard"]["cache"] == "exact"
    assert openai_server.count == 1
    assert [event.outcome.value for event in events(guard)] == ["miss", "exact"]


def test_an_llm_that_is_guarded_afterwards_shares_no_answer_with_one_that_sends_everything(
    make_openai: Any, openai_server: Simulator
) -> None:
    guard, cache = CostGuard(["$5/day"]), ExactCache()
    bare = make_openai()
    guard_llm(bare, guard, cache=cache).chat(conversation(30))
    guard_llm(PromptEconomy(max_tokens=800).wrap(bare), guard, cache=cache).chat(conversation(30))
    assert openai_server.count == 2
    assert not any(row.held for row in guard.status())


def test_a_question_with_blanks_is_still_the_one_that_a_template_was_filled_with(
    make_openai: Any, openai_server: Simulator
) -> None:
    cache = SemanticCache("wordllama", decide="guarded")
    llm = PromptEconomy(clean=True).wrap(guard_llm(make_openai(), CostGuard(), cache=cache))
    index = VectorStoreIndex.from_documents([Document(text="In Settings.")], embed_model=MockEmbedding(4))
    asked = ("How do I  reset my password?", "how can I reset my password ", "How do I reset my password?")
    assert len({str(index.as_query_engine(llm=llm).query(question)) for question in asked}) == 1
    assert (openai_server.count, cache.stats().declined) == (1, {})


def test_the_tiers_of_a_router_are_wrapped_one_by_one(
    make_openai: Any, make_anthropic: Any, openai_server: Simulator
) -> None:
    economy = PromptEconomy(clean=True)
    bare = TieredRouter(cheap=make_openai(), strong=make_anthropic(), score=lambda request: 0.0, threshold=1.0)
    router = economy.wrap(bare)
    assert isinstance(router, TieredRouter)
    assert router.engine is bare.engine
    router.predict(about_prompt(), topic="newts   and voles")
    assert "newts and voles" in str(openai_server.requests[-1].body)
    bare.predict(about_prompt(), topic="newts   and voles")
    assert "newts   and voles" in str(openai_server.requests[-1].body)


def test_copies_and_pickles_keep_it_and_its_class(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["9 requests/day"])
    for inner in (make_openai(), guard_llm(make_openai(), guard)):
        llm = PromptEconomy(clean=True).wrap(inner)
        assert isinstance(llm, type(inner))
        assert type(llm).__name__ == type(inner).__name__
        for same in (copy.copy(llm), llm.model_copy(), pickle.loads(pickle.dumps(llm))):
            same.chat([said("user", "why   so?")])
            assert openai_server.requests[-1].body["messages"][-1]["content"] == "why so?"
    assert guard.status()[0].spent == 3


async def test_retrieved_context_keeps_what_was_asked_for_and_says_what_is_gone(
    make_openai: Any, openai_server: Simulator
) -> None:
    text = "We open at nine. Our founder liked cats. Parking is free. Returns take two weeks."
    index = VectorStoreIndex.from_documents([Document(text=text)], embed_model=MockEmbedding(embed_dim=4))
    engine = index.as_query_engine(llm=make_openai(), node_postprocessors=[SentenceFilter(keep=0.3)])
    for response in (engine.query("When do you open?"), await engine.aquery("When do you open?")):
        [found] = response.source_nodes
        assert found.get_content() == "We open at nine."
        assert found.metadata["costguard"]["dropped_sentences"] == 3
        assert found.metadata["costguard"]["after"] < found.metadata["costguard"]["before"]
        prompt = str(openai_server.requests[-1].body["messages"])
        assert "We open at nine." in prompt
        assert "cats" not in prompt
        assert "dropped_sentences" not in prompt


def test_a_node_is_not_changed_and_without_a_question_nothing_is() -> None:
    node = TextNode(text="One fact. Another fact about opening.", metadata={"source": "a"})
    scored = NodeWithScore(node=node, score=0.5)
    [filtered] = SentenceFilter(keep=0.5).postprocess_nodes([scored], query_str="opening?")
    assert filtered.score == 0.5
    assert filtered.node.metadata["source"] == "a"
    assert "dropped_sentences" not in filtered.node.get_content(metadata_mode=MetadataMode.LLM)
    assert node.metadata == {"source": "a"}
    assert node.text == "One fact. Another fact about opening."
    assert SentenceFilter().postprocess_nodes([scored]) == [scored]


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max_tokens": 0}, "max_tokens=0"), ({"max_tokens": 5, "keep": 0}, "keep=0"), ({"keep": 2}, "keep=2")],
)
def test_odd_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        PromptEconomy(**options)


def test_what_is_no_llm_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        PromptEconomy().wrap("gpt-4o")  # type: ignore[type-var]


@pytest.mark.parametrize("text", ["", " ", "\x00\ud800", "日本語" * 1000])
def test_odd_prompts_pass(text: str) -> None:
    economy = PromptEconomy(max_tokens=50, clean=True, cache_marks=True)
    assert economy.applied([said("system", text), said("user", text)], "/odd")
