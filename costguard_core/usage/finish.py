"""Why an answer ended, in the words of the provider, wherever its response says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# OpenAI's and Gemini's name, Anthropic's, Ollama's and Bedrock's; OpenAI's Responses API has a status, with details.
_NAMES = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_DETAILS = "incomplete_details"


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
