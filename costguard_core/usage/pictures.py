"""How large a picture is, by its header, and how many tokens that is at each vendor."""

from __future__ import annotations

import re
import struct
from math import ceil
from typing import Literal

from costguard_core.usage.overhead import is_new_claude

_HEADER = 65_536  # bytes of the start of a file in which its header is looked for
_MOST_SEGMENTS = 10_000  # of a JPEG file, before the one with its size; each may have 64 kB

Vendor = Literal["openai", "anthropic", "google", "other"]


def vendor_of(model: str, provider: str | None) -> Vendor:
    """Whose rules hold for the pictures, sounds and documents in a prompt."""
    model, provider = model.lower(), (provider or "").lower()
    if "claude" in model or "anthropic" in provider:
        return "anthropic"
    if "gemini" in model or "google" in provider or "vertex" in provider:
        return "google"
    return "openai" if re.search(r"gpt-|(^|/)o[134]($|-)|chatgpt|codex", model) else "other"


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG file, from its header; ``None`` if it is none of them."""
    head = data[:_HEADER]
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", head[16:24])
            return width, height
        if head[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack("<HH", head[6:10])
            return width, height
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp_size(head)
        return _jpeg_size(data) if head.startswith(b"\xff\xd8") else None
    except struct.error:
        return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    form = head[12:16]
    if form == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if form == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks over the segments of a JPEG file to the one that starts a frame (SOF)."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 9 >= len(data) or data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


# Tokens: a typical number of them, and the most that one picture can be.

_UNKNOWN = (1_000, 5_000)
_WIDEST = 100_000  # pixels: a header that claims more is wrong

# OpenAI, https://platform.openai.com/docs/guides/images-vision#calculating-costs. Models with tiles: tokens of a
# picture and of each of its tiles of 512 pixels, of which there are at most eight.
_TILES = (
    (r"gpt-4o-mini", 2_833, 5_667),
    (r"gpt-4\.1-(mini|nano)", 0, 0),
    (r"gpt-4|chatgpt-4o", 85, 170),
    (r"gpt-5-(mini|nano)|gpt-5\.", 0, 0),
    (r"gpt-5", 70, 140),
    (r"(^|/)o[13](-pro)?($|-20|-preview)", 75, 150),
)
_MOST_TILES = 8
_TILES_MARGIN = 1.25  # recorded 1.21 times the tiles in the Responses API of 2025
# Models with patches of 32 pixels: at most 1,536 of them (2,500 since GPT-5.4, and 10,000 for detail "original"), times
# a factor.
_PATCHES = (
    (r"gpt-4\.1-mini|gpt-5-mini", 1.62),
    (r"o4-mini|codex-mini", 1.72),
    (r"gpt-5\.", 1.2),
)
_PATCH_FACTOR, _PATCHES_NEW, _PATCHES_ORIGINAL = 2.46, 2_500, 10_000
_PATCHES_SMALL = 1_536
_NEW_PATCHES = re.compile(r"gpt-5\.(?!.*(mini|nano))")
# Claude, https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs: pixels / 750; larger ones
# are scaled down, to about 1,600 tokens, since Opus 4.7 to 4,784.
_CLAUDE_MOST, _CLAUDE_MOST_NEW = 1_810, 5_000
# Gemini 3, https://ai.google.dev/gemini-api/docs/media-resolution: 1,120, or 2,240 where a part asks for ULTRA_HIGH.
_GEMINI_3 = re.compile(r"gemini-(?:[3-9]|\d\d)")
_GEMINI_3_PICTURE, _GEMINI_3_FINE = 1_120, 2_240
_NOVA_PICTURE = 2_000  # recorded 1,818, also of a picture of six megapixels
# Llama 4 makes up to 16 tiles of 336 pixels, and one of the whole: recorded 131 to 137 tokens each.
_LLAMA_TILE, _LLAMA_SIDE, _LLAMA_TILES = 145, 336, 16
# Pixtral counts patches of 16 pixels, Mistral's later models and GLM of 28: https://docs.mistral.ai/capabilities/vision/
_FINE_PATCHES, _COARSE_PATCHES = re.compile("pixtral"), re.compile("mistral|ministral|magistral|glm")


def picture_tokens(
    size: tuple[int, int] | None, vendor: Vendor, model: str, *, low: bool = False, fine: bool = False
) -> tuple[int, int]:
    """Tokens of a picture: a typical number, and the most that it can be.

    Args:
        size: width and height in pixels; ``None``: unknown, so the largest that the model takes.
        vendor: whose rule it is.
        model: its name in lower case.
        low: it is to be read coarsely (OpenAI's ``detail="low"``).
        fine: it is to be read in more than the usual detail.
    """
    if size is not None and not all(0 < side < _WIDEST for side in size):
        size = None
    if vendor == "openai":
        return _openai(size, model, low=low, fine=fine)
    if vendor == "anthropic":
        return _claude(size, model)
    if vendor == "google":
        return _gemini(size, model, fine=fine)
    return _others(size, model)


def _openai(size: tuple[int, int] | None, model: str, *, low: bool, fine: bool) -> tuple[int, int]:
    in_patches = any(re.search(name, model) for name, _ in _PATCHES)
    default = (0, 0) if in_patches else (85, 170)
    base, tile = next(((base, tile) for name, base, tile in _TILES if re.search(name, model)), default)
    known = in_patches or any(re.search(name, model) for name, *_ in _TILES)
    if tile and low:
        return base, base
    tiled = base + tile * (_MOST_TILES if size is None else _openai_tiles(*size))
    if known and tile:
        exact = 1 if "mini" in model or tiled == base + tile else _TILES_MARGIN
        return min(tiled, base + 4 * tile), ceil(tiled * exact)
    factor = next((factor for name, factor in _PATCHES if re.search(name, model)), _PATCH_FACTOR)
    most = _PATCHES_ORIGINAL if fine else _PATCHES_NEW if _NEW_PATCHES.search(model) else _PATCHES_SMALL
    patches = most if size is None else min(ceil(size[0] / 32) * ceil(size[1] / 32), most)
    bound = max(ceil(patches * factor) + 10, 0 if known else ceil(tiled * _TILES_MARGIN))
    return min(bound, _UNKNOWN[0] if size is None else tiled or bound), bound


def _claude(size: tuple[int, int] | None, model: str) -> tuple[int, int]:
    most = _CLAUDE_MOST_NEW if is_new_claude(model) or "claude" not in model else _CLAUDE_MOST
    if size is None:
        return _UNKNOWN[0], most
    exact = ceil(size[0] * size[1] / 750)
    return min(exact, 1_600), min(ceil(exact * 1.1) + 50, most)


def _gemini(size: tuple[int, int] | None, model: str, *, fine: bool) -> tuple[int, int]:
    if _GEMINI_3.search(model):
        return _GEMINI_3_PICTURE, _GEMINI_3_FINE if fine else _GEMINI_3_PICTURE
    if size is None:
        return _UNKNOWN
    tiles = _gemini_tiles(*size)
    # Recorded with Gemini 2.0: the whole picture is a tile beside its parts.
    return tiles * 258, (tiles + (tiles > 1)) * 258


def _others(size: tuple[int, int] | None, model: str) -> tuple[int, int]:
    """Others count patches of 14 to 28 pixels, and shrink large pictures before."""
    if "nova" in model:
        return _UNKNOWN[0], _NOVA_PICTURE
    if re.search(r"llama-?4", model):
        tiles = _LLAMA_TILES
        if size is not None:
            tiles = min(tiles, ceil(size[0] / _LLAMA_SIDE) * ceil(size[1] / _LLAMA_SIDE))
        return min(_UNKNOWN[0], tiles * _LLAMA_TILE), (tiles + (tiles > 1)) * _LLAMA_TILE
    if size is None:
        return _UNKNOWN
    width, height = size
    typical = min(_UNKNOWN[0], ceil(width * height / 784) + 100)
    side = 16 if _FINE_PATCHES.search(model) else 28 if _COARSE_PATCHES.search(model) else None
    patches = width * height / 230 + 300 if side is None else (ceil(width / side) + 1) * ceil(height / side) * 1.1 + 20
    bound = min(_UNKNOWN[1], max(300 if side is None else 0, ceil(patches)))
    return min(typical, bound), bound


def _gemini_tiles(width: int, height: int) -> int:
    """https://ai.google.dev/gemini-api/docs/tokens: up to 384 pixels one tile, else tiles of 256 to 768 pixels."""
    if max(width, height) <= 384:
        return 1
    side = min(768, max(256, min(width, height) // 1.5))
    return ceil(width / side) * ceil(height / side)


def _openai_tiles(width: int, height: int) -> int:
    """Scaled into 2,048 pixels square, then to 768 on the shorter side; tiles of 512."""
    scale = min(1, 2_048 / max(width, height))
    scale *= min(1, 768 / (min(width, height) * scale))
    return ceil(width * scale / 512) * ceil(height * scale / 512)
