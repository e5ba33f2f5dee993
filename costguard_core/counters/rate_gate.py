"""The state machine of a spend-rate gate (closed → open → half-open → closed or open): pure, shared by the stores."""

from __future__ import annotations

from typing import NamedTuple

from costguard_core.counters.base import REMEMBERED, Gate, GateState


class GateRecord(NamedTuple):
    """What a store remembers of a gate: ``until`` is when its cool-down ends (0: it is closed)."""

    until: float = 0.0
    probe: str = ""
    probe_until: float = 0.0


CLOSED = GateRecord()


def wait_time(record: GateRecord, now: float) -> float | None:
    """Seconds until a call may pass this gate as its probe, or ``None`` if a call may pass now."""
    if now < record.until:
        return record.until - now
    if record.probe and now < record.probe_until:
        return record.probe_until - now
    return None


def start_probe(record: GateRecord, gate: Gate, now: float, id: str) -> GateRecord:
    """The half-open gate after call ``id`` has passed as its probe."""
    return record._replace(probe=id, probe_until=now + gate.probe_lease)


def after_settle(record: GateRecord, gate: Gate, now: float, id: str, *, spent: int, rate: int) -> GateRecord:
    """The gate after call ``id`` has settled at ``spent``, which brought the rate to ``rate`` (nano-dollars)."""
    if now < record.until:
        return record  # cooling down: what still comes in does not prolong it
    if rate > gate.threshold:
        return GateRecord(until=now + gate.cooldown)
    if record.probe == id:
        return CLOSED if spent else record._replace(probe="", probe_until=0.0)
    return record


def has_opened(before: GateRecord, after: GateRecord) -> bool:
    """Whether a settle has opened the gate (again)."""
    return after.until > before.until


def is_forgotten(record: GateRecord, now: float) -> bool:
    """Whether a gate that is not closed has had no probe for so long that a store may forget it, which closes it."""
    return max(record.until, record.probe_until) + REMEMBERED <= now


def gate_state(record: GateRecord, now: float, rate: int) -> GateState:
    """What a look at the gate says, where ``rate`` nano-dollars were settled within its width."""
    if not record.until:
        return GateState("closed", None, rate)
    return GateState("open" if now < record.until else "half-open", record.until, rate)
