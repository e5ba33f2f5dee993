"""A limit on the processor time of a piece of code, which does not depend on how busy the machine is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class CpuLimitExceeded(AssertionError):
    """The code used more processor time than it may."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block when this process has computed for so many seconds in it. Only for the main thread.

    Also a regular expression that backtracks without end is interrupted: the engine of ``re`` looks for signals.

    Raises:
        CpuLimitExceeded: in the middle of the block.
    """

    def interrupt(*_: object) -> None:
        raise CpuLimitExceeded(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
