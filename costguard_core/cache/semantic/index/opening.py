"""Which index a semantic cache uses: by its URL, a folder, a client, or one in memory."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from costguard_core.cache.semantic.index.base import Index
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.shared import SharedIndex
from costguard_core.errors import ConfigurationError
from costguard_core.util.urls import SqliteUrl, printable

_log = logging.getLogger("costguard.cache")
_OLD_FOLDER = Path("costguard.chroma")


def open_index(
    space: str,
    *,
    path: str | os.PathLike[str] | None,
    url: str | None,
    client: object,
    namespace: str,
    timeout: float,
) -> Index:
    """The index of a semantic cache that is given none: a folder, a server or a client; without these, one in memory.

    Nothing is written where nobody asked for it. A folder that an earlier release made in the working directory, when
    that was the default, is still opened.

    Args:
        space: identifies the embedding model. Evidence belongs to one, so each has its own name.
        path, client: of Chroma; see :class:`ChromaIndex`.
        url: ``sqlite:///path.db``, ``http://host:8000`` of Chroma, ``redis://host``, ``postgresql://host/db`` or
            ``qdrant://host:6333``.
        namespace: first part of the name.
        timeout: seconds that a search on a server may take.

    Raises:
        ConfigurationError: more than one of ``path``, ``url`` and ``client``, a URL of another kind, or a path that is
            no folder.
        MissingExtraError: what the index needs is not installed.
    """
    name = f"{namespace}-{space}"
    if path is not None and Path(path).is_file():
        raise ConfigurationError(
            f"path= is a folder for Chroma, and {os.fspath(path)!r} is a file; a SQLite file is given as "
            f'url="sqlite:///{os.fspath(path)}"'
        )
    if path is None and url is None and client is None:
        if not _OLD_FOLDER.is_dir():
            return MemoryIndex()
        _log.warning(
            "the semantic cache keeps its entries in %s of the working directory, as earlier releases did unasked; say "
            "SemanticCache(…, path=%r)",
            _OLD_FOLDER,
            str(_OLD_FOLDER),
        )
        path = _OLD_FOLDER
    if url is not None and path is None and client is None:
        found = open_shared(url, name=name, timeout=timeout)
        if found is not None:
            return found
    return ChromaIndex(path, url=url, client=client, name=name, timeout=timeout)


def open_shared(url: str, *, name: str, timeout: float) -> SharedIndex | None:
    """The index in a SQLite file or on a server; ``None`` where the server is Chroma's.

    Raises:
        ConfigurationError: a URL of another kind.
        MissingExtraError: what the index needs is not installed.
    """
    scheme, separator, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite" and (place := SqliteUrl.read(rest)):
        from costguard_core.cache.semantic.index.sqlite import SqliteIndex

        return SqliteIndex(place.path, name=name, timeout=place.timeout)
    if kind in ("redis", "rediss", "unix"):
        from costguard_core.cache.semantic.index.redis_vectors import RedisIndex

        return RedisIndex(url, name=name, timeout=timeout)
    if kind in ("postgres", "postgresql"):
        from costguard_core.cache.semantic.index.pgvector import PgvectorIndex

        return PgvectorIndex(url, name=name, timeout=timeout)
    if kind == "qdrant":
        from costguard_core.cache.semantic.index.qdrant import QdrantIndex

        return QdrantIndex(url, name=name, timeout=timeout)
    if kind in ("http", "https") or not separator:
        return None
    raise ConfigurationError(
        f"the semantic cache has no index of the kind {printable(url)!r}; use sqlite:///path.db, "
        "http://host:8000 (Chroma), redis://host:6379/0, postgresql://host/database or qdrant://host:6333"
    )
