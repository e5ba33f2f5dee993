"""Cohere bills ``billed_units``, not the tokens that its models read: https://docs.cohere.com/reference/chat.

Search queries of RAG and reranking are billed by the piece: https://docs.cohere.com/reference/rerank
"""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, units


def read_billed_units(raw: object) -> Usage:
    """``meta.billed_units`` or ``usage.billed_units``, or those units themselves."""
    billed = get(raw, "billed_units") or raw
    return Usage(
        input_tokens=count(billed, "input_tokens"),
        output_tokens=count(billed, "output_tokens"),
        image_input_tokens=min(count(billed, "image_tokens"), count(billed, "input_tokens")),
        units=units(rerank=count(billed, "search_units"), generated_image=count(billed, "images")),
    )
