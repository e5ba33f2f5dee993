"""One line for a whole process: the cache of ``set_llm_cache`` and a callback handler that nobody has to pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.tracers.context import register_configure_hook

from costguard_core import CostGuard
from costguard_core.cache.declared import bound
from costguard_core.util.options import names_options
from langchain_costguard.caches.exact import opened_cache
from langchain_costguard.callbacks.handler import CostGuardCallbackHandler


@dataclass
class _Everywhere:
    """What LangChain reads like a ``ContextVar``; but a raw thread, which starts with an empty context, sees it too."""

    handler: CostGuardCallbackHandler | None = None
    before: BaseCache | None = None
    ours: BaseCache | None = None
    registered: bool = False
    name: str = "costguard"

    def get(self) -> CostGuardCallbackHandler | None:
        return self.handler


_installed = _Everywhere()


@names_options
def install(guard: CostGuard, *, cache: BaseCache | str | None = None) -> None:
    """Meter and guard every LangChain call of this process, raw threads included, and answer repeats from ``cache``.

    Calling it again replaces what was installed; :func:`uninstall` restores the cache that was set before. While a
    budget is spent, cached answers are still served to ``invoke`` and ``batch``; LangChain does not ask a global cache
    in ``stream`` (use :class:`GuardedChatModel` there). ``cache`` may be the URL of an :class:`ExactCache`.
    """
    handler = CostGuardCallbackHandler(guard)
    cache = opened_cache(cache)
    uninstall()
    # LangChain's list of hooks only grows: register one, once, and let it be empty while nothing is installed.
    if not _installed.registered:
        register_configure_hook(cast(Any, _installed), inheritable=True)
        _installed.registered = True
    if cache is not None:
        _installed.before, _installed.ours = get_llm_cache(), cache
        set_llm_cache(bound(cache, guard))
    _installed.handler = handler


def uninstall() -> None:
    """Undo :func:`install`; harmless if nothing is installed."""
    _installed.handler = None
    if _installed.ours is not None:
        if get_llm_cache() is _installed.ours:
            set_llm_cache(_installed.before)
        if callable(bind := getattr(_installed.ours, "bind", None)):
            bind(None)
    _installed.before = _installed.ours = None
