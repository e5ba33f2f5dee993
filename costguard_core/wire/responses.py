"""OpenAI's responses: https://platform.openai.com/docs/api-reference/responses and /responses-streaming."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from costguard_core.wire.base import Assembly, Body, Prompt, Said, WireFormat, mappings, only_text
from costguard_core.wire.sse import event_of

_ENDS = ("response.completed", "response.incomplete", "response.failed")


class ResponseAssembly(Assembly):
    """The events of a response. The last one holds all of it; before, it is what the finished items are."""

    def __init__(self) -> None:
        self._response: dict[str, object] | None = None
        self._items: dict[int, object] = {}
        self._texts: list[str] = []
        self._finished = False

    def add(self, event: Body) -> None:
        kind, response = event.get("type"), event.get("response")
        if isinstance(response, dict):
            self._response = response
            self._finished = kind in _ENDS
        elif kind == "response.output_item.done":
            self._items[event.get("output_index") or 0] = event.get("item")
            self._texts.clear()
        elif isinstance(event.get("delta"), str):
            self._texts.append(event["delta"])

    @property
    def body(self) -> dict[str, Any] | None:
        if self._response is None or self._finished:
            return self._response
        items = [self._items[index] for index in sorted(self._items)]
        if self._texts:
            text = {"type": "output_text", "text": "".join(self._texts), "annotations": []}
            items.append({"type": "message", "role": "assistant", "content": [text]})
        return {**self._response, "output": items}

    @property
    def finished(self) -> bool:
        return self._finished


class ResponseFormat(WireFormat):
    path = "/v1/responses"

    asked_in = frozenset(("input", "instructions"))

    def prompt(self, body: Body) -> Prompt:
        messages: list[Said] = []
        if isinstance(body.get("instructions"), str):
            messages.append(Said("developer", body["instructions"]))
        given = body.get("input")
        if isinstance(given, str):
            messages.append(Said("user", given))
        for item in mappings(given):
            if "role" in item:
                messages.append(Said(str(item["role"]), item.get("content")))
            else:  # a call, its output, thoughts: read as a block
                messages.append(Said(str(item.get("type")), [item]))
        last = messages[-1] if messages else Said("", "")
        return Prompt(messages, only_text(last.content) if last.role == "user" else "")

    def with_question(self, body: Body, text: str) -> dict[str, object]:
        given = body["input"]
        return {**body, "input": text if isinstance(given, str) else [*given[:-1], {**given[-1], "content": text}]}

    def with_limit(self, body: Body, tokens: int) -> dict[str, object]:
        return {**body, "max_output_tokens": max(tokens, 16)}  # the least that the API takes

    def assembly(self) -> Assembly:
        return ResponseAssembly()

    def events(self, response: Body, *, with_usage: bool) -> Iterator[bytes]:
        number = 0

        def event(kind: str, **fields: object) -> bytes:
            nonlocal number
            made = event_of({"type": kind, **fields, "sequence_number": number}, kind)
            number += 1
            return made

        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(mappings(response.get("output"))):
            at = {"output_index": index, "item_id": item.get("id")}
            empty: dict[str, object] = (
                {"content": []} if "content" in item else {"arguments": ""} if "arguments" in item else {}
            )
            opened = {**item, "status": "in_progress", **empty}
            yield event("response.output_item.added", output_index=index, item=opened)
            if item.get("type") == "message":
                for place, part in enumerate(mappings(item.get("content"))):
                    name = "refusal" if part.get("type") == "refusal" else "text"
                    word, text = ("refusal" if name == "refusal" else "output_text"), str(part.get(name) or "")
                    where = {**at, "content_index": place}
                    more = {} if name == "refusal" else {"logprobs": part.get("logprobs") or []}
                    yield event("response.content_part.added", **where, part={**part, name: ""})
                    yield event(f"response.{word}.delta", **where, delta=text, **more)
                    yield event(f"response.{word}.done", **where, **{name: text}, **more)
                    yield event("response.content_part.done", **where, part=part)
            elif item.get("type") == "function_call":
                arguments = item.get("arguments") or ""
                yield event("response.function_call_arguments.delta", **at, delta=arguments)
                yield event("response.function_call_arguments.done", **at, name=item.get("name"), arguments=arguments)
            yield event("response.output_item.done", output_index=index, item=item)
        end = "response.incomplete" if response.get("status") == "incomplete" else "response.completed"
        yield event(end, response=response)

    def text(self, response: Body) -> str:
        return "".join(_item_text(item) for item in mappings(response.get("output")))

    def finish_reasons(self, response: Body) -> tuple[str, ...]:
        return (str(response.get("status")),)

    def refused(self, response: Body) -> bool:
        parts = [part for item in mappings(response.get("output")) for part in mappings(item.get("content"))]
        return any(part.get("type") == "refusal" for part in parts)

    def called_tools(self, response: Body) -> tuple[str, ...]:
        items = [item for item in mappings(response.get("output")) if str(item.get("type")).endswith("_call")]
        return tuple(str(item.get("name") or item["type"]) for item in items)

    def blocks(self, response: Body) -> Sequence[object]:
        return mappings(response.get("output"))

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, object] | None:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": "completed", "content": content}
        usage = {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        }
        return {
            "id": id,
            "object": "response",
            "created_at": now,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": model,
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }


def _item_text(item: Mapping[str, Any]) -> str:
    """The text of an item of input or output: a message, a call, its output, reasoning."""
    texts = [only_text(item.get(name)) for name in ("content", "summary", "output")]
    for part in mappings(item.get("content")):
        texts.append(str(part.get("refusal") or ""))
    for name in ("name", "arguments"):
        if isinstance(item.get(name), str):
            texts.append(item[name])
    if not any(texts) and "content" not in item:
        texts.append(json.dumps(dict(item), default=str))
    return "".join(texts)


RESPONSES = ResponseFormat()
