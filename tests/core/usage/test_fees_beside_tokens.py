"""Fees and prices that a response shows somewhere else than in its counts of tokens."""

from __future__ import annotations

from typing import Any

import pytest

from costguard_core import Call
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import Cost, priced
from costguard_core.types import Usage
from costguard_core.usage.client_reports import ClientReports
from costguard_core.usage.parameters import requested_tier
from costguard_core.usage.reader import read_usage, with_billed_parts

BOOK = PriceBook()


def charge(model: str, provider: str, *chunks: Any, prices: dict[str, Any] | None = None) -> tuple[Cost, Usage]:
    """What one call costs whose client was answered so, and its usage."""
    reports = ClientReports(provider)
    stream = reports.stream()
    for chunk in chunks:
        stream.add(chunk)
    assert reports.usage is not None
    book = BOOK if prices is None else PriceBook(prices)
    return priced(book, Call("", model, 1_796_083_200, provider), reports.usage, reports.model), reports.usage


def dollars(cost: Cost) -> float | None:
    return None if cost.nanos is None else cost.nanos / 1e9


def chat(model: str, prompt: int, answer: int, **extra: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    message = {"role": "assistant", "content": "so", **extra.pop("message", {})}
    return {"id": "c1", "model": model, "choices": [{"message": message}], "usage": usage, **extra}


@pytest.mark.parametrize(
    ("model", "provider", "answer"),
    [
        ("gpt-4o", "openai", chat("gpt-4o-2024-08-06", 900, 80, service_tier="scale")),
        ("llama-3.3-70b-versatile", "groq", chat("llama-3.3-70b-versatile", 900, 80, service_tier="performance")),
        ("amazon.nova-pro-v1:0", "bedrock",
         {"usage": {"inputTokens": 900, "outputTokens": 80}, "serviceTier": {"type": "reserved"}}),
        ("gemini-2.5-flash", "google_vertexai",
         {"usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": 80,
                            "trafficType": "PROVISIONED_THROUGHPUT"}}),
    ],
)  # fmt: skip
def test_capacity_that_was_bought_ahead_has_no_price_per_token(model: str, provider: str, answer: Any) -> None:
    cost, usage = charge(model, provider, answer)
    assert usage.tier == "reserved"
    assert cost.priced_by == "estimate"
    assert cost.nanos


def test_bedrock_s_optimized_latency_is_a_tier_of_its_own() -> None:
    answer = {"usage": {"inputTokens": 900, "outputTokens": 80}, "performanceConfig": {"latency": "optimized"}}
    for shape in (answer, {"metadata": answer}):
        assert charge("amazon.nova-pro-v1:0", "bedrock", shape)[0].nanos is None
    sheet = {"amazon.nova-pro-v1:0": {"input": "1", "output": "4", "fast": {"input": "1.25", "output": "5"}}}
    assert dollars(charge("amazon.nova-pro-v1:0", "bedrock", answer, prices=sheet)[0]) == (900 * 1.25 + 80 * 5) / 1e6
    calm = {**answer, "performanceConfig": {"latency": "standard"}}
    assert dollars(charge("amazon.nova-pro-v1:0", "bedrock", calm, prices=sheet)[0]) == (900 * 1 + 80 * 4) / 1e6
    assert requested_tier({"performanceConfig": {"latency": "optimized"}, "serviceTier": {"type": "flex"}}) == "fast"
    assert requested_tier({"performance_config": {"latency": "standard"}, "service_tier": "flex"}) == "flex"


def test_what_bedrock_s_guardrails_checked_is_named() -> None:
    units = {"topicPolicyUnits": 1, "contentPolicyUnits": 2, "wordPolicyUnits": 9, "contentPolicyFreeUnits": 3}
    checked = {"invocationMetrics": {"usage": units}}
    trace = {"guardrail": {"inputAssessment": {"g": checked}, "outputAssessments": {"g": [checked]}}}
    counts = {"inputTokens": 900, "outputTokens": 80}
    cost, usage = charge("amazon.nova-pro-v1:0", "bedrock", {"usage": counts, "trace": trace})
    assert usage.units == (("guardrail_unit", 6),)
    assert cost.unpriced == ("guardrail_unit",)
    told = with_billed_parts(Usage(900, 80), "so", {}, {"trace": trace}, None)  # as LangChain passes it on
    assert told.units == usage.units


