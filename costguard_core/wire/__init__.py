"""The wire formats of OpenAI and Anthropic: requests, responses and streams as JSON, and what in them means what."""

from __future__ import annotations

from costguard_core.wire.base import Assembly, Body, Prompt, Said, WireFormat
from costguard_core.wire.chat import CHAT
from costguard_core.wire.completions import COMPLETIONS
from costguard_core.wire.embeddings import EMBEDDINGS
from costguard_core.wire.messages import MESSAGES
from costguard_core.wire.responses import RESPONSES

FORMATS: dict[str, WireFormat] = {form.path: form for form in (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES)}
"""The formats by path, such as ``"/v1/chat/completions"``."""

_BY_OBJECT = {"chat.completion": CHAT, "text_completion": COMPLETIONS, "response": RESPONSES, "list": EMBEDDINGS}


def form_of(response: Body) -> WireFormat | None:
    """The format that a whole response is in; ``None``: it is in none that is known."""
    return MESSAGES if response.get("type") == "message" else _BY_OBJECT.get(str(response.get("object")))


__all__ = [
    "CHAT",
    "COMPLETIONS",
    "EMBEDDINGS",
    "FORMATS",
    "MESSAGES",
    "RESPONSES",
    "Assembly",
    "Prompt",
    "Said",
    "WireFormat",
    "form_of",
]
