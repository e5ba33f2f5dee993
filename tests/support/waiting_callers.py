"""How many callers wait for another caller's answer in a single-flight table."""

from __future__ import annotations

from costguard_core.cache.exact.singleflight import SingleFlight


def waiting(flights: SingleFlight, key: str) -> int:
    """The callers that wait for the answer of ``key``; 0 when nobody has asked for it."""
    flight = flights.find(key)
    return 0 if flight is None else len(flight.waiters)
