"""Pictures, sound, video and documents in a prompt: how long they are, and how many tokens that is at each vendor.

They are measured by pixels, seconds and pages, never by the letters of their base64. What is given by its address has
an unknown length: a bound of its kind stands for it.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Literal, NamedTuple

from costguard_core.usage.overhead import is_new_claude
from costguard_core.usage.pdf import UNKNOWN_PAGES, Pdf, read_pdf
from costguard_core.usage.pictures import Vendor, picture_size, picture_tokens, vendor_of

Kind = Literal["image", "audio", "video", "document", "text", "sealed", "citations"]

# A bound for what is not known before the call: ten minutes of sound or video. A choice, stated in docs/money.md.
UNKNOWN_SECONDS = 600
_HEADER = 65_536  # bytes of the start of a file in which its header is looked for
# Sound and video of unknown encoding are assumed to be as dense as speech codecs make them: 16 kbit/s, and video 64.
_LEAST_AUDIO_BYTES, _LEAST_VIDEO_BYTES = 2_000, 8_000


class Media(NamedTuple):
    """One part of a prompt that is no text.

    Attributes:
        kind: what it is; ``sealed`` is text that the provider encrypted; ``citations`` is no part of its own, but says
            that the answer is to cite the document with these bytes (none: a text).
        data: its bytes; ``None``: it is given by its address or by the id of a file, so its length is unknown.
        low_detail: the request asks for a picture to be read coarsely (OpenAI's ``detail="low"``).
        fine_detail: it asks for more than the usual detail (OpenAI's ``"original"``, Gemini's ``ULTRA_HIGH``).
    """

    kind: Kind
    data: bytes | None = None
    low_detail: bool = False
    fine_detail: bool = False


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
    low, fine = source.get("detail") == "low", source.get("detail") == "original" or _is_fine(source)
    for key in _DATA:
        value = source.get(key)
        if isinstance(value, (bytes, bytearray)):
            return Media(kind, bytes(value), low, fine)
        if isinstance(value, str) and value:
            return Media(kind, _decoded(value), low, fine)
    return Media(kind, None, low, fine)


def _is_fine(source: Mapping[str, object]) -> bool:
    """Gemini's ``media_resolution`` of a part, as text or as ``{"level": …}``."""
    given = source.get("media_resolution") or source.get("mediaResolution")
    return given is not None and "ultra_high" in str(given).lower()


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


# Lengths


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


# Tokens


def media_tokens(media: Media, model: str, provider: str | None) -> MediaTokens:
    """Tokens of a picture, sound, video or document at the vendor of a model."""
    vendor = vendor_of(model, provider)
    if media.kind == "image":
        size = None if media.data is None else picture_size(media.data)
        low, fine = media.low_detail, media.fine_detail
        return MediaTokens(*picture_tokens(size, vendor, model.lower(), low=low, fine=fine))
    if media.kind == "document":
        return _document_tokens(media.data, vendor, model.lower(), provider)
    if media.kind == "audio":
        length = UNKNOWN_SECONDS if media.data is None else audio_seconds(media.data)
        typical, most = _SOUND_TOKENS[vendor]
        frame = _OPENAI_SOUND_FRAME if vendor == "openai" else 0
        return MediaTokens(ceil(length * typical), ceil(length * most) + frame)
    if media.kind == "citations":
        return MediaTokens(*_citations(media.data, vendor))
    if media.kind == "video":
        length = UNKNOWN_SECONDS if media.data is None else video_seconds(media.data)
        if vendor == "google":
            frame = _GEMINI_FRAME if _GEMINI_BEFORE_3.search(model.lower()) else _GEMINI_FRAME_3
            most = (int(length) + 1) * frame + ceil(length * _SOUND_TOKENS["google"][1])
            return MediaTokens(min(most, ceil(length * _VIDEO_TOKENS[0])), most)
        typical, most = _VIDEO_TOKENS
        return MediaTokens(max(_LEAST_VIDEO, ceil(length * typical)), max(_LEAST_VIDEO, ceil(length * most)))
    letters = 3 * UNKNOWN_PAGES * 1_000 if media.data is None else len(media.data)
    return MediaTokens(ceil(letters / 4), ceil(letters / (2.2 if is_new_claude(model.lower()) else 3)))


def _citations(data: bytes | None, vendor: Vendor) -> tuple[int, int]:
    """Of one cited document at Claude; the vendor's own prompt for citations is in :data:`CITATIONS`."""
    if vendor != "anthropic":
        return 0, 0
    if data == b"":
        return _CITED_TEXT, _CITED_TEXT
    pages = UNKNOWN_PAGES if data is None else read_pdf(data).pages
    return pages * _CITED_PAGE, pages * _CITED_PAGE


def _document_tokens(data: bytes | None, vendor: Vendor, model: str, provider: str | None) -> MediaTokens:
    """The text of each page and, at most vendors, a picture of it."""
    pdf = Pdf(UNKNOWN_PAGES, None, has_pictures=True) if data is None else read_pdf(data)
    typical, most = _PAGE_TOKENS[vendor]
    if vendor == "google":
        # Recorded: 258 for a page with Gemini 2.5 in Google's own API; 1,290 on Vertex AI, and so at OpenRouter.
        is_native = _GEMINI_25.search(model) is not None and provider == "google_genai"
        return MediaTokens(pdf.pages * typical, pdf.pages * (typical if is_native else most))
    text = pdf.pages * _UNKNOWN_PAGE_TEXT if pdf.text_tokens is None else pdf.text_tokens + pdf.pages * _PAGE_FRAME
    if vendor == "other":
        read_only = _READS_TEXT.search(model) is not None and not pdf.has_pictures
        most_of_page = 0 if read_only else _NOVA_PAGE if "nova" in model else most
        bound = pdf.pages * most_of_page + (text if read_only else 0)
    else:
        bound = pdf.pages * picture_tokens(_PAGE, vendor, model)[1] + text
    return MediaTokens(min(bound, pdf.pages * typical), bound)


def audio_bound(media: Iterable[Media], model: str, provider: str | None) -> int:
    """The most tokens that the sound among ``media`` can be, which some vendors bill at a price of its own."""
    return sum(media_tokens(part, model, provider).bound for part in media if part.kind == "audio")


def visual_bound(media: Iterable[Media], model: str, provider: str | None) -> int:
    """The most tokens that the pictures and the video among ``media`` can be, likewise."""
    return sum(media_tokens(part, model, provider).bound for part in media if part.kind in ("image", "video"))


_GEMINI_25 = re.compile(r"gemini-2\.5")

# Tokens of one page: a typical one, and the most of one whose text is not read on its own.
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
_UNKNOWN_PAGE_TEXT = 3_000
_PAGE = (1_240, 1_754)  # a page of A4 at 150 dots per inch, as large as vendors take a picture
_PAGE_FRAME = 40  # what stands around a file and a page: recorded up to 45 for a page of three words
_NOVA_PAGE = 3_500  # recorded 2,590 for each of two pages, whatever their text
# These were billed the text alone, but for pages that are pictures: recorded of Mistral, Pixtral and Llama 4.
_READS_TEXT = re.compile("mistral|ministral|magistral|pixtral|llama")
# Tokens of one second of sound: Gemini 32 (https://ai.google.dev/gemini-api/docs/audio), OpenAI 10
# (https://platform.openai.com/docs/guides/realtime-costs); recordings of short clips have up to 16.
_SOUND_TOKENS: Mapping[Vendor, tuple[int, int]] = {
    "anthropic": (25, 50),
    "google": (32, 33),
    "openai": (10, 17),
    "other": (25, 50),
}
# Recorded 2 tokens for a quarter of a second of sound, and 4 around it.
_OPENAI_SOUND_FRAME = 8
# What Claude is told of citations once: recorded 590 beside a text and 400 beside results of a search. Their documents
# are cut into parts with numbers; recorded 960 more for a page of a PDF file full of text.
CITATIONS, _CITED_TEXT, _CITED_PAGE = 640, 20, 1_200
# Tokens of one second of video, sound included: https://ai.google.dev/gemini-api/docs/video-understanding (about 300).
_VIDEO_TOKENS = (300, 320)
# Gemini takes a picture each second, the first one included: recorded 516 and 2,838 for 1.3 and 10.03 seconds, and 263
# tokens a picture for one of 13 seconds. Those of Gemini 3 have 70 tokens, and 280 where the request's media_resolution
# is high, which is not read.
_GEMINI_FRAME, _GEMINI_FRAME_3 = 263, 280
_GEMINI_BEFORE_3 = re.compile(r"gemini-[12]")
# Nova takes at least so many frames of a short film: recorded 2,200 tokens for two seconds.
# https://docs.aws.amazon.com/nova/latest/userguide/modalities-video.html: 288 tokens for a second.
_LEAST_VIDEO = 2_500
