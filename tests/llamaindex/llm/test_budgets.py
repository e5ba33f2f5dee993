"""A budget that is spent: no request is made, and whoever asked is told, whatever stands between."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.schema import TextNode
from llama_index.core.tools import QueryEngineTool
from llamaindex_calls import (
    ALL_CALLS,
    SYNC_CALLS,
    Person,
    about_prompt,
    add_tool,
    agent_reply,
    call_model,
    pets_index,
)
from waiting import async_wait_until, wait_until

from costguard_core import Budget, CostGuard, SpendLimitExceeded, UnpricedModelError, usd
from costguard_core.simulate import Simulator
from llamaindex_costguard import guard_llm

HI = [ChatMessage(role="user", content="hi")]
SPOKEN = ["text", "audio"]


def tripped(make: Any) -> Any:
    guard = CostGuard()
    guard.trip("test")
    return guard_llm(make(), guard)


# A chat engine streams from a thread of its own, where the refusal is raised before the engine hands it on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("method", ALL_CALLS)
async def test_it_reaches_the_caller_and_nothing_is_sent(method: str, make_llm: Any, openai_server: Simulator) -> None:
    openai_server.reply = agent_reply
    llm = tripped(make_llm)
    with pytest.raises(SpendLimitExceeded, match="test"):
        await call_model(method, llm)
    assert openai_server.count == 0


async def test_an_agent_ends_though_its_tool_swallows_the_refusal(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["1 requests/day"])
    llm = guard_llm(make_openai(), guard)
    tool = QueryEngineTool.from_defaults(pets_index().as_query_engine(llm=llm), name="docs", description="docs")
    with pytest.raises(SpendLimitExceeded):
        await FunctionAgent(tools=[tool], llm=llm).run("ask docs")
    assert openai_server.count == 1


async def test_an_agent_is_told_to_conclude_and_then_stopped(make_openai: Any, openai_server: Simulator) -> None:
    def stubborn(request: dict[str, Any]) -> Any:
        told = "Do not call any more tools" in str(request["messages"][-1]["content"])
        if told and obeys:
            return "Seven, I think."
        return {"tool_calls": [{"name": "add", "arguments": {"a": openai_server.count, "b": 1}}]}

    openai_server.reply = stubborn
    guard = CostGuard(prices={"gpt-4o-mini": {"input": "1", "output": "10"}})
    agent = FunctionAgent(tools=[add_tool()], llm=guard_llm(make_openai(), guard))
    for obeys in (True, False):
        with guard.agent("clerk", limit="$0.02", wrap_up=0.05) as run:
            if obeys:
                assert str(await agent.run("add", max_iterations=500)) == "Seven, I think."
            else:
                with pytest.raises(SpendLimitExceeded, match="agent clerk"):
                    await agent.run("add", max_iterations=500)
            assert run.should_conclude
            assert run.spent <= run.budget.amount


def test_a_hit_is_served_while_the_budget_is_spent(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(["1 requests/day"]), cache="memory://")
    answer = llm.chat(HI).message
    assert llm.chat(HI).message == answer
    with pytest.raises(SpendLimitExceeded):
        llm.complete("other")
    assert openai_server.count == 1


def test_a_static_answer_instead(make_openai: Any, openai_server: Simulator) -> None:
    budget = Budget(limit=1, unit="requests", window="day", answer="Come back tomorrow.")
    llm = guard_llm(make_openai(), CostGuard([budget]))
    llm.complete("the only one")
    assert llm.chat(HI).message.content == "Come back tomorrow."
    assert llm.complete("x").text == "Come back tomorrow."
    assert [chunk.delta for chunk in llm.stream_chat(HI)] == ["Come back tomorrow."]
    assert str(pets_index().as_query_engine(llm=llm).query("?")) == "Come back tomorrow."
    assert openai_server.count == 1


def test_a_stream_is_refused_when_it_is_asked_for(make_openai: Any) -> None:
    with pytest.raises(SpendLimitExceeded):
        tripped(make_openai).stream_chat(HI)


def test_a_synchronous_extractor_raises_the_refusal_itself() -> None:
    """Its ``asyncio_run`` says "Detected nested async" instead of any ``RuntimeError``."""
    llm = guard_llm(MockLLM(), CostGuard(["1 request/day"]))
    nodes = [TextNode(text=f"Page {number}.") for number in range(3)]
    with pytest.raises(SpendLimitExceeded, match="1 request/day"):
        KeywordExtractor(llm=llm, show_progress=False).extract(nodes)


def test_an_unknown_price_is_refused_under_a_budget_of_money() -> None:
    with pytest.raises(UnpricedModelError, match="MockLLM"):
        guard_llm(MockLLM(), CostGuard(["$1/day"])).chat(HI)


def test_an_engine_cannot_take_the_guard_off(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["1 requests/day"])
    llm = guard_llm(make_openai(), guard)
    engine = pets_index().as_query_engine(llm=llm)
    engine.query("what do cats do?")
    with pytest.raises(SpendLimitExceeded):
        engine.query("what do dogs do?")
    with pytest.raises(SpendLimitExceeded):
        llm.chat(HI)
    assert openai_server.count == 1


def test_the_limit_that_is_sent_is_what_the_budget_can_pay(make_openai: Any, openai_server: Simulator) -> None:
    price = 10 * 150 + 400 * 600  # nano-dollars: about ten tokens in, four hundred out, of gpt-4o-mini
    guard = CostGuard([f"${usd(price)}/day"])
    llm = guard_llm(make_openai(), guard)
    llm.chat(HI)
    assert 390 <= openai_server.requests[0].body["max_tokens"] <= 401
    assert guard.status()[0].spent <= guard.status()[0].limit
    assert llm.max_tokens is None
    with pytest.raises(SpendLimitExceeded):
        guard_llm(make_openai(max_tokens=5000), CostGuard(["$0.001/day"]), fixed_output=True).chat(HI)


def test_threads_do_not_overshoot(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["5 requests/day", "$0.002/day"])
    llm = guard_llm(make_openai(max_tokens=200), guard)

    def call(number: int) -> int:
        with contextlib.suppress(SpendLimitExceeded):
            llm.chat([ChatMessage(role="user", content=f"question {number}")])
            return 1
        return 0

    with ThreadPoolExecutor(16) as pool:
        with openai_server.hold():  # those that are let through stay in flight until all others were refused
            calls = [pool.submit(call, number) for number in range(32)]
            wait_until(lambda: sum(made.done() for made in calls) == 27)
        made = sum(call.result() for call in calls)
    assert made == openai_server.count == 5
    for line in guard.status():
        assert (line.held, line.spent <= line.limit) == (0, True)


async def test_tasks_do_not_overshoot_in_streams(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["5 requests/day"])
    llm = guard_llm(make_openai(), guard)

    async def call(number: int) -> int:
        with contextlib.suppress(SpendLimitExceeded):
            stream = await llm.astream_chat([ChatMessage(role="user", content=f"question {number}")])
            return 1 if [chunk async for chunk in stream] else 0
        return 0

    with openai_server.hold():
        calls = [asyncio.create_task(call(number)) for number in range(16)]
        await async_wait_until(lambda: sum(made.done() for made in calls) == 11)
    assert sum(await asyncio.gather(*calls)) == openai_server.count == 5
    assert guard.status()[0].held == 0


@pytest.mark.parametrize(
    "method",
    [
        "structured_predict",
        "stream_structured_predict",
        "as_structured_llm",
        "chat_with_tools, required",
        "query engine, output_cls",
    ],
)
def test_text_is_no_answer_where_an_object_is_wanted(method: str, make_llm: Any) -> None:
    guard = CostGuard([Budget.parse("1 input tokens/call", answer="Busy, sorry.")])
    llm = guard_llm(make_llm(), guard)
    assert SYNC_CALLS["chat"](llm) == "Busy, sorry."
    with pytest.raises(SpendLimitExceeded):
        SYNC_CALLS[method](llm)


async def test_nor_where_the_object_is_read_from_text() -> None:
    guard = CostGuard([Budget.parse("1 input tokens/call", answer="Busy, sorry.")])
    with pytest.raises(SpendLimitExceeded):
        await guard_llm(MockLLM(), guard).astructured_predict(Person, about_prompt(), topic="ann")


@pytest.mark.parametrize(("settings", "arguments"), [({"modalities": SPOKEN}, {}), ({}, {"modalities": SPOKEN})])
def test_a_spoken_answer_is_held_at_the_price_of_sound(
    make_openai: Any, settings: dict[str, Any], arguments: dict[str, Any], openai_server: Simulator
) -> None:
    prices = {"gpt-4o-mini": {"input": "1", "output": "10", "audio_input": "40", "audio_output": "80"}}
    llm = guard_llm(
        make_openai(max_tokens=1000, **settings), CostGuard(["$0.02/call"], prices=prices), fixed_output=True
    )
    with pytest.raises(SpendLimitExceeded):
        llm.chat(HI, **arguments)
    assert openai_server.count == 0


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"cache_idx": 0}, {}),
        ({"cache_idx": -1}, {}),
        ({"additional_kwargs": {"cache_control": {"type": "ephemeral"}}}, {}),
        ({}, {"cache_control": {"type": "ephemeral"}}),
        ({}, {"tools": [{"name": "t", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]}),
    ],
)
def test_a_prompt_that_the_settings_have_cached_is_held_at_the_price_of_writing(
    make_anthropic: Any, settings: dict[str, Any], arguments: dict[str, Any], openai_server: Simulator
) -> None:
    guard = CostGuard(["$0.03/call"])  # 5,000 tokens cost 0.015 dollars, and are written for 0.019 to 0.03
    prompt = [ChatMessage(role="user", content="hello " * 5000)]
    guard_llm(make_anthropic(max_tokens=100), guard).chat(prompt)
    assert openai_server.count == 1
    with pytest.raises(SpendLimitExceeded):
        guard_llm(make_anthropic(max_tokens=100, **settings), guard).chat(prompt, **arguments)
    assert openai_server.count == 1
