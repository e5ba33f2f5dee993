"""How long a PDF file is: its pages and the text that is drawn on them, read from its bytes without rendering it.

Of the format (ISO 32000, https://opensource.adobe.com/dc-acrobat-sdk-docs/) only what bounds the length is read: a page
tree (7.7.3), also where it is compressed (7.5.7), and the strings in content streams (9.4.3). What cannot be read, such
as an encrypted file, has an unknown text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

# The most pages of a document whose pages nobody can count, which Anthropic takes of most models. A choice, stated in
# docs/money.md.
UNKNOWN_PAGES = 100
# A file of pages that nobody can count is assumed to have one for each so many bytes, at most UNKNOWN_PAGES.
_LEAST_PAGE_BYTES = 2_000
_LONGEST_STREAM = 4_000_000  # bytes of one decompressed stream that are looked at
_MOST_READ = 32_000_000  # of all of them: a longer text is unknown

_PAGE = re.compile(rb"/Type\s*/Page(?![s\w])")
_COUNT = re.compile(rb"/Type\s*/Pages\b[^>]{0,400}?/Count\s+(\d{1,6})|/Count\s+(\d{1,6})[^>]{0,400}?/Type\s*/Pages\b")
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_HEAD = 600  # bytes before a stream in which its dictionary is looked for
_NO_TEXT = re.compile(rb"/Subtype\s*/Image|/Length[123]\b|/Type\s*/(XRef|ObjStm|Metadata|EmbeddedFile)|/FontFile")
# Operators without which a stream draws no text (9.4): the bytes of a picture have them by chance, but hardly ever all
# three between delimiters.
_DELIMITED = rb"(?:^|(?<=[\s()<>\[\]{}/%%]))(?:%b)(?=[\s()<>\[\]{}/%%]|$)"
_DRAWS_TEXT = tuple(re.compile(_DELIMITED % name) for name in (rb"BT", rb"ET", rb"T[jJ]|['\"]"))
_STRING = re.compile(rb"\((?:[^\\()]++|\\.|\((?:[^\\()]++|\\.)*+\))*+\)|<([0-9A-Fa-f\s]++)>", re.DOTALL)
# Tokens for each byte of drawn text, at most: fonts with a byte for each letter have Western text (recorded 0.17 to
# 0.37 of an invoice at three vendors); those with two bytes may have Chinese, of which a letter can be 1.5 tokens.
_NARROW_TOKENS, _WIDE_TOKENS, _WIDE = 0.5, 0.75, b"/Identity-"


class Pdf(NamedTuple):
    """What is read of a PDF file.

    Attributes:
        pages: at most.
        text_tokens: of the text that is drawn, at most; ``None``: unknown.
        has_pictures: some of its pages may be scanned.
    """

    pages: int
    text_tokens: int | None
    has_pictures: bool


def read_pdf(data: bytes) -> Pdf:
    """Read a PDF file; a file of another kind, or a broken one, has a bound of pages by its size, and unknown text."""
    if data[:1024].find(b"%PDF") < 0:
        return Pdf(_pages_by_size(data), None, has_pictures=True)
    pages = _pages_in(data)
    packed = [] if pages else [content or b"" for head, content in _streams(data) if b"/ObjStm" in head]
    pages = pages or max(map(_pages_in, packed), default=0)
    known = bool(pages) and b"/Encrypt" not in data
    pages = pages or _pages_by_size(data)
    return Pdf(pages, _text_tokens(data, pages) if known else None, re.search(rb"/Subtype\s*/Image", data) is not None)


def page_count(data: bytes) -> int:
    """The pages of a PDF file, also where its page tree is compressed; of any other file, a bound by its size."""
    return read_pdf(data).pages


def _pages_by_size(data: bytes) -> int:
    return max(1, min(UNKNOWN_PAGES, ceil(len(data) / _LEAST_PAGE_BYTES)))


def _pages_in(data: bytes) -> int:
    counts = [int(found[1] or found[2]) for found in _COUNT.finditer(data)]
    return max([len(_PAGE.findall(data)), *counts])


def _streams(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """The dictionary of each stream, and its content; ``None``: it cannot be read."""
    for start in _STREAM.finditer(data):
        head = data[max(0, start.start() - _HEAD) : start.start()]
        head = head[max(0, head.rfind(b" obj")) :]
        if b"/Filter" in head and b"/FlateDecode" not in head:
            yield head, None
            continue
        try:
            yield head, zlib.decompressobj().decompress(data[start.end() :], _LONGEST_STREAM)
        except zlib.error:
            end = data.find(b"endstream", start.end())
            end = min(end if end >= 0 else len(data), start.end() + _LONGEST_STREAM)
            yield head, None if b"/Filter" in head else data[start.end() : end]


def _text_tokens(data: bytes, pages: int) -> int | None:
    """Tokens of the text that is drawn on all pages, at most.

    A stream that several pages share, and a form that may be drawn on each page, count once for each.
    """
    drawn, shared, read, streams, wide = 0, 0, 0, 0, _WIDE in data
    for head, content in _streams(data):
        if b"/ObjStm" in head:  # fonts may be declared in it
            wide = wide or content is None or _WIDE in content
        if _NO_TEXT.search(head) is not None:
            continue
        if content is None:
            return None
        read += len(content)
        if len(content) >= _LONGEST_STREAM or read > _MOST_READ:
            return None
        if not all(operator.search(content) for operator in _DRAWS_TEXT):
            continue
        size = sum(_string_bytes(found) for found in _STRING.finditer(content))
        if re.search(rb"/Subtype\s*/Form", head) is not None:
            shared += size
        else:
            drawn, streams = drawn + size, streams + 1
    size = drawn * max(1, ceil(pages / streams) if streams else 1) + shared * pages
    return ceil(size * (_WIDE_TOKENS if wide else _NARROW_TOKENS))


def _string_bytes(found: re.Match[bytes]) -> int:
    return len(found[0]) - 2 if found[1] is None else ceil(len(found[1]) / 2)
