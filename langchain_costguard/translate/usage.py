"""What an answer of LangChain's says about its own cost: usage, billed parts, the model that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from langchain_core.outputs import ChatGeneration, Generation

from costguard_core import Usage
from costguard_core.usage.credibility import COUNTED_ELSEWHERE
from costguard_core.usage.message_usage import MessageStream, message_counts, with_billed_parts
from costguard_core.usage.reader import read_usage


def result_usage(
    generations: Sequence[Generation], llm_output: Mapping[str, object] | None, streamed: Usage | None = None
) -> Usage | None:
    """What the provider says was consumed, or ``None`` if it says nothing.

    With ``n > 1`` every generation repeats the whole usage, so it is read once. ``streamed`` is what the chunks of a
    stream reported, of which LangChain adds up what gateways repeat.
    """
    for generation in generations:
        if not isinstance(generation, ChatGeneration):
            continue
        message, info = generation.message, generation.generation_info
        metadata: Mapping[str, object] = message.response_metadata
        if llm_output or info:
            metadata = {**(llm_output or {}), **(info or {}), **metadata}
        found = streamed or message_counts(message.__dict__.get("usage_metadata"), metadata)
        if found is not None:
            return with_billed_parts(found, message.content, message.additional_kwargs, metadata, message.id)
    reported = (llm_output or {}).get("token_usage")
    if isinstance(reported, Mapping) and reported:
        return read_usage(reported)
    # BaseLLM.generate gives the first prompt of a batch the usage of all, and the others an empty one.
    return COUNTED_ELSEWHERE if reported == {} and not any(isinstance(g, ChatGeneration) for g in generations) else None


def add_chunk(reports: MessageStream, chunk: Generation | None) -> None:
    """Read what the next chunk of a stream reports about its usage."""
    if isinstance(chunk, ChatGeneration):
        message = chunk.message
        carried = getattr(message, "usage_metadata", None)
        reports.add(chunk, carried, message.response_metadata, chunk.generation_info)


def chunks_usage(chunks: Iterable[Generation], provider: str | None) -> Usage | None:
    """What the chunks of a whole stream report; ``None``: nothing."""
    reports = MessageStream(provider)
    for chunk in chunks:
        add_chunk(reports, chunk)
    return reports.usage


def answering_model(generations: Sequence[Generation], llm_output: Mapping[str, object] | None) -> str | None:
    """The model that the provider says it used (a dated snapshot of an alias, a fallback)."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            metadata = generation.message.response_metadata
            named = metadata.get("model_name") or metadata.get("model")
            if isinstance(named, str):
                return named
    named = (llm_output or {}).get("model_name")
    return named if isinstance(named, str) else None
