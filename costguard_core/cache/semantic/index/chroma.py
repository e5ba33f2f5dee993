"""Chroma as the index: one collection per scope, because Chroma's ``where`` looks at every row.

A folder (``path=``) belongs to one process: others would search an old copy of it, and two writers can damage it. A
second process is detected by a lock on the folder and goes without the semantic cache; several processes share a
``chroma run`` server instead.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from costguard_core.cache.semantic.index.base import Entry, Found, Vector
from costguard_core.cache.semantic.index.chroma_connection import ChromaConnection, load_chromadb
from costguard_core.errors import ConfigurationError

# With 100 candidates, Chroma's default, one nearest neighbour in a hundred is missed; 200 take no measurably longer.
_COSINE = {"hnsw": {"space": "cosine", "ef_search": 200}}
_ENTRY = "entry"
_LEARNED = ".evidence"
_SCOPE_OF = re.compile(r"(.+)-[0-9a-f]{32,}")  # a cache, and the digest that names one of its scopes
_PAGE = 500  # rows read at once; a choice


class ChromaIndex:
    """Entries in Chroma.

    Args:
        path: a folder of this process alone.
        url: ``http://host:8000`` of a ``chroma run`` server, for several processes and hosts.
        client: an open Chroma client of your own, instead of the two.
        name: first part of the collections' names; ``clear`` touches only these.
        timeout: seconds that a search on a server may take; a local folder answers or fails at once.
        claim: the folder is this process's alone. ``False`` only reads, perhaps not the newest entries.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        client: object = None,
        name: str = "costguard",
        timeout: float = 0.1,
        claim: bool = True,
    ) -> None:
        if sum(one is not None for one in (path, url, client)) != 1:
            raise ConfigurationError("give one of path=, url= and client=")
        self._path = None if path is None else Path(path)
        self._name = name
        self._collections: dict[str, Any] = {}
        self._connection = ChromaConnection(
            self._path, url, client, timeout=timeout, claim=claim, on_lost=self._collections.clear
        )
        self.url = self._connection.url

    # Reading

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        return _found(self._connection.run_in_time(lambda: self._query(scope, vector, k)))

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        """:meth:`search` for an event loop."""
        return _found(await self._connection.arun_in_time(lambda: self._query(scope, vector, k)))

    def entries(self, scope: str) -> list[Entry]:
        return [entry for entry, _ in self._rows(scope)]

    def count(self, scope: str) -> int:
        return int(self._connection.run(lambda: self._in_collection(scope, lambda found: found.count())) or 0)

    def scopes(self) -> list[str]:
        prefix = f"{self._name}-"
        names = self._connection.run(lambda: [found.name for found in self._connection.client().list_collections()])
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def names(self) -> list[str]:
        """The names of all caches in this Chroma that hold or have learned something: one for each namespace and
        embedding model. The application may keep collections of its own beside them."""
        found = self._connection.run(lambda: [one.name for one in self._connection.client().list_collections()])
        files = [] if self._path is None else [file.stem for file in self._path.glob(f"*{_LEARNED}.json")]
        learned = {name.removesuffix(_LEARNED) for name in (*found, *files) if name.endswith(_LEARNED)}
        return sorted(learned | {held[1] for name in found if (held := _SCOPE_OF.fullmatch(name))})

    # Writing

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        self.put_many(scope, [entry], [vector])

    def put_many(self, scope: str, entries: Sequence[Entry], vectors: Sequence[Vector]) -> None:
        """Several entries in one write, which takes little longer than one."""
        ids, rows = [entry.id for entry in entries], [_row(entry) for entry in entries]
        given = [list(vector) for vector in vectors]
        # `add` would silently keep an older entry of the same id.
        self._connection.run(
            lambda: self._in_collection(
                scope, lambda found: found.upsert(ids=ids, embeddings=given, metadatas=rows), make=True
            )
        )

    def replace(self, scope: str, entry: Entry) -> None:
        rows = [_row(entry)]
        self._connection.run(
            lambda: self._in_collection(scope, lambda found: found.update(ids=[entry.id], metadatas=rows))
        )

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _PAGE):
            page = list(ids[start : start + _PAGE])
            self._connection.run(partial(self._in_collection, scope, partial(_delete, page)))
        if ids and self.count(scope) == 0:
            self._drop(scope)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        """Delete by tags. ``scrub`` rewrites what held them: Chroma leaves deleted vectors and texts in its files
        otherwise. In a folder nothing else is done meanwhile."""
        if not scrub:
            return sum([self._invalidate(scope, tags, self.delete) for scope in self.scopes()])
        with self._connection.alone():
            removed = sum([self._invalidate(scope, tags, self._rebuild) for scope in self.scopes()])
            self._vacuum()
        return removed

    def clear(self) -> None:
        for scope in self.scopes():
            self._drop(scope)

    # What the cache has learned

    def load_state(self) -> str | None:
        if self._path is not None:
            self._connection.run(self._connection.client)
            file = self._path / f"{self._name}{_LEARNED}.json"
            return file.read_text() if file.exists() else None
        found = self._connection.run(
            lambda: self._get_or_create_named(self._state_name).get(ids=["evidence"], include=["metadatas"])
        )
        return found["metadatas"][0][_ENTRY] if found["ids"] else None

    def save_state(self, state: str) -> None:
        if self._path is not None:
            self._connection.run(self._connection.client)
            file = self._path / f"{self._name}{_LEARNED}.json"
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(state)
            draft.replace(file)
            return
        self._connection.run(
            lambda: self._get_or_create_named(self._state_name).upsert(
                ids=["evidence"], embeddings=[[1.0]], metadatas=[{_ENTRY: state}]
            )
        )

    def close(self) -> None:
        self._connection.close()

    @property
    def _state_name(self) -> str:
        return f"{self._name}{_LEARNED}"

    # Inside

    def _invalidate(self, scope: str, tags: Sequence[str], remove: Callable[[str, list[str]], None]) -> int:
        matching = [entry.id for entry in self.entries(scope) if set(tags) <= set(entry.tags)]
        if matching:
            remove(scope, matching)
        return len(matching)

    def _query(self, scope: str, vector: Vector, k: int) -> Any:
        return self._in_collection(
            scope,
            lambda found: found.query(query_embeddings=[list(vector)], n_results=k, include=["metadatas", "distances"]),
        )

    def _in_collection(self, scope: str, work: Callable[[Any], Any], *, make: bool = False) -> Any:
        """What ``work`` returns of the scope's collection, ``None`` where there is none and none is to be made.

        A collection that another process has dropped since, and perhaps made anew as ``invalidate`` does, is looked up
        once more.
        """
        for again in (True, False):
            found = self._get_or_create(scope) if make else self._collection(scope)
            if found is None:
                return None
            try:
                return work(found)
            except load_chromadb().errors.NotFoundError:
                self._collections.pop(scope, None)
                if make and not again:
                    raise
        return None

    def _collection(self, scope: str) -> Any:
        """The scope's collection, or ``None``: looking up must not create collections."""
        client = self._connection.client()  # notices a fork
        found = self._collections.get(scope)
        if found is None:
            try:
                found = client.get_collection(f"{self._name}-{scope}", embedding_function=None)
            except load_chromadb().errors.NotFoundError:
                return None
            self._collections[scope] = found
        return found

    def _get_or_create(self, scope: str) -> Any:
        found = self._collection(scope)
        if found is None:
            found = self._collections[scope] = self._get_or_create_named(f"{self._name}-{scope}")
        return found

    def _get_or_create_named(self, name: str) -> Any:
        return self._connection.client().get_or_create_collection(name, embedding_function=None, configuration=_COSINE)

    def _rows(self, scope: str, *, vectors: bool = False) -> Iterator[tuple[Entry, Any]]:
        parts = ["metadatas", "embeddings"] if vectors else ["metadatas"]
        offset = 0
        while True:
            page = self._connection.run(partial(self._in_collection, scope, partial(_read, offset, parts)))
            if page is None:
                return
            for place, row in enumerate(page["metadatas"]):
                entry = _entry(row)
                if entry is not None:
                    yield entry, page["embeddings"][place] if vectors else None
            offset += _PAGE
            if len(page["ids"]) < _PAGE:
                return

    def _drop(self, scope: str) -> None:
        self._collections.pop(scope, None)

        def drop() -> None:
            try:
                self._connection.client().delete_collection(f"{self._name}-{scope}")
            except load_chromadb().errors.NotFoundError:
                pass

        self._connection.run(drop)

    def _rebuild(self, scope: str, without: Sequence[str]) -> None:
        gone = set(without)
        kept = [(entry, vector) for entry, vector in self._rows(scope, vectors=True) if entry.id not in gone]
        self._drop(scope)
        for start in range(0, len(kept), _PAGE):
            page = kept[start : start + _PAGE]
            self.put_many(scope, [entry for entry, _ in page], [vector.tolist() for _, vector in page])

    def _vacuum(self) -> None:
        """Rewrite Chroma's SQLite file, and remove the folders of dropped collections; only for a folder of our own."""
        if self._path is None:
            return
        self._connection.disconnect()
        with closing(sqlite3.connect(self._path / "chroma.sqlite3", timeout=5)) as db:
            live = {row[0] for row in db.execute("SELECT id FROM segments")}
            db.execute("INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('optimize')")
            db.commit()
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for folder in self._path.iterdir():
            if folder.is_dir() and folder.name not in live and len(folder.name) == 36:
                rmtree(folder, ignore_errors=True)


def _delete(ids: list[str], collection: Any) -> None:
    collection.delete(ids=ids)


def _read(offset: int, parts: list[str], collection: Any) -> Any:
    return collection.get(limit=_PAGE, offset=offset, include=parts)


def _found(answer: Any) -> list[Found]:
    if answer is None:
        return []
    rows = zip(answer["metadatas"][0], answer["distances"][0], strict=True)
    known = ((_entry(row), 1 - float(distance)) for row, distance in rows)
    return [Found(entry, similarity) for entry, similarity in known if entry is not None]


def _row(entry: Entry) -> dict[str, str]:
    return {_ENTRY: entry.dump()}


def _entry(row: Any) -> Entry | None:
    try:
        return Entry.load(row[_ENTRY])
    except (ValueError, TypeError, KeyError):
        return None  # somebody else's row, or another release's
