"""One daemon thread that takes items off the caller's hands and handles them in batches.

The ledger writes through it and the webhook sends through it. The caller never waits for the handler and never sees its
errors. Nothing runs while nothing is queued.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FIRST_RETRY, _LAST_RETRY = 0.1, 5.0
_LOG_PERIOD = 60.0


class _Marker(threading.Event):
    """Travels through the queue behind what was put before it; set once all of that has been handled."""


class _Stop(_Marker):
    """A marker after which the thread ends."""


class Background(Generic[T]):
    """Hand items to ``handle`` in batches of at most ``batch``, at most ``interval`` seconds after they were put.

    When ``handle`` raises, the batch is kept and tried again (after 0.1 s, doubling to 5 s), in order. At most
    ``capacity`` items wait: when they do and the handler is merely slow, ``put`` waits up to ``patience`` seconds for
    room; when it is failing, or there still is no room, the new item is dropped, counted and logged.

    A forked child starts with an empty queue, so that it never repeats what its parent will handle. What is queued is
    handled at interpreter exit.
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
        on_fork: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle, self._name, self._on_fork, self._clock = handle, name, on_fork, clock
        self._interval, self._batch, self._capacity, self._patience = interval, batch, capacity, patience
        self.dropped = 0
        self.errors = 0
        self._closed = False
        self._fresh()
        self._exit = _at_exit(self)
        _at_fork(self)

    def _fresh(self) -> None:
        self._queue: SimpleQueue[T | _Marker] = SimpleQueue()
        self._backlog: list[T] = []
        self._markers: list[_Marker] = []
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing = False
        self._next_log: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """How many items have not been handled yet."""
        return self._queue.qsize() + len(self._backlog)

    def put(self, item: T) -> None:
        """Queue one item; never raises. Well under a microsecond while there is room."""
        queued = self._queue.qsize() + len(self._backlog)
        if self._closed or (queued >= self._capacity and not self._room()):
            return self._drop()
        self._queue.put(item)
        if self._thread is None:
            self._start()
        elif queued >= self._batch and not self._failing and not self._hurry.is_set():
            self._hurry.set()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything put so far has been handled; ``False`` if that took longer than ``timeout`` seconds."""
        return self._send(_Marker(), timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, end the thread, and drop what is put from now on. ``False`` if something was left unhandled."""
        if self._closed:
            return True
        done = self._send(_Stop(), timeout)
        self._closed = True
        atexit.unregister(self._exit)
        if not done:
            self._drop(self.waiting)
        return done

    def _send(self, marker: _Marker, timeout: float) -> bool:
        if self._closed or (self._thread is None and not self.waiting):
            return True
        self._queue.put(marker)
        if self._thread is None and not self._start():
            self._cycle()
            return not self._backlog
        self._hurry.set()
        return marker.wait(timeout)

    def _room(self) -> bool:
        deadline = self._clock() + self._patience
        while not self._failing and self._clock() < deadline:
            self._hurry.set()
            time.sleep(0.001)
            if self.waiting < self._capacity:
                return True
        return False

    def _drop(self, count: int = 1) -> None:
        self.dropped += count
        self._log("dropped", "%s: dropped %d so far, because %s", self.dropped, self._why())

    def _why(self) -> str:
        return "it is closed" if self._closed else f"{self._capacity} are already waiting"

    def _start(self) -> bool:
        with self._starting:
            if self._thread is not None:
                return True
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down: the exit hook handles the queue itself
                return False
            self._thread = thread
            _at_process_exit(self._exit)
        return True

    def _run(self) -> None:
        while not any(isinstance(marker, _Stop) for marker in self._markers):
            self._release()
            first = self._queue.get()
            if self._queue.qsize() < self._batch:
                self._hurry.wait(self._interval)
            self._hurry.clear()
            self._take(first)
            self._cycle()
        self._release()

    def _cycle(self) -> None:
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
            self.errors += 1
            self._failing = True
            self._log("failed", "%s: %s; %d waiting, trying again", error, self.waiting)
            return False
        del self._backlog[: self._batch]
        return True

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

    def _release(self) -> None:
        for marker in self._markers:
            marker.set()
        self._markers.clear()

    def _log(self, kind: str, message: str, *values: object) -> None:
        """Log the first of its kind, then at most one a minute: a broken disk must not fill another one."""
        now = self._clock()
        if now >= self._next_log.get(kind, now):
            self._next_log[kind] = now + _LOG_PERIOD
            _log.warning(message, self._name, *values)

    def _before_fork(self) -> None:
        if not self._failing:
            self.flush(timeout=1.0)

    def _after_fork(self) -> None:
        self._fresh()
        if self._on_fork is not None:
            self._on_fork()


def _at_exit(background: Background[T]) -> Callable[[], None]:
    reference = weakref.ref(background)

    def flush() -> None:
        if (alive := reference()) is not None:
            alive.flush()

    atexit.register(flush)
    return flush


def _at_process_exit(flush: Callable[[], None]) -> None:
    # A forked multiprocessing child ends with os._exit: it runs multiprocessing's finalizers, but no atexit hooks.
    if util := sys.modules.get("multiprocessing.util"):
        util.Finalize(None, flush, exitpriority=100)


def _at_fork(background: Background[T]) -> None:
    if not hasattr(os, "register_at_fork"):
        return
    before = weakref.WeakMethod(background._before_fork)
    after = weakref.WeakMethod(background._after_fork)
    os.register_at_fork(
        before=lambda: method() if (method := before()) else None,
        after_in_child=lambda: method() if (method := after()) else None,
    )
