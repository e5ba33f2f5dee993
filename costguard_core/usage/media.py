"""Pictures, sound, video and documents in a prompt: how long they are, and how many tokens that is at each vendor.

They are measured by pixels, seconds and pages, never by the letters of their base64. What is given by its address has
an unknown length: a bound of its kind stands for it.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Literal, NamedTuple

Kind = Literal["image", "audio", "video", "document", "text"]

# Bounds for what is not known before the call: a document of 100 pages (the most that Anthropic takes of most models),
# ten minutes of sound or video. Choices, stated in docs/money.md.
UNKNOWN_PAGES = 100
UNKNOWN_SECONDS = 600
# Bytes of the start of a file in which its header is looked for; JPEG allows long comments before it.
_HEADER = 65_536
# Sound and video of unknown encoding are assumed to be as dense as speech codecs make them: 16 kbit/s, and video 64.
_LEAST_AUDIO_BYTES, _LEAST_VIDEO_BYTES = 2_000, 8_000
# A file of pages that nobody can count is assumed to have one for each so many bytes, at most UNKNOWN_PAGES.
_LEAST_PAGE_BYTES = 2_000


class Media(NamedTuple):
    """One part of a prompt that is no text.

    Attributes:
        kind: what it is.
        data: its bytes; ``None``: it is given by its address or by the id of a file, so its length is unknown.
        low_detail: the request asks for a picture to be read coarsely (OpenAI's ``detail="low"``).
    """

    kind: Kind
    data: bytes | None = None
    low_detail: bool = False


class MediaTokens(NamedTuple):
    """``tokens`` is the best guess, ``bound`` is safe to reserve."""

    tokens: int
    bound: int


def read_block(block: Mapping[str, Any]) -> Media | None:
    """The media in a content block of OpenAI, Anthropic, Gemini, Bedrock or LangChain; ``None``: it is something else.

    Blocks: https://platform.openai.com/docs/guides/images-vision, /guides/pdf-files, /guides/audio;
    https://platform.claude.com/docs/en/build-with-claude/vision and /pdf-support;
    https://ai.google.dev/gemini-api/docs/document-processing;
    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html;
    https://docs.langchain.com/oss/python/langchain/messages#multimodal
    """
    name = str(block.get("type") or "")
    for part in ("image", "video", "audio", "document"):  # Bedrock names the kind by the key
        inner = block.get(part)
        if not name and isinstance(inner, Mapping) and ("source" in inner or "format" in inner or "bytes" in inner):
            source = inner.get("source")
            return _media(_kind_of(part, inner.get("format")), source if isinstance(source, Mapping) else inner)
    if name in ("image_url", "video_url", "audio_url", "document_url"):
        given = block.get(name)
        inner = given if isinstance(given, Mapping) else {"url": given}
        return _media(_kind_of(name.removesuffix("_url"), None), inner)
    if name in ("input_image", "input_file", "input_audio", "file", "media", "image", "audio", "video", "document"):
        return _typed(name, block)
    if "inline_data" in block or "inlineData" in block:
        inner = block.get("inline_data") or block.get("inlineData") or {}
        return _media(_by_mime(inner, "document"), inner)
    given = block.get("file_data") or block.get("fileData")
    if isinstance(given, Mapping):
        return _media(_by_mime(given, "document"), given)
    return None


def _typed(name: str, block: Mapping[str, Any]) -> Media | None:
    nested = next(
        (block[key] for key in ("file", "input_audio", "source") if isinstance(block.get(key), Mapping)), None
    )
    inner: Mapping[str, Any] = {**block, **nested} if nested is not None else block
    if name == "input_image" and isinstance(block.get("image_url"), str):
        inner = {**inner, "url": block["image_url"]}
    plain = inner.get("type") in ("text", "content") or inner.get("source_type") == "text"
    if name in ("document", "file") and plain:
        return None  # text, or blocks of its own
    word = {"input_image": "image", "input_audio": "audio"}.get(name, name)
    fallback: Kind = "document" if word in ("file", "input_file", "media", "document") else _kind_of(word, None)
    return _media(_by_mime(inner, fallback), inner)


def _kind_of(word: str, form: object) -> Kind:
    if word == "document" and form in ("txt", "md", "html", "csv"):
        return "text"
    return "image" if word == "image" else "audio" if word == "audio" else "video" if word == "video" else "document"


def _by_mime(source: Mapping[str, Any], fallback: Kind) -> Kind:
    mime = source.get("mime_type") or source.get("media_type") or source.get("mimeType") or ""
    given = next((source[key] for key in _DATA if isinstance(source.get(key), str)), "")
    if not mime and given.startswith("data:"):
        mime = given[5:].partition(";")[0]
    head = str(mime).partition("/")[0]
    if head in ("image", "audio", "video"):
        return "image" if head == "image" else "audio" if head == "audio" else "video"
    return "text" if head == "text" or mime == "application/json" else "document" if mime else fallback


_DATA = ("base64", "data", "file_data", "bytes", "url", "image_url", "file_url", "file_uri", "fileUri")


def _media(kind: Kind, source: Mapping[str, object]) -> Media:
    low = source.get("detail") == "low"
    for key in _DATA:
        value = source.get(key)
        if isinstance(value, (bytes, bytearray)):
            return Media(kind, bytes(value), low)
        if isinstance(value, str) and value:
            return Media(kind, _decoded(value), low)
    return Media(kind, None, low)


_URL_SAFE = str.maketrans("-_", "+/")


def _decoded(text: str) -> bytes | None:
    """The bytes of base64 or of a data URL; ``None`` for an address."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if "base64" not in head:
            return text.encode()
    elif "://" in text[:32]:
        return None
    try:
        # Google's clients send the alphabet for URLs.
        return base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


# Sizes


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
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def audio_seconds(data: bytes) -> float:
    """The length of a WAV file by its header; of any other, the longest that it can be at 16 kbit/s."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        at = data.find(b"fmt ", 0, _HEADER)
        rate = int.from_bytes(data[at + 16 : at + 20], "little") if at >= 0 else 0
        if rate:
            return len(data) / rate
    known = _container_seconds(data) or _mp3_seconds(data)
    return len(data) / _LEAST_AUDIO_BYTES if known is None else known


def video_seconds(data: bytes) -> float:
    """The length of an MP4 file by its header; of any other, the longest that it can be at 64 kbit/s, up to 3 hours."""
    known = _container_seconds(data)
    return min(len(data) / _LEAST_VIDEO_BYTES, 3 * 3600) if known is None else known


def _container_seconds(data: bytes) -> float | None:
    """The length that an MP4, M4A or MOV file states in its movie header (ISO/IEC 14496-12, 8.2.2); ``None``: none."""
    at = data.find(b"mvhd")
    if data[4:8] != b"ftyp" or at < 0:
        return None
    try:
        if data[at + 4] == 1:
            scale, length = struct.unpack(">IQ", data[at + 24 : at + 36])
        else:
            scale, length = struct.unpack(">II", data[at + 16 : at + 24])
    except (struct.error, IndexError):
        return None
    return length / scale if scale and 0 < length < 2**31 * scale else None


# Bit rates of MPEG 1 and of MPEG 2 and 2.5, layer III, in kbit/s (ISO/IEC 11172-3 and 13818-3).
_MP3_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_MP3_HZ = (44_100, 48_000, 32_000)
_MP3_FRAMES = 16  # of which the lowest bit rate is taken, where no header counts the frames


def _mp3_seconds(data: bytes) -> float | None:
    """The length of an MP3 file: by the frames that its header counts, else by the lowest bit rate at its start."""
    at = 0
    if data[:3] == b"ID3" and len(data) > 10:
        at = 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    rates: list[int] = []
    start = at
    while len(rates) < _MP3_FRAMES and at + 4 <= len(data):
        head = int.from_bytes(data[at : at + 4], "big")
        version, layer, rate, hz = head >> 19 & 3, head >> 17 & 3, head >> 12 & 15, head >> 10 & 3
        if head >> 21 != 0x7FF or version == 1 or layer != 1 or hz == 3:
            break
        older = version != 3
        kilobits, samples = _MP3_RATES[older][rate], 576 if older else 1152
        hertz = _MP3_HZ[hz] >> (0 if version == 3 else 1 if version == 2 else 2)
        if not kilobits:
            break
        mark = max(data.find(b"Xing", at, at + 200), data.find(b"Info", at, at + 200)) if not rates else -1
        if mark >= 0 and data[mark + 7] & 1:
            return int.from_bytes(data[mark + 8 : mark + 12], "big") * samples / hertz
        rates.append(kilobits)
        at += samples * kilobits * 125 // hertz + (head >> 9 & 1)
    return (len(data) - start) / (min(rates) * 125) if len(rates) > 1 else None


def page_count(data: bytes) -> int:
    """The pages of a PDF file, also where its page tree is compressed; of any other file, a bound by its size."""
    if data[:1024].find(b"%PDF") < 0:
        return _pages_by_size(data)
    pages = _pages_in(data)
    if not pages:
        pages = max((_pages_in(part) for part in _object_streams(data)), default=0)
    return pages or _pages_by_size(data)


def _pages_by_size(data: bytes) -> int:
    return max(1, min(UNKNOWN_PAGES, ceil(len(data) / _LEAST_PAGE_BYTES)))


_PAGE = re.compile(rb"/Type\s*/Page(?![s\w])")
_COUNT = re.compile(rb"/Type\s*/Pages\b[^>]{0,400}?/Count\s+(\d{1,6})|/Count\s+(\d{1,6})[^>]{0,400}?/Type\s*/Pages\b")
_STREAM = re.compile(rb"/Type\s*/ObjStm\b.{0,400}?stream\r?\n", re.DOTALL)
_LONGEST_STREAM = 4_000_000  # bytes of one decompressed object stream that are looked at


def _pages_in(data: bytes) -> int:
    counts = [int(found[1] or found[2]) for found in _COUNT.finditer(data)]
    return max([len(_PAGE.findall(data)), *counts])


def _object_streams(data: bytes) -> list[bytes]:
    """Compressed objects of a PDF 1.5 file: https://opensource.adobe.com/dc-acrobat-sdk-docs/ (ISO 32000, 7.5.7)."""
    found = []
    for start in _STREAM.finditer(data):
        try:
            found.append(zlib.decompressobj().decompress(data[start.end() :], _LONGEST_STREAM))
        except zlib.error:
            continue
    return found


# Tokens


def media_tokens(media: Media, model: str, provider: str | None) -> MediaTokens:
    """Tokens of a picture, sound, video or document at the vendor of a model."""
    vendor = _vendor(model.lower(), (provider or "").lower())
    if media.kind == "image":
        return _image_tokens(media, vendor, model.lower())
    if media.kind == "document":
        pages = UNKNOWN_PAGES if media.data is None else page_count(media.data)
        typical, most = _PAGE_TOKENS[vendor]
        if vendor == "google" and _GEMINI_25.search(model.lower()):
            most = typical
        return MediaTokens(pages * typical, pages * most)
    if media.kind == "audio":
        length = UNKNOWN_SECONDS if media.data is None else audio_seconds(media.data)
        typical, most = _SOUND_TOKENS[vendor]
        return MediaTokens(ceil(length * typical), ceil(length * most))
    if media.kind == "video":
        length = UNKNOWN_SECONDS if media.data is None else video_seconds(media.data)
        typical, most = _VIDEO_TOKENS
        least = 0 if vendor == "google" else _LEAST_VIDEO
        return MediaTokens(max(least, ceil(length * typical)), max(least, ceil(length * most)))
    letters = 3 * UNKNOWN_PAGES * 1_000 if media.data is None else len(media.data)
    return MediaTokens(ceil(letters / 4), ceil(letters / 3))


def audio_bound(media: Iterable[Media], model: str, provider: str | None) -> int:
    """The most tokens that the sound among ``media`` can be, which some vendors bill at a price of its own."""
    return sum(media_tokens(part, model, provider).bound for part in media if part.kind == "audio")


_GEMINI_25 = re.compile(r"gemini-2\.5")
_GEMINI_3 = re.compile(r"gemini-(?:[3-9]|\d\d)")

Vendor = Literal["openai", "anthropic", "google", "other"]

# Tokens of one page: the text that is extracted and the picture that is made of it.
# https://platform.claude.com/docs/en/build-with-claude/pdf-support: 1,500 to 3,000 of text, and a picture;
# https://ai.google.dev/gemini-api/docs/document-processing: 258 (so recorded with Gemini 2.5; 1,290 with Gemini 2.0,
# 1,102 with Gemini 3);
# https://platform.openai.com/docs/guides/pdf-files: text and a picture.
_PAGE_TOKENS: Mapping[Vendor, tuple[int, int]] = {
    "anthropic": (2_500, 5_000),
    "google": (258, 1_300),
    "openai": (1_500, 4_000),
    "other": (1_500, 5_000),
}
# Tokens of one second of sound: Gemini 32 (https://ai.google.dev/gemini-api/docs/audio), OpenAI 10
# (https://platform.openai.com/docs/guides/realtime-costs); recordings of short clips have up to 16.
_SOUND_TOKENS: Mapping[Vendor, tuple[int, int]] = {
    "anthropic": (25, 50),
    "google": (32, 33),
    "openai": (10, 17),
    "other": (25, 50),
}
# Tokens of one second of video, sound included: https://ai.google.dev/gemini-api/docs/video-understanding (about 300).
_VIDEO_TOKENS = (300, 320)
# Nova takes at least so many frames of a short film: recorded 2,200 tokens for two seconds.
# https://docs.aws.amazon.com/nova/latest/userguide/modalities-video.html: 288 tokens for a second.
_LEAST_VIDEO = 2_500

# Tokens of one picture of unknown size: a typical one, and the most that one can cost.
PICTURE = (1_000, 5_000)
PICTURE_GPT_4O_MINI = (25_501, 48_169)  # 2833 + 5667 per tile, at most 8 tiles


def _vendor(model: str, provider: str) -> Vendor:
    if "claude" in model or "anthropic" in provider:
        return "anthropic"
    if "gemini" in model or "google" in provider or "vertex" in provider:
        return "google"
    return "openai" if re.search(r"gpt-|(^|/)o[134]($|-)|chatgpt|codex", model) else "other"


def _image_tokens(media: Media, vendor: Vendor, model: str) -> MediaTokens:
    mini = "gpt-4o-mini" in model
    unknown = MediaTokens(*(PICTURE_GPT_4O_MINI if mini else PICTURE))
    size = None if media.data is None else picture_size(media.data)
    if size is None or not all(0 < side < 100_000 for side in size):
        return unknown
    width, height = size
    if vendor == "anthropic":
        # https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs: pixels / 750; larger ones
        # are scaled down, to about 1,600 tokens, of Opus 4.7 and later to 4,784.
        exact = ceil(width * height / 750)
        return MediaTokens(min(exact, 1_600), min(ceil(exact * 1.1) + 50, 5_000))
    if vendor == "google":
        tiles = _gemini_tiles(width, height)
        if _GEMINI_3.search(model):
            return MediaTokens(1_120, max(1_120, tiles * 258))
        # Recorded with Gemini 2.0: the whole picture is a tile beside its parts.
        return MediaTokens(tiles * 258, (tiles + (tiles > 1)) * 258)
    if vendor == "openai":
        base, tile = (2_833, 5_667) if mini else (85, 170)
        if media.low_detail:
            return MediaTokens(base, base)
        tiled = base + tile * _openai_tiles(width, height)
        # https://platform.openai.com/docs/guides/images-vision#calculating-costs: newer models count patches of 32
        # pixels, at most 1,536, times up to 2.46.
        patches = min(ceil(width / 32) * ceil(height / 32), 1_536)
        return MediaTokens(tiled, max(tiled, ceil(patches * 2.46) + 2))
    # Others count patches of 16 pixels (Pixtral) or 28 (Mistral, Llama 4, Qwen), and shrink large pictures before:
    # https://docs.mistral.ai/capabilities/vision/
    least = _NOVA_PICTURE if "nova" in model else 300
    most = min(unknown.bound, max(least, ceil(width * height / 230) + 300))
    return MediaTokens(min(unknown.tokens, ceil(width * height / 784) + 100), most)


_NOVA_PICTURE = 2_000  # recorded 1,650


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
