"""What providers bill outside the top-level counts, and what streams repeat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from costguard_core import Call
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import priced
from costguard_core.types import ModelUsage, Usage
from costguard_core.usage import anthropic, openai
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.client_reports import ClientReports
from costguard_core.usage.google import grounding_of
from costguard_core.usage.reader import read_usage
from costguard_core.usage.stated_cost import stated_cost
from costguard_core.usage.totals import StreamUsage, latest_usage, sum_usage


def passes(*kinds: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [
        {
            "type": kind,
            "input_tokens": read,
            "output_tokens": written,
            **({"model": "opus"} if "advisor" in kind else {}),
        }
        for kind, read, written in kinds
    ]


@pytest.mark.parametrize(
    ("counts", "iterations", "usage"),
    [
        ((220, 8), [("compaction", 55_196, 125), ("message", 220, 8)], Usage(55_416, 133)),
        ((220, 8), [("message", 220, 8)], Usage(220, 8)),
        ((300, 30), [("message", 100, 10), ("message", 200, 20)], Usage(300, 30)),
        ((200, 20), [("message", 100, 10), ("fallback_message", 200, 20)], Usage(200, 20)),
        (
            (2390, 121),
            [("message", 1128, 110), ("advisor_message", 2518, 22), ("message", 1262, 11)],
            Usage(2390, 121, others=(ModelUsage("opus", Usage(2518, 22)),)),
        ),
    ],
)
def test_passes_beside_the_top_level_counts_are_billed_once(
    counts: tuple[int, int], iterations: list[tuple[str, int, int]], usage: Usage
) -> None:
    raw = {"input_tokens": counts[0], "output_tokens": counts[1], "iterations": passes(*iterations)}
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, Usage(35, 74, reasoning_tokens=62)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "num_cached_tokens": 4}, Usage(9, 1, cache_read_tokens=4)),
        ({"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2, "completion_tokens": 1},
         Usage(10, 1, cache_read_tokens=8)),
        ({"billed_units": {"input_tokens": 62, "output_tokens": 38}, "tokens": {"input_tokens": 1531}}, Usage(62, 38)),
        ({"meta": {"billed_units": {"search_units": 1}}}, Usage(units=(("rerank", 1),))),
        ({"usage_info": {"pages_processed": 3}}, Usage(units=(("page", 3),))),
        ({"type": "duration", "seconds": 12.2}, Usage(units=(("audio_second", 13),))),
        ({"total_tokens": 17}, Usage(17)),
        ({"details": {"generated_tokens": 5, "prefill": [{}, {}]}}, Usage(2, 5)),
        ({"total_input_tokens": 5, "total_output_tokens": 7, "total_thought_tokens": 2},
         Usage(5, 9, reasoning_tokens=2)),
        ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7}}, Usage(5, 7)),
    ],
)  # fmt: skip
def test_every_provider_s_own_form_is_read(raw: dict[str, Any], usage: Usage) -> None:
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("raw", "nanos"),
    [
        ({"cost": 0.0160614, "is_byok": False}, 16_061_400),
        ({"cost": 0, "is_byok": False}, 0),
        ({"cost": 0}, None),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, 21_000_000),
        ({"cost": 0.001, "is_byok": True}, None),
        ({"cost": {"total_cost": 0.005}}, 5_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"cost": -1, "is_byok": False}, None),
        ({"cost": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_stated_cost_is_exact(raw: dict[str, Any], nanos: int | None) -> None:
    assert stated_cost(raw) == nanos


def test_searches_are_counted_in_the_answer() -> None:
    searched = [{"type": "web_search_call", "id": f"w{n}", "action": {"type": "search"}} for n in range(2)]
    opened = [{"type": "web_search_call", "id": "w9", "action": {"type": "open_page"}}]
    assert openai.tool_fees([*searched, *opened]) == (2, ())
    asked = [{"type": "server_tool_use", "id": f"s{n}", "name": "web_search"} for n in range(3)]
    failed = {
        "type": "web_search_tool_result",
        "tool_use_id": "s2",
        "content": {"type": "web_search_tool_result_error"},
    }
    assert anthropic.tool_fees([*asked, failed]) == (2, ())
    standard = [{"type": "server_tool_call", "name": "web_search", "id": "a", "args": {"query": "q"}}]
    assert add_answer_fees(Usage(1, 1), standard, {}, "gpt-5").web_searches == 1
    assert add_answer_fees(Usage(1, 1, web_searches=4), asked, {}, "claude").web_searches == 4


def test_grounding_is_billed_by_the_query_since_gemini_3() -> None:
    found = {"web_search_queries": ["a", "b", "b", ""]}
    assert grounding_of(found, "gemini-3-flash-preview").searches == 2
    assert grounding_of(found, "gemini-2.5-flash").searches == 1
    assert grounding_of(None, "gemini-3-flash-preview").searches == 0


class TestStreams:
    def usage_of(self, *reports: Usage, growth: bool = False) -> Usage | None:
        stream = StreamUsage(growth=growth)
        for report in reports:
            stream.add(report)
        return stream.usage

    def test_running_totals_are_taken_once(self) -> None:
        totals = [Usage(1000, n) for n in range(51)]
        assert self.usage_of(*totals) == self.usage_of(*totals, totals[-1]) == Usage(1000, 50)

    def test_parts_of_one_usage_are_added(self) -> None:
        assert self.usage_of(Usage(1000, 1), Usage(0, 49)) == Usage(1000, 50)
        assert self.usage_of(Usage(13, 5), Usage(500, 10), growth=True) == Usage(513, 15)
        assert self.usage_of() is None

    def test_a_cost_in_a_chunk_of_its_own_is_that_of_the_call(self) -> None:
        counts, cost = Usage(1000, 50), Usage(stated_cost=7)
        for reports in ([counts, cost], [cost, counts], [counts, counts, cost], [counts, cost, counts]):
            assert self.usage_of(*reports) == replace(counts, stated_cost=7)
        assert self.usage_of(cost) == cost

    def test_a_cost_that_is_stated_in_the_middle_is_not_that_of_what_comes_after(self) -> None:
        middle, end = Usage(1000, 5, stated_cost=7), Usage(1000, 50)
        assert self.usage_of(middle, end) == latest_usage(middle, end) == end
        assert self.usage_of(middle, Usage(0, 45)) == end
        assert self.usage_of(middle, Usage(1000, 5)) == middle
        assert self.usage_of(middle, replace(end, stated_cost=70)) == replace(end, stated_cost=70)


def test_sums_and_later_reports_keep_units_and_models() -> None:
    a = Usage(1, 1, units=(("page", 1),), others=(ModelUsage("m", Usage(1, 1)),), stated_cost=5)
    assert sum_usage(a, a) == Usage(2, 2, units=(("page", 2),), others=(ModelUsage("m", Usage(2, 2)),), stated_cost=10)
    assert latest_usage(a, a) == a
    assert sum_usage(a, Usage(1, 1)).stated_cost is None
    assert Usage.from_json(a.to_json()) == a


def billed(model: str, provider: str, *answers: Any) -> tuple[float | None, tuple[str, ...]]:
    """Dollars of one call at list prices, whose client was answered so; what of it has no price."""
    reports = ClientReports(provider)
    stream = reports.stream()
    for answer in answers:
        stream.add(answer)
    assert reports.usage is not None
    cost = priced(PriceBook(), Call("", model, 1_796_083_200, provider), reports.usage, reports.model)
    return (None if cost.nanos is None else cost.nanos / 1e9), cost.unpriced


def test_the_image_tool_is_billed_at_its_own_model_s_price() -> None:
    drawn = {"input_tokens": 30, "output_tokens": 500, "output_tokens_details": {"image_tokens": 500, "text_tokens": 0}}
    response = {
        "model": "gpt-5",
        "output": [{"type": "image_generation_call", "id": "ig_1", "status": "completed"}],
        "usage": {"input_tokens": 2000, "output_tokens": 100, "total_tokens": 2100},
        "tool_usage": {"image_gen": drawn, "web_search": {"num_requests": 2}},
        "tools": [{"type": "function"}, {"type": "image_generation", "model": "gpt-image-1"}],
    }
    own, searches, picture = 2000 * 1.25e-6 + 100 * 10e-6, 2 * 0.01, 30 * 5e-6 + 500 * 40e-6
    assert billed("gpt-5", "openai", response) == (pytest.approx(own + searches + picture), ())
    # Nobody says which model drew: its tokens have no price, and the picture says so.
    assert billed("gpt-5", "openai", {**response, "tools": []}) == (
        pytest.approx(own + searches),
        ("generated_image",),
    )


def test_each_model_of_a_compound_system_is_billed_at_its_own_price() -> None:
    def counts(read: int, written: int) -> dict[str, int]:
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    parts = [
        {"model": "llama-3.3-70b-versatile", "usage": counts(900, 50)},
        {"model": "openai/gpt-oss-120b", "usage": counts(300, 30)},
        {"model": "llama-3.3-70b-versatile", "usage": counts(100, 20)},
    ]
    answer = {"model": "groq/compound", "usage": counts(1300, 100), "usage_breakdown": {"models": parts}}
    expected = 1000 * 0.59e-6 + 70 * 0.79e-6 + 300 * 0.15e-6 + 30 * 0.6e-6
    assert billed("groq/compound", "groq", answer) == (pytest.approx(expected), ())
    short = {**answer, "usage_breakdown": {"models": parts[:1]}}  # it does not explain all: nobody knows the rest
    assert billed("groq/compound", "groq", short) == (None, ())


def test_grounding_may_be_said_in_a_chunk_without_usage() -> None:
    def chunk(*queries: str, usage: dict[str, int] | None = None) -> dict[str, Any]:
        candidate = {"groundingMetadata": {"webSearchQueries": list(queries)}} if queries else {}
        return {"candidates": [candidate], "modelVersion": "gemini-3-pro-preview", "usageMetadata": usage}

    last = {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}
    chunks = chunk("rain", "snow"), chunk("snow", "hail"), chunk(usage=last)
    expected = 1000 * 2e-6 + 100 * 12e-6 + 3 * 0.014
    assert billed("gemini-3-pro-preview", "google_genai", *chunks) == (pytest.approx(expected), ())


def test_where_a_call_must_run_costs_more_for_its_advisors_too() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "inference_geo": "us",
        "iterations": [
            {"type": "compaction", "input_tokens": 7000, "output_tokens": 70, "model": "claude-haiku-4-5"},
            {"type": "message", "input_tokens": 100, "output_tokens": 10},
            {"type": "advisor_message", "input_tokens": 1000, "output_tokens": 40, "model": "claude-haiku-4-5"},
        ],
    }
    answer = {"model": "claude-opus-4-8", "usage": usage}
    expected = 1.1 * (100 * 5e-6 + 10 * 25e-6 + 8000 * 1e-6 + 110 * 5e-6)
    assert billed("claude-opus-4-8", "anthropic", answer) == (pytest.approx(expected), ())


def test_a_free_variant_costs_nothing_also_where_no_list_has_it() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0}
    assert billed("somebody/brand-new:free", "openrouter", {"usage": usage}) == (0, ())
    assert billed("somebody/brand-new:free", "together", {"usage": usage}) == (None, ())


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        # Perplexity's deep research: neither reasoning nor citations are inside the completion or the total.
        (
            {"prompt_tokens": 30, "completion_tokens": 700, "total_tokens": 730, "reasoning_tokens": 500,
             "citation_tokens": 90, "num_search_queries": 4},
            Usage(30, 1200, reasoning_tokens=500, web_searches=4, units=(("citation_token", 90),)),
        ),
        ({"prompt_tokens": 30, "completion_tokens": 700, "total_tokens": 730, "reasoning_tokens": 500}, Usage(30, 700)),
        # Mistral's connectors: their results are read as input, and they are billed by the use.
        (
            {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 137, "connector_tokens": 100,
             "connectors": {"web_search": 1, "web_search_premium": 1, "image_generation": 2}},
            Usage(130, 7, web_searches=2, units=(("generated_image", 2),)),
        ),
        # LangChain's form of a provider that thinks beside its answer: the total, or a number that cannot be inside.
        (
            {"input_tokens": 30, "output_tokens": 70, "total_tokens": 150, "output_token_details": {"reasoning": 50}},
            Usage(30, 120, reasoning_tokens=50),
        ),
        (
            {"input_tokens": 30, "output_tokens": 70, "total_tokens": 100, "output_token_details": {"reasoning": 90}},
            Usage(30, 160, reasoning_tokens=90),
        ),
        (
            {"input_tokens": 30, "output_tokens": 70, "total_tokens": 100, "output_token_details": {"reasoning": 50}},
            Usage(30, 70, reasoning_tokens=50),
        ),
        # Numbers as text, and numbers that no request can reach.
        ({"prompt_tokens": "30", "completion_tokens": "7", "total_tokens": "37"}, Usage(30, 7)),
        ({"prompt_tokens": 10**25, "completion_tokens": 1e300, "total_tokens": "9" * 50}, Usage()),
    ],
)  # fmt: skip
def test_parts_beside_the_totals_and_odd_numbers(raw: dict[str, Any], usage: Usage) -> None:
    assert read_usage(raw) == usage
