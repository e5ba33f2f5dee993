"""What vendors add to a prompt: each number is one that a recording or a document has."""

from __future__ import annotations

import struct

import pytest

from costguard_core.usage.media import Media, audio_seconds, media_tokens, video_seconds
from costguard_core.usage.overhead import describing, hidden_tokens, is_hosted, sealed_letters, sealed_tokens
from costguard_core.usage.prompt_content import has_calls, read_content
from costguard_core.usage.server_tools import server_tools
from costguard_core.usage.token_counter import TokenCounter

COUNTER = TokenCounter()
BEDROCK = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "tool", [BEDROCK, {"cachePoint": {"type": "default"}}, FUNCTION, {"function_declarations": []}]
)
def test_functions_of_the_application_are_no_tools_of_the_provider(tool: dict[str, object]) -> None:
    assert not is_hosted(tool)
    assert server_tools("anthropic.claude-sonnet-4-5", "amazon_bedrock", {"tools": [tool]}).tokens == 0


@pytest.mark.parametrize(
    ("text", "more", "billed"),
    [  # recorded with gpt-5: one question, and one with an answer that is repeated
        ("Who won the world series in 2020?", (), 16),
        ("Hello!", (("ai", "Hello! How can I help you today?"), ("user", "Hello!")), 29),
    ],
)
def test_models_that_think_are_framed_otherwise(text: str, more: tuple[tuple[str, str], ...], billed: int) -> None:
    plain = COUNTER.count_chat([("user", text), *more], model="gpt-4o")
    found = COUNTER.count_chat([("user", text), *more], model="gpt-5")
    answers = sum(role == "ai" for role, _ in more)
    assert not found.estimated
    assert found.tokens == plain.tokens - 1 + 2 * answers == billed


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "command-r7b-12-2024"])
def test_some_vendors_bill_the_text_alone(model: str) -> None:
    text = "What is the largest city in Mexico?"  # recorded: 8 tokens
    found = COUNTER.count_chat([("user", text)], model=model)
    assert 8 <= found.bound <= 16


def test_calls_of_tools_and_names_are_not_counted_to_the_token() -> None:
    assert not COUNTER.count_chat([("user", "hi")], model="gpt-4o").estimated
    assert COUNTER.count_chat([("user", "hi")], model="gpt-4o", rewritten=True).estimated
    assert COUNTER.count_chat([("user", "hi", "bob")], model="gpt-4o").estimated
    assert COUNTER.count_chat([("user", "hi")], model="gpt-4o-search-preview").estimated


def test_what_claude_adds() -> None:
    claude = "claude-sonnet-4-5"
    assert hidden_tokens(claude, "anthropic", {"thinking": {"type": "enabled", "budget_tokens": 1_024}}) >= 29
    assert hidden_tokens(claude, "anthropic", {"thinking": {"type": "disabled"}}) == 0
    assert hidden_tokens("anthropic/claude-sonnet-4.5", "openrouter", {"reasoning": {"effort": "high"}}) >= 21
    assert hidden_tokens(claude, "anthropic", {"output_config": {"effort": "low"}}) == 0
    assert hidden_tokens(claude, "anthropic", {"output_config": {"format": {"type": "json_schema"}}}) >= 130
    assert hidden_tokens(claude, "amazon_bedrock", {"outputConfig": {"textFormat": {}}}) >= 130
    assert hidden_tokens(claude, "anthropic", {"tools": [FUNCTION]}) >= 569


@pytest.mark.parametrize(
    ("model", "provider", "params", "recorded"),
    [
        ("us.amazon.nova-2-lite-v1:0", "amazon_bedrock", {"tools": [BEDROCK]}, 846),
        ("meta-llama/llama-4-maverick-17b", "groq", {"tools": [FUNCTION]}, 678),
        ("deepseek-v4-flash", "deepseek", {}, 67),
        ("minimax/minimax-m2", "openrouter", {}, 28),
        ("gpt-5-mini", "openai", {"tools": [FUNCTION]}, 58),
        ("gpt-5", "openai", {"tools": [{"type": "custom", "custom": {}}]}, 106),
        ("o1-mini", "openai", {}, 7),
        ("gpt-5.6-sol", "openai", {"reasoning": {"mode": "pro"}}, 1_530),
        ("gemini-2.0-flash", "google_genai", {"response_schema": {"type": "OBJECT"}}, 24),
    ],
)
def test_what_others_add(model: str, provider: str, params: dict[str, object], recorded: int) -> None:
    assert recorded <= hidden_tokens(model, provider, params) <= 3 * recorded


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "cached_content"])
def test_what_the_provider_remembers_has_a_stated_bound(name: str) -> None:
    assert hidden_tokens("gpt-4.1", "openai", {name: "x_1"}) == 10_000


