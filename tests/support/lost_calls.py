"""What a guard must have charged for a call whose connection failed."""

from __future__ import annotations

from ledger_events import events

from costguard_core import CostGuard, Event, Outcome
from costguard_core.types import CONNECTION_LOST, NOT_SENT, usd


def failed_call(guard: CostGuard) -> Event:
    """The only event of a guard, which holds nothing any more."""
    (event,) = events(guard)
    assert not any(row.held for row in guard.status())
    return event


def check_charged_at_hold(guard: CostGuard, event: Event, *, output_tokens: int) -> None:
    """The request was read: it is charged at what was held for it, with at least this many tokens of output."""
    assert event.outcome is Outcome.ERROR
    assert event.estimated
    assert event.reason is not None
    assert event.reason.endswith(f"({CONNECTION_LOST})")
    assert event.usage.output_tokens >= output_tokens  # nobody knows how much of an answer was computed
    assert event.usage.input_tokens
    assert guard.status()[0].spent == usd(event.cost or 0)


def check_charged_what_arrived(event: Event) -> None:
    """The stream broke after its :data:`closing_server.FIFTY_WORDS`."""
    assert 45 <= event.usage.output_tokens <= 60
    assert (event.estimated, event.reason) == (True, f"RemoteProtocolError ({CONNECTION_LOST})")


def check_cost_nothing(event: Event) -> None:
    """No connection was made."""
    assert (event.outcome, event.cost, event.usage.total_tokens) == (Outcome.ERROR, 0, 0)
    assert event.reason is not None
    assert event.reason.endswith(f"({NOT_SENT})")
