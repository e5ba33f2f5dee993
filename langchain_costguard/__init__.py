"""Costguard for LangChain: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import langchain_costguard`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
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
    from costguard_core.cache import CachePolicy, cache_control
    from costguard_core.exporters import LoggingHook, OpenTelemetryHook, PrometheusHook, WebhookHook
    from costguard_core.routing.shadow.prompt_log import PromptLog
    from langchain_costguard.caches.exact import ExactCache
    from langchain_costguard.caches.layered import LayeredCache
    from langchain_costguard.caches.semantic import SemanticCache
    from langchain_costguard.caches.vector_store import VectorStoreIndex
    from langchain_costguard.callbacks.handler import CostGuardCallbackHandler
    from langchain_costguard.chat_model.answer_judge import judged
    from langchain_costguard.chat_model.guarded import GuardedChatModel
    from langchain_costguard.chat_model.middleware import CostGuardMiddleware
    from langchain_costguard.embeddings.guarded import GuardedEmbeddings
    from langchain_costguard.installation import install, uninstall
    from langchain_costguard.prompts.economy import PromptEconomy, SentenceFilter
    from langchain_costguard.router.router import TieredRouter

_HOMES = {
    "Breaker": "costguard_core",
    "Budget": "costguard_core",
    "CachePolicy": "costguard_core.cache",
    "CostGuard": "costguard_core",
    "CostGuardCallbackHandler": "langchain_costguard.callbacks.handler",
    "CostGuardError": "costguard_core",
    "CostGuardMiddleware": "langchain_costguard.chat_model.middleware",
    "ExactCache": "langchain_costguard.caches.exact",
    "GuardedChatModel": "langchain_costguard.chat_model.guarded",
    "GuardedEmbeddings": "langchain_costguard.embeddings.guarded",
    "LayeredCache": "langchain_costguard.caches.layered",
    "LoggingHook": "costguard_core.exporters",
    "OpenTelemetryHook": "costguard_core.exporters",
    "PrometheusHook": "costguard_core.exporters",
    "PromptEconomy": "langchain_costguard.prompts.economy",
    "PromptLog": "costguard_core.routing.shadow.prompt_log",
    "SemanticCache": "langchain_costguard.caches.semantic",
    "SentenceFilter": "langchain_costguard.prompts.economy",
    "SpendLimitExceeded": "costguard_core",
    "StoreUnavailable": "costguard_core",
    "TieredRouter": "langchain_costguard.router.router",
    "UnpricedModelError": "costguard_core",
    "VectorStoreIndex": "langchain_costguard.caches.vector_store",
    "WebhookHook": "costguard_core.exporters",
    "attribute": "costguard_core",
    "cache_control": "costguard_core.cache",
    "install": "langchain_costguard.installation",
    "judged": "langchain_costguard.chat_model.answer_judge",
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
    "LoggingHook",
    "OpenTelemetryHook",
    "PrometheusHook",
    "PromptEconomy",
    "PromptLog",
    "SemanticCache",
    "SentenceFilter",
    "SpendLimitExceeded",
    "StoreUnavailable",
    "TieredRouter",
    "UnpricedModelError",
    "VectorStoreIndex",
    "WebhookHook",
    "attribute",
    "cache_control",
    "install",
    "judged",
    "uninstall",
]
if find_spec("langchain") is None:  # `import *` gives what is there; to name the rest says which extra it needs
    __all__[:] = [name for name in __all__ if name != "CostGuardMiddleware"]

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
