from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.types import Usage
from costguard_core.usage.fields import service_tier
from costguard_core.usage.reader import read_langchain, read_usage
from costguard_core.usage.totals import latest_usage, sum_usage


@pytest.mark.parametrize(
    "raw", [None, "", "text", 7, {}, [], {"usage": None}, {"prompt_tokens": None}, SimpleNamespace(x=1)]
)
def test_nothing_reported_is_none_not_zero(raw: Any) -> None:
    assert read_usage(raw) is None


def test_a_stream_of_cumulative_deltas_ends_with_the_last_totals() -> None:
    start = read_usage({"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 1})
    middle = read_usage({"output_tokens": 40})
    end = read_usage({"output_tokens": 90, "server_tool_use": {"web_search_requests": 1}, "service_tier": "batch"})
    assert start is not None
    assert middle is not None
    assert end is not None
    merged = latest_usage(latest_usage(start, middle), end)
    assert merged == Usage(1000, 90, cache_read_tokens=900, web_searches=1, tier="batch")


def test_langchain_shape_is_recognised_by_read_usage() -> None:
    raw = {"input_tokens": 10, "output_tokens": 5, "input_token_details": {"cache_read": 4}}
    assert read_usage(raw) == read_usage(raw, provider="anthropic") == Usage(10, 5, cache_read_tokens=4)


def test_the_provider_settles_an_ambiguous_shape() -> None:
    raw = SimpleNamespace(input_tokens=10, output_tokens=5, cache_creation=None, input_tokens_details=None)
    assert read_usage(raw, provider="anthropic") == read_usage(raw) == Usage(10, 5)


def test_ollama_counts() -> None:
    assert read_usage({"prompt_eval_count": 12, "eval_count": 3, "done": True}) == Usage(12, 3)


def test_gemini_traffic_type_is_the_tier() -> None:
    raw = {"promptTokenCount": 10, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND_PRIORITY"}
    assert read_usage(raw) == Usage(10, 1, tier="priority")


@pytest.mark.parametrize("value", [None, "", "auto", "default", "standard", "on_demand", "unheard-of"])
def test_other_tiers_are_standard(value: str | None) -> None:
    assert service_tier(value) is None


@given(
    st.dictionaries(
        st.sampled_from(["input_tokens", "output_tokens", "total_tokens", "total_cost"]),
        st.one_of(st.none(), st.integers(-5, 10**6), st.floats(), st.just("x"), st.booleans()),
    ),
    st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(
                ["cache_read", "cache_creation", "audio", "priority_cache_read", "ephemeral_1h_input_tokens"]
            ),
            st.one_of(st.none(), st.integers(-5, 10**6), st.floats()),
        ),
    ),
)
def test_garbage_never_raises_and_counts_are_never_negative(
    top: dict[str, Any], details: dict[str, Any] | None
) -> None:
    usage = read_langchain({**top, "input_token_details": details})
    assert min(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens) >= 0


def test_sum_adds_counts_and_keeps_what_was_guessed() -> None:
    a = Usage(10, 5, cache_read_tokens=3, tier="flex")
    b = Usage(1, 2, reasoning_tokens=1, estimated=True)
    assert sum_usage(a, b) == Usage(11, 7, cache_read_tokens=3, reasoning_tokens=1, tier="flex", estimated=True)
