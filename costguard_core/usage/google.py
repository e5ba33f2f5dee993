"""Gemini's usage, on AI Studio and Vertex AI: https://ai.google.dev/api/generate-content#UsageMetadata.

Thoughts are beside the candidates and tool results beside the prompt; cached content is inside the prompt. In a stream
each chunk carries the running totals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, items, service_tier, tier_of, units

# https://ai.google.dev/gemini-api/docs/pricing: Gemini 3 and later bill each query of grounding with Google Search,
# models before it each prompt that was grounded.
_BILLS_EACH_QUERY = re.compile(r"gemini-(?:[3-9]|\d\d)")
# Tokens of a generated picture, by the model's own price page (1,290 for 2.5 Flash Image at 1024 pixels; 1,120 for
# 1K and 2K, 2,000 for 4K of 3 Pro Image). Used where an integration hides the split.
_TOKENS_PER_PICTURE = 1_290
_TOKENS_PER_PICTURE_3 = 1_120


def read_gemini(raw: object) -> Usage:
    """``usage_metadata`` of generateContent, embedContent and the Live API."""
    prompts = (*_details(raw, "prompt"), *items(raw, "tool_use_prompt_tokens_details"))
    cached, answers = items(raw, "cache_tokens_details"), (*_details(raw, "candidates"), *_details(raw, "response"))
    thoughts = count(raw, "thoughts_token_count")
    prompt = count(raw, "prompt_token_count") + count(raw, "tool_use_prompt_token_count")
    answer = count(raw, "candidates_token_count") + count(raw, "response_token_count")
    tier, stated = tier_of(raw)
    traffic = get(raw, "traffic_type")
    return Usage(
        input_tokens=prompt,
        output_tokens=answer + thoughts,
        cache_read_tokens=count(raw, "cached_content_token_count"),
        audio_input_tokens=_modality(prompts, "AUDIO"),
        audio_cache_read_tokens=_modality(cached, "AUDIO"),
        audio_output_tokens=_modality(answers, "AUDIO"),
        image_input_tokens=_modality(prompts, "IMAGE"),
        video_input_tokens=_modality(prompts, "VIDEO"),
        image_output_tokens=_modality(answers, "IMAGE"),
        reasoning_tokens=thoughts,
        tier=tier or service_tier(traffic),
        tier_stated=stated or traffic is not None,
    )


def read_interactions(raw: object) -> Usage:
    """The Interactions API: ``total_input_tokens``, thoughts and tool results beside it.

    https://ai.google.dev/api/interactions-api
    """
    prompts = (*items(raw, "input_tokens_by_modality"), *items(raw, "tool_use_tokens_by_modality"))
    cached, answers = items(raw, "cached_tokens_by_modality"), items(raw, "output_tokens_by_modality")
    thoughts = count(raw, "total_thought_tokens") or count(raw, "total_reasoning_tokens")
    tier, stated = tier_of(raw)
    uses = {str(get(one, "type")): count(one, "count") for one in items(raw, "grounding_tool_count")}
    return Usage(
        input_tokens=count(raw, "total_input_tokens") + count(raw, "total_tool_use_tokens"),
        output_tokens=count(raw, "total_output_tokens") + thoughts,
        cache_read_tokens=count(raw, "total_cached_tokens"),
        audio_input_tokens=_modality(prompts, "AUDIO", "tokens"),
        audio_cache_read_tokens=_modality(cached, "AUDIO", "tokens"),
        image_input_tokens=_modality(prompts, "IMAGE", "tokens"),
        video_input_tokens=_modality(prompts, "VIDEO", "tokens"),
        audio_output_tokens=_modality(answers, "AUDIO", "tokens"),
        image_output_tokens=_modality(answers, "IMAGE", "tokens"),
        reasoning_tokens=thoughts,
        web_searches=uses.get("google_search", 0),
        units=units(place_search=uses.get("google_maps", 0)),
        tier=tier,
        tier_stated=stated,
    )


def billed_uses(usage: Usage, model: str) -> Usage:
    """The usage of an interaction of ``model``, which may bill its prompt instead of each query."""
    if _BILLS_EACH_QUERY.search(model.lower()) or "gemini" not in model.lower():
        return usage
    pieces = tuple((name, min(number, 1) if name == "place_search" else number) for name, number in usage.units)
    return replace(usage, web_searches=min(usage.web_searches, 1), units=pieces)


class Grounding(NamedTuple):
    """What an answer was grounded with, as far as it is billed.

    Attributes:
        searches: of the web, or in pictures.
        places: searches in Google Maps.
        unsure: nothing says that the pages which are cited were searched for.
    """

    searches: int = 0
    places: int = 0
    unsure: bool = False


def grounding_of(metadata: object, model: str, *, read_urls: bool = False) -> Grounding:
    """Billed searches in the grounding metadata of an answer: distinct queries, or 1 where the prompt is billed.

    Maps have a price of their own (https://ai.google.dev/gemini-api/docs/google-maps). What was found in the
    application's own files, and pages that the prompt names, cost their tokens alone
    (https://ai.google.dev/gemini-api/docs/file-search and /url-context).

    Args:
        metadata: of the first candidate.
        model: that answered.
        read_urls: pages that the prompt names were read (``url_context_metadata``).
    """
    named = (*items(metadata, "web_search_queries"), *items(metadata, "image_search_queries"))
    queries = {str(query).strip() for query in named} - {""}
    chunks = items(metadata, "grounding_chunks")
    maps = get(metadata, "google_maps_widget_context_token") or any(get(one, "maps") is not None for one in chunks)
    shown = get(metadata, "search_entry_point")
    pages = any(get(one, "web") is not None or get(one, "image") is not None for one in chunks)
    asked = len(queries) if _BILLS_EACH_QUERY.search(model.lower()) else min(len(queries), 1)
    if maps and not (shown or pages):
        return Grounding(0, max(asked, 1))
    if queries or shown:
        return Grounding(max(asked, 1), int(bool(maps)))
    return Grounding(int(pages and not read_urls), int(bool(maps)), pages and not read_urls)


def merged_grounding(parts: Iterable[object]) -> dict[str, list[object]]:
    """The grounding metadata of several chunks of one answer, as that of one."""
    parts = tuple(parts)
    merged = {
        name: [one for part in parts for one in items(part, name)]
        for name in ("web_search_queries", "image_search_queries", "grounding_chunks")
    }
    single = ("search_entry_point", "google_maps_widget_context_token")
    return {**merged, **{name: [found for part in parts if (found := get(part, name))] for name in single}}


def picture_tokens(pictures: int, output_tokens: int, model: str) -> int:
    """Output tokens that are pictures, where only their number is known: at most all of them."""
    each = _TOKENS_PER_PICTURE_3 if _BILLS_EACH_QUERY.search(model.lower()) else _TOKENS_PER_PICTURE
    return min(pictures * each, output_tokens)


def _details(raw: object, part: str) -> tuple[object, ...]:
    return items(raw, f"{part}_tokens_details") or items(raw, f"{part}_token_details")


def _modality(details: Iterable[object], wanted: str, name: str = "token_count") -> int:
    return sum(count(item, name) for item in details if _modality_name(item) == wanted)


def _modality_name(item: object) -> str:
    modality = get(item, "modality")
    return str(getattr(modality, "value", modality)).upper()