def test_tools_that_groq_ran_are_billed_by_the_piece() -> None:
    steps = [
        {"index": 0, "type": "browser_search", "name": "search", "arguments": '{"query": "q"}'},
        {"index": 1, "type": "browser_search", "name": "open", "arguments": "{}"},
        {"index": 2, "type": "function", "name": "browser.find", "arguments": "{}"},
        {"index": 3, "type": "function", "name": "browser.search", "arguments": '{"query": "r"}'},
    ]
    model = "openai/gpt-oss-120b"
    tokens = (900 * 0.15 + 80 * 0.6) / 1e6
    cost, usage = charge(model, "groq", chat(model, 900, 80, message={"executed_tools": steps}))
    assert dollars(cost) == pytest.approx(tokens + 2 * 0.005)
    assert (usage.web_searches, usage.units, cost.unpriced) == (2, (("tool_call", 1),), ("tool_call",))

    # A stream says each twice; LangChain's message has what both said.
    outputs = [{"index": one["index"], "output": "…"} for one in steps]
    chunks = [{"model": model, "choices": [{"delta": {"executed_tools": [one]}}]} for one in (*steps, *outputs)]
    last = {"model": model, "choices": [], "x_groq": {"usage": chat(model, 900, 80)["usage"]}}
    assert charge(model, "groq", *chunks, last)[0] == cost
    told = with_billed_parts(Usage(900, 80), "so", {"executed_tools": [*steps, *outputs]}, {}, None)
    assert (told.web_searches, told.units) == (2, (("tool_call", 1),))


def gemini(model: str, *, counts: dict[str, Any] | None = None, **candidate: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 900, "candidatesTokenCount": 80, "totalTokenCount": 980, **(counts or {})}
    return {"modelVersion": model, "candidates": [candidate], "usageMetadata": usage}


PAGE, PLACE = {"web": {"uri": "u", "title": "t"}}, {"maps": {"uri": "u", "placeId": "p"}}


def test_only_searches_of_gemini_are_billed_as_searches() -> None:
    def fees(model: str, found: dict[str, Any], **beside: Any) -> tuple[int, int]:
        usage = charge(model, "google_genai", gemini(model, groundingMetadata=found, **beside))[1]
        return usage.web_searches, dict(usage.units).get("place_search", 0)

    read = {"urlMetadata": [{"retrievedUrl": "u", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}]}
    own = {"groundingChunks": [{"retrievedContext": {"title": "handbook", "text": "…"}}]}
    for model, queries in (("gemini-2.5-flash", 1), ("gemini-3-flash-preview", 2)):
        assert fees(model, own) == (0, 0)
        assert fees(model, {"groundingChunks": [PAGE]}, urlContextMetadata=read) == (0, 0)
        asked = {"webSearchQueries": ["a", "b"], "groundingChunks": [PAGE]}
        assert fees(model, asked, urlContextMetadata=read) == (queries, 0)
        assert fees(model, {**asked, "imageSearchQueries": ["b"]}) == (queries, 0)
        assert fees(model, {"groundingChunks": [PLACE], "googleMapsWidgetContextToken": "w"}) == (0, 1)
        assert fees(model, {"webSearchQueries": ["a", "b"], "groundingChunks": [PLACE]}) == (0, queries)
        assert fees(model, {**asked, "groundingChunks": [PAGE, PLACE]}) == (queries, 1)
    # Nothing says whether the pages were searched for: the fee is an estimate.
    model = "gemini-2.5-flash"
    usage = charge(model, "google_genai", gemini(model, groundingMetadata={"groundingChunks": [PAGE]}))[1]
    assert (usage.web_searches, usage.estimated) == (1, True)


def test_maps_have_no_price_of_a_search() -> None:
    model = "gemini-2.5-flash"
    cost, _ = charge(model, "google_genai", gemini(model, groundingMetadata={"groundingChunks": [PLACE]}))
    assert (dollars(cost), cost.unpriced) == ((900 * 0.3 + 80 * 2.5) / 1e6, ("place_search",))
    sheet = {model: {"input": "1", "output": "1", "place_search": "0.025"}}
    cost, _ = charge(model, "google_genai", gemini(model, groundingMetadata={"groundingChunks": [PLACE]}), prices=sheet)
    assert (dollars(cost), cost.unpriced) == (pytest.approx(980e-6 + 0.025), ())


