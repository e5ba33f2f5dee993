"""Threads for what waits for a model, apart from those of the event loop.

The call of that model may need the event loop's own threads (for counters, or for the address of a host). If all of
these waited for such calls, they would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import ParamSpec, TypeVar

from costguard_core.util.forks import after_fork

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 32  # as many as asyncio's own has at most


class _Threads:
    """Begun as they are needed, and anew in a forked child, which has none of its parent's."""

    def __init__(self) -> None:
        self.renew()
        after_fork(self, "renew")

    def renew(self) -> None:
        self.pool = ThreadPoolExecutor(_MOST, thread_name_prefix="costguard-asking")


_threads = _Threads()


async def ask_in_thread(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """``asyncio.to_thread`` for work that may wait for a model."""
    call = partial(copy_context().run, work, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(_threads.pool, call)


def in_own_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """The outcome of work that may hang: it has a thread of its own, which keeps no process from ending.

    Raises:
        RuntimeError: no thread can be started.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            found = work()
        except Exception as error:
            outcome.set_exception(error)
        except BaseException as error:  # an exit or a cancellation in there is none of whoever waits here
            outcome.set_exception(RuntimeError(f"ended with {type(error).__name__}"))
        else:
            outcome.set_result(found)

    Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return outcome
