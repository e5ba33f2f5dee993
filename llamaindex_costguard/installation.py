"""One line for a whole process: the models of ``Settings`` on the bill, and everything else metered."""

from __future__ import annotations

from typing import Any

from llama_index.core import Settings
from llama_index_instrumentation import get_dispatcher

from costguard_core import CostGuard
from costguard_core.util.options import names_options
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.callbacks.handler import CostGuardEventHandler
from llamaindex_costguard.embeddings.guarded import guard_embedding
from llamaindex_costguard.llm.guarded import guard_llm


class _Installed:
    """What was put in place, and what was there before."""

    def __init__(self) -> None:
        self.handler: CostGuardEventHandler | None = None
        self.replaced: list[tuple[str, Any, Any]] = []


_installed = _Installed()


@names_options
def install(guard: CostGuard, *, cache: Cache | str | None = None, vectors: str | None = "memory://") -> None:
    """Guard ``Settings.llm`` and ``Settings.embed_model``, and meter every other model of this process.

    Call it after they are set: a model that is put into ``Settings`` later, or handed to an engine directly, is metered
    but neither cached nor refused (use :func:`guard_llm`). Calling it again replaces what was installed;
    :func:`uninstall` undoes it. ``cache`` is for answers, as in :func:`guard_llm`; ``vectors`` is for embeddings, as
    the cache of :func:`guard_embedding`.
    """
    uninstall()
    llm, embedding = Settings._llm, Settings._embed_model
    # Both before either is put in place: what fails leaves nothing half installed.
    guarded = {
        "_llm": None if llm is None else guard_llm(llm, guard, cache=cache),
        "_embed_model": None if embedding is None else guard_embedding(embedding, guard, cache=vectors),
    }
    for name, ours in guarded.items():
        if ours is not None:
            _installed.replaced.append((name, getattr(Settings, name), ours))
            setattr(Settings, name, ours)
    _installed.handler = CostGuardEventHandler(guard)
    _installed.handler.watch_spans()
    get_dispatcher().add_event_handler(_installed.handler)


def uninstall() -> None:
    """Undo :func:`install`; harmless if nothing is installed."""
    if _installed.handler is not None:
        _installed.handler.detach()
        _installed.handler = None
    for name, before, ours in _installed.replaced:
        if getattr(Settings, name) is ours:
            setattr(Settings, name, before)
    _installed.replaced.clear()
