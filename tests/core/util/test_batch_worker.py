"""The background worker: order, batches, bounds, failures, forks, periodic work and the end of its thread."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from python_process import run_python
from waiting import SAFETY_LIMIT, wait_until

from costguard_core.errors import CostGuardError
from costguard_core.util import batch_worker
from costguard_core.util.batch_worker import BatchWorker


class Switch:
    """A handler that fails or hangs as long as it is told to."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.broken = False
        self.free = threading.Event()
        self.free.set()

    def __call__(self, items: list[int]) -> None:
        self.free.wait()
        if self.broken:
            raise OSError("disk on fire")
        self.handled += items


def test_a_failing_handler_keeps_the_order_and_drops_the_newest_beyond_capacity() -> None:
    switch = Switch()
    worker = BatchWorker(switch, name="test", interval=0.0, capacity=10)
    switch.broken = True
    worker.put(0)
    wait_until(lambda: worker.errors > 0)
    for number in range(1, 15):
        worker.put(number)
    assert (worker.waiting, worker.dropped) == (10, 5)
    switch.broken = False
    assert worker.flush(SAFETY_LIMIT)
    assert switch.handled == list(range(10))
    worker.close()


def test_a_slow_handler_gives_back_pressure_before_anything_is_dropped() -> None:
    switch = Switch()
    worker = BatchWorker(switch, name="test", interval=0.0, batch=1, capacity=3, patience=SAFETY_LIMIT)
    switch.free.clear()
    for number in range(3):
        worker.put(number)
    with ThreadPoolExecutor(1) as pool:
        worker._hurry.clear()
        waiter = pool.submit(worker.put, 3)
        wait_until(worker._hurry.is_set)  # it asks the thread for room
        assert not waiter.done()
        switch.free.set()
        assert waiter.result()
    assert worker.flush(SAFETY_LIMIT)
    assert (switch.handled, worker.dropped) == ([0, 1, 2, 3], 0)
    worker.close()


def test_whoever_flushes_waits_for_a_slow_handler_and_gives_up_on_a_failing_one() -> None:
    switch = Switch()
    worker = BatchWorker(switch, name="test", interval=0.0)
    switch.free.clear()
    worker.put(1)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(worker.flush, SAFETY_LIMIT, while_failing=0.0)
        wait_until(worker._hurry.is_set)
        assert not waiter.done()
        switch.free.set()
        assert waiter.result()
    switch.broken = True
    worker.put(2)
    wait_until(lambda: worker.errors > 0)
    assert not worker.flush(SAFETY_LIMIT, while_failing=0.0)
    switch.broken = False
    assert worker.close(SAFETY_LIMIT)
    assert switch.handled == [1, 2]


def test_what_is_put_after_closing_is_dropped_and_counted() -> None:
    switch = Switch()
    worker = BatchWorker(switch, name="test")
    worker.put(1)
    assert worker.close()
    worker.put(2)
    assert (switch.handled, worker.dropped) == ([1], 1)
    assert worker.close()


