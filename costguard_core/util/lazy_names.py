"""Names of a package that are imported when they are first used (PEP 562), so that importing the package costs nothing.

https://peps.python.org/pep-0562/
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

from costguard_core.errors import MissingExtraError

SHARED_NAMES: Mapping[str, str] = {
    "Breaker": "costguard_core",
    "Budget": "costguard_core",
    "CachePolicy": "costguard_core.cache",
    "CostGuard": "costguard_core",
    "CostGuardError": "costguard_core",
    "LoggingHook": "costguard_core.exporters",
    "OpenTelemetryHook": "costguard_core.exporters",
    "PrometheusHook": "costguard_core.exporters",
    "PromptLog": "costguard_core.routing.shadow.prompt_log",
    "SpendLimitExceeded": "costguard_core",
    "StoreUnavailable": "costguard_core",
    "UnpricedModelError": "costguard_core",
    "WebhookHook": "costguard_core.exporters",
    "astart_stream": "costguard_core.lifecycle.streams",
    "attribute": "costguard_core",
    "cache_control": "costguard_core.cache",
    "start_stream": "costguard_core.lifecycle.streams",
}
"""What both adapters export of the core: name → module."""


def lazy_names(
    package: str, homes: Mapping[str, str], *, shown: Collection[str], framework: str = "", extra: str = ""
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its name.
        homes: its names, and the module that has each; those in :data:`SHARED_NAMES` are added.
        shown: what ``dir`` lists.
        framework: the name with which the modules begin that may be missing.
        extra: what installs them. A name that needs a missing one then raises MissingExtraError.
    """
    known = {**SHARED_NAMES, **homes}

    def get(name: str) -> Any:
        if name not in known:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            home = import_module(known[name])
        except ModuleNotFoundError as error:
            if not extra or error.name is None or not error.name.startswith(framework):
                raise
            raise MissingExtraError(f"{package}.{name}", extra) from None
        found = getattr(home, name)
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: [*shown, "__version__"]
