"""Anthropic's messages: https://platform.claude.com/docs/en/api/messages and /build-with-claude/streaming."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from costguard_core.wire.base import Assembly, Body, Prompt, Said, WireFormat, json_object, mappings, only_text
from costguard_core.wire.sse import event_of

# How a piece of a block is told, by the type of its delta: the field of the delta, and of the block.
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "_json"),
    "citations_delta": ("citation", "citations"),
}


class MessageAssembly(Assembly):
    """The events of a message."""

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, object]] = {}
        self._finished = False

    def add(self, event: Body) -> None:
        kind = event.get("type")
        message = event.get("message")
        if kind == "message_start" and isinstance(message, dict):
            self._message = dict(message)
        elif self._message is None:
            return
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            self._blocks[event["index"]] = dict(event["content_block"])
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            self._extend(self._blocks.setdefault(event["index"], {}), event["delta"])
        elif kind == "message_delta":
            delta, usage = event.get("delta"), event.get("usage")
            self._message |= delta if isinstance(delta, dict) else {}
            if isinstance(usage, dict):  # running totals; what is not said again stays
                said = {name: value for name, value in usage.items() if value is not None}
                self._message["usage"] = {**(self._message.get("usage") or {}), **said}
        elif kind == "message_stop":
            self._finished = True

    def _extend(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        source, target = _DELTAS.get(str(kind), ("", ""))
        if not source:
            block.update({name: value for name, value in delta.items() if name != "type"})
        elif target == "citations":
            block["citations"] = [*(block.get("citations") or ()), delta.get(source)]
        else:
            block[target] = str(block.get(target) or "") + str(delta.get(source) or "")

    @property
    def body(self) -> dict[str, Any] | None:
        if self._message is None:
            return None
        return {**self._message, "content": [_block(self._blocks[index]) for index in sorted(self._blocks)]}

    @property
    def finished(self) -> bool:
        return self._finished


def _block(block: dict[str, Any]) -> dict[str, Any]:
    if "_json" not in block:
        return block
    text = block["_json"]
    given = json_object(text or "{}")
    # What broke off, or cannot be read, stays as it was written: it is counted, and not kept.
    rest = {name: value for name, value in block.items() if name != "_json"}
    return {**rest, "input": text if given is None else given}


class MessageFormat(WireFormat):
    path = "/v1/messages"
    vendor = "anthropic"

    asked_in = frozenset(("messages", "system"))

    def prompt(self, body: Body) -> Prompt:
        messages = [Said("system", body["system"])] if body.get("system") else []
        for message in mappings(body.get("messages")):
            messages.append(Said(str(message.get("role")), message.get("content")))
        last = messages[-1] if messages else Said("", "")
        results = any(block.get("type") == "tool_result" for block in mappings(last.content))
        return Prompt(messages, only_text(last.content) if last.role == "user" and not results else "")

    def with_question(self, body: Body, text: str) -> dict[str, object]:
        return {**body, "messages": [*body["messages"][:-1], {**body["messages"][-1], "content": text}]}

    def with_limit(self, body: Body, tokens: int) -> dict[str, object]:
        return {**body, "max_tokens": tokens}

    def assembly(self) -> Assembly:
        return MessageAssembly()

    def events(self, response: Body, *, with_usage: bool) -> Iterator[bytes]:
        usage = response.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        start = {**response, "content": [], "stop_reason": None, "stop_sequence": None}
        start["usage"] = {**usage, "output_tokens": 1}
        yield event_of({"type": "message_start", "message": start}, "message_start")
        for index, block in enumerate(mappings(response.get("content"))):
            empty, deltas = _pieces(dict(block))
            opened = {"type": "content_block_start", "index": index, "content_block": empty}
            yield event_of(opened, "content_block_start")
            for delta in deltas:
                yield event_of({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
            yield event_of({"type": "content_block_stop", "index": index}, "content_block_stop")
        delta = {name: response.get(name) for name in ("stop_reason", "stop_sequence")}
        yield event_of({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
        yield event_of({"type": "message_stop"}, "message_stop")

    def text(self, response: Body) -> str:
        texts = []
        for block in mappings(response.get("content")):
            if block.get("type") in ("tool_use", "server_tool_use"):
                texts.append(json.dumps({"name": block.get("name"), "input": block.get("input")}))
            else:
                texts += [str(block.get(name) or "") for name in ("text", "thinking")]
        return "".join(texts)

    def finish_reasons(self, response: Body) -> tuple[str, ...]:
        return (str(response.get("stop_reason")),)

    def refused(self, response: Body) -> bool:
        return response.get("stop_reason") == "refusal"

    def called_tools(self, response: Body) -> tuple[str, ...]:
        blocks = [block for block in mappings(response.get("content")) if block.get("type") == "tool_use"]
        return tuple(str(block.get("name")) for block in blocks)

    def is_whole(self, body: Body, response: Body) -> bool:
        """Whether the arguments of every tool are a JSON object."""
        blocks = mappings(response.get("content"))
        return all(isinstance(block["input"], Mapping) for block in blocks if "input" in block)

    def blocks(self, response: Body) -> Sequence[object]:
        return mappings(response.get("content"))

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, object] | None:
        return {
            "id": id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        """https://platform.claude.com/docs/en/api/errors."""
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
        }
        kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message, "code": code}}


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it is opened, and the deltas that fill it."""
    kind = block.get("type")
    if kind == "text":
        deltas = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations") or ()]
        return {**block, "text": "", **({"citations": []} if deltas else {})}, [
            {"type": "text_delta", "text": block.get("text") or ""},
            *deltas,
        ]
    if kind == "thinking":
        return {**block, "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block.get("thinking") or ""},
            {"type": "signature_delta", "signature": block.get("signature") or ""},
        ]
    if kind in ("tool_use", "server_tool_use"):
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input"))}]
    return block, []


MESSAGES = MessageFormat()
