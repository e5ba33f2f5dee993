"""Costguard for LangChain: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import langchain_costguard`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

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
    from costguard_core.routing.prompt_log import PromptLog
    from langchain_costguard.cache import ExactCache, LayeredCache
    from langchain_costguard.economy import PromptEconomy, SentenceFilter
    from langchain_costguard.embeddings import GuardedEmbeddings
    from langchain_costguard.guarded import GuardedChatModel
    from langchain_costguard.handler import CostGuardCallbackHandler
    from langchain_costguard.installation import install, uninstall
    from langchain_costguard.judge import judged
    from langchain_costguard.middleware import CostGuardMiddleware
    from langchain_costguard.router import TieredRouter
    from langchain_costguard.semantic import SemanticCache
    from langchain_costguard.vector_store import VectorStoreIndex

_HOMES = {
    "Breaker": "costguard_core",
    "Budget": "costguard_core",
    "CachePolicy": "costguard_core.caching",
    "CostGuard": "costguard_core",
    "CostGuardCallbackHandler": "langchain_costguard.handler",
    "CostGuardError": "costguard_core",
    "CostGuardMiddleware": "langchain_costguard.middleware",
    "ExactCache": "langchain_costguard.cache",
    "GuardedChatModel": "langchain_costguard.guarded",
    "GuardedEmbeddings": "langchain_costguard.embeddings",
    "LayeredCache": "langchain_costguard.cache",
    "PromptEconomy": "langchain_costguard.economy",
    "PromptLog": "costguard_core.routing.prompt_log",
    "SemanticCache": "langchain_costguard.semantic",
    "SentenceFilter": "langchain_costguard.economy",
    "SpendLimitExceeded": "costguard_core",
    "StoreUnavailable": "costguard_core",
    "TieredRouter": "langchain_costguard.router",
    "UnpricedModelError": "costguard_core",
    "VectorStoreIndex": "langchain_costguard.vector_store",
    "attribute": "costguard_core",
    "cache_control": "costguard_core.caching",
    "install": "langchain_costguard.installation",
    "judged": "langchain_costguard.judge",
    "uninstall": "langchain_costguard.installation",
}

__all__ = [
    "Breaker",
    "Budget",
    "CachePolicy",
    "CostGuard",
    "CostGuardCallbackHandler",
    "CostGuardError",
    "CostGuardMiddleware",
    "ExactCache",
    "GuardedChatModel",
    "GuardedEmbeddings",
    "LayeredCache",
    "PromptEconomy",
    "PromptLog",
    "SemanticCache",
    "SentenceFilter",
    "SpendLimitExceeded",
    "StoreUnavailable",
    "TieredRouter",
    "UnpricedModelError",
    "VectorStoreIndex",
    "attribute",
    "cache_control",
    "install",
    "judged",
    "uninstall",
]

try:
    __version__ = version("langchain-costguard")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
