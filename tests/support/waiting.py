"""Waiting for a condition, however long a busy machine takes for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

SAFETY_LIMIT = 60.0
"""Seconds after which a condition is taken for one that never becomes true. No test waits this long when it passes."""

_PAUSE = 0.005


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as ``condition()`` is true.

    Raises:
        AssertionError: it did not become true within :data:`SAFETY_LIMIT`.
    """
    deadline = time.monotonic() + SAFETY_LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"still not true after {SAFETY_LIMIT:.0f} s"
        time.sleep(_PAUSE)


async def async_wait_until(condition: Callable[[], object]) -> None:
    """:func:`wait_until` for an event loop, which stays free."""
    deadline = time.monotonic() + SAFETY_LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"still not true after {SAFETY_LIMIT:.0f} s"
        await asyncio.sleep(_PAUSE)
