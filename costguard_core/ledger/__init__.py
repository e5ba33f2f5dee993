"""The append-only record of every call: SQLite by default, Postgres by URL."""

from __future__ import annotations

from costguard_core.ledger.ledger import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]
