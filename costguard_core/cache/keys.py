"""What identifies a request: canonical JSON of everything that changes the answer, hashed, then partitioned by scope.

Nothing readable leaves this module: a key is a digest. What cannot be written down exactly makes the request
:class:`Uncacheable`, because an approximate key serves somebody else's answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.types import Attribution
from costguard_core.util.options import meant

# Part of every digest: raise it whenever the same parts must not find the entries of an older release.
KEY_VERSION = "costguard.key.1"
_DIGEST_BYTES = 20


class NotCanonical(CostGuardError):
    """A part of the request has no exact written form. ``part`` says which, without its contents."""

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(f"no exact key can be made from {part}")


class Uncacheable(NamedTuple):
    """The request is neither looked up nor stored; ``reason`` is for logs and statistics."""

    reason: str


class CacheKey(NamedTuple):
    """A request that may be answered from the cache.

    ``digest`` is hexadecimal. ``model`` is the name that the request gives. ``tags`` are the names by which the entry
    can be invalidated. ``choices`` is how many
    answers the request asks for. ``ttl`` is seconds, ``None`` for no expiry. ``lookup`` is false when the caller asked
    for a fresh answer (which is then stored).
    """

    digest: str
    model: str | None = None
    tags: tuple[str, ...] = ()
    choices: int = 1
    ttl: float | None = None
    lookup: bool = True


Describe = Callable[[Any], Any]


def nothing_else(value: object) -> object:
    """The default ``describe``: refuse."""
    raise NotCanonical(f"a value of type {type(value).__name__}")


def plain(value: object, describe: Describe = nothing_else) -> object:
    """``value`` as JSON types in one canonical spelling: ``1.0`` is ``1``, tuples are lists.

    ``describe`` turns an object that JSON has no form for into one that it has, exactly.

    Raises:
        NotCanonical: for NaN, infinities, keys that are not strings, and objects that nobody describes.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return _plain_float(value)
        case list() | tuple():
            items = []
            for item in value:
                items.append(item if type(item) is str else plain(item, describe))
            return items
        case Mapping():
            named = {}
            for name, item in value.items():
                if not isinstance(name, str):
                    raise NotCanonical(f"a mapping key of type {type(name).__name__}")
                named[name] = item if type(item) is str else plain(item, describe)
            return named
    return plain(describe(value))


def _plain_float(value: float) -> int | float:
    if not math.isfinite(value):
        raise NotCanonical("a number that is not finite")
    return int(value) if value.is_integer() else value


def canonical(value: object, describe: Describe = nothing_else) -> str:
    """ASCII JSON of :func:`plain`, the same for equal values in every process and release."""
    if type(value) is str:
        return dump(value)
    try:
        return dump(plain(value, describe))
    except RecursionError:
        raise NotCanonical("a value nested too deeply") from None


dump = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
"""JSON of a value that is already plain."""


def digest(*parts: str) -> str:
    """Hexadecimal hash of the parts and of where each one ends, so that no two lists of parts run together."""
    chunks: list[bytes] = []
    for part in (KEY_VERSION, *parts):
        data = part.encode("utf-8", "surrogatepass")
        chunks += (len(data).to_bytes(8), data)
    return blake2b(b"".join(chunks), digest_size=_DIGEST_BYTES).hexdigest()


def request_digest(
    *,
    model: object,
    parameters: Mapping[str, object],
    messages: Sequence[object],
    tools: Sequence[object] = (),
    schema: object = None,
    describe: Describe = nothing_else,
) -> str:
    """The digest of one request, before scope. The order of messages matters; the order of tools does not.

    Raises:
        NotCanonical: when a part cannot be written exactly.
    """
    # Most requests have no arguments, tools or schema.
    return digest(
        # An adapter hands in the digest of a model, which is plain already.
        dump(model) if type(model) is str else canonical(model, describe),
        canonical(parameters, describe) if parameters else "{}",
        canonical(messages),
        dump(sorted(canonical(tool, describe) for tool in tools)) if tools else "[]",
        "null" if schema is None else canonical(schema, describe),
    )


@lru_cache(64)
def in_order(scope: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a scope, each once, in the order in which they are in a digest."""
    return tuple(sorted(set(scope)))


def scoped_digest(request: str, scope: Sequence[tuple[str, str | None]]) -> str:
    """The final digest: the same request in another scope is another key.

    ``scope`` is the partition of the cache that this caller may read, as names and values: who is not named is a scope
    of its own.
    """
    parts = [request]
    for name, value in scope:
        parts.append(f"{name}=" if value is None else f"{name}:{value}")
    return digest(*parts)


def tags_of(attribution: Attribution, *, model: str | None = None) -> tuple[str, ...]:
    """The tags of an entry, ``name=value``, for ``invalidate(model=..., endpoint=..., document=...)``."""
    named = (
        ("model", model),
        ("user", attribution.user),
        ("tenant", attribution.tenant),
        ("endpoint", attribution.endpoint),
        ("template", attribution.template),
    )
    tags = []
    for name, value in named:
        if value is not None:
            tags.append(f"{name}={value}")
    # ``attribute(document="faq-7")`` is a free tag, named as ``invalidate(document="faq-7")`` names it.
    alone = [value for name, value in attribution.tags if name == "document"]
    for document in dict.fromkeys((*attribution.documents, *alone)):
        tags.append(f"document={document}")
    return tuple(tags)


# The names in :func:`tags_of`: those of :class:`Attribution`, of which ``documents`` gives one tag for each document.
TAG_NAMES = ("model", "user", "tenant", "endpoint", "template", "document")


def tags_to_invalidate(named: Mapping[str, str]) -> list[str]:
    """``invalidate(document="faq-7")`` as tags of :func:`tags_of`.

    Raises:
        ConfigurationError: no name, or one that no entry has: nothing would be deleted, and nobody would notice.
    """
    if not named:
        raise ConfigurationError("name at least one tag, for example invalidate(document='faq-7')")
    for name in named:
        if name not in TAG_NAMES:
            hint = meant(name, [f"{tag}=" for tag in TAG_NAMES], f"use {', '.join(TAG_NAMES)}")
            raise ConfigurationError(f"{name[:40]!r} is no tag of cached answers: {hint}")
    return [f"{name}={value}" for name, value in named.items()]
