"""What a provider reported → :class:`~costguard_core.types.Usage`, in one convention: parts inside their totals.

Pure functions over dicts or objects with attributes; no provider SDK is imported. Each provider counts differently:
OpenAI's and Gemini's cached tokens are inside the prompt, Anthropic's and Bedrock's beside it; Gemini's thoughts are
beside the answer, OpenAI's inside; LangChain renames the details of priority and flex calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any

from costguard_core.types import Usage

_WRAPPERS = ("usage", "usage_metadata", "usageMetadata", "response", "message", "token_usage")
_TIERS = ("priority", "flex", "batch", "fast")
_COUNTS = tuple(f.name for f in fields(Usage) if f.name not in ("tier", "estimated"))


def read_usage(raw: Any, *, provider: str | None = None) -> Usage | None:
    """The usage in a provider's response, or in its usage part; ``None`` if there is none to be found.

    Recognises OpenAI (chat, Responses, Realtime, images, embeddings) and everything that imitates it, Anthropic (also
    the cumulative ``message_delta``, see :func:`latest_usage`), Gemini, Bedrock Converse, Ollama and
    LangChain's ``usage_metadata``. ``provider`` settles the cases in which a shape alone is ambiguous.
    """
    if raw is None or isinstance(raw, (str, bytes, int, float)):
        return None
    for marks, read in _SHAPES:
        if any(_get(raw, mark) is not None for mark in marks):
            beside = read is _input_output and "anthropic" in (provider or "").lower() and not _is_langchain(raw)
            return _anthropic(raw) if beside else read(raw)
    return _unwrapped(raw, provider)


def usage_from_langchain(
    usage_metadata: Mapping[str, Any], response_metadata: Mapping[str, Any] | None = None
) -> Usage:
    """LangChain's ``usage_metadata``; ``response_metadata`` adds the service tier and server-side web searches."""
    read, written = _get(usage_metadata, "input_token_details"), _get(usage_metadata, "output_token_details")
    tier = _renamed_tier(read) or _renamed_tier(written) or _tier_of(response_metadata)
    if not read and not written and _get(response_metadata, "usage") is None:
        return Usage(
            input_tokens=_with_cache(usage_metadata, "input_tokens", "output_tokens", 0),
            output_tokens=_count(usage_metadata, "output_tokens"),
            tier=tier,
        )
    prefix = f"{tier}_" if tier in ("priority", "flex") else ""
    cached = _count(read, "cache_read") or _count(read, f"{prefix}cache_read")
    long = _count(read, "ephemeral_1h_input_tokens")
    # With a breakdown by lifetime LangChain sets the plain sum to 0.
    created = _count(read, "cache_creation") or _count(read, f"{prefix}cache_creation")
    creation = max(created, long + _count(read, "ephemeral_5m_input_tokens"))
    return Usage(
        input_tokens=_with_cache(usage_metadata, "input_tokens", "output_tokens", cached + creation),
        output_tokens=_count(usage_metadata, "output_tokens"),
        cache_read_tokens=cached,
        cache_write_tokens=creation,
        cache_write_1h_tokens=long,
        audio_input_tokens=_count(read, "audio"),
        audio_output_tokens=_count(written, "audio"),
        image_input_tokens=_count(read, "image"),
        image_output_tokens=_count(written, "image"),
        reasoning_tokens=_count(written, "reasoning") or _count(written, f"{prefix}reasoning"),
        web_searches=_searches(_get(response_metadata, "usage")),
        tier=tier,
    )


def sum_usage(a: Usage, b: Usage) -> Usage:
    """Both usages together: counts added, ``estimated`` if either is, the tier of the first that has one."""
    counts = {name: getattr(a, name) + getattr(b, name) for name in _COUNTS}
    return Usage(**counts, tier=a.tier or b.tier, estimated=a.estimated or b.estimated)


def latest_usage(a: Usage, b: Usage) -> Usage:
    """Two reports about the *same* call, as in Anthropic's stream: counts only grow, so the larger is the later."""
    counts = {name: max(getattr(a, name), getattr(b, name)) for name in _COUNTS}
    return Usage(**counts, tier=b.tier or a.tier, estimated=a.estimated and b.estimated)


def service_tier(value: Any) -> str | None:
    """The tier that was billed, ``None`` for standard, unknown or unsaid.

    >>> service_tier("priority"), service_tier("default"), service_tier("ON_DEMAND_FLEX")
    ('priority', None, 'flex')
    """
    text = str(getattr(value, "value", value) or "").lower()
    return next((tier for tier in _TIERS if text == tier or text.endswith(f"_{tier}")), None)


