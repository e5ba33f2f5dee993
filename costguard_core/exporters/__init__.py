"""Tell somebody about every call and every alert: a hook is any callable that takes an ``Event`` or an ``Alert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from costguard_core.exporters.base import Hook, HookLike, Hooks, as_dict, as_line
from costguard_core.exporters.log import LoggingHook

if TYPE_CHECKING:
    from costguard_core.exporters.otel import OpenTelemetryHook
    from costguard_core.exporters.prometheus import PrometheusHook
    from costguard_core.exporters.webhook import WebhookHook

__all__ = [
    "Hook",
    "HookLike",
    "Hooks",
    "LoggingHook",
    "OpenTelemetryHook",
    "PrometheusHook",
    "WebhookHook",
    "as_dict",
    "as_line",
]

_LAZY = {"OpenTelemetryHook": "otel", "PrometheusHook": "prometheus", "WebhookHook": "webhook"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
