"""Sellers that OpenAI's client is pointed at, what their usage has beside OpenAI's form of it, and what that means.

The address is theirs; a proxy on this machine (a :class:`ProviderServer`) answers for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
from integrations import KEY

from costguard_core import Event

_COUNTS = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


class Seller(NamedTuple):
    """``usage`` is what it reports, ``expected`` the fields of our usage that only its own words tell."""

    host: str
    model: str
    usage: dict[str, Any]
    expected: dict[str, Any]


SELLERS = {
    "openrouter": Seller(
        "openrouter.ai",
        "deepseek/deepseek-chat",
        {**_COUNTS, "cost": 0.0123, "is_byok": False, "prompt_tokens_details": {"cached_tokens": 300}},
        {"stated_cost": 12_300_000, "cache_read_tokens": 300},
    ),
    "openrouter, own key": Seller(
        "openrouter.ai",
        "anthropic/claude-sonnet-4.5",
        {**_COUNTS, "cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
        {"stated_cost": 21_000_000},
    ),
    "openrouter, free": Seller(
        "openrouter.ai",
        "meta-llama/llama-3.3-70b-instruct:free",
        {**_COUNTS, "cost": 0, "is_byok": False},
        {"stated_cost": 0},
    ),
    "deepseek": Seller(
        "api.deepseek.com",
        "deepseek-chat",
        {**_COUNTS, "prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200},
        {"cache_read_tokens": 800},
    ),
    "perplexity": Seller(
        "api.perplexity.ai",
        "sonar-pro",
        {**_COUNTS, "search_context_size": "low", "cost": {"request_cost": 0.006, "total_cost": 0.0165}},
        {"stated_cost": 16_500_000},
    ),
    "perplexity, research": Seller(
        "api.perplexity.ai",
        "sonar-deep-research",
        {**_COUNTS, "citation_tokens": 20_000, "num_search_queries": 18, "reasoning_tokens": 70_000},
        {"units": (("citation_token", 20_000),), "web_searches": 18, "output_tokens": 70_500},
    ),
    "mistral": Seller(
        "api.mistral.ai",
        "mistral-large-latest",
        {**_COUNTS, "num_cached_tokens": 400, "prompt_audio_seconds": 12},
        {"cache_read_tokens": 400, "units": (("audio_second", 12),)},
    ),
    "xai": Seller(
        "api.x.ai",
        "grok-4",
        {**_COUNTS, "num_sources_used": 7, "cost_in_usd_ticks": 37_756_000},
        {"stated_cost": 3_775_600, "units": (("source", 7),)},
    ),
    "xai, tools": Seller(
        "api.x.ai",
        "grok-4",
        {**_COUNTS, "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1}},
        {"web_searches": 2, "units": (("social_search", 1),)},
    ),
    "deepinfra": Seller(
        "api.deepinfra.com",
        "meta-llama/Llama-3.3-70B-Instruct",
        {**_COUNTS, "estimated_cost": 0.00044},
        {"stated_cost": 440_000},
    ),
    "moonshot": Seller(
        "api.moonshot.ai", "kimi-k2-0711-preview", {**_COUNTS, "cached_tokens": 768}, {"cache_read_tokens": 768}
    ),
    "together": Seller(
        "api.together.xyz",
        "openai/gpt-oss-120b",
        {**_COUNTS, "cached_tokens": 320},
        {"cache_read_tokens": 320},
    ),
    "dashscope": Seller(
        "dashscope-intl.aliyuncs.com",
        "qwen-plus",
        {**_COUNTS, "prompt_tokens_details": {"cached_tokens": 256, "cache_creation_input_tokens": 100}},
        {"cache_read_tokens": 256, "cache_write_tokens": 100},
    ),
}


def is_all_of(event: Event, seller: Seller) -> bool:
    """Whether a call was charged all that its seller reported."""
    found = {name: getattr(event.usage, name) for name in seller.expected}
    cost = seller.expected.get("stated_cost")
    return found == seller.expected and (cost is None or (event.cost, event.priced_by) == (cost, "provider"))


def langchain_at(proxy: str, seller: Seller, **options: Any) -> Any:
    """LangChain's OpenAI client at a seller's address."""
    from langchain_openai import ChatOpenAI

    where = {"base_url": f"http://{seller.host}/v1", "api_key": KEY, "openai_proxy": proxy}
    return ChatOpenAI(model=seller.model, max_retries=0, **where, **options)


def llamaindex_at(proxy: str, seller: Seller, **options: Any) -> Any:
    """LlamaIndex' client for servers that are like OpenAI, at a seller's address."""
    from llama_index.llms.openai_like import OpenAILike

    clients = {"http_client": httpx.Client(proxy=proxy), "async_http_client": httpx.AsyncClient(proxy=proxy)}
    kind = {"is_chat_model": True, "is_function_calling_model": True}
    where = {"api_base": f"http://{seller.host}/v1", "api_key": KEY}
    return OpenAILike(model=seller.model, max_retries=0, **where, **clients, **kind, **options)
