"""The wire formats of OpenAI and Anthropic: requests, responses and streams as JSON, and what in them means what."""

from __future__ import annotations

from costguard_core.wire.base import Assembly, Prompt, WireFormat
from costguard_core.wire.chat import CHAT
from costguard_core.wire.completions import COMPLETIONS
from costguard_core.wire.embeddings import EMBEDDINGS
from costguard_core.wire.messages import MESSAGES
from costguard_core.wire.responses import RESPONSES

FORMATS: dict[str, WireFormat] = {form.path: form for form in (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES)}
"""The formats by path, such as ``"/v1/chat/completions"``."""

__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "FORMATS", "MESSAGES", "RESPONSES", "Assembly", "Prompt", "WireFormat"]
