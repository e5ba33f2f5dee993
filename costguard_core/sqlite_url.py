"""``sqlite:///path?timeout=1``: one way to write it for the counter store, the ledger and the cache."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

from costguard_core.errors import ConfigurationError


class SqliteUrl(NamedTuple):
    """``timeout``: seconds to wait for a lock whose holder shows no progress; ``None`` if the URL does not say.

    Only the counter store has a use for it, the others take it so that one URL serves all three.
    """

    path: str
    timeout: float | None = None

    @classmethod
    def read(cls, rest: str) -> SqliteUrl | None:
        """From what follows ``sqlite://``; ``None`` if that names no file.

        Raises:
            ConfigurationError: an option that is not known, or a timeout that is not a positive number.
        """
        path, found, query = rest.partition("?")
        if not path.startswith("/") or path in ("/", "/:memory:"):
            return None
        options = dict(parse_qsl(query, keep_blank_values=True)) if found else {}
        timeout = options.pop("timeout", None)
        if options or (found and timeout is None):
            raise ConfigurationError(f"the only option of a SQLite URL is ?timeout=seconds, not {query!r}")
        return cls(path[1:], None if timeout is None else _seconds(timeout))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"timeout= in a SQLite URL is a number of seconds above 0, not {text!r}")
    return seconds
