"""Tokens that a vendor adds to a prompt on its own: for tools, for answers that fit a schema, and by its chat template.

None of it is in the request, all of it is billed. The numbers are upper ones of what vendors document or what
recordings show; they make a count an estimate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import ceil
from typing import Any

from costguard_core.usage.openai_tools import functions_text, is_without_schema

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing: 346 tokens for Claude 4 to 4.6 (313
# with a forced tool), 530 for Claude 3 Opus; models from Opus 4.7 on, with their new tokenizer, about twice as many.
# Recorded above the text of the tools: up to 569 (Sonnet 4.5 and Opus 4.6, with a tool that must be used).
_CLAUDE_TOOLS, _CLAUDE_TOOLS_NEW = 600, 850
# Recorded: a prompt is 20 to 29 tokens longer when the model may think.
_CLAUDE_THINKING = 32
# Recorded: a schema for the answer added 115 to 130 tokens beside its own.
_CLAUDE_SCHEMA = 140
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
# Chat templates with today's date (Llama 3) or a prompt for tools (Llama, DeepSeek, Qwen). Recorded: one tool with
# Llama 4 up to 678 above the text, with Nova 2 846; DeepSeek V4 67 and MiniMax 28 without any.
# Llama 3 itself has no date; a distilled model has the template of its teacher.
# Qwen 2 and 2.5 say by whom they were made (20); Nova 2 31, and 78 where it is told to think; Grok 4.3 has 192 of its
# own, with a tool 160 to 200; Mistral's prompts were one token above the margin of their text.
_TEMPLATES = (
    (r"distill|llama-?3-\d+b", 8),
    ("llama", 40),
    (r"deepseek-v[4-9]", 80),
    ("minimax", 35),
    (r"qwen-?2", 25),
    ("nova-2", 40),
    (r"grok-([3-9]|code)", 200),
    ("mistral|ministral|magistral|pixtral|devstral", 4),
)
_NOVA_THINKING = 60
_O1_MINI_NAME = re.compile(r"(^|/)o1-(mini|preview)")
# Cohere bills tools without any, Mistral up to 17.
_OPEN_TOOLS = (
    (r"llama-?4", 690),
    ("nova", 860),
    ("command", 0),
    ("mistral|mixtral|devstral|pixtral|magistral", 25),
    ("grok", 90),
    ("", 400),
)
# OpenAI's models that think, with tools in Chat Completions: recorded 87 to 100 above what they read of them, GPT-5
# and later; o1-mini 7 without any.
_THINKING_TOOLS, _O1_MINI = 80, 10
# Around functions, beside what is written of them: recorded up to 60, of which their margin has a part.
_FUNCTIONS_FRAME = 28
# Encrypted thoughts that a prompt repeats, in tokens per letter of their base64: recorded up to 0.206 (Gemini 3, also
# on Vertex AI), 0.18 (Gemini 2.5, mostly nothing) and 0.141 (OpenAI). Of Gemini only those of the turn count, after the
# last message of the user's: https://ai.google.dev/gemini-api/docs/thought-signatures; recorded so in all of 33 prompts
# with earlier ones, but not with Gemini 3.5.
_SEALED_GEMINI, _SEALED_OPENAI = 0.21, 0.15
_UNSEALED_GEMINI = re.compile(r"gemini-(1|2\.0)")
_SEALED_IN_TURN = re.compile(r"gemini-(2\.5|3-|3\.1)")
_SEALED = frozenset(("thoughtSignature", "thought_signature", "encrypted_content", "signature"))
_SEALED_MAP = "__gemini_function_call_thought_signatures__"  # LangChain's, by the id of a call
# Gemini's schema of an answer is mostly not billed: recorded up to 7 tokens above the text since Gemini 2.5, and up to
# 49 with Gemini 2.0.
_GEMINI_SCHEMA, _GEMINI_SCHEMA_OLD = 10, 50
_OLD_GEMINI = re.compile(r"gemini-(1|2\.0)")
# A conversation or a cached prompt that the provider remembers has an unknown length: what stands for it is a choice,
# stated in docs/money.md.
_REMEMBERED = ("previous_response_id", "conversation", "cached_content", "cachedContent")
UNKNOWN_CONVERSATION = 10_000
# OpenAI's "pro" mode of a model asks it several times: recorded 1,530 tokens beside a prompt of 18.
_PRO_MODE = 2_000
# Hosted tools of OpenAI's and of others come with a prompt of the provider's: recorded 2,259 for making pictures.
_HOSTED_TOOL, _IMAGE_TOOL = 500, 2_400
# A tool whose input a grammar describes (OpenAI's "custom" tools): recorded 106 above its JSON.
_CUSTOM_TOOL = 120

# What of a request describes tools, or the form of the answer: it becomes part of the prompt.
_DESCRIBING = (
    "tools functions response_format text output_config output_format outputConfig toolConfig response_schema "
    "response_json_schema text_format documents"
).split()
_GOOGLE_SCHEMAS = ("response_schema", "response_json_schema")
_CONVERSE_SCHEMA = "outputConfig"
_BEDROCK_GRAMMAR = re.compile("gemma|minimax|mistral|magistral|ministral|nvidia|nemotron|qwen|glm")
_DEFINITIONS = ("$defs", "definitions")
# How often a schema that refers to itself is written out, and how many references are at most.
_RECURSIONS, _MOST_EXPANDED = 8, 500
_GOOGLE = re.compile("google|gemini|vertex")
_OPENAI_THINKING = re.compile(r"(^|/)(ft:)?(o[34]($|-)|gpt-5)")


def describing(params: Mapping[str, object], provider: str | None, model: str = "") -> list[object]:
    """What of a request's parameters the vendor writes into the prompt: tools, and the form of the answer.

    Gemini's schema of an answer is none of it (:func:`hidden_tokens` has what is billed for it), nor is Bedrock's for
    models other than Claude, which it holds to a grammar instead: recorded nothing for six of six makers.
    """
    found = [(name, params[name]) for name in _DESCRIBING if params.get(name)]
    if not found:
        return []
    seller = (provider or "").lower()
    # Recorded on Vertex AI: 62 tokens for a schema of two fields that Google's own API does not bill.
    unbilled: tuple[str, ...] = _GOOGLE_SCHEMAS if _GOOGLE.search(seller) and "vertex" not in seller else ()
    if (provider or "").startswith("amazon_bedrock") and _BEDROCK_GRAMMAR.search(model.lower()):
        unbilled = (_CONVERSE_SCHEMA,)
    return [value for name, value in found if name not in unbilled]


def described_json(
    params: Mapping[str, object],
    provider: str | None,
    describe: Callable[[object], object] | None = None,
    *,
    model: str = "",
) -> str | None:
    """:func:`describing` as JSON, for OpenAI's models in their own form; ``None``: nothing. ``describe`` writes an
    object as JSON data; by default a class by its schema, and all else as text."""
    described = describing(params, provider, model)
    if not described:
        return None
    written = json.dumps(described, default=describe or _schema)
    if is_openai(model):
        return _as_openai_reads(json.loads(written)) or None
    if "gemini" in model.lower() and '"$ref"' in written:
        return _without_references(json.loads(written))
    return written


def _without_references(schema: object) -> str:
    """A schema as JSON, with what it refers to written out, as Gemini bills it.

    Recorded: a tree that refers to itself is billed as if it was written out about eight times. What is written out
    may be nested more deeply than functions may call each other.
    """
    written: list[str] = []
    left = _MOST_EXPANDED
    # Texts, and parts with the definitions known there and the references that they stand for.
    rest: list[str | tuple[object, Mapping[str, object], tuple[str, ...]]] = [(schema, {}, ())]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            written.append(part)
            continue
        value, known, inside = part
        if isinstance(value, dict):
            for name in _DEFINITIONS:
                if isinstance(value.get(name), dict):
                    known = {**known, **{f"#/{name}/{key}": one for key, one in value[name].items()}}
            target = value.get("$ref")
            if isinstance(target, str) and target in known and inside.count(target) < _RECURSIONS and left > 0:
                left -= 1
                rest.append((known[target], known, (*inside, target)))
                continue
            kept = [(f"{json.dumps(key)}: ", one) for key, one in value.items() if key not in _DEFINITIONS]
        elif isinstance(value, list):
            kept = [("", one) for one in value]
        else:
            written.append(json.dumps(value))
            continue
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        written.append(opened)
        rest.append(closed)
        for at in reversed(range(len(kept))):
            key, one = kept[at]
            rest += [(one, known, inside), f", {key}" if at else key]
    return "".join(written)


def _as_openai_reads(described: Iterable[object]) -> str:
    """A list is one of tools, all else says what the answer looks like."""
    texts: list[str] = []
    for part in described:
        if isinstance(part, list):
            functions, others = functions_text(part)
            texts += [functions, json.dumps(others)] if others else [functions]
        elif not is_without_schema(part):
            texts.append(json.dumps(part))
    return "\n".join(filter(None, texts))


def _schema(value: object) -> object:
    schema = getattr(value, "model_json_schema", None)
    return schema() if callable(schema) else str(value)


def sealed_letters(value: object) -> int:
    """How many letters of encrypted thoughts are in a part of a message."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        if isinstance(part, Mapping):
            for name, one in part.items():
                if name == _SEALED_MAP and isinstance(one, Mapping):
                    total += sum(len(text) for text in one.values() if isinstance(text, str))
                elif name in _SEALED and isinstance(one, str):
                    total += len(one)
                else:
                    rest.append(one)
        elif isinstance(part, (list, tuple)):
            rest += part
    return total


