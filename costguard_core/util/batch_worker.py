"""The one background worker: a bounded queue and a daemon thread that handles what is in it, in batches.

The ledger writes through it, the webhook sends through it, and whatever else must not hold up a caller goes through it.
The thread starts with the first item and ends after ten idle seconds, so that a worker that nobody uses any more costs
nothing and can be collected.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from costguard_core.errors import CostGuardError
from costguard_core.util.forks import after_fork, before_fork
from costguard_core.util.live_objects import LiveObjects

T = TypeVar("T")
_log = logging.getLogger(__name__)

# All in seconds, and choices: short enough that a database that comes back is used at once, long enough that one that
# is down is not hammered; one warning a minute, because a broken disk must not fill another one.
_FIRST_RETRY, _LAST_RETRY = 0.1, 5.0
_LOG_PERIOD = 60.0
_IDLE = 10.0
_EXIT_TIMEOUT = 5.0  # all workers of a process together
_FORK_TIMEOUT = 1.0
_LOOK_PERIOD = 0.05  # of somebody who waits, at whether it is in vain


class _Marker(threading.Event):
    """Travels through the queue behind what was put before it; set once all of that has been handled."""


class _Stop(_Marker):
    """A marker after which the thread ends."""


class BatchWorker(Generic[T]):
    """Hands items to ``handle`` in batches, in the order in which they were put, in a thread of its own.

    A forked child starts with an empty queue and no thread, so that it never repeats what its parent will handle. What
    is queued when the process ends is handled then, for at most 5 s for all workers together.

    Args:
        handle: what to do with a batch. It is called by one thread at a time.
        name: of the thread and in the log.
        interval: seconds for which the first item of a batch may wait for others; 0: handle it at once.
        batch: the most items of one call of ``handle``.
        capacity: the most items that wait. One more is dropped, counted and logged.
        patience: seconds for which ``put`` waits for room where ``handle`` is merely slow, before it drops the item.
        retry: what happens when ``handle`` raises: the batch is tried again (after 0.1 s, doubling to 5 s) before any
            other, or, with ``False``, it is given up. Either is counted in ``errors`` and logged once a minute.
        period: seconds between two calls of ``on_period`` in the same thread.
        on_period: work to repeat for as long as it returns true. It begins (again) with the next ``put`` or ``wake``;
            an error counts as true, so that the work goes on.
        on_fork: called in a forked child, after the queue was emptied.
        clock: seconds that only run forward.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], None],
        *,
        name: str,
        interval: float = 0.2,
        batch: int = 500,
        capacity: int = 100_000,
        patience: float = 0.02,
        retry: bool = True,
        period: float | None = None,
        on_period: Callable[[], bool] | None = None,
        on_fork: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle, self._name, self._on_fork, self._clock = handle, name, on_fork, clock
        self._interval, self._batch, self._capacity, self._patience = interval, batch, capacity, patience
        self._retry, self._period, self._on_period = retry, period, on_period
        self.dropped = 0
        """Items that found no room, or the worker closed."""
        self.errors = 0
        """How often ``handle`` or ``on_period`` raised."""
        self._closed = False
        self._reset()
        _WORKERS.add(self, None)
        before_fork(self, "_before_fork")
        after_fork(self, "_after_fork")

    def _reset(self) -> None:
        self._queue: SimpleQueue[T | _Marker] = SimpleQueue()
        self._backlog: list[T] = []
        self._markers: list[_Marker] = []
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = self._repeating = False
        self._next_log: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """How many items have not been handled yet."""
        return self._queue.qsize() + len(self._backlog)

    def put(self, item: T) -> bool:
        """Queue one item; ``False`` if it was dropped. Never raises; well under a microsecond while there is room."""
        queued = self._queue.qsize() + len(self._backlog)
        if self._closed or (queued >= self._capacity and not self._wait_for_room()):
            self._drop()
            return False
        self._queue.put(item)
        if self._thread is None:
            self._start()
        elif queued >= self._batch and not self._failing and not self._hurry.is_set():
            self._hurry.set()
        return True

    def wake(self) -> None:
        """Begin to call ``on_period``, if that is not being done."""
        if not (self._closed or self._repeating):
            self._queue.put(_Marker())
            if self._thread is None:
                self._start()

    def flush(self, timeout: float = 5.0, *, while_failing: float | None = None) -> bool:
        """Wait until everything put so far has been handled; ``False`` if that took longer than ``timeout`` seconds,
        or, where ``handle`` raises meanwhile, than ``while_failing`` seconds."""
        return self._send(_Marker(), timeout, timeout if while_failing is None else while_failing)

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, end the thread, and drop what is put from now on. ``False`` if something was left unhandled."""
        if self._closed:
            return True
        done = self._send(_Stop(), timeout, timeout)
        self._closed = True
        left = self.waiting - (not done)  # without the marker
        if left:
            self._drop(left)
        return done

    def _send(self, marker: _Marker, timeout: float, while_failing: float) -> bool:
        if self._closed or (self._thread is None and not self.waiting):
            return True
        if threading.current_thread() is self._thread:  # asked by ``handle`` itself, which would wait for its own end
            return False
        self._queue.put(marker)
        if self._thread is None and not self._start():
            self._handle_queued()
            return not self._backlog
        self._hurry.set()
        started = time.monotonic()
        while not marker.wait(min(timeout, _LOOK_PERIOD)):
            if time.monotonic() - started >= (while_failing if self._failing else timeout):
                return False
        return True

    def _wait_for_room(self) -> bool:
        deadline = self._clock() + self._patience
        while not self._failing and self._clock() < deadline:
            self._hurry.set()
            time.sleep(0.001)
            if self.waiting < self._capacity:
                return True
        return False

    def _drop(self, count: int = 1) -> None:
        self.dropped += count
        reason = "it is closed" if self._closed else f"{self._capacity} are already waiting"
        self._warn("dropped", "%s: dropped %d so far, because %s", self.dropped, reason)

    def _start(self) -> bool:
        """Have a thread running. ``False``: the interpreter is shutting down, where none can be started."""
        # Whoever holds the lock has a thread running, or is about to, that looks at the queue after this.
        if not self._starting.acquire(blocking=False):
            return True
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None
                    return False
                _flush_at_process_exit()
            return True
        finally:
            self._starting.release()

    def _run(self) -> None:
        period = self._period
        due = None if period is None else self._clock() + period
        while True:
            try:
                first = self._queue.get(timeout=_IDLE if due is None else max(0.0, due - self._clock()))
            except Empty:
                if due is None and self._end():
                    return
            else:
                self._take(first)
                if self._interval and self._queue.qsize() < self._batch:
                    self._hurry.wait(self._interval)
                self._hurry.clear()
                self._handle_queued()
                if self._release():
                    return
                if due is None and period is not None:
                    due, self._repeating = self._clock() + period, True
            if due is not None and period is not None and self._clock() >= due:
                due = self._clock() + period if self._repeat() else None

    def _end(self) -> bool:
        """Give up being the thread, unless something was put meanwhile. Whoever puts after this starts another."""
        self._thread = None
        if self._queue.empty():
            return True
        with self._starting:
            if self._thread is not None:
                return True
            self._thread = threading.current_thread()
            return False

    def _handle_queued(self) -> None:
        """Handle all that is queued, however often it takes."""
        delay = _FIRST_RETRY
        self._drain()
        while self._backlog:
            if self._attempt():
                delay = _FIRST_RETRY
                continue
            if self._thread is None or self._closed:  # nobody would wait for a second try
                return
            self._hurry.wait(delay)
            self._hurry.clear()
            delay = min(2 * delay, _LAST_RETRY)
        self._failing = False

    def _attempt(self) -> bool:
        try:
            self._handle(self._backlog[: self._batch])
        except Exception as error:
            self._failing = self._retry
            left = f"{self.waiting} waiting, trying again" if self._retry else "given up, and only counted for a minute"
            self._warn("failed", "%s: %s; %s", _text(error), left)
            self.errors += 1  # last: whoever waits for it finds the rest
            if self._retry:
                return False
        del self._backlog[: self._batch]
        return True

    def _repeat(self) -> bool:
        assert self._on_period is not None
        self._repeating = False  # before it looks: whoever has new work for it after this wakes it
        try:
            self._repeating = self._on_period()
        except Exception as error:
            self.errors += 1
            self._warn("period", "%s: %s; goes on", _text(error))
            self._repeating = True
        return self._repeating

    def _drain(self) -> None:
        for _ in range(self._queue.qsize()):
            try:
                self._take(self._queue.get_nowait())
            except Empty:
                return

    def _take(self, item: T | _Marker) -> None:
        if isinstance(item, _Marker):
            self._markers.append(item)
        else:
            self._backlog.append(item)

    def _release(self) -> bool:
        """Tell those who wait that what they put was handled. Whether one of them asked the thread to end."""
        markers, self._markers = self._markers, []
        for marker in markers:
            marker.set()
        return any(isinstance(marker, _Stop) for marker in markers)

    def _warn(self, kind: str, message: str, *values: object) -> None:
        now = self._clock()
        if now >= self._next_log.get(kind, now):
            self._next_log[kind] = now + _LOG_PERIOD
            _log.warning(message, self._name, *values)

    def _before_fork(self) -> None:
        # So that the child is not made while the thread is inside a library whose locks the child would inherit.
        if not self._failing:
            self.flush(timeout=_FORK_TIMEOUT)

    def _after_fork(self) -> None:
        self._reset()
        if self._on_fork is not None:
            self._on_fork()


_WORKERS: LiveObjects[BatchWorker[Any], None] = LiveObjects()
_hooked: set[int] = set()  # processes whose multiprocessing finalizer is registered


def _text(error: Exception) -> str:
    """What may be logged of an error: those of others may quote a prompt or a key."""
    return str(error) if isinstance(error, CostGuardError) else type(error).__name__


def _flush_all() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for worker, _ in _WORKERS:
        worker.flush(max(0.0, deadline - time.monotonic()))


def _flush_at_process_exit() -> None:
    # A forked multiprocessing child ends with os._exit: it runs multiprocessing's finalizers, but no atexit hooks.
    if os.getpid() not in _hooked and (util := sys.modules.get("multiprocessing.util")):
        _hooked.add(os.getpid())
        util.Finalize(None, _flush_all, exitpriority=100)
    # A child of Celery's pool runs neither, and gets SIGTERM as soon as it has said that it ends; before that it sends
    # https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-shutdown
    if signals := sys.modules.get("celery.signals"):
        signals.worker_process_shutdown.connect(_flush_at_celery_exit, dispatch_uid="costguard-flush", weak=False)


def _flush_at_celery_exit(**_: object) -> None:
    _flush_all()


atexit.register(_flush_all)
