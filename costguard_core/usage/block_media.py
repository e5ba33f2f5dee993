"""Pictures, sound, video and documents in blocks that are objects, as LlamaIndex has them."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from costguard_core.usage.media import Kind, Media

_KINDS: dict[str, tuple[Kind, str]] = {
    "image": ("image", "image"),
    "audio": ("audio", "audio"),
    "video": ("video", "video"),
    "document": ("document", "data"),
}


def media_in(block: object) -> Media | None:
    """The media that a block holds, by its bytes or its file; of an address the length is unknown."""
    found = _KINDS.get(str(getattr(block, "block_type", "")))
    if found is None:
        return None
    kind, name = found
    low = getattr(block, "detail", None) == "low"
    value, path = getattr(block, name, None), getattr(block, "path", None)
    if isinstance(value, (bytes, bytearray)):
        return Media(kind, _decoded(bytes(value)), low)
    if path is not None:
        try:
            return Media(kind, Path(path).read_bytes(), low)
        except OSError:
            return Media(kind, None, low)
    return Media(kind, None, low)


def _decoded(value: bytes) -> bytes:
    """LlamaIndex keeps bytes in base64; what is not, is taken as it is."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
