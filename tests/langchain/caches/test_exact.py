"""What goes wrong with LangChain's own caches, each as a test over a real ChatOpenAI and real HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.caches import BaseCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_models import chat_model
from langchain_openai import ChatOpenAI, OpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from local_redis import with_long_timeouts
from pydantic import BaseModel
from waiting import async_wait_until, wait_until

from costguard_core.simulate import Fault
from costguard_core.types import Attribution
from langchain_costguard import CachePolicy, ExactCache, attribute, cache_control
from langchain_costguard.translate.keys import TextContent

if TYPE_CHECKING:
    from costguard_core.simulate import Simulator


@pytest.fixture
def cache() -> Iterator[ExactCache]:
    cache = ExactCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


@pytest.fixture
def model(openai_server: Simulator, cache: ExactCache) -> ChatOpenAI:
    return chat_model(openai_server)


def _mark(message: Any) -> Any:
    return message.response_metadata.get("costguard")


# 1. A schema that is keyed by the name of its class


def test_two_schemas_of_one_name_do_not_share_an_answer(model: ChatOpenAI, openai_server: Simulator) -> None:
    def first() -> type[BaseModel]:
        class Out(BaseModel):
            name: str

        return Out

    def second() -> type[BaseModel]:
        class Out(BaseModel):
            name: str
            n: int

        return Out

    one, two = first(), second()
    two.__qualname__ = one.__qualname__
    assert repr(one) == repr(two)
    openai_server.reply = lambda _: '{"name": "x", "n": 3}'
    model.with_structured_output(one).invoke("Give me one")
    answer = model.with_structured_output(two).invoke("Give me one")
    assert isinstance(answer, two)
    assert answer.model_dump() == {"name": "x", "n": 3}
    assert openai_server.count == 2


def test_a_schema_given_as_data_is_cached(model: ChatOpenAI, openai_server: Simulator) -> None:
    schema = {"title": "Out", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    openai_server.reply = lambda _: '{"name": "x"}'
    structured = model.with_structured_output(schema)
    assert structured.invoke("Give me one") == structured.invoke("Give me one") == {"name": "x"}
    assert openai_server.count == 1
    other = model.with_structured_output({**schema, "title": "Other"})
    other.invoke("Give me one")
    assert openai_server.count == 2


# 2. A model that was changed after its first call


def test_a_changed_model_gets_its_own_answer(model: ChatOpenAI, openai_server: Simulator) -> None:
    model.invoke("hi")
    model.model_name = "gpt-4o"
    assert _mark(model.invoke("hi")) is None
    changed = model.model_copy(update={"temperature": 0.5})
    assert _mark(changed.invoke("hi")) is None
    assert [request.body["model"] for request in openai_server.requests] == ["gpt-4o-mini", "gpt-4o", "gpt-4o"]
    model.model_name = "gpt-4o-mini"
    assert _mark(model.invoke("hi"))["cache"] == "exact"
    model.model_kwargs = {"logit_bias": {"1": 2}}
    assert _mark(model.invoke("hi")) is None
    model.model_kwargs["logit_bias"] = {"1": 3}
    assert _mark(model.invoke("hi")) is None


# 3. Secrets


def test_no_secret_reaches_the_store(openai_server: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    model = chat_model(
        openai_server,
        api_key="sk-hunter2",
        default_headers={"Authorization": "Bearer hunter2", "X-Api-Key": "hunter2"},
        cache=ExactCache(f"sqlite:///{path}"),
    )
    model.invoke("My question about hunter3")
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert sqlite3.connect(path).execute("SELECT COUNT(*) FROM costguard_cache").fetchone() == (1,)
    assert b"hunter2" not in stored


def test_the_users_question_is_not_stored(openai_server: Simulator, tmp_path: Path) -> None:
    openai_server.reply = lambda _: "an answer"
    model = chat_model(openai_server, cache=ExactCache(f"sqlite:///{tmp_path}/c.db"))
    model.invoke("a very particular question")
    assert b"particular" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


# 4. What a lookup returns


def test_a_hit_is_an_ordinary_message_with_a_mark(model: ChatOpenAI) -> None:
    paid, hit = model.invoke("hi"), model.invoke("hi")
    assert type(hit) is AIMessage
    assert hit.content == paid.content
    mark = _mark(hit)
    assert mark["cache"] == "exact"
    assert float(mark["saved_usd"]) > 0
    assert _mark(paid) is None
    assert paid.usage_metadata is not None
    assert hit.usage_metadata == {**paid.usage_metadata, "total_cost": 0}


def test_what_a_stream_stored_comes_back_as_a_message(openai_server: Simulator, cache: ExactCache) -> None:
    streaming = chat_model(openai_server, streaming=True, stream_usage=True)
    paid, hit = streaming.invoke("hi"), chat_model(openai_server).invoke("hi")
    assert type(hit) is AIMessage
    assert hit.content == paid.content
    assert openai_server.count == 1


# 5. A broken cache


class _BrokenStore:
    url, shared = "broken://", False

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise OSError(name)

        return fail


async def test_a_broken_store_costs_nobody_the_answer(openai_server: Simulator) -> None:
    cache = ExactCache(_BrokenStore())
    model = chat_model(openai_server, cache=cache)
    assert model.invoke("hi").content
    assert (await model.ainvoke("hi")).content
    assert openai_server.count == 2
    assert cache.stats().errors >= 4


@pytest.mark.parametrize("payload", [[], [{"m": {}}], [{"m": {"c": 5}}, {}], {"x": 1}, "text", [None]])
def test_a_payload_that_makes_no_sense_is_a_miss(model: ChatOpenAI, cache: ExactCache, payload: Any) -> None:
    model.invoke("hi")
    store: Any = cache.engine.store
    from costguard_core.cache.answer import Answer, to_bytes

    for key in list(store._entries):
        store.put(key, to_bytes(Answer(payload)))
    assert isinstance(model.invoke("hi").content, str)


# 6. Shared objects


def test_nobody_can_change_the_cached_answer(model: ChatOpenAI, openai_server: Simulator) -> None:
    openai_server.reply = lambda _: "pure"
    for _ in range(3):
        message = model.invoke("hi")
        assert message.content == "pure"
        message.content = "POISON"
        message.response_metadata["finish_reason"] = "POISON"
        message.additional_kwargs["poison"] = True
    assert openai_server.count == 1
    assert "POISON" not in repr(model.invoke("hi"))


def test_every_hit_has_an_id_of_its_own(model: ChatOpenAI) -> None:
    ids = [model.invoke("hi").id for _ in range(4)]
    assert len(set(ids)) == 4
    assert None not in ids


class _State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def test_a_langgraph_thread_keeps_both_answers(model: ChatOpenAI) -> None:
    graph = StateGraph(_State)
    graph.add_node("model", lambda state: {"messages": [model.invoke([HumanMessage(state["messages"][-1].content)])]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    app = graph.compile()
    state = app.invoke({"messages": [HumanMessage("hi")]})
    state = app.invoke({"messages": [*state["messages"], HumanMessage("hi")]})
    assert [message.type for message in state["messages"]] == ["human", "ai", "human", "ai"]


# 7. Answers that are not worth repeating


@pytest.mark.parametrize(
    ("reply", "count"),
    [
        ("fine", 1),
        ({"content": "cut off", "finish_reason": "length"}, 2),
        ({"content": "", "finish_reason": "content_filter"}, 2),
        ({"content": "", "refusal": "I cannot help with that"}, 2),
        ({"content": ""}, 2),
    ],
)
def test_only_whole_answers_are_kept(model: ChatOpenAI, openai_server: Simulator, reply: Any, count: int) -> None:
    openai_server.reply = lambda _: reply
    model.invoke("hi")
    model.invoke("hi")
    assert openai_server.count == count


def test_high_temperature_asks_for_variety(openai_server: Simulator, cache: ExactCache) -> None:
    hot, warm = chat_model(openai_server, temperature=1.5), chat_model(openai_server, temperature=0.7)
    for model in (hot, warm):
        model.invoke("hi")
        model.invoke("hi")
    assert openai_server.count == 3


def test_all_choices_come_back(openai_server: Simulator, cache: ExactCache) -> None:
    model = chat_model(openai_server, n=3)
    paid, hit = (model.generate([[HumanMessage("hi")]]).generations[0] for _ in range(2))
    assert openai_server.count == 1
    assert [g.text for g in hit] == [g.text for g in paid]
    assert len({g.message.id for g in hit if isinstance(g, ChatGeneration)}) == 3


# 8. Single flight


def test_a_batch_of_identical_questions_is_paid_once(
    model: ChatOpenAI, cache: ExactCache, openai_server: Simulator
) -> None:
    with ThreadPoolExecutor(1) as pool, openai_server.hold():
        batch = pool.submit(model.batch, ["dup"] * 8, {"max_concurrency": 8})
        wait_until(lambda: cache.stats().misses == 8)
    answers = batch.result()
    assert openai_server.count == 1
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.id for answer in answers}) == 8
    assert {(_mark(a) or {}).get("cache") for a in answers} <= {None, "exact", "coalesced"}


async def test_concurrent_identical_questions_are_paid_once(
    model: ChatOpenAI, cache: ExactCache, openai_server: Simulator
) -> None:
    with openai_server.hold():
        calls = [asyncio.create_task(model.ainvoke("dup")) for _ in range(20)]
        await async_wait_until(lambda: cache.stats().misses == 20)
    answers = await asyncio.gather(*calls)
    assert openai_server.count == 1
    assert sum(_mark(answer) is None for answer in answers) == 1


def test_after_an_error_the_next_one_tries(model: ChatOpenAI, cache: ExactCache, openai_server: Simulator) -> None:
    openai_server.faults.append(Fault(status=500))
    with ThreadPoolExecutor(1) as pool, openai_server.hold():
        batch = pool.submit(model.batch, ["dup"] * 6, {"max_concurrency": 6}, return_exceptions=True)
        wait_until(lambda: cache.stats().misses == 6)
    answers = batch.result()
    assert openai_server.count == 2
    assert sum(isinstance(answer, Exception) for answer in answers) == 1


async def test_after_an_async_error_the_next_one_tries(
    model: ChatOpenAI, cache: ExactCache, openai_server: Simulator
) -> None:
    openai_server.faults.append(Fault(status=500))
    with openai_server.hold():
        calls = [asyncio.create_task(model.ainvoke("dup")) for _ in range(6)]
        await async_wait_until(lambda: cache.stats().misses == 6)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert openai_server.count == 2
    assert sum(isinstance(answer, Exception) for answer in answers) == 1


async def test_a_cancelled_call_lets_the_next_one_try(
    model: ChatOpenAI, cache: ExactCache, openai_server: Simulator
) -> None:
    with openai_server.hold():
        first = asyncio.create_task(model.ainvoke("dup"))
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        second = asyncio.create_task(model.ainvoke("dup"))
        await async_wait_until(lambda: cache.stats().misses == 2)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        await asyncio.to_thread(openai_server.wait_for_requests, 2)
    assert (await second).content


async def test_threads_and_tasks_share_a_flight(model: ChatOpenAI, cache: ExactCache, openai_server: Simulator) -> None:
    with openai_server.hold():  # ended by this event loop, which a waiting task must not block
        in_thread = asyncio.create_task(asyncio.to_thread(model.invoke, "dup"))
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        in_task = asyncio.create_task(model.ainvoke("dup"))
        await async_wait_until(lambda: cache.stats().misses == 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not in_thread.done()
        assert not in_task.done()
    await asyncio.gather(in_thread, in_task)
    assert openai_server.count == 1


# 9. Warnings: every test here runs with warnings as errors

# 10. Clearing


def test_clear_leaves_the_rest_of_the_database(openai_server: Simulator, redis_url: str) -> None:
    import redis

    client = redis.Redis.from_url(redis_url)
    client.set("mine", "precious")
    cache = ExactCache(with_long_timeouts(redis_url))
    model = chat_model(openai_server, cache=cache)
    model.invoke("hi")
    assert client.dbsize() > 1
    cache.clear()
    model.invoke("hi")
    assert openai_server.count == 2
    assert client.get("mine") == b"precious"
    client.close()
    cache.engine.store.close()


# 11. Completion models


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_completion_models(openai_server: Simulator, cache: ExactCache, kind: str) -> None:
    async def ask(base_url: str = openai_server.base_url, **kwargs: Any) -> str:
        model = OpenAI(model="gpt-3.5-turbo-instruct", api_key="x", base_url=base_url)
        try:
            return model.invoke("hi", **kwargs) if kind == "sync" else await model.ainvoke("hi", **kwargs)
        finally:
            await model.async_client._client.close()

    first = await ask()
    assert await ask() == first
    assert openai_server.count == 1
    await ask(temperature=0)  # LangChain leaves the call's arguments out of this key
    assert openai_server.count == 2
    with attribute(tenant="other"):
        await ask()
    assert openai_server.count == 3
    await ask(openai_server.base_url + "/")  # and the address of the server
    assert openai_server.count == 4


# Tenants, attribution, control


def test_tenants_named_in_metadata_do_not_share(model: ChatOpenAI, openai_server: Simulator) -> None:
    for tenant in ("a", "b", "a"):
        model.invoke("hi", config={"metadata": {"tenant": tenant}})
    assert openai_server.count == 2
    chain: Runnable[str, Any] = RunnableLambda(lambda question: model.invoke(question))
    chain.invoke("hi", config={"metadata": {"tenant": "b"}})
    with attribute(tenant="a"):
        model.invoke("hi")
    assert openai_server.count == 2


async def test_tenants_do_not_share_in_async_either(model: ChatOpenAI, openai_server: Simulator) -> None:
    for tenant in ("a", "b", "a"):
        await model.ainvoke("hi", config={"metadata": {"tenant": tenant}})
    assert openai_server.count == 2


def test_personal_questions_are_shared_with_nobody(openai_server: Simulator) -> None:
    question = "Where is my order?"
    model = chat_model(openai_server, cache=ExactCache())
    model.invoke(question)
    model.invoke(question)
    assert openai_server.count == 2
    private = chat_model(openai_server, cache=ExactCache(policy=CachePolicy(scope=("tenant", "user"))))
    for user in ("u1", "u2", "u1"):
        private.invoke(question, config={"metadata": {"user_id": user}})
    assert openai_server.count == 4


def test_control_of_one_call(model: ChatOpenAI, openai_server: Simulator) -> None:
    model.invoke("hi")
    with cache_control(no_cache=True):
        model.invoke("hi")
    assert openai_server.count == 2
    openai_server.reply = lambda _: "fresh"
    with cache_control(refresh=True):
        model.invoke("hi")
    assert model.invoke("hi").content == "fresh"
    assert openai_server.count == 3


def test_invalidation_by_document(model: ChatOpenAI, openai_server: Simulator, cache: ExactCache) -> None:
    with attribute(documents=["faq-7"], endpoint="/support"):
        model.invoke("hi")
    assert cache.invalidate(document="faq-8") == 0
    assert cache.invalidate(document="faq-7", model="gpt-4o-mini") == 1
    model.invoke("hi")
    assert openai_server.count == 2


# What the key is made of


def test_what_cannot_change_the_answer_does_not_cost(openai_server: Simulator, cache: ExactCache) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"timeout": 30},
        {"max_retries": 3},
        {"streaming": True},
        {"stream_usage": True},
        {"disable_streaming": True},
        {"name": "bot"},
        {"tags": ["t"], "metadata": {"a": 1}, "verbose": True},
        {"api_key": "another"},
        {"default_headers": None},
    ]
    for options in variants:
        chat_model(openai_server, **options).invoke("hi")
    assert openai_server.count == 1


def test_what_can_change_the_answer_does(openai_server: Simulator, cache: ExactCache) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"model": "gpt-4o"},
        {"temperature": 0},
        {"seed": 7},
        {"top_p": 0.5},
        {"max_tokens": 50},
        {"n": 2},
        {"logit_bias": {50256: -100}},
        {"organization": "org"},
        {"extra_body": {"x": 1}},
        {"stop": ["END"]},
    ]
    for count, options in enumerate(variants, 1):
        chat_model(openai_server, **options).invoke("hi")
        assert openai_server.count == count


def test_temperature_is_the_same_from_constructor_and_call(openai_server: Simulator, cache: ExactCache) -> None:
    chat_model(openai_server, temperature=0).invoke("hi")
    chat_model(openai_server).invoke("hi", temperature=0.0)
    chat_model(openai_server, temperature=1).bind(temperature=0).invoke("hi")
    assert openai_server.count == 1


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


def test_tools_in_any_order(model: ChatOpenAI, openai_server: Simulator) -> None:
    model.bind_tools([_tool("a"), _tool("b")]).invoke("hi")
    model.bind_tools([_tool("b"), _tool("a")]).invoke("hi")
    assert openai_server.count == 1
    model.bind_tools([_tool("b")]).invoke("hi")
    assert openai_server.count == 2


def test_tool_calls_are_cached_and_their_rounds_too(model: ChatOpenAI, openai_server: Simulator) -> None:
    openai_server.reply = lambda body: (
        "done" if body["messages"][-1]["role"] == "tool" else {"tool_calls": [{"name": "a", "arguments": {"q": "x"}}]}
    )
    agent = model.bind_tools([_tool("a")])

    def turn() -> str:
        asked = HumanMessage("hi")
        called = agent.invoke([asked])
        assert isinstance(called, AIMessage)
        result = ToolMessage("42", tool_call_id=called.tool_calls[0]["id"])
        return str(agent.invoke([asked, called, result]).content)

    assert turn() == turn() == "done"
    assert openai_server.count == 2


def test_two_equal_conversations_cost_one(model: ChatOpenAI, openai_server: Simulator) -> None:
    """LangChain's own caches pay three times: the hit's ``total_cost`` changes the key of the next turn."""
    for _ in range(3):
        first = model.invoke([HumanMessage("hi")])
        model.invoke([HumanMessage("hi"), first, HumanMessage("and then?")])
    assert openai_server.count == 2


def test_hosted_tools_are_not_cached(model: ChatOpenAI, cache: ExactCache) -> None:
    remote = {"type": "mcp", "server_url": "https://x", "headers": {"Authorization": "Bearer hunter2"}}
    for tools in ([{"type": "web_search_preview"}], [remote]):
        key = cache.keys.raw(TextContent("p", "", Attribution(), model=model, kwargs={"tools": tools}))
        assert not hasattr(key, "digest")
        assert "hunter2" not in repr(key)


# Callers that are not recognised


def test_a_wrapper_around_the_cache_works(openai_server: Simulator) -> None:
    class Wrapper(BaseCache):
        def __init__(self) -> None:
            self.inner = ExactCache()

        def lookup(self, prompt: str, llm_string: str) -> Any:
            return self.inner.lookup(prompt, llm_string)

        def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
            self.inner.update(prompt, llm_string, return_val)

        def clear(self, **kwargs: Any) -> None:
            self.inner.clear()

    model = chat_model(openai_server, cache=Wrapper())
    for tenant in ("a", "b"):
        with attribute(tenant=tenant):
            model.invoke("hi")
            model.invoke("hi")
    assert openai_server.count == 2


async def test_an_unknown_caller_shares_the_entries(model: ChatOpenAI, cache: ExactCache) -> None:
    """The strings alone lead to the key that LangChain's objects lead to."""
    from langchain_core.load import dumps

    paid = model.invoke("hi", temperature=0)
    prompt, llm_string = dumps([HumanMessage("hi")]), model._get_llm_string(temperature=0)
    found = cache.lookup(prompt, llm_string)
    assert found is not None
    assert found[0].text == paid.content
    assert await cache.alookup(prompt, llm_string) is not None
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.append(cache.lookup(prompt, llm_string)))
    thread.start()
    thread.join()
    assert other[0] is not None
