"""Tools and options of providers that read the world at the time of the call, by the names that providers give them."""

from __future__ import annotations

import re
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


# Models that always search, as OpenAI, Perplexity, OpenRouter (a suffix) and Groq name them.
_LIVE_MODEL = re.compile(r"search-(?:preview|api)|deep-research|(?:^|/)sonar|:online$|-online$|(?:^|/)compound")
# Options whose value alone says that something is looked up, whatever else is in it.
_LOOKED_UP = frozenset(("plugins", "data_sources", "enable_search", "mcp_servers", "connectors", "search_options"))
# Options that hold other options.
_NESTED = ("model_kwargs", "extra_body", "additional_kwargs", "additional_model_request_fields")


def is_live_model(name: str | None) -> bool:
    """Whether a model of this name reads the web for every answer."""
    return name is not None and _LIVE_MODEL.search(name.lower()) is not None


def has_live_option(options: Mapping[str, Any]) -> bool:
    """Whether one of the options, also of those inside ``extra_body`` and the like, has the provider look something up.

    An option that is switched off (``False``, ``None``, ``{"mode": "off"}``) does not.
    """
    for name, value in options.items():
        if value is None or value is False or (isinstance(value, Mapping) and value.get("mode") == "off"):
            continue
        if is_live_name(name) or (name in _LOOKED_UP and value):
            return True
        if name in _NESTED and isinstance(value, Mapping) and has_live_option(value):
            return True
        if name == "tools" and isinstance(value, (list, tuple)) and any(map(is_live_tool, value)):
            return True
    return False
