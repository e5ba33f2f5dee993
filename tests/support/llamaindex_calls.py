"""Every way in which LlamaIndex calls a model, by name: each takes an LLM and returns something to compare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from costguard_core.simulate import Simulator

SECRET = "sk-very-secret-1234"
HELLO = [ChatMessage(role="user", content="hi there")]


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def about_prompt() -> PromptTemplate:
    """A prompt of one's own: LlamaIndex leaves its parser in one that it asked a text model for an object with."""
    return PromptTemplate("Tell me about {topic}.")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent_reply(body: dict[str, Any]) -> str | None:
    """Scripts the simulator where an agent expects a form."""
    return "Thought: I can answer without tools.\nAnswer: six" if "Thought:" in str(body["messages"]) else None


@cache  # retrieval breaks ties by node ids, which are random
def pets_index() -> VectorStoreIndex:
    documents = [Document(text="cats purr"), Document(text="dogs bark")]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


def add_tool() -> FunctionTool:
    return FunctionTool.from_defaults(add)


def user_message(text: str) -> list[ChatMessage]:
    """A conversation of one message."""
    return [ChatMessage(role="user", content=text)]


def sent_bodies(server: Simulator) -> list[dict[str, Any]]:
    """The requests that the server has seen, in an order of their own, without the one option that guards add."""
    sent = [{name: value for name, value in made.body.items() if name != "stream_options"} for made in server.requests]
    return sorted(sent, key=str)


async def call_model(name: str, llm: Any) -> Any:
    """Make one of :data:`SYNC_CALLS` or :data:`ASYNC_CALLS`."""
    return await ASYNC_CALLS[name](llm) if name in ASYNC_CALLS else SYNC_CALLS[name](llm)


async def _joined(stream: Any) -> str:
    return "".join([chunk.delta or "" async for chunk in stream])


async def _agent(kind: Any, llm: Any, **options: Any) -> str:
    return str(await kind(tools=[add_tool()], llm=llm, **options).run("please add 3 and 3"))


async def _astream_predict(llm: Any) -> str:
    return "".join([token async for token in await llm.astream(about_prompt(), topic="moles")])


async def _astream_structured(llm: Any) -> Any:
    return [item async for item in await llm.astream_structured_predict(Person, about_prompt(), topic="dan")][-1]


def _query(llm: Any, **options: Any) -> str:
    return str(pets_index().as_query_engine(llm=llm, **options).query("what do cats do?"))


def _chat(llm: Any, mode: str) -> str:
    return str(pets_index().as_chat_engine(chat_mode=mode, llm=llm).chat("what do dogs do?"))


def _tool_choice(llm: Any) -> Any:
    answer = llm.chat_with_tools([add_tool()], user_msg="add 1 and 2", tool_required=True)
    return [(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(answer)]


SYNC_CALLS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda llm: llm.chat(HELLO).message.content,
    "complete": lambda llm: llm.complete("hey").text,
    "stream_chat": lambda llm: "".join(chunk.delta or "" for chunk in llm.stream_chat(HELLO)),
    "stream_complete": lambda llm: "".join(chunk.delta or "" for chunk in llm.stream_complete("hey")),
    "predict": lambda llm: llm.predict(about_prompt(), topic="newts"),
    "stream": lambda llm: "".join(llm.stream(about_prompt(), topic="voles")),
    "structured_predict": lambda llm: llm.structured_predict(Person, about_prompt(), topic="ann"),
    "stream_structured_predict": lambda llm: list(llm.stream_structured_predict(Person, about_prompt(), topic="bob"))[
        -1
    ],
    "as_structured_llm": lambda llm: llm.as_structured_llm(Person).chat(HELLO).raw,
    "as_structured_llm.complete": lambda llm: llm.as_structured_llm(Person).complete("eve").raw,
    "chat_with_tools, required": _tool_choice,
    "stream_chat_with_tools": lambda llm: [
        chunk.message.content for chunk in llm.stream_chat_with_tools([add_tool()], user_msg="add 3 and 4")
    ][-1],
    "predict_and_call": lambda llm: llm.predict_and_call([add_tool()], user_msg="add 5 and 6").response,
    "query engine, compact": _query,
    "query engine, refine": lambda llm: _query(llm, response_mode="refine"),
    "query engine, tree_summarize": lambda llm: _query(llm, response_mode="tree_summarize"),
    "query engine, simple_summarize": lambda llm: _query(llm, response_mode="simple_summarize"),
    "query engine, accumulate": lambda llm: _query(llm, response_mode="accumulate"),
    "query engine, streaming": lambda llm: _query(llm, streaming=True),
    "query engine, output_cls": lambda llm: _query(llm, output_cls=Person),
    "chat engine, simple": lambda llm: _chat(llm, "simple"),
    "chat engine, context": lambda llm: _chat(llm, "context"),
    "chat engine, condense_question": lambda llm: _chat(llm, "condense_question"),
    "chat engine, condense_plus_context": lambda llm: _chat(llm, "condense_plus_context"),
    "chat engine, streaming": lambda llm: "".join(
        pets_index().as_chat_engine(chat_mode="context", llm=llm).stream_chat("what do dogs do?").response_gen
    ),
}

ASYNC_CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "achat": lambda llm: _content(llm.achat(HELLO)),
    "acomplete": lambda llm: _text(llm.acomplete("hey")),
    "astream_chat": lambda llm: _awaited(llm.astream_chat(HELLO)),
    "astream_complete": lambda llm: _awaited(llm.astream_complete("hey")),
    "apredict": lambda llm: llm.apredict(about_prompt(), topic="stoats"),
    "astream": _astream_predict,
    "astructured_predict": lambda llm: llm.astructured_predict(Person, about_prompt(), topic="cid"),
    "astream_structured_predict": _astream_structured,
    "FunctionAgent": lambda llm: _agent(FunctionAgent, llm),
    "FunctionAgent, not streaming": lambda llm: _agent(FunctionAgent, llm, streaming=False),
    "ReActAgent": lambda llm: _agent(ReActAgent, llm),
    "CodeActAgent": lambda llm: _agent(CodeActAgent, llm, code_execute_fn=lambda code: code),
    "AgentWorkflow": lambda llm: _workflow(llm),
    "query engine, async": lambda llm: _aquery(llm),
    "query engine, async accumulate": lambda llm: _aquery(llm, response_mode="accumulate", use_async=True),
}


async def _content(call: Any) -> Any:
    return (await call).message.content


async def _text(call: Any) -> str:
    return (await call).text


async def _awaited(call: Any) -> str:
    return await _joined(await call)


async def _workflow(llm: Any) -> str:
    return str(await AgentWorkflow.from_tools_or_functions([add_tool()], llm=llm).run("please add 3 and 3"))


async def _aquery(llm: Any, **options: Any) -> str:
    return str(await pets_index().as_query_engine(llm=llm, **options).aquery("what do cats do?"))


ALL_CALLS = (*SYNC_CALLS, *ASYNC_CALLS)
