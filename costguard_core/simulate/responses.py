"""OpenAI's Responses API on the wire: text, function calls, structured output, streaming, usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.simulate.ask import (
    Ask,
    BadRequestError,
    Message,
    Tool,
    compact,
    images_in,
    positive,
    required_text,
    text_of,
)
from costguard_core.simulate.counting import pieces_of
from costguard_core.simulate.replies import Reply, ToolCall
from costguard_core.simulate.wire import Answered

Json = dict[str, Any]


def read(body: Mapping[str, Any]) -> Ask:
    """Understand a request body.

    Raises:
        BadRequestError: if a required part is missing or malformed.
    """
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items or not all(isinstance(item, Mapping) for item in items):
        raise BadRequestError("'input' must be a string or a list of items", "input")
    instructions = body.get("instructions")
    first = (Message("system", instructions),) if instructions else ()
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    text_format = (body.get("text") or {}).get("format") or {}
    choice = body.get("tool_choice") or "auto"
    return Ask(
        model=required_text(body, "model"),
        messages=first + tuple(map(_message, items)),
        tools=tuple(Tool(t["name"], t.get("description") or "", t.get("parameters") or {}) for t in tools),
        tools_json=compact(body["tools"]) if body.get("tools") else "",
        tool_choice=str(choice["name"] if isinstance(choice, Mapping) else choice),
        parallel=body.get("parallel_tool_calls") is not False,
        json_object=text_format.get("type") == "json_object",
        schema=text_format.get("schema"),
        max_tokens=positive(body, "max_output_tokens"),
        effort=(body.get("reasoning") or {}).get("effort"),
        images=images_in(item.get("content") for item in items),
    )


def _message(item: Mapping[str, object]) -> Message:
    match item.get("type", "message"):
        case "function_call":
            return Message("assistant", f"{item.get('name')}{item.get('arguments')}")
        case "function_call_output":
            return Message("tool", text_of(item.get("output")))
        case _:
            return Message(str(item.get("role", "user")), text_of(item.get("content")))


def response(answered: Answered) -> Json:
    """The body of an answer that is not streamed."""
    reply = answered.replies[0]
    return _whole(answered, "incomplete" if reply.finish == "length" else "completed", _items(answered, reply))


def events(answered: Answered, *, include_usage: bool) -> Iterator[Json]:
    """The typed events of a streamed answer; usage is always in the last one, so ``include_usage`` changes nothing."""
    del include_usage
    for number, event in enumerate(_events(answered, answered.replies[0])):
        yield {**event, "sequence_number": number}


def _events(answered: Answered, reply: Reply) -> Iterator[Json]:
    opening = _whole(answered, "in_progress", [])
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    items = _items(answered, reply)
    for index, item in enumerate(items):
        is_text = item["type"] == "message"
        unsaid: Json = {"content": []} if is_text else {"arguments": ""}
        empty = {**item, "status": "in_progress", **unsaid}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        yield from _text_events(index, item) if is_text else _call_events(index, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    last = response(answered)
    yield {"type": f"response.{last['status']}", "response": last}


def _text_events(index: int, item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in pieces_of(part["text"]):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _call_events(index: int, item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"], "output_index": index}
    yield {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}


def _items(answered: Answered, reply: Reply) -> list[Json]:
    calls = [_call_item(call) for call in reply.tool_calls]
    if calls and not reply.text:
        return calls
    part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    status = "incomplete" if reply.finish == "length" else "completed"
    message = {
        "id": f"msg_{answered.id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    return [message, *calls]


def _call_item(call: ToolCall) -> Json:
    return {
        "id": call.id.replace("call_", "fc_"),
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _whole(answered: Answered, status: str, output: list[Json]) -> Json:
    ask = answered.ask
    return {
        "id": f"resp_{answered.id}",
        "object": "response",
        "created_at": answered.created,
        "status": status,
        "model": ask.model,
        "output": output,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": ask.parallel,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "max_output_tokens": ask.max_tokens,
        "service_tier": answered.tier,
        "usage": usage(answered) if output else None,
    }


def usage(answered: Answered) -> Json:
    """Token counts in the Responses API's names."""
    return {
        "input_tokens": answered.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answered.cached_tokens},
        "output_tokens": answered.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answered.reasoning_tokens},
        "total_tokens": answered.prompt_tokens + answered.output_tokens,
    }
