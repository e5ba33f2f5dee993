"""Costguard for LlamaIndex: pay once for each answer, and never more than allowed.

Names are imported when they are first used, so that ``import llamaindex_costguard`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
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
    from costguard_core.cache import CachePolicy, cache_control
    from costguard_core.exporters import LoggingHook, OpenTelemetryHook, PrometheusHook, WebhookHook
    from costguard_core.routing.shadow.prompt_log import PromptLog
    from llamaindex_costguard.caches.exact import ExactCache
    from llamaindex_costguard.caches.layered import LayeredCache
    from llamaindex_costguard.caches.semantic import SemanticCache
    from llamaindex_costguard.callbacks.handler import CostGuardEventHandler
    from llamaindex_costguard.embeddings.guarded import guard_embedding
    from llamaindex_costguard.installation import install, uninstall
    from llamaindex_costguard.llm.guarded import guard_llm
    from llamaindex_costguard.prompts.economy import PromptEconomy, SentenceFilter
    from llamaindex_costguard.router.router import TieredRouter

_HOMES = {
    "Breaker": "costguard_core",
    "Budget": "costguard_core",
    "CachePolicy": "costguard_core.cache",
    "CostGuard": "costguard_core",
    "CostGuardError": "costguard_core",
    "CostGuardEventHandler": "llamaindex_costguard.callbacks.handler",
    "ExactCache": "llamaindex_costguard.caches.exact",
    "LayeredCache": "llamaindex_costguard.caches.layered",
    "LoggingHook": "costguard_core.exporters",
    "OpenTelemetryHook": "costguard_core.exporters",
    "PrometheusHook": "costguard_core.exporters",
    "PromptEconomy": "llamaindex_costguard.prompts.economy",
    "PromptLog": "costguard_core.routing.shadow.prompt_log",
    "SemanticCache": "llamaindex_costguard.caches.semantic",
    "SentenceFilter": "llamaindex_costguard.prompts.economy",
    "SpendLimitExceeded": "costguard_core",
    "StoreUnavailable": "costguard_core",
    "TieredRouter": "llamaindex_costguard.router.router",
    "UnpricedModelError": "costguard_core",
    "WebhookHook": "costguard_core.exporters",
    "attribute": "costguard_core",
    "cache_control": "costguard_core.cache",
    "guard_embedding": "llamaindex_costguard.embeddings.guarded",
    "guard_llm": "llamaindex_costguard.llm.guarded",
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
    "attribute",
    "cache_control",
    "guard_embedding",
    "guard_llm",
    "install",
    "uninstall",
]
if find_spec("llama_index") is None:  # `import *` gives what is there; to name the rest says which extra it needs
    __all__[:] = [name for name in __all__ if _HOMES[name].startswith("costguard_core")]

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
