"""What thoughts cost at service tiers and in long prompts whose prices do not name them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from costguard_core import Call, CostGuard, Usage

AT = 1_795_132_800.0  # 2026-11-20


def cost(usage: Usage, model: str, provider: str, **options: Any) -> Decimal | None:
    guard = CostGuard(clock=lambda: AT, **options)
    call = Call(id=guard.new_id(), model=model, provider=provider, started=AT)
    return guard.after(guard.before(call), usage).usd


@pytest.mark.parametrize(("tier", "output"), [("priority", 18), ("flex", 4), ("batch", 5)])
def test_thoughts_that_cost_what_the_answer_costs_do_so_at_each_tier_and_length(tier: str, output: int) -> None:
    """At priority they were billed at the standard tier's price, which is too little; at flex at twice their price."""
    declared = {
        "input": "1",
        "output": "10",
        "reasoning": "10.00",
        "above_200000": {"input": "2", "output": "15"},
        tier: {"input": "1", "output": str(output), "above_200000": {"input": "1", "output": str(output)}},
    }
    used = {"input_tokens": 300_000, "output_tokens": 1_000_000, "reasoning_tokens": 900_000}
    prices = {"pensive": declared}
    assert cost(Usage(**used, tier=tier), "pensive", "openai", prices=prices) == Decimal("0.3") + output
    assert cost(Usage(**used), "pensive", "openai", prices=prices) == Decimal("0.6") + 15


def test_thoughts_with_a_price_of_their_own_keep_it_where_a_tier_says_nothing_of_them() -> None:
    usage = Usage(output_tokens=1_000_000, reasoning_tokens=1_000_000, tier="flex")
    prices = {"pensive": {"input": "1", "output": "10", "reasoning": "3", "flex": {"input": "1", "output": "5"}}}
    assert cost(usage, "pensive", "openai", prices=prices) == 3


@pytest.mark.parametrize("provider", ["google_genai", "google_vertexai"])
@pytest.mark.parametrize("tier", ["priority", "flex", "batch", None])
@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-flash-lite"])
def test_thoughts_of_gemini_cost_what_its_answers_cost(model: str, tier: str | None, provider: str) -> None:
    """https://ai.google.dev/gemini-api/docs/pricing: the price of output includes thinking tokens."""
    thought = cost(Usage(output_tokens=1_000_000, reasoning_tokens=900_000, tier=tier), model, provider)
    assert thought == cost(Usage(output_tokens=1_000_000, tier=tier), model, provider)


@pytest.mark.parametrize(
    ("model", "tier", "is_estimate"),
    [
        ("gemini-3-pro-image", "priority", True),
        ("gemini-3-pro-image", None, False),
        ("gemini-3.5-flash", "flex", True),
        ("gemini-2.5-flash", "priority", False),
    ],
)
def test_pictures_and_sound_that_a_tier_has_no_price_of_are_marked(
    model: str, tier: str | None, is_estimate: bool
) -> None:
    """The list has their standard price alone, and nobody knows by what the tier multiplies it."""
    guard = CostGuard(clock=lambda: AT)
    call = Call(id=guard.new_id(), model=model, provider="google_genai", started=AT, tier=tier)
    usage = Usage(input_tokens=1_000, output_tokens=1_000, tier=tier)
    charge = guard.after(guard.before(call), usage)
    assert (charge.priced_by == "estimate") is is_estimate