def test_nothing_put_by_many_threads_is_lost_or_doubled(eager_threads: None) -> None:
    switch = Switch()
    worker = BatchWorker(switch, name="test", interval=0.001, batch=7)

    def put_all(n: int) -> None:
        for i in range(500):
            worker.put(1000 * n + i)

    threads = [threading.Thread(target=put_all, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.flush(SAFETY_LIMIT)
    assert sorted(switch.handled) == sorted(1000 * n + i for n in range(8) for i in range(500))
    worker.close()


def test_a_queue_that_was_never_used_starts_no_thread() -> None:
    before = threading.active_count()
    worker = BatchWorker(Switch(), name="test")
    assert worker.flush(SAFETY_LIMIT)
    assert threading.active_count() == before
    worker.close()


def test_an_item_that_fails_is_given_up_where_nothing_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def handle(items: list[int]) -> None:
        seen.extend(items)
        if items == [1]:
            raise ValueError("the prompt of somebody")

    worker = BatchWorker(handle, name="test", interval=0.0, batch=1, retry=False)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            worker.put(number)
        assert worker.flush(SAFETY_LIMIT)
    assert (seen, worker.errors, worker.waiting) == ([0, 1, 2], 1, 0)
    assert "ValueError" in caplog.text
    assert "prompt" not in caplog.text
    worker.close()


def test_the_text_of_our_own_errors_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def handle(items: list[int]) -> None:
        raise CostGuardError("the disk is full")

    worker = BatchWorker(handle, name="test", interval=0.0, retry=False)
    with caplog.at_level(logging.WARNING):
        worker.put(1)
        assert worker.flush(SAFETY_LIMIT)
    assert "the disk is full" in caplog.text
    worker.close()


def test_put_says_whether_the_item_was_taken() -> None:
    switch = Switch()
    switch.free.clear()
    worker = BatchWorker(switch, name="test", interval=0.0, batch=1, capacity=2, patience=0.0)
    assert [worker.put(number) for number in range(3)] == [True, True, False]
    switch.free.set()
    assert worker.close()
    assert worker.put(4) is False
    assert worker.dropped == 2


def test_a_handler_that_flushes_its_own_worker_does_not_wait_for_itself() -> None:
    answers: list[bool] = []
    worker: BatchWorker[int] = BatchWorker(
        lambda items: answers.append(worker.flush(timeout=60.0)), name="test", interval=0.0
    )
    worker.put(1)
    assert worker.flush(SAFETY_LIMIT)
    assert answers == [False]
    worker.close()


def test_periodic_work_goes_on_until_it_is_done_and_begins_again_when_woken() -> None:
    left = [3]
    times: list[int] = []

    def work() -> bool:
        left[0] -= 1
        times.append(left[0])
        return left[0] > 0

    worker: BatchWorker[int] = BatchWorker(lambda items: None, name="test", period=0.001, on_period=work)
    worker.wake()
    wait_until(lambda: times == [2, 1, 0])
    left[0] = 1
    worker.wake()
    wait_until(lambda: times == [2, 1, 0, 0])
    worker.close()


def test_periodic_work_survives_its_errors() -> None:
    calls: list[int] = []

    def work() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("gone")
        return False

    worker: BatchWorker[int] = BatchWorker(lambda items: None, name="test", period=0.001, on_period=work)
    worker.wake()
    wait_until(lambda: len(calls) == 2)
    assert worker.errors == 1
    worker.close()


def test_an_idle_thread_ends_and_the_next_item_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_worker, "_IDLE", 0.001)
    switch = Switch()
    worker = BatchWorker(switch, name="test-idle", interval=0.0)
    for number in range(50):
        worker.put(number)
        if number % 10 == 0:
            wait_until(lambda: not any(thread.name == "test-idle" for thread in threading.enumerate()))
    assert worker.flush(SAFETY_LIMIT)
    assert switch.handled == list(range(50))
    worker.close()


def test_nothing_is_lost_between_an_ending_thread_and_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_worker, "_IDLE", 0.0)
    switch = Switch()
    worker = BatchWorker(switch, name="test", interval=0.0)
    threads = [threading.Thread(target=lambda n=n: [worker.put(1000 * n + i) for i in range(300)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.flush(SAFETY_LIMIT)
    assert sorted(switch.handled) == sorted(1000 * n + i for n in range(4) for i in range(300))
    worker.close()


def test_a_worker_that_nobody_holds_is_collected_once_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_worker, "_IDLE", 0.001)
    worker = BatchWorker(Switch(), name="test-collected", interval=0.0)
    worker.put(1)
    assert worker.flush(SAFETY_LIMIT)
    gone = weakref.ref(worker)
    del worker

    def collected() -> bool:
        gc.collect()
        return gone() is None

    wait_until(collected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_repeats_nothing_and_has_a_worker_of_its_own() -> None:
    context = multiprocessing.get_context("fork")
    switch, told = Switch(), []
    worker = BatchWorker(switch, name="test", interval=0.0, on_fork=lambda: told.append(os.getpid()))
    worker.put(1)
    assert worker.flush(SAFETY_LIMIT)
    switch.free.clear()
    worker.put(2)
    queue = context.SimpleQueue()

    def child() -> None:
        inherited = list(switch.handled)
        switch.free.set()
        worker.put(3)
        queue.put((worker.flush(SAFETY_LIMIT), switch.handled[len(inherited) :], told == [os.getpid()]))

    process = context.Process(target=child)
    process.start()
    assert queue.get() == (True, [3], True)
    process.join()
    switch.free.set()
    assert worker.flush(SAFETY_LIMIT)
    assert (switch.handled, told) == ([1, 2], [])
    worker.close()


def test_what_is_queued_at_the_end_of_the_process_is_handled() -> None:
    code = (
        "from costguard_core.util.batch_worker import BatchWorker\n"
        "worker = BatchWorker(lambda items: print(*items), name='test', interval=60.0)\n"
        "worker.put(1); worker.put(2)"
    )
    done = run_python(code)
    assert done.stdout.split() == ["1", "2"]


def test_a_handler_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "from costguard_core.util import batch_worker\n"
        "import threading\n"
        "batch_worker._EXIT_TIMEOUT = 0.05\n"
        "workers = [batch_worker.BatchWorker(lambda items: threading.Event().wait(), name='test') for _ in range(3)]\n"
        "for worker in workers: worker.put(1)\n"
    )
    run_python(code)
