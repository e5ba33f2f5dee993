"""What is held for pictures, for fees of tools that the provider runs, and for models that draw."""

from __future__ import annotations

from typing import Any

import pytest

from costguard_core import Call, CostGuard, SpendLimitExceeded, Usage
from costguard_core.budgets.estimates import Assumptions, affordable_output, assumed_usage, output_bound, worst_amounts
from costguard_core.lifecycle.calls import chat_call
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import priced
from costguard_core.types import Attribution, ModelUsage
from costguard_core.usage.media import Media, media_tokens
from costguard_core.usage.parameters import Known
from costguard_core.usage.server_tools import server_tools
from costguard_core.usage.token_counter import ReadPrompt

AT = 1_796_083_200.0
PICTURE = Media("image", None)


def asked(
    model: str, tools: list[dict[str, Any]], *, budget: str = "$100/call", media: tuple[Media, ...] = (), **params: Any
) -> tuple[Call, CostGuard]:
    """A call with 100 tokens of an answer, and the guard that counted it."""
    guard = CostGuard(budgets=[budget], prices=params.pop("prices", None), clock=lambda: AT)
    prompt = ReadPrompt([("user", "draw a house")], ["user", "draw a house"], media)
    given = {"max_tokens": 100, "tools": tools, **params}
    return chat_call(guard, prompt, Known(model, "openai"), given, Attribution()), guard


def held(call: Call, guard: CostGuard) -> float:
    output = output_bound(call, Assumptions(), 0)
    return worst_amounts(call, output, guard.prices, money=True)["usd"] / 1e9


def test_pictures_are_held_at_a_price_of_their_own() -> None:
    sheet = {"m": {"input": "1", "image_input": "100", "video_input": "50", "output": "1"}}
    call, guard = asked("m", [], media=(PICTURE,), prices=sheet)
    tokens = media_tokens(PICTURE, "m", "openai").bound
    billed = Usage(call.input_tokens or 0, 100, image_input_tokens=tokens)
    cost = priced(guard.prices, call, billed).nanos
    assert cost is not None
    assert tokens * 100e-6 < cost / 1e9 <= held(call, guard) <= 1.1 * cost / 1e9
    plain, guard = asked("m", [], prices=sheet)
    assert held(plain, guard) < 0.001


def test_a_model_that_draws_is_held_at_its_own_price() -> None:
    tool = {"type": "image_generation", "quality": "high", "size": "1536x1024"}
    call, guard = asked("gpt-5-nano", [tool], max_tool_calls=1)
    drawn = 6_208 * 40e-6  # a picture of gpt-image-1 at this quality
    assert drawn <= held(call, guard) <= 1.3 * drawn
    several, guard = asked("gpt-5-nano", [tool], max_tool_calls=3)
    assert 3 * drawn <= held(several, guard)
    low, guard = asked("gpt-5-nano", [{**tool, "quality": "low", "size": "1024x1024"}], max_tool_calls=1)
    assert 272 * 40e-6 <= held(low, guard) <= 0.07
    assert worst_amounts(call, 100, guard.prices, money=True)["tokens"] >= 6_208 + 100
    assert server_tools("gpt-5", "openai", {"tools": [{**tool, "model": "gpt-image-1-mini"}]}).pictures == (
        ("gpt-image-1-mini", 62_400),
    )


def test_a_picture_that_a_cap_does_not_pay_for_is_not_asked_for() -> None:
    tool = {"type": "image_generation"}
    call, guard = asked("gpt-5-nano", [tool], budget="$0.10/call", max_tool_calls=1)
    with pytest.raises(SpendLimitExceeded, match="max_tool_calls"):
        guard.before(call)
    call, guard = asked("gpt-5-nano", [tool], budget="$0.40/call", max_tool_calls=1)
    guard.before(call)


def test_fees_by_the_piece_are_held() -> None:
    sheet = {"m": {"input": "1", "output": "1", "file_search": "0.5", "code_session": "3"}}
    call, guard = asked("m", [{"type": "file_search"}, {"type": "code_interpreter"}], max_tool_calls=2, prices=sheet)
    assert call.tool_pieces == (("file_search", 2), ("code_session", 1))
    assert 4 <= held(call, guard) <= 4.3
    # Less is left for the answer, and what has no price is in no bill either.
    assert 700_000 <= affordable_output(call, "usd", 5_000_000_000, guard.prices) <= 1_000_000
    unpriced, guard = asked("gpt-5-nano", [{"type": "code_interpreter"}], max_tool_calls=1)
    assert held(unpriced, guard) < 0.001


def test_preview_searches_are_held_at_their_own_price() -> None:
    tool = {"type": "web_search_preview"}
    call, guard = asked("gpt-4o-mini", [tool], max_tool_calls=4)
    assert held(call, guard) >= 4 * 0.025
    assert server_tools("gpt-5-mini", "openai", {"tools": [tool]}).pieces == ()
    assert server_tools("gemini-2.5-flash", "google", {"tools": [{"google_maps": {}}]}).pieces == (
        ("place_search", 10),
    )


def test_a_call_that_nobody_heard_of_again_is_charged_for_what_was_held() -> None:
    book = PriceBook()
    call = Call("c", "gpt-5-nano", AT, "openai", tool_pictures=(("gpt-image-1", 6_240),), visual_tokens=70)
    usage = assumed_usage(call, 100, 50)
    assert usage.image_input_tokens == 70
    assert usage.others == (ModelUsage("gpt-image-1", Usage(5_000, 6_240, image_output_tokens=6_240)),)
    cost = priced(book, call, usage).nanos
    assert cost is not None
    assert cost / 1e9 >= 6_240 * 40e-6
