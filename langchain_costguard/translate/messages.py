"""Messages → what of them can change the next answer, and what of them is counted.

The former is the same from objects and from LangChain's JSON. Left out: message ids, response metadata, and usage
(LangChain writes ``total_cost`` into it on a hit). Tool-call ids are renamed in order of appearance, because providers
invent new ones for every call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from costguard_core.cache import NotCanonical
from costguard_core.cache.keys import plain
from costguard_core.cache.request import renamed, with_known_ids
from costguard_core.usage.media import Media
from costguard_core.usage.overhead import sealed_letters
from costguard_core.usage.parameters import marks_cache, marks_hour
from costguard_core.usage.prompt_content import call_text, has_calls, read_content
from costguard_core.usage.token_counter import ReadPrompt

_CHUNK = "MessageChunk"  # ends the types of chunks: "AIMessageChunk" is "ai"
# Beside the text: what a message may carry that reaches the provider.
_CARRIED = ("name", "role", "status")
# Copies, in the provider's own form, of what the message says in LangChain's.
_COPIES = ("tool_calls", "parsed")


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
            text += "".join([call_text(call["name"], call["args"]) for call in calls])
        read.append((message.type, text, message.name))
        texts += (message.type, text)
    return ReadPrompt(read, texts, media, caches, sealed, rewritten, caches_for_hour=for_hour)


def plain_text(message: BaseMessage) -> str:
    """All the text of a message, tool calls included."""
    content = message.content
    # A missing attribute of a pydantic model costs more than all the rest.
    if type(content) is str and not message.__dict__.get("tool_calls"):
        return content
    return read_messages([message]).texts[1]


def rows_of(messages: Iterable[BaseMessage]) -> list[list[Any]]:
    """Message objects as canonical rows of plain JSON data.

    Raises:
        NotCanonical: a message holds something that JSON has no form for.
    """
    ids: dict[str, str] = {}
    rows = []  # no comprehension: before Python 3.12 that is a call more for each request
    for message in messages:
        rows.append(_row(message.__dict__, ids))
    return rows


def rows_of_json(prompt: str) -> list[list[Any]] | None:
    """The same rows from the JSON that LangChain hands to a cache; ``None`` if the prompt is not a list of messages.

    Raises:
        NotCanonical: a message holds an object that LangChain could only describe by its class.
    """
    if not prompt.startswith("["):
        return None
    try:
        written = json.loads(prompt)
        if not written or not all(_is_message(item) for item in written):
            return None
    except (ValueError, RecursionError):
        return None
    if '"not_implemented"' in prompt:
        raise NotCanonical("a message part without a written form")
    ids: dict[str, str] = {}
    return [_row(item["kwargs"], ids) for item in written]


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and item.get("lc") == 1 and "content" in (item.get("kwargs") or {})


def _row(fields: Mapping[str, Any], ids: dict[str, str]) -> list[Any]:
    kind, content = fields.get("type", ""), fields["content"]
    more: dict[str, Any] = {}
    for name in _CARRIED:
        value = fields.get(name)
        if value and value != "success":
            more[name] = value
    if calls := fields.get("tool_calls"):
        more["calls"] = [[call["name"], call["args"], renamed(call.get("id"), ids)] for call in calls]
    if invalid := fields.get("invalid_tool_calls"):
        more["invalid"] = [[call["name"], call["args"], renamed(call.get("id"), ids)] for call in invalid]
    if (answered := fields.get("tool_call_id")) is not None:
        more["answers"] = renamed(answered, ids)
    if extra := fields.get("additional_kwargs"):
        kept = _extra(extra, has_calls=bool(calls or invalid))
        more.update({"extra": kept} if kept else {})
    if not isinstance(content, str):
        content = plain(with_known_ids(content, ids))
    row = [kind.removesuffix(_CHUNK).lower() if kind.endswith(_CHUNK) else kind, content]
    return [*row, plain(more)] if more else row


def _extra(extra: Mapping[str, object], *, has_calls: bool) -> dict[str, Any]:
    left_out = _COPIES if has_calls else ("parsed",)
    return {name: value for name, value in extra.items() if name not in left_out and value is not None}
