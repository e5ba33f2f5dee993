"""What tools that the provider runs may cost: searches that are billed by the piece, and results that become input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from costguard_core.usage.openai import searches_always, searches_dearer
from costguard_core.usage.overhead import is_hosted

# Uses of a tool without a limit: Anthropic's loop ends after ten rounds, other providers name no number.
# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons#pause-turn
UNLIMITED_USES = 10
# Tokens that the results of one use add to the conversation. The model reads the whole conversation anew after each
# use, all results so far included, and all of it is billed: n uses cost the prompt n times more, and the result of the
# first of them n times. Recorded of Anthropic's searches: 7,700 to 16,100 tokens with one search, up to 31,800 with two
# and 404,500 with ten, which are 3,000 to 9,700 for each result; and 494,500 with five in a conversation of 62,000.
_PER_SEARCH: Mapping[str, int] = {"anthropic": 10_000, "openai": 6_000, "google": 10_000, "other": 6_000}
# A long document, by https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool#pricing
_PER_FETCH = 125_000
# Twenty chunks of 800 tokens: https://platform.openai.com/docs/guides/tools-file-search
_PER_FILE_SEARCH = 16_000
# Tokens of a picture of 1024x1024 and of the largest one, by quality. A model that is not named is the dearest one.
_PICTURE_TOKENS: Mapping[str, tuple[int, int]] = {
    "low": (272, 408),
    "medium": (1_056, 1_584),
    "high": (4_160, 6_240),
}
_PARTIAL_PICTURE, _DRAWS = 100, "gpt-image-1"
_PER_CODE_RUN = 2_000  # recorded up to 1,400 of Anthropic's, OpenAI's and Gemini's
_PER_OTHER_USE = 5_000
# Another model reads the whole conversation and answers, at its own price: up to five times this model's (Claude Opus
# beside Haiku), and an answer of 4,000 tokens at five times that.
_PER_ADVICE, _ADVISOR_PRICE = 100_000, 5
# Of a search that an option asks for, or that a model makes by itself. Groq's system
# (https://console.groq.com/docs/compound): recorded 5,000 to 14,100 tokens of results.
_PER_OPTION = 25_000
_SEARCHES_ITSELF = re.compile(r"(^|/)compound(-beta|-mini|$)")


class ServerTools(NamedTuple):
    """What the provider's tools may do in one request.

    Attributes:
        searches: of the web, that may be billed.
        tokens: that results may add to the input.
        rounds: how often the model may read the whole prompt anew.
        results: tokens of all results, read once.
        pieces: what else may be billed by the piece, as in :attr:`~costguard_core.types.Usage.units`.
        pictures: models that draw for this one, and how many tokens of pictures each may draw.
    """

    searches: int = 0
    tokens: int = 0
    rounds: int = 0
    results: int = 0
    pieces: tuple[tuple[str, int], ...] = ()
    pictures: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: object) -> ServerTools:
        """Both tools in one request: those with the longer results first, which are read again after each later use."""
        if not isinstance(other, ServerTools):
            return NotImplemented
        return ServerTools(
            self.searches + other.searches,
            self.tokens + other.tokens + max(self.rounds * other.results, other.rounds * self.results),
            self.rounds + other.rounds,
            self.results + other.results,
            (*self.pieces, *other.pieces),
            (*self.pictures, *other.pictures),
        )

    def added(self, prompt: int, context: int | None) -> int:
        """Tokens that they may add to the input of a request.

        Args:
            prompt: its tokens.
            context: how many the model can read at once, if that is known.
        """
        if not self.rounds:
            return self.tokens
        most = prompt * self.rounds + self.tokens
        return most if context is None else max(0, min(most, context * (self.rounds + 1) - prompt))


def _uses(times: int, result: int, searches: int = 0) -> ServerTools:
    """A tool that is used so many times, each with a result of so many tokens."""
    return ServerTools(searches, result * times * (times + 1) // 2, times, result * times)


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
            for kind in [tool["type"]] if tool.get("type") else tool:  # Gemini names tools by keys, several in one
                total += _one(str(kind).lower().replace("_", ""), tool, vendor, limit, model)
    if _searches_by_option(params) or searches_always(model):
        total += _uses(1, _PER_OPTION, 1)
    if _SEARCHES_ITSELF.search(model.lower()):
        total += _uses(1, _PER_OPTION)
    return total


def _tools(params: Mapping[str, object]) -> Iterable[object]:
    for name in ("tools", "built_in_tools", "server_tools", "mcp_servers"):
        found = params.get(name)
        if isinstance(found, (list, tuple)):
            yield from (
                {"type": "mcp", **one} if name == "mcp_servers" and isinstance(one, Mapping) else one for one in found
            )


def _one(kind: str, tool: Mapping[str, object], vendor: str, limit: int | None, model: str) -> ServerTools:
    uses = _limit(tool.get("max_uses")) or limit or UNLIMITED_USES
    if vendor == "google":
        return _of_gemini(kind, uses)
    if "websearch" in kind or "googlesearch" in kind or kind in ("websearchpreview", "browsersearch", "xsearch"):
        dearer = "websearchpreview" in kind and searches_dearer(model)
        found = _uses(uses, _PER_SEARCH[vendor], uses)
        return found._replace(pieces=(("preview_search", uses),)) if dearer else found
    if "webfetch" in kind or "urlcontext" in kind:
        return _uses(uses, _limit(tool.get("max_content_tokens")) or _PER_FETCH)
    if "filesearch" in kind:
        return _uses(uses, _PER_FILE_SEARCH)._replace(pieces=(("file_search", uses),))
    if "advisor" in kind:
        return ServerTools(0, uses * _PER_ADVICE, uses * _ADVISOR_PRICE, 0)
    if "code" in kind:
        return _uses(uses, _PER_CODE_RUN)._replace(pieces=(("code_session", 1),))
    if kind.startswith("imagegeneration"):
        drawn = (_drawing(tool, uses),) if vendor == "openai" else ()
        return ServerTools(pieces=(("generated_image", uses),), pictures=drawn)
    if kind.startswith(("memory", "texteditor", "bash", "computer", "localshell", "applypatch", "toolsearch")):
        return NO_TOOLS  # run by the application, or without results that the model reads
    return _uses(uses, _PER_OTHER_USE)


def _drawing(tool: Mapping[str, object], uses: int) -> tuple[str, int]:
    """The model that OpenAI's tool draws with, and how many tokens its pictures have at most.

    https://platform.openai.com/docs/guides/image-generation#cost-and-latency
    """
    quality, size, partial = tool.get("quality"), tool.get("size"), _limit(tool.get("partial_images")) or 0
    square, largest = _PICTURE_TOKENS.get(str(quality), _PICTURE_TOKENS["high"])
    each = (square if size == "1024x1024" else largest) + _PARTIAL_PICTURE * partial
    model = tool.get("model")
    return (model if isinstance(model, str) else _DRAWS), uses * each


def _of_gemini(kind: str, uses: int) -> ServerTools:
    """Gemini's tools (``tool_use_prompt_token_count``): what they find is billed once, and none of what is searched.

    Recorded: the prompt once more and 47 to 119 tokens for a search, and up to 4,600 tokens for the others.
    """
    if "googlesearch" in kind or "websearch" in kind:
        return ServerTools(uses, 0, 1)
    if "urlcontext" in kind:
        return ServerTools(0, uses * _PER_FETCH, 1)
    if "code" in kind:
        return ServerTools(0, uses * _PER_CODE_RUN * 5, uses)
    if "maps" in kind:
        return ServerTools(0, uses * _PER_OTHER_USE * 5, 1, pieces=(("place_search", uses),))
    return ServerTools(0, uses * (_PER_FILE_SEARCH if "filesearch" in kind else _PER_OTHER_USE * 5), 1)


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
