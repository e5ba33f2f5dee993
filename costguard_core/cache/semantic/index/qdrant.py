"""Qdrant as the index: one collection, in which every point names its scope and its tags.

https://qdrant.tech/documentation/guides/multiple-partitions/ advises one collection with a payload index for tenants.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlunsplit

from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.index.shared import PAGE, SharedIndex, readable
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.util.forks import renew_locks
from costguard_core.util.urls import port_of, printable, split

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")

_IDS = uuid.UUID("7b0f1a54-6d0e-4a5e-9c39-6f3b0c6f2d11")  # of points: Qdrant takes numbers and UUIDs only
_MAX_ANSWER_SECONDS = 10  # a server that hangs must not hold a thread for ever; a choice
_MAX_SCOPES = 100_000
_EFFORT = 200  # candidates of a search, as for Chroma
_STATE = "evidence"


class QdrantIndex(SharedIndex):
    """Entries in Qdrant.

    Args:
        url: ``qdrant://host:6333``, or ``qdrant+https://host?api_key=…``.
        path: a folder of this process alone instead, in which Qdrant's client itself searches, exactly.
        client: an open ``QdrantClient`` instead.
        name: of the cache, and of its collection.
        timeout: seconds that a search may take.

    Raises:
        MissingExtraError: the extra ``qdrant`` is not installed.
        ConfigurationError: not one of ``url``, ``path`` and ``client``, or the URL cannot be read.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        client: QdrantClient | None = None,
        name: str = "costguard",
        timeout: float = 0.1,
    ) -> None:
        try:
            import qdrant_client  # noqa: F401
        except ImportError:
            raise MissingExtraError("the semantic cache's index (Qdrant)", "qdrant") from None
        if sum(one is not None for one in (url, path, client)) != 1:
            raise ConfigurationError("give one of url=, path= and client=")
        self._path = None if path is None else os.fspath(path)
        self._given, self._client = client, client
        self._address = None if url is None else _address(url)
        self._known: set[str] = set()  # collections that are there
        self._lock = Lock()  # of what is in this process, which is not made for threads
        renew_locks(self, "_lock")
        shown = f"qdrant:{self._path}" if path is not None else "qdrant client" if url is None else printable(url)
        super().__init__(shown, name=name, timeout=timeout)

    def _attempt(self, work: Callable[[], T]) -> T:
        if self._address is not None:
            return work()
        with self._lock:
            return work()

    def _search(self, scope: str, unit: list[float], k: int) -> list[Found]:
        from qdrant_client.models import SearchParams

        if not self._exists(self._name):
            return []
        found = self._db().query_points(
            self._name,
            query=unit,
            query_filter=_where("scope", [scope]),
            limit=k,
            search_params=None if self._address is None else SearchParams(hnsw_ef=_EFFORT),  # a folder's is exact
        )
        rows = [(readable((point.payload or {}).get("entry")), point.score) for point in found.points]
        return [Found(entry, float(score)) for entry, score in rows if entry is not None]

    def _put(self, scope: str, entries: Sequence[Entry], units: Sequence[list[float]]) -> None:
        from qdrant_client.models import PointStruct

        self._create(self._name, len(units[0]) if units else 1)
        points = [
            PointStruct(id=_id(scope, one.id), vector=unit, payload=_payload(scope, one))
            for one, unit in zip(entries, units, strict=True)
        ]
        self._db().upsert(self._name, points, wait=True)

    def _replace(self, scope: str, entry: Entry) -> None:
        # A payload that is set for a point that is not there is an error of the server, or makes no point.
        if self._exists(self._name) and self._db().retrieve(self._name, [_id(scope, entry.id)], with_payload=False):
            self._db().overwrite_payload(self._name, _payload(scope, entry), points=[_id(scope, entry.id)], wait=True)

    def _delete(self, scope: str, ids: Sequence[str]) -> None:
        if self._exists(self._name):
            self._db().delete(self._name, [_id(scope, one) for one in ids], wait=True)

    def _entries(self, scope: str) -> list[Entry]:
        found: list[Entry] = []
        offset: Any = None
        while self._exists(self._name):
            points, offset = self._db().scroll(
                self._name, scroll_filter=_where("scope", [scope]), limit=PAGE, offset=offset
            )
            rows = (readable((point.payload or {}).get("entry")) for point in points)
            found += [entry for entry in rows if entry is not None]
            if offset is None:
                break
        return found

    def _count(self, scope: str) -> int:
        return self._counted(_where("scope", [scope]))

    def _counted(self, where: Any) -> int:
        return self._db().count(self._name, where, exact=True).count if self._exists(self._name) else 0

    def _scopes(self) -> list[str]:
        if not self._exists(self._name):
            return []
        found = self._db().facet(self._name, "scope", limit=_MAX_SCOPES, exact=True)
        return [str(hit.value) for hit in found.hits if hit.count]

    def _names(self) -> list[str]:
        return sorted({one.name.removesuffix(f".{_STATE}") for one in self._db().get_collections().collections})

    def _invalidate(self, tags: Sequence[str], *, scrub: bool) -> int:
        from qdrant_client.models import FilterSelector

        where = _where("tags", tags)
        removed = self._counted(where)
        if removed:
            self._db().delete(self._name, FilterSelector(filter=where), wait=True)
        return removed

    def _clear(self) -> None:
        from qdrant_client.models import Filter, FilterSelector

        if self._exists(self._name):
            self._db().delete(self._name, FilterSelector(filter=Filter()), wait=True)

    def _load_state(self) -> str | None:
        if not self._exists(self._state_name):
            return None
        found = self._db().retrieve(self._state_name, [1])
        return str((found[0].payload or {})["state"]) if found else None

    def _save_state(self, state: str) -> None:
        from qdrant_client.models import PointStruct

        self._create(self._state_name, 1)
        self._db().upsert(self._state_name, [PointStruct(id=1, vector=[1.0], payload={"state": state})], wait=True)

    @property
    def _state_name(self) -> str:
        return f"{self._name}.{_STATE}"

    # Collections and the client

    def _exists(self, name: str) -> bool:
        if name not in self._known and self._db().collection_exists(name):
            self._known.add(name)
        return name in self._known

    def _create(self, name: str, size: int) -> None:
        from qdrant_client.models import Distance, KeywordIndexParams, KeywordIndexType, VectorParams

        if self._exists(name):
            return
        try:
            self._db().create_collection(name, vectors_config=VectorParams(size=size, distance=Distance.COSINE))
        except Exception:
            if not self._exists(name):  # unless another process was first
                raise
        if self._address is not None and name == self._name:  # in a folder there are no such indexes
            scope = KeywordIndexParams(type=KeywordIndexType.KEYWORD, is_tenant=True)
            self._db().create_payload_index(name, "scope", scope, wait=True)
            self._db().create_payload_index(name, "tags", KeywordIndexParams(type=KeywordIndexType.KEYWORD), wait=True)

    def _db(self) -> QdrantClient:
        if self._client is None:
            from qdrant_client import QdrantClient

            if self._address is None:
                # Threads take turns; SQLite's own check would let one thread only.
                self._client = QdrantClient(path=self._path, force_disable_check_same_thread=True)
            else:
                self._client = QdrantClient(**self._address, timeout=_MAX_ANSWER_SECONDS, check_compatibility=False)
        return self._client

    def _disconnect(self) -> None:
        self._known.clear()
        client, self._client = self._client, self._given
        if client is not None and client is not self._given:
            with suppress(Exception):
                client.close()

    def _forget(self) -> None:
        self._known.clear()
        if self._given is None:
            self._client = None


def _address(url: str) -> dict[str, Any]:
    parts = split(url)
    kind, _, transport = parts.scheme.partition("+")
    if kind != "qdrant" or transport not in ("", "http", "https") or not parts.hostname:
        raise ConfigurationError(f"{printable(url)!r} is no address of Qdrant; write qdrant://host:6333")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    key = parse_qs(parts.query).get("api_key", [None])[0]
    address = f"{host}:{port_of(parts) or 6333}"
    return {"url": urlunsplit((transport or "http", address, "", "", "")), "api_key": key}


def _id(scope: str, name: str) -> str:
    return str(uuid.uuid5(_IDS, f"{scope} {name}"))


def _payload(scope: str, entry: Entry) -> dict[str, Any]:
    return {"scope": scope, "tags": list(entry.tags), "entry": entry.dump()}


def _where(field: str, values: Sequence[str]) -> Any:
    """Points whose field holds all the values."""
    from qdrant_client.models import FieldCondition, Filter, MatchValue

    return Filter(must=[FieldCondition(key=field, match=MatchValue(value=value)) for value in values])
