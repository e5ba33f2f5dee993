"""What a response reports: its :class:`~costguard_core.types.Usage` and why it ended, whatever provider it was.

Pure functions over dicts or objects with attributes; no provider SDK is imported. The rule of each provider, and where
it is written, stands in the module named after it. Of LangChain's messages three things are read: its own form, the
provider's beside it, and what only the content shows. LangChain's own form is one shape for every provider, from which
integrations leave things out. ``input_tokens`` is the sum of all input, cache included; details need not add up to it:
https://python.langchain.com/api_reference/core/messages/langchain_core.messages.ai.UsageMetadata.html

Why an answer ended is read here too, in the words of the provider, wherever its response says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage import anthropic, google
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.anthropic import read_anthropic
from costguard_core.usage.bedrock import read_converse, read_invocation_metrics, with_guardrails
from costguard_core.usage.cohere import read_billed_units
from costguard_core.usage.fields import TIER_NAMES, count, get, tier_of
from costguard_core.usage.google import billed_uses, read_gemini, read_interactions
from costguard_core.usage.groq import with_breakdown
from costguard_core.usage.huggingface import read_generation
from costguard_core.usage.mistral import read_pages
from costguard_core.usage.ollama import read_ollama
from costguard_core.usage.openai import (
    prompt_with_cache,
    read_chat,
    read_responses,
    read_speech,
    searches_always,
    searches_dearer,
    with_tool_usage,
)
from costguard_core.usage.stated_cost import stated_cost
from costguard_core.usage.totals import StreamUsage, latest_usage
from costguard_core.usage.voyage import read_total

# Where a response keeps its usage, outermost first.
_WRAPPERS = (
    "usage",
    "usage_metadata",
    "usageMetadata",
    "usage_info",
    "meta",
    "token_usage",
    "amazon-bedrock-invocationMetrics",
    "x_groq",
    "details",
    "response",
    "message",
    "delta",
    "interaction",
)


def read_langchain(
    usage_metadata: Mapping[str, object], response_metadata: Mapping[str, object] | None = None
) -> Usage:
    """``response_metadata`` adds the service tier and server-side web searches."""
    read, written = usage_metadata.get("input_token_details"), usage_metadata.get("output_token_details")
    raw = response_metadata.get("usage") if response_metadata else None
    if not read and not written and raw is None:
        sent, made = usage_metadata.get("input_tokens"), usage_metadata.get("output_tokens")
        if not (type(sent) is int and type(made) is int and sent >= 0 <= made):
            sent, made = count(usage_metadata, "input_tokens"), count(usage_metadata, "output_tokens")
        if not response_metadata or TIER_NAMES.isdisjoint(response_metadata):
            return Usage(sent, made)
        tier, stated = tier_of(response_metadata)
        return Usage(input_tokens=sent, output_tokens=made, tier=tier, tier_stated=stated)
    renamed = _renamed_tier(read) or _renamed_tier(written)
    tier, stated = (renamed, True) if renamed else tier_of(response_metadata)
    prefix = f"{tier}_" if tier in ("priority", "flex") else ""
    cached = count(read, "cache_read") or count(read, f"{prefix}cache_read")
    long = count(read, "ephemeral_1h_input_tokens")
    # With a breakdown by lifetime LangChain sets the plain sum to 0.
    created = count(read, "cache_creation") or count(read, f"{prefix}cache_creation")
    creation = max(created, long + count(read, "ephemeral_5m_input_tokens"))
    prompt = prompt_with_cache(usage_metadata, "input_tokens", "output_tokens", cached + creation)
    reasoning = count(written, "reasoning") or count(written, f"{prefix}reasoning")
    return Usage(
        input_tokens=prompt,
        output_tokens=_with_reasoning(usage_metadata, prompt, reasoning),
        cache_read_tokens=cached,
        cache_write_tokens=creation,
        cache_write_1h_tokens=long,
        audio_input_tokens=count(read, "audio"),
        audio_output_tokens=count(written, "audio"),
        image_input_tokens=count(read, "image"),
        video_input_tokens=count(read, "video"),
        image_output_tokens=count(written, "image"),
        reasoning_tokens=reasoning,
        web_searches=count(get(raw, "server_tool_use"), "web_search_requests"),
        tier=tier,
        tier_stated=stated,
    )


def is_langchain(raw: object) -> bool:
    """Whether ``input_tokens``/``output_tokens`` come with LangChain's details, and not with a provider's."""
    details = (get(raw, "input_token_details"), get(raw, "output_token_details"))
    # OpenAI's Realtime API has the same two names, but its details end in "_tokens".
    names = [str(name) for part in details if isinstance(part, Mapping) for name in part]
    return bool(names) and not any(name in ("cached_tokens", "text_tokens", "audio_tokens") for name in names)


def _with_reasoning(usage_metadata: Mapping[str, object], prompt: int, reasoning: int) -> int:
    """All tokens of the answer: some providers count the reasoning beside it, which only the total tells."""
    written = count(usage_metadata, "output_tokens")
    apart = count(usage_metadata, "total_tokens") - prompt - written
    return written + reasoning if reasoning and (reasoning > written or apart == reasoning) else written


def _renamed_tier(details: object) -> str | None:
    """LangChain marks priority and flex calls by renaming their details (``priority_cache_read``, ``priority``)."""
    if not details:
        return None
    names = [str(name) for name in details] if isinstance(details, Mapping) else []
    return next((t for t in ("priority", "flex") if any(n == t or n.startswith(f"{t}_") for n in names)), None)


def read_usage(raw: object, *, provider: str | None = None) -> Usage | None:
    """The usage in a provider's response, or in its usage part; ``None`` if there is none to be found.

    ``provider`` settles the cases in which a shape alone is ambiguous.
    """
    if raw is None or isinstance(raw, (str, bytes, int, float)):
        return None
    for names, read in _SHAPES:
        if any(get(raw, name) is not None for name in names):
            return _read_input_output(raw, provider) if read is None else read(raw)
    return _unwrapped(raw, provider)


def _read_input_output(raw: Any, provider: str | None) -> Usage:
    """``input_tokens``/``output_tokens``: told apart by the details that come with them, else by the provider."""
    if is_langchain(raw):
        return read_langchain(raw)
    names = (
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "server_tool_use",
        "iterations",
        "inference_geo",
    )
    thinking = get(get(raw, "output_tokens_details"), "thinking_tokens")
    claude = "anthropic" in (provider or "").lower()
    if claude or thinking is not None or any(get(raw, name) is not None for name in names):
        return read_anthropic(raw)
    return read_responses(raw)


# Names by which a shape is recognised, in this order; the reader of ``input_tokens`` needs to know the provider.
_SHAPES: tuple[tuple[tuple[str, ...], Callable[[object], Usage] | None], ...] = (
    (("billed_units",), read_billed_units),
    (("inputTokenCount", "outputTokenCount", "generation_token_count", "inputTextTokenCount"), read_invocation_metrics),
    (("prompt_token_count", "candidates_token_count", "thoughts_token_count", "response_token_count"), read_gemini),
    (("total_input_tokens", "total_output_tokens"), read_interactions),
    (("inputTokens", "outputTokens"), read_converse),
    (("prompt_tokens", "completion_tokens", "prompt_cache_miss_tokens"), read_chat),
    (("input_tokens", "output_tokens"), None),
    (("prompt_eval_count", "eval_count"), read_ollama),
    (("pages_processed",), read_pages),
    (("generated_tokens",), read_generation),
    (("search_units",), read_billed_units),
    (("seconds",), read_speech),
    (("total_tokens",), read_total),
)


def _unwrapped(raw: object, provider: str | None) -> Usage | None:
    """A whole response or stream event: the usage is a level down, the tier and the cost sometimes beside it."""
    for name in _WRAPPERS:
        inner = get(raw, name)
        usage = None if inner is raw else read_usage(inner, provider=provider)
        if usage is None:
            continue
        tier, stated = tier_of(raw) if usage.tier is None else (usage.tier, usage.tier_stated)
        cost = stated_cost(raw) if usage.stated_cost is None else usage.stated_cost
        usage = replace(usage, tier=tier, tier_stated=stated or usage.tier_stated, stated_cost=cost)
        if get(raw, "tool_usage") is not None:
            usage = with_tool_usage(usage, raw)
        if get(raw, "trace") is not None:
            usage = with_guardrails(usage, raw)
        if usage.web_searches and get(inner, "grounding_tool_count") is not None:
            usage = billed_uses(usage, str(get(raw, "model") or ""))
        return usage if get(raw, "usage_breakdown") is None else with_breakdown(usage, raw)
    return None


# Where integrations keep the usage as the provider sent it.
_RAW = ("token_usage", "usage", "token_count", "billed_units")
_RAW_NAMES = frozenset(_RAW)
# What in the metadata of an answer shows a fee, as :func:`add_answer_fees` reads it.
_FEES = frozenset(
    ("grounding_metadata", "groundingMetadata", "num_search_queries", "numSearchQueries", "executed_tools", "trace")
)
# Integrations that report in each chunk of a stream how much a running total has grown.
_REPORT_GROWTH = frozenset(("google_genai", "google_vertexai", "google-genai", "google-vertexai"))
# Sellers whose usage has more than OpenAI's form of it: a cost, cached tokens under names of their own, fees, sources.
# OpenAI's integration drops that in streams, and always of the Responses API.
_SAY_MORE = frozenset(
    "openrouter perplexity x-ai deepinfra deepseek mistral moonshotai together groq dashscope".split()
)
# Integrations that drop it of their own sellers: Perplexity's always, the others in streams.
_DROP_MORE = frozenset(("perplexity", "xai", "mistral", "mistralai"))
# LangChain's own ids of messages begin with these.
_OWN_IDS = ("run-", "lc_", "lc-")


def message_counts(carried: Mapping[str, object] | None, metadata: Mapping[str, object]) -> Usage | None:
    """Usage that a message, or a chunk of one, reports; ``None`` if it says nothing.

    Integrations translate a usage into LangChain's form (``carried``) and drop parts of it; where the provider's own
    form is there too, in the metadata, both are read.
    """
    found = read_langchain(carried, metadata) if carried else None
    for name in _RAW if not _RAW_NAMES.isdisjoint(metadata) else ():
        raw = metadata.get(name)
        if isinstance(raw, Mapping) and raw:
            sent = read_usage({"billed_units": raw} if name == "billed_units" else raw)
            if sent is not None:
                billed = "billed_units" in (name, *raw)  # Cohere's, which differ from the tokens that it reports
                found = sent if found is None or billed else _both(found, sent)
    cost = stated_cost(metadata) if "cost" in metadata else None
    if cost is not None:
        found = replace(found or Usage(), stated_cost=cost)
    return found


class MessageStream:
    """What the chunks of one streamed message report about its usage; most of them report nothing."""

    __slots__ = ("_beside", "_last", "_reports")

    def __init__(self, provider: str | None) -> None:
        """``provider`` as LangChain names it."""
        self._reports = StreamUsage(growth=provider in _REPORT_GROWTH)
        self._beside = {"model_provider": provider}
        self._last: object = None

    def add(
        self,
        chunk: object,
        carried: Mapping[str, object] | None,
        metadata: Mapping[str, object],
        beside: Mapping[str, object] | None,
    ) -> None:
        """The next chunk. One that is added twice in a row counts once.

        Args:
            chunk: itself.
            carried: its usage in LangChain's form.
            metadata, beside: what else it says, in its message and beside it.
        """
        if chunk is self._last or not (metadata or carried is not None):
            return
        self._last = chunk
        found = message_counts(carried, {**self._beside, **(beside or {}), **metadata})
        if found is not None:
            self._reports.add(found)

    @property
    def usage(self) -> Usage | None:
        """``None``: nothing was reported."""
        return self._reports.usage


def with_dropped_parts(usage: Usage, client: str | None, seller: str | None, metadata: Mapping[str, object]) -> Usage:
    """``usage`` as an estimate where only LangChain's form of it is known, and the seller's own may say more.

    Args:
        client: the provider that the integration is made for, as LangChain names it.
        seller: who bills, as :func:`~costguard_core.pricing.providers.seller_of` names it.
        metadata: of the message, where the provider's own form stands if the integration passes it on.
    """
    if usage.stated_cost is not None or any(metadata.get(name) for name in _RAW):
        return usage
    drops = client in _DROP_MORE or (client == "openai" and seller in _SAY_MORE)
    several = client == "groq" and "compound" in str(metadata.get("model_name"))
    return replace(usage, estimated=True) if drops or several else usage


def with_hour_writes(usage: Usage) -> Usage:
    """For a request that asks its cache to stay for an hour, where the stream does not say how long each write stays.

    LangChain drops that in streams. All writes are taken for the dearer ones, as they are unless the request has
    marks of five minutes, too; so it is an estimate.
    """
    if usage.cache_write_1h_tokens or not usage.cache_write_tokens:
        return usage
    return replace(usage, cache_write_1h_tokens=usage.cache_write_tokens, estimated=True)


def _both(translated: Usage, sent: Usage) -> Usage:
    """Two readings of one usage. The provider's own form decides what was input; parts may be in either."""
    merged = latest_usage(translated, sent)
    return replace(merged, input_tokens=sent.input_tokens or merged.input_tokens)


