"""What it costs to leave a model whose prompt cache is warm."""

from __future__ import annotations

import pytest

from costguard_core.routing import TierPrice, switch_price

SONNET = TierPrice(3_000_000_000, 15_000_000_000, cached=300_000_000, write=3_750_000_000)
HAIKU = TierPrice(1_000_000_000, 5_000_000_000, cached=100_000_000, write=1_250_000_000)


@pytest.mark.parametrize(("prefix", "percent", "payback"), [(1_000, -46, 1), (20_000, 138, None), (50_000, 217, None)])
def test_the_price_of_leaving_a_warm_model(prefix, percent, payback):
    switch = switch_price(SONNET, HAIKU, prefix_tokens=prefix, input_tokens=200, output_tokens=300)
    assert round(100 * (switch.move - switch.stay) / switch.stay) == pytest.approx(percent, abs=3)
    assert switch.worth_it == (percent < 0)
    if payback:
        assert switch.payback_turns == payback
    else:
        turns = switch.payback_turns
        long = switch_price(SONNET, HAIKU, prefix_tokens=prefix, input_tokens=200, output_tokens=300, turns=turns)
        short = switch_price(SONNET, HAIKU, prefix_tokens=prefix, input_tokens=200, output_tokens=300, turns=turns - 1)
        assert long.worth_it
        assert not short.worth_it


def test_moving_to_a_dearer_model_never_pays_back():
    switch = switch_price(HAIKU, SONNET, prefix_tokens=1000, input_tokens=10, output_tokens=10)
    assert switch.payback_turns is None
