"""GuardedChatModel over real HTTP: everything the bare model does, plus cache, budget and bill."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_models import chat_model
from langchain_openai import ChatOpenAI
from ledger_events import events
from openai import InternalServerError
from pydantic import BaseModel
from waiting import async_wait_until, wait_until

from costguard_core import Budget, CostGuard, Outcome, SpendLimitExceeded, attribute
from costguard_core.simulate import Fault, Simulator
from langchain_costguard import (
    CostGuardCallbackHandler,
    CostGuardMiddleware,
    ExactCache,
    GuardedChatModel,
    LayeredCache,
    install,
    uninstall,
)


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day"]) as made:
        yield made


@pytest.fixture
def bare(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server)


@pytest.fixture
def cache() -> ExactCache:
    return ExactCache()


@pytest.fixture
def model(bare: ChatOpenAI, guard: CostGuard, cache: ExactCache) -> GuardedChatModel:
    return GuardedChatModel(bare, guard, cache=cache)


def outcomes(guard: CostGuard) -> list[Outcome]:
    return sorted(event.outcome for event in events(guard))


def nothing_is_held(guard: CostGuard) -> bool:
    return all(row.held == 0 for row in guard.status())


def test_the_same_request_is_paid_once(model: GuardedChatModel, guard: CostGuard, openai_server: Simulator) -> None:
    first = model.invoke("What is a refund?")
    second = model.invoke("What is a refund?")
    assert openai_server.count == 1
    assert second.content == first.content
    assert second.id != first.id
    mark = second.response_metadata["costguard"]
    assert mark["cache"] == "exact"
    assert "costguard" not in first.response_metadata
    miss, hit = events(guard)
    assert (miss.outcome, hit.outcome) == (Outcome.MISS, Outcome.EXACT)
    assert (hit.cost, hit.saved) == (0, miss.cost)
    assert Decimal(mark["saved_usd"]) * 10**9 == miss.cost
    assert second.response_metadata["model_name"] == first.response_metadata["model_name"]
    assert second.usage_metadata == first.usage_metadata


@pytest.mark.parametrize("first_streams", [True, False])
async def test_streams_and_invocations_share_entries(
    first_streams: bool, model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    if first_streams:
        paid = "".join(chunk.text for chunk in model.stream("Tell me about returns"))
    else:
        paid = model.invoke("Tell me about returns").text
    whole = None
    pieces = 0
    for chunk in model.stream("Tell me about returns"):
        whole = chunk if whole is None else whole + chunk
        pieces += bool(chunk.content)
    assert whole is not None
    assert whole.text == paid
    assert pieces > 1
    assert whole.usage_metadata is not None
    assert whole.response_metadata["costguard"]["cache"] == "exact"
    assert "".join([chunk.text async for chunk in model.astream("Tell me about returns")]) == paid
    assert (await model.ainvoke("Tell me about returns")).text == paid
    tokens = [
        event["data"]["chunk"].text
        async for event in model.astream_events("Tell me about returns", version="v2")
        if event["event"] == "on_chat_model_stream"
    ]
    assert "".join(tokens) == paid
    assert openai_server.count == 1
    assert outcomes(guard) == [Outcome.EXACT] * 4 + [Outcome.MISS]


def test_streams_ask_for_usage_so_that_they_are_metered_exactly(
    model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    list(model.stream("Hello"))
    assert openai_server.requests[0].body["stream_options"] == {"include_usage": True}
    assert not events(guard)[0].estimated


def test_a_stream_without_usage_is_counted_and_marked(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    list(GuardedChatModel(bare, guard, cache=False, stream_usage=False).stream("Hello, how are you?"))
    list(GuardedChatModel(bare, guard, cache=False).stream("Hello, how are you?"))
    assert "stream_options" not in openai_server.requests[0].body
    counted, reported = (event.usage for event in events(guard))
    assert counted.estimated
    assert (counted.input_tokens, counted.output_tokens) == (reported.input_tokens, reported.output_tokens)


def test_an_abandoned_stream_is_charged_for_what_it_delivered(
    model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    stream = model.stream("Tell me a long story")
    next(stream)
    stream.close()
    (event,) = events(guard)
    assert event.outcome is Outcome.ABANDONED
    assert event.cost
    assert event.cost > 0
    assert nothing_is_held(guard)
    model.invoke("Tell me a long story")
    assert openai_server.count == 2  # half an answer was not stored


async def test_an_abandoned_async_stream_too(model: GuardedChatModel, guard: CostGuard) -> None:
    stream: AsyncIterator[Any] = model.astream("Tell me a long story")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await async_wait_until(lambda: events(guard))  # LangChain leaves its inner generator to the loop's finaliser
    assert outcomes(guard) == [Outcome.ABANDONED]
    assert nothing_is_held(guard)


@pytest.mark.parametrize("how", ["cancel", "wait_for"])
async def test_a_cancelled_call_is_settled_at_once(
    how: str, model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    with openai_server.hold():
        task = asyncio.create_task(model.ainvoke("slow"))
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0)
    (event,) = events(guard)
    assert (event.outcome, event.reason, event.estimated) == (Outcome.ABANDONED, "CancelledError", True)
    assert event.cost
    assert nothing_is_held(guard)


def test_a_provider_error_costs_nothing(model: GuardedChatModel, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.faults.append(Fault(status=500))
    with pytest.raises(InternalServerError):
        model.invoke("Hello")
    assert model.invoke("Hello").content  # the failure was not stored, and nobody waits for it
    error, paid = events(guard)
    assert (error.outcome, error.cost, error.reason) == (Outcome.ERROR, 0, "OpenAIAPIError")
    assert paid.outcome is Outcome.MISS
    assert nothing_is_held(guard)


def test_hits_are_served_while_everything_is_refused(
    model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    paid = model.invoke("What is a refund?")
    guard.trip("enough")
    assert model.invoke("What is a refund?").content == paid.content
    assert "".join(chunk.text for chunk in model.stream("What is a refund?")) == paid.text
    with pytest.raises(SpendLimitExceeded):
        model.invoke("Something else")
    with pytest.raises(SpendLimitExceeded):
        list(model.stream("Something else"))
    assert openai_server.count == 1


def test_identical_concurrent_requests_make_one_call(
    model: GuardedChatModel, cache: ExactCache, guard: CostGuard, openai_server: Simulator
) -> None:
    with ThreadPoolExecutor(1) as pool, openai_server.hold():
        batch = pool.submit(model.batch, ["same"] * 8, {"max_concurrency": 8})
        wait_until(lambda: cache.stats().misses == 8)  # nobody has found an answer: they will share one
    answers = batch.result()
    assert openai_server.count == 1
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.id for answer in answers}) == 8
    assert outcomes(guard).count(Outcome.MISS) == 1
    assert outcomes(guard).count(Outcome.COALESCED) == 7


async def test_identical_concurrent_async_requests_make_one_call(
    model: GuardedChatModel, cache: ExactCache, openai_server: Simulator
) -> None:
    with openai_server.hold():
        calls = [asyncio.create_task(model.ainvoke("same")) for _ in range(20)]
        await async_wait_until(lambda: cache.stats().misses == 20)
    await asyncio.gather(*calls)
    assert openai_server.count == 1


async def test_when_the_first_of_many_is_cancelled_the_next_one_pays(
    model: GuardedChatModel, cache: ExactCache, openai_server: Simulator
) -> None:
    with openai_server.hold():
        calls = [asyncio.create_task(model.ainvoke("same")) for _ in range(3)]
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        await async_wait_until(lambda: cache.stats().misses == 3)
        calls[0].cancel()
        await asyncio.to_thread(openai_server.wait_for_requests, 2)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, AIMessage) for answer in answers[1:])
    assert openai_server.count == 2


def test_the_output_is_capped_at_what_the_budget_can_pay(bare: ChatOpenAI, openai_server: Simulator) -> None:
    prices = {"gpt-4o-mini": {"input": "0", "output": "10"}}
    guard = CostGuard(["$0.005/day"], prices=prices)  # 500 output tokens
    GuardedChatModel(bare, guard, cache=False).invoke("Hello")
    assert openai_server.requests[0].body["max_completion_tokens"] == 500
    unlimited = CostGuard(["60 requests/minute"])
    GuardedChatModel(bare, unlimited, cache=False).invoke("Hello")
    assert "max_completion_tokens" not in openai_server.requests[1].body


def test_a_cap_set_by_the_budget_is_not_part_of_the_question(bare: ChatOpenAI, openai_server: Simulator) -> None:
    cache = ExactCache()
    tight = CostGuard(["$0.005/day"], prices={"gpt-4o-mini": {"input": "0", "output": "10"}})
    openai_server.reply = lambda request: "short"
    GuardedChatModel(bare, tight, cache=cache).invoke("Hello")
    GuardedChatModel(bare, CostGuard(), cache=cache).invoke("Hello")
    assert openai_server.count == 1


def test_a_budget_may_answer_instead_of_raising(bare: ChatOpenAI, openai_server: Simulator) -> None:
    budget = Budget.parse("$0.0000001/day", answer=lambda refusal: f"Sorry: {refusal.budget}")
    model = GuardedChatModel(bare, CostGuard([budget]), cache=ExactCache())
    reply = model.invoke("Hello")
    assert reply.content == "Sorry: $0.0000001/day"
    assert reply.response_metadata["costguard"] == {"refused": "$0.0000001/day"}
    assert [chunk.text for chunk in model.stream("Hello") if chunk.text] == ["Sorry: $0.0000001/day"]
    assert openai_server.count == 0


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_a_static_reply_is_no_structured_output(method: str, bare: ChatOpenAI, openai_server: Simulator) -> None:
    """Not ``None``, and no parser's error about a text that no model wrote. With the raw message, it is that."""
    model = GuardedChatModel(bare, CostGuard([Budget.parse("1 input tokens/call", answer="We are busy.")]))
    chain = model.with_structured_output(City, method=method)  # type: ignore[arg-type]
    for ask in (chain.invoke, lambda question: list(chain.stream(question))):
        with pytest.raises(SpendLimitExceeded, match="1 input token"):
            ask("Name a city as JSON.")
    with pytest.raises(SpendLimitExceeded):
        await chain.ainvoke("Name a city as JSON.")
    found = await model.with_structured_output(City, method=method, include_raw=True).ainvoke("Name a city as JSON.")  # type: ignore[arg-type]
    assert found["raw"].content == "We are busy."
    assert found["parsed"] is None
    assert model.invoke("Name a city.").content == "We are busy."
    assert openai_server.count == 0


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_nor_is_it_the_structured_response_of_an_agent(strategy: Any, bare: ChatOpenAI) -> None:
    guard = CostGuard([Budget.parse("1 input tokens/call", answer="We are busy.")])
    asked = {"messages": [HumanMessage("Name a city.")]}
    with pytest.raises(SpendLimitExceeded, match="1 input token"):
        create_agent(bare, response_format=strategy(City), middleware=[CostGuardMiddleware(guard)]).invoke(asked)
    agent = create_agent(bare, middleware=[CostGuardMiddleware(guard)])
    assert agent.invoke(asked)["messages"][-1].content == "We are busy."


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("raw", [True, False])
def test_structured_output_is_cached_by_its_real_schema(
    method: str, raw: bool, model: GuardedChatModel, openai_server: Simulator
) -> None:
    def ask(schema: type[BaseModel]) -> Any:
        chain = model.with_structured_output(schema, method=method, include_raw=raw)  # type: ignore[arg-type]
        found = chain.invoke("Name a city as JSON with name and people.")
        return found["parsed"] if isinstance(found, dict) else found

    if method == "json_mode":
        openai_server.reply = lambda request: '{"name": "Vienna", "people": 2000000}'
    first, second = ask(City), ask(City)
    assert isinstance(first, City)
    assert first == second
    assert openai_server.count == 1
    if method != "json_mode":  # in JSON mode the schema is not part of the request at all
        other = type("City", (BaseModel,), {"__annotations__": {"name": str, "country": str}, "__doc__": "A city."})
        assert hasattr(ask(other), "country")
        assert openai_server.count == 2


