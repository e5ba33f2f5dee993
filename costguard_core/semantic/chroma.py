"""Chroma as the index: one collection per scope, because Chroma's ``where`` looks at every row.

A folder (``path=``) belongs to one process: others would search an old copy of it, and two writers can damage it. A second process
is detected by a lock on the folder and goes without the semantic cache; several processes share a ``chroma run`` server instead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.semantic.index import Entry, Found, Vector

T = TypeVar("T")

_log = logging.getLogger("costguard.cache")
_COSINE = {"hnsw": {"space": "cosine"}}
_ENTRY = "entry"
_PAGE = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_PANIC = "PanicException"  # Chroma's Rust part raises it, outside of Exception


class IndexDown(RuntimeError):
    """The index cannot be used now; it is tried again later."""


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
        client: Any = None,
        name: str = "costguard",
        timeout: float = 0.1,
        claim: bool = True,
    ) -> None:
        if sum(one is not None for one in (path, url, client)) != 1:
            raise ConfigurationError("give one of path=, url= and client=")
        self._path = None if path is None else Path(path)
        self._server = url
        self._name, self._timeout, self._claim = name, timeout, claim
        self._lock = Lock()
        self._given = client
        self._client: Any = None
        self._async: Any = None
        self._collections: dict[str, Any] = {}
        self._folder_lock: int | None = None
        self._pid = os.getpid()
        self._down_until, self._pause = 0.0, _FIRST_PAUSE
        self._remote = url is not None or (client is not None and _is_remote(client))
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="costguard-chroma") if self._remote else None
        self.url = _printable(self._path, url)
        _chromadb()

    # Reading

    def search(self, scope: str, vector: Vector, k: int) -> list[Found]:
        return _found(self._in_time(lambda: self._query(scope, vector, k)))

    async def asearch(self, scope: str, vector: Vector, k: int) -> list[Found]:
        """:meth:`search` for an event loop; a server is asked by Chroma's own asynchronous client."""
        if self._server is None:
            return await asyncio.to_thread(self.search, scope, vector, k)
        self._check_up()
        try:
            answer = await asyncio.wait_for(self._aquery(scope, vector, k), self._timeout)
        except Exception as error:
            self._async = None
            self._broke()
            raise IndexDown(type(error).__name__) from error
        self._worked()
        return _found(answer)

    def entries(self, scope: str) -> list[Entry]:
        return [entry for entry, _ in self._rows(scope)]

    def count(self, scope: str) -> int:
        return self._guarded(lambda: 0 if (found := self._collection(scope)) is None else int(found.count()))

    def scopes(self) -> list[str]:
        prefix = f"{self._name}-"
        names = self._guarded(lambda: [found.name for found in self._connected().list_collections()])
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def names(self) -> list[str]:
        """The names of all caches in this Chroma: one for each namespace and embedding model."""
        found = self._guarded(lambda: [one.name for one in self._connected().list_collections()])
        return sorted({name.rpartition("-")[0] for name in found if "-" in name})

    # Writing

    def put(self, scope: str, entry: Entry, vector: Vector) -> None:
        # `add` would silently keep an older entry of the same id.
        self._guarded(
            lambda: self._made(scope).upsert(ids=[entry.id], embeddings=[list(vector)], metadatas=[_row(entry)])
        )

    def replace(self, scope: str, entry: Entry) -> None:
        found = self._guarded(lambda: self._collection(scope))
        if found is not None:
            self._guarded(lambda: found.update(ids=[entry.id], metadatas=[_row(entry)]))

    def delete(self, scope: str, ids: Sequence[str]) -> None:
        if not ids:
            return
        found = self._guarded(lambda: self._collection(scope))
        if found is not None:
            for start in range(0, len(ids), _PAGE):
                self._guarded(lambda page=list(ids[start : start + _PAGE]): found.delete(ids=page))  # type: ignore[misc]
            if self.count(scope) == 0:
                self._drop(scope)

    def invalidate(self, tags: Sequence[str], *, scrub: bool = False) -> int:
        """Delete by tags. ``scrub`` rewrites what held them: Chroma leaves deleted vectors and texts in its files otherwise."""
        removed = 0
        for scope in self.scopes():
            doomed = [entry.id for entry in self.entries(scope) if set(tags) <= set(entry.tags)]
            removed += len(doomed)
            if doomed and scrub:
                self._rebuild(scope, set(doomed))
            else:
                self.delete(scope, doomed)
        if scrub:
            self._vacuum()
        return removed

    def clear(self) -> None:
        for scope in self.scopes():
            self._drop(scope)

    # What the cache has learned

    def load_state(self) -> str | None:
        if self._path is not None:
            self._guarded(self._connected)
            file = self._path / f"{self._name}.evidence.json"
            return file.read_text() if file.exists() else None
        found = self._guarded(lambda: self._made_named(self._state_name).get(ids=["evidence"], include=["metadatas"]))
        return found["metadatas"][0][_ENTRY] if found["ids"] else None

    def save_state(self, state: str) -> None:
        if self._path is not None:
            self._guarded(self._connected)
            file = self._path / f"{self._name}.evidence.json"
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(state)
            draft.replace(file)
            return
        self._guarded(
            lambda: self._made_named(self._state_name).upsert(
                ids=["evidence"], embeddings=[[1.0]], metadatas=[{_ENTRY: state}]
            )
        )

    def close(self) -> None:
        with self._lock:
            self._disconnect()
            if self._folder_lock is not None and self._pid == os.getpid():
                os.close(self._folder_lock)
                self._folder_lock = None
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    # Inside: the connection

    @property
    def _state_name(self) -> str:
        return f"{self._name}.evidence"

    def _connected(self) -> Any:
        with self._lock:
            if self._path is not None and self._pid != os.getpid():
                # A fork shares neither the lock nor the index in memory: it is another process.
                self._client, self._folder_lock, self._pid = None, None, os.getpid()
                self._collections.clear()
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> Any:
        if self._given is not None:
            return self._given
        chromadb = _chromadb()
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        if self._server is not None:
            return chromadb.HttpClient(**_address(self._server), settings=settings)
        assert self._path is not None
        self._path.mkdir(parents=True, exist_ok=True)
        if self._folder_lock is None and self._claim:
            self._folder_lock = _locked(self._path)
        return chromadb.PersistentClient(path=str(self._path), settings=settings)

    def _disconnect(self) -> None:
        self._collections.clear()
        client, self._client = self._client, None
        if client is not None and client is not self._given and callable(close := getattr(client, "close", None)):
            close()

    def _check_up(self) -> None:
        if time.monotonic() < self._down_until:
            raise IndexDown("waiting before the next attempt")

    def _broke(self) -> None:
        self._down_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        with self._lock:
            self._collections.clear()
            if self._path is not None:
                try:
                    self._disconnect()
                except BaseException as error:
                    _only_panics(error)

    def _worked(self) -> None:
        self._down_until, self._pause = 0.0, _FIRST_PAUSE

    def _guarded(self, run: Callable[[], T]) -> T:
        """``run``, unless the index is down; whatever breaks makes it down for a while."""
        self._check_up()
        try:
            done = run()
        except BaseException as error:
            _only_panics(error)
            self._broke()
            raise IndexDown(type(error).__name__) from error
        self._worked()
        return done

    def _in_time(self, run: Callable[[], T]) -> T:
        """A server that hangs must not hold up the call: Chroma's client would wait for ever."""
        if self._threads is None:
            return self._guarded(run)
        self._check_up()
        try:
            done = self._threads.submit(run).result(self._timeout)
        except Exception as error:
            self._broke()
            raise IndexDown(type(error).__name__) from error
        self._worked()
        return done

    # Inside: collections

    def _query(self, scope: str, vector: Vector, k: int) -> Any:
        found = self._collection(scope)
        if found is None:
            return None
        return found.query(query_embeddings=[list(vector)], n_results=k, include=["metadatas", "distances"])

    async def _aquery(self, scope: str, vector: Vector, k: int) -> Any:
        chromadb = _chromadb()
        if self._async is None:
            settings = chromadb.config.Settings(anonymized_telemetry=False)
            assert self._server is not None
            self._async = await chromadb.AsyncHttpClient(**_address(self._server), settings=settings)
        try:
            found = await self._async.get_collection(f"{self._name}-{scope}", embedding_function=None)
        except chromadb.errors.NotFoundError:
            return None
        return await found.query(query_embeddings=[list(vector)], n_results=k, include=["metadatas", "distances"])

    def _collection(self, scope: str) -> Any:
        """The scope's collection, or ``None``: looking up must not create collections."""
        found = self._collections.get(scope)
        if found is None or self._pid != os.getpid():
            client = self._connected()
            try:
                found = client.get_collection(f"{self._name}-{scope}", embedding_function=None)
            except _chromadb().errors.NotFoundError:
                return None
            self._collections[scope] = found
        return found

    def _made(self, scope: str) -> Any:
        found = self._collection(scope)
        if found is None:
            found = self._collections[scope] = self._made_named(f"{self._name}-{scope}")
        return found

    def _made_named(self, name: str) -> Any:
        return self._connected().get_or_create_collection(name, embedding_function=None, configuration=_COSINE)

    def _rows(self, scope: str, *, vectors: bool = False) -> Iterator[tuple[Entry, Any]]:
        found = self._guarded(lambda: self._collection(scope))
        parts = ["metadatas", "embeddings"] if vectors else ["metadatas"]
        offset = 0
        while found is not None:
            page = self._guarded(lambda start=offset: found.get(limit=_PAGE, offset=start, include=parts))  # type: ignore[misc]
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
                self._connected().delete_collection(f"{self._name}-{scope}")
            except _chromadb().errors.NotFoundError:
                pass

        self._guarded(drop)

    # Inside: erasure

    def _rebuild(self, scope: str, without: set[str]) -> None:
        kept = [(entry, vector) for entry, vector in self._rows(scope, vectors=True) if entry.id not in without]
        self._drop(scope)
        for entry, vector in kept:
            self.put(scope, entry, [float(x) for x in vector])

    def _vacuum(self) -> None:
        """Rewrite Chroma's SQLite file, and remove the folders of dropped collections; only for a folder of our own."""
        if self._path is None:
            return
        with self._lock:
            self._disconnect()
        with closing(sqlite3.connect(self._path / "chroma.sqlite3", timeout=5)) as db:
            live = {row[0] for row in db.execute("SELECT id FROM segments")}
            db.execute("INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('optimize')")
            db.commit()
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for folder in self._path.iterdir():
            if folder.is_dir() and folder.name not in live and len(folder.name) == 36:
                rmtree(folder, ignore_errors=True)


