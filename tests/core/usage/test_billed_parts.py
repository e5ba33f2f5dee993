"""What providers bill outside the top-level counts, and what streams repeat."""

from __future__ import annotations

from typing import Any

import pytest

from costguard_core.types import ModelUsage, Usage
from costguard_core.usage import anthropic, openai
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.google import grounding_searches
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
    assert grounding_searches(found, "gemini-3-flash-preview") == 2
    assert grounding_searches(found, "gemini-2.5-flash") == 1
    assert grounding_searches(None, "gemini-3-flash-preview") == 0


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


def test_sums_and_later_reports_keep_units_and_models() -> None:
    a = Usage(1, 1, units=(("page", 1),), others=(ModelUsage("m", Usage(1, 1)),), stated_cost=5)
    assert sum_usage(a, a) == Usage(2, 2, units=(("page", 2),), others=(ModelUsage("m", Usage(2, 2)),), stated_cost=10)
    assert latest_usage(a, a) == a
    assert sum_usage(a, Usage(1, 1)).stated_cost is None
    assert Usage.from_json(a.to_json()) == a
