"""The usage of one message: in LangChain's form, in the provider's beside it, and what only the content shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage import anthropic, google
from costguard_core.usage.answer_fees import add_answer_fees
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
# Integrations that report in each chunk of a stream how much a running total has grown.
_REPORT_GROWTH = frozenset(("google_genai", "google_vertexai", "google-genai", "google-vertexai"))
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
    model = str(metadata.get("model_name") or metadata.get("model") or "")
    if blocks or not _FEES.isdisjoint(metadata) or searches_always(model):
        usage = add_answer_fees(usage, blocks, metadata, model)
    if content:
        usage = _with_pictures(usage, content, model)
        if not usage.others and not metadata.get("usage") and anthropic.hides_passes(content):
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
