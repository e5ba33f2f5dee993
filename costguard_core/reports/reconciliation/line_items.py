"""What providers call the lines of their bills, and what is meant by it."""

from __future__ import annotations

import re
from typing import NamedTuple

from costguard_core.reports.reconciliation.bill import (
    AUDIO_CACHE_READ,
    AUDIO_INPUT,
    AUDIO_OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    INPUT,
    OUTPUT,
    WHOLE,
)

_TIERS = ("batch", "flex", "priority", "fast")
_WORDS = re.compile(r"[a-z]+")
# "priority | gpt-5.6-sol, output, long context" and "gpt-4o-mini-2024-07-18, cached input" are lines of OpenAI's costs;
# "gpt-audio-mini-2025-12-15 audio, input" is one of a modality.
_OPENAI_LINE = re.compile(
    r"^(?:(?P<tier>[a-z ]+) \| )?(?P<model>[\w.:@/-]+)(?: (?P<modality>audio|image|text|video))?"
    r", (?P<part>cached input|cache writes?|input|output|input_tokens|output_tokens|cached_input_tokens)(?:, .*)?$",
    re.IGNORECASE,
)
_OPENAI_PARTS = {
    "input": INPUT,
    "input_tokens": INPUT,
    "cached input": CACHE_READ,
    "cached_input_tokens": CACHE_READ,
    "cache write": CACHE_WRITE,
    "cache writes": CACHE_WRITE,
    "output": OUTPUT,
    "output_tokens": OUTPUT,
}
_OF_MODALITY = {
    ("audio", INPUT): AUDIO_INPUT,
    ("audio", CACHE_READ): AUDIO_CACHE_READ,
    ("audio", OUTPUT): AUDIO_OUTPUT,
    ("image", INPUT): IMAGE_INPUT,
    ("image", OUTPUT): IMAGE_OUTPUT,
}
_ANY_MODEL_LINE = re.compile(
    r"^(?:(?P<tier>[a-z ]+) \| )?(?P<model>[a-z][\w.:@/-]*\d[\w.:@/-]*)(?:[ ,].*)?$", re.IGNORECASE
)
# The names of tools in the ledger (`Usage.web_searches` and `BILLED_UNITS`), by words of a line.
_TOOLS = (
    ("web_search", ("web search", "web_search")),
    ("code_session", ("code interpreter", "code execution", "code_execution", "container")),
)

# https://docs.anthropic.com/en/api/admin-api/usage-cost/get-cost-report, and the console's export of costs.
ANTHROPIC_PARTS = {
    "uncached_input_tokens": INPUT,
    "input_no_cache": INPUT,
    "cache_read_input_tokens": CACHE_READ,
    "input_cache_read": CACHE_READ,
    "cache_creation.ephemeral_5m_input_tokens": CACHE_WRITE,
    "input_cache_write": CACHE_WRITE,
    "input_cache_write_5m": CACHE_WRITE,
    "cache_creation.ephemeral_1h_input_tokens": CACHE_WRITE_1H,
    "input_cache_write_1h": CACHE_WRITE_1H,
    "output_tokens": OUTPUT,
    "output": OUTPUT,
}


class Line(NamedTuple):
    """What a line of a bill is for.

    Attributes:
        model: the model, ``None``: no model.
        tool: the ledger's name of a tool, or the line's own words; ``None`` for a model.
        tier: the service tier, ``None``: standard, or not said.
        part: the part of the tokens.
    """

    model: str | None
    tool: str | None = None
    tier: str | None = None
    part: str = WHOLE


def openai_line(text: str) -> Line:
    """A ``line_item`` of OpenAI's costs."""
    if found := _OPENAI_LINE.match(text.strip()):
        part = _OPENAI_PARTS[found["part"].lower()]
        part = _OF_MODALITY.get(((found["modality"] or "").lower(), part), part)
        return Line(found["model"], None, tier_of(found["tier"]), part)
    if (tool := tool_of(text)) is not None:
        return Line(None, tool)
    if found := _ANY_MODEL_LINE.match(text.strip()):
        return Line(found["model"], None, tier_of(found["tier"]))
    return Line(None, text.strip() or "other")


def tool_of(text: str) -> str | None:
    """The ledger's name of the tool that a line is about, ``None`` if it is about none that is known."""
    lower = text.lower()
    if "file search" in lower and "storage" not in lower:
        return "file_search"
    return next((name for name, words in _TOOLS if any(word in lower for word in words)), None)


def tier_of(text: object) -> str | None:
    """The service tier as the ledger names it, ``None`` for the standard one.

    >>> tier_of("priority_on_demand"), tier_of("flex_discount"), tier_of("standard"), tier_of("Batch API")
    ('priority', 'flex', None, 'batch')
    """
    words = _WORDS.findall(str(text or "").lower())
    return next((tier for tier in _TIERS if tier in words), None)
