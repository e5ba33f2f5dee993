"""What tools that the provider runs may cost: searches that are billed by the piece, and results that become input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from costguard_core.usage.openai import searches_always
from costguard_core.usage.overhead import is_hosted

# Uses of a tool without a limit: Anthropic's loop ends after ten rounds, other providers name no number.
# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons#pause-turn
UNLIMITED_USES = 10
# Tokens that the results of one use add to the input. Recorded: 494,500 tokens in ten searches of Anthropic's, 19,300
# for each of six of OpenAI's; fetched pages are bounded by what Anthropic says a long document is.
_PER_SEARCH: Mapping[str, int] = {"anthropic": 50_000, "openai": 25_000, "google": 0, "other": 25_000}
_PER_FETCH = 125_000
# Twenty chunks of 800 tokens: https://platform.openai.com/docs/guides/tools-file-search
_PER_FILE_SEARCH = 16_000
_PER_CODE_RUN = 10_000
_PER_OTHER_USE = 25_000
# Groq's system searches by itself (https://console.groq.com/docs/compound): recorded 5,000 to 14,100 tokens of results.
_SEARCHES_ITSELF = re.compile(r"(^|/)compound(-beta|-mini|$)")


class ServerTools(NamedTuple):
    """``searches`` is how many searches of the web may be billed, ``tokens`` what results may add to the input."""

    searches: int = 0
    tokens: int = 0

    def __add__(self, other: object) -> ServerTools:
        if not isinstance(other, ServerTools):
            return NotImplemented
        return ServerTools(self.searches + other.searches, self.tokens + other.tokens)


NO_TOOLS = ServerTools()


def server_tools(model: str, provider: str | None, params: Mapping[str, object]) -> ServerTools:
    """The most that the provider's tools may do in one request with these parameters.

    A tool without a limit of its own is held at ten uses: a smaller ``max_uses`` (Anthropic) or ``max_tool_calls``
    (OpenAI) makes room in a budget.
    """
    vendor = _vendor(model.lower(), (provider or "").lower())
    total = NO_TOOLS
    limit = _limit(params.get("max_tool_calls"))
    for tool in _tools(params):
        if isinstance(tool, Mapping) and is_hosted(tool):
            total += _one(tool, vendor, limit)
    if _searches_by_option(params) or searches_always(model):
        total += ServerTools(1, _PER_SEARCH[vendor])
    if _SEARCHES_ITSELF.search(model.lower()):
        total += ServerTools(0, _PER_SEARCH["other"])
    return total


def _tools(params: Mapping[str, object]) -> Iterable[object]:
    for name in ("tools", "built_in_tools", "server_tools", "mcp_servers"):
        found = params.get(name)
        if isinstance(found, (list, tuple)):
            yield from (
                {"type": "mcp", **one} if name == "mcp_servers" and isinstance(one, Mapping) else one for one in found
            )


def _one(tool: Mapping[str, object], vendor: str, limit: int | None) -> ServerTools:
    kind = str(tool.get("type") or next(iter(tool), "")).lower().replace("_", "")
    uses = _limit(tool.get("max_uses")) or limit or UNLIMITED_USES
    if "websearch" in kind or "googlesearch" in kind or kind in ("websearchpreview", "browsersearch", "xsearch"):
        return ServerTools(uses, uses * _PER_SEARCH[vendor])
    if "webfetch" in kind or "urlcontext" in kind:
        return ServerTools(0, uses * (_limit(tool.get("max_content_tokens")) or _PER_FETCH))
    if "filesearch" in kind:
        return ServerTools(0, uses * _PER_FILE_SEARCH)
    if "code" in kind:
        return ServerTools(0, uses * _PER_CODE_RUN)
    if kind.startswith(
        ("memory", "texteditor", "bash", "computer", "imagegeneration", "localshell", "applypatch", "toolsearch")
    ):
        return NO_TOOLS  # run by the application, or without results that the model reads
    return ServerTools(0, uses * _PER_OTHER_USE)


def _searches_by_option(params: Mapping[str, object]) -> bool:
    """Options that make a model search: OpenAI's, OpenRouter's, xAI's, Qwen's."""
    if "web_search_options" in params and params["web_search_options"] is not None:
        return True
    plugins = params.get("plugins")
    if isinstance(plugins, (list, tuple)) and any(isinstance(p, Mapping) and p.get("id") == "web" for p in plugins):
        return True
    live = params.get("search_parameters")
    return (isinstance(live, Mapping) and live.get("mode", "auto") != "off") or params.get("enable_search") is True


def _limit(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _vendor(model: str, provider: str) -> str:
    if "claude" in model or "anthropic" in provider:
        return "anthropic"
    if "gemini" in model or "google" in provider or "vertex" in provider:
        return "google"
    return "openai" if "gpt-" in model or "openai" in provider else "other"