def sealed_tokens(letters: int, model: str, provider: str | None, *, in_turn: int | None = None) -> int:
    """Tokens of encrypted thoughts, at most. Claude's signatures are not billed beside the thoughts that they sign.

    Args:
        letters: of all of them.
        in_turn: of those after the user's last message (default: all).
    """
    name, seller = model.lower(), (provider or "").lower()
    if "gemini" in name:
        if _UNSEALED_GEMINI.search(name):
            return 0
        counted = letters if in_turn is None or not _SEALED_IN_TURN.search(name) else in_turn
        return ceil(counted * _SEALED_GEMINI)
    return 0 if "claude" in name or "anthropic" in seller else ceil(letters * _SEALED_OPENAI)


def hidden_tokens(model: str, provider: str | None, params: Mapping[str, object]) -> int:
    """Tokens that are billed although nothing in the request shows them, at most; 0 where none are known.

    ``params`` are those of the request: ``tools`` and whatever asks for an answer that fits a schema.
    """
    if not params:
        return _of_template(model, provider)
    remembered = UNKNOWN_CONVERSATION if any(params.get(name) for name in _REMEMBERED) else 0
    return remembered + _hidden(model, provider, params)


@lru_cache(1024)
def _of_template(model: str, provider: str | None) -> int:
    return _hidden(model, provider, {})


