"""Waiting for a condition, however long a busy machine takes for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

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
    """:func:`wait_until` for an event loop, which stays free. The condition may be a coroutine function."""
    deadline = time.monotonic() + SAFETY_LIMIT
    while not (await found if isinstance(found := condition(), Awaitable) else found):
        assert time.monotonic() < deadline, f"still not true after {SAFETY_LIMIT:.0f} s"
        await asyncio.sleep(_PAUSE)


def takes_less_than(seconds: float, action: Callable[[], object]) -> None:
    """Assert that ``action`` can be over in less than ``seconds`` of wall time, for promises that are made in seconds.

    It is repeated until it was: a busy machine delays one run, but never every run of a minute; a defect does.

    Raises:
        AssertionError: it took longer each time within :data:`SAFETY_LIMIT`.
    """
    deadline = time.monotonic() + SAFETY_LIMIT
    while True:
        started = time.monotonic()
        action()
        took = time.monotonic() - started
        if took < seconds:
            return
        assert time.monotonic() < deadline, f"takes {took:.2f} s, never less than {seconds:g} s"
