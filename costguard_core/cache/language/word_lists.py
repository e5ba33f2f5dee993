"""Word lists that come as data files beside the modules that use them, some of them compressed.

A line that begins with ``#`` is a comment; each file says in its first lines what it holds, its source and licence.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache
from importlib.resources import files


def lines(package: str, name: str) -> list[str]:
    """The lines of a data file without comments and empty ones. ``name`` is relative to the package's ``data``."""
    data = files(package).joinpath("data", *name.split("/")).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def words(package: str, name: str) -> frozenset[str]:
    """All words of a file."""
    return frozenset(word for line in lines(package, name) for word in line.split())


@cache
def table(package: str, name: str) -> dict[str, list[str]]:
    """Name → words, from lines ``name: word word``; lines of one name add up."""
    found: dict[str, list[str]] = {}
    for line in lines(package, name):
        key, _, members = line.partition(": ")
        found.setdefault(key, []).extend(members.split())
    return found


def mapping(items: list[str]) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a dictionary."""
    split_items = (item.partition("=") for item in items)
    return {key: value for key, _, value in split_items}


def pairs(texts: list[str]) -> frozenset[frozenset[str]]:
    """``["a, b / c"]``: each word left of a slash with each word right of it."""
    return frozenset(pair for text in texts for pair in _pairs(text))


def _pairs(text: str) -> Iterator[frozenset[str]]:
    left, _, right = text.partition("/")
    for one in left.split(","):
        yield from (frozenset((one.strip(), other.strip())) for other in right.split(","))
