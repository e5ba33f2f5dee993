"""The connection to Chroma: opened when needed, given up for a while when it fails, never waited for too long."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

from costguard_core.cache.semantic.index.base import IndexUnavailable
from costguard_core.cache.semantic.index.calls import IndexCalls, reraise_unless_failure
from costguard_core.cache.semantic.index.chroma_folder import folder_at
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.util.forks import renew_locks
from costguard_core.util.private_files import create_private_directory
from costguard_core.util.urls import port_of, printable, split

T = TypeVar("T")

_log = logging.getLogger("costguard.cache")
_MAX_ANSWER_SECONDS = 10.0  # a server that hangs must not hold a thread for ever; a choice
_MAX_OPENING_SECONDS = 2.0  # nor the program that begins while it hangs; a choice


class ChromaConnection:
    """A folder, a server, or a client that somebody else opened.

    Args:
        path, server, given: one of the three.
        timeout: seconds that a search on a server may take.
        claim: the folder is this process's alone.
        on_lost: called when what was opened through the connection must be opened again.
    """

    def __init__(
        self,
        path: Path | None,
        server: str | None,
        given: object,
        *,
        timeout: float,
        claim: bool,
        on_lost: Callable[[], None],
    ) -> None:
        # Chroma tells open folders apart by what they were called, whatever the working directory has become since.
        self.path, self._server, self._given = None if path is None else path.absolute(), server, given
        self._claim, self._on_lost = claim, on_lost
        self._lock, self._opening = Lock(), Lock()
        renew_locks(self, "_lock", "_opening")
        self._client: Any = None
        self._folder_lock: int | None = None
        self._pid = os.getpid()
        remote = server is not None or (given is not None and bool(_sessions(given)))
        self._calls, self._timeout = IndexCalls(timeout=timeout, remote=remote, on_failure=self._give_up), timeout
        self._folder = None if path is None else folder_at(path)
        if self._folder is not None:
            self._folder.add(self.disconnect)
        self.url = _printable(path, server)
        if server is not None:
            _address(server)
        load_chromadb()

    def run(self, work: Callable[[], T]) -> T:
        """:meth:`IndexCalls.run`, while nobody rewrites the folder."""
        if self._folder is None:
            return self._calls.run(work)
        with self._folder.shared():
            return self._calls.run(work)

    def run_in_time(self, work: Callable[[], T]) -> T:
        """:meth:`IndexCalls.run_in_time`; a folder that somebody rewrites does not hold up the call, either."""
        if self._folder is None:
            return self._calls.run_in_time(work)
        with self._folder.shared(self._timeout):
            return self._calls.run(work)

    async def arun_in_time(self, work: Callable[[], T]) -> T:
        """:meth:`run_in_time` for an event loop."""
        if self._folder is None:
            return await self._calls.arun_in_time(work)
        return await asyncio.to_thread(self.run_in_time, work)

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else in this process has the folder open meanwhile; of a server this promises nothing."""
        return nullcontext() if self._folder is None else self._folder.alone()

    def client(self) -> Any:
        """Chroma's client. Raises whatever opening it raises."""
        with self._lock:
            if self._given is None and self._pid != os.getpid():
                # A fork shares neither the lock nor the index in memory, and must not share sockets: it is another
                # process.
                self._client, self._folder_lock, self._pid = None, None, os.getpid()
                self._on_lost()
            if self._client is not None:
                return self._client
        with self._opening:
            if self._client is None:
                client = self._open()  # may take long: the other lock is for what must not wait for it
                with self._lock:
                    self._client = client
            return self._client

    def disconnect(self) -> None:
        """Close what was opened; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def close(self) -> None:
        """Disconnect, and let another process have the folder."""
        self.disconnect()
        if self._folder_lock is not None and self._pid == os.getpid():
            _release_folder(self._folder_lock)
            self._folder_lock = None
        self._calls.close()

    def _open(self) -> Any:
        if self._given is not None:
            return self._given
        chromadb = load_chromadb()
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        if self._server is not None:
            _check_that_it_answers(self._server)
            client = chromadb.HttpClient(**_address(self._server), settings=settings)
            for session in _sessions(client):
                session.timeout = _MAX_ANSWER_SECONDS
            return client
        assert self.path is not None
        create_private_directory(self.path)
        if self._folder_lock is None and self._claim:
            self._folder_lock = _claim_folder(self.path)
        return chromadb.PersistentClient(path=str(self.path), settings=settings)

    def _disconnect(self) -> None:
        self._on_lost()
        client, self._client = self._client, None
        if client is None or client is self._given:
            return
        sessions = _sessions(client)
        client.close()
        for session in sessions:
            session.close()  # Chroma's client leaves them open

    def _give_up(self) -> None:
        """After a failure."""
        with self._lock:
            self._on_lost()
            if self.path is not None:
                try:
                    self._disconnect()
                except BaseException as error:
                    reraise_unless_failure(error)


def load_chromadb() -> Any:
    """The package, which takes seconds to import.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import chromadb
        import chromadb.config
        import chromadb.errors
    except ImportError:
        raise MissingExtraError("the semantic cache's index (Chroma)", "chroma") from None
    return chromadb


