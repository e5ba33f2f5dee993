"""LlamaIndex responses ↔ JSON, and what an answer says of itself: its usage, model, text, and why it ended.

Imports no integration. What cannot come back as it was is not stored.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms import LLM
from pydantic import BaseModel

from costguard_core import Usage
from costguard_core.cache import Answer, CachedAnswer, NotCanonical, canonical
from costguard_core.cache.answer import built, hit_mark
from costguard_core.cache.semantic.written import written_text
from costguard_core.types import MARK
from costguard_core.usage.client_reports import answer_counts, answer_model, with_content
from costguard_core.usage.reader import end_sources, finish_reasons, is_refusal, read_usage
from costguard_core.usage.streamed_response import StreamedResponse
from costguard_core.usage.totals import latest_usage
from llamaindex_costguard.translate.messages import message_text

Response = ChatResponse | CompletionResponse
RESPONSES = (ChatResponse, CompletionResponse)
_OWN = frozenset(ChatResponse.model_fields) | frozenset(CompletionResponse.model_fields)

R = TypeVar("R", ChatResponse, CompletionResponse)


def usage_of(response: Response, provider: str | None) -> Usage | None:
    """What the provider says was consumed, wherever its integration puts it; ``None`` if it says nothing."""
    extra = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
    if response.raw is None and not extra and not response.additional_kwargs:
        return None
    found = answer_counts(response.raw, provider)
    if extra.get("usage") is not None:  # Anthropic's streams: the last chunk alone does not know what the prompt cost
        said = read_usage(extra["usage"], provider=provider)
        found = said if found is None else found if said is None else latest_usage(found, said)
    if found is None and response.additional_kwargs:
        found = read_usage(response.additional_kwargs, provider=provider)
    if found is None or not (found.total_tokens or found.units):
        return None
    return with_content(found, response.raw)


def model_of(response: Response) -> str | None:
    """The model that the provider says it used."""
    return None if response.raw is None else answer_model(response.raw)


def part_usage(made: object) -> Usage | None:
    """What a part of a call consumed, as what an integration returned for it says; most of that are no"""
    return usage_of(made, None) if isinstance(made, RESPONSES) else None


def is_empty(response: Response) -> bool:
    """Whether nothing was said: no text, no tool call, no picture."""
    if isinstance(response, CompletionResponse):
        return not response.text.strip()
    extra = response.message.additional_kwargs
    if extra.get("tool_calls") or extra.get("function_call"):
        return False
    return not any(map(_says_something, response.message.blocks))


def text_of(response: Response) -> str:
    """All that was said, tool calls included: what to count when the provider reported nothing."""
    return response.text if isinstance(response, CompletionResponse) else message_text(response.message)


class ResponseStream(StreamedResponse[Response]):
    """A stream of LlamaIndex's responses, of which each holds all of the text so far."""

    def kept(self, chunk: Response) -> Response:
        if isinstance(chunk, CompletionResponse):
            return chunk
        message = chunk.message.model_copy()
        message.blocks = list(message.blocks)
        copy = chunk.model_copy()
        copy.message = message
        return copy

    def reported(self, chunk: Response) -> Usage | None:
        return usage_of(chunk, self.provider)

    def said(self, chunk: Response) -> str:
        return text_of(chunk)


def _says_something(block: object) -> bool:
    if isinstance(block, TextBlock):
        return bool(block.text.strip())
    return bool(getattr(block, "block_type", "") != "thinking")


def answer_of(response: Response, *, finish: tuple[str, ...] = (), refused: bool = False) -> Answer:
    """The response with the facts that the policy asks about; usage and cost are the caller's to add.

    Raises:
        NotCanonical: a part that JSON cannot bring back.
    """
    sources = end_sources(response)
    return Answer(
        payload=_encode(response),
        finish=finish or tuple(finish_reasons(sources)),
        refused=refused or is_refusal(sources),
        empty=is_empty(response),
    )


