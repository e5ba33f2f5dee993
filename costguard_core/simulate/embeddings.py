"""Deterministic embeddings: hashed words, so that texts that share words are near each other."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from costguard_core.simulate.counting import Count
from costguard_core.simulate.request import BadRequestError, positive, required_text

_SIZES = {"text-embedding-3-large": 3072}
_POSITIONS_PER_WORD = 16


def answer(body: Mapping[str, object], count: Count) -> dict[str, Any]:
    """The response body for a request body.

    Raises:
        BadRequestError: if the input is not text (or token ids).
    """
    model = required_text(body, "model")
    inputs = _inputs(body.get("input"))
    size = positive(body, "dimensions") or _SIZES.get(model, 1536)
    tokens = sum(count(model, text) if isinstance(text, str) else len(text) for text in inputs)
    as_base64 = body.get("encoding_format") == "base64"
    vectors = [vector(text if isinstance(text, str) else " ".join(map(str, text)), size) for text in inputs]
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(values) if as_base64 else values}
            for index, values in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def vector(text: str, size: int) -> list[float]:
    """A unit vector of ``size`` numbers. Equal texts give equal vectors on every machine."""
    values = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=4 * _POSITIONS_PER_WORD).digest()
        for number in struct.unpack(f"<{_POSITIONS_PER_WORD}I", digest):
            values[(number >> 1) % size] += 1.0 if number & 1 else -1.0
    length = sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def _inputs(given: object) -> Sequence[str | list[int]]:
    """A text, token ids, or a list of either."""
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return given
        if all(isinstance(item, int) for item in given):
            return [given]
        if all(isinstance(item, list) for item in given):
            return given
    raise BadRequestError("'input' must be a string, a list of strings, or token ids", "input")


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