def with_billed_parts(
    usage: Usage, content: Any, extra: Mapping[str, Any], metadata: Mapping[str, Any], message_id: str | None
) -> Usage:
    """With fees that only the content of a message shows, and the id by which the provider knows the answer."""
    content = content if isinstance(content, list) else []
    blocks = [*content, *(extra.get("tool_outputs") or ())] if extra else content
    if extra and "executed_tools" in extra:
        metadata = {**metadata, "executed_tools": extra["executed_tools"]}
    model = str(metadata.get("model_name") or metadata.get("model") or "")
    if blocks or not _FEES.isdisjoint(metadata) or searches_always(model):
        usage = add_answer_fees(usage, blocks, metadata, model)
        usage = with_guardrails(usage, metadata) if "trace" in metadata else usage
        if usage.web_searches and blocks and searches_dearer(model):  # with which tool is not passed on
            usage = replace(usage, estimated=True)
    if content:
        usage = _with_pictures(usage, content, model)
        told = usage.others or usage.passes or metadata.get("usage")
        if not told and anthropic.hides_passes(content, usage.input_tokens):
            usage = replace(usage, estimated=True)
    identity = metadata.get("id") or metadata.get("request_id") or message_id
    if isinstance(identity, str) and not identity.startswith(_OWN_IDS):
        usage = replace(usage, request_id=identity)
    return usage