def _sessions(client: object) -> list[Any]:
    """The HTTP sessions of a client of a server."""
    servers = (getattr(holder, "_server", None) for holder in (client, getattr(client, "_admin_client", None)))
    return [session for server in servers if (session := getattr(server, "_session", None)) is not None]


def _address(url: str) -> dict[str, Any]:
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{printable(url)!r} is not the address of a Chroma server; write http://host:8000")
    ssl = parts.scheme == "https"
    return {"host": parts.hostname, "port": port_of(parts) or (443 if ssl else 8000), "ssl": ssl}


def _check_that_it_answers(url: str) -> None:
    """Raise ``OSError`` for a server that hangs: Chroma's client, while it is made, would wait for it for ever."""
    address = _address(url)
    scheme = "https" if address["ssl"] else "http"
    heartbeat = f"{scheme}://{address['host']}:{address['port']}/api/v2/heartbeat"
    with suppress(HTTPError), urlopen(heartbeat, timeout=_MAX_OPENING_SECONDS):  # noqa: S310 -- http(s), checked above
        pass


def _printable(path: Path | None, url: str | None) -> str:
    if path is not None:
        return f"chroma:{path}"
    if url is None:
        return "chroma client"
    return printable(url).rstrip("/")


def _claim_folder(path: Path) -> int:
    """This process's claim on the folder. POSIX locks are the process's: its second cache is no conflict."""
    try:
        import fcntl
    except ImportError:  # Windows: the folder is not watched
        return os.open(path / "costguard.lock", os.O_CREAT | os.O_RDWR)
    with _CLAIMS_LOCK:
        key = (os.getpid(), path.resolve())
        held = next((handle for handle, (owner, _) in _CLAIMS.items() if owner == key), None)
        if held is not None:
            _CLAIMS[held] = (key, _CLAIMS[held][1] + 1)
            return held
        handle = os.open(path / "costguard.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _CLAIMS[handle] = (key, 1)
            return handle
        except OSError:
            os.close(handle)
        _log.warning(
            "%s is used by another process, so this one goes without the semantic cache. Several processes share a "
            "server: `chroma run --path %s` and SemanticCache(..., url='http://localhost:8000')",
            path,
            path,
        )
        raise IndexUnavailable("another process uses the folder") from None


# Closing *any* handle of a locked file gives up the process's lock (POSIX), so its caches share one handle and count.
_CLAIMS: dict[int, tuple[tuple[int, Path], int]] = {}
_CLAIMS_LOCK = Lock()
renew_locks(sys.modules[__name__], "_CLAIMS_LOCK")


def _release_folder(handle: int) -> None:
    with _CLAIMS_LOCK:
        key, users = _CLAIMS.pop(handle, (None, 1))
        if key is not None and key[0] == os.getpid() and users > 1:
            _CLAIMS[handle] = (key, users - 1)
        else:
            os.close(handle)
