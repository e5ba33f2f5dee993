"""Counters in memory: what is settled and held now, as running sums, so that a reservation reads two integers."""

from __future__ import annotations

from costguard_core.counters.base import Gate, Reading, Window
from costguard_core.counters.buckets import FOREVER, Bucket, find_bucket
from costguard_core.counters.rate_gate import CLOSED, GateRecord, is_forgotten

_NO_BUCKET = Bucket(FOREVER, 0.0, 0.0, FOREVER, FOREVER)  # contains no time, so that the first use rolls


class Counter:
    """The buckets of one counter. ``settled`` and ``held`` are right in ``bucket <= now < ends``; else roll first.

    In a sliding window a hold counts whatever its age; in a calendar window it counts in the period of its reservation.
    """

    __slots__ = ("_buckets", "_current", "_earlier_holds", "_window", "bucket", "ends", "held", "settled")

    def __init__(self) -> None:
        self._window: Window | None = None
        self._current = _NO_BUCKET
        self._buckets: dict[float, int] = {}
        self._earlier_holds: dict[float, int] = {}  # open holds of other calendar periods than the one in `held`
        self.bucket, self.ends = _NO_BUCKET.start, _NO_BUCKET.ends
        self.settled = self.held = 0

    def roll(self, window: Window, now: float) -> bool:
        """Move to the bucket of ``now``. False if the window's calendar edges do not contain ``now``."""
        found = find_bucket(window, now)
        if found is None:
            return False
        if window.edges and found.start != self.bucket:
            if self.held:
                self._earlier_holds[self.bucket] = self.held
            self.held = self._earlier_holds.pop(found.start, 0)
        self._window, self._current = window, found
        self.bucket, self.ends = found.start, found.ends
        oldest = window.edges[0] if window.edges else found.oldest
        self._buckets = {bucket: amount for bucket, amount in self._buckets.items() if bucket >= oldest}
        self._buckets.setdefault(found.start, 0)
        self.settled = sum(amount for bucket, amount in self._buckets.items() if self._counts(bucket))
        return True

    def settle(self, bucket: float, held: int, amount: int, now: float) -> int:
        """Turn ``held`` of ``bucket`` into ``amount`` settled (negative: a correction); the new total of its window."""
        if bucket == self.bucket:
            self.held -= held
            self._buckets[bucket] += amount
            self.settled += amount
            if now < self.ends:
                return self.settled
        else:
            self._settle_earlier(bucket, held, amount)
        return self.total(bucket, now)

    def charge(self, bucket: float, amount: int, now: float) -> int:
        """Settle what this counter never held, because the store forgot the reservation."""
        self._buckets.setdefault(bucket, 0)
        return self.settle(bucket, 0, amount, now)

    def total(self, bucket: float, now: float) -> int:
        """What is settled in the window that ``bucket`` counts in."""
        if self._window is None or self._window.edges:
            return self._buckets.get(bucket, 0)
        if not self.bucket <= now < self.ends:
            self.roll(self._window, now)
        return self.settled

    def idle(self, now: float) -> bool:
        """Nothing here counts any more, and nothing is open."""
        return now >= self.ends + self._current.lingers and not self.held and not self._earlier_holds

    def seconds_until_room(self, needed: int, now: float) -> float | None:
        """Seconds until ``needed`` of what is settled has left the window; ``None`` if open holds are in the way."""
        assert self._window is not None
        if self._window.edges:
            return self.ends - now
        if self._window.width:
            for bucket in sorted(filter(self._counts, self._buckets)):
                needed -= self._buckets[bucket]
                if needed <= 0:
                    return self._leaves(bucket) - now
        return None

    def reading(self) -> Reading:
        """The counter as it was rolled last."""
        assert self._window is not None
        if self._window.edges:
            return Reading(self.settled, self.held, self.ends)
        spent = [bucket for bucket, amount in self._buckets.items() if amount and self._counts(bucket)]
        frees = self._leaves(min(spent)) if self._window.width and spent else None
        return Reading(self.settled, self.held, frees)

    def _counts(self, bucket: float) -> bool:
        return self._current.oldest <= bucket <= self._current.newest

    def _leaves(self, bucket: float) -> float:
        return bucket + (self.ends - self.bucket) + self._current.lingers

    def _settle_earlier(self, bucket: float, held: int, amount: int) -> None:
        if self._window is not None and self._window.edges:
            left = self._earlier_holds.pop(bucket, 0) - held
            if left > 0:
                self._earlier_holds[bucket] = left
        else:
            self.held -= held
        if bucket in self._buckets:  # else it has left the window
            self._buckets[bucket] += amount
            self.settled += amount if self._counts(bucket) else 0


class GateCounter:
    """A gate and the spend that it watches."""

    __slots__ = ("_spend", "record")

    def __init__(self) -> None:
        self.record: GateRecord = CLOSED
        self._spend = Counter()

    def rate(self, gate: Gate, now: float, spent: int = 0) -> int:
        """Nano-dollars settled within the gate's width, after adding ``spent``."""
        if not self._spend.bucket <= now < self._spend.ends:
            self._spend.roll(Window(gate.width), now)
        return self._spend.settle(self._spend.bucket, 0, spent, now)

    def idle(self, now: float) -> bool:
        return (self.record == CLOSED or is_forgotten(self.record, now)) and self._spend.idle(now)