def _with_pictures(usage: Usage, content: Sequence[object], model: str) -> Usage:
    """LangChain drops how many of Gemini's output tokens are pictures, which cost ten times as much as text."""
    if usage.image_output_tokens or "gemini" not in model.lower():
        return usage
    pictures = sum(isinstance(block, Mapping) and "image" in str(block.get("type")) for block in content)
    if not pictures:
        return usage
    tokens = google.picture_tokens(pictures, usage.output_tokens - usage.reasoning_tokens, model)
    return replace(usage, image_output_tokens=tokens, estimated=True)


# OpenAI's and Gemini's name, Anthropic's, Ollama's and Bedrock's; OpenAI's Responses API has a status, with details.
_NAMES = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_DETAILS = "incomplete_details"
_ANSWERS = ("choices", "candidates")  # OpenAI's and Gemini's list of the answers to one request
_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
_MESSAGES = ("message", "delta")  # in which OpenAI says that the model refused


def finish_reasons(sources: Iterable[Any]) -> list[str]:
    """The reasons in the parts of a response that may hold one: mappings or objects, enumerations by their value."""
    reasons: list[str] = []
    for source in sources:
        plain = isinstance(source, Mapping)
        for name in _NAMES:
            found = source.get(name) if plain else getattr(source, name, None)
            found = getattr(found, "value", found)
            if isinstance(found, str):
                reasons.append(found)
        details = source.get(_DETAILS) if plain else getattr(source, _DETAILS, None)
        if details is not None:
            detail = details.get("reason") if isinstance(details, Mapping) else getattr(details, "reason", None)
            if isinstance(detail, str):
                reasons.append(detail)
    return reasons


