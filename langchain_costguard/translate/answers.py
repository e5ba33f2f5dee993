"""LangChain generations ↔ JSON. Core message classes only; what cannot come back equal is not stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from costguard_core.cache import Answer, CachedAnswer, NotCanonical, canonical
from costguard_core.cache.semantic.written import written_text
from costguard_core.types import NANOS_PER_DOLLAR
from costguard_core.util.ids import CallIds

if TYPE_CHECKING:
    pass

MARK = "costguard"

# `additional_kwargs["parsed"]` is an object of the user's class. The provider's own text is kept instead, and
# LangChain's parser builds the object again with the schema of whoever asks.
_PARSED = "parsed"
_FROM_CONTENT = {"$costguard": "content"}


def encode(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """The generations as JSON data, without ids and without Costguard's own marks.

    Raises:
        NotCanonical: a message class or a value that JSON cannot bring back.
    """
    return [_encode_chat(g) if isinstance(g, ChatGeneration) else _encode_text(g) for g in generations]


_unique = CallIds()  # asking the system for random numbers took a sixth of a hit


def new_message_id() -> str:
    """A message id in LangChain's style, of its own for every hit."""
    return f"lc_run--{_unique()}"


def decode(
    payload: Sequence[Mapping[str, Any]] | Mapping[str, Any], *, new_id: Callable[[], str | None] = new_message_id
) -> list[Generation]:
    """Fresh generations with fresh message ids: a repeated id makes LangGraph overwrite an earlier message.

    A mapping is an answer that a person wrote.
    """
    if isinstance(payload, Mapping):
        return [ChatGeneration(message=AIMessage(written_text(payload) or "", id=new_id()))]
    return [_decode_chat(item, new_id) if "m" in item else _decode_text(item) for item in payload]


def decode_hit(cached: CachedAnswer) -> list[Generation]:
    """The generations of a hit, chat messages marked with where they came from and what they saved."""
    generations = decode(cached.payload)
    saved = None if cached.cost is None else format(cached.saved_usd.normalize(), "f")
    mark = {"cache": cached.outcome.value, "saved_usd": saved, **cached.marks}
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
            mark = generation.message.response_metadata.get(MARK)
            saved = mark.get("saved_usd") if isinstance(mark, Mapping) else None
            if saved is not None:
                return int(Decimal(saved) * NANOS_PER_DOLLAR)
    return None


def answer_of(generations: Sequence[Generation]) -> Answer:
    """The generations with the facts that the policy asks about; usage and cost are the caller's to add.

    Raises:
        NotCanonical: see :func:`encode`.
    """
    return Answer(
        payload=encode(generations),
        choices=len(generations),
        finish=tuple(reason for g in generations for reason in _finish_reasons(g)),
        refused=any(_is_refusal(g) for g in generations),
        empty=not generations or any(_is_empty(g) for g in generations),
    )


def _encode_chat(generation: ChatGeneration) -> dict[str, Any]:
    message = _plain_message(generation.message)
    fields = {
        "c": message.content,
        "a": _extra(message),
        "r": {name: value for name, value in message.response_metadata.items() if name != MARK},
        "t": message.tool_calls,
        "x": message.invalid_tool_calls,
        "u": _usage(message),
        "n": message.name,
    }
    kept = {name: value for name, value in fields.items() if value or name == "c"}
    return {"m": kept, **({"i": generation.generation_info} if generation.generation_info else {})}


def _plain_message(message: BaseMessage) -> AIMessage:
    if isinstance(message, AIMessageChunk):
        message = message_chunk_to_message(message)
    if type(message) is not AIMessage:
        raise NotCanonical(f"a message of class {type(message).__name__}")
    return message


def _extra(message: AIMessage) -> dict[str, Any]:
    extra = dict(message.additional_kwargs)
    parsed = extra.get(_PARSED)
    if isinstance(parsed, BaseModel):
        extra[_PARSED] = _FROM_CONTENT if _content_is_json(message) else parsed.model_dump(mode="json", by_alias=True)
    return extra


def _content_is_json(message: AIMessage) -> bool:
    try:
        return isinstance(message.content, str) and isinstance(json.loads(message.content), dict)
    except ValueError:
        return False


def _usage(message: AIMessage) -> dict[str, Any] | None:
    # LangChain writes `total_cost: 0` into the usage of every hit.
    found = message.usage_metadata
    return {name: value for name, value in found.items() if name != "total_cost"} if found else None


def _encode_text(generation: Generation) -> dict[str, Any]:
    return {"g": generation.text, "i": generation.generation_info}


def _decode_text(item: Mapping[str, Any]) -> Generation:
    return Generation(text=item["g"], generation_info=item["i"])


def _decode_chat(item: Mapping[str, Any], new_id: Callable[[], str | None]) -> ChatGeneration:
    # Built without validation: these fields were read from a valid message, and validating takes longer than the store.
    fields = item["m"]
    content, extra = fields["c"], fields.get("a", {})
    if extra.get(_PARSED) == _FROM_CONTENT:
        extra[_PARSED] = json.loads(content)
    message = AIMessage.model_construct(
        content=content,
        additional_kwargs=extra,
        response_metadata=fields.get("r", {}),
        tool_calls=fields.get("t", []),
        invalid_tool_calls=fields.get("x", []),
        usage_metadata=fields.get("u"),
        name=fields.get("n"),
        id=new_id(),
        type="ai",
    )
    text = content if isinstance(content, str) else None
    if text is None:
        return ChatGeneration(message=message, generation_info=item.get("i"))
    return ChatGeneration.model_construct(
        text=text, message=message, generation_info=item.get("i"), type="ChatGeneration"
    )


def _finish_reasons(generation: Generation) -> Iterator[str]:
    sources: list[Mapping[str, Any]] = [generation.generation_info or {}]
    if isinstance(generation, ChatGeneration):
        sources.append(generation.message.response_metadata)
        if getattr(generation.message, "invalid_tool_calls", None):
            yield "malformed_function_call"
    for source in sources:
        details = source.get("incomplete_details")
        found = [source.get(name) for name in ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")]
        found.append(details.get("reason") if isinstance(details, Mapping) else None)
        yield from (reason for reason in found if isinstance(reason, str))


def _is_refusal(generation: Generation) -> bool:
    if not isinstance(generation, ChatGeneration):
        return False
    message = generation.message
    return bool(message.additional_kwargs.get("refusal")) or any(
        isinstance(block, dict) and (block.get("type") == "refusal" or block.get("refusal"))
        for block in message.content
    )


def _is_empty(generation: Generation) -> bool:
    if not isinstance(generation, ChatGeneration):
        return not generation.text.strip()
    message = generation.message
    if getattr(message, "tool_calls", None) or message.additional_kwargs.get("function_call"):
        return False
    if message.additional_kwargs.get("audio"):
        return False
    content = message.content
    if isinstance(content, str):
        return not content.strip()
    return not any(_says_something(block) for block in content)


def _says_something(block: str | dict[str, Any]) -> bool:
    if isinstance(block, str):
        return bool(block.strip())
    if "text" in block:
        return bool(str(block["text"]).strip())
    return block.get("type") not in ("reasoning", "thinking", "redacted_thinking")
