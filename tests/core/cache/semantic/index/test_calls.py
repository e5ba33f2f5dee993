"""Calls of an index on an event loop: cancelled at any moment."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from costguard_core.cache.semantic.index.calls import IndexCalls


class OneResult(ThreadPoolExecutor):
    """Has one result for all work, which the test sets."""

    def __init__(self) -> None:
        super().__init__(1)
        self.result: Future[str] = Future()

    def submit(self, *_: object, **__: object) -> Future[str]:  # type: ignore[override]
        return self.result


def test_a_cancellation_is_not_lost_where_the_result_comes_at_the_same_moment() -> None:
    calls = IndexCalls(timeout=60, remote=True, on_failure=lambda: None)
    calls.close()
    calls._threads = threads = OneResult()

    async def run() -> None:
        searching = asyncio.create_task(calls.arun_in_time(lambda: "found"))
        await asyncio.sleep(0)
        threads.result.set_result("found")
        await asyncio.sleep(0)  # the result has come, and the task has not seen it
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching

    asyncio.run(run())
