from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.usage.media import Media, media_tokens
from costguard_core.usage.pdf import UNKNOWN_PAGES, page_count, read_pdf

WORDS = "Invoice 4711 is due within thirty days. "


def pdf(*pages: str, shared: bool = False, packed: bool = True, extra: bytes = b"", font: bytes = b"") -> bytes:
    """A PDF file with a text on each page, or with one content that all pages share."""
    parts = [b"%%PDF-1.7\n1 0 obj<</Type/Pages/Kids[]/Count %d>>endobj\n" % len(pages)]
    for number, text in enumerate(pages[:1] if shared else pages):
        drawn = b"BT /F1 12 Tf 10 10 Td (%s) Tj ET" % text.encode("latin-1")
        stored, kind = (zlib.compress(drawn), b"/Filter/FlateDecode") if packed else (drawn, b"")
        parts.append(b"%d 0 obj<</Length %d%s>>stream\n" % (number + 9, len(stored), kind) + stored + b"\nendstream\n")
    parts += [b"%d 0 obj<</Type/Page>>endobj\n" % (number + 500) for number in range(len(pages))]
    return b"".join([*parts, font, extra])


@pytest.mark.parametrize("packed", [True, False])
def test_the_text_of_all_pages_is_counted(packed: bool) -> None:
    found = read_pdf(pdf(WORDS * 20, WORDS * 30, packed=packed))
    assert found.pages == 2
    assert found.text_tokens == len(WORDS * 50) // 2
    assert not found.has_pictures


def test_a_dense_page_is_held_at_more_than_an_empty_one() -> None:
    dense = media_tokens(Media("document", pdf("1234567 " * 5_000)), "claude-sonnet-4-5", "anthropic")
    empty = media_tokens(Media("document", pdf("Hi")), "claude-sonnet-4-5", "anthropic")
    assert 1_606 <= empty.bound < 2_000  # recorded for a page of three words
    assert dense.bound >= 20_000


def test_a_content_that_pages_share_counts_for_each_of_them() -> None:
    assert read_pdf(pdf(*[WORDS * 20] * 10, shared=True)).text_tokens == 10 * len(WORDS * 20) // 2


def test_a_form_counts_for_each_page() -> None:
    form = b"7 0 obj<</Subtype /Form /Length 9>>stream\nBT (%s) Tj ET\nendstream" % WORDS.encode()
    assert read_pdf(pdf("a", "b", extra=form)).text_tokens == len(WORDS) + 1


@pytest.mark.parametrize("seed", range(5))
def test_the_bytes_of_a_picture_are_no_text(seed: int) -> None:
    picture = b"7 0 obj<</Length 300000>>stream\n" + random.Random(seed).randbytes(300_000) + b"\nendstream\nendobj\n"
    assert read_pdf(pdf("a", "b", extra=picture)).text_tokens == 1


@pytest.mark.parametrize("drawn", [b"BT(%s)Tj ET", b"q BT\r[(%s)]TJ\rET Q", b"1 0 0 RG/F1 9 Tf[]0 d BT (%s) ' ET"])
def test_operators_may_stand_close_to_their_strings(drawn: bytes) -> None:
    form = b"7 0 obj<</Subtype /Form /Length 9>>stream\n" + drawn % WORDS.encode() + b"\nendstream"
    assert read_pdf(pdf("a", "b", extra=form)).text_tokens == len(WORDS) + 1


def test_fonts_with_two_bytes_for_a_letter_may_be_chinese() -> None:
    wide = read_pdf(pdf(WORDS, font=b"<</Encoding/Identity-H>>"))
    assert wide.text_tokens == pytest.approx(len(WORDS) * 0.75, abs=1)


@pytest.mark.parametrize(
    "extra",
    [
        b"trailer<</Encrypt 3 0 R>>",
        b"8 0 obj<</Filter/LZWDecode>>stream\nxyz\nendstream",
        b"8 0 obj<</Filter/FlateDecode>>stream\nno zlib\nendstream",
    ],
)
def test_a_text_that_cannot_be_read_is_unknown(extra: bytes) -> None:
    data = pdf(WORDS, extra=extra)
    assert read_pdf(data).text_tokens is None
    assert media_tokens(Media("document", data), "claude-sonnet-4-5", "anthropic").bound >= 4_500


def test_a_file_that_is_cut_off_is_held_by_its_size() -> None:
    assert read_pdf(b"%PDF-1.4 " + bytes(10_000)).pages == 6
    assert read_pdf(b"PK\x03\x04" + bytes(10_000_000)).pages == UNKNOWN_PAGES