def test_interactions_say_how_often_they_searched() -> None:
    counts = {
        "total_input_tokens": 900,
        "total_output_tokens": 80,
        "total_cached_tokens": 300,
        "cached_tokens_by_modality": [{"modality": "audio", "tokens": 100}],
        "input_tokens_by_modality": [{"modality": "audio", "tokens": 400}, {"modality": "text", "tokens": 500}],
        "grounding_tool_count": [{"type": "google_search", "count": 3}, {"type": "google_maps", "count": 2}],
    }
    for model, searches, places in (("gemini-2.5-flash", 1, 1), ("gemini-3-flash-preview", 3, 2)):
        answer = {"object": "interaction", "model": model, "usage": counts}
        for shape in (answer, {"event_type": "interaction.completed", "interaction": answer}):
            usage = read_usage(shape)
            assert usage is not None
            assert (usage.web_searches, usage.units) == (searches, (("place_search", places),))
            assert (usage.audio_input_tokens, usage.audio_cache_read_tokens) == (400, 100)


def response(model: str, tool: str, searches: int) -> dict[str, Any]:
    calls = [{"type": "web_search_call", "id": f"w{n}", "status": "completed"} for n in range(searches)]
    usage = {"input_tokens": 900, "output_tokens": 80, "total_tokens": 980}
    return {"object": "response", "model": model, "tools": [{"type": tool}], "output": calls, "usage": usage}


def test_openai_s_preview_of_searches_costs_more_where_the_model_does_not_think() -> None:
    tokens = (900 * 2.5 + 80 * 10) / 1e6
    for tool, each in (("web_search_preview", 0.025), ("web_search_preview_2025_03_11", 0.025), ("web_search", 0.01)):
        whole = response("gpt-4o-2024-08-06", tool, 2)
        for shape in (whole, {"type": "response.completed", "response": whole}):
            cost, usage = charge("gpt-4o", "openai", shape)
            assert (dollars(cost), cost.unpriced) == (pytest.approx(tokens + 2 * each), ())
            assert usage.web_searches == 2
    thinks = (900 * 1.25 + 80 * 10) / 1e6
    cost, _ = charge("gpt-5", "openai", response("gpt-5-2025-08-07", "web_search_preview", 2))
    assert dollars(cost) == pytest.approx(thinks + 2 * 0.01)
    # A declared price of a search is of any search.
    sheet = {"gpt-4o": {"input": "1", "output": "1", "web_search": "0.5"}}
    cost, _ = charge("gpt-4o", "openai", response("gpt-4o-2024-08-06", "web_search_preview", 2), prices=sheet)
    assert (dollars(cost), cost.unpriced) == (pytest.approx(980e-6 + 1), ())
    # LangChain does not pass on with which tool the model searched.
    blocks = response("gpt-4o", "", 1)["output"]
    assert with_billed_parts(Usage(900, 80), blocks, {}, {"model_name": "gpt-4o"}, None).estimated
    assert not with_billed_parts(Usage(900, 80), blocks, {}, {"model_name": "gpt-5"}, None).estimated


def test_a_container_in_which_a_shell_ran_is_named() -> None:
    answer = response("gpt-5", "shell", 0)
    place = {"type": "container_reference", "container_id": "k1"}
    answer["output"] = [{"type": "shell_call", "id": n, "status": "completed", "environment": place} for n in "ab"]
    assert charge("gpt-5", "openai", answer)[0].unpriced == ("code_session",)
    answer["output"] = [{"type": "shell_call", "id": "a", "status": "completed", "environment": {"type": "local"}}]
    assert charge("gpt-5", "openai", answer)[0].unpriced == ()


