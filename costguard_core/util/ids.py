"""Names for calls: unique between processes and hosts, in order of time, and cheap."""

from __future__ import annotations

import os
import secrets
import time
from itertools import count


class CallIds:
    """Ids of 48 hexadecimal digits: the time in nanoseconds, who makes them, and a counter.

    They begin with the time because a large ledger takes rows in order three times faster than random ones. The random
    part is drawn once per process: asking the system for every call took longer than all the rest of metering (70 us
    against 1 us).
    """

    def __init__(self, prefix: str = "") -> None:
        """``prefix``: what each id begins with, before the digits."""
        self._prefix = prefix
        self._pid = 0
        self._origin = ""
        self._numbers = count()

    def __call__(self) -> str:
        if self._pid != os.getpid():  # a new process, or a fork of an old one
            self._pid, self._origin, self._numbers = os.getpid(), secrets.token_hex(8), count()
        return f"{self._prefix}{time.time_ns():016x}{self._origin}{next(self._numbers):016x}"
