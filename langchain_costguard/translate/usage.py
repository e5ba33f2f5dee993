"""What an answer of LangChain's says about its own cost: usage, billed parts, the model that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from costguard_core import Usage
from costguard_core.usage.credibility import COUNTED_ELSEWHERE
from costguard_core.usage.message_usage import message_counts, with_billed_parts
from costguard_core.usage.reader import read_usage
from costguard_core.usage.totals import StreamUsage

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
            found = streamed or message_counts(getattr(message, "usage_metadata", None), metadata)
            if found is not None:
                return with_billed_parts(found, message.content, message.additional_kwargs, metadata, message.id)
    reported = (llm_output or {}).get("token_usage")
    if isinstance(reported, Mapping):
        # BaseLLM.generate gives the first prompt of a batch the usage of all, and the others an empty one.
        return read_usage(reported) if reported else COUNTED_ELSEWHERE
    return None


def message_usage(message: BaseMessage, beside: Mapping[str, Any] | None = None) -> Usage | None:
    """Usage carried by one message, with what its content shows of fees."""
    metadata = {**beside, **message.response_metadata} if beside else message.response_metadata
    found = message_counts(getattr(message, "usage_metadata", None), metadata)
    if found is None:
        return None
    return with_billed_parts(found, message.content, message.additional_kwargs, metadata, message.id)


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
        found = message_counts(
            getattr(message, "usage_metadata", None),
            {**self._beside, **(chunk.generation_info or {}), **message.response_metadata},
        )
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
