"""Messages and the forms that a request has: what of them can change the next answer, and what of them is counted.

Blocks are read, because ``.content`` leaves out images and tools. Tool-call ids are renamed in order of appearance,
because providers invent new ones for every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
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
from costguard_core.cache import NotCanonical
from costguard_core.cache.request import is_call_id, renamed, with_renamed_ids
from costguard_core.usage.block_media import media_in
from costguard_core.usage.media import Media
from costguard_core.usage.overhead import described_json, hidden_tokens, sealed_letters
from costguard_core.usage.prompt_content import CallText, answered_call, call_text, listed_calls
from costguard_core.usage.token_counter import Count, ReadPrompt

_CALLS = ("tool_calls", "function_call", "built_in_tool_calls")
_DATA = ("image", "audio", "video", "data")


def read_messages(messages: Sequence[ChatMessage]) -> ReadPrompt:
    """Messages as they are counted."""
    pairs: list[tuple[str, str]] = []
    texts: list[str] = []
    media: list[Media] = []
    caches = rewritten = False
    sealed: list[tuple[int, int]] = []
    for message in messages:
        blocks, extra = message.blocks, message.additional_kwargs
        if len(blocks) == 1 and type(blocks[0]) is TextBlock:  # nearly all of them
            pair = (message.role.value, blocks[0].text)
        else:
            pair = (message.role.value, message_text(message, call_text))
            rewritten = rewritten or any(isinstance(block, ToolCallBlock) for block in blocks)
            thoughts = (block.additional_information for block in blocks if isinstance(block, ThinkingBlock))
            sealed.append((len(pairs), sum(map(sealed_letters, thoughts))))
            media += [found for block in blocks if (found := media_in(block)) is not None]
            caches = caches or any(isinstance(block, CachePoint) for block in blocks)
        rewritten = rewritten or message.role is MessageRole.TOOL or "tool_calls" in extra
        if extra:
            caches = caches or "cache_control" in extra
            sealed.append((len(pairs), sealed_letters(extra)))
        pairs.append(pair)
        texts += pair
    return ReadPrompt(pairs, texts, media, caches, sealed, rewritten)


def message_text(message: ChatMessage, write: CallText = answered_call) -> str:
    """The text of a message, its tool calls included, each as ``write`` has it."""
    blocks, extra = message.blocks, message.additional_kwargs
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock) and not extra:
        return blocks[0].text
    text = "".join(_block_text(block, write) for block in blocks)
    if extra and not any(isinstance(block, ToolCallBlock) for block in blocks):
        text += listed_calls(extra, write)
    return text


def rows_of(messages: Iterable[ChatMessage]) -> list[list[Any]]:
    """Messages as canonical rows.

    Raises:
        NotCanonical: a part without an exact written form, such as an open file.
    """
    ids: dict[str, str] = {}
    rows = []  # no comprehension: before Python 3.12 that is a call more for each request
    for message in messages:
        rows.append(_row(message, ids))
    return rows


def described(value: object) -> Any:
    """A value as JSON types; pydantic objects by their fields.

    Raises:
        NotCanonical: it has no exact written form.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotCanonical(f"a value of type {type(value).__name__}")


def _block_text(block: object, write: CallText) -> str:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ToolCallBlock):
        return write(block.tool_name, block.tool_kwargs)
    thought = getattr(block, "content", None)
    return thought if isinstance(thought, str) else ""


def _row(message: ChatMessage, ids: dict[str, str]) -> list[Any]:
    row: list[Any] = [message.role.value]
    for block in message.blocks:
        row.append(block.text if type(block) is TextBlock else _block(block, ids))
    if message.additional_kwargs:
        kept = _extra(message, ids)
        return [*row, {"extra": kept}] if kept else row
    return row


def _block(block: Any, ids: dict[str, str]) -> Any:
    if isinstance(block, ToolCallBlock):
        return {"calls": block.tool_name, "with": block.tool_kwargs, "id": renamed(block.tool_call_id, ids)}
    fields = dict(block)
    opened = [name for name in _DATA if name in fields and hasattr(fields[name], "read")]
    if opened:
        raise NotCanonical("an open file in a message")
    path = fields.get("path")
    if path is not None and all(fields.get(name) is None for name in _DATA):  # LlamaIndex sends data before a path
        return {"block": block.block_type, "read": _digest_of(Path(path)), "fields": _small(block, {"path", *_DATA})}
    return {"block": block.block_type, "fields": _small(block, {"path"})}


def _small(block: BaseModel, left_out: set[str]) -> Any:
    try:
        return block.model_dump(mode="json", exclude=left_out)
    except Exception:
        raise NotCanonical(f"a block of type {type(block).__name__}") from None


def _digest_of(path: Path) -> str:
    try:
        return blake2b(path.read_bytes(), digest_size=20).hexdigest()
    except OSError:
        raise NotCanonical("a file that cannot be read") from None


def _extra(message: ChatMessage, ids: dict[str, str]) -> dict[str, Any]:
    """Additional arguments, without the copy of the tool calls that OpenAI's integration keeps there, or reports."""
    has_calls = any(isinstance(block, ToolCallBlock) for block in message.blocks)
    left_out = {"usage", "costguard", *(("tool_calls",) if has_calls else ())}
    kept = {name: value for name, value in message.additional_kwargs.items() if name not in left_out}
    return {name: _named(name, value, ids) for name, value in kept.items() if value is not None}


def _named(name: str, value: object, ids: dict[str, str]) -> Any:
    # Ids elsewhere are content, such as that of a sound that was said before.
    return with_renamed_ids(name, value, ids if name in _CALLS or is_call_id(name, value) else None)


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
