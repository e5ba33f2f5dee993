"""A forked child waits for no lock that a thread of its parent held."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from python_process import run_python

from costguard_core.cache.exact.stores.memory import MemoryStore
from costguard_core.util.forks import renew_locks


class Owner:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_locks(self, "lock")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_locks_are_new_in_a_child() -> None:
    owner, store = Owner(), MemoryStore()
    store.put("k", b"answer")
    with owner.lock, store._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # a child that waits for ever is killed
            with owner.lock:
                os._exit(0 if store.get("k") == b"answer" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with owner.lock:
        assert store.get("k") == b"answer"


def test_a_process_with_guards_and_caches_ends_without_a_word() -> None:
    done = run_python(
        """
        from costguard_core.guard import CostGuard
        from costguard_core.cache.exact_cache import BaseExactCache
        guard, cache = CostGuard(["$5/day"]), BaseExactCache()
        """
    )
    assert (done.stdout, done.stderr) == ("", "")
