"""Costguard for LlamaIndex: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import llamaindex_costguard`` costs nothing.
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
    from llamaindex_costguard.caches.exact import ExactCache
    from llamaindex_costguard.caches.layered import LayeredCache
    from llamaindex_costguard.caches.semantic import SemanticCache
    from llamaindex_costguard.callbacks.handler import CostGuardEventHandler
    from llamaindex_costguard.embeddings.guarded import guard_embedding
    from llamaindex_costguard.installation import install, uninstall
    from llamaindex_costguard.llm.answer_judge import judged
    from llamaindex_costguard.llm.guarded import guard_llm
    from llamaindex_costguard.prompts.economy import PromptEconomy, SentenceFilter
    from llamaindex_costguard.router.router import TieredRouter

_HOMES = {
    "CostGuardEventHandler": "llamaindex_costguard.callbacks.handler",
    "ExactCache": "llamaindex_costguard.caches.exact",
    "LayeredCache": "llamaindex_costguard.caches.layered",
    "PromptEconomy": "llamaindex_costguard.prompts.economy",
    "SemanticCache": "llamaindex_costguard.caches.semantic",
    "SentenceFilter": "llamaindex_costguard.prompts.economy",
    "TieredRouter": "llamaindex_costguard.router.router",
    "guard_embedding": "llamaindex_costguard.embeddings.guarded",
    "guard_llm": "llamaindex_costguard.llm.guarded",
    "install": "llamaindex_costguard.installation",
    "judged": "llamaindex_costguard.llm.answer_judge",
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
    "WebhookHook",
    "astart_stream",
    "attribute",
    "cache_control",
    "guard_embedding",
    "guard_llm",
    "install",
    "judged",
    "start_stream",
    "uninstall",
]
if find_spec("llama_index") is None:  # `import *` gives what is there; to name the rest says which extra it needs
    __all__[:] = [name for name in __all__ if name not in _HOMES]

try:
    __version__ = version("langchain-costguard")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


__getattr__, __dir__ = lazy_names(__name__, _HOMES, shown=__all__, framework="llama_index", extra="llamaindex")
