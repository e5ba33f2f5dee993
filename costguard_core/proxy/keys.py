"""Virtual keys: what the callers of a proxy sign in with, kept as hashes.

A key is ``cg-`` and 43 characters with 256 bits of randomness, so a plain hash of it cannot be turned back.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError
from costguard_core.ledger.database import Connection, Database
from costguard_core.ledger.ledger import open_database
from costguard_core.types import ATTRIBUTE_NAMES, Attribution
from costguard_core.util.lru import LRUMap

PREFIX = "cg-"
_TABLE = "costguard_keys"
_COLUMNS = "id, hash, name, tags, created, expires, revoked"
_FRESH_SECONDS = 1.0  # a revoked key is refused after this long at the latest: a choice
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """A key, without the key itself.

    Attributes:
        id: names it in commands and in the ledger (``account``).
        name: what people call it.
        attribution: what its calls are attributed to.
        created, expires, revoked: unix seconds; ``None``: never.
    """

    id: str
    name: str
    attribution: Attribution
    created: float
    expires: float | None = None
    revoked: float | None = None

    def state(self, now: float) -> str:
        """``"active"``, ``"expired"`` or ``"revoked"``."""
        if self.revoked is not None and self.revoked <= now:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class KeyStore:
    """The keys in a SQLite file or a Postgres database. Safe for threads and processes.

    Args:
        database: see :func:`open_key_store`.
        clock: unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._known: LRUMap[str, VirtualKey | None] = LRUMap(_MOST_REMEMBERED, ttl=_FRESH_SECONDS)
        with database.transaction() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT "
                "NULL, tags TEXT NOT NULL, created DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION, revoked "
                "DOUBLE PRECISION)"
            )

    def create(
        self, tags: Mapping[str, str], *, name: str = "", lifetime: float | None = None
    ) -> tuple[str, VirtualKey]:
        """A new key and what is known of it. The key itself is not kept: it cannot be shown again.

        Args:
            tags: names of :class:`Attribution` or tags, and their values.
            name: what people call it.
            lifetime: seconds until it expires.

        Raises:
            ConfigurationError: a tag cannot be one.
        """
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        attribution = attribution_of(tags)
        key = VirtualKey(secrets.token_hex(4), name, attribution, now, None if lifetime is None else now + lifetime)
        with self._database.transaction() as connection:
            self._insert(connection, secret, key, tags)
        return secret, key

    def rotate(self, id: str, *, overlap: float = 0.0) -> tuple[str, VirtualKey]:
        """A new key with the tags of another one, which is revoked ``overlap`` seconds from now.

        Raises:
            ConfigurationError: there is no such key, or it is revoked already.
        """
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        with self._database.transaction() as connection:
            old, tags = self._find(connection, id)
            if old.revoked is not None:
                raise ConfigurationError(f"the key {id} is revoked: make a new one with costguard keys create")
            lifetime = None if old.expires is None else max(old.expires - old.created, 0.0)
            expires = None if lifetime is None else now + lifetime
            new = VirtualKey(secrets.token_hex(4), old.name, old.attribution, now, expires)
            self._revoke(connection, id, now + overlap)
            self._insert(connection, secret, new, tags)
        return secret, new

    def revoke(self, id: str) -> VirtualKey:
        """Refuse a key from now on, in every process within a second.

        Raises:
            ConfigurationError: there is no such key.
        """
        with self._database.transaction() as connection:
            self._find(connection, id)
            self._revoke(connection, id, self._clock())
            found, _ = self._find(connection, id)
        self._known.clear()
        return found

    def list(self) -> Sequence[VirtualKey]:
        """All keys, the newest first."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM {_TABLE} ORDER BY created DESC, id")
        return [_read(row) for row in rows]

    def find(self, secret: str) -> VirtualKey | None:
        """The active key that ``secret`` is; ``None``: there is none. Looks into the database once a second per key."""
        hashed = _hash(secret)
        key = self._known.get_or(hashed, lambda: self._look_up(hashed))
        return key if key is not None and key.state(self._clock()) == "active" else None

    def is_known(self, secret: str) -> bool:
        """Whether :meth:`find` can answer without the database."""
        return _hash(secret) in self._known

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _look_up(self, hashed: str) -> VirtualKey | None:
        mark = self._database.mark
        for row in self._database.rows(f"SELECT {_COLUMNS} FROM {_TABLE} WHERE hash = {mark}", (hashed,)):
            return _read(row)
        return None

    def _insert(self, connection: Connection, secret: str, key: VirtualKey, tags: Mapping[str, str]) -> None:
        marks = ", ".join([self._database.mark] * 7)
        connection.execute(
            f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES ({marks})",
            (key.id, _hash(secret), key.name, json.dumps(dict(tags)), key.created, key.expires, None),
        )

    def _find(self, connection: Connection, id: str) -> tuple[VirtualKey, dict[str, str]]:
        row = connection.execute(f"SELECT {_COLUMNS} FROM {_TABLE} WHERE id = {self._database.mark}", (id,)).fetchone()
        if row is None:
            raise ConfigurationError(f"there is no key {id!r}; see costguard keys list")
        return _read(row), json.loads(row[3])

    def _revoke(self, connection: Connection, id: str, at: float) -> None:
        mark = self._database.mark
        connection.execute(f"UPDATE {_TABLE} SET revoked = {mark} WHERE id = {mark} AND revoked IS NULL", (at, id))


def open_key_store(url: str) -> KeyStore:
    """The keys at ``sqlite:///path`` (created, readable by its owner only) or ``postgresql://…``.

    Raises:
        ConfigurationError: it is no such URL, or the database cannot be opened.
        MissingExtraError: Postgres without the extra ``postgres``.
    """
    if url.startswith("memory:"):
        raise ConfigurationError("virtual keys must outlive the process: use sqlite:///costguard-keys.db")
    database = open_database(url if "://" in url else f"sqlite:///{url}")
    try:
        return KeyStore(database)
    except database.error as error:
        raise ConfigurationError(f"the keys at {database.url} cannot be opened: {database.explain(error)}") from None


def attribution_of(tags: Mapping[str, str]) -> Attribution:
    """Names and values as an attribution.

    Raises:
        ConfigurationError: a name cannot be a tag.
    """
    fields: dict[str, Any] = {name: value for name, value in tags.items() if name in ATTRIBUTE_NAMES}
    rest = sorted((check_tag_name(name), value) for name, value in tags.items() if name not in ATTRIBUTE_NAMES)
    return Attribution(**fields, tags=tuple(rest))


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _read(row: Sequence[Any]) -> VirtualKey:
    id, _, name, tags, created, expires, revoked = row
    return VirtualKey(id, name, attribution_of(json.loads(tags)), created, expires, revoked)
