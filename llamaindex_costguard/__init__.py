"""Costguard for LlamaIndex: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import llamaindex_costguard`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from costguard_core.errors import MissingExtraError

if TYPE_CHECKING:
    from costguard_core import (
        Breaker,
        Budget,
        CostGuard,
        CostGuardError,
        SpendLimitExceeded,
        StoreUnavailable,
        UnpricedModelError,
        attribute,
    )
    from costguard_core.caching import CachePolicy, cache_control
    from llamaindex_costguard.cache import ExactCache
    from llamaindex_costguard.embeddings import guard_embedding
    from llamaindex_costguard.events import CostGuardEventHandler
    from llamaindex_costguard.guarded import guard_llm
    from llamaindex_costguard.installation import install, uninstall
    from llamaindex_costguard.layers import LayeredCache
    from llamaindex_costguard.router import TieredRouter
    from llamaindex_costguard.semantic import SemanticCache

_HOMES = {
    "Breaker": "costguard_core",
    "Budget": "costguard_core",
    "CachePolicy": "costguard_core.caching",
    "CostGuard": "costguard_core",
    "CostGuardError": "costguard_core",
    "CostGuardEventHandler": "llamaindex_costguard.events",
    "ExactCache": "llamaindex_costguard.cache",
    "LayeredCache": "llamaindex_costguard.layers",
    "SemanticCache": "llamaindex_costguard.semantic",
    "SpendLimitExceeded": "costguard_core",
    "StoreUnavailable": "costguard_core",
    "TieredRouter": "llamaindex_costguard.router",
    "UnpricedModelError": "costguard_core",
    "attribute": "costguard_core",
    "cache_control": "costguard_core.caching",
    "guard_embedding": "llamaindex_costguard.embeddings",
    "guard_llm": "llamaindex_costguard.guarded",
    "install": "llamaindex_costguard.installation",
    "uninstall": "llamaindex_costguard.installation",
}

__all__ = [
    "Breaker",
    "Budget",
    "CachePolicy",
    "CostGuard",
    "CostGuardError",
    "CostGuardEventHandler",
    "ExactCache",
    "LayeredCache",
    "SemanticCache",
    "SpendLimitExceeded",
    "StoreUnavailable",
    "TieredRouter",
    "UnpricedModelError",
    "attribute",
    "cache_control",
    "guard_embedding",
    "guard_llm",
    "install",
    "uninstall",
]

try:
    __version__ = version("langchain-costguard")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("llama_index"):
            raise
        raise MissingExtraError(f"{__name__}.{name}", "llamaindex") from None
    found = getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