def test_fees_and_hours_of_a_cache_are_read_in_openai_s_form_of_another_vendor_s_usage() -> None:
    usage = read_usage({
        "prompt_tokens": 3010, "completion_tokens": 100, "total_tokens": 3110,
        "cache_creation_input_tokens": 1000, "cache_read_input_tokens": 2000,
        "prompt_tokens_details": {"cached_tokens": 2000,
                                  "cache_creation_token_details": {"ephemeral_1h_input_tokens": 1000}},
        "server_tool_use": {"web_search_requests": 2},
    })  # fmt: skip
    expected = Usage(3010, 100, cache_read_tokens=2000, cache_write_tokens=1000, cache_write_1h_tokens=1000)
    assert usage == Usage.from_json({**expected.to_json(), "web_searches": 2})
    grounded = {"web_search_requests": 3, "google_maps_grounding_requests": 1}
    usage = read_usage({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": grounded})
    assert usage == Usage(9, 1, web_searches=3, units=(("place_search", 1),))


def test_pictures_that_were_embedded_are_beside_the_text_where_they_are_more_than_it() -> None:
    assert read_usage({"billed_units": {"image_tokens": 1000, "input_tokens": 10}}) == Usage(
        1010, image_input_tokens=1000
    )
    assert read_usage({"billed_units": {"image_tokens": 10, "input_tokens": 30}}) == Usage(30, image_input_tokens=10)


def claude(*iterations: dict[str, Any], read: int, written: int, **extra: Any) -> dict[str, Any]:
    usage = {"input_tokens": read, "output_tokens": written, "iterations": list(iterations), **extra}
    return {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": usage}


def turn(read: int, written: int, kind: str = "message") -> dict[str, Any]:
    return {"type": kind, "input_tokens": read, "output_tokens": written}


def test_each_pass_is_billed_by_its_own_length() -> None:
    short = claude(turn(180_000, 3_500, "compaction"), turn(23_000, 1_000), read=23_000, written=1_000)
    cost, usage = charge("claude-sonnet-4-5", "anthropic", short)
    assert dollars(cost) == pytest.approx((203_000 * 3 + 4_500 * 15) / 1e6)
    assert Usage.from_json(usage.to_json()).passes == usage.passes
    long = claude(turn(90_000, 10), turn(210_000, 20), read=300_000, written=30, inference_geo="us",
                  server_tool_use={"web_search_requests": 2})  # fmt: skip
    expected = 1.1 * (90_000 * 3 + 10 * 15 + 210_000 * 6 + 20 * 22.5) / 1e6 + 2 * 0.01
    assert dollars(charge("claude-sonnet-4-5", "anthropic", long)[0]) == pytest.approx(expected)
    # Where the passes do not explain the whole, nobody knows how long each was.
    some = claude(turn(90_000, 10), turn(90_000, 20), read=300_000, written=30)
    assert dollars(charge("claude-sonnet-4-5", "anthropic", some)[0]) == pytest.approx((300_000 * 6 + 30 * 22.5) / 1e6)


def test_a_long_prompt_that_was_read_several_times_is_an_estimate_where_nobody_tells_how_often() -> None:
    blocks = [{"type": "server_tool_use", "id": "s1", "name": "web_search"}]
    assert with_billed_parts(Usage(300_000, 30), blocks, {}, {}, None).estimated
    assert not with_billed_parts(Usage(30_000, 30), blocks, {}, {}, None).estimated
    told = claude(turn(90_000, 10), turn(210_000, 20), read=300_000, written=30)
    assert not with_billed_parts(Usage(300_000, 30), blocks, {}, {"usage": told["usage"]}, None).estimated


def test_a_fee_of_a_request_is_billed_once_for_all_of_its_passes() -> None:
    sheet = {"claude-sonnet-4-5": {"input": "1", "output": "2", "request": "0.5", "above_1000": {"input": "3"}}}
    answer = claude(turn(900, 10), turn(1_200, 20), read=2_100, written=30)
    cost, _ = charge("claude-sonnet-4-5", "anthropic", answer, prices=sheet)
    assert dollars(cost) == pytest.approx((900 * 1 + 1_200 * 3 + 30 * 2) / 1e6 + 0.5)


def test_several_answers_of_one_call_are_billed_by_the_length_of_each() -> None:
    reports = ClientReports("google_genai")
    for _ in range(2):
        reports.add({"model": "gemini-2.5-pro", "usage": {"promptTokenCount": 150_000, "candidatesTokenCount": 10}})
    assert reports.usage is not None
    assert reports.usage.input_tokens == 300_000
    cost = priced(BOOK, Call("", "gemini-2.5-pro", 1_796_083_200, "google_genai"), reports.usage, None)
    assert dollars(cost) == pytest.approx((300_000 * 1.25 + 20 * 10) / 1e6)
