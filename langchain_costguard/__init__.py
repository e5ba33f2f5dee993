"""Costguard for LangChain: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import langchain_costguard`` costs nothing.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from costguard_core.util.lazy_names import lazy_names

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
    from costguard_core.lifecycle.streams import astart_stream, start_stream
    from costguard_core.routing.shadow.prompt_log import PromptLog
    from langchain_costguard.caches.exact import ExactCache
    from langchain_costguard.caches.layered import LayeredCache
    from langchain_costguard.caches.semantic import SemanticCache
    from langchain_costguard.caches.vector_store import VectorStoreCacheIndex
    from langchain_costguard.callbacks.handler import CostGuardCallbackHandler
    from langchain_costguard.chat_model.answer_judge import judged
    from langchain_costguard.chat_model.guarded import GuardedChatModel
    from langchain_costguard.chat_model.middleware import CostGuardMiddleware
    from langchain_costguard.embeddings.guarded import GuardedEmbeddings
    from langchain_costguard.installation import install, uninstall
    from langchain_costguard.prompts.economy import PromptEconomy, SentenceFilter
    from langchain_costguard.router.router import TieredRouter

_HOMES = {
    "CostGuardCallbackHandler": "langchain_costguard.callbacks.handler",
    "CostGuardMiddleware": "langchain_costguard.chat_model.middleware",
    "ExactCache": "langchain_costguard.caches.exact",
    "GuardedChatModel": "langchain_costguard.chat_model.guarded",
    "GuardedEmbeddings": "langchain_costguard.embeddings.guarded",
    "LayeredCache": "langchain_costguard.caches.layered",
    "PromptEconomy": "langchain_costguard.prompts.economy",
    "SemanticCache": "langchain_costguard.caches.semantic",
    "SentenceFilter": "langchain_costguard.prompts.economy",
    "TieredRouter": "langchain_costguard.router.router",
    "VectorStoreCacheIndex": "langchain_costguard.caches.vector_store",
    "VectorStoreIndex": "langchain_costguard.caches.vector_store",
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
    "VectorStoreCacheIndex",
    "WebhookHook",
    "astart_stream",
    "attribute",
    "cache_control",
    "install",
    "judged",
    "start_stream",
    "uninstall",
]
if find_spec("langchain") is None:  # `import *` gives what is there; to name the rest says which extra it needs
    __all__[:] = [name for name in __all__ if name != "CostGuardMiddleware"]

try:
    __version__ = version("langchain-costguard")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


__getattr__, __dir__ = lazy_names(__name__, _HOMES, shown=__all__)