def decode_hit(cached: CachedAnswer, llm_class: type[LLM], *, as_chat: bool) -> Response:
    """A fresh response, marked with where it came from and what it saved. ``llm_class`` is the integration's."""
    payload = cached.payload if "e" in cached.payload else _as_model_answer(cached.payload, as_chat=as_chat)
    extra = {**payload.get("e", {}), MARK: hit_mark(cached)}
    common = {"additional_kwargs": extra, "raw": payload.get("r"), "logprobs": payload.get("l"), "delta": None}
    if "t" in payload:
        return _made(CompletionResponse, payload, llm_class, {**common, "text": payload["t"]})
    return _made(ChatResponse, payload, llm_class, {**common, "message": _message(payload["m"])})


def answer_text(payload: Mapping[str, object]) -> str:
    """What a stored answer says, for comparing: its text, and its tool calls in one spelling."""
    payload = _as_model_answer(payload)
    return str(payload["t"]) if "t" in payload else message_text(_message(payload["m"]))


def _as_model_answer(payload: Mapping[str, object], *, as_chat: bool = True) -> Mapping[str, Any]:
    """The payload; of an answer that a person wrote, as a model would have given it."""
    if (text := written_text(payload)) is None:
        return payload
    return {"e": {}, "m": [MessageRole.ASSISTANT.value, text]} if as_chat else {"e": {}, "t": text}


def as_chunk(response: Any) -> Any:
    """A whole answer as the only chunk of a stream."""
    message = getattr(response, "message", None)
    response.delta = response.text if message is None else message.content or ""
    return response


def _encode(response: Response) -> dict[str, Any]:
    extra = dict(response.additional_kwargs)
    extra.pop(MARK, None)
    payload: dict[str, Any] = {"e": _plain(extra) if extra else extra}
    if isinstance(response, CompletionResponse):
        payload["t"] = response.text
    else:
        payload["m"] = _message_fields(response.message)
    if response.raw is not None:
        payload["r"] = _raw(response.raw)
    if response.logprobs:
        payload["l"] = [[item.model_dump(mode="json") for item in row] for row in response.logprobs]
    kind = type(response)
    if kind not in RESPONSES:  # integrations extend them: Anthropic's have citations
        payload["k"] = kind.__name__
        payload["f"] = _plain({name: getattr(response, name) for name in kind.model_fields if name not in _OWN})
    return payload


def _message_fields(message: ChatMessage) -> Any:
    """A plain text answer, the most common, in two words; any other as pydantic writes it."""
    if not message.additional_kwargs and len(message.blocks) == 1 and type(message.blocks[0]) is TextBlock:
        return [message.role.value, message.blocks[0].text]
    try:
        return message.model_dump(mode="json")
    except Exception:
        raise NotCanonical("a message that cannot be written as JSON") from None


def _message(fields: object) -> ChatMessage:
    if not isinstance(fields, list):
        return ChatMessage.model_validate(fields)
    # Built without validation: these two were read from a valid message, and validating takes longer than the store.
    role, text = fields
    block = built(TextBlock, {"block_type": "text", "text": text})
    return built(ChatMessage, {"role": MessageRole(role), "additional_kwargs": {}, "blocks": [block]})


def _raw(raw: object) -> Any:
    """The provider's own response if JSON can hold it; nothing but reports depends on it."""
    try:
        written = raw.model_dump(mode="json") if isinstance(raw, BaseModel) else _plain(raw)
        canonical(written)
    except Exception:
        return None
    return written


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise NotCanonical(f"a value of type {type(value).__name__}")


def _made(base: type[R], payload: Mapping[str, Any], llm_class: type[LLM], fields: dict[str, Any]) -> R:
    kind = _known(base, payload["k"], llm_class) if "k" in payload else base
    if kind is not base:
        return kind.model_validate({**fields, **payload.get("f", {})})
    if fields["logprobs"]:
        return base.model_validate(fields)
    return built(base, fields)


def _known(base: type[R], name: str, llm_class: type[LLM]) -> type[R]:
    """The response class of that name beside the LLM's own: what is stored cannot name any other."""
    found = getattr(sys.modules.get(llm_class.__module__), name, None)
    return found if isinstance(found, type) and issubclass(found, base) else base