def test_a_system_that_searches_by_itself_is_held_with_its_results() -> None:
    assert server_tools("compound-beta", "groq", {}).tokens >= 14_100
    assert server_tools("groq/compound", "groq", {}).tokens >= 14_100
    assert server_tools("llama-3.3-70b-versatile", "groq", {}).tokens == 0


def test_geminis_schema_is_not_its_json() -> None:
    params = {"response_schema": {"type": "OBJECT"}, "tools": [FUNCTION]}
    assert describing(params, "google_genai") == [[FUNCTION]]
    assert len(describing(params, "openai")) == 2


def test_encrypted_thoughts_count_where_they_are_billed() -> None:
    message = {
        "__gemini_function_call_thought_signatures__": {"a": "x" * 5_000},
        "parts": [{"thoughtSignature": "y" * 500}],
    }
    assert sealed_letters(message) == 5_500
    assert sealed_tokens(5_500, "gemini-3-flash-preview", "google_genai") >= 0.206 * 5_500
    assert sealed_tokens(1_736, "gemini-3-flash-preview", "google_vertexai") >= 320
    assert sealed_tokens(3_212, "gemini-2.5-flash", "google_genai") >= 0.18 * 3_212
    assert sealed_tokens(5_500, "gemini-2.0-flash", "google_genai") == 0
    assert sealed_tokens(9_572, "gpt-5", "openai") >= 0.141 * 9_572
    assert sealed_tokens(5_500, "claude-sonnet-4-5", "anthropic") == 0
    assert sealed_tokens(0, "gpt-5", "openai") == 0


def test_files_inside_results_of_tools_are_media() -> None:
    picture = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    found = read_content([{"toolResult": {"toolUseId": "1", "content": [{"text": "here"}, picture]}}])
    assert [part.kind for part in found.media] == ["image"]
    assert "here" in found.text and "iVBOR" not in found.text
    nested = {
        "functionResponse": {"name": "f", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}]}
    }
    assert [part.kind for part in read_content([nested]).media] == ["audio"]
    by_address = {"fileData": {"fileUri": "https://x/y.pdf", "mimeType": "application/pdf"}}
    assert [(part.kind, part.data) for part in read_content([by_address]).media] == [("document", None)]


def test_calls_that_are_shown_in_the_content_are_counted_once() -> None:
    assert has_calls([{"type": "tool_use", "name": "f", "input": {}}])
    assert not has_calls([{"type": "text", "text": "f"}])
    assert not has_calls("tool_use")


def test_the_url_safe_alphabet_of_base64_is_read() -> None:
    block = {"inline_data": {"mime_type": "application/pdf", "data": "-_-_"}}
    assert read_content([block]).media[0].data == b"\xfb\xff\xbf"


def mp4(seconds: int, *, long: bool = False) -> bytes:
    times = (
        struct.pack(">QQIQ", 0, 0, 1_000, seconds * 1_000)
        if long
        else struct.pack(">IIII", 0, 0, 1_000, seconds * 1_000)
    )
    body = b"mvhd" + bytes([1 if long else 0, 0, 0, 0]) + times
    return b"\0\0\0\x18ftypmp42\0\0\0\0" + b"moov" + struct.pack(">I", len(body) + 4) + body


@pytest.mark.parametrize("long", [False, True])
def test_the_length_of_a_film_is_in_its_header(long: bool) -> None:
    assert video_seconds(mp4(32, long=long)) == 32
    assert media_tokens(Media("video", mp4(32, long=long)), "gemini-2.5-flash", "google").bound >= 33 * 258 + 32 * 32
    assert video_seconds(b"\x1aE\xdf\xa3" + bytes(80_000)) == pytest.approx(10, rel=0.01)


def test_the_length_of_an_mp3_is_that_of_its_frames() -> None:
    frame = bytes.fromhex("fffb9064") + bytes(413)  # 128 kbit/s, 44.1 kHz: 417 bytes, 26 ms
    assert audio_seconds(frame * 100) == pytest.approx(2.6, rel=0.01)
    assert audio_seconds(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + frame * 100) == pytest.approx(2.6, rel=0.01)
    counted = bytes.fromhex("fffb9064") + bytes(32) + b"Info" + struct.pack(">II", 1, 1_000) + bytes(369)
    assert audio_seconds(counted + frame * 3) == pytest.approx(26.1, rel=0.01)
    assert audio_seconds(bytes(20_000)) == 10  # unknown: the longest that it can be
