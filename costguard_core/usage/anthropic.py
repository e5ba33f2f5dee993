"""Anthropic's usage: https://platform.claude.com/docs/en/api/messages and /build-with-claude/prompt-caching.

``input_tokens`` is only what was neither read from nor written to the cache. In a stream ``message_start`` carries the
prompt and each ``message_delta`` the running totals. Thinking is inside ``output_tokens``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from costguard_core.types import ModelUsage, Usage
from costguard_core.usage.fields import count, get, items, tier_of, units
from costguard_core.usage.totals import sum_usage

# https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing: US-only inference costs a tenth more.
_US_SURCHARGE = 10
_LONG = 200_000  # Tokens, from which on some models cost more: the same page, "Long context pricing".


def read_anthropic(raw: object) -> Usage:
    """The usage of a message, with the passes of other models and those that the top-level counts leave out."""
    tier, stated = tier_of(raw)
    own = _counts(raw)
    for extra in _hidden_passes(raw, own):
        own = sum_usage(own, extra)
    tools = get(raw, "server_tool_use")
    return replace(
        own,
        passes=_passes(raw, own),
        web_searches=count(tools, "web_search_requests"),
        units=units(code_session=min(count(tools, "code_execution_requests"), 1)),
        others=tuple(_other_passes(raw)),
        tier=tier,
        tier_stated=stated,
        region_surcharge=_US_SURCHARGE if str(get(raw, "inference_geo") or "").lower() == "us" else 0,
    )


def _counts(raw: object) -> Usage:
    lifetimes = get(raw, "cache_creation")
    long = count(lifetimes, "ephemeral_1h_input_tokens")
    created = max(count(raw, "cache_creation_input_tokens"), long + count(lifetimes, "ephemeral_5m_input_tokens"))
    cached = count(raw, "cache_read_input_tokens")
    return Usage(
        input_tokens=count(raw, "input_tokens") + cached + created,
        output_tokens=count(raw, "output_tokens"),
        cache_read_tokens=cached,
        cache_write_tokens=created,
        cache_write_1h_tokens=long,
        reasoning_tokens=count(get(raw, "output_tokens_details"), "thinking_tokens"),
    )


def _passes(raw: object, own: Usage) -> tuple[Usage, ...]:
    """The passes of the model itself, of which each is billed by its own length; none where they are not all said."""
    found = [_counts(one) for one in items(raw, "iterations") if get(one, "type") != "advisor_message"]
    total = reduce(sum_usage, found, Usage())
    several = len(found) > 1 and (total.input_tokens, total.output_tokens) == (own.input_tokens, own.output_tokens)
    return tuple(found) if several else ()


def _hidden_passes(raw: object, own: Usage) -> list[Usage]:
    """Passes in ``usage.iterations`` that the top-level counts leave out: compactions.

    https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage. Where a fallback model has
    served the answer, passes that were declined before are not billed, and the top-level counts are the answer's.
    """
    passes = [(get(one, "type"), _counts(one)) for one in items(raw, "iterations")]
    compactions = [
        _counts(one) for one in items(raw, "iterations") if get(one, "type") == "compaction" and not _of_model(one)
    ]
    if not compactions:
        return []
    every = [counts for kind, counts in passes if kind not in ("advisor_message", "fallback_message")]
    included = own.input_tokens >= sum(counts.input_tokens for counts in every)
    return [] if included else compactions


def _other_passes(raw: object) -> Iterable[ModelUsage]:
    """What advisors, and compactions that name a model, consumed: at the price of that model, added up for each."""
    found: dict[str, Usage] = {}
    for one in items(raw, "iterations"):
        model = _of_model(one)
        if model is not None and get(one, "type") in ("advisor_message", "compaction"):
            counts = _counts(one)
            found[model] = sum_usage(found[model], counts) if model in found else counts
    return [ModelUsage(model, usage) for model, usage in found.items()]


def _of_model(one: object) -> str | None:
    """The model of one pass, where it is said."""
    model = get(one, "model")
    return model if isinstance(model, str) and model else None


def tool_fees(content: Iterable[object]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Web searches, and other billed units, in the blocks of a message.

    https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#usage-and-pricing: a search that ends
    in an error is not billed.
    """
    asked, failed, containers = set(), set(), 0
    for number, block in enumerate(content):
        kind = str(get(block, "type"))
        if kind == "server_tool_use":
            if get(block, "name") == "web_search":
                asked.add(get(block, "id") or number)
            containers = max(containers, int("code_execution" in str(get(block, "name"))))
        elif kind == "web_search_tool_result" and _is_error(get(block, "content")):
            failed.add(get(block, "tool_use_id"))
    return len(asked - failed), units(code_session=containers)


def _is_error(result: object) -> bool:
    return "error" in str(get(result, "type") or "") if not isinstance(result, list) else False


def hides_passes(content: Iterable[object], input_tokens: int) -> bool:
    """Whether a message shows a compaction or an advisor, whose tokens a framework may have left out of its counts; or
    tools that it read a long prompt for several times, of which each reading may have been a short one."""
    kinds = ("compaction", "advisor_tool_result", *(("server_tool_use",) if input_tokens > _LONG else ()))
    return any(get(block, "type") in kinds or get(block, "name") == "advisor" for block in content)
