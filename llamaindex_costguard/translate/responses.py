"""What an answer says about itself: usage, the model that gave it, why it ended, its text. Imports no integration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock, ToolCallBlock

from costguard_core import Usage
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.reader import read_usage
from costguard_core.usage.totals import latest_usage

Response = ChatResponse | CompletionResponse
RESPONSES = (ChatResponse, CompletionResponse)

_FINISH = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_MODELS = ("model", "model_name", "model_version", "modelId")
_USAGE_PARTS = ("usage", "usage_metadata", "metadata", "meta", "message", "response", "prompt_eval_count")


def usage_of(response: Response, provider: str | None) -> Usage | None:
    """What the provider says was consumed, wherever its integration puts it; ``None`` if it says nothing."""
    extra = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
    if response.raw is None and not extra and not response.additional_kwargs:
        return None
    found = _raw_usage(response.raw, provider)
    if extra.get("usage") is not None:  # Anthropic's streams: the last chunk alone does not know what the prompt cost
        said = read_usage(extra["usage"], provider=provider)
        found = said if found is None else found if said is None else latest_usage(found, said)
    if found is None and response.additional_kwargs:
        found = read_usage(response.additional_kwargs, provider=provider)
    if found is None or not (found.total_tokens or found.units):
        return None
    return _with_fees(found, response.raw)


def _with_fees(usage: Usage, raw: Any) -> Usage:
    """With searches and other units that only the answer's own items show, and the id that the provider gave it."""
    identity = _get(raw, "id")
    if isinstance(identity, str):
        usage = replace(usage, request_id=identity)
    content = _get(raw, "content") or _get(raw, "output")
    found = content if isinstance(content, (list, tuple)) else ()
    candidates = _get(raw, "candidates")
    first = candidates[0] if isinstance(candidates, (list, tuple)) and candidates else None
    model = next((name for key in _MODELS if isinstance(name := _get(raw, key), str)), "")
    return add_answer_fees(usage, found, {"grounding_metadata": _get(first, "grounding_metadata")}, model)


def model_of(response: Response) -> str | None:
    """The model that the provider says it used."""
    if response.raw is None:
        return None
    named = (_get(response.raw, name) for name in _MODELS)
    return next((name for name in named if isinstance(name, str) and name), None)


def finish_reasons(response: Response) -> list[str]:
    """Why the answer ended, in the provider's words."""
    reasons = []
    for source in _sources(response):
        for name in _FINISH:
            found = source.get(name) if type(source) is dict else _get(source, name)
            found = getattr(found, "value", found)
            if isinstance(found, str):
                reasons.append(found)
    return reasons


def is_refusal(response: Response) -> bool:
    """Whether the model declined to answer."""
    for source in _sources(response):
        for part in ("message", "delta"):
            found = source.get(part) if type(source) is dict else _get(source, part)
            if found is not None and _get(found, "refusal"):
                return True
    return False


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


def message_text(message: ChatMessage) -> str:
    """The text of a message, its tool calls included."""
    blocks = message.blocks
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock):
        return blocks[0].text
    return "".join(_block_text(block) for block in blocks)


@dataclass(slots=True, eq=False)
class Seen:
    """What a stream has said so far. Chunks are cumulative; usage and the reason to end may come in any of them.

    Attributes:
        provider: whose usage it is.
        last: the newest chunk, with all text so far; ``None``: not one arrived.
        usage, model: what the provider says was consumed, and by which model.
        finish: why the answer ended, in the provider's words.
        refused: the model declined to answer.
    """

    provider: str | None
    last: Response | None = None
    usage: Usage | None = None
    model: str | None = None
    finish: list[str] = field(default_factory=list)
    refused: bool = False

    def add(self, chunk: Response) -> None:
        self.last = _snapshot(chunk)
        said = usage_of(chunk, self.provider)
        if said is not None:
            self.usage = said if self.usage is None else latest_usage(self.usage, said)
        if chunk.raw is None:
            return
        self.finish += finish_reasons(chunk)
        self.refused = self.refused or is_refusal(chunk)
        if self.model is None:
            self.model = model_of(chunk)

    @property
    def text(self) -> str | None:
        """``None``: not one chunk arrived."""
        return None if self.last is None else text_of(self.last)


def _snapshot(chunk: Response) -> Response:
    """The chunk as it is now: whoever receives it may change its lists."""
    if isinstance(chunk, CompletionResponse):
        return chunk
    message = chunk.message.model_copy()
    message.blocks = list(message.blocks)
    copy = chunk.model_copy()
    copy.message = message
    return copy


def _raw_usage(raw: Any, provider: str | None) -> Usage | None:
    if raw is None or isinstance(raw, (str, bytes, list)):
        return None
    if all(_get(raw, name) is None for name in _USAGE_PARTS):
        return None  # most chunks of a stream
    return read_usage(raw, provider=provider) or read_usage(_get(raw, "metadata"), provider=provider)


def _sources(response: Response) -> list[Any]:
    """Whatever of a response may say why it ended. Most that was not streamed has nothing but a ``raw``."""
    raw, sources = response.raw, []
    if raw is not None:
        sources.append(raw)
        if (delta := _get(raw, "delta")) is not None:
            sources.append(delta)
        for name in ("choices", "candidates"):
            found = _get(raw, name)
            if isinstance(found, (list, tuple)):
                sources += found
    if isinstance(response, ChatResponse) and response.message.additional_kwargs:
        sources.append(response.message.additional_kwargs)
    if response.additional_kwargs:
        sources.append(response.additional_kwargs)
    return sources


def _says_something(block: Any) -> bool:
    if isinstance(block, TextBlock):
        return bool(block.text.strip())
    return bool(getattr(block, "block_type", "") != "thinking")


def _block_text(block: Any) -> str:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ToolCallBlock):
        arguments = block.tool_kwargs
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
        return f"{block.tool_name}{written}"
    thought = getattr(block, "content", None)
    return thought if isinstance(thought, str) else ""


def _get(raw: Any, name: str) -> Any:
    return raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)
