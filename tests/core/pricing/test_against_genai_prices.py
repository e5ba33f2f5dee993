"""The compiled integers against the generic library: the same bill, line by line, over models, dates and tiers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

import genai_prices
import pytest
from genai_prices import types as genai
from genai_prices.data_snapshot import get_snapshot
from genai_prices.units import _get_registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard_core.pricing import PriceBook
from costguard_core.types import Usage

BOOK = PriceBook(table=None)  # genai-prices alone

MODELS = [
    *(("openai", name) for name in (
        "gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-4o-2024-05-13", "gpt-4o-mini", "gpt-4.1",
        "gpt-4.1-mini", "gpt-4.1-nano", "o1", "o1-pro", "o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini",
        "gpt-5.1", "gpt-5.4",
        "gpt-5.6-sol", "gpt-6-sol", "gpt-6.1-terra", "gpt-4o-audio-preview", "gpt-realtime", "gpt-image-1",
        "chatgpt-image-latest", "text-embedding-3-small", "text-embedding-ada-002", "ft:gpt-4o-2024-08-06:org::id",
    )),
    *(("anthropic", name) for name in (
        "claude-2", "claude-3-haiku-20240307", "claude-3-5-sonnet-20241022", "claude-3-5-haiku-latest",
        "claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-8", "claude-fable-5-2",
    )),
    *(("google", name) for name in (
        "gemini-1.5-flash", "gemini-1.5-pro", "gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-pro",
        "gemini-2.5-flash-image", "gemini-3.8-flash", "gemini-embedding-001", "claude-sonnet-4-5@20250929",
        "gemini-3.1-flash-live-preview",
    )),
    *(("aws", name) for name in (
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0", "amazon.nova-2-sonic-v1:0",
        "meta.llama3-3-70b-instruct-v1:0",
    )),
    *(("azure", name) for name in ("gpt-4o", "gpt-5", "text-embedding-3-large", "claude-sonnet-4-5")),
    *(("deepseek", name) for name in ("deepseek-chat", "deepseek-reasoner", "deepseek-v4-flash", "deepseek-v4-pro")),
    *(("mistral", name) for name in ("mistral-large-latest", "mistral-medium", "magistral-medium-latest")),
    *(("groq", name) for name in ("llama-3.3-70b-versatile", "llama-3.1-8b-instant", "qwen/qwen3-32b")),
    *(("x-ai", name) for name in ("grok-4", "grok-4-fast", "grok-3-mini")),
    *(("cohere", name) for name in ("command-r-plus", "command-a")),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("perplexity", "sonar"),
    ("openrouter", "perplexity/sonar-deep-research"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
]  # fmt: skip

TIERS: dict[str | None, dict[str, str] | None] = {
    None: None,
    "default": None,
    "auto": None,
    "never heard of": None,
    "batch": {"processing": "batch"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}

DAYS = st.sampled_from(
    [datetime.fromisoformat(f"{day}T00:00Z") for day in (
        "2024-03-01", "2025-02-08", "2025-05-01", "2025-07-01", "2026-01-31", "2026-10-12", "2026-11-22", "2027-01-01",
    )]
)  # fmt: skip
MOMENTS = st.builds(
    lambda day, second: day.timestamp() + second,
    DAYS,
    st.one_of(
        st.sampled_from([0, 1, 1799, 1800, 3600, 14_399, 14_400, 21_600, 36_000, 59_400]), st.integers(0, 86_399)
    ),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Consistent usages of every size, with prompt lengths on both sides of the known cliffs."""
    part = st.one_of(st.just(0), st.integers(0, 5000))
    cached, written, audio, image = draw(part), draw(part), draw(part), draw(part)
    long, both = draw(st.integers(0, written)), draw(st.integers(0, min(cached, audio)))
    floor = cached + written + audio + image - both
    size = draw(
        st.one_of(st.just(0), st.integers(0, 9999), st.sampled_from([128_000, 128_001, 200_000, 200_001, 272_001]))
    )
    reasoning, sound, picture = draw(part), draw(part), draw(part)
    output = reasoning + sound + picture + draw(part)
    return Usage(
        max(floor, size),
        output,
        cached,
        written,
        long,
        audio,
        both,
        sound,
        image,
        picture,
        reasoning,
        draw(st.integers(0, 3)),
    )


def generic_usage(u: Usage) -> genai.Usage:
    return genai_prices.Usage(
        input_tokens=u.input_tokens,
        output_tokens=u.output_tokens,
        cache_read_tokens=u.cache_read_tokens,
        cache_write_tokens=u.cache_write_tokens,
        cache_write_1h_tokens=u.cache_write_1h_tokens,
        input_audio_tokens=u.audio_input_tokens,
        cache_audio_read_tokens=u.audio_cache_read_tokens,
        output_audio_tokens=u.audio_output_tokens,
        input_image_tokens=u.image_input_tokens,
        output_image_tokens=u.image_output_tokens,
        cache_image_read_tokens=0,
        output_reasoning_tokens=u.reasoning_tokens,
        web_searches=u.web_searches,
    )


def lines_rounded_up(calculation: genai.PriceCalculation, usage: genai.Usage) -> int:
    """The library's own lines, each rounded up to a whole nano-dollar."""
    resolved = genai._collect_resolved_model_prices(calculation.model_price, _get_registry())
    counts = genai._compute_registry_priced_counts(resolved, usage)
    lines = [genai.calc_unit_price(price, counts[u.usage_key], usage.input_tokens, u.per) for u, price in resolved]
    assert sum(lines) == calculation.total_price
    return sum(int((line * 10**9).to_integral_value(ROUND_CEILING)) for line in lines)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MODELS), usages(), MOMENTS, st.sampled_from(list(TIERS)))
def test_the_compiled_price_is_the_generic_price(
    model: tuple[str, str], usage: Usage, at: float, tier: str | None
) -> None:
    provider, name = model
    cost = BOOK.cost(_with_tier(usage, tier), model=name, provider=provider, at=at)
    generic = generic_usage(usage)
    calculation = genai_prices.calc_price(
        generic,
        name,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at, UTC),
        price_context=TIERS[tier],
    )
    if cost is None:  # the list has no output price (an embedding model), and the usage has output
        assert calculation.output_price == 0 < usage.output_tokens
    else:
        assert cost == lines_rounded_up(calculation, generic)
        assert Decimal(cost) >= calculation.total_price * 10**9


def _with_tier(usage: Usage, tier: str | None) -> Usage:
    return Usage(**{name: getattr(usage, name) for name in Usage.__slots__ if name != "tier"}, tier=tier)


def test_the_sample_is_as_large_as_promised() -> None:
    assert len(set(MODELS)) >= 60


@pytest.mark.slow
def test_every_listed_model_has_the_generic_price_or_is_unknown() -> None:
    """All 2,330 models: one that is not sold by the token is unknown, every other one agrees."""
    usage = Usage(1_001, 77, cache_read_tokens=333)
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    priced = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            match = provider.find_model(model.id)
            if match is None:
                continue  # an id that its own pattern does not match
            cost = BOOK.cost(usage, model=model.id, provider=provider.id, at=at.timestamp())
            if cost is not None:
                generic = generic_usage(usage)
                assert cost == lines_rounded_up(
                    match.calc_price(generic, provider, genai_request_timestamp=at), generic
                )
                priced += bool(cost)
    assert priced > 1_900
