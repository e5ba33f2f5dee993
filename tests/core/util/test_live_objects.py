"""Objects that are made and dropped by some threads while another one looks through them."""

from __future__ import annotations

import gc
import threading

from waiting import SAFETY_LIMIT

from costguard_core.util.live_objects import LiveObjects


class _Thing:
    pass


def test_only_what_is_in_use_is_found_in_the_order_of_adding() -> None:
    found: LiveObjects[_Thing, str] = LiveObjects()
    first, second, third = things = [_Thing() for _ in range(3)]
    for thing in things:
        found.add(thing, "kept")
    assert list(found) == [(thing, "kept") for thing in things]
    things.clear()
    del second
    gc.collect()
    assert list(found) == [(first, "kept"), (third, "kept")]


def test_threads_may_add_and_drop_while_another_one_iterates(eager_threads: None) -> None:
    found: LiveObjects[_Thing, str] = LiveObjects()
    is_over = threading.Event()

    def add() -> None:
        while not is_over.is_set():
            kept = [_Thing() for _ in range(10)]
            for thing in kept:
                found.add(thing, "kept")

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            assert all(isinstance(thing, _Thing) for thing, _ in found)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(SAFETY_LIMIT)
    del thread, threads
    gc.collect()
    assert not list(found)
