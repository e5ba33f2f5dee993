"""Every shape that a provider or LangChain reports, read, priced, and compared with a bill worked out by hand.

The expected bill is written as tokens x dollars per million, which is micro-dollars. The list prices are those in force
on 22 November 2026 (unless the row says another day), copied by hand, so a wrong reading cannot hide in shared code.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from costguard_core.pricing import PriceBook
from costguard_core.types import Usage
from costguard_core.usage.reader import read_langchain, read_usage

D = Decimal
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook()
SEARCH = 10_000  # $10 per thousand searches, in micro-dollars each


class Row(NamedTuple):
    name: str
    raw: Any
    usage: Usage
    model: tuple[str, str]
    micros: Decimal | int


def obj(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(**fields)


GPT_4O, GPT_5, GPT_54, SOL = ("openai", "gpt-4o"), ("openai", "gpt-5"), ("openai", "gpt-5.4"), ("openai", "gpt-5.6-sol")
SONNET, OPUS = ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-4-8")
FLASH, PRO = ("google_genai", "gemini-2.5-flash"), ("google_genai", "gemini-2.5-pro")
BEDROCK = ("bedrock_converse", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")

PROVIDERS = [
    Row(
        "openai chat, plain",
        {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        Usage(1000, 200),
        GPT_4O,
        1000 * D("2.50") + 200 * 10,
    ),
    Row(
        "openai chat, cached inside the prompt",
        {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 800}},
        Usage(1000, 200, cache_read_tokens=800),
        GPT_4O,
        200 * D("2.50") + 800 * D("1.25") + 200 * 10,
    ),
    Row(
        "openai chat, reasoning inside the completion",
        {"prompt_tokens": 100, "completion_tokens": 900, "completion_tokens_details": {"reasoning_tokens": 700}},
        Usage(100, 900, reasoning_tokens=700),
        GPT_5,
        100 * D("1.25") + 900 * 10,
    ),
    Row(
        "openai chat, rejected predictions are inside the completion and billed",
        {
            "prompt_tokens": 100,
            "completion_tokens": 300,
            "completion_tokens_details": {"accepted_prediction_tokens": 50, "rejected_prediction_tokens": 120},
        },
        Usage(100, 300),
        GPT_4O,
        100 * D("2.50") + 300 * 10,
    ),
    Row(
        "openai chat, cache writes",
        {
            "prompt_tokens": 10_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 4000, "cache_write_tokens": 5000},
        },
        Usage(10_000, 100, cache_read_tokens=4000, cache_write_tokens=5000),
        SOL,
        1000 * 4 + 4000 * D("0.40") + 5000 * 5 + 100 * 20,
    ),
    Row(
        "openai chat, nulls everywhere",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None, "audio_tokens": None},
        },
        Usage(10, 5),
        GPT_4O,
        10 * D("2.50") + 5 * 10,
    ),
    Row(
        "openai chat, whole response object with its tier",
        obj(
            id="c1",
            service_tier="priority",
            usage=obj(
                prompt_tokens=10_000,
                completion_tokens=1000,
                prompt_tokens_details=obj(cached_tokens=8000, audio_tokens=0),
                completion_tokens_details=obj(reasoning_tokens=300, audio_tokens=0),
            ),
        ),
        Usage(10_000, 1000, cache_read_tokens=8000, reasoning_tokens=300, tier="priority"),
        GPT_54,
        2000 * 5 + 8000 * D("0.50") + 1000 * 30,
    ),
    Row(
        "openai chat, flex",
        {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}, "service_tier": "flex"},
        Usage(1000, 100, tier="flex"),
        GPT_5,
        1000 * D("0.625") + 100 * 5,
    ),
    Row(
        "openai chat, default tier is standard",
        {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}, "service_tier": "default"},
        Usage(1000, 100),
        GPT_5,
        1000 * D("1.25") + 100 * 10,
    ),
    Row(
        "openai chat, whole request beyond the long-context cliff",
        {"prompt_tokens": 272_001, "completion_tokens": 100},
        Usage(272_001, 100),
        GPT_54,
        272_001 * 5 + 100 * D("22.50"),
    ),
    Row(
        "openai chat, exactly at the cliff",
        {"prompt_tokens": 272_000, "completion_tokens": 100},
        Usage(272_000, 100),
        GPT_54,
        272_000 * D("2.50") + 100 * 15,
    ),
    Row(
        "openai realtime, audio in, cached audio, audio out",
        {
            "total_tokens": 1500,
            "input_tokens": 1000,
            "output_tokens": 500,
            "input_token_details": {
                "cached_tokens": 300,
                "text_tokens": 400,
                "audio_tokens": 600,
                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 200},
            },
            "output_token_details": {"text_tokens": 100, "audio_tokens": 400},
        },
        Usage(
            1000,
            500,
            cache_read_tokens=300,
            audio_input_tokens=600,
            audio_cache_read_tokens=200,
            audio_output_tokens=400,
        ),
        ("openai", "gpt-realtime"),
        # 300 fresh text, 100 cached text, 400 fresh audio, 200 cached audio; 100 text and 400 audio out
        300 * 4 + 100 * D("0.40") + 400 * 32 + 200 * D("0.40") + 100 * 16 + 400 * 64,
    ),
    Row(
        "openai images",
        {"input_tokens": 150, "output_tokens": 1000, "input_tokens_details": {"image_tokens": 100, "text_tokens": 50}},
        Usage(150, 1000, image_input_tokens=100),
        ("openai", "gpt-image-1"),
        50 * 5 + 100 * 10 + 1000 * 40,
    ),
    Row(
        "openai responses",
        {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 600},
            "output_tokens": 400,
            "output_tokens_details": {"reasoning_tokens": 256},
            "total_tokens": 1400,
        },
        Usage(1000, 400, cache_read_tokens=600, reasoning_tokens=256),
        GPT_5,
        400 * D("1.25") + 600 * D("0.125") + 400 * 10,
    ),
    Row(
        "openai responses, the completed event of a stream",
        {
            "type": "response.completed",
            "response": {"service_tier": "priority", "usage": {"input_tokens": 100, "output_tokens": 10}},
        },
        Usage(100, 10, tier="priority"),
        GPT_5,
        100 * D("2.50") + 10 * 20,
    ),
    Row(
        "openai responses, cache writes by lifetime",
        {
            "input_tokens": 3000,
            "input_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 2000,
                "cache_write_tokens_details": {"ttl_30m_tokens": 2000, "ttl_12h_tokens": 0},
            },
            "output_tokens": 10,
        },
        Usage(3000, 10, cache_write_tokens=2000),
        SOL,
        1000 * 4 + 2000 * 5 + 10 * 20,
    ),
    Row(
        "openai embeddings",
        {"prompt_tokens": 5000, "total_tokens": 5000},
        Usage(5000, 0),
        ("openai", "text-embedding-3-small"),
        5000 * D("0.02"),
    ),
    Row(
        "anthropic, plain",
        {"input_tokens": 100, "output_tokens": 50, "service_tier": "standard"},
        Usage(100, 50),
        SONNET,
        100 * 3 + 50 * 15,
    ),
    Row(
        "anthropic, cache beside the input",
        {"input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50, "output_tokens": 10},
        Usage(1050, 10, cache_read_tokens=900, cache_write_tokens=50),
        SONNET,
        100 * 3 + 900 * D("0.30") + 50 * D("3.75") + 10 * 15,
    ),
    Row(
        "anthropic, writes by lifetime",
        {
            "input_tokens": 100,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 2500,
            "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 2000},
            "output_tokens": 10,
        },
        Usage(2600, 10, cache_write_tokens=2500, cache_write_1h_tokens=2000),
        SONNET,
        100 * 3 + 500 * D("3.75") + 2000 * 6 + 10 * 15,
    ),
    Row(
        "anthropic, web searches, thinking",
        {
            "input_tokens": 1000,
            "output_tokens": 300,
            "output_tokens_details": {"thinking_tokens": 200},
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1},
        },
        Usage(1000, 300, reasoning_tokens=200, web_searches=3),
        SONNET,
        1000 * 3 + 300 * 15 + 3 * SEARCH,
    ),
    Row(
        "anthropic, fast mode",
        {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0, "speed": "fast"},
        Usage(1000, 100, tier="fast"),
        OPUS,
        1000 * 10 + 100 * 50,
    ),
    Row(
        "anthropic, batch",
        {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0, "service_tier": "batch"},
        Usage(1000, 100, tier="batch"),
        SONNET,
        1000 * D("1.50") + 100 * D("7.50"),
    ),
    Row(
        "anthropic, cache counts push the request over the cliff",
        {"input_tokens": 1, "cache_read_input_tokens": 200_000, "output_tokens": 10},
        Usage(200_001, 10, cache_read_tokens=200_000),
        SONNET,
        1 * 6 + 200_000 * D("0.60") + 10 * D("22.50"),
    ),
    Row(
        "anthropic, message_start event object",
        obj(type="message_start", message=obj(usage=obj(input_tokens=7, output_tokens=1, cache_read_input_tokens=3))),
        Usage(10, 1, cache_read_tokens=3),
        SONNET,
        7 * 3 + 3 * D("0.30") + 1 * 15,
    ),
    Row(
        "gemini, thoughts beside the candidates",
        {"prompt_token_count": 1000, "candidates_token_count": 200, "thoughts_token_count": 1500},
        Usage(1000, 1700, reasoning_tokens=1500),
        FLASH,
        1000 * D("0.30") + 1700 * D("2.50"),
    ),
    Row(
        "gemini, camelCase response, cached inside, tool results beside",
        {
            "usageMetadata": {
                "promptTokenCount": 1000,
                "cachedContentTokenCount": 600,
                "toolUsePromptTokenCount": 100,
                "candidatesTokenCount": 50,
            }
        },
        Usage(1100, 50, cache_read_tokens=600),
        FLASH,
        500 * D("0.30") + 600 * D("0.03") + 50 * D("2.50"),
    ),
    Row(
        "gemini, audio, part of it cached",
        obj(
            prompt_token_count=1000,
            candidates_token_count=10,
            cached_content_token_count=300,
            prompt_tokens_details=[
                obj(modality=obj(value="AUDIO"), token_count=800),
                obj(modality=obj(value="TEXT"), token_count=200),
            ],
            cache_tokens_details=[obj(modality="AUDIO", token_count=300)],
        ),
        Usage(1000, 10, cache_read_tokens=300, audio_input_tokens=800, audio_cache_read_tokens=300),
        FLASH,
        200 * D("0.30") + 500 * 1 + 300 * D("0.10") + 10 * D("2.50"),
    ),
    Row(
        "gemini, one token over the cliff",
        {"prompt_token_count": 200_001, "candidates_token_count": 1000},
        Usage(200_001, 1000),
        PRO,
        200_001 * D("2.50") + 1000 * 15,
    ),
    Row(
        "gemini, image out",
        {
            "prompt_token_count": 100,
            "candidates_token_count": 1300,
            "candidates_tokens_details": [{"modality": "IMAGE", "token_count": 1290}],
        },
        Usage(100, 1300, image_output_tokens=1290),
        ("google_genai", "gemini-2.5-flash-image"),
        100 * D("0.30") + 10 * D("2.50") + 1290 * 30,
    ),
    Row(
        "bedrock converse, cache beside the input",
        {"usage": {"inputTokens": 100, "outputTokens": 5, "cacheReadInputTokens": 900, "cacheWriteInputTokens": 200}},
        Usage(1200, 5, cache_read_tokens=900, cache_write_tokens=200),
        BEDROCK,
        100 * D("3.30") + 900 * D("0.33") + 200 * D("4.125") + 5 * D("16.50"),
    ),
    Row(
        "bedrock converse, an hour's write",
        {
            "inputTokens": 100,
            "outputTokens": 0,
            "cacheWriteInputTokens": 200,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 200}],
        },
        Usage(300, 0, cache_write_tokens=200, cache_write_1h_tokens=200),
        BEDROCK,
        100 * D("3.30") + 200 * D("6.60"),
    ),
    Row(
        "llamaindex bedrock: openai names, cache beside, told by the total",
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "total_tokens": 1005,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 0,
        },
        Usage(1000, 5, cache_read_tokens=900),
        BEDROCK,
        100 * D("3.30") + 900 * D("0.33") + 5 * D("16.50"),
    ),
    Row(
        "litellm anthropic: openai names, cache inside, told by the total",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 5,
            "total_tokens": 1005,
            "prompt_tokens_details": {"cached_tokens": 900},
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 0,
        },
        Usage(1000, 5, cache_read_tokens=900),
        SONNET,
        100 * 3 + 900 * D("0.30") + 5 * 15,
    ),
    Row(
        "deepseek, cache hits inside the prompt",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 10,
            "prompt_cache_hit_tokens": 600,
            "prompt_cache_miss_tokens": 400,
        },
        Usage(1000, 10, cache_read_tokens=600),
        ("deepseek", "deepseek-v4-flash"),
        400 * D("0.15") + 600 * D("0.003") + 10 * D("0.60"),
    ),
    Row(
        "xai, reasoning beside the completion, told by the total",
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 420,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        Usage(100, 320, reasoning_tokens=300),
        ("xai", "grok-4"),
        100 * 3 + 320 * 15,
    ),
    Row(
        "perplexity, a fee per request",
        {"prompt_tokens": 100, "completion_tokens": 20},
        Usage(100, 20),
        ("perplexity", "sonar"),
        100 * 1 + 20 * 1 + 12_000,
    ),
]

LANGCHAIN = [
    Row(
        "plain",
        ({"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}, None),
        Usage(1000, 200),
        GPT_4O,
        1000 * D("2.50") + 200 * 10,
    ),
    Row(
        "cached and reasoning",
        (
            {
                "input_tokens": 1000,
                "output_tokens": 200,
                "input_token_details": {"cache_read": 800, "audio": 0},
                "output_token_details": {"reasoning": 100, "audio": 0},
            },
            {"service_tier": "default"},
        ),
        Usage(1000, 200, cache_read_tokens=800, reasoning_tokens=100),
        GPT_5,
        200 * D("1.25") + 800 * D("0.125") + 200 * 10,
    ),
    Row(
        "priority renames the details",
        (
            {
                "input_tokens": 10_000,
                "output_tokens": 1000,
                "input_token_details": {"priority_cache_read": 8000, "priority": 2000},
                "output_token_details": {"priority_reasoning": 400, "priority": 600},
            },
            None,
        ),
        Usage(10_000, 1000, cache_read_tokens=8000, reasoning_tokens=400, tier="priority"),
        GPT_54,
        2000 * 5 + 8000 * D("0.50") + 1000 * 30,
    ),
    Row(
        "flex renames the details",
        (
            {
                "input_tokens": 1000,
                "output_tokens": 100,
                "input_token_details": {"flex_cache_read": 800, "flex": 200},
                "output_token_details": {"flex": 100},
            },
            {"service_tier": "flex"},
        ),
        Usage(1000, 100, cache_read_tokens=800, tier="flex"),
        GPT_5,
        200 * D("0.625") + 800 * D("0.0625") + 100 * 5,
    ),
    Row(
        "priority cache writes",
        (
            {
                "input_tokens": 3000,
                "output_tokens": 10,
                "input_token_details": {"priority_cache_read": 0, "priority_cache_creation": 2000, "priority": 3000},
                "output_token_details": {"priority": 10},
            },
            {"service_tier": "priority"},
        ),
        Usage(3000, 10, cache_write_tokens=2000, tier="priority"),
        SOL,
        1000 * 8 + 2000 * 10 + 10 * 40,
    ),
    Row(
        "tier only in the response metadata",
        ({"input_tokens": 1000, "output_tokens": 100}, {"service_tier": "priority"}),
        Usage(1000, 100, tier="priority"),
        GPT_5,
        1000 * D("2.50") + 100 * 20,
    ),
    Row(
        "anthropic folds the cache into the input",
        (
            {
                "input_tokens": 1050,
                "output_tokens": 10,
                "total_tokens": 1060,
                "input_token_details": {"cache_read": 900, "cache_creation": 50},
            },
            None,
        ),
        Usage(1050, 10, cache_read_tokens=900, cache_write_tokens=50),
        SONNET,
        100 * 3 + 900 * D("0.30") + 50 * D("3.75") + 10 * 15,
    ),
    Row(
        "anthropic lifetimes set cache_creation to 0",
        (
            {
                "input_tokens": 2150,
                "output_tokens": 10,
                "total_tokens": 2160,
                "input_token_details": {
                    "cache_read": 0,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 50,
                    "ephemeral_1h_input_tokens": 2000,
                },
            },
            None,
        ),
        Usage(2150, 10, cache_write_tokens=2050, cache_write_1h_tokens=2000),
        SONNET,
        100 * 3 + 50 * D("3.75") + 2000 * 6 + 10 * 15,
    ),
    Row(
        "anthropic lifetimes beside a sum that includes them",
        (
            {
                "input_tokens": 2150,
                "output_tokens": 10,
                "input_token_details": {"cache_creation": 2050, "ephemeral_1h_input_tokens": 2000},
            },
            None,
        ),
        Usage(2150, 10, cache_write_tokens=2050, cache_write_1h_tokens=2000),
        SONNET,
        100 * 3 + 50 * D("3.75") + 2000 * 6 + 10 * 15,
    ),
    Row(
        "anthropic web searches and speed in the response metadata",
        (
            {"input_tokens": 1000, "output_tokens": 100},
            {"usage": {"server_tool_use": {"web_search_requests": 2}, "speed": "fast", "service_tier": "standard"}},
        ),
        Usage(1000, 100, web_searches=2, tier="fast"),
        OPUS,
        1000 * 10 + 100 * 50 + 2 * SEARCH,
    ),
    Row(
        "gemini thoughts are already in the output",
        (
            {
                "input_tokens": 1000,
                "output_tokens": 1700,
                "total_tokens": 2700,
                "output_token_details": {"reasoning": 1500},
                "input_token_details": {"cache_read": 0},
            },
            None,
        ),
        Usage(1000, 1700, reasoning_tokens=1500),
        FLASH,
        1000 * D("0.30") + 1700 * D("2.50"),
    ),
    Row(
        "audio in and out",
        (
            {
                "input_tokens": 1000,
                "output_tokens": 500,
                "input_token_details": {"audio": 600},
                "output_token_details": {"audio": 400},
            },
            None,
        ),
        Usage(1000, 500, audio_input_tokens=600, audio_output_tokens=400),
        ("openai", "gpt-realtime"),
        400 * 4 + 600 * 32 + 100 * 16 + 400 * 64,
    ),
    Row(
        "bedrock leaves the cache beside the input, told by the total",
        (
            {
                "input_tokens": 100,
                "output_tokens": 5,
                "total_tokens": 1005,
                "input_token_details": {"cache_read": 900, "cache_creation": 0},
            },
            None,
        ),
        Usage(1000, 5, cache_read_tokens=900),
        BEDROCK,
        100 * D("3.30") + 900 * D("0.33") + 5 * D("16.50"),
    ),
    Row(
        "the marker that LangChain puts on a replayed answer is not a price",
        ({"input_tokens": 1000, "output_tokens": 200, "total_cost": 0}, None),
        Usage(1000, 200),
        GPT_4O,
        1000 * D("2.50") + 200 * 10,
    ),
    Row(
        "bedrock's nested tier",
        ({"input_tokens": 1000, "output_tokens": 100}, {"serviceTier": {"type": "priority"}}),
        Usage(1000, 100, tier="priority"),
        GPT_5,
        1000 * D("2.50") + 100 * 20,
    ),
]


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row.name)
def test_a_provider_s_shape_is_read_and_billed(row: Row) -> None:
    provider, model = row.model
    usage = read_usage(row.raw)
    assert usage == row.usage
    assert BOOK.cost(usage, model=model, provider=provider, at=NOON) == row.micros * 1000


@pytest.mark.parametrize("row", LANGCHAIN, ids=lambda row: row.name)
def test_langchain_s_shape_is_read_and_billed(row: Row) -> None:
    provider, model = row.model
    usage = read_langchain(*row.raw)
    assert usage == row.usage
    assert BOOK.cost(usage, model=model, provider=provider, at=NOON) == row.micros * 1000


def test_the_table_is_as_large_as_promised() -> None:
    assert len(PROVIDERS) + len(LANGCHAIN) >= 40
