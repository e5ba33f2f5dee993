"""A wall clock that does not jump, for counters whose windows are wall time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

_TOLERANCE = 0.5  # seconds; what slewing and reading two clocks one after the other can explain
_CHECK_EVERY = 1.0


def _since_boot() -> Callable[[], float]:
    """A clock that only runs forward; on Linux one that also counts the time a machine was suspended."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return time.monotonic
    return partial(time.clock_gettime, boot)


class _Anchor(NamedTuple):
    offset: float  # wall time minus time since boot
    floor: float  # never answer less than this
    check_at: float  # time since boot


class SteadyClock:
    """Unix seconds that advance with the machine's boot clock, so that a wall clock that jumps moves no window.

    Once a second (when asked) it compares itself with the wall clock:

    - A disagreement of up to half a second is followed at once; backwards by standing still.
    - A larger one is ignored at first. If it is still there after ``patience`` seconds (and has not changed meanwhile)
      it is accepted in one step, which is the only moment at which time may run backwards. So a glitch neither frees
      spent budget nor freezes it, and a machine that booted with a wrong clock recovers.

    ``wall`` and ``boot`` are the two sources (seconds), injectable for tests. Threads may share a clock.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._wall = wall
        self._boot = boot or _since_boot()
        self._patience = patience
        self._doubt: tuple[float, float] | None = None  # the other offset, and when it was first seen
        self._checking = threading.Lock()
        ticks = self._boot()
        self._anchor = _Anchor(wall() - ticks, 0.0, ticks + _CHECK_EVERY)

    def __call__(self) -> float:
        ticks = self._boot()
        offset, floor, check_at = self._anchor
        if ticks >= check_at and self._checking.acquire(blocking=False):
            try:
                offset, floor, _ = self._anchor = self._compared(ticks)
            finally:
                self._checking.release()
        now = ticks + offset
        return max(now, floor)

    def _compared(self, ticks: float) -> _Anchor:
        offset, floor, _ = self._anchor
        seen = self._wall() - ticks
        check_at = ticks + _CHECK_EVERY
        if abs(seen - offset) <= _TOLERANCE:
            self._doubt = None
            return _Anchor(seen, max(floor, ticks + offset), check_at)
        if self._doubt is None or abs(seen - self._doubt[0]) > _TOLERANCE:
            self._doubt = (seen, ticks)
        elif ticks - self._doubt[1] >= self._patience:
            self._doubt = None
            return _Anchor(seen, 0.0, check_at)
        return _Anchor(offset, floor, check_at)
