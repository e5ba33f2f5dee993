"""What a guard has written into its ledger."""

from __future__ import annotations

from waiting import SAFETY_LIMIT

from costguard_core import CostGuard, Event


def events(guard: CostGuard) -> list[Event]:
    """Every event of the guard's ledger, oldest first, with those that its background writer still had."""
    assert guard.flush(SAFETY_LIMIT)
    return list(guard.ledger.events())
