"""OpenAI's Responses API as JSON: text, function calls, structured output, streaming, usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.simulate.counting import pieces_of
from costguard_core.simulate.generation import Generation
from costguard_core.simulate.replies import Reply, ToolCall
from costguard_core.simulate.request import (
    BadRequestError,
    GenerationRequest,
    Message,
    Tool,
    compact,
    images_in,
    positive,
    required_text,
    text_of,
)

Json = dict[str, Any]


def read(body: Mapping[str, Any]) -> GenerationRequest:
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
    return GenerationRequest(
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


def response(generation: Generation) -> Json:
    """The body of an answer that is not streamed."""
    reply = generation.replies[0]
    return _whole(generation, "incomplete" if reply.finish == "length" else "completed", _items(generation, reply))


def events(generation: Generation, *, include_usage: bool) -> Iterator[Json]:
    """The typed events of a streamed answer; usage is always in the last one, so ``include_usage`` changes nothing."""
    del include_usage
    for number, event in enumerate(_events(generation, generation.replies[0])):
        yield {**event, "sequence_number": number}


def _events(generation: Generation, reply: Reply) -> Iterator[Json]:
    opening = _whole(generation, "in_progress", [])
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    items = _items(generation, reply)
    for index, item in enumerate(items):
        is_text = item["type"] == "message"
        without_content: Json = {"content": []} if is_text else {"arguments": ""}
        empty = {**item, "status": "in_progress", **without_content}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        yield from _text_events(index, item) if is_text else _call_events(index, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    last = response(generation)
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


def _items(generation: Generation, reply: Reply) -> list[Json]:
    calls = [_call_item(call) for call in reply.tool_calls]
    if calls and not reply.text:
        return calls
    part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    status = "incomplete" if reply.finish == "length" else "completed"
    message = {
        "id": f"msg_{generation.id}",
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


def _whole(generation: Generation, status: str, output: list[Json]) -> Json:
    request = generation.request
    return {
        "id": f"resp_{generation.id}",
        "object": "response",
        "created_at": generation.created,
        "status": status,
        "model": request.model,
        "output": output,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": request.parallel,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "max_output_tokens": request.max_tokens,
        "service_tier": generation.tier,
        "usage": usage(generation) if output else None,
    }


def usage(generation: Generation) -> Json:
    """Token counts in the Responses API's names."""
    return {
        "input_tokens": generation.prompt_tokens,
        "input_tokens_details": {"cached_tokens": generation.cached_tokens},
        "output_tokens": generation.output_tokens,
        "output_tokens_details": {"reasoning_tokens": generation.reasoning_tokens},
        "total_tokens": generation.prompt_tokens + generation.output_tokens,
    }
