"""The tests' own tools: what they promise to every other test."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cpu_limit import CpuLimitExceeded, cpu_limit
from waiting import async_wait_until, wait_until


class Suppressed(UserWarning):
    """A warning that some threads ignore on purpose."""


@pytest.fixture
def threads() -> Any:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python can do it itself: -X context_aware_warnings")
class TestWarningFiltersOfThreads:
    def test_a_block_that_ends_in_one_thread_takes_no_filter_from_another(self, threads: ThreadPoolExecutor) -> None:
        """The order that made LangChain's suppressed warnings into errors."""
        outer, inner, ignoring = threading.Event(), threading.Event(), threading.Event()

        def ignores() -> None:
            with warnings.catch_warnings():
                outer.set()
                assert inner.wait(60)
                warnings.simplefilter("ignore", Suppressed)
                ignoring.set()
                assert left.wait(60)
                warnings.warn("nobody should see this", Suppressed, stacklevel=1)

        def comes_and_goes() -> None:
            assert outer.wait(60)
            with warnings.catch_warnings():
                inner.set()
                assert ignoring.wait(60)
            left.set()

        left = threading.Event()
        for done in [threads.submit(ignores), threads.submit(comes_and_goes)]:
            done.result(60)

    def test_the_main_threads_filters_hold_whatever_threads_do(self, threads: ThreadPoolExecutor) -> None:
        entered, leave = threading.Event(), threading.Event()

        def ignores() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                entered.set()
                assert leave.wait(60)

        ignoring = threads.submit(ignores)
        assert entered.wait(60)
        with pytest.raises(Suppressed):
            warnings.warn("an error here", Suppressed, stacklevel=1)
        with pytest.warns(Suppressed):
            leave.set()
            ignoring.result(60)
            warnings.warn("recorded here", Suppressed, stacklevel=1)

    def test_a_thread_without_filters_of_its_own_has_the_main_threads(self, threads: ThreadPoolExecutor) -> None:
        def warn() -> None:
            warnings.warn("an error in every thread", Suppressed, stacklevel=1)

        def warn_after_a_block() -> None:
            with warnings.catch_warnings():
                warnings.resetwarnings()
                warnings.simplefilter("ignore")
                warn()
            warn()

        for action in (warn, warn_after_a_block):
            with pytest.raises(Suppressed):
                threads.submit(action).result(60)

    def test_a_thread_records_its_own_warnings(self, threads: ThreadPoolExecutor) -> None:
        def record() -> list[str]:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                warnings.warn("first", Suppressed, stacklevel=1)
            return [str(warning.message) for warning in seen]

        assert threads.submit(record).result(60) == ["first"]


def test_a_condition_is_waited_for() -> None:
    answers = iter([False, False, True])
    wait_until(lambda: next(answers))


async def test_a_condition_is_waited_for_in_a_loop() -> None:
    answers = iter([False, False, True])
    await async_wait_until(lambda: next(answers))


def _backtrack() -> None:
    re.match(r"(?:a|a)+b", "a" * 60)


def _loop() -> None:
    while True:
        pass


@pytest.mark.parametrize("endless", [_backtrack, _loop])
def test_endless_computing_is_interrupted(endless: Callable[[], None]) -> None:
    with pytest.raises(CpuLimitExceeded), cpu_limit(0.05):
        endless()
