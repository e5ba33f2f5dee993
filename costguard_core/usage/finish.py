"""Why an answer ended, in the words of the provider, wherever its response says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# OpenAI's and Gemini's name, Anthropic's, Ollama's and Bedrock's; OpenAI's Responses API has a status, with details.
_NAMES = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_DETAILS = "incomplete_details"
_ANSWERS = ("choices", "candidates")  # OpenAI's and Gemini's list of the answers to one request
_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
_MESSAGES = ("message", "delta")  # in which OpenAI says that the model refused


def finish_reasons(sources: Iterable[Any]) -> list[str]:
    """The reasons in the parts of a response that may hold one: mappings or objects, enumerations by their value."""
    reasons: list[str] = []
    for source in sources:
        plain = isinstance(source, Mapping)
        for name in _NAMES:
            found = source.get(name) if plain else getattr(source, name, None)
            found = getattr(found, "value", found)
            if isinstance(found, str):
                reasons.append(found)
        details = source.get(_DETAILS) if plain else getattr(source, _DETAILS, None)
        if details is not None:
            detail = details.get("reason") if isinstance(details, Mapping) else getattr(details, "reason", None)
            if isinstance(detail, str):
                reasons.append(detail)
    return reasons


def end_sources(response: Any) -> list[Any]:
    """Whatever of a response of LlamaIndex's may say why it ended: the provider's own in ``raw``, its parts, and what
    the integration keeps beside it and its message. Most that was not streamed has nothing but a ``raw``."""
    raw, sources = response.raw, []
    if raw is not None:
        plain = isinstance(raw, Mapping)
        sources.append(raw)
        delta = raw.get("delta") if plain else getattr(raw, "delta", None)
        if delta is not None:
            sources.append(delta)
        for name in _ANSWERS:
            found = raw.get(name) if plain else getattr(raw, name, None)
            if isinstance(found, (list, tuple)):
                sources += found
    message = response.__dict__.get("message")
    if message is not None and message.additional_kwargs:
        sources.append(message.additional_kwargs)
    if response.additional_kwargs:
        sources.append(response.additional_kwargs)
    return sources


def is_refusal(sources: Iterable[Any]) -> bool:
    """Whether the model declined to answer, as the parts of its response (:func:`end_sources`) say."""
    for source in sources:
        plain = isinstance(source, Mapping)
        for part in _MESSAGES:
            found = source.get(part) if plain else getattr(source, part, None)
            if found is None:
                continue
            if found.get("refusal") if isinstance(found, Mapping) else getattr(found, "refusal", None):
                return True
    return False


def says_of(content: str | Iterable[Any], beside: Mapping[str, Any], calls: object) -> tuple[bool, bool]:
    """Whether a model declined to answer, and whether nothing was said: no text, tool call, sound or picture.

    Args:
        content: of its message, a text or blocks.
        beside: what an integration keeps beside it, in OpenAI's names.
        calls: of tools; anything that is true if there are some.
    """
    refused = bool(beside.get("refusal"))
    acts = bool(calls or beside.get("function_call") or beside.get("audio"))
    if isinstance(content, str):
        return refused, not (acts or content.strip())
    says = False
    for block in content:
        if isinstance(block, str):
            says = says or bool(block.strip())
            continue
        refused = refused or block.get("type") == "refusal" or bool(block.get("refusal"))
        says = says or (bool(str(block["text"]).strip()) if "text" in block else block.get("type") not in _THOUGHTS)
    return refused, not (acts or says)
