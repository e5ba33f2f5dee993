"""Uses the LangChain adapter once in each way, against a simulated provider. `make lowest` runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from costguard_core.simulate import Simulator
from langchain_costguard import (
    CostGuard,
    CostGuardCallbackHandler,
    ExactCache,
    GuardedChatModel,
    GuardedEmbeddings,
    LayeredCache,
    SemanticCache,
    SpendLimitExceeded,
    TieredRouter,
    VectorStoreCacheIndex,
    attribute,
    install,
    uninstall,
)

BUDGETS = ["$25/day per user", "60 requests/minute per user", "$0.50/call"]


class Capital(BaseModel):
    """The capital of a country."""

    name: str


@tool
def founded(city: str) -> str:
    """When a city was founded."""
    return "753 BC"


def chat(server: Simulator, model: str = "gpt-4o-mini") -> ChatOpenAI:
    return ChatOpenAI(base_url=server.base_url, api_key="simulated", model=model, max_retries=0)


def embeddings(server: Simulator) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(base_url=server.base_url, api_key="simulated", check_embedding_ctx_length=False)


@contextmanager
def requests(server: Simulator, count: int) -> Iterator[None]:
    """The block sends that many requests to the provider."""
    before = server.count
    yield
    assert server.count - before == count, f"{server.count - before} requests instead of {count}"


def check_guarded_model(server: Simulator) -> None:
    with CostGuard(BUDGETS) as guard:
        model = GuardedChatModel(chat(server), guard, cache=ExactCache())
        question = "What is the capital of France?"
        with attribute(user="u1"), requests(server, 2):
            paid, hit = model.invoke(question), model.invoke(question)
            assert hit.content == paid.content
            assert hit.response_metadata["costguard"]["cache"] == "exact"
            assert "".join(chunk.content for chunk in model.stream(question)) == paid.content
            streamed = "".join(chunk.content for chunk in model.stream("And of Italy?"))
            assert model.invoke("And of Italy?").content == streamed
        with requests(server, 4):
            model.batch(["And of Spain?", "And of Norway?"])
            assert model.with_structured_output(Capital).invoke("And of Malta?").name
            assert model.bind_tools([founded], tool_choice="founded").invoke("When was Rome founded?").tool_calls
        assert guard.report()["gpt-4o-mini"].spend_usd > 0
        assert not any(row.held for row in guard.status())


async def check_guarded_model_async(server: Simulator) -> None:
    async with CostGuard(BUDGETS) as guard:
        model = GuardedChatModel(chat(server), guard, cache=ExactCache())
        with requests(server, 2):
            paid = await model.ainvoke("Name a river.")
            assert (await model.ainvoke("Name a river.")).content == paid.content
            streamed = "".join([chunk.content async for chunk in model.astream("Name a mountain.")])
            assert "".join([chunk.content async for chunk in model.astream("Name a mountain.")]) == streamed
        assert not any(row.held for row in guard.status())


def check_refusal(server: Simulator) -> None:
    guard = CostGuard(["1 requests/day"])
    model = GuardedChatModel(chat(server), guard)
    with requests(server, 1):
        model.invoke("First?")
        refusal = None
        try:
            model.invoke("Second?")
        except SpendLimitExceeded as error:
            refusal = error
    assert refusal is not None
    assert refusal.retry_after


def check_handler(server: Simulator) -> None:
    guard = CostGuard(BUDGETS)
    callbacks = {"callbacks": [CostGuardCallbackHandler(guard)]}
    with requests(server, 3):
        chat(server).invoke("Metered?", callbacks)
        list(chat(server).stream("Streamed?", callbacks, stream_usage=True))
        asyncio.run(chat(server).ainvoke("Async?", callbacks))
    assert guard.report()["gpt-4o-mini"].calls == 3


def check_installed(server: Simulator) -> None:
    guard = CostGuard(BUDGETS)
    semantic = SemanticCache("wordllama", index=VectorStoreCacheIndex(open_store), decide="guarded", threshold=0.7)
    install(guard, cache=LayeredCache([ExactCache(), semantic]))
    try:
        with requests(server, 1):
            for question in ["How do I return an item?", "How do I return an item?", "How can I return an item?"]:
                chat(server).invoke(question)
    finally:
        uninstall()
    assert guard.report()["gpt-4o-mini"].hits == 2


def open_store(scope: str, embeddings: Embeddings) -> InMemoryVectorStore:
    return InMemoryVectorStore(embeddings)


def check_global_cache(server: Simulator) -> None:
    set_llm_cache(ExactCache())
    try:
        with requests(server, 1):
            chat(server).invoke("What is cached?")
            chat(server).invoke("What is cached?")
    finally:
        set_llm_cache(None)


def check_router(server: Simulator) -> None:
    tiers = {"cheap": chat(server, "gpt-4.1-nano"), "strong": chat(server, "gpt-4.1")}
    router = TieredRouter(**tiers, score=lambda request: float("hard" in request.text), threshold=0.5)
    guard = CostGuard(BUDGETS)
    model = GuardedChatModel(router, guard, cache=ExactCache())
    with requests(server, 3):
        model.invoke("An easy one?")
        assert model.invoke("A hard one?").response_metadata["costguard"]["route"]
        "".join(chunk.content for chunk in model.stream("A hard one, streamed?"))
    assert {row.label for row in guard.report()} == {"gpt-4.1-nano", "gpt-4.1"}


def check_embeddings(server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    guarded = GuardedEmbeddings(embeddings(server), guard)
    with requests(server, 1):
        vector = guarded.embed_documents(["a cat", "a dog"])[0]
        assert guarded.embed_documents(["a cat"]) == [vector]
    assert guard.report()["text-embedding-ada-002"].calls == 2


def check_agent(server: Simulator) -> None:
    from langchain.agents import create_agent

    from langchain_costguard import CostGuardMiddleware

    def reply(body: dict) -> object:
        if body["messages"][-1]["role"] == "tool":
            return "In 753 BC."
        return {"tool_calls": [{"name": "founded", "arguments": {"city": "Rome"}}]}

    server.reply = reply
    guard = CostGuard(BUDGETS)
    agent = create_agent(chat(server), [founded], middleware=[CostGuardMiddleware(guard, cache=ExactCache())])
    try:
        with requests(server, 2):
            for _ in range(2):
                done = agent.invoke({"messages": [HumanMessage("When was Rome founded?")]})
                assert isinstance(done["messages"][-1], AIMessage)
                assert done["messages"][-1].content == "In 753 BC."
    finally:
        server.reply = None


def main() -> None:
    with Simulator() as server:
        check_guarded_model(server)
        asyncio.run(check_guarded_model_async(server))
        check_refusal(server)
        check_handler(server)
        check_installed(server)
        check_global_cache(server)
        check_router(server)
        check_embeddings(server)
        check_agent(server)
    print("the LangChain adapter works")


if __name__ == "__main__":
    main()
