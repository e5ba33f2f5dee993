"""xAI's units beside its tokens: https://docs.x.ai/docs/guides/live-search and /docs/guides/tools/overview.

Live search bills each source that it used; server-side tools are billed by the call.
"""

from __future__ import annotations

from costguard_core.usage.fields import count, get, units


def xai_units(raw: object) -> tuple[tuple[str, int], ...]:
    """Sources and tool calls that a usage of xAI names."""
    used = get(raw, "server_side_tool_usage_details")
    tools = {
        "social_search": count(used, "x_search_calls"),
        "file_search": count(used, "file_search_calls") + count(used, "document_search_calls"),
        "tool_call": count(used, "code_interpreter_calls"),
    }
    return units(source=count(raw, "num_sources_used"), **tools)


def xai_searches(raw: object) -> int:
    """Searches of the web that a usage of xAI names."""
    return count(get(raw, "server_side_tool_usage_details"), "web_search_calls")
