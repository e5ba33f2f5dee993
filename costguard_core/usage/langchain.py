"""LangChain's ``usage_metadata``: one shape for every provider, from which integrations leave things out.

https://python.langchain.com/api_reference/core/messages/langchain_core.messages.ai.UsageMetadata.html: ``input_tokens``
is the sum of all input, cache included; details need not add up to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from costguard_core.types import Usage
from costguard_core.usage.fields import TIER_NAMES, count, get, tier_of
from costguard_core.usage.openai import prompt_with_cache


def read_langchain(
    usage_metadata: Mapping[str, object], response_metadata: Mapping[str, object] | None = None
) -> Usage:
    """``response_metadata`` adds the service tier and server-side web searches."""
    read, written = usage_metadata.get("input_token_details"), usage_metadata.get("output_token_details")
    raw = response_metadata.get("usage") if response_metadata else None
    if not read and not written and raw is None:
        sent, made = usage_metadata.get("input_tokens"), usage_metadata.get("output_tokens")
        if not (type(sent) is int and type(made) is int and sent >= 0 <= made):
            sent, made = count(usage_metadata, "input_tokens"), count(usage_metadata, "output_tokens")
        if not response_metadata or TIER_NAMES.isdisjoint(response_metadata):
            return Usage(sent, made)
        tier, stated = tier_of(response_metadata)
        return Usage(input_tokens=sent, output_tokens=made, tier=tier, tier_stated=stated)
    renamed = _renamed_tier(read) or _renamed_tier(written)
    tier, stated = (renamed, True) if renamed else tier_of(response_metadata)
    prefix = f"{tier}_" if tier in ("priority", "flex") else ""
    cached = count(read, "cache_read") or count(read, f"{prefix}cache_read")
    long = count(read, "ephemeral_1h_input_tokens")
    # With a breakdown by lifetime LangChain sets the plain sum to 0.
    created = count(read, "cache_creation") or count(read, f"{prefix}cache_creation")
    creation = max(created, long + count(read, "ephemeral_5m_input_tokens"))
    prompt = prompt_with_cache(usage_metadata, "input_tokens", "output_tokens", cached + creation)
    reasoning = count(written, "reasoning") or count(written, f"{prefix}reasoning")
    return Usage(
        input_tokens=prompt,
        output_tokens=_with_reasoning(usage_metadata, prompt, reasoning),
        cache_read_tokens=cached,
        cache_write_tokens=creation,
        cache_write_1h_tokens=long,
        audio_input_tokens=count(read, "audio"),
        audio_output_tokens=count(written, "audio"),
        image_input_tokens=count(read, "image"),
        video_input_tokens=count(read, "video"),
        image_output_tokens=count(written, "image"),
        reasoning_tokens=reasoning,
        web_searches=count(get(raw, "server_tool_use"), "web_search_requests"),
        tier=tier,
        tier_stated=stated,
    )


def is_langchain(raw: object) -> bool:
    """Whether ``input_tokens``/``output_tokens`` come with LangChain's details, and not with a provider's."""
    details = (get(raw, "input_token_details"), get(raw, "output_token_details"))
    # OpenAI's Realtime API has the same two names, but its details end in "_tokens".
    names = [str(name) for part in details if isinstance(part, Mapping) for name in part]
    return bool(names) and not any(name in ("cached_tokens", "text_tokens", "audio_tokens") for name in names)


def _with_reasoning(usage_metadata: Mapping[str, object], prompt: int, reasoning: int) -> int:
    """All tokens of the answer: some providers count the reasoning beside it, which only the total tells."""
    written = count(usage_metadata, "output_tokens")
    apart = count(usage_metadata, "total_tokens") - prompt - written
    return written + reasoning if reasoning and (reasoning > written or apart == reasoning) else written


def _renamed_tier(details: object) -> str | None:
    """LangChain marks priority and flex calls by renaming their details (``priority_cache_read``, ``priority``)."""
    if not details:
        return None
    names = [str(name) for name in details] if isinstance(details, Mapping) else []
    return next((t for t in ("priority", "flex") if any(n == t or n.startswith(f"{t}_") for n in names)), None)
