"""OpenAI's chat completions as JSON: a request body is read, replies become a response body or stream events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    stops,
    text_of,
)

Json = dict[str, Any]


def read(body: Mapping[str, Any]) -> GenerationRequest:
    """Understand a request body.

    Raises:
        BadRequestError: if a required part is missing or malformed.
    """
    model = required_text(body, "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, Mapping) for m in messages):
        raise BadRequestError("'messages' must be a list of at least one message", "messages")
    tools = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    response_format = body.get("response_format") or {}
    return GenerationRequest(
        model=model,
        messages=tuple(map(_message, messages)),
        tools=tuple(Tool(t["name"], t.get("description") or "", t.get("parameters") or {}) for t in tools),
        tools_json=compact(body["tools"]) if body.get("tools") else "",
        tool_choice=_tool_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        json_object=response_format.get("type") == "json_object",
        schema=(response_format.get("json_schema") or {}).get("schema"),
        choices=positive(body, "n") or 1,
        stop=stops(body),
        max_tokens=positive(body, "max_completion_tokens", "max_tokens"),
        effort=body.get("reasoning_effort"),
        seed=body.get("seed"),
        images=images_in(m.get("content") for m in messages),
    )


def _message(message: Mapping[str, Any]) -> Message:
    calls = message.get("tool_calls") or ()
    calls_text = "".join(f"{call['function']['name']}{call['function']['arguments']}" for call in calls)
    return Message(str(message.get("role", "")), text_of(message.get("content")) + calls_text, message.get("name"))


def _tool_choice(choice: object) -> str:
    if isinstance(choice, Mapping):
        return str(choice.get("function", choice).get("name"))
    return str(choice or "auto")


def response(generation: Generation) -> Json:
    """The body of an answer that is not streamed."""
    choices = [
        {"index": index, "message": _assistant(reply), "logprobs": None, "finish_reason": reply.finish}
        for index, reply in enumerate(generation.replies)
    ]
    return {**_head(generation, "chat.completion"), "choices": choices, "usage": usage(generation)}


def _assistant(reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ]
    return message


def events(generation: Generation, *, include_usage: bool) -> Iterator[Json]:
    """The chunks of a streamed answer, choice after choice, the usage last (if it was asked for)."""
    head = _head(generation, "chat.completion.chunk")
    without_usage = {"usage": None} if include_usage else {}
    for index, reply in enumerate(generation.replies):
        deltas: list[tuple[Json, str | None]] = [({"role": "assistant", "content": "", "refusal": None}, None)]
        deltas += [(delta, None) for delta in _deltas(reply)]
        for delta, finish in [*deltas, ({}, reply.finish)]:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            yield {**head, "choices": [choice], **without_usage}
    if include_usage:
        yield {**head, "choices": [], "usage": usage(generation)}


def _deltas(reply: Reply) -> Iterator[Json]:
    for piece in pieces_of(reply.text):
        yield {"content": piece}
    if reply.refusal:
        yield {"refusal": reply.refusal}
    for index, call in enumerate(reply.tool_calls):
        named = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": named}]}
        for part in _halves(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _halves(text: str) -> Sequence[str]:
    return [part for part in (text[: len(text) // 2], text[len(text) // 2 :]) if part]


def _head(generation: Generation, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{generation.id}",
        "object": kind,
        "created": generation.created,
        "model": generation.request.model,
        "service_tier": generation.tier,
        "system_fingerprint": "fp_simulated",
    }


def usage(generation: Generation) -> Json:
    """Token counts as OpenAI reports them: cached and reasoning tokens are inside their totals."""
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.output_tokens,
        "total_tokens": generation.prompt_tokens + generation.output_tokens,
        "prompt_tokens_details": {"cached_tokens": generation.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": generation.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
