"""Mistral's units beside its tokens: https://docs.mistral.ai/api (usage of chat, transcription and OCR)."""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, seconds, units


def mistral_units(raw: object) -> tuple[tuple[str, int], ...]:
    """Seconds of sound in the prompt of a chat or transcription."""
    return units(audio_second=seconds(raw, "prompt_audio_seconds"))


def connector_uses(raw: object) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Searches of the web, and other billed units, that a conversation with connectors names.

    https://docs.mistral.ai/agents/connectors: their results are ``connector_tokens``, beside the prompt.
    """
    used = get(raw, "connectors")
    if used is None:
        return 0, ()
    pieces = {
        "code_session": count(used, "code_interpreter"),
        "generated_image": count(used, "image_generation"),
        "file_search": count(used, "document_library"),
    }
    return count(used, "web_search") + count(used, "web_search_premium"), units(**pieces)


def read_pages(raw: object) -> Usage:
    """OCR: ``usage_info.pages_processed``; pages with annotations cost more and are counted apart."""
    annotated = count(raw, "pages_processed_annotation") or (
        count(raw, "pages_processed") if get(raw, "document_annotation") else 0
    )
    plain = max(count(raw, "pages_processed") - annotated, 0)
    return Usage(units=units(page=plain, annotated_page=annotated))
