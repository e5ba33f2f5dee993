"""The two forms that a request has in LlamaIndex, a chat and a text, with one interface."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    MessageRole,
)
from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import CostGuard
from costguard_core.tokens import Count
from llamaindex_costguard.messages import question_of, rows_of
from llamaindex_costguard.responses import message_text


class Chat:
    """A list of messages."""

    __slots__ = ("messages",)
    kind = "chat"

    def __init__(self, messages: Sequence[ChatMessage]) -> None:
        self.messages = messages

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How LlamaIndex's method takes it."""
        return (self.messages,), {}

    @property
    def texts(self) -> list[str]:
        """Roles and texts, which tell one prompt from another."""
        return [text for message in self.messages for text in (message.role.value, message_text(message))]

    @property
    def size(self) -> int:
        """About how many characters it has."""
        return sum(map(len, self.texts))

    @property
    def question(self) -> str:
        return question_of(self.messages)

    @property
    def asks_to_cache(self) -> bool:
        """Whether it has breakpoints for the provider's own prompt cache, which some bill above the price of input."""
        return any(
            "cache_control" in message.additional_kwargs
            or any(isinstance(block, CachePoint) for block in message.blocks)
            for message in self.messages
        )

    def rows(self) -> list[Any]:
        return rows_of(self.messages)

    def counted(self, guard: CostGuard, model: str, provider: str | None, kwargs: Mapping[str, Any]) -> Count:
        images = sum(isinstance(block, ImageBlock) for message in self.messages for block in message.blocks)
        return guard.tokens.count_chat(
            [(message.role.value, message_text(message)) for message in self.messages],
            model=model,
            provider=provider,
            tools_json=_tools_json(kwargs),
            images=images,
        )

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> ChatResponse:
        """An answer that no model gave."""
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
        return ChatResponse(message=message, delta=text, additional_kwargs=extra)


class Text:
    """A prompt for completion. ``formatted`` says that it needs no ``completion_to_prompt`` any more."""

    __slots__ = ("formatted", "prompt")
    kind = "completion"
    asks_to_cache = False

    def __init__(self, prompt: str, *, formatted: bool) -> None:
        self.prompt, self.formatted = prompt, formatted

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.prompt,), {"formatted": self.formatted}

    @property
    def texts(self) -> list[str]:
        return [self.prompt]

    @property
    def size(self) -> int:
        return len(self.prompt)

    @property
    def question(self) -> str:
        return self.prompt

    def rows(self) -> list[Any]:
        return ["text", self.prompt, self.formatted]

    def counted(self, guard: CostGuard, model: str, provider: str | None, kwargs: Mapping[str, Any]) -> Count:
        # Chat models complete by chatting: counted as one message, which is at most a few tokens more than the text.
        return guard.tokens.count_chat([("user", self.prompt)], model=model, provider=provider)

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> CompletionResponse:
        return CompletionResponse(text=text, delta=text, additional_kwargs=extra)


Prompt = Chat | Text


def _tools_json(kwargs: Mapping[str, Any]) -> str | None:
    described = [kwargs[name] for name in ("tools", "functions", "response_format") if kwargs.get(name)]
    return json.dumps(described, default=_described) if described else None


def _described(value: Any) -> Any:
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return [metadata.name, metadata.description, metadata.get_parameters_dict()]
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
