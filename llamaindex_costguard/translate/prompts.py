"""The forms that a request has in LlamaIndex, a chat, a text and a template for an object, with one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import CostGuard
from costguard_core.usage.overhead import described_json, hidden_tokens
from costguard_core.usage.prompt import ReadPrompt
from costguard_core.usage.token_counter import Count
from llamaindex_costguard.translate.messages import read_messages, rows_of


class _Plain:
    """What the integration returns is a response."""

    __slots__ = ()
    is_structured = False

    @staticmethod
    def received(made: Any) -> Any:
        """What the integration returned, as a response."""
        return made

    @staticmethod
    def given(response: Any) -> Any:
        """A response, as what the caller expects."""
        return response


class Chat(_Plain):
    """A list of messages, and how they are counted."""

    __slots__ = ("messages", "read")
    kind = "chat"

    def __init__(self, messages: Sequence[ChatMessage]) -> None:
        self.messages, self.read = messages, read_messages(messages)

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How LlamaIndex's method takes it."""
        return (self.messages,), {}

    @property
    def question(self) -> str:
        """The text of the last message if a user wrote it, else nothing."""
        last = None
        for last in self.messages:  # noqa: B007  # also for iterables without an end to index
            pass
        return (last.content or "") if last is not None and last.role is MessageRole.USER else ""

    def rows(self) -> list[Any]:
        """As the key of a cached answer has it."""
        return rows_of(self.messages)

    def counted(self, guard: CostGuard, model: str, provider: str | None, arguments: Mapping[str, Any]) -> Count:
        """Its tokens, in a call with these arguments."""
        described = described_json(arguments, provider, _described, model=model) if arguments else None
        return self.read.counted(guard.tokens, model, provider, described, hidden_tokens(model, provider, arguments))

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> ChatResponse:
        """An answer that no model gave."""
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
        return ChatResponse(message=message, delta=text, additional_kwargs=extra)


class Text(_Plain):
    """A prompt for completion. ``formatted`` says that it needs no ``completion_to_prompt`` any more."""

    __slots__ = ("formatted", "prompt", "read")
    kind = "completion"

    def __init__(self, prompt: str, *, formatted: bool) -> None:
        self.prompt, self.formatted = prompt, formatted
        # Chat models complete by chatting: counted as one message, which is at most a few tokens more than the text.
        self.read = ReadPrompt([("user", prompt)], [prompt])

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.prompt,), {"formatted": self.formatted}

    @property
    def question(self) -> str:
        return self.prompt

    def rows(self) -> list[Any]:
        return ["text", self.prompt, self.formatted]

    def counted(self, guard: CostGuard, model: str, provider: str | None, arguments: Mapping[str, Any]) -> Count:
        return self.read.counted(guard.tokens, model, provider, None, 0)

    @staticmethod
    def static(text: str, extra: dict[str, Any]) -> CompletionResponse:
        return CompletionResponse(text=text, delta=text, additional_kwargs=extra)


class Structured:
    """A template to be filled and answered with an object, by an integration that asks its provider for objects."""

    kind = "chat"
    is_structured = True
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

    @cached_property
    def _chat(self) -> Chat:
        return Chat(self._template.format_messages(llm=self._llm, **self._values))

    @cached_property
    def read(self) -> ReadPrompt:
        """Its messages, and which object is wanted, as they are counted and told from another prompt."""
        read = self._chat.read
        return read._replace(texts=[*read.texts, self._output.__qualname__])

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._output, self._template), {"llm_kwargs": self._llm_kwargs, **self._values}

    @property
    def question(self) -> str:
        return self._chat.question

    def rows(self) -> list[Any]:
        schema = self._output.model_json_schema()
        return ["object", self._output.__qualname__, schema, self._llm_kwargs, *self._chat.rows()]

    def counted(self, guard: CostGuard, model: str, provider: str | None, arguments: Mapping[str, Any]) -> Count:
        return self._chat.counted(guard, model, provider, {**arguments, "response_format": self._output})

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


def _described(value: Any) -> Any:
    """An argument as the provider is told of it, for counting."""
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return [metadata.name, metadata.description, metadata.get_parameters_dict()]
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
