"""Warning filters that belong to one thread, so that ``filterwarnings = error`` holds in tests with threads.

``warnings.catch_warnings`` replaces the process-wide list of filters and puts the old list back afterwards, which is
not thread-safe (https://docs.python.org/3.13/library/warnings.html#warnings.catch_warnings). LangChain, LangGraph and
pydantic use it inside calls. When two threads do so at once, one of them may restore the list while the other one still
relies on its own "ignore" filter: a warning that is suppressed on purpose then becomes an exception in the middle of a
call. Python 3.14 solves this with ``-X context_aware_warnings``; for older versions :func:`install` does the same per
thread. Threads that change nothing use the filters of the main thread, which are pytest's.
"""

from __future__ import annotations

import sys
import threading
import types
import warnings
from typing import Any

# What ``catch_warnings`` saves, replaces and restores.
_NAMES = ("filters", "showwarning", "_showwarnmsg_impl")


class _OwnState(threading.local):
    def __init__(self) -> None:
        self.depth = 0  # of ``catch_warnings`` blocks that this thread is in
        self.replaced: dict[str, Any] = {}


_own = _OwnState()


def _shared(name: str) -> property:
    """An attribute of the module that a thread other than the main one replaces for itself only."""

    def read(module: types.ModuleType) -> Any:
        return _own.replaced[name] if name in _own.replaced else vars(module)[name]

    def write(module: types.ModuleType, value: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            vars(module)[name] = value
        else:
            _own.replaced[name] = value

    return property(read, write)


# The interpreter looks the filters up as an attribute of the module too, so it finds those of the thread that warns.
_ThreadLocalWarnings = type("_ThreadLocalWarnings", (types.ModuleType,), {name: _shared(name) for name in _NAMES})


def install() -> None:
    """Give every thread its own warning filters for the rest of the process."""
    if sys.version_info >= (3, 14) or isinstance(warnings, _ThreadLocalWarnings):
        return
    catch: Any = warnings.catch_warnings
    enter, leave, show = catch.__enter__, catch.__exit__, vars(warnings)["_showwarnmsg"]

    def enter_block(self: Any) -> Any:
        entered = enter(self)
        _own.depth += 1
        return entered

    def leave_block(self: Any, *error: object) -> None:
        leave(self, *error)
        _own.depth -= 1
        if not _own.depth:
            _own.replaced.clear()  # back to the main thread's, which may have changed meanwhile

    def show_message(message: Any) -> None:
        _own.replaced.get("_showwarnmsg_impl", show)(message)

    catch.__enter__, catch.__exit__ = enter_block, leave_block
    # Functions of the module read its variables directly, not as attributes: these would see the main thread's.
    vars(warnings).update(_add_filter=_add_filter, resetwarnings=_reset, _showwarnmsg=show_message)
    warnings.__class__ = _ThreadLocalWarnings


def _add_filter(*item: Any, append: bool) -> None:
    """``warnings._add_filter``, on the filters of this thread."""
    module: Any = warnings
    filters = module.filters
    if not append:
        if item in filters:
            filters.remove(item)
        filters.insert(0, item)
    elif item not in filters:
        filters.append(item)
    module._filters_mutated()


def _reset() -> None:
    module: Any = warnings
    module.filters[:] = []
    module._filters_mutated()