def test_scanned_pages_are_held_as_pictures_also_where_only_text_is_billed() -> None:
    scanned = pdf("", extra=b"5 0 obj<</Subtype /Image /Filter /DCTDecode>>stream\n\xff\xd8\nendstream")
    assert media_tokens(Media("document", pdf(WORDS)), "mistral-medium-latest", "mistralai").bound < 100
    assert media_tokens(Media("document", scanned), "mistral-medium-latest", "mistralai").bound == 5_000


def test_pages_of_gpt_4o_mini_are_pictures_of_four_tiles_or_more() -> None:
    # https://community.openai.com/t/1143115: 77,200 tokens for three pages in the Responses API, 2,569 in the other one
    assert media_tokens(Media("document", pdf("a", "b", "c")), "gpt-4o-mini", "openai").bound >= 77_200


@given(st.binary(max_size=300), st.sampled_from([b"", b"%PDF-1.5 ", b"%PDF-1.5 BT (((", b"%PDF /Type/ObjStm stream\n"]))
def test_no_bytes_make_it_raise(data: bytes, head: bytes) -> None:
    found = read_pdf(head + data)
    assert 1 <= found.pages
    assert page_count(head + data) == found.pages


def test_a_text_full_of_open_brackets_is_read_once() -> None:
    drawn = zlib.compress(b"BT" + b"(a" * 1_000_000 + b"ET")
    hostile = pdf("a", extra=b"4 0 obj<</Filter/FlateDecode>>stream\n" + drawn + b"\nendstream")
    assert read_pdf(hostile).pages == 1


def test_escaped_brackets_behind_one_that_is_open_are_read_once() -> None:
    drawn = zlib.compress(b"BT (a) Tj ET (" + rb"\(" * 1_000_000)  # quadratic, this took hours
    hostile = pdf("a", extra=b"4 0 obj<</Filter/FlateDecode>>stream\n" + drawn + b"\nendstream")
    assert read_pdf(hostile).text_tokens == (1 + 1 + 2_000_000) // 2


def test_the_text_behind_a_bracket_that_nothing_closes_is_counted() -> None:
    form = b"7 0 obj<</Subtype /Form /Length 9>>stream\nBT (a (b (%s) c) d) Tj ET (%s" % (
        WORDS.encode(),
        WORDS.encode(),
    )
    assert (read_pdf(pdf("a", extra=form + b"\nendstream")).text_tokens or 0) >= len(WORDS)


@pytest.mark.parametrize("word", [b"/Count 123456", b"/Type/Pages "])
def test_starts_of_a_page_tree_are_looked_at_once_each(word: bytes) -> None:
    assert read_pdf(b"%PDF-1.4 " + word * 200_000).pages == UNKNOWN_PAGES
    assert read_pdf(b"%PDF-1.4 " + word * 1_000 + b"> /Type/Pages /Count 7 ").pages == 7


def test_the_rest_of_a_file_is_not_copied_for_each_of_its_streams() -> None:
    rest = b"8 0 obj<</Filter/DCTDecode/Subtype/Image>>stream\n" + bytes(20_000_000)
    assert read_pdf(pdf(*["a"] * 2_000, extra=rest)).text_tokens == 1_000


def object_stream(content: bytes) -> bytes:
    return b"4 0 obj<</Type/ObjStm/Filter/FlateDecode>>stream\n" + zlib.compress(content) + b"\nendstream\n"


def test_a_page_tree_in_an_object_stream_is_read() -> None:
    assert read_pdf(b"%PDF-1.5 " + object_stream(b"<</Type/Pages/Count 12>>")).pages == 12


def test_what_is_decompressed_has_a_limit() -> None:
    bombs = object_stream(bytes(3_900_000)) * 2_000  # 8 GB
    found = read_pdf(b"%PDF-1.5 " + object_stream(b"<</Type/Pages/Count 712>>") + bombs)
    assert (found.pages, found.text_tokens) == (712, None)
    fonts = b"4 0 obj<</Length1 9/Filter/FlateDecode>>stream\n" + zlib.compress(bytes(3_900_000)) + b"\nendstream\n"
    assert read_pdf(pdf("a", extra=fonts * 2_000)).text_tokens == 1


@pytest.mark.parametrize("drawn", [b"(" * 3_000_000, b"()" * 1_500_000, b"<41>" * 900_000])
def test_more_strings_than_anybody_draws_are_an_unknown_text(drawn: bytes) -> None:
    stream = b"4 0 obj<</Filter/FlateDecode>>stream\n" + zlib.compress(b"BT (a) Tj ET" + drawn) + b"\nendstream\n"
    assert read_pdf(pdf("a", extra=stream * 3)).text_tokens is None


def test_a_file_with_more_streams_than_are_looked_at_has_an_unknown_text() -> None:
    assert read_pdf(pdf("a", extra=b"<</Length1 9>>stream\n" * 100_001)).text_tokens is None
