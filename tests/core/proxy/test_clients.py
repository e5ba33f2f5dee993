"""The vendors' own clients, pointed at the proxy: the same answers and the same requests as without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI as LlamaOpenAI
from pydantic import BaseModel
from waiting import wait_until

from costguard_core.simulate import Simulator

QUESTION: Any = [{"role": "user", "content": "What is a cost guard?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


SCHEMA = TOOLS[0]["function"]["parameters"]
CLAUDE_TOOLS: Any = [{"name": "weather", "description": "The weather", "input_schema": SCHEMA}]
RESPONSE_TOOLS: Any = [{"type": "function", **TOOLS[0]["function"]}]


class City(BaseModel):
    name: str
    people: int


OPEN: list[httpx.Client] = []


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    """A socket that the garbage collector finds open fails whichever test is running then."""
    yield
    while OPEN:
        OPEN.pop().close()


def _http() -> httpx.Client:
    OPEN.append(httpx.Client(timeout=600))
    return OPEN[-1]


def _openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="sk-mine", max_retries=0, http_client=_http())


def _anthropic(url: str) -> anthropic.Anthropic:
    base = url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=base, api_key="sk-mine", max_retries=0, http_client=_http())


def _chunks(stream: Any) -> list[Any]:
    return [chunk.model_dump() for chunk in stream]


def _message_stream(url: str) -> Any:
    with _anthropic(url).messages.stream(model="claude-sonnet-4-5", max_tokens=90, messages=QUESTION) as stream:
        return stream.get_final_message().model_dump()


def _langchain(url: str, **more: Any) -> Any:
    key: Any = "sk-mine"
    return ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key=key, max_retries=0, http_client=_http(), **more)


def _llamaindex(url: str, **more: Any) -> Any:
    return LlamaOpenAI(model="gpt-4o-mini", api_base=url, api_key="sk-mine", max_retries=0, http_client=_http(), **more)


async def _async_openai(url: str) -> Any:
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-mine", max_retries=0) as client:
        return (await client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION)).model_dump()


async def _async_anthropic(url: str) -> Any:
    async with anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="k", max_retries=0) as client:
        answer = await client.messages.create(model="claude-sonnet-4-5", max_tokens=900, messages=QUESTION)
        return answer.model_dump()


async def _async_stream(url: str) -> Any:
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-mine", max_retries=0) as client:
        usage: Any = {"include_usage": True}
        chat = await client.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, stream=True, stream_options=usage
        )
        return [chunk.model_dump() async for chunk in chat]


async def _async_message_stream(url: str) -> Any:
    async with (
        anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="k", max_retries=0) as client,
        client.messages.stream(model="claude-sonnet-4-5", max_tokens=90, messages=QUESTION) as stream,
    ):
        return (await stream.get_final_message()).model_dump()


async def _langchain_async(url: str) -> Any:
    async with httpx.AsyncClient(timeout=600) as http:
        return (await _langchain(url, http_async_client=http).ainvoke("Why?")).content


async def _llamaindex_async(url: str) -> Any:
    async with httpx.AsyncClient(timeout=600) as http:
        return str(await _llamaindex(url, async_http_client=http).acomplete("Why?"))


def _claude_tools(url: str, **more: Any) -> Any:
    choice: Any = {"type": "any"}
    return _anthropic(url).messages.create(
        model="claude-sonnet-4-5", max_tokens=90, messages=QUESTION, tools=CLAUDE_TOOLS, tool_choice=choice, **more
    )


CALLS: dict[str, Callable[[str], Any]] = {
    "chat": lambda url: _openai(url).chat.completions.create(model="gpt-4o-mini", messages=QUESTION).model_dump(),
    "chat stream": lambda url: _chunks(
        _openai(url).chat.completions.create(model="gpt-4o-mini", messages=QUESTION, stream=True)
    ),
    "chat stream with usage": lambda url: _chunks(
        _openai(url).chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    ),
    "tools": lambda url: (
        _openai(url)
        .chat.completions.create(model="gpt-4o-mini", messages=QUESTION, tools=TOOLS, tool_choice="required")
        .model_dump()
    ),
    "tools stream": lambda url: _chunks(
        _openai(url).chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, tools=TOOLS, tool_choice="required", stream=True
        )
    ),
    "structured": lambda url: (
        _openai(url)
        .chat.completions.parse(model="gpt-4o-mini", messages=QUESTION, response_format=City)
        .model_dump(warnings=False)
    ),
    "responses": lambda url: _openai(url).responses.create(model="gpt-4o-mini", input="Why?").model_dump(),
    "responses stream": lambda url: _chunks(
        _openai(url).responses.create(model="gpt-4o-mini", input="Why?", stream=True)
    ),
    "completions": lambda url: (
        _openai(url)
        .completions.create(model="gpt-3.5-turbo-instruct", prompt="What is a cost guard?", max_tokens=900)
        .model_dump()
    ),
    "embeddings": lambda url: (
        _openai(url).embeddings.create(model="text-embedding-3-small", input=["a", "b"]).model_dump()
    ),
    "models": lambda url: _chunks(_openai(url).models.list()),
    "messages": lambda url: (
        _anthropic(url).messages.create(model="claude-sonnet-4-5", max_tokens=90, messages=QUESTION).model_dump()
    ),
    "messages stream": _message_stream,
    "messages tools": lambda url: _claude_tools(url).model_dump(),
    "messages tools stream": lambda url: _chunks(_claude_tools(url, stream=True)),
    "responses tools": lambda url: (
        _openai(url)
        .responses.create(model="gpt-4o-mini", input="Why?", tools=RESPONSE_TOOLS, tool_choice="required")
        .model_dump()
    ),
    "completions stream": lambda url: _chunks(
        _openai(url).completions.create(
            model="gpt-3.5-turbo-instruct",
            prompt="What is a cost guard?",
            max_tokens=900,
            stream=True,
            stream_options={"include_usage": True},
        )
    ),
    "chat async stream": lambda url: asyncio.run(_async_stream(url)),
    "messages async stream": lambda url: asyncio.run(_async_message_stream(url)),
    "langchain async": lambda url: asyncio.run(_langchain_async(url)),
    "langchain tools": lambda url: (
        _langchain(url).bind_tools(TOOLS, tool_choice="any").invoke("Why?").tool_calls[0]["args"]
    ),
    "langchain embeddings": lambda url: OpenAIEmbeddings(
        model="text-embedding-3-small",
        base_url=url,
        api_key="sk-mine",  # type: ignore[arg-type]
        check_embedding_ctx_length=False,
        http_client=_http(),
    ).embed_query("a"),
    "llamaindex async": lambda url: asyncio.run(_llamaindex_async(url)),
    "llamaindex chat": lambda url: str(_llamaindex(url).chat([ChatMessage("Why?")])),
    "count tokens": lambda url: (
        _anthropic(url).messages.count_tokens(model="claude-sonnet-4-5", messages=QUESTION).model_dump()
    ),
    "chat async": lambda url: asyncio.run(_async_openai(url)),
    "messages async": lambda url: asyncio.run(_async_anthropic(url)),
    "langchain": lambda url: _langchain(url).invoke("Why?").content,
    "langchain stream": lambda url: "".join(chunk.text for chunk in _langchain(url, stream_usage=True).stream("Why?")),
    "langchain responses": lambda url: _langchain(url, use_responses_api=True).invoke("Why?").text,
    "langchain structured": lambda url: _langchain(url).with_structured_output(City).invoke("Where?"),
    "llamaindex": lambda url: str(_llamaindex(url).complete("Why?")),
    "llamaindex stream": lambda url: "".join(chunk.delta or "" for chunk in _llamaindex(url).stream_complete("Why?")),
}
PAID = [name for name in CALLS if name not in ("models", "count tokens")]
# Streams of clients that do not ask for their usage: the proxy does, and takes it out again.
UNASKED = ("chat stream", "tools stream", "llamaindex stream")


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_and_its_request_are_the_same_as_without_the_proxy(
    name: str, openai_server: Simulator, start_proxy: Any
) -> None:
    direct = CALLS[name](openai_server.base_url)
    sent_directly = openai_server.requests
    openai_server.reset()
    proxy = start_proxy(cache=False)
    through = CALLS[name](proxy.base_url)
    assert _timeless(through) == _timeless(direct)
    for got, wanted in zip(openai_server.requests, sent_directly, strict=True):
        body = dict(got.body)
        if name in UNASKED:
            assert body.pop("stream_options") == {"include_usage": True}
        assert (got.path, body) == (wanted.path, wanted.body)


@pytest.mark.parametrize("name", PAID)
def test_what_a_call_costs_is_in_the_ledger(name: str, start_proxy: Any) -> None:
    proxy = start_proxy("$100/day", cache=False)
    CALLS[name](proxy.base_url)
    wait_until(lambda: proxy.guard.flush() and proxy.guard.report().total.calls)  # a client may leave before the end
    total = proxy.guard.report().total
    events = list(proxy.guard.ledger.events())  # what to look at if this fails
    assert (total.calls, total.paid, total.unpriced, total.estimated) == (1, 1, 0, 0), events
    assert total.cost > 0


@pytest.mark.parametrize("name", PAID)
def test_a_second_call_is_answered_from_the_cache_in_the_same_form(
    name: str, openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy("$100/day")
    first = CALLS[name](proxy.base_url)
    wait_until(lambda: proxy.guard.flush() and proxy.guard.report().total.calls)
    second = CALLS[name](proxy.base_url)
    assert openai_server.count == 1
    assert _said(first) == _said(second)
    wait_until(lambda: proxy.guard.flush() and proxy.guard.report().total.hits == 1)


def test_an_answer_paid_plain_is_streamed_from_the_cache_and_the_other_way_round(
    openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy()
    plain = CALLS["chat"](proxy.base_url)
    streamed = CALLS["chat stream with usage"](proxy.base_url)
    assert openai_server.count == 1
    text = "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in streamed if chunk["choices"])
    assert text == plain["choices"][0]["message"]["content"]
    assert streamed[-1]["usage"] == plain["usage"]


async def test_async_clients_stream_too(start_proxy: Any) -> None:
    proxy = start_proxy()
    async with openai.AsyncOpenAI(base_url=proxy.base_url, api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=QUESTION, stream=True)
        assert [chunk async for chunk in stream]


def test_bytes_of_a_plain_answer_are_passed_on_as_they_are(openai_server: Simulator, start_proxy: Any) -> None:
    body = {"model": "gpt-4o-mini", "messages": QUESTION, "unknown_field": {"kept": [1, 2.5, None]}}
    proxy = start_proxy(cache=False)
    direct = httpx.post(f"{openai_server.base_url}/chat/completions", json=body)
    through = httpx.post(f"{proxy.base_url}/chat/completions", json=body, headers={"x-mine": "1"})
    assert _timeless(json.loads(through.content)) == _timeless(json.loads(direct.content))
    assert openai_server.requests[-1].body == body
    assert openai_server.requests[-1].headers["x-mine"] == "1"
    assert through.headers["x-request-id"] == direct.headers["x-request-id"] or through.headers["x-request-id"]
    assert float(through.headers["x-costguard-cost-usd"]) > 0
    assert through.headers["x-costguard-cache"] == "miss"


def _timeless(value: Any) -> Any:
    """Without what differs between two equal calls: ids and times."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in ("id", "created", "created_at", "item_id", "call_id")}
        return {name: _timeless(inner) for name, inner in kept.items()}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _said(value: Any) -> Any:
    """What an answer says: the same for one that came in many pieces and one that came in few."""
    if not isinstance(value, list) or not isinstance(value[0], dict):
        return value
    texts: dict[str, str] = {}
    for chunk in value:
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {"content": choice.get("text")}
            calls = delta.get("tool_calls") or ()
            for name, text in [
                ("content", delta.get("content")),
                *(("args", c["function"]["arguments"]) for c in calls),
            ]:
                texts[name] = texts.get(name, "") + (text or "")
        if chunk.get("type") == "response.completed":
            texts["response"] = json.dumps(chunk["response"], default=str)
    return texts
