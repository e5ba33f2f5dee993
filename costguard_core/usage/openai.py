"""OpenAI's usage (chat, Responses, Realtime, images, embeddings, speech), and that of everything that imitates it.

https://platform.openai.com/docs/api-reference/chat/object and /responses/object: cached, audio, image and reasoning
tokens are inside their totals; rejected predictions are inside the completion and billed. Fees of hosted tools are not
in the usage, only their items in the output: https://platform.openai.com/docs/pricing ("Built-in tools").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from costguard_core.types import ModelUsage, Usage
from costguard_core.usage.fields import count, get, items, seconds, tier_of, units
from costguard_core.usage.mistral import connector_uses, mistral_units
from costguard_core.usage.stated_cost import stated_cost
from costguard_core.usage.xai import xai_searches, xai_units

# Models that search the web in every call and bill a fee for it: https://platform.openai.com/docs/pricing
_SEARCHES_ALWAYS = re.compile(r"gpt-.*-search(-preview|-api|$|-20)")
# What sellers call the part of a prompt that was read from a cache, beside OpenAI's details: LiteLLM's form of
# Anthropic's, DeepSeek (https://api-docs.deepseek.com/guides/kv_cache), Mistral, Moonshot and Together.
_CACHED = ("cache_read_input_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")
# Models that do not think, and whose own price is not that of a search preview.
_SEARCHES_DEARER = re.compile(r"^(?:openai/)?(?:gpt-4o|gpt-4\.1|chatgpt-4o)(?!.*search)")
_MOST_NAMES = 1024  # of models, for which that is remembered: a choice


def read_chat(raw: object) -> Usage:
    """``prompt_tokens``/``completion_tokens``."""
    read, written = get(raw, "prompt_tokens_details"), get(raw, "completion_tokens_details")
    usage = _read(raw, read, written, ("prompt_tokens", "completion_tokens"))
    # LiteLLM's and LlamaIndex's form of Anthropic and Bedrock: cache counts beside the OpenAI names.
    beside = count(raw, "cache_read_input_tokens") + count(raw, "cache_creation_input_tokens")
    cached = usage.cache_read_tokens or next(filter(None, (count(raw, name) for name in _CACHED)), 0)
    prompt = max(prompt_with_cache(raw, "prompt_tokens", "completion_tokens", beside), usage.input_tokens)
    if not prompt:
        prompt = count(raw, "prompt_cache_hit_tokens") + count(raw, "prompt_cache_miss_tokens")
    hidden = _beside_completion(raw, prompt, usage)
    searches, pieces = connector_uses(raw)
    searches = searches or count(get(raw, "server_tool_use"), "web_search_requests")  # LiteLLM's and OpenRouter's
    long = count(get(read, "cache_creation_token_details"), "ephemeral_1h_input_tokens")
    return replace(
        usage,
        input_tokens=prompt + count(raw, "connector_tokens"),
        output_tokens=usage.output_tokens + hidden,
        reasoning_tokens=max(usage.reasoning_tokens, hidden),
        cache_read_tokens=cached,
        cache_write_tokens=usage.cache_write_tokens
        or count(raw, "cache_creation_input_tokens")
        or count(read, "cache_creation_input_tokens"),  # Alibaba's
        cache_write_1h_tokens=long or count(get(raw, "cache_creation"), "ephemeral_1h_input_tokens"),
        units=(*mistral_units(raw), *pieces, *xai_units(raw), *_units_of(raw, read)),
        web_searches=count(raw, "num_search_queries")  # Perplexity's
        or xai_searches(raw)
        or searches
        or count(read, "web_search_requests"),
        stated_cost=stated_cost(raw),
    )


def _units_of(raw: object, read: object) -> tuple[tuple[str, int], ...]:
    """Citations as Perplexity counts them, and searches in maps as LiteLLM does."""
    return units(
        citation_token=count(raw, "citation_tokens"), place_search=count(read, "google_maps_grounding_requests")
    )


def _beside_completion(raw: object, prompt: int, usage: Usage) -> int:
    """Reasoning tokens that are not in the completion, where the total gives them away.

    xAI counts them beside the completion (https://docs.x.ai/docs/guides/reasoning), as Gemini's compatible endpoint
    does, which names them nowhere else. A total that is even larger than they explain is not followed further.
    Perplexity's deep research has them, like the tokens of citations, outside of the total, too:
    https://docs.perplexity.ai/getting-started/pricing
    """
    apart = count(raw, "reasoning_tokens")
    if apart and (apart > usage.output_tokens or count(raw, "citation_tokens")):
        return apart
    excess = count(raw, "total_tokens") - prompt - usage.output_tokens - count(raw, "connector_tokens")
    if excess <= 0 or not prompt:
        return 0
    if usage.reasoning_tokens:
        return usage.reasoning_tokens if excess == usage.reasoning_tokens else 0
    return excess if usage.output_tokens else 0


def prompt_with_cache(raw: object, input_name: str, output_name: str, cached: int) -> int:
    """The whole input, where it is not said whether ``input_name`` includes the cache counts: the total tells."""
    stated, total = count(raw, input_name), count(raw, "total_tokens")
    apart = stated + cached
    beside = total == apart + count(raw, output_name) if total else cached > stated
    return apart if cached and beside else stated


def read_responses(raw: object) -> Usage:
    """``input_tokens``/``output_tokens``."""
    read = get(raw, "input_tokens_details") or get(raw, "input_token_details")
    written = get(raw, "output_tokens_details") or get(raw, "output_token_details")
    usage = _read(raw, read, written, ("input_tokens", "output_tokens"))
    return replace(usage, units=xai_units(raw), web_searches=xai_searches(raw), stated_cost=stated_cost(raw))


def read_speech(raw: object) -> Usage:
    """A transcription that is billed by its length: ``{"type": "duration", "seconds": 12}``.

    https://platform.openai.com/docs/api-reference/audio/json-object
    """
    return Usage(units=units(audio_second=seconds(raw, "seconds")))


def _read(raw: object, read: object, written: object, names: tuple[str, str]) -> Usage:
    tier, stated = tier_of(raw)
    return Usage(
        input_tokens=count(raw, names[0]),
        output_tokens=count(raw, names[1]),
        cache_read_tokens=count(read, "cached_tokens"),
        cache_write_tokens=count(read, "cache_write_tokens"),
        audio_input_tokens=count(read, "audio_tokens"),
        audio_cache_read_tokens=count(get(read, "cached_tokens_details"), "audio_tokens"),
        audio_output_tokens=count(written, "audio_tokens"),
        image_input_tokens=count(read, "image_tokens"),
        video_input_tokens=count(read, "video_tokens"),
        image_output_tokens=count(written, "image_tokens"),
        reasoning_tokens=count(written, "reasoning_tokens"),
        tier=tier,
        tier_stated=stated,
    )


def tool_fees(output: Iterable[object]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Web searches, and other billed units, in the items of a response's output.

    Searches are billed, pages that the model then opens are not; one container serves all code of a call.
    """
    searches, files, containers, pictures = set(), set(), set(), set()
    for number, item in enumerate(output):
        key, kind = get(item, "id") or number, get(item, "type")
        if get(item, "status") == "failed":
            continue
        if kind == "web_search_call" and (get(get(item, "action"), "type") or "search") == "search":
            searches.add(key)
        elif kind == "file_search_call":
            files.add(key)
        elif kind == "code_interpreter_call":
            containers.add(get(item, "container_id") or "container")
        elif kind == "shell_call" and "container" in str(get(get(item, "environment"), "type")):
            containers.add(get(get(item, "environment"), "container_id") or "container")
        elif kind == "image_generation_call":
            pictures.add(key)
    found = units(file_search=len(files), code_session=len(containers), generated_image=len(pictures))
    return len(searches), found


def with_tool_usage(usage: Usage, response: object) -> Usage:
    """With what a response says that its hosted tools used: ``tool_usage``, beside the usage of the model.

    The tokens of the image tool are billed at the price of its own model, which the response repeats among its tools:
    https://platform.openai.com/docs/guides/image-generation#cost-and-latency
    """
    tools = get(response, "tool_usage")
    searches = count(get(tools, "web_search"), "num_requests")
    drawn = get(tools, "image_gen")
    picture = read_responses(drawn) if drawn is not None else Usage()
    if picture.output_tokens and not get(get(drawn, "output_tokens_details"), "text_tokens"):
        picture = replace(picture, image_output_tokens=picture.output_tokens)
    asked = (get(tool, "model") for tool in items(response, "tools") if get(tool, "type") == "image_generation")
    model = next((name for name in asked if isinstance(name, str)), None)
    if model is not None and picture != Usage():
        usage = replace(usage, others=(*usage.others, ModelUsage(model, picture)))
    return replace(usage, web_searches=max(usage.web_searches, searches))


def with_preview_searches(usage: Usage, response: object, model: str) -> Usage:
    """With the searches of the older tool, which cost models that do not think more than those of the newer one.

    https://platform.openai.com/docs/pricing ("Web search preview (non-reasoning models)").
    """
    if not searches_dearer(model):
        return usage
    preview = any(str(get(tool, "type")).startswith("web_search_preview") for tool in items(response, "tools"))
    searches = tool_fees(items(response, "output"))[0] if preview else 0
    return replace(usage, units=(*usage.units, ("preview_search", searches))) if searches else usage


@lru_cache(_MOST_NAMES)
def searches_dearer(model: str) -> bool:
    """Whether a model searches with OpenAI's preview tool at another price than with the newer one."""
    return _SEARCHES_DEARER.search(model.lower()) is not None


@lru_cache(_MOST_NAMES)
def searches_always(model: str) -> bool:
    """Whether each call to a model includes a search of the web that is billed beside its tokens."""
    return _SEARCHES_ALWAYS.search(model.lower()) is not None
