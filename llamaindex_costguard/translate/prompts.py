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
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import CostGuard
from costguard_core.usage.block_media import media_in
from costguard_core.usage.media import Media, audio_bound
from costguard_core.usage.overhead import describing, hidden_tokens, sealed_letters, sealed_tokens
from costguard_core.usage.token_counter import Count
from llamaindex_costguard.translate.messages import rows_of
from llamaindex_costguard.translate.responses import message_text


class _Plain:
    """What the integration returns is a response."""

    __slots__ = ()
    is_plain = True

    @staticmethod
    def received(made: Any) -> Any:
        """What the integration returned, as a response."""
        return made

    @staticmethod
    def given(response: Any) -> Any:
        """A response, as what the caller expects."""
        return response


class Chat(_Plain):
    """A list of messages.

    Attributes:
        messages: as they were given.
        pairs: role and text of each.
        texts: the same, one after the other, which tell one prompt from another.
        media: what else is in them.
        asks_to_cache: it has breakpoints for the provider's own prompt cache, which some bill above the price of input.
        sealed: letters of encrypted thoughts.
        rewritten: there are calls of tools, which vendors write in a form of their own.
    """

    __slots__ = ("asks_to_cache", "media", "messages", "pairs", "rewritten", "sealed", "texts")
    kind = "chat"

    def __init__(self, messages: Sequence[ChatMessage]) -> None:
        self.messages = messages
        self.pairs: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.media: list[Media] = []
        self.asks_to_cache = self.rewritten = False
        self.sealed = 0
        for message in messages:
            blocks = message.blocks
            if len(blocks) == 1 and type(blocks[0]) is TextBlock:  # nearly all of them
                pair = (message.role.value, blocks[0].text)
            else:
                pair = (message.role.value, message_text(message))
                self.rewritten = self.rewritten or any(isinstance(block, ToolCallBlock) for block in blocks)
                self.sealed += sum(
                    sealed_letters(block.additional_information) for block in blocks if isinstance(block, ThinkingBlock)
                )
                self.media += [found for block in blocks if (found := media_in(block)) is not None]
                self.asks_to_cache = self.asks_to_cache or any(isinstance(block, CachePoint) for block in blocks)
            self.asks_to_cache = self.asks_to_cache or "cache_control" in message.additional_kwargs
            if message.role is MessageRole.TOOL or "tool_calls" in message.additional_kwargs:
                self.rewritten = True
            if message.additional_kwargs:
                self.sealed += sealed_letters(message.additional_kwargs)
            self.pairs.append(pair)
            self.texts += pair

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How LlamaIndex's method takes it."""
        return (self.messages,), {}

    @property
    def size(self) -> int:
        """About how many characters it has."""
        return sum(map(len, self.texts))

    @property
    def question(self) -> str:
        """The text of the last message if a user wrote it, else nothing."""
        last = None
        for last in self.messages:  # noqa: B007  # also for iterables without an end to index
            pass
        return (last.content or "") if last is not None and last.role is MessageRole.USER else ""

    def rows(self) -> list[Any]:
        return rows_of(self.messages)

    def counted(self, guard: CostGuard, model: str, provider: str | None, kwargs: Mapping[str, Any]) -> Count:
        return guard.tokens.count_chat(
            self.pairs,
            model=model,
            provider=provider,
            tools_json=_tools_json(kwargs, provider) if kwargs else None,
            media=self.media,
            hidden=hidden_tokens(model, provider, kwargs) + sealed_tokens(self.sealed, model, provider),
            rewritten=self.rewritten,
        )

    def audio_tokens(self, model: str, provider: str | None) -> int:
        """The most tokens of it that can be sound."""
        return audio_bound(self.media, model, provider) if self.media else 0

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> ChatResponse:
        """An answer that no model gave."""
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
        return ChatResponse(message=message, delta=text, additional_kwargs=extra)


class Text(_Plain):
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

    def audio_tokens(self, model: str, provider: str | None) -> int:
        """A text has no sound."""
        return 0

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> CompletionResponse:
        return CompletionResponse(text=text, delta=text, additional_kwargs=extra)


class Structured:
    """A template to be filled and answered with an object, by an integration that asks its provider for objects."""

    __slots__ = ("_llm", "_llm_kwargs", "_made", "_output", "_template", "_values")
    kind = "chat"
    is_plain = False
    HEAD = 4  # rows before those of the messages

    def __init__(
        self,
        llm: Any,
        output: type[BaseModel],
        template: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        values: Mapping[str, Any],
    ) -> None:
        self._llm, self._output, self._template = llm, output, template
        self._llm_kwargs, self._values = llm_kwargs, values
        self._made: tuple[CompletionResponse, Any] | None = None

    @property
    def _chat(self) -> Chat:
        return Chat(self._template.format_messages(llm=self._llm, **self._values))

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._output, self._template), {"llm_kwargs": self._llm_kwargs, **self._values}

    @property
    def texts(self) -> list[str]:
        return [*self._chat.texts, self._output.__qualname__]

    @property
    def size(self) -> int:
        return self._chat.size

    @property
    def question(self) -> str:
        return self._chat.question

    @property
    def asks_to_cache(self) -> bool:
        return self._chat.asks_to_cache

    def rows(self) -> list[Any]:
        schema = self._output.model_json_schema()
        return ["object", self._output.__qualname__, schema, self._llm_kwargs, *self._chat.rows()]

    def counted(self, guard: CostGuard, model: str, provider: str | None, kwargs: Mapping[str, Any]) -> Count:
        return self._chat.counted(guard, model, provider, {**kwargs, "response_format": self._output})

    def audio_tokens(self, model: str, provider: str | None) -> int:
        """The most tokens of it that can be sound."""
        return self._chat.audio_tokens(model, provider)

    def received(self, made: Any) -> CompletionResponse:
        response = CompletionResponse(text=made.model_dump_json())
        self._made = response, made
        return response

    def given(self, response: Any) -> Any:
        if self._made is not None and self._made[0] is response:
            return self._made[1]
        return self._output.model_validate_json(response.text)

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> None:
        """A static reply is text, and no object can be made of it."""


Prompt = Chat | Text | Structured


def _tools_json(kwargs: Mapping[str, Any], provider: str | None) -> str | None:
    described = describing(kwargs, provider)
    return json.dumps(described, default=_described) if described else None


def _described(value: Any) -> Any:
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return [metadata.name, metadata.description, metadata.get_parameters_dict()]
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
