"""Loopback ports for servers that cannot be asked to listen on port 0."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Below the range from which the system gives ports to clients: while a server is stopped, nobody is given its port.
_RANGE = range(15_000, 22_000)


@contextmanager
def reserved_port(*, also: int = 0) -> Iterator[int]:
    """A free port that no other test process on this machine takes before the block ends.

    ``also``: the distance of a second port that must be free as well (0: none).
    """
    folder = Path(tempfile.gettempdir()) / f"costguard-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(_RANGE, len(_RANGE)):
        with (folder / str(port)).open("w") as claim:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if _is_free(port) and (not also or _is_free(port + also)):
                yield port
                return
    raise RuntimeError("no free loopback port found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
