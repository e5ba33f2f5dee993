"""What a cache store promises: bytes by key, with tags, an expiry and short leases. It never looks inside the bytes.

Stores that other processes can write to bind a value to its place: see :func:`bind`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class StoreStats(NamedTuple):
    """What is stored now, in this namespace. ``None``: the store would have to count to know."""

    entries: int | None
    bytes: int | None


class CacheStore(Protocol):
    """Any method may raise anything: the engine turns failures into misses.

    ``put`` replaces; ``ttl`` is seconds, ``None`` for no expiry. ``invalidate`` deletes the entries that carry *all*
    the tags and returns how many (-1: some, perhaps, of a store that cannot count). ``clear`` deletes this namespace
    only. ``lease`` returns who holds the key's lease for at most ``ttl`` seconds more: ``owner`` itself when it was
    free, expired or already theirs. ``unlease`` gives it up; with ``declined`` others find the holder ``DECLINED`` for
    a moment: nobody needs to wait for this answer.
    """

    url: str  # printable, without credentials
    shared: bool  # other processes see the same entries

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None: ...
    def delete(self, key: str) -> None: ...
    def invalidate(self, tags: Sequence[str]) -> int: ...
    def clear(self) -> None: ...
    def stats(self) -> StoreStats: ...
    def lease(self, key: str, owner: str, ttl: float) -> str: ...
    def unlease(self, key: str, owner: str, *, declined: bool = False) -> None: ...
    def close(self) -> None: ...

    async def aget(self, key: str) -> bytes | None: ...
    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None: ...
    async def ainvalidate(self, tags: Sequence[str]) -> int: ...
    async def aclear(self) -> None: ...
    async def alease(self, key: str, owner: str, ttl: float) -> str: ...
    async def aclose(self) -> None: ...


DECLINED = "declined"
DECLINED_SECONDS = 2.0


class LocalStore:
    """Async twins for a store without a network. Reads run in place, writes (which may wait) in a thread."""

    def get(self, key: str) -> bytes | None:
        raise NotImplementedError

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        raise NotImplementedError

    def invalidate(self, tags: Sequence[str]) -> int:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError

    def lease(self, key: str, owner: str, ttl: float) -> str:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    async def aget(self, key: str) -> bytes | None:
        return self.get(key)

    async def aput(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        await asyncio.to_thread(self.put, key, value, tags=tags, ttl=ttl)

    async def ainvalidate(self, tags: Sequence[str]) -> int:
        return await asyncio.to_thread(self.invalidate, tags)

    async def aclear(self) -> None:
        await asyncio.to_thread(self.clear)

    async def alease(self, key: str, owner: str, ttl: float) -> str:
        return await asyncio.to_thread(self.lease, key, owner, ttl)

    async def aclose(self) -> None:
        self.close()


_BOUND = b"\x00cgb1"  # what a bound value begins with; no answer of an older version and no vector does
_DIGEST_BYTES = 16


def bind(namespace: str, key: str, value: bytes) -> bytes:
    """``value`` with the place that it is stored at, so that a row that was copied to another place is not served.

    The key names everything that an answer depends on, the tenant included.
    """
    return _BOUND + _place(namespace, key) + value


def unbind(namespace: str, key: str, stored: bytes) -> bytes | None:
    """The value that :func:`bind` stored at this place, or ``None`` if it was stored at another.

    What an older version stored is not bound, and is returned as it is.
    """
    if not stored.startswith(_BOUND):
        return stored
    end = len(_BOUND) + _DIGEST_BYTES
    return stored[end:] if stored[len(_BOUND) : end] == _place(namespace, key) else None


def _place(namespace: str, key: str) -> bytes:
    place = f"{len(namespace)}:{namespace}{key}".encode(errors="surrogatepass")
    return hashlib.blake2b(place, digest_size=_DIGEST_BYTES).digest()
