"""Anthropic's messages as JSON: a request body is read, replies become a response body or stream events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.simulate.counting import pieces_of
from costguard_core.simulate.generation import Generation
from costguard_core.simulate.replies import Reply
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

_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_CHOICES = {"any": "required", "auto": "auto", "none": "none"}


def read(body: Mapping[str, Any]) -> GenerationRequest:
    """Understand a request body.

    Raises:
        BadRequestError: if a required part is missing or malformed.
    """
    model = required_text(body, "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, Mapping) for m in messages):
        raise BadRequestError("'messages' must be a list of at least one message", "messages")
    limit = positive(body, "max_tokens")
    if limit is None:
        raise BadRequestError("max_tokens: Field required", "max_tokens")
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    choice = body.get("tool_choice") or {"type": "auto"}
    system = text_of(body.get("system"))
    content = [_message(message) for message in messages]
    form = body.get("output_format") or (body.get("output_config") or {}).get("format") or {}
    return GenerationRequest(
        model=model,
        messages=tuple([Message("system", system), *content] if system else content),
        tools=tuple(Tool(t["name"], t.get("description") or "", t["input_schema"]) for t in tools),
        tools_json=compact(tools) if tools else "",
        tool_choice=_CHOICES.get(choice.get("type", "auto"), str(choice.get("name"))),
        parallel=not choice.get("disable_parallel_tool_use"),
        schema=form.get("schema"),
        stop=tuple(body.get("stop_sequences") or ()),
        max_tokens=limit,
        images=images_in(message.get("content") for message in messages),
    )


def _message(message: Mapping[str, Any]) -> Message:
    content = message.get("content")
    if isinstance(content, str):
        return Message(str(message.get("role", "")), content)
    parts = [part for part in content or () if isinstance(part, Mapping)]
    answers = any(part.get("type") == "tool_result" for part in parts)
    return Message("tool" if answers else str(message.get("role", "")), "".join(_part(part) for part in parts))


def _part(part: Mapping[str, object]) -> str:
    match part.get("type"):
        case "tool_use":
            return f"{part.get('name')}{json.dumps(part.get('input'))}"
        case "tool_result":
            return text_of(part.get("content"))
        case _:
            return str(part.get("text", ""))


def response(generation: Generation) -> Json:
    """The body of an answer that is not streamed."""
    reply = generation.replies[0]
    return {
        **_head(generation),
        "content": _blocks(reply),
        "stop_reason": _STOPS[reply.finish],
        "usage": usage(generation),
    }


def events(generation: Generation, *, include_usage: bool) -> Iterator[Json]:
    """The typed events of a streamed answer; usage is always there, so ``include_usage`` changes nothing."""
    del include_usage
    reply, counted = generation.replies[0], usage(generation)
    opening = {**_head(generation), "content": [], "stop_reason": None, "usage": {**counted, "output_tokens": 1}}
    yield {"type": "message_start", "message": opening}
    for index, block in enumerate(_blocks(reply)):
        yield {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": _STOPS[reply.finish], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": counted["output_tokens"]}}
    yield {"type": "message_stop"}


def _blocks(reply: Reply) -> list[Json]:
    content = [{"type": "text", "text": reply.text}] if reply.text or not reply.tool_calls else []
    calls = [
        {
            "type": "tool_use",
            "id": call.id.replace("call_", "toolu_"),
            "name": call.name,
            "input": json.loads(call.arguments),
        }
        for call in reply.tool_calls
    ]
    return [*content, *calls]


def _empty(block: Json) -> Json:
    return {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}


def _deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        for piece in pieces_of(block["text"]):
            yield {"type": "text_delta", "text": piece}
        return
    written = json.dumps(block["input"])
    half = len(written) // 2
    for part in (written[:half], written[half:]):
        yield {"type": "input_json_delta", "partial_json": part}


def _head(generation: Generation) -> Json:
    return {
        "id": f"msg_{generation.id}",
        "type": "message",
        "role": "assistant",
        "model": generation.request.model,
        "stop_sequence": None,
    }


def usage(generation: Generation) -> Json:
    """Token counts as Anthropic reports them: cached tokens are beside the input, not in it."""
    return {
        "input_tokens": generation.prompt_tokens - generation.cached_tokens,
        "output_tokens": generation.output_tokens,
        "cache_read_input_tokens": generation.cached_tokens,
        "cache_creation_input_tokens": 0,
        "service_tier": "standard",
    }
