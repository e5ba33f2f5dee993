"""LangChain generations ↔ JSON. Core message classes only; what cannot come back equal is not stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from costguard_core.cache import Answer, CachedAnswer, NotCanonical, canonical
from costguard_core.cache.answer import hit_mark, saved_in
from costguard_core.cache.semantic.written import written_text
from costguard_core.types import MARK
from costguard_core.usage.finish import finish_reasons, says_of
from costguard_core.util.ids import CallIds
from costguard_core.util.models import built

# `additional_kwargs["parsed"]` is an object of the user's class. The provider's own text is kept instead, and
# LangChain's parser builds the object again with the schema of whoever asks.
_PARSED = "parsed"
_FROM_CONTENT = {"$costguard": "content"}


# Whether messages of the installed LangChain have the fields that are stored, and no others.
_HAS_NO_MORE = AIMessage.model_fields.keys() == set(
    "type content additional_kwargs response_metadata tool_calls invalid_tool_calls usage_metadata name id".split()
)

new_message_id = CallIds("lc_run--")  # asking the system for random numbers took a sixth of a hit
"""A message id in LangChain's style, of its own for every hit."""


def decode(
    payload: Sequence[Mapping[str, Any]] | Mapping[str, Any], *, new_id: Callable[[], str | None] = new_message_id
) -> list[Generation]:
    """Fresh generations with fresh message ids: a repeated id makes LangGraph overwrite an earlier message.

    A mapping is an answer that a person wrote.
    """
    if isinstance(payload, Mapping):
        return [ChatGeneration(message=AIMessage(written_text(payload) or "", id=new_id()))]
    generations: list[Generation] = []
    for item in payload:
        if "m" not in item:
            generations.append(Generation(text=item["g"], generation_info=item["i"]))
            continue
        # Built without validation: these fields were read from a valid message, and validating takes longer than the
        # store.
        fields = item["m"]
        content, extra = fields["c"], fields.get("a", {})
        if extra.get(_PARSED) == _FROM_CONTENT:
            extra[_PARSED] = json.loads(content)
        given = {
            "type": "ai",
            "content": content,
            "additional_kwargs": extra,
            "response_metadata": fields.get("r", {}),
            "tool_calls": fields.get("t", []),
            "invalid_tool_calls": fields.get("x", []),
            "usage_metadata": fields.get("u"),
            "name": fields.get("n"),
            "id": new_id(),
        }
        message = built(AIMessage, given, extra={}) if _HAS_NO_MORE else AIMessage.model_construct(**given)
        told: dict[str, Any] = {"message": message, "generation_info": item.get("i")}
        if isinstance(content, str):
            generations.append(built(ChatGeneration, {"text": content, "type": "ChatGeneration", **told}))
        else:
            generations.append(ChatGeneration(**told))
    return generations


def decode_hit(cached: CachedAnswer) -> list[Generation]:
    """The generations of a hit, chat messages marked with where they came from and what they saved."""
    generations = decode(cached.payload)
    mark = hit_mark(cached)
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            generation.message.response_metadata[MARK] = dict(mark)
    return generations


def answer_text(payload: Any) -> str:
    """What a stored answer says: its text, and its tool calls in one spelling."""
    generations = decode(payload)
    calls = [[[call["name"], call["args"]] for call in made] for made in map(_tool_calls, generations) if made]
    return "\n".join(part for part in (*(one.text for one in generations), *map(canonical, calls)) if part)


def asks_for_tools(payload: Any) -> bool:
    """Whether a stored answer asks for a tool to be called."""
    return any(map(_tool_calls, decode(payload)))


def _tool_calls(generation: Generation) -> list[Any]:
    return getattr(generation.message, "tool_calls", []) if isinstance(generation, ChatGeneration) else []


def saved_before(generations: Sequence[Generation]) -> int | None:
    """Nano-dollars that the generations, coming from a cache themselves, say they saved."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            saved = saved_in(generation.message.response_metadata.get(MARK))
            if saved is not None:
                return saved
    return None


def answer_of(generations: Sequence[Generation]) -> Answer:
    """The generations as JSON data, without ids and Costguard's own marks, and the facts that the policy asks about.

    Usage and cost are the caller's to add.

    Raises:
        NotCanonical: a message class or a value that JSON cannot bring back.
    """
    payload: list[dict[str, Any]] = []
    finish: list[str] = []
    sources: list[Mapping[str, Any]] = []
    refused, empty = False, not generations
    for generation in generations:
        sources.append(generation.generation_info or {})
        if isinstance(generation, ChatGeneration):
            message = generation.message
            sources.append(message.response_metadata)
            if getattr(message, "invalid_tool_calls", None):
                finish.append("malformed_function_call")
            declined, silent = says_of(message.content, message.additional_kwargs, getattr(message, "tool_calls", None))
            refused, empty = refused or declined, empty or silent
            payload.append(_encode_chat(generation))
        else:
            empty = empty or not generation.text.strip()
            payload.append({"g": generation.text, "i": generation.generation_info})
    finish += finish_reasons(sources)
    return Answer(payload, len(generations), tuple(finish), refused, empty)


def _encode_chat(generation: ChatGeneration) -> dict[str, Any]:
    message: BaseMessage = generation.message
    if isinstance(message, AIMessageChunk):
        message = message_chunk_to_message(message)
    if type(message) is not AIMessage:
        raise NotCanonical(f"a message of class {type(message).__name__}")
    fields: dict[str, Any] = {"c": message.content}
    if message.additional_kwargs:
        fields["a"] = _extra(message)
    metadata = dict(message.response_metadata)
    metadata.pop(MARK, None)
    if metadata:
        fields["r"] = metadata
    if message.tool_calls:
        fields["t"] = message.tool_calls
    if message.invalid_tool_calls:
        fields["x"] = message.invalid_tool_calls
    usage: dict[str, Any] = dict(message.usage_metadata or {})
    usage.pop("total_cost", None)  # LangChain writes `total_cost: 0` into the usage of every hit
    if usage:
        fields["u"] = usage
    if message.name:
        fields["n"] = message.name
    return {"m": fields, "i": generation.generation_info} if generation.generation_info else {"m": fields}


def _extra(message: AIMessage) -> dict[str, Any]:
    extra = dict(message.additional_kwargs)
    parsed = extra.get(_PARSED)
    if isinstance(parsed, BaseModel):
        extra[_PARSED] = _FROM_CONTENT if _content_is_json(message) else parsed.model_dump(mode="json", by_alias=True)
    return extra


def _content_is_json(message: AIMessage) -> bool:
    try:
        return isinstance(message.content, str) and isinstance(json.loads(message.content), dict)
    except (ValueError, RecursionError):  # brackets in brackets in brackets
        return False