def _openai_chat(raw: Any) -> Usage:
    read, written = _get(raw, "prompt_tokens_details"), _get(raw, "completion_tokens_details")
    usage = _openai(raw, read, written, ("prompt_tokens", "completion_tokens"))
    # LiteLLM's and LlamaIndex's form of Anthropic and Bedrock: cache counts beside the OpenAI names.
    cached = usage.cache_read_tokens or _count(raw, "cache_read_input_tokens") or _count(raw, "prompt_cache_hit_tokens")
    created = usage.cache_write_tokens or _count(raw, "cache_creation_input_tokens")
    beside = _count(raw, "cache_read_input_tokens") + _count(raw, "cache_creation_input_tokens")
    return replace(
        usage,
        input_tokens=_with_cache(raw, "prompt_tokens", "completion_tokens", beside),
        output_tokens=usage.output_tokens + _reasoning_beside(raw, usage),
        cache_read_tokens=cached,
        cache_write_tokens=created,
    )


def _reasoning_beside(raw: Any, usage: Usage) -> int:
    """xAI counts reasoning beside the completion; its total gives that away."""
    apart = usage.input_tokens + usage.output_tokens + usage.reasoning_tokens
    return usage.reasoning_tokens if _count(raw, "total_tokens") == apart else 0


def _openai_responses(raw: Any) -> Usage:
    read = _get(raw, "input_tokens_details") or _get(raw, "input_token_details")
    written = _get(raw, "output_tokens_details") or _get(raw, "output_token_details")
    return _openai(raw, read, written, ("input_tokens", "output_tokens"))


def _openai(raw: Any, read: Any, written: Any, names: tuple[str, str]) -> Usage:
    """Every detail is inside its total; rejected predictions are inside the completion and billed."""
    return Usage(
        input_tokens=_count(raw, names[0]),
        output_tokens=_count(raw, names[1]),
        cache_read_tokens=_count(read, "cached_tokens"),
        cache_write_tokens=_count(read, "cache_write_tokens"),
        audio_input_tokens=_count(read, "audio_tokens"),
        audio_cache_read_tokens=_count(_get(read, "cached_tokens_details"), "audio_tokens"),
        audio_output_tokens=_count(written, "audio_tokens"),
        image_input_tokens=_count(read, "image_tokens"),
        image_output_tokens=_count(written, "image_tokens"),
        reasoning_tokens=_count(written, "reasoning_tokens"),
        tier=_tier_of(raw),
    )


def _anthropic(raw: Any) -> Usage:
    """``input_tokens`` is only what was neither read from nor written to the cache."""
    lifetimes = _get(raw, "cache_creation")
    long = _count(lifetimes, "ephemeral_1h_input_tokens")
    split = long + _count(lifetimes, "ephemeral_5m_input_tokens")
    created = max(_count(raw, "cache_creation_input_tokens"), split)
    cached = _count(raw, "cache_read_input_tokens")
    return Usage(
        input_tokens=_count(raw, "input_tokens") + cached + created,
        output_tokens=_count(raw, "output_tokens"),
        cache_read_tokens=cached,
        cache_write_tokens=created,
        cache_write_1h_tokens=long,
        reasoning_tokens=_count(_get(raw, "output_tokens_details"), "thinking_tokens"),
        web_searches=_searches(raw),
        tier=_tier_of(raw),
    )


def _input_output(raw: Any) -> Usage:
    """``input_tokens``/``output_tokens``: told apart by the details that come with them."""
    if _is_langchain(raw):
        return usage_from_langchain(raw)
    marks = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use")
    thinking = _get(_get(raw, "output_tokens_details"), "thinking_tokens")
    if thinking is not None or any(_get(raw, mark) is not None for mark in marks):
        return _anthropic(raw)
    return _openai_responses(raw)


def _is_langchain(raw: Any) -> bool:
    details = (_get(raw, "input_token_details"), _get(raw, "output_token_details"))
    # OpenAI's Realtime API has the same two names, but its details end in "_tokens".
    names = [str(name) for part in details if isinstance(part, Mapping) for name in part]
    return bool(names) and not any(name in ("cached_tokens", "text_tokens", "audio_tokens") for name in names)


def _gemini(raw: Any) -> Usage:
    """Thoughts are beside the candidates and tool results beside the prompt; cached content is inside the prompt."""
    prompts = (*_items(raw, "prompt_tokens_details"), *_items(raw, "tool_use_prompt_tokens_details"))
    cached, answers = _items(raw, "cache_tokens_details"), _items(raw, "candidates_tokens_details")
    thoughts = _count(raw, "thoughts_token_count")
    return Usage(
        input_tokens=_count(raw, "prompt_token_count") + _count(raw, "tool_use_prompt_token_count"),
        output_tokens=_count(raw, "candidates_token_count") + _count(raw, "response_token_count") + thoughts,
        cache_read_tokens=_count(raw, "cached_content_token_count"),
        audio_input_tokens=_modality(prompts, "AUDIO"),
        audio_cache_read_tokens=_modality(cached, "AUDIO"),
        audio_output_tokens=_modality(answers, "AUDIO"),
        image_input_tokens=_modality(prompts, "IMAGE"),
        image_output_tokens=_modality(answers, "IMAGE"),
        reasoning_tokens=thoughts,
        tier=_tier_of(raw) or service_tier(_get(raw, "traffic_type")),
    )


