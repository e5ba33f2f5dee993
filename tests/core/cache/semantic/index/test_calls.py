"""Calls of an index: cancelled at any moment, and given up for a while when they fail."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from costguard_core import ConfigurationError
from costguard_core.cache.semantic.index.base import IndexUnavailable
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


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("error", [ConfigurationError("install pgvector"), OSError("refused")])
async def test_a_failure_is_not_repeated_by_each_call(error: Exception, remote: bool) -> None:
    attempts: list[None] = []
    failures: list[None] = []

    def work() -> None:
        attempts.append(None)
        raise error

    calls = IndexCalls(timeout=60, remote=remote, on_failure=lambda: failures.append(None))
    calls._pause = 3_600.0
    expected = ConfigurationError if isinstance(error, ConfigurationError) else IndexUnavailable
    for call in (calls.run_in_time, calls.run):
        with pytest.raises(expected):
            call(work)
    with pytest.raises(expected):
        await calls.arun_in_time(work)
    assert (len(attempts), len(failures)) == (1, 1)
    calls.close()
