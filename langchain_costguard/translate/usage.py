"""What an answer of LangChain's says about its own cost: usage, billed parts, the model that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from costguard_core import Usage
from costguard_core.usage import anthropic, google
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.credibility import COUNTED_ELSEWHERE
from costguard_core.usage.langchain import read_langchain
from costguard_core.usage.openai import searches_always
from costguard_core.usage.reader import read_usage
from costguard_core.usage.stated_cost import stated_cost
from costguard_core.usage.totals import StreamUsage, latest_usage

# Where integrations keep the usage as the provider sent it.
_RAW = ("token_usage", "usage", "token_count", "billed_units")
_RAW_NAMES = frozenset(_RAW)
# What in the metadata of an answer shows a fee, as :func:`add_answer_fees` reads it.
_FEES = frozenset(("grounding_metadata", "groundingMetadata", "num_search_queries", "numSearchQueries"))
# LangChain's own ids of messages begin with these.
_OWN_IDS = ("run-", "lc_", "lc-")
# Integrations that report in each chunk of a stream how much a running total has grown.
_REPORT_GROWTH = frozenset(("google_genai", "google_vertexai", "google-genai", "google-vertexai"))


def result_usage(
    generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, streamed: Usage | None = None
) -> Usage | None:
    """What the provider says was consumed, or ``None`` if it says nothing.

    With ``n > 1`` every generation repeats the whole usage, so it is read once. ``streamed`` is what the chunks of a
    stream reported, of which LangChain adds up what gateways repeat.
    """
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            message = generation.message
            metadata = {**(llm_output or {}), **(generation.generation_info or {}), **message.response_metadata}
            found = streamed or _counts(message, metadata)
            if found is not None:
                return _with_billed_parts(found, message, metadata)
    reported = (llm_output or {}).get("token_usage")
    if isinstance(reported, Mapping):
        # BaseLLM.generate gives the first prompt of a batch the usage of all, and the others an empty one.
        return read_usage(reported) if reported else COUNTED_ELSEWHERE
    return None


def message_usage(message: BaseMessage, beside: Mapping[str, Any] | None = None) -> Usage | None:
    """Usage carried by one message, with what its content shows of fees; ``beside``: see :func:`message_counts`."""
    metadata = {**beside, **message.response_metadata} if beside else message.response_metadata
    found = _counts(message, metadata)
    return None if found is None else _with_billed_parts(found, message, metadata)


def message_counts(message: BaseMessage, beside: Mapping[str, Any] | None = None) -> Usage | None:
    """Usage that a message, or a chunk of one, reports.

    ``beside`` is metadata that LangChain moves into the message later. Integrations translate a usage into LangChain's
    form and drop parts of it; where the provider's own form is there too, both are read.
    """
    return _counts(message, {**beside, **message.response_metadata} if beside else message.response_metadata)


def _counts(message: BaseMessage, metadata: Mapping[str, Any]) -> Usage | None:
    carried = getattr(message, "usage_metadata", None)
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


def _both(translated: Usage, sent: Usage) -> Usage:
    """Two readings of one usage. The provider's own form decides what was input; parts may be in either."""
    merged = latest_usage(translated, sent)
    return replace(merged, input_tokens=sent.input_tokens or merged.input_tokens)


class ChunkReports:
    """What the chunks of one stream report about its usage. A chunk that is added twice in a row counts once."""

    __slots__ = ("_beside", "_last", "_reports")

    def __init__(self, provider: str | None) -> None:
        """``provider`` as LangChain names it."""
        self._reports = StreamUsage(growth=(provider or "") in _REPORT_GROWTH)
        self._last: Generation | None = None
        self._beside = {"model_provider": provider}

    def add(self, chunk: Generation | None) -> None:
        """The next chunk; most of them report nothing."""
        if chunk is None or chunk is self._last or not isinstance(chunk, ChatGeneration):
            return
        self._last = chunk
        message = chunk.message
        if not message.response_metadata and getattr(message, "usage_metadata", None) is None:
            return
        found = message_counts(message, {**self._beside, **(chunk.generation_info or {})})
        if found is not None:
            self._reports.add(found)

    @property
    def usage(self) -> Usage | None:
        """``None``: nothing was reported."""
        return self._reports.usage


def chunks_usage(chunks: Iterable[Generation], provider: str | None) -> Usage | None:
    """What the chunks of a whole stream report; ``None``: nothing."""
    reports = ChunkReports(provider)
    for chunk in chunks:
        reports.add(chunk)
    return reports.usage


def _with_billed_parts(usage: Usage, message: BaseMessage, metadata: Mapping[str, Any]) -> Usage:
    """With fees that only the content shows, and the id by which the provider knows the answer."""
    content = message.content if isinstance(message.content, list) else []
    blocks = (
        [*content, *(message.additional_kwargs.get("tool_outputs") or ())] if message.additional_kwargs else content
    )
    model = str(metadata.get("model_name") or metadata.get("model") or "")
    if blocks or not _FEES.isdisjoint(metadata) or searches_always(model):
        usage = add_answer_fees(usage, blocks, metadata, model)
    if content:
        usage = _with_pictures(usage, content, model)
        if not usage.others and not metadata.get("usage") and anthropic.hides_passes(content):
            usage = replace(usage, estimated=True)
    identity = metadata.get("id") or metadata.get("request_id") or message.id
    if isinstance(identity, str) and not identity.startswith(_OWN_IDS):
        usage = replace(usage, request_id=identity)
    return usage


def _with_pictures(usage: Usage, content: Sequence[Any], model: str) -> Usage:
    """LangChain drops how many of Gemini's output tokens are pictures, which cost ten times as much as text."""
    if usage.image_output_tokens or "gemini" not in model.lower():
        return usage
    pictures = sum(isinstance(block, Mapping) and "image" in str(block.get("type")) for block in content)
    if not pictures:
        return usage
    tokens = google.picture_tokens(pictures, usage.output_tokens - usage.reasoning_tokens, model)
    return replace(usage, image_output_tokens=tokens, estimated=True)


def answering_model(generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> str | None:
    """The model that the provider says it used (a dated snapshot of an alias, a fallback)."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            metadata = generation.message.response_metadata
            named = metadata.get("model_name") or metadata.get("model")
            if isinstance(named, str):
                return named
    named = (llm_output or {}).get("model_name")
    return named if isinstance(named, str) else None
