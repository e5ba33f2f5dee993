from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from costguard_core.counters.clock import SteadyClock

START = 1_800_000_000.0


class Sources:
    """A wall clock and a boot clock; the wall clock can be put wrong."""

    def __init__(self) -> None:
        self.ticks = 50.0
        self.error = 0.0
        self.clock = SteadyClock(wall=lambda: START + self.ticks - 50.0 + self.error, boot=lambda: self.ticks)

    def after(self, seconds: float) -> float:
        """What the clock says so many seconds later, relative to the start, when asked every second."""
        for _ in range(int(seconds)):
            self.ticks += 1.0
            self.clock()
        self.ticks += seconds - int(seconds)
        return self.clock() - START


def test_it_follows_real_time() -> None:
    before = time.time()
    now = SteadyClock()()
    assert before - 0.1 <= now <= time.time() + 0.1
    assert Sources().after(100.0) == 100.0


def test_a_jump_is_ignored_until_it_has_lasted_a_minute() -> None:
    for jump in (3600.0, -3600.0):
        sources = Sources()
        sources.after(10.0)
        sources.error = jump
        assert sources.after(60.0) == 70.0
        assert sources.after(5.0) == 75.0 + jump


def test_a_glitch_changes_nothing() -> None:
    sources = Sources()
    sources.error = -86_400.0
    assert sources.after(50.0) == 50.0
    sources.error = 0.0
    assert sources.after(100.0) == 150.0


def test_a_wall_clock_that_keeps_jumping_is_never_believed() -> None:
    sources = Sources()
    for number in range(10):
        sources.error = 100.0 * (number + 1)
        assert sources.after(30.0) == 30.0 * (number + 1)


def test_small_corrections_are_followed_and_backwards_ones_by_standing_still() -> None:
    sources = Sources()
    sources.error = 0.4
    assert abs(sources.after(2.0) - 2.4) < 1e-6
    sources.error = 0.1
    last = sources.clock() - START
    assert [sources.after(0.1) >= last for _ in range(20)] == [True] * 20
    assert abs(sources.after(2.0) - (sources.ticks - 50.0 + 0.1)) < 1e-6


def test_idle_time_does_not_count_as_patience() -> None:
    sources = Sources()
    sources.error = 3600.0
    sources.ticks += 1000.0  # nobody asked: the disagreement is first seen now
    assert sources.clock() - START == 1000.0


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from([0.0, 0.3, -0.3, 500.0, -500.0])), max_size=40))
def test_time_runs_backwards_only_where_a_large_correction_is_accepted(steps: list[tuple[float, float]]) -> None:
    sources = Sources()
    last, elapsed = sources.clock(), 0.0
    for seconds, error in steps:
        sources.error = error
        sources.ticks += seconds
        elapsed += seconds
        now = sources.clock()
        assert now >= last or last - now > 400.0
        if elapsed < 60.0:
            assert abs(now - START - elapsed) <= 0.61
        last = now
