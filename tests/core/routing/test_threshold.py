"""The rolling threshold of a share, against sorting the whole window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from costguard_core.routing.threshold import RankedScore, RollingCut


@given(st.lists(st.floats(allow_nan=False), max_size=60), st.integers(1, 20))
def test_the_window_is_what_a_sort_says(scores, window):
    cut = RollingCut(window=window)
    for place, score in enumerate(scores):
        cut.add(RankedScore(score, place))
    recent = sorted(scores[-window:])
    assert len(cut) == len(recent)
    if recent:
        assert cut.above(0.0) == recent[-1]
        assert cut.above(1.0) == recent[0]
        assert cut.rank(RankedScore(recent[-1], 10**9)) == 1.0
