"""Which calls are sampled."""

from __future__ import annotations

import pytest

from costguard_core.routing.shadow.sampling import Shadow


def test_the_shadow_sample_is_of_its_size_steady_and_budgeted():
    shadow = Shadow(0.02, budget=1000)
    picked = [n for n in range(20_000) if shadow.wants(f"call-{n}")]
    assert len(picked) / 20_000 == pytest.approx(0.02, abs=0.004)
    assert shadow.wants(f"call-{picked[0]}", spent=900, cost=100)
    assert not shadow.wants(f"call-{picked[0]}", spent=901, cost=100)
    assert not Shadow(0.0).wants(f"call-{picked[0]}")
