"""What several commands take: names and their values, a ledger to read."""

from __future__ import annotations

from collections.abc import Iterable

from costguard_core.errors import ConfigurationError


def names_and_values(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """``["user=u1", "team=search"]`` as a dictionary.

    Raises:
        ConfigurationError: one of them has no ``=``; the text names ``option``.
    """
    found = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise ConfigurationError(f"{option} {text!r} is not a name and its value, such as user=u1")
        found[name.strip()] = value
    return found


def readable_ledger(db: str, verb: str) -> str:
    """The URL of a ledger that another process can read; a path is a SQLite file.

    Raises:
        ConfigurationError: it lives in the application's process; the text names ``verb``, which asks there.
    """
    if db.startswith("memory://"):
        raise ConfigurationError(f"memory:// lives inside the application's process: print({verb}) there")
    return db if "://" in db else f"sqlite:///{db}"