@tool
def founded(city: str) -> str:
    """When a city was founded."""
    return f"{city}: 753 BC"


def test_tools_work_and_tool_calls_are_cached(model: GuardedChatModel, openai_server: Simulator) -> None:
    openai_server.reply = lambda request: {"tool_calls": [{"name": "founded", "arguments": {"city": "Rome"}}]}
    bound = model.bind_tools([founded])
    first, second = bound.invoke("When?"), bound.invoke("When?")
    streamed = None
    for chunk in bound.stream("When?"):
        streamed = chunk if streamed is None else streamed + chunk
    assert openai_server.count == 1
    assert streamed is not None
    for message in (first, second, streamed):
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("founded", {"city": "Rome"})


def _tool_then_answer(request: dict[str, Any]) -> Any:
    if request["messages"][-1]["role"] == "tool":
        return "In 753 BC."
    return {"tool_calls": [{"name": "founded", "arguments": {"city": "Rome"}}]}


@pytest.mark.parametrize("how", ["guarded", "middleware"])
async def test_an_agent_pays_once_per_step_and_not_at_all_the_second_time(
    how: str, bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = _tool_then_answer
    cache = ExactCache()
    if how == "guarded":
        agent = create_agent(GuardedChatModel(bare, guard, cache=cache), [founded])
    else:
        agent = create_agent(bare, [founded], middleware=[CostGuardMiddleware(guard, cache=cache)])
    question = {"messages": [("user", "When was Rome founded?")]}
    assert agent.invoke(question)["messages"][-1].content == "In 753 BC."
    assert openai_server.count == 2
    assert (await agent.ainvoke(question))["messages"][-1].content == "In 753 BC."
    assert openai_server.count == 2
    assert outcomes(guard) == [Outcome.EXACT] * 2 + [Outcome.MISS] * 2


def test_the_middleware_can_end_the_agent_with_a_message(bare: ChatOpenAI, openai_server: Simulator) -> None:
    guard = CostGuard()
    guard.trip("enough")
    agent = create_agent(bare, [founded], middleware=[CostGuardMiddleware(guard, exit_behavior="end")])
    last = agent.invoke({"messages": [("user", "When?")]})["messages"][-1]
    assert last.content == "This service is not available at the moment."  # the reason is the operator's
    assert last.response_metadata["costguard"] == {"refused": "manual trip"}
    strict = create_agent(bare, [founded], middleware=[CostGuardMiddleware(guard)])
    with pytest.raises(SpendLimitExceeded):
        strict.invoke({"messages": [("user", "When?")]})
    assert openai_server.count == 0


async def test_an_agent_is_told_to_conclude_and_then_stopped(bare: ChatOpenAI, openai_server: Simulator) -> None:
    def stubborn(request: dict[str, Any]) -> Any:
        told = "Do not call any more tools" in str(request["messages"][-1]["content"])
        if told and obeys:
            return "About 753 BC."
        return {"tool_calls": [{"name": "founded", "arguments": {"city": str(openai_server.count)}}]}

    openai_server.reply = stubborn
    guard = CostGuard(prices={"gpt-4o-mini": {"input": "1", "output": "10"}})
    agent = create_agent(bare, [founded], middleware=[CostGuardMiddleware(guard)])
    question = {"messages": [("user", "When was Rome founded?")]}
    for obeys in (True, False):
        with guard.agent("historian", limit="$0.02", wrap_up=0.05) as run:
            if obeys:
                answer = await agent.ainvoke(question)
                assert answer["messages"][-1].content == "About 753 BC."
                assert [message.type for message in answer["messages"]].count("human") == 1  # it was told, not noted
            else:
                with pytest.raises(SpendLimitExceeded, match="agent historian"):
                    agent.invoke(question, {"recursion_limit": 500})
            assert run.should_conclude
            assert run.spent <= run.budget.amount


def test_however_many_wrappers_a_call_is_one_event(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    handler = CostGuardCallbackHandler(guard)
    install(guard, cache=ExactCache())
    try:
        model = GuardedChatModel(bare, guard)
        agent = create_agent(model, [], middleware=[CostGuardMiddleware(guard)])
        agent.invoke({"messages": [("user", "Hello")]}, {"callbacks": [handler, CostGuardCallbackHandler(guard)]})
    finally:
        uninstall()
    assert outcomes(guard) == [Outcome.MISS]
    assert openai_server.count == 1


def test_attribution_comes_from_the_block_or_the_config(model: GuardedChatModel, guard: CostGuard) -> None:
    with attribute(user="ann", endpoint="/faq"):
        model.invoke("one")
        stream = model.stream("two")
    list(stream)  # consumed outside of the block
    model.invoke("three", {"metadata": {"user_id": "bob", "session_id": "s9"}})
    list(model.stream("four", {"metadata": {"user_id": "bob"}}))
    found = [event.attribution for event in events(guard)]
    assert [who.user for who in found] == ["ann", "ann", "bob", "bob"]
    assert (found[0].endpoint, found[2].session) == ("/faq", "s9")


def test_tenants_never_share_an_answer(model: GuardedChatModel, openai_server: Simulator) -> None:
    for tenant in ("a", "b", "a"):
        model.invoke("What is a refund?", {"metadata": {"tenant": tenant}})
        list(model.stream("What is a refund?", {"metadata": {"tenant": tenant}}))
    assert openai_server.count == 2


def test_every_choice_is_counted_once(bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator) -> None:
    bare.n = 3
    GuardedChatModel(bare, guard, cache=False).generate([[HumanMessage("Hello")]])
    (event,) = events(guard)
    sent = openai_server.requests[0].body
    assert sent["n"] == 3
    assert event.usage.output_tokens > 0


def test_attempts_that_may_be_billed_are_held(bare: ChatOpenAI, openai_server: Simulator) -> None:
    guard = CostGuard(["$0.02/day"], prices={"gpt-4o-mini": {"input": "0", "output": "0", "request": "0.01"}})
    with pytest.raises(SpendLimitExceeded) as refused:
        GuardedChatModel(bare, guard, cache=False, billed_attempts=3).invoke("Hello")
    assert refused.value.requested == Decimal("0.03")
    GuardedChatModel(bare, guard, cache=False, billed_attempts=2).invoke("Hello")
    assert guard.status()[0].spent == Decimal("0.01")


def test_equal_prompts_have_equal_fingerprints_and_no_text_is_kept(
    model: GuardedChatModel, guard: CostGuard, bare: ChatOpenAI
) -> None:
    for text in ("a secret question", "a secret question", "another one"):
        model.invoke(text)
    bare.invoke("a secret question", {"callbacks": [CostGuardCallbackHandler(guard)]})
    first, second, other, handled = (event.fingerprint for event in events(guard))
    assert first == second == handled != other
    assert "secret" not in str(events(guard))


def test_a_model_without_usage_or_limit_is_counted(guard: CostGuard) -> None:
    model = GuardedChatModel(
        FakeListChatModel(responses=["one two three"]), CostGuard(prices={"fakelist": {"input": "1", "output": "1"}})
    )
    assert model.invoke("Hello there").content == "one two three"
    assert "".join(chunk.text for chunk in model.stream("Hello there")) == "one two three"
    for event in events(model.guard):
        assert event.estimated
        assert event.usage.output_tokens == 3


def test_the_inner_models_rate_limiter_is_asked_only_on_a_miss(bare: ChatOpenAI, guard: CostGuard) -> None:
    class Counting(InMemoryRateLimiter):
        asked = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            Counting.asked += 1
            return True

    bare.rate_limiter = Counting()
    model = GuardedChatModel(bare, guard, cache=ExactCache())
    model.invoke("Hello")
    model.invoke("Hello")
    list(model.stream("Hello"))
    assert Counting.asked == 1


def test_traces_show_the_real_model_and_one_run(model: GuardedChatModel) -> None:
    class Tracer(BaseCallbackHandler):
        starts: list[dict[str, Any]] = []
        ends = 0

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            self.starts.append(kwargs)

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            Tracer.ends += 1

    tracer = Tracer()
    for _ in range(2):
        model.invoke("Hello", {"callbacks": [tracer]})
    assert (len(tracer.starts), tracer.ends) == (2, 2)
    metadata = tracer.starts[0]["metadata"]
    assert (metadata["ls_provider"], metadata["ls_model_name"]) == ("openai", "gpt-4o-mini")
    assert tracer.starts[0]["invocation_params"]["model"] == "gpt-4o-mini"


def test_any_langchain_cache_serves_streams_too(bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator) -> None:
    from langchain_core.caches import InMemoryCache

    model = GuardedChatModel(bare, guard, cache=LayeredCache([ExactCache(), InMemoryCache()]))
    paid = model.invoke("Hello").content
    assert (
        "".join(chunk.text for chunk in GuardedChatModel(bare, guard, cache=model.answer_cache).stream("Hello")) == paid
    )
    foreign = GuardedChatModel(bare, guard, cache=InMemoryCache())
    first, second = foreign.invoke("Hello"), foreign.invoke("Hello")
    assert first.id != second.id
    assert openai_server.count == 2


def test_a_model_that_is_chosen_at_run_time_keeps_the_cache(
    model: GuardedChatModel, guard: CostGuard, openai_server: Simulator
) -> None:
    chosen = model.configurable_fields(model=ConfigurableField("llm"), account=ConfigurableField("account"))
    other = ChatOpenAI(base_url=openai_server.base_url, api_key="simulated", model="gpt-4o", max_retries=0)
    paid = model.invoke("What is a refund?").content
    assert chosen.invoke("What is a refund?").content == paid
    assert chosen.with_config(configurable={"account": "team"}).invoke("What is a refund?").content == paid
    chosen.with_config(configurable={"llm": other}).invoke("What is a refund?")
    assert openai_server.count == 2
    assert [(event.model, event.outcome, event.account) for event in events(guard)] == [
        ("gpt-4o-mini", Outcome.MISS, None),
        ("gpt-4o-mini", Outcome.EXACT, None),
        ("gpt-4o-mini", Outcome.EXACT, "team"),
        ("gpt-4o", Outcome.MISS, None),
    ]


def test_fallbacks_are_held_on_the_model_that_runs(bare: ChatOpenAI, openai_server: Simulator) -> None:
    prices = {"gpt-4o-mini": {"input": "100", "output": "1000"}, "small": {"input": "0.1", "output": "0.1"}}
    guard = CostGuard(["$0.001/day"], prices=prices)
    small = ChatOpenAI(base_url=openai_server.base_url, api_key="simulated", model="small", max_retries=0)
    chain = GuardedChatModel(bare, guard, cache=False).with_fallbacks([GuardedChatModel(small, guard, cache=False)])
    assert chain.invoke("Hello").content
    assert [request.body["model"] for request in openai_server.requests] == ["small"]
    assert outcomes(guard) == [Outcome.MISS, Outcome.REFUSED]


def test_copies_spend_from_the_same_budget(model: GuardedChatModel, guard: CostGuard) -> None:
    fake = GuardedChatModel(FakeListChatModel(responses=["x"]), guard, cache=ExactCache())
    assert copy.deepcopy(fake).guard is guard
    assert model.model_copy().guard is guard
    assert model.model_name == "gpt-4o-mini"
    with pytest.raises(AttributeError):
        _ = model.nothing_of_that_name


def test_a_broken_cache_never_costs_the_answer(bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator) -> None:
    from langchain_core.caches import BaseCache

    class Broken(BaseCache):
        def lookup(self, *_: Any) -> None:
            raise OSError("lookup")

        def update(self, *_: Any) -> None:
            raise OSError("update")

        def clear(self, **_: Any) -> None:
            raise OSError("clear")

    model = GuardedChatModel(bare, guard, cache=Broken())
    assert model.invoke("Hello").content
    assert list(model.stream("Hello"))
    assert outcomes(guard) == [Outcome.MISS] * 2


def test_the_newest_event_protocol_works(model: GuardedChatModel, openai_server: Simulator) -> None:
    for _ in range(2):
        events_of = model.stream_events("Hello", version="v3")
        assert "".join(events_of.text)
    assert openai_server.count == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_tenants_in_a_config_never_share_in_any_event_stream(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator, version: Any
) -> None:
    model = GuardedChatModel(bare, guard, cache=ExactCache())
    for tenant in ("a", "b"):
        told = model.astream_events("What is a lease?", {"metadata": {"tenant": tenant}}, version=version)
        assert [event async for event in (await told if version == "v3" else told)]
    if version == "v3":
        for tenant in ("c", "d"):
            assert list(model.stream_events("What is a lease?", {"metadata": {"tenant": tenant}}, version=version))
    called = 4 if version == "v3" else 2
    assert openai_server.count == called
    assert {event.attribution.tenant for event in events(guard)} == set("abcd"[:called])


def test_metadata_of_the_model_itself_attributes_its_calls(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    cache = ExactCache()
    for tenant in ("a", "b"):
        owned = bare.model_copy(update={"metadata": {"tenant": tenant}})
        model = GuardedChatModel(owned, guard, cache=cache)
        model.invoke("What is a lease?")
        assert list(model.stream("What is a lease?"))
    assert openai_server.count == 2
    assert [event.attribution.tenant for event in events(guard)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_larger_limit_given_to_the_call_is_what_is_held(
    bare: ChatOpenAI, openai_server: Simulator, guarded: bool
) -> None:
    short = bare.model_copy(update={"max_tokens": 10})
    with CostGuard(["1000 tokens/call"]) as guard:
        model = GuardedChatModel(short, guard, fixed_output=True) if guarded else short
        config: Any = {} if guarded else {"callbacks": [CostGuardCallbackHandler(guard)]}
        with pytest.raises(SpendLimitExceeded):
            model.invoke("hi", config, max_tokens=5_000)
    assert openai_server.count == 0


@pytest.mark.parametrize("responses", [True, False])
def test_the_cap_is_the_only_limit_sent(bare: ChatOpenAI, openai_server: Simulator, responses: bool) -> None:
    long = bare.model_copy(update={"max_tokens": 5_000, "use_responses_api": responses})
    with CostGuard(["1000 tokens/call"]) as guard:
        model = GuardedChatModel(long, guard)
        model.invoke("hi")
        model.invoke("hi there", max_tokens=4_000)
        model.invoke("hi, be short", max_tokens=20)
    bodies = [request.body for request in openai_server.requests]
    sent = [[value for name, value in body.items() if name.startswith("max_")] for body in bodies]
    assert [len(limits) for limits in sent] == [1, 1, 1]
    assert [limits[0] < 1_000 for limits in sent[:2]] == [True, True]
    assert sent[2] == [20]


@pytest.mark.parametrize("hidden", [{"max_completion_tokens": 5_000}, {"max_tokens": 5_000}])
def test_a_limit_that_the_extra_body_writes_over_the_cap_is_held(
    bare: ChatOpenAI, openai_server: Simulator, hidden: dict[str, int]
) -> None:
    many = bare.model_copy(update={"max_tokens": 100, "extra_body": hidden})
    with CostGuard(["1000 tokens/call"]) as guard, pytest.raises(SpendLimitExceeded):
        GuardedChatModel(many, guard).invoke("hi")
    assert openai_server.count == 0


def test_choices_in_the_extra_body_are_held(bare: ChatOpenAI, openai_server: Simulator) -> None:
    many = bare.model_copy(update={"max_tokens": 100, "extra_body": {"n": 20}})
    with CostGuard(["1000 tokens/call"]) as guard, pytest.raises(SpendLimitExceeded):
        GuardedChatModel(many, guard).invoke("hi")
    assert openai_server.count == 0


def test_an_extra_body_without_limits_leaves_the_cap_to_the_budget(bare: ChatOpenAI, openai_server: Simulator) -> None:
    tuned = bare.model_copy(update={"extra_body": {"top_k": 5}})
    with CostGuard(["1000 tokens/call"]) as guard:
        GuardedChatModel(tuned, guard).invoke("hi")
    assert openai_server.requests[-1].body["max_completion_tokens"] < 1_000


def test_guarding_twice_is_one_reservation_and_one_bill(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    twice = GuardedChatModel(GuardedChatModel(bare, guard, cache=ExactCache()), guard)
    twice.invoke("hi")
    twice.invoke("hi")
    assert openai_server.count == 1
    assert outcomes(guard) == [Outcome.EXACT, Outcome.MISS]


def test_the_repr_shows_no_header_of_the_model(bare: ChatOpenAI, guard: CostGuard) -> None:
    secret = bare.model_copy(update={"default_headers": {"Authorization": "Bearer hush"}})
    model = GuardedChatModel(secret, guard)
    assert "hush" not in repr(model) + str(model)
    assert "ChatOpenAI" in repr(model)


async def test_what_a_batch_says_of_its_tokens_is_as_without_a_guard(bare: ChatOpenAI, model: GuardedChatModel) -> None:
    questions = [[HumanMessage("Who wrote Faust?")]]  # of two, LangChain adds up what is None, and warns
    told = bare.generate(questions).llm_output
    assert told["token_usage"]["total_tokens"] > 0
    assert model.generate(questions).llm_output == told
    assert (await model.agenerate(questions)).llm_output["model_name"] == "gpt-4o-mini"  # of a hit


def test_an_integration_is_told_of_hits_as_by_langchain(cache: ExactCache) -> None:
    class FirstTold(FakeListChatModel):  # as ChatTongyi does it
        def _combine_llm_outputs(self, llm_outputs: list[Any]) -> dict[str, Any]:
            return {} if llm_outputs[0] is None else dict(llm_outputs[0])

    guarded = GuardedChatModel(FirstTold(responses=["yes"]), CostGuard(), cache=cache)
    for _ in range(2):
        assert guarded.generate([[HumanMessage("hi")]]).llm_output == {}


def test_messages_are_counted_as_the_model_counts_them(guard: CostGuard) -> None:
    class OwnTokens(FakeListChatModel):
        def get_token_ids(self, text: str) -> list[int]:
            return [1, 2, 3]

        def get_num_tokens_from_messages(self, messages: Any, tools: Any = None, **options: Any) -> int:
            return 100 * len(messages)

    guarded = GuardedChatModel(OwnTokens(responses=["yes"]), guard)
    assert guarded.get_token_ids("hi") == [1, 2, 3]
    messages = [HumanMessage(str(number)) for number in range(5)]
    assert len(trim_messages(messages, max_tokens=300, token_counter=guarded)) == 3