def _hidden(model: str, provider: str | None, params: Mapping[str, Any]) -> int:
    name, tools = model.lower(), [tool for tool in params.get("tools") or () if tool]
    if "claude" in name or "anthropic" in (provider or "").lower():
        return _claude(name, tools, params)
    if "gpt-oss" in name:
        return _GPT_OSS + (_GPT_OSS_TOOLS if tools else 0) + _openai_frame(name, params)
    custom = sum(_CUSTOM_TOOL for tool in tools if isinstance(tool, Mapping) and tool.get("type") == "custom")
    hosted = custom + sum(_IMAGE_TOOL if _makes_pictures(tool) else _HOSTED_TOOL for tool in tools if is_hosted(tool))
    if re.search(
        r"llama|deepseek|qwen|kimi|glm|minimax|mi[ns]istral|mistral|mixtral|magistral|pixtral|devstral|command|nova|"
        r"granite|gemma|grok",
        name,
    ):
        template = next((size for part, size in _TEMPLATES if re.search(part, name)), 0)
        if "nova" in name and (params.get("reasoningConfig") or params.get("reasoning_config")):
            template += _NOVA_THINKING
        with_tools = next(size for part, size in _OPEN_TOOLS if re.search(part, name))
        return hosted + template + (with_tools if tools else 0)
    if any(params.get(name) for name in _GOOGLE_SCHEMAS) and "gemini" in name:
        bills = _OLD_GEMINI.search(name) or "vertex" in (provider or "").lower()
        return hosted + (_GEMINI_SCHEMA_OLD if bills else _GEMINI_SCHEMA)
    if _O1_MINI_NAME.search(name):
        return hosted + _O1_MINI
    if tools and _OPENAI_THINKING.search(name):
        return hosted + _THINKING_TOOLS + _openai_frame(name, params)
    reasoning = params.get("reasoning")
    if isinstance(reasoning, Mapping) and reasoning.get("mode") == "pro":
        return hosted + _PRO_MODE
    # What the provider does to the conversation by itself: the count is no longer exact.
    return hosted + _openai_frame(name, params) + bool(params.get("context_management"))


