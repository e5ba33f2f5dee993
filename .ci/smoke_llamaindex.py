"""Uses the LlamaIndex adapter once in each way, against a simulated provider. `make lowest` runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from costguard_core.simulate import Simulator
from llamaindex_costguard import (
    CostGuard,
    CostGuardEventHandler,
    ExactCache,
    LayeredCache,
    SemanticCache,
    SpendLimitExceeded,
    TieredRouter,
    attribute,
    guard_embedding,
    guard_llm,
    install,
    uninstall,
)

BUDGETS = ["$25/day per user", "60 requests/minute per user", "$0.50/call"]


class Capital(BaseModel):
    """The capital of a country."""

    name: str


def founded(city: str) -> str:
    """When a city was founded."""
    return "753 BC"


def ask(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def openai(server: Simulator, model: str = "gpt-4o-mini") -> OpenAI:
    return OpenAI(model=model, api_base=server.base_url, api_key="simulated", max_retries=0)


def openai_embedding(server: Simulator) -> OpenAIEmbedding:
    return OpenAIEmbedding(api_base=server.base_url, api_key="simulated", max_retries=0)


@contextmanager
def requests(server: Simulator, count: int) -> Iterator[None]:
    """The block sends that many requests to the provider."""
    before = server.count
    yield
    assert server.count - before == count, f"{server.count - before} requests instead of {count}"


def check_guarded_llm(server: Simulator) -> None:
    with CostGuard(BUDGETS) as guard:
        llm = guard_llm(openai(server), guard, cache="memory://")
        question = ask("What is the capital of France?")
        with attribute(user="u1"), requests(server, 3):
            paid, hit = llm.chat(question), llm.chat(question)
            assert hit.message.content == paid.message.content
            assert hit.additional_kwargs["costguard"]["cache"] == "exact"
            for _ in range(2):
                assert "".join(chunk.delta or "" for chunk in llm.stream_chat(ask("And of Italy?")))
                assert llm.complete("The capital of Spain is").text
        with requests(server, 3):
            assert "".join(chunk.delta or "" for chunk in llm.stream_complete("The capital of Norway is"))
            assert llm.as_structured_llm(Capital).chat(ask("And of Malta?")).raw.name
            tool = FunctionTool.from_defaults(founded)
            answer = llm.chat_with_tools([tool], user_msg="When was Rome founded?", tool_required=True)
            assert llm.get_tool_calls_from_response(answer)
        assert guard.report()["gpt-4o-mini"].spend_usd > 0
        assert not any(row.held for row in guard.status())


async def check_guarded_llm_async(server: Simulator) -> None:
    async with CostGuard(BUDGETS) as guard:
        llm = guard_llm(openai(server), guard, cache="memory://")
        with requests(server, 3):
            for _ in range(2):
                assert (await llm.achat(ask("Name a river."))).message.content
                assert (await llm.acomplete("A lake is")).text
                stream = await llm.astream_chat(ask("Name a mountain."))
                assert "".join([chunk.delta or "" async for chunk in stream])
        assert not any(row.held for row in guard.status())


def check_refusal(server: Simulator) -> None:
    llm = guard_llm(openai(server), CostGuard(["1 requests/day"]))
    with requests(server, 1):
        llm.chat(ask("First?"))
        refusal = None
        try:
            llm.chat(ask("Second?"))
        except SpendLimitExceeded as error:
            refusal = error
    assert refusal is not None
    assert refusal.retry_after


def check_embedding(server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    embedding = guard_embedding(openai_embedding(server), guard)
    with requests(server, 1):
        vectors = embedding.get_text_embedding_batch(["a cat", "a dog"])
        assert embedding.get_text_embedding("a cat") == vectors[0]
    assert not any(row.held for row in guard.status())


def check_query_engine(server: Simulator, folder: str) -> None:
    """Through ``Settings``, as ``install`` leaves them, with a cache in two layers."""
    guard = CostGuard(BUDGETS)
    Settings.llm, Settings.embed_model = openai(server), openai_embedding(server)
    semantic = SemanticCache("wordllama", path=folder, decide="guarded", threshold=0.7)
    install(guard, cache=LayeredCache([ExactCache(), semantic]))
    try:
        engine = VectorStoreIndex.from_documents([Document(text="Items come back.")]).as_query_engine()
        with requests(server, 2):  # one embedding, one answer
            for question in ["How do I return an item?", "How do I return an item?"]:
                engine.query(question)
        with requests(server, 1):
            Settings.llm.chat(ask("How do I return an item?"))
            Settings.llm.chat(ask("How can I return an item?"))
    finally:
        uninstall()
    assert guard.report()["gpt-4o-mini"].hits == 2


def check_event_handler(server: Simulator) -> None:
    from llama_index.core.instrumentation import get_dispatcher

    guard = CostGuard()
    handler = CostGuardEventHandler(guard)
    get_dispatcher().add_event_handler(handler)
    try:
        openai(server).chat(ask("Metered?"))
        list(openai(server).stream_chat(ask("Streamed?")))
    finally:
        get_dispatcher().event_handlers.remove(handler)
    assert guard.report()["gpt-4o-mini"].calls == 2


def check_router(server: Simulator) -> None:
    tiers = {"cheap": openai(server, "gpt-4.1-nano"), "strong": openai(server, "gpt-4.1")}
    router = TieredRouter(**tiers, score=lambda request: float("hard" in request.text), threshold=0.5)
    guard = CostGuard(BUDGETS)
    llm = guard_llm(router, guard, cache="memory://")
    with requests(server, 3):
        llm.chat(ask("An easy one?"))
        assert llm.chat(ask("A hard one?")).additional_kwargs["costguard"]["route"]
        "".join(chunk.delta or "" for chunk in llm.stream_chat(ask("A hard one, streamed?")))
    assert {row.label for row in guard.report()} == {"gpt-4.1-nano", "gpt-4.1"}


def main() -> None:
    with Simulator() as server, TemporaryDirectory() as folder:
        check_guarded_llm(server)
        asyncio.run(check_guarded_llm_async(server))
        check_refusal(server)
        check_embedding(server)
        check_query_engine(server, folder)
        check_event_handler(server)
        check_router(server)
    print("the LlamaIndex adapter works")


if __name__ == "__main__":
    main()
