"""Counter stores, opened by URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from costguard_core.errors import ConfigurationError
from costguard_core.util.urls import SqliteUrl

if TYPE_CHECKING:
    from costguard_core.counters.base import CounterStore

_REDIS = tuple(f"{base}{kind}" for base in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster"))
_SCHEMES = ("memory", "sqlite", *_REDIS)
_FORMS = (
    "memory://, sqlite:///relative.db, sqlite:////absolute/path.db, redis://host:6379/0, rediss://…, "
    "redis+sentinel://host:26379,host:26379/mymaster, redis+cluster://host:6379"
)


def open_store(url: str, *, clock: Callable[[], float] | None = None) -> CounterStore:
    """The counter store at ``url``: ``memory://``, ``sqlite:///path.db`` or ``redis://…``.

    ``sqlite:///path.db?timeout=1`` waits so many seconds (0.25) for a lock whose holder shows no progress.
    Redis is reached at ``redis://``, ``redis+sentinel://`` and ``redis+cluster://`` (``rediss…`` with TLS), see
    :class:`~costguard_core.counters.redis.store.RedisStore`.
    ``clock`` (unix seconds) replaces the store's own; Redis counts by the server's time, whatever is given here.

    Raises:
        ConfigurationError: the URL is none of these.
        MissingExtraError: the URL needs a package that is not installed.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES:
        near = get_close_matches(re.split("[:/]", scheme)[0], _SCHEMES, n=1)
        meant = f' Did you mean "{near[0]}://"?' if near else ""
        # Only the scheme is shown: the rest may hold a password.
        raise ConfigurationError(f'a store URL cannot begin with "{scheme[:16]}".{meant} It is one of: {_FORMS}')
    if scheme == "memory":
        from costguard_core.counters.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from costguard_core.counters.sqlite.store import SqliteStore

        place = SqliteUrl.read(rest)
        if place is None:
            raise ConfigurationError(f"a SQLite store needs a file. It is one of: {_FORMS}")
        return SqliteStore(place.path, timeout=place.timeout, clock=clock)
    from costguard_core.counters.redis.store import open_redis

    return open_redis(url)
