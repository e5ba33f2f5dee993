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
_MOST_STREAMS = 100_000  # that are looked at: a file with more has an unknown text
_MOST_STRINGS = 2_000_000  # in all of them, by their brackets: so many take a second
_CHUNK = 65_536  # bytes that are decompressed at once: zlib copies what it was given beyond the end of a stream

_PAGE = re.compile(rb"/Type\s*/Page(?![s\w])")
# No window reaches over the next start of one, so that a file full of starts is read once.
_COUNT = re.compile(
    rb"/Type\s*/Pages\b(?:(?!/Type\s*/Pages\b)[^>]){0,400}?/Count\s+(\d{1,6}+)"
    rb"|/Count\s+(\d{1,6}+)(?:(?!/Count)[^>]){0,400}?/Type\s*/Pages\b"
)
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_HEAD = 600  # bytes before a stream in which its dictionary is looked for
_NO_TEXT = re.compile(rb"/Subtype\s*/Image|/Length[123]\b|/Type\s*/(XRef|ObjStm|Metadata|EmbeddedFile)|/FontFile")
# Operators without which a stream draws no text (9.4): the bytes of a picture have them by chance, but hardly ever all
# three between delimiters.
# The letters stand first in each pattern: `re` looks for them many times faster than for what is around them.
_DELIMITED = rb"%b(?<![^\s()<>\[\]{}/%%]%b)(?![^\s()<>\[\]{}/%%])"
_DRAWS_TEXT = tuple(
    re.compile(b"|".join(_DELIMITED % (name, name) for name in names))
    for names in ((rb"BT",), (rb"ET",), (rb"T[jJ]", rb"['\"]"))
)
# Either kind of string, and what stands after a bracket that nothing closes: so no byte is looked at more than twice.
_STRING = re.compile(rb"\(((?:[^\\()]++|\\.|\((?:[^\\()]++|\\.)*+\))*+)\)?|<([0-9A-Fa-f\s]++)>", re.DOTALL)
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


class _TooLong(Exception):
    """A file has more to read than is looked at."""


def read_pdf(data: bytes) -> Pdf:
    """Read a PDF file; a file of another kind, or a broken one, has a bound of pages by its size, and unknown text.

    It takes a second or two at most, whatever is in a file of 30 MB: what is decompressed has a limit, and no pattern
    goes over a byte more than a few times.
    """
    if data[:1024].find(b"%PDF") < 0:
        return Pdf(_pages_by_size(data), None, has_pictures=True)
    pages = _pages_in(data) or _packed_pages(data)
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


def _packed_pages(data: bytes) -> int:
    """The pages of a page tree that is compressed; 0: unknown. If there is too much of it, no fewer than by size."""
    reader, pages = _Reader(data), 0
    try:
        for head, at in reader.streams():
            if b"/ObjStm" in head:
                pages = max(pages, _pages_in(reader.content(head, at) or b""))
    except _TooLong:
        return max(pages, _pages_by_size(data))
    return pages


class _Reader:
    """Reads the streams of a file, up to a limit on all that it reads."""

    def __init__(self, data: bytes) -> None:
        self._data, self._view, self._left = data, memoryview(data), _MOST_READ

    def streams(self) -> Iterator[tuple[bytes, int]]:
        """The dictionary of each stream, and where its content starts. Raises :class:`_TooLong`."""
        for number, start in enumerate(_STREAM.finditer(self._data)):
            if number >= _MOST_STREAMS:
                raise _TooLong
            head = self._data[max(0, start.start() - _HEAD) : start.start()]
            yield head[max(0, head.rfind(b" obj")) :], start.end()

    def content(self, head: bytes, at: int) -> bytes | None:
        """The content of a stream; ``None``: it cannot be read. Raises :class:`_TooLong`."""
        if b"/Filter" in head and b"/FlateDecode" not in head:
            return None
        try:
            found = self._decompressed(at)
        except zlib.error:
            if b"/Filter" in head:
                return None
            end = self._data.find(b"endstream", at, at + _LONGEST_STREAM)
            found = self._data[at : end if end >= 0 else at + _LONGEST_STREAM]
            self._spend(len(found))
        if len(found) >= _LONGEST_STREAM:
            raise _TooLong
        return found

    def _decompressed(self, at: int) -> bytes:
        inflating, parts, length = zlib.decompressobj(), [], 0
        while not inflating.eof and at < len(self._view) and length < _LONGEST_STREAM:
            part = inflating.decompress(self._view[at : at + _CHUNK], _LONGEST_STREAM - length)
            self._spend(len(part))
            parts.append(part)
            at, length = at + _CHUNK, length + len(part)
        return b"".join(parts)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLong


def _text_tokens(data: bytes, pages: int) -> int | None:
    """Tokens of the text that is drawn on all pages, at most; ``None``: unknown.

    A stream that several pages share, and a form that may be drawn on each page, count once for each.
    """
    drawn, shared, streams, brackets, wide, reader = 0, 0, 0, 0, _WIDE in data, _Reader(data)
    try:
        for head, at in reader.streams():
            if b"/ObjStm" in head:  # fonts may be declared in it
                declared = reader.content(head, at)
                wide = wide or declared is None or _WIDE in declared
            if _NO_TEXT.search(head) is not None:
                continue
            content = reader.content(head, at)
            if content is None:
                return None
            if not all(operator.search(content) for operator in _DRAWS_TEXT):
                continue
            brackets += content.count(b"(") + content.count(b"<")
            if brackets > _MOST_STRINGS:
                return None
            size = sum(_string_bytes(found) for found in _STRING.finditer(content))
            if re.search(rb"/Subtype\s*/Form", head) is not None:
                shared += size
            else:
                drawn, streams = drawn + size, streams + 1
    except _TooLong:
        return None
    size = drawn * max(1, ceil(pages / streams) if streams else 1) + shared * pages
    return ceil(size * (_WIDE_TOKENS if wide else _NARROW_TOKENS))


def _string_bytes(found: re.Match[bytes]) -> int:
    return ceil(len(found[2]) / 2) if found[1] is None else len(found[1])
