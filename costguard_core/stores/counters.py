"""One counter in memory: what is settled and held now, kept as running sums so that a reservation reads two integers."""

from __future__ import annotations

from costguard_core.stores.base import Reading, Window
from costguard_core.stores.windows import FOREVER, Place, place


class Counter:
    """The buckets of one counter. ``settled`` and ``held`` are right while ``bucket <= now < ends``; else :meth:`roll` first.

    In a sliding window a hold counts whatever its age; in a calendar window it counts in the period of its reservation.
    """

    __slots__ = ("_buckets", "_holds", "_place", "_window", "bucket", "ends", "held", "mark", "settled")

    def __init__(self) -> None:
        self._window: Window | None = None  # unknown until the first reservation
        self._place = Place(0.0, FOREVER, 0.0, FOREVER, FOREVER)
        self._buckets: dict[float, int] = {}
        self._holds: dict[float, int] = {}  # by period; only where holds do not count beyond it
        self.bucket, self.ends = FOREVER, 0.0  # no time is inside: the first use rolls
        self.settled = self.held = 0
        self.mark = 0  # the reservation that was counted here last

    def roll(self, window: Window, now: float) -> bool:
        """Move to the bucket of ``now``. False if the window's calendar edges do not contain ``now``."""
        found = place(window, now)
        if found is None:
            return False
        self._window, self._place = window, found
        self.bucket, self.ends = found.bucket, found.ends
        oldest = window.edges[0] if window.edges else found.since
        self._buckets = {b: amount for b, amount in self._buckets.items() if b >= oldest}
        self._buckets.setdefault(found.bucket, 0)
        self.settled = sum(amount for b, amount in self._buckets.items() if found.since <= b <= found.until)
        if window.edges:
            self.held = self._holds.get(found.bucket, 0)
        return True

    def hold(self, amount: int) -> None:
        self.held += amount
        if self._place.fades == 0.0:
            self._holds[self.bucket] = self._holds.get(self.bucket, 0) + amount

    def settle(self, bucket: float, held: int, amount: int) -> None:
        """Turn ``held`` of ``bucket`` into ``amount`` settled there (negative: a correction)."""
        if held:
            self._release(bucket, held)
        if bucket in self._buckets:  # else it has left the window
            self._buckets[bucket] += amount
            if self._place.since <= bucket <= self._place.until:
                self.settled += amount

    def charge(self, bucket: float, amount: int) -> None:
        """Settle what this counter never held: the store was restarted, or another one made the reservation."""
        self._buckets.setdefault(bucket, 0)
        self.settle(bucket, 0, amount)

    def total(self, bucket: float, now: float) -> int:
        """What is settled in the window that ``bucket`` counts in."""
        if self._window is not None and self._window.width:
            if not self.bucket <= now < self.ends:
                self.roll(self._window, now)
            return self.settled
        return self._buckets.get(bucket, 0)

    def idle(self, now: float) -> bool:
        """Nothing here counts any more, and nothing is open."""
        return not self.held and not self._holds and now >= self.ends + self._place.fades

    def room_in(self, needed: int, now: float) -> float | None:
        """Seconds until ``needed`` of what is settled has left the window; ``None`` if only open holds are in the way."""
        assert self._window is not None
        if self._window.edges:
            return self.ends - now
        if self._window.width:
            for bucket in sorted(b for b in self._buckets if self._place.since <= b <= self._place.until):
                needed -= self._buckets[bucket]
                if needed <= 0:
                    return self._leaves(bucket) - now
        return None

    def reading(self) -> Reading:
        """The counter as it was rolled last."""
        assert self._window is not None
        if self._window.edges:
            return Reading(self.settled, self.held, self.ends)
        spent = [b for b, amount in self._buckets.items() if amount and self._place.since <= b <= self._place.until]
        frees = self._leaves(min(spent)) if self._window.width and spent else None
        return Reading(self.settled, self.held, frees)

    def _leaves(self, bucket: float) -> float:
        return bucket + (self.ends - self.bucket) + self._place.fades

    def _release(self, bucket: float, held: int) -> None:
        if self._place.fades != 0.0:
            self.held -= held
            return
        left = self._holds.get(bucket, 0) - held
        if left:
            self._holds[bucket] = left
        else:
            self._holds.pop(bucket, None)
        if bucket == self.bucket:
            self.held = left
