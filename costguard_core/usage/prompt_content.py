"""What of a message's content is counted: its text, and its pictures, sounds, videos and documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from costguard_core.usage.media import Media, read_block

# Blocks whose text stands under another name; signatures and encrypted copies beside it are not read by the model anew.
_TEXTS = ("text", "thinking", "reasoning", "reasoning_content", "refusal")
_NESTED = ("content", "output")
# What wraps other blocks: Bedrock's and Gemini's results of tools.
_WRAPPERS = ("toolResult", "functionResponse", "function_response")
# Encrypted thoughts and proofs of them are no text: see `overhead.sealed_tokens`.
_SIGNATURES = frozenset(("thoughtSignature", "thought_signature", "signature", "encrypted_content"))
# What Anthropic's search found, which is billed anew with each prompt that repeats it: recorded 0.295 token per letter.
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#response
_SEARCH_RESULT = "web_search_result"
_CALLS = frozenset(("tool_use", "function_call", "tool_call"))
_ARGUMENTS = ("arguments", "input", "args")


class Content(NamedTuple):
    """``text`` is all the text of a content, ``media`` the rest of it."""

    text: str
    media: tuple[Media, ...] = ()


def read_content(content: str | Iterable[object] | None) -> Content:
    """A message's content: a text, or blocks in the form of a provider or of LangChain, nested ones included."""
    if isinstance(content, str):
        return Content(content)
    texts: list[str] = []
    media: list[Media] = []
    for block in content or ():
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(block, Mapping):
            _read(block, texts, media)
    return Content("".join(texts), tuple(media))


def has_calls(content: str | Iterable[object] | None) -> bool:
    """Whether blocks of a message show the calls of tools that some integrations also list beside them."""
    if content is None or isinstance(content, str):
        return False
    return any(isinstance(block, Mapping) and block.get("type") in _CALLS for block in content)


CallText = Callable[[object, object], str]
"""Writes the call of a tool by its name and its arguments."""


def answered_call(name: object, arguments: object) -> str:
    """The call of a tool in an answer, as it is counted and shown."""
    return f"{name}{arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)}"


def call_text(name: object, arguments: object) -> str:
    """The call of a tool in a prompt: as long as OpenAI's form of several calls at once, which is the longest."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
    return f'{{"recipient_name": "functions.{name}", "parameters": {written}}}\n'


def listed_calls(beside: Mapping[str, object], write: CallText = call_text) -> str:
    """The calls of tools that integrations keep beside a message, each as ``write`` has it.

    In OpenAI's form (``function.arguments``), its older one (``function_call``), Anthropic's (``input``) or Gemini's
    (``args``); mappings or objects.
    """
    calls = beside.get("tool_calls")
    found = list(calls) if isinstance(calls, (list, tuple)) else []
    if beside.get("function_call"):
        found.append(beside["function_call"])
    texts = []
    for call in found:
        function = _part(call, "function") or call
        given = (_part(function, name) for name in _ARGUMENTS)
        texts.append(write(_part(function, "name"), next((value for value in given if value is not None), "")))
    return "".join(texts)


def is_cited(block: Mapping[str, Any]) -> bool:
    """Whether the answer is to cite a document or a result of a search: Anthropic's form, or Bedrock's around it.

    https://platform.claude.com/docs/en/build-with-claude/citations
    """
    inner = next((block[name] for name in ("document", "searchResult") if isinstance(block.get(name), Mapping)), block)
    given = inner.get("citations")
    return isinstance(given, Mapping) and bool(given.get("enabled"))


def _citations(of: Media | None) -> Media:
    return Media("citations", of.data if of is not None and of.kind == "document" else b"")


def _part(whole: object, name: str) -> object:
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)


def _read(block: Mapping[str, Any], texts: list[str], media: list[Media]) -> None:
    found = read_block(block)
    if is_cited(block):
        media.append(_citations(found))
    if found is not None:
        media.append(found)
        return
    sealed = block.get("encrypted_content")
    if block.get("type") == _SEARCH_RESULT and isinstance(sealed, str):
        media.append(Media("sealed", sealed.encode()))
    name = next((name for name in _TEXTS if isinstance(block.get(name), str)), None)
    if name is not None:
        texts.append(block[name])
        return
    source = block.get("source")
    inner = source if isinstance(source, Mapping) else block
    nested = next((inner[name] for name in _NESTED if isinstance(inner.get(name), (str, list, tuple))), None)
    if nested is not None:
        text, more = read_content(nested)
        texts.append(text)
        media += more
    elif isinstance(inner.get("data"), str) and inner is source:  # a document that is plain text
        texts.append(inner["data"])
        media.append(Media("text", b""))  # what stands around a file
    elif (wrapped := next((name for name in _WRAPPERS if isinstance(block.get(name), Mapping)), None)) is not None:
        texts.append(json.dumps(_without_media(block[wrapped], media), default=_described))
    else:
        texts.append(json.dumps(_without_media(block, media), default=_described))


def _without_media(value: object, media: list[Media]) -> object:
    """What of a block is text: files are taken out of it and into ``media``, at any depth."""
    if isinstance(value, Mapping):
        found = read_block(value)
        if is_cited(value if found is not None else {"citations": value.get("citations")}):
            media.append(_citations(found))
        if found is not None:
            media.append(found)
            return ""
        return {name: _without_media(part, media) for name, part in value.items() if name not in _SIGNATURES}
    if isinstance(value, (list, tuple)):
        return [_without_media(part, media) for part in value]
    return value


def _described(value: object) -> str:
    return "" if isinstance(value, (bytes, bytearray)) else str(value)
