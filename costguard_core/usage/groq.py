"""Groq's compound systems, which ask several models in one call: https://console.groq.com/docs/compound.

``usage`` is the sum of them; ``usage_breakdown`` beside it says what each consumed, each billed at its own price.
"""

from __future__ import annotations

from dataclasses import replace

from costguard_core.types import ModelUsage, Usage
from costguard_core.usage.fields import get, items
from costguard_core.usage.openai import read_chat
from costguard_core.usage.totals import sum_usage


def with_breakdown(usage: Usage, response: object) -> Usage:
    """The usage of a response, each model's apart where all of it is said to be one model's."""
    found: dict[str, Usage] = {}
    for part in items(get(response, "usage_breakdown"), "models"):
        model, counts = get(part, "model"), get(part, "usage")
        if isinstance(model, str) and counts is not None:
            consumed = read_chat(counts)
            found[model] = sum_usage(found[model], consumed) if model in found else consumed
    others = tuple(ModelUsage(model, consumed) for model, consumed in found.items())
    if sum(other.usage.total_tokens for other in others) < usage.total_tokens:
        return usage
    return replace(
        usage, input_tokens=0, output_tokens=0, cache_read_tokens=0, reasoning_tokens=0, others=(*usage.others, *others)
    )
