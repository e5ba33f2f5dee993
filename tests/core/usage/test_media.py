"""Pictures, sound and documents are measured by pixels, seconds and pages, in every form that a vendor takes."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from typing import Any

import pytest

from costguard_core.usage.media import Media, audio_seconds, media_tokens, picture_size, read_block
from costguard_core.usage.overhead import hidden_tokens
from costguard_core.usage.pdf import page_count
from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.server_tools import NO_TOOLS, server_tools

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", 1024, 512)
B64 = base64.b64encode(PNG).decode()
PDF = b"%PDF-1.4 " + b"1 0 obj<</Type/Pages/Kids[]/Count 3>>" + b"2 0 obj<</Type/Page>>" * 3


def wav(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000 * seconds))
    return file.getvalue()


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
        {"type": "image", "base64": B64, "mime_type": "image/png"},
        {"type": "image", "base64": B64, "mime_type": "image/png", "text": ""},
        {"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
        {"type": "media", "mime_type": "image/png", "data": B64},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"inline_data": {"mime_type": "image/png", "data": B64}},
    ],
)
def test_a_picture_is_found_in_every_form(block: dict[str, Any]) -> None:
    assert read_block(block) == Media("image", PNG)


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "file", "url": "https://x.org/a.pdf", "mime_type": "application/pdf"}, "document"),
        ({"type": "media", "mime_type": "application/pdf", "file_uri": "https://x.org/a.pdf"}, "document"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "document"),
        ({"type": "input_file", "file_url": "https://x.org/a.pdf"}, "document"),
        ({"type": "document", "source": {"type": "url", "url": "https://x.org/a.pdf"}}, "document"),
        ({"type": "audio", "url": "https://x.org/a.mp3"}, "audio"),
        ({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, "image"),
    ],
)
def test_what_is_given_by_its_address_is_held_at_a_bound(block: dict[str, Any], kind: str) -> None:
    found = read_block(block)
    assert found is not None
    assert (found.kind, found.data) == (kind, None)
    assert media_tokens(found, "gpt-4.1", "openai").bound >= {"image": 85 + 8 * 170}.get(kind, 5000)
    assert media_tokens(found, "gpt-4o-mini", "openai").bound >= {"image": 2_833 + 8 * 5_667}.get(kind, 5000)


def test_text_is_text_also_inside_documents_and_tool_results() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "long ago"}}
    result = {"type": "tool_result", "content": [{"type": "text", "text": "and far"}, {"type": "image", "base64": B64}]}
    text, media = read_content(["once ", {"type": "text", "text": "upon "}, document, result])
    assert text == "once upon long agoand far"
    assert media == (Media("text", b""), Media("image", PNG))  # the first: what stands around a file


def test_sizes_are_read_from_headers() -> None:
    assert picture_size(PNG) == (1024, 512)
    assert picture_size(b"GIF89a" + struct.pack("<HH", 30, 20)) == (30, 20)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x11\x08" + struct.pack(">HH", 20, 30) + bytes(9)
    assert picture_size(jpeg) == (30, 20)
    assert audio_seconds(wav(20)) == pytest.approx(20, rel=0.01)
    assert page_count(PDF) == 3


def test_pages_are_counted_in_compressed_objects_too() -> None:
    packed = zlib.compress(b"<</Type/Pages/Kids[]/Count 7>>")
    data = b"%PDF-1.5 1 0 obj<</Type/ObjStm>>stream\n" + packed + b"\nendstream"
    assert page_count(data) == 7


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("claude-sonnet-4-5", 700), ("gpt-4o", 85 + 170 * 4), ("gemini-2.5-flash", 258 * 2 * 4), ("gemini-3-pro", 1120)],
)
def test_a_picture_costs_what_its_pixels_cost(model: str, tokens: int) -> None:
    found = media_tokens(Media("image", PNG), model, None)
    assert 0.5 * tokens <= found.tokens <= tokens <= found.bound * 1.01 + 400
    assert found.tokens <= found.bound


def test_garbage_is_held_and_never_raises() -> None:
    for data in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"%PDF", b"RIFF\0\0\0\0WAVE", bytes(100)):
        for kind in ("image", "audio", "video", "document", "text"):
            assert media_tokens(Media(kind, data), "gpt-4o", None).bound >= 0  # type: ignore[arg-type]


class TestServerTools:
    def test_an_unlimited_tool_is_held_at_ten_uses(self) -> None:
        search = {"type": "web_search_20250305", "name": "web_search"}
        assert server_tools("claude-sonnet-4-5", "anthropic", {"tools": [search]}).searches == 10
        limited = server_tools("claude-sonnet-4-5", "anthropic", {"tools": [{**search, "max_uses": 2}]})
        assert (limited.searches, limited.rounds) == (2, 2)
        assert limited.added(3_000, None) == 2 * 3_000 + 30_000

    @pytest.mark.parametrize(
        "tool",
        [
            {"type": "function", "function": {"name": "f"}},
            {"name": "f", "input_schema": {}},
            {"type": "custom", "name": "f"},
        ],
    )
    def test_functions_of_the_application_cost_nothing_there(self, tool: dict[str, Any]) -> None:
        assert server_tools("gpt-5", "openai", {"tools": [tool]}) == NO_TOOLS

    def test_options_that_make_a_model_search_are_a_search(self) -> None:
        assert server_tools("gpt-4o-search-preview", "openai", {}).searches == 1
        assert server_tools("gpt-4o", "openai", {"web_search_options": {}}).searches == 1
        assert server_tools("grok-4", "xai", {"search_parameters": {"mode": "off"}}).searches == 0


def test_vendors_own_prompts_are_counted() -> None:
    tool = {"name": "f", "input_schema": {}}
    assert hidden_tokens("claude-sonnet-4-5", None, {}) == 0
    assert hidden_tokens("claude-sonnet-4-5", None, {"tools": [tool]}) >= 346
    assert hidden_tokens("claude-sonnet-4-5", None, {"tools": [{"type": "memory_20250818", "name": "memory"}]}) >= 1500
    assert hidden_tokens("openai/gpt-oss-120b", "groq", {}) >= 62
    assert hidden_tokens("gpt-4o", "openai", {}) == 0
