"""Calls that wait for room: woken by a change, given up at their time, and cancelled at any moment."""

from __future__ import annotations

import asyncio

import pytest

from costguard_core.counters.waiters import Waiters


def test_a_cancellation_is_not_lost_where_a_limit_is_raised_at_the_same_moment() -> None:
    waiters = Waiters()

    async def run() -> None:
        waiting = asyncio.create_task(waiters.await_change(0, 60.0))
        while not waiters._waiting:
            await asyncio.sleep(0)
        waiters.wake()
        await asyncio.sleep(0)  # the change has come, and the task has not seen it
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    assert not waiters._waiting


def test_whoever_was_cancelled_or_gave_up_is_forgotten() -> None:
    waiters = Waiters()

    async def run() -> None:
        waiting = asyncio.create_task(waiters.await_change(0, 60.0))
        while not waiters._waiting:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not waiters._waiting
        assert await waiters.await_change(0, 0.0) is False

    asyncio.run(run())
    assert waiters.wait(0, 0.0) is False
    assert not waiters._waiting
    waiters.wake()
    assert waiters.wait(0, 60.0) is True
