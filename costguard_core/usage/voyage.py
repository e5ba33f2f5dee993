"""Voyage and Jina say no more than a total: https://docs.voyageai.com/reference/embeddings-api."""

from __future__ import annotations

from costguard_core.types import Usage
from costguard_core.usage.fields import count


def read_total(raw: object) -> Usage:
    """``total_tokens`` of embeddings and rerankers, which write nothing; pixels of pictures are inside."""
    return Usage(input_tokens=count(raw, "total_tokens"))