def end_sources(response: Any) -> list[Any]:
    """Whatever of a response of LlamaIndex's may say why it ended: the provider's own in ``raw``, its parts, and what
    the integration keeps beside it and its message. Most that was not streamed has nothing but a ``raw``."""
    raw, sources = response.raw, []
    if raw is not None:
        plain = isinstance(raw, Mapping)
        sources.append(raw)
        delta = raw.get("delta") if plain else getattr(raw, "delta", None)
        if delta is not None:
            sources.append(delta)
        for name in _ANSWERS:
            found = raw.get(name) if plain else getattr(raw, name, None)
            if isinstance(found, (list, tuple)):
                sources += found
    message = response.__dict__.get("message")
    if message is not None and message.additional_kwargs:
        sources.append(message.additional_kwargs)
    if response.additional_kwargs:
        sources.append(response.additional_kwargs)
    return sources


def is_refusal(sources: Iterable[Any]) -> bool:
    """Whether the model declined to answer, as the parts of its response (:func:`end_sources`) say."""
    for source in sources:
        plain = isinstance(source, Mapping)
        for part in _MESSAGES:
            found = source.get(part) if plain else getattr(source, part, None)
            if found is None:
                continue
            if found.get("refusal") if isinstance(found, Mapping) else getattr(found, "refusal", None):
                return True
    return False


def says_of(content: str | Iterable[Any], beside: Mapping[str, object], calls: object) -> tuple[bool, bool]:
    """Whether a model declined to answer, and whether nothing was said: no text, tool call, sound or picture.

    Args:
        content: of its message, a text or blocks.
        beside: what an integration keeps beside it, in OpenAI's names.
        calls: of tools; anything that is true if there are some.
    """
    refused = bool(beside.get("refusal"))
    acts = bool(calls or beside.get("function_call") or beside.get("audio"))
    if isinstance(content, str):
        return refused, not (acts or content.strip())
    says = False
    for block in content:
        if isinstance(block, str):
            says = says or bool(block.strip())
            continue
        refused = refused or block.get("type") == "refusal" or bool(block.get("refusal"))
        says = says or (bool(str(block["text"]).strip()) if "text" in block else block.get("type") not in _THOUGHTS)
    return refused, not (acts or says)
