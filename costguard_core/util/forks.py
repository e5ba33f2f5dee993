"""Calls to objects around a fork: a child must not wait for locks that threads of its parent held at that moment.

``os.register_at_fork`` has no way to take a function back, so one function is registered for all objects, and an
object that is gone is forgotten.
"""

from __future__ import annotations

import os
from threading import Lock

from costguard_core.util.live_objects import LiveObjects

# Objects and the name of one method each. No `WeakMethod`: its callback prints an error for each object that is still
# there when the interpreter ends.
_before: LiveObjects[object, str] = LiveObjects()
_after: LiveObjects[object, str] = LiveObjects()
_locks: LiveObjects[object, tuple[str, ...]] = LiveObjects()


def before_fork(owner: object, method: str) -> None:
    """Call a method of ``owner``, by its name, in the parent before each fork, for as long as ``owner`` lives."""
    _before.add(owner, method)


def after_fork(owner: object, method: str) -> None:
    """Call a method of ``owner``, by its name, in each forked child, for as long as ``owner`` lives."""
    _after.add(owner, method)


def renew_locks(owner: object, *names: str) -> None:
    """Put a new lock into these attributes of ``owner`` (an object or a module) in each forked child, where the old
    one may be held by a thread that does not exist there."""
    _locks.add(owner, names)


def _renew_locks() -> None:
    for owner, names in _locks:
        for name in names:
            setattr(owner, name, Lock())


def _call(methods: LiveObjects[object, str]) -> None:
    for owner, method in methods:
        getattr(owner, method)()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=lambda: _call(_before), after_in_child=_renew_locks)
    os.register_at_fork(after_in_child=lambda: _call(_after))  # in the order of registration
