"""Bedrock's usage: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html (Converse).

``inputTokens`` is beside the cache counts, as Anthropic's is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, items, tier_of

_FREE = frozenset(("wordPolicyUnits",))


def read_converse(raw: object) -> Usage:
    """``usage`` of Converse, and of the models that Amazon itself makes."""
    cached = count(raw, "cacheReadInputTokens") or count(raw, "cacheReadInputTokenCount")
    created = count(raw, "cacheWriteInputTokens") or count(raw, "cacheWriteInputTokenCount")
    long = sum(count(item, "inputTokens") for item in items(raw, "cacheDetails") if get(item, "ttl") == "1h")
    tier, stated = tier_of(raw)
    return Usage(
        input_tokens=count(raw, "inputTokens") + cached + created,
        output_tokens=count(raw, "outputTokens"),
        cache_read_tokens=cached,
        cache_write_tokens=max(created, long),
        cache_write_1h_tokens=long,
        tier=tier,
        tier_stated=stated,
    )


def with_guardrails(usage: Usage, response: object) -> Usage:
    """With the units of text that guardrails checked, which are billed by the policy, as far as a trace shows them.

    https://aws.amazon.com/bedrock/pricing/ ("Guardrails"): word filters are free.
    """
    found = get(get(response, "trace"), "guardrail")
    before = get(found, "input_assessment")
    inputs = list(before.values()) if isinstance(before, Mapping) else []
    after = get(found, "output_assessments")
    outputs = [one for many in after.values() for one in many] if isinstance(after, Mapping) else []
    checked = 0
    for assessment in (*inputs, *outputs):
        used = get(get(assessment, "invocation_metrics"), "usage")
        names = [str(name) for name in used] if isinstance(used, Mapping) else []
        checked += sum(count(used, name) for name in names if name.endswith("PolicyUnits") and name not in _FREE)
    return replace(usage, units=(*usage.units, ("guardrail_unit", checked))) if checked else usage


def read_invocation_metrics(raw: object) -> Usage:
    """``amazon-bedrock-invocationMetrics`` of an InvokeModel stream, and Llama's and Titan's own counts.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
    """
    cached, created = count(raw, "cacheReadInputTokenCount"), count(raw, "cacheWriteInputTokenCount")
    prompt = count(raw, "inputTokenCount") or count(raw, "prompt_token_count") or count(raw, "inputTextTokenCount")
    written = count(raw, "outputTokenCount") or count(raw, "generation_token_count")
    return Usage(prompt + cached + created, written, cache_read_tokens=cached, cache_write_tokens=created)
