"""Calls to objects around a fork: a child must not wait for locks that threads of its parent held at that moment.

``os.register_at_fork`` has no way to take a function back, so one function is registered for all objects, and an
object that is gone is forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from weakref import WeakKeyDictionary, WeakMethod

_Methods = dict[WeakMethod[Callable[[], None]], None]  # in the order of registration
_before: _Methods = {}
_after: _Methods = {}
_locks: WeakKeyDictionary[object, tuple[str, ...]] = WeakKeyDictionary()


def before_fork(method: Callable[[], None]) -> None:
    """Call a bound method in the parent before each fork, for as long as its object lives."""
    _add(_before, method)


def after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child, for as long as its object lives."""
    _add(_after, method)


def renew_locks(owner: object, *names: str) -> None:
    """Put a new lock into these attributes of ``owner`` (an object or a module) in each forked child, where the old
    one may be held by a thread that does not exist there."""
    _locks[owner] = names


def _renew_locks() -> None:
    for owner, names in tuple(_locks.items()):
        for name in names:
            setattr(owner, name, Lock())


def _add(methods: _Methods, method: Callable[[], None]) -> None:
    methods[WeakMethod(method, lambda gone: methods.pop(gone, None))] = None


def _call(methods: _Methods) -> None:
    for reference in tuple(methods):
        method = reference()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=lambda: _call(_before), after_in_child=_renew_locks)
    os.register_at_fork(after_in_child=lambda: _call(_after))  # in the order of registration
