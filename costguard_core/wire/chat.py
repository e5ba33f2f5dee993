"""OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from costguard_core.usage.parameters import positive
from costguard_core.wire.base import Assembly, Body, Prompt, Said, WireFormat, mappings, only_text
from costguard_core.wire.sse import DONE, event_of

# Models that refuse `max_tokens`: https://platform.openai.com/docs/api-reference/chat/create#chat_create-max_tokens
_NEW_LIMIT = re.compile(r"(^|/)(o\d|gpt-5)")


class ChatAssembly(Assembly):
    """Chunks of a chat completion, or of a completion."""

    def __init__(self, kind: str = "chat.completion") -> None:
        self._kind = kind
        self._body: dict[str, Any] | None = None
        self._choices: dict[int, dict[str, Any]] = {}
        self._finished = False

    def add(self, event: Body) -> None:
        if self._body is None:
            self._body = {"id": None, "object": self._kind}
        for name, value in event.items():
            if name not in ("choices", "object") and value is not None:
                self._body[name] = value
        for choice in mappings(event.get("choices")):
            index = choice.get("index")
            known = self._choices.setdefault(index if isinstance(index, int) else 0, {"index": index or 0})
            for name, value in choice.items():
                if name == "delta" and isinstance(value, dict):
                    known["message"] = merged(known.get("message", {}), value)
                elif name == "text":
                    known["text"] = known.get("text", "") + (value or "")
                elif name == "logprobs":  # of the tokens of this chunk
                    known[name] = merged(known.get(name), value)
                elif name != "index" and (value is not None or name not in known):
                    known[name] = value
            self._finished = all(known.get("finish_reason") for known in self._choices.values())

    @property
    def body(self) -> dict[str, Any] | None:
        if self._body is None:
            return None
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {**self._body, "choices": [_settled(choice) for choice in choices]}

    @property
    def finished(self) -> bool:
        return self._finished


def merged(known: object, delta: object) -> Any:
    """Two parts of a message that came one after the other: texts are joined, lists are merged by ``index``."""
    if known is None or delta is None:
        return known if delta is None else delta
    if isinstance(known, str) and isinstance(delta, str):
        return known + delta
    if isinstance(known, dict) and isinstance(delta, dict):
        # These are said again, whole, in some servers' chunks.
        whole = ("role", "type", "id", "index", "name")
        return {
            **known,
            **{
                name: value if name in whole and value else merged(known.get(name), value)
                for name, value in delta.items()
            },
        }
    if isinstance(known, list) and isinstance(delta, list):
        items = list(known)
        for item in delta:
            index = item.get("index") if isinstance(item, dict) else None
            place = next((at for at, old in enumerate(items) if index is not None and old.get("index") == index), None)
            if place is None:
                items.append(item)
            else:
                items[place] = merged(items[place], item)
        return items
    return delta


def _settled(choice: dict[str, object]) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        return choice
    calls = [{k: v for k, v in call.items() if k != "index"} for call in mappings(message.get("tool_calls"))]
    whole = {"role": "assistant", "content": None, **message, **({"tool_calls": calls} if calls else {})}
    return {**choice, "message": whole}


class ChatFormat(WireFormat):
    path = "/v1/chat/completions"

    asked_in = frozenset(("messages",))

    def prompt(self, body: Body) -> Prompt:
        messages = []
        for message in mappings(body.get("messages")):
            name = message.get("name")
            who = name if isinstance(name, str) else None
            messages.append(Said(str(message.get("role")), message.get("content"), who, message))
        last = messages[-1] if messages else Said("", "")
        return Prompt(messages, only_text(last.content) if last.role == "user" else "")

    def with_question(self, body: Body, text: str) -> dict[str, Any]:
        return {**body, "messages": [*body["messages"][:-1], {**body["messages"][-1], "content": text}]}

    def with_limit(self, body: Body, tokens: int) -> dict[str, Any]:
        names = [name for name in ("max_completion_tokens", "max_tokens") if positive(body.get(name))]
        new = _NEW_LIMIT.search(str(body.get("model"))) is not None
        return {**body, **dict.fromkeys(names or ["max_completion_tokens" if new else "max_tokens"], tokens)}

    def asks_for_usage(self, body: Body) -> bool:
        options = body.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))

    def with_usage(self, body: Body) -> dict[str, Any]:
        options = body.get("stream_options")
        return {**body, "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}

    def without_usage(self, event: dict[str, object]) -> dict[str, Any] | None:
        if "usage" not in event:
            return event
        if event["usage"] is not None and not event.get("choices"):
            return None
        return {name: value for name, value in event.items() if name != "usage"}

    def assembly(self) -> Assembly:
        return ChatAssembly()

    def events(self, response: Body, *, with_usage: bool) -> Iterator[bytes]:
        head = {name: value for name, value in response.items() if name not in ("choices", "usage")}
        head["object"] = "chat.completion.chunk"
        no_usage: dict[str, Any] = {"usage": None} if with_usage else {}
        for choice in mappings(response.get("choices")):
            index = choice.get("index", 0)
            message = choice.get("message") if isinstance(choice.get("message"), dict) else {}
            assert isinstance(message, dict)
            calls = [{"index": number, **call} for number, call in enumerate(mappings(message.get("tool_calls")))]
            delta = {**message, **({"tool_calls": calls} if calls else {})}
            more = {name: value for name, value in choice.items() if name not in ("index", "message", "finish_reason")}
            first = {"index": index, "delta": delta, **more, "finish_reason": None}
            yield event_of({**head, "choices": [first], **no_usage})
            last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
            yield event_of({**head, "choices": [last], **no_usage})
        if with_usage:
            yield event_of({**head, "choices": [], "usage": response.get("usage")})
        yield DONE

    def text(self, response: Body) -> str:
        texts = []
        for choice in mappings(response.get("choices")):
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            for name in ("reasoning_content", "reasoning", "content", "refusal"):
                texts.append(only_text(message.get(name)))
            calls = [call.get("function") for call in mappings(message.get("tool_calls"))]
            if calls:
                texts.append(json.dumps(calls))
        return "".join(texts)

    def finish_reasons(self, response: Body) -> tuple[str, ...]:
        return tuple(str(choice.get("finish_reason")) for choice in mappings(response.get("choices")))

    def refused(self, response: Body) -> bool:
        messages = [choice.get("message") for choice in mappings(response.get("choices"))]
        return any(isinstance(message, dict) and message.get("refusal") for message in messages)

    def called_tools(self, response: Body) -> tuple[str, ...]:
        names: list[str] = []
        for choice in mappings(response.get("choices")):
            message = choice.get("message")
            if isinstance(message, dict):
                calls = [call.get("function") or call.get("custom") for call in mappings(message.get("tool_calls"))]
                names += [str(call.get("name")) for call in mappings([*calls, message.get("function_call")])]
        return tuple(names)

    def choices(self, body: Body) -> int:
        return positive(body.get("n")) or 1

    def is_whole(self, body: Body, response: Body) -> bool:
        return len(mappings(response.get("choices"))) >= (positive(body.get("n")) or 1)

    def blocks(self, response: Body) -> Sequence[Any]:
        found: list[Any] = []
        for choice in mappings(response.get("choices")):
            message = choice.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            found += content if isinstance(content, list) else []
        return found

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, Any] | None:
        said = {"role": "assistant", "content": text}
        return {
            "id": id,
            "object": "chat.completion",
            "created": now,
            "model": model,
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }


CHAT = ChatFormat()
