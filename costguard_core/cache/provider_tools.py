"""Tools and options of providers that read the world at the time of the call, by the names that providers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIVE = (
    "web_",
    "file_search",
    "mcp",
    "google_",
    "url_context",
    "code_",
    "x_search",
    "computer_use",
    "search_parameters",
)


def is_live_name(name: str) -> bool:
    """Whether an option of this name has the provider look something up."""
    return name.startswith(_LIVE)


def is_live_tool(tool: Any) -> bool:
    """Whether a tool, as it is sent, is one that the provider itself runs on live data."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    return is_live_name(kind) if isinstance(kind, str) else any(is_live_name(str(name)) for name in tool)
