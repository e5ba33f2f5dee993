"""Which requests are sampled, and when two answers agree."""

from __future__ import annotations

import pytest

from costguard_core.routing.shadow.agreement import Shadow, agreement


def test_the_shadow_sample_is_of_its_size_steady_and_budgeted():
    shadow = Shadow(0.02, budget=1000)
    picked = [n for n in range(20_000) if shadow.wants(f"call-{n}")]
    assert len(picked) / 20_000 == pytest.approx(0.02, abs=0.004)
    assert shadow.wants(f"call-{picked[0]}", spent=900, cost=100)
    assert not shadow.wants(f"call-{picked[0]}", spent=901, cost=100)
    assert not Shadow(0.0).wants(f"call-{picked[0]}")


def test_answers_agree_on_their_result_not_their_words():
    assert agreement("I counted: #### 72", "48 + 24 = 72, so the answer is 72.") == 1.0
    assert agreement("#### 72", "#### 71") == 0.0
    assert agreement("Paris.", "paris") == 1.0
