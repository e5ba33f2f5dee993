"""LangChain's words for a call, translated into the core's: messages, parameters and results in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from costguard_core.types import MARK
from costguard_core.usage.media import Media
from costguard_core.usage.overhead import sealed_letters
from costguard_core.usage.parameters import OUTPUT_LIMITS, OutputCap, marks_cache, marks_hour
from costguard_core.usage.prompt import ReadPrompt
from costguard_core.usage.prompt_content import has_calls, read_content

KNOWN = ("ls_model_name", "ls_provider", "ls_max_tokens")
"""LangSmith's names, in the metadata of a model, for what :class:`costguard_core.usage.parameters.Known` holds."""


def read_messages(messages: Iterable[BaseMessage]) -> ReadPrompt:
    """Messages as they are counted."""
    read: list[tuple[str, str, str | None]] = []
    texts: list[str] = []
    media: list[Media] = []
    caches = rewritten = for_hour = False
    sealed: list[tuple[int, int]] = []
    for message in messages:
        text = message.content
        is_answer = isinstance(message, AIMessage)
        if is_answer and (message.additional_kwargs or not isinstance(text, str)):
            sealed.append((len(read), sealed_letters(text) + sealed_letters(message.additional_kwargs)))
        if not isinstance(text, str):
            caches, for_hour = caches or marks_cache(text), for_hour or marks_hour(text)
            text, pieces = read_content(text)
            media += pieces
        calls = message.__dict__.get("tool_calls") if is_answer else None
        rewritten = rewritten or bool(calls) or message.type in ("tool", "function")
        if calls and not has_calls(message.content):
            text += json.dumps([{"name": c["name"], "args": c["args"]} for c in calls], default=str)
        read.append((message.type, text, message.name))
        texts += (message.type, text)
    return ReadPrompt(read, texts, media, caches, sealed, rewritten, caches_for_hour=for_hour)


_CAPS = {
    # ChatOpenAI translates "max_tokens", and Azure's class, which is sent the same field under this name, does not. Its
    # reasoning models take no other: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning
    "AzureChatOpenAI": "max_completion_tokens",
    "ChatCohere": "max_tokens",  # it has no such field, and passes the argument on
}


@lru_cache(maxsize=256)
def output_cap(model: type[BaseChatModel]) -> OutputCap | None:
    """How models of this class take a limit; ``None``: no way is known, so none is sent."""
    for base in model.__mro__:
        if base.__name__ in _CAPS:
            return OutputCap(_CAPS[base.__name__])
    fields = model.model_fields
    if "max_tokens" in fields:  # ChatOpenAI has both spellings and translates this one for every endpoint
        return OutputCap("max_tokens")
    name = next((name for name in OUTPUT_LIMITS if name in fields), None)
    return None if name is None else OutputCap(name, is_field=name == "num_predict")  # Ollama: one of its "options"


def served_from_cache(generations: Iterable[Generation]) -> Mapping[str, Any] | None:
    """The mark of a cache hit: Costguard's own, or LangChain's ``total_cost: 0`` for any other cache."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            message = generation.message
            mark = message.response_metadata.get(MARK)
            if isinstance(mark, Mapping) and "cache" in mark:
                return mark
            usage = message.__dict__.get("usage_metadata")
            if usage and usage.get("total_cost") == 0:
                return {"cache": "exact"}
    return None


def text_of(generations: Iterable[Generation]) -> str:
    """All the text of an answer, tool calls included: what to count when the provider reported nothing."""
    texts = []
    for generation in generations:
        texts.append(plain_text(generation.message) if isinstance(generation, ChatGeneration) else generation.text)
    return "".join(texts)


def plain_text(message: BaseMessage) -> str:
    """All the text of a message, tool calls included."""
    content = message.content
    # A missing attribute of a pydantic model costs more than all the rest.
    if type(content) is str and not message.__dict__.get("tool_calls"):
        return content
    return read_messages([message]).texts[1]
