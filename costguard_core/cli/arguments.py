"""What several commands take: options that mean the same everywhere, names and their values, a ledger to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.ledger import Ledger

DEFAULT_LEDGER = "sqlite:///costguard.db"

_LEDGER = typer.Option("--db", envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
LedgerUrl = Annotated[str, _LEDGER]
AnyLedgerUrl = Annotated[str | None, _LEDGER]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Zone = Annotated[str, typer.Option("--timezone", help='Whose hours, days and months: "Europe/Berlin", "local".')]
Since = Annotated[str | None, typer.Option(help='From: "24h", "7d", "today", "2026-11-01".')]
Until = Annotated[str | None, typer.Option(help="Up to, in the same words.")]
Where = Annotated[list[str] | None, typer.Option(help="Only calls with this, such as plan=free.")]


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


def read_ledger(db: str, verb: str) -> Ledger:
    """A ledger to read, opened without changing it: ``db`` and ``verb`` are as of :func:`readable_ledger`.

    Raises:
        CostGuardError: it is not there, or cannot be read.
    """
    from costguard_core.ledger import open_ledger

    return open_ledger(readable_ledger(db, verb), read_only=True)
