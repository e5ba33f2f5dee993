"""A request in neutral terms, whichever endpoint it came through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple


class BadRequestError(Exception):
    """The request lacks something or has it in the wrong shape; becomes an HTTP 400 in OpenAI's form."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Message(NamedTuple):
    """One message as plain text; ``name`` counts as a token more."""

    role: str
    text: str
    name: str | None = None


class Tool(NamedTuple):
    """A function that the model may call; ``parameters`` is its JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked: the prompt, and how the answer is to look. Delivery (streaming, tier) stays with the endpoint."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tools_json: str = ""
    tool_choice: str = "auto"  # "auto" | "none" | "required" | the name of a tool
    parallel: bool = True
    json_object: bool = False
    schema: Mapping[str, object] | None = None
    choices: int = 1
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    effort: str | None = None
    seed: int | None = None
    images: int = 0

    @property
    def question(self) -> str:
        """The text of the last message of the user."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), self.messages[-1].text)

    def random(self, purpose: str) -> Random:
        """The same request makes the same choices, whenever and however it is sent."""
        schema = json.dumps(self.schema, sort_keys=True) if self.schema else ""
        parts = (purpose, self.model, self.messages, self.tools_json, schema, self.json_object, self.seed)
        return Random(hashlib.sha256(repr(parts).encode()).digest())


def positive(body: Mapping[str, object], *names: str) -> int | None:
    """The first of ``names`` in ``body`` that is set, as a positive integer."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadRequestError(f"'{name}' must be a positive integer, not {value!r}", name)
        return value
    return None


def required_text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"you must provide a {name} parameter", name)
    return value


def stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop") or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def text_of(content: object) -> str:
    """The text in a message's content: a string, ``None``, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", part.get("refusal", ""))) for part in _parts(content))


def images_in(contents: Iterable[object]) -> int:
    parts = (part for content in contents if isinstance(content, list) for part in _parts(content))
    return sum(part.get("type") in ("image_url", "input_image") for part in parts)


def _parts(content: object) -> list[Mapping[str, object]]:
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise BadRequestError("message content must be a string or a list of parts", "messages")
    return content


def compact(value: object) -> str:
    """JSON without spaces: how tools are counted."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