def _bedrock(raw: Any) -> Usage:
    """Converse: ``inputTokens`` is beside the cache counts, as Anthropic's is."""
    cached, created = _count(raw, "cacheReadInputTokens"), _count(raw, "cacheWriteInputTokens")
    long = sum(_count(item, "inputTokens") for item in _items(raw, "cacheDetails") if _get(item, "ttl") == "1h")
    return Usage(
        input_tokens=_count(raw, "inputTokens") + cached + created,
        output_tokens=_count(raw, "outputTokens"),
        cache_read_tokens=cached,
        cache_write_tokens=max(created, long),
        cache_write_1h_tokens=long,
        tier=_tier_of(raw),
    )


def _ollama(raw: Any) -> Usage:
    return Usage(input_tokens=_count(raw, "prompt_eval_count"), output_tokens=_count(raw, "eval_count"))


_SHAPES: tuple[tuple[tuple[str, ...], Callable[[Any], Usage]], ...] = (
    (("prompt_token_count", "candidates_token_count", "thoughts_token_count"), _gemini),
    (("inputTokens", "outputTokens"), _bedrock),
    (("prompt_tokens", "completion_tokens"), _openai_chat),
    (("input_tokens", "output_tokens"), _input_output),
    (("prompt_eval_count", "eval_count"), _ollama),
)


def _unwrapped(raw: Any, provider: str | None) -> Usage | None:
    """A whole response or stream event: the usage is a level down, the tier sometimes beside it."""
    for name in _WRAPPERS:
        inner = _get(raw, name)
        usage = None if inner is raw else read_usage(inner, provider=provider)
        if usage is not None:
            return replace(usage, tier=_tier_of(raw)) if usage.tier is None else usage
    return None


def _with_cache(raw: Any, input_name: str, output_name: str, cached: int) -> int:
    """The whole input, where it is not said whether ``input_name`` includes the cache counts: the total tells."""
    said, total = _count(raw, input_name), _count(raw, "total_tokens")
    apart = said + cached
    beside = total == apart + _count(raw, output_name) if total else cached > said
    return apart if cached and beside else said


def _searches(raw: Any) -> int:
    return _count(_get(raw, "server_tool_use"), "web_search_requests")


def _renamed_tier(details: Any) -> str | None:
    """LangChain marks priority and flex calls by renaming their details (``priority_cache_read``, ``priority``)."""
    if not details:
        return None
    names = [str(name) for name in details] if isinstance(details, Mapping) else []
    return next((t for t in ("priority", "flex") if any(n == t or n.startswith(f"{t}_") for n in names)), None)


_TIER_NAMES = frozenset(("service_tier", "serviceTier", "speed", "usage"))


def _tier_of(raw: Any) -> str | None:
    """Wherever a response says its tier: OpenAI and Anthropic flat, Anthropic's ``speed``, Bedrock nested."""
    if raw is None or (type(raw) is dict and _TIER_NAMES.isdisjoint(raw)):
        return None
    nested = _get(_get(raw, "serviceTier"), "type") or _get(_get(raw, "service_tier"), "type")
    said = (_get(raw, "speed"), nested, _get(raw, "service_tier"), _get(raw, "serviceTier"))
    found = next((tier for value in said if (tier := service_tier(value))), None)
    usage = _get(raw, "usage")
    return found if found or usage is None else _tier_of(usage)


def _items(raw: Any, name: str) -> tuple[Any, ...]:
    found = _get(raw, name)
    return tuple(found) if isinstance(found, Iterable) and not isinstance(found, (str, Mapping)) else ()


def _modality(details: Iterable[Any], wanted: str) -> int:
    return sum(_count(item, "token_count") for item in details if _modality_name(item) == wanted)


def _modality_name(item: Any) -> str:
    modality = _get(item, "modality")
    return str(getattr(modality, "value", modality)).upper()


def _get(raw: Any, name: str) -> Any:
    """A key or an attribute, also in camelCase; ``None`` when absent."""
    if raw is None:
        return None
    if type(raw) is dict or isinstance(raw, Mapping):  # asking for an abstract class takes longer than the rest
        found = raw.get(name)
        return found if found is not None else raw.get(_camel(name))
    return getattr(raw, name, None)


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _count(raw: Any, name: str) -> int:
    """A count that is surely a non-negative int: providers also send ``null``, and proxies send anything."""
    value = _get(raw, name)
    if type(value) is int:
        return max(value, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value < float("inf") else 0
