"""What a provider reported → :class:`~costguard_core.types.Usage`, whatever provider it was.

Pure functions over dicts or objects with attributes; no provider SDK is imported. The rule of each provider, and where
it is written, stands in the module named after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage.anthropic import read_anthropic
from costguard_core.usage.bedrock import read_converse, read_invocation_metrics
from costguard_core.usage.cohere import read_billed_units
from costguard_core.usage.fields import get, tier_of
from costguard_core.usage.google import read_gemini, read_interactions
from costguard_core.usage.groq import with_breakdown
from costguard_core.usage.huggingface import read_generation
from costguard_core.usage.langchain import is_langchain, read_langchain
from costguard_core.usage.mistral import read_pages
from costguard_core.usage.ollama import read_ollama
from costguard_core.usage.openai import read_chat, read_responses, read_speech, with_tool_usage
from costguard_core.usage.stated_cost import stated_cost
from costguard_core.usage.voyage import read_total

# Where a response keeps its usage, outermost first.
_WRAPPERS = (
    "usage",
    "usage_metadata",
    "usageMetadata",
    "usage_info",
    "meta",
    "token_usage",
    "amazon-bedrock-invocationMetrics",
    "x_groq",
    "details",
    "response",
    "message",
    "delta",
)


def read_usage(raw: object, *, provider: str | None = None) -> Usage | None:
    """The usage in a provider's response, or in its usage part; ``None`` if there is none to be found.

    ``provider`` settles the cases in which a shape alone is ambiguous.
    """
    if raw is None or isinstance(raw, (str, bytes, int, float)):
        return None
    for names, read in _SHAPES:
        if any(get(raw, name) is not None for name in names):
            return _read_input_output(raw, provider) if read is None else read(raw)
    return _unwrapped(raw, provider)


def _read_input_output(raw: Any, provider: str | None) -> Usage:
    """``input_tokens``/``output_tokens``: told apart by the details that come with them, else by the provider."""
    if is_langchain(raw):
        return read_langchain(raw)
    names = (
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "server_tool_use",
        "iterations",
        "inference_geo",
    )
    thinking = get(get(raw, "output_tokens_details"), "thinking_tokens")
    claude = "anthropic" in (provider or "").lower()
    if claude or thinking is not None or any(get(raw, name) is not None for name in names):
        return read_anthropic(raw)
    return read_responses(raw)


# Names by which a shape is recognised, in this order; the reader of ``input_tokens`` needs to know the provider.
_SHAPES: tuple[tuple[tuple[str, ...], Callable[[object], Usage] | None], ...] = (
    (("billed_units",), read_billed_units),
    (("inputTokenCount", "outputTokenCount", "generation_token_count", "inputTextTokenCount"), read_invocation_metrics),
    (("prompt_token_count", "candidates_token_count", "thoughts_token_count", "response_token_count"), read_gemini),
    (("total_input_tokens", "total_output_tokens"), read_interactions),
    (("inputTokens", "outputTokens"), read_converse),
    (("prompt_tokens", "completion_tokens", "prompt_cache_miss_tokens"), read_chat),
    (("input_tokens", "output_tokens"), None),
    (("prompt_eval_count", "eval_count"), read_ollama),
    (("pages_processed",), read_pages),
    (("generated_tokens",), read_generation),
    (("search_units",), read_billed_units),
    (("seconds",), read_speech),
    (("total_tokens",), read_total),
)


def _unwrapped(raw: object, provider: str | None) -> Usage | None:
    """A whole response or stream event: the usage is a level down, the tier and the cost sometimes beside it."""
    for name in _WRAPPERS:
        inner = get(raw, name)
        usage = None if inner is raw else read_usage(inner, provider=provider)
        if usage is None:
            continue
        tier, stated = tier_of(raw) if usage.tier is None else (usage.tier, usage.tier_stated)
        cost = stated_cost(raw) if usage.stated_cost is None else usage.stated_cost
        usage = replace(usage, tier=tier, tier_stated=stated or usage.tier_stated, stated_cost=cost)
        if get(raw, "tool_usage") is not None:
            usage = with_tool_usage(usage, raw)
        return usage if get(raw, "usage_breakdown") is None else with_breakdown(usage, raw)
    return None
