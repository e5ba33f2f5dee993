"""Groq's compound systems, which ask several models in one call: https://console.groq.com/docs/compound.

``usage`` is the sum of them; ``usage_breakdown`` beside it says what each consumed, each billed at its own price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from costguard_core.types import ModelUsage, Usage
from costguard_core.usage.fields import get, items, units
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


def tool_fees(executed: Iterable[object]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Searches of the web, and other billed units, among the tools that Groq ran (``executed_tools`` of a message).

    https://groq.com/pricing ("Built-in tools"): searches and visits of pages are billed by the piece, code by the hour.
    A stream says each tool twice, first with its arguments and then with its output, under one ``index``.
    """
    kinds: dict[object, str] = {}
    for number, tool in enumerate(executed):
        index = get(tool, "index")
        key = number if index is None else index
        kinds[key] = kinds.get(key) or f"{get(tool, 'type') or ''} {get(tool, 'name') or ''}".strip().lower()
    found = [_tool(kind) for kind in kinds.values()]
    return found.count("web_search"), units(
        code_session=int("code_session" in found), tool_call=found.count("tool_call")
    )


def _tool(kind: str) -> str:
    """``browser_search`` is a set of steps, of which a name says whether it searched, opened a page or looked in it."""
    step = kind.rpartition(" ")[2].rpartition(".")[2]
    if "search" in step:
        return "web_search"
    if "python" in kind or "code" in kind:
        return "code_session"
    return "" if step in ("find", "wolfram", "wolfram_alpha", "") else "tool_call"
