"""Tokens that a vendor adds to a prompt on its own: for tools, for answers that fit a schema, and by its chat template.

None of it is in the request, all of it is billed. The numbers are upper ones of what vendors document or what
recordings show; they make a count an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing: 346 tokens for Claude 4 to 4.6 (313
# with a forced tool), 530 for Claude 3 Opus; models from Opus 4.7 on, with their new tokenizer, about twice as many.
_CLAUDE_TOOLS, _CLAUDE_TOOLS_NEW = 530, 850
# Recorded: a schema of three fields for the answer added 180 tokens to a prompt, of which 80 were the schema.
_CLAUDE_SCHEMA = 150
# Descriptions of the tools that Anthropic defines, in tokens: recordings (memory 1,520; searches up to 2,400) and the
# pages of the tools (text editor 700, bash 245, computer use 735 and a system prompt of 499).
_CLAUDE_OWN_TOOLS: Mapping[str, int] = {
    "memory": 1_700,
    "text_editor": 750,
    "bash": 300,
    "computer": 1_300,
    "web_search": 2_500,
    "web_fetch": 2_500,
    "code_execution": 2_500,
    "tool_search": 1_500,
}
_CLAUDE_OWN_TOOL = 2_500
# gpt-oss: the harmony format's system message; recorded 60 to 72 tokens above the text at three sellers, with tools
# more.
_GPT_OSS, _GPT_OSS_TOOLS = 90, 150
# Chat templates with today's date (Llama 3) or a prompt for tools (Llama, DeepSeek, Qwen, Mistral).
_LLAMA, _OPEN_TOOLS = 40, 400
# Hosted tools of OpenAI's and of others come with a prompt of the provider's.
_HOSTED_TOOL = 500


def hidden_tokens(model: str, provider: str | None, params: Mapping[str, Any]) -> int:
    """Tokens that are billed although nothing in the request shows them, at most; 0 where none are known.

    ``params`` are those of the request: ``tools`` and whatever asks for an answer that fits a schema.
    """
    return _hidden(model, provider, params) if params else _of_template(model, provider)


@lru_cache(1024)
def _of_template(model: str, provider: str | None) -> int:
    return _hidden(model, provider, {})


def _hidden(model: str, provider: str | None, params: Mapping[str, Any]) -> int:
    name, tools = model.lower(), [tool for tool in params.get("tools") or () if tool]
    if "claude" in name or "anthropic" in (provider or "").lower():
        return _claude(name, tools, params)
    if "gpt-oss" in name:
        return _GPT_OSS + (_GPT_OSS_TOOLS if tools else 0)
    hosted = sum(_HOSTED_TOOL for tool in tools if is_hosted(tool))
    if re.search(r"llama|deepseek|qwen|kimi|glm|mistral|mixtral|command|nova|granite|gemma", name):
        return hosted + (_LLAMA if "llama" in name else 0) + (_OPEN_TOOLS if tools else 0)
    return hosted


def _claude(name: str, tools: list[Any], params: Mapping[str, Any]) -> int:
    tokens = _CLAUDE_SCHEMA if any(params.get(key) for key in ("output_config", "output_format")) else 0
    if not tools:
        return tokens
    tokens += _CLAUDE_TOOLS_NEW if is_new_claude(name) else _CLAUDE_TOOLS
    for tool in tools:
        kind = str(tool.get("type") or "") if isinstance(tool, Mapping) else ""
        if is_hosted(tool):
            known = (size for word, size in _CLAUDE_OWN_TOOLS.items() if kind.startswith(word))
            tokens += next(known, _CLAUDE_OWN_TOOL)
    return tokens


def is_new_claude(name: str) -> bool:
    """Whether a Claude model has the tokenizer that came with Opus 4.7, which makes up to 1.35 times as many tokens."""
    found = re.search(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:[-.](\d{1,2})(?!\d))?", name)
    if found is None:
        return False
    family, version = found[1], (int(found[2]), int(found[3] or 0))
    return version >= ((4, 7) if family == "opus" else (5, 0))


def is_hosted(tool: Any) -> bool:
    """Whether a tool is one that the provider defines or runs, not a function of the application."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    if kind is None:
        return not any(key in tool for key in ("name", "function", "function_declarations", "functionDeclarations"))
    return kind not in ("function", "custom", "tool")


# https://platform.openai.com/docs/guides/reasoning, https://ai.google.dev/gemini-api/docs/thinking and others' pages.
_THINKS = re.compile(
    r"(^|[/.:-])(o[134](-|$)|gpt-5(?!.*chat)|gpt-oss|gemini-(2\.5|3)|deepseek-r|deepseek-reasoner|grok-4|magistral|qwq)"
)


@lru_cache(maxsize=1024)
def thinks_unasked(model: str) -> bool:
    """Whether a model is known to think in hidden tokens without being told to: a cap on its answer must leave room."""
    return _THINKS.search(model.lower()) is not None