def _chromadb() -> Any:
    try:
        import chromadb
        import chromadb.config
        import chromadb.errors
    except ImportError:
        raise MissingExtraError("the semantic cache's index (Chroma)", "chroma") from None
    return chromadb


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


def _only_panics(error: BaseException) -> None:
    """Let go on what is no failure of the index: interrupts and exits."""
    if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
        raise error


def _is_remote(client: Any) -> bool:
    return "fastapi" in type(getattr(client, "_server", None)).__module__.lower()


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"{_printable(None, url)!r} is not the address of a Chroma server; write http://host:8000"
        )
    ssl = parts.scheme == "https"
    return {"host": parts.hostname, "port": parts.port or (443 if ssl else 8000), "ssl": ssl}


def _printable(path: Path | None, url: str | None) -> str:
    if path is not None:
        return f"chroma:{path}"
    if url is None:
        return "chroma client"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def _locked(path: Path) -> int:
    """This process's claim on the folder. POSIX locks belong to the process: a second cache of one process is no conflict."""
    try:
        import fcntl
    except ImportError:  # Windows: the folder is not watched
        return os.open(path / "costguard.lock", os.O_CREAT | os.O_RDWR)
    handle = os.open(path / "costguard.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        _log.warning(
            "%s is used by another process, so this one goes without the semantic cache. Several processes share a server: "
            "`chroma run --path %s` and SemanticCache(..., url='http://localhost:8000')",
            path,
            path,
        )
        raise IndexDown("another process uses the folder") from None
    return handle
