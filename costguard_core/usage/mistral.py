"""Mistral's units beside its tokens: https://docs.mistral.ai/api (usage of chat, transcription and OCR)."""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, seconds, units


def mistral_units(raw: object) -> tuple[tuple[str, int], ...]:
    """Seconds of sound in the prompt of a chat or transcription."""
    return units(audio_second=seconds(raw, "prompt_audio_seconds"))


def read_pages(raw: object) -> Usage:
    """OCR: ``usage_info.pages_processed``; pages with annotations cost more and are counted apart."""
    annotated = count(raw, "pages_processed_annotation") or (
        count(raw, "pages_processed") if get(raw, "document_annotation") else 0
    )
    plain = max(count(raw, "pages_processed") - annotated, 0)
    return Usage(units=units(page=plain, annotated_page=annotated))
