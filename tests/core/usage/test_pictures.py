from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.usage.media import Media, media_tokens, read_block
from costguard_core.usage.pictures import picture_size, picture_tokens, vendor_of


@pytest.mark.parametrize(
    ("model", "size", "recorded"),
    [
        ("gpt-4o", (3_008, 2_000), 1_338),  # Responses; 1,105 by the documented tiles in Chat Completions
        ("gpt-4o", (128, 128), 255),
        ("gpt-4o-mini", (1, 1), 8_500),
        ("gpt-4.1-nano", (540, 360), 502),
        ("gpt-5-mini", (400, 301), 156),
        ("gpt-5-mini", (597, 566), 410),
        ("claude-3-opus-20240229", (1_001, 1_001), 1_372),
        ("claude-sonnet-4-5", (597, 566), 465),
        ("meta-llama/llama-4-maverick-17b", (400, 301), 393),
        ("meta-llama/llama-4-maverick-17b", (597, 566), 683),
        ("meta-llama/llama-4-scout-17b", (3_008, 2_000), 2_292),
        ("mistral-medium-latest", (597, 566), 470),
        ("mistral-medium-latest", (400, 301), 155),
        ("pixtral-12b-latest", (597, 566), 1_426),
        ("glm-4.6v", (597, 566), 424),
        ("us.amazon.nova-pro-v1:0", (3_008, 2_000), 1_818),
        ("gemini-3-flash-preview", (597, 566), 1_056),
    ],
)
def test_a_picture_is_held_at_what_was_billed_and_not_at_twice_that(
    model: str, size: tuple[int, int], recorded: int
) -> None:
    bound = picture_tokens(size, vendor_of(model, None), model)[1]
    assert recorded <= bound <= 1.65 * recorded


MODELS = st.sampled_from(
    "gpt-4o gpt-4o-mini gpt-4.1-mini gpt-5 gpt-5.4 o3 gpt-7 claude-opus-4-8 claude-3-haiku gemini-2.0-flash "
    "gemini-3-pro llama-4-scout pixtral-12b glm-4.6v nova-pro qwen3-vl".split()
)


@given(MODELS, st.integers(-5, 200_000), st.integers(-5, 200_000))
def test_no_picture_is_held_at_more_than_the_largest_nor_at_less_than_is_likely(
    model: str, width: int, height: int
) -> None:
    vendor = vendor_of(model, None)
    typical, most = picture_tokens((width, height), vendor, model)
    assert 0 < typical <= most
    if vendor != "google":  # Gemini's older models have no largest picture
        assert most <= picture_tokens(None, vendor, model)[1]


def test_more_detail_costs_more() -> None:
    block = {"type": "input_image", "image_url": "https://x.org/a.png", "detail": "original"}
    fine, usual = read_block(block), read_block({**block, "detail": "high"})
    assert fine is not None
    assert usual is not None
    assert media_tokens(fine, "gpt-5.4", "openai").bound >= 12_000
    assert media_tokens(usual, "gpt-5.4", "openai").bound >= 3_000
    part = {"inline_data": {"mime_type": "image/png", "data": "", "media_resolution": "MEDIA_RESOLUTION_ULTRA_HIGH"}}
    sharp = read_block(part)
    assert sharp is not None
    assert media_tokens(sharp, "gemini-3-pro-preview", "google_genai").bound == 2_240
    assert media_tokens(Media("image"), "gemini-3-pro-preview", "google_genai").bound == 1_120


@pytest.mark.parametrize(("segments", "size"), [(0, (640, 480)), (9_000, (640, 480)), (10_000, None)])
def test_a_jpeg_file_of_endless_segments_has_an_unknown_size(segments: int, size: tuple[int, int] | None) -> None:
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(20)
    assert picture_size(b"\xff\xd8" + b"\xff\xe1\x00\x02" * segments + frame) == size
