"""Cohere bills ``billed_units``, not the tokens that its models read: https://docs.cohere.com/reference/chat.

Search queries of RAG and reranking are billed by the piece: https://docs.cohere.com/reference/rerank
"""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count, get, units


def read_billed_units(raw: object) -> Usage:
    """``meta.billed_units`` or ``usage.billed_units``, or those units themselves."""
    billed = get(raw, "billed_units") or raw
    text, pictures = count(billed, "input_tokens"), count(billed, "image_tokens")
    return Usage(
        input_tokens=text if pictures <= text else text + pictures,  # it is not said whether they are inside
        output_tokens=count(billed, "output_tokens"),
        image_input_tokens=pictures,
        units=units(rerank=count(billed, "search_units"), generated_image=count(billed, "images")),
    )
