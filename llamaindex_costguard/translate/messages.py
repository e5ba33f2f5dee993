"""Messages → what of them can change the next answer, and what of them is counted: from their blocks, because
``.content`` leaves out images and tools.

Tool-call ids are renamed in order of appearance, because providers invent new ones for every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

from costguard_core.cache import NotCanonical
from costguard_core.cache.call_ids import is_call_id, renamed, with_renamed_ids
from costguard_core.usage.block_media import media_in
from costguard_core.usage.media import Media
from costguard_core.usage.overhead import sealed_letters
from costguard_core.usage.prompt import ReadPrompt
from llamaindex_costguard.translate.responses import message_text

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
            pair = (message.role.value, message_text(message))
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
