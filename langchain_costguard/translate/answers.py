"""LangChain generations ↔ JSON, and what an answer says of itself: its text, usage, billed parts, and its model.

Core message classes only; what cannot come back equal is not stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from costguard_core import Usage
from costguard_core.cache import Answer, CachedAnswer, NotCanonical, canonical
from costguard_core.cache.answer import built, hit_mark, saved_in
from costguard_core.cache.semantic.written import written_text
from costguard_core.lifecycle.calls import CallIds
from costguard_core.types import MARK
from costguard_core.usage.reader import (
    MessageStream,
    finish_reasons,
    message_counts,
    read_usage,
    says_of,
    with_billed_parts,
)
from costguard_core.usage.token_counter import COUNTED_ELSEWHERE
from langchain_costguard.translate.messages import plain_text

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
    payload: list[Mapping[str, Any]] | Mapping[str, Any], *, new_id: Callable[[], str | None] = new_message_id
) -> list[Generation]:
    """Fresh generations with fresh message ids: a repeated id makes LangGraph overwrite an earlier message.

    A mapping is an answer that a person wrote.
    """
    if not isinstance(payload, list):
        return [ChatGeneration(message=AIMessage(written_text(payload) or "", id=new_id()))]
    generations: list[Generation] = []
    for item in payload:
        fields = item.get("m")
        if fields is None:
            generations.append(Generation(text=item["g"], generation_info=item["i"]))
            continue
        # Built without validation: these fields were read from a valid message, and validating takes longer than the
        # store.
        content, extra = fields["c"], fields.get("a", {})
        if extra and extra.get(_PARSED) == _FROM_CONTENT:
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
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            generation.message.response_metadata[MARK] = hit_mark(cached)
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


def result_usage(
    generations: Sequence[Generation], llm_output: Mapping[str, object] | None, streamed: Usage | None = None
) -> Usage | None:
    """What the provider says was consumed, or ``None`` if it says nothing.

    With ``n > 1`` every generation repeats the whole usage, so it is read once. ``streamed`` is what the chunks of a
    stream reported, of which LangChain adds up what gateways repeat.
    """
    for generation in generations:
        if not isinstance(generation, ChatGeneration):
            continue
        message, info = generation.message, generation.generation_info
        metadata: Mapping[str, object] = message.response_metadata
        if llm_output or info:
            metadata = {**(llm_output or {}), **(info or {}), **metadata}
        found = streamed or message_counts(message.__dict__.get("usage_metadata"), metadata)
        if found is not None:
            return with_billed_parts(found, message.content, message.additional_kwargs, metadata, message.id)
    reported = (llm_output or {}).get("token_usage")
    if isinstance(reported, Mapping) and reported:
        return read_usage(reported)
    # BaseLLM.generate gives the first prompt of a batch the usage of all, and the others an empty one.
    return COUNTED_ELSEWHERE if reported == {} and not any(isinstance(g, ChatGeneration) for g in generations) else None


def add_chunk(reports: MessageStream, chunk: Generation | None) -> None:
    """Read what the next chunk of a stream reports about its usage."""
    if isinstance(chunk, ChatGeneration):
        message = chunk.message
        carried = getattr(message, "usage_metadata", None)
        reports.add(chunk, carried, message.response_metadata, chunk.generation_info)


def chunks_usage(chunks: Iterable[Generation], provider: str | None) -> Usage | None:
    """What the chunks of a whole stream report; ``None``: nothing."""
    reports = MessageStream(provider)
    for chunk in chunks:
        add_chunk(reports, chunk)
    return reports.usage


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


def answering_model(generations: Sequence[Generation], llm_output: Mapping[str, object] | None) -> str | None:
    """The model that the provider says it used (a dated snapshot of an alias, a fallback)."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            metadata = generation.message.response_metadata
            named = metadata.get("model_name") or metadata.get("model")
            if isinstance(named, str):
                return named
    named = (llm_output or {}).get("model_name")
    return named if isinstance(named, str) else None