def _openai_frame(name: str, params: Mapping[str, Any]) -> int:
    """What stands around functions beside what OpenAI's models read of them."""
    return _FUNCTIONS_FRAME if is_openai(name) and (params.get("tools") or params.get("functions")) else 0


def _claude(name: str, tools: list[object], params: Mapping[str, object]) -> int:
    tokens = _CLAUDE_SCHEMA if _asks_for_schema(params) else 0
    if _thinks(name, params):
        tokens += _CLAUDE_THINKING
    if not tools:
        return tokens
    tokens += _CLAUDE_TOOLS_NEW if is_new_claude(name) else _CLAUDE_TOOLS
    for tool in tools:
        kind = str(tool.get("type") or "") if isinstance(tool, Mapping) else ""
        if is_hosted(tool):
            known = (size for word, size in _CLAUDE_OWN_TOOLS.items() if kind.startswith(word))
            tokens += next(known, _CLAUDE_OWN_TOOL)
    return tokens


def _thinks(name: str, params: Mapping[str, object]) -> bool:
    """Anthropic's ``thinking``, OpenRouter's ``reasoning``, or a name that says so."""
    for key in ("thinking", "reasoning"):
        given = params.get(key)
        if isinstance(given, Mapping) and given.get("type") != "disabled" and given.get("enabled") is not False:
            return True
    return name.endswith(":thinking")


def _asks_for_schema(params: Mapping[str, object]) -> bool:
    """``output_config`` may say no more than how much effort to make."""
    config = params.get("output_config")
    if params.get("output_format") or params.get("outputConfig") or params.get("response_format"):
        return True
    return bool(config.get("format") if isinstance(config, Mapping) else config)


_OPENAI = re.compile(
    r"(ft:)?(chatgpt-4o|gpt-4($|-|:|o|\.\d)|gpt-5|gpt-oss|gpt-3\.?5|gpt-35|o[134]($|-)|codex-mini|computer-use)"
)


def is_openai(model: str) -> bool:
    """Whether a model is one of OpenAI's whose tokenizer is known."""
    name = model.lower().rpartition("/")[2]
    return "search" not in name and _OPENAI.match(name) is not None


def is_new_claude(name: str) -> bool:
    """Whether a Claude model has the tokenizer that came with Opus 4.7, which makes up to 1.35 times as many tokens."""
    found = re.search(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:[-.](\d{1,2})(?!\d))?", name)
    if found is None:
        return False
    family, version = found[1], (int(found[2]), int(found[3] or 0))
    return version >= ((4, 7) if family == "opus" else (5, 0))


# Keys of a function of the application where a tool has no type: OpenAI's older form, Gemini's and Bedrock's; Bedrock's
# mark between tools is none of them.
_OWN_FUNCTIONS = ("name", "function", "function_declarations", "functionDeclarations", "toolSpec", "cachePoint")


def is_hosted(tool: object) -> bool:
    """Whether a tool is one that the provider defines or runs, not a function of the application."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    if kind is None:
        return not any(key in tool for key in _OWN_FUNCTIONS)
    return kind not in ("function", "custom", "tool")


def _makes_pictures(tool: object) -> bool:
    return isinstance(tool, Mapping) and str(tool.get("type") or "").startswith("image_generation")


# https://platform.openai.com/docs/guides/reasoning, https://ai.google.dev/gemini-api/docs/thinking and others' pages.
_THINKS = re.compile(
    r"(^|[/.:-])(o[134](-|$)|gpt-5(?!.*chat)|gpt-oss|gemini-(2\.5|3)|deepseek-r|deepseek-reasoner|grok-4|magistral|qwq)"
)


@lru_cache(maxsize=1024)
def thinks_unasked(model: str) -> bool:
    """Whether a model is known to think in hidden tokens without being told to: a cap on its answer must leave room."""
    return _THINKS.search(model.lower()) is not None


def thinks(model: str, params: Mapping[str, object]) -> bool:
    """Whether a model is known to think in hidden tokens in a call with these parameters, told to or not."""
    told = params.get("reasoning_effort") not in (None, "none", "minimal")
    return told or thinks_unasked(model) or _thinks(model.lower(), params)
