"""Which roll-ups answer a report, for which spans of time, and which spans are left to single events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from costguard_core.ledger.months import DAY, HOUR
from costguard_core.ledger.retention import KEPT_DAYS
from costguard_core.ledger.rollups import (
    ADDED_UP_UNTIL,
    LATER,
    PRUNED_BEFORE,
    QUARTERS,
    QUARTERS_SINCE,
    SESSION_DAYS,
    SESSIONS,
    SOON,
    TIMES,
    Cube,
)
from costguard_core.reports.time_buckets import TimeBuckets

_FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Piece:
    """A span of time, and where its sums are read.

    Attributes:
        cube: the roll-up; ``None``: single events.
        start, end: unix seconds, from and up to; infinite: no bound.
        taken_out: its sums are to be subtracted, as they are in another piece.
    """

    cube: Cube | None
    start: float
    end: float
    taken_out: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How a report is read.

    Attributes:
        pieces: spans that, but for the lost ones, make up the whole, and overlap with nothing but what is taken out.
        lost: spans whose events were deleted and that the roll-ups do not answer.
    """

    pieces: tuple[Piece, ...]
    lost: tuple[tuple[float, float], ...]


def make_plan(
    keys: Collection[str],
    buckets: TimeBuckets,
    start: float | None,
    end: float | None,
    *,
    state: Mapping[str, float],
    overflows: Collection[tuple[int, int]],
    now: float,
) -> Plan:
    """The cheapest way to read sums by ``keys`` (columns of groups) and time buckets.

    Args:
        keys: what groups and conditions are about; one that no roll-up keeps means single events.
        buckets: how time is divided.
        start, end: the span, unix seconds; ``None``: no bound.
        state: what is noted beside the roll-ups; empty: there are none.
        overflows: numbers of cubes and periods that had more groups than are kept.
        now: unix seconds, for how long roll-ups are kept.
    """
    begin, until = -_FOREVER if start is None else start, _FOREVER if end is None else end
    levels, stage = _levels(keys, buckets, begin, min(until, now), state)
    planner = _Planner(state.get(stage, -_FOREVER), state.get(PRUNED_BEFORE, -_FOREVER), overflows, now)
    rolled = min(until, planner.rolled_until) if levels else -_FOREVER
    if rolled > begin:
        planner.cover(begin, rolled, levels)
        planner.read_events(rolled, until)
    else:
        planner.read_events(begin, until)
    return Plan(tuple(planner.pieces), tuple(planner.lost))


class _Planner:
    """Collects the pieces of a plan.

    Args:
        rolled_until: before when all events are rolled up.
        pruned_before: before when events were deleted.
        overflows: numbers of cubes and periods that had more groups than are kept.
        now: unix seconds.
    """

    def __init__(
        self, rolled_until: float, pruned_before: float, overflows: Collection[tuple[int, int]], now: float
    ) -> None:
        self.rolled_until, self._pruned_before, self._overflows, self._now = rolled_until, pruned_before, overflows, now
        self.pieces: list[Piece] = []
        self.lost: list[tuple[float, float]] = []

    def read_events(self, start: float, end: float) -> None:
        """Read single events, as far as there are any."""
        if start < self._pruned_before and start < end:
            self.lost.append((start, min(end, self._pruned_before)))
            start = self._pruned_before
        if start < end:
            self.pieces.append(Piece(None, start, end))

    def cover(self, start: float, end: float, cubes: Sequence[Cube]) -> None:
        """Read a span from the longest periods that lie in it, and its ends from shorter ones."""
        if start >= end:
            return
        if not cubes:
            self.read_events(start, end)
            return
        cube, *finer = cubes
        if cube is SESSION_DAYS and start < self._pruned_before:  # they go with the events
            gone = min(end, self._pruned_before)
            self.lost.append((start, gone))
            self.cover(gone, end, cubes)
            return
        kept = -_FOREVER if cube.period == "month" else self._now - KEPT_DAYS[cube.period] * DAY
        first = _up(cube, max(start, kept))
        # What is rolled up of the period under way is all that there is before that moment.
        last = _up(cube, end) if end == self.rolled_until else cube.start(end)
        if not finer and self._is_nearer_to_its_beginning(cube, start, min(first, end), kept, last):
            before = cube.start(start)
            self.pieces.append(Piece(None, before, start, taken_out=True))
            start = first = before
        if first >= last:
            self.cover(start, end, finer)
            return
        self.cover(start, first, finer)
        self._read(cube, first, last, end)
        self.cover(last, end, finer)

    def _is_nearer_to_its_beginning(self, cube: Cube, moment: float, end: float, kept: float, last: float) -> bool:
        """Whether fewer events are read to take the beginning of a moment's period out of it than to add the rest.

        ``end``: of the rest; ``kept``: since when there are such periods; ``last``: before when they are whole.
        """
        if cube is SESSION_DAYS or moment == -_FOREVER:
            return False
        before = cube.start(moment)
        there = max(kept, self._pruned_before) <= before < last and (cube.number, before) not in self._overflows
        return there and moment - before < end - moment

    def _read(self, cube: Cube, first: float, last: float, end: float) -> None:
        """Read whole periods of a cube, but for those that were too many for it and whose events are there."""
        periods = sorted(period for number, period in self._overflows if number == cube.number)
        for period in periods:
            if max(first, self._pruned_before) <= period < last:
                if first < period:
                    self.pieces.append(Piece(cube, first, period))
                first = cube.end(period)
                self.read_events(period, min(first, end))
        if first < last:
            self.pieces.append(Piece(cube, first, last))


def _levels(
    keys: Collection[str], buckets: TimeBuckets, start: float, end: float, state: Mapping[str, float]
) -> tuple[tuple[Cube, ...], str]:
    """The cubes that can answer, those of the longest periods first, and what notes until when they do."""
    short = buckets.finest == "hour" or (buckets.units and not buckets.follows_utc(start, end))
    if short and set(keys) <= set(QUARTERS.keys) and _divides(QUARTERS, buckets, start, end):
        # Not while those of an old ledger are being added, and not for what was deleted before there were any.
        caught_up = state.get(TIMES.name, -_FOREVER) >= state.get(SOON.name, -_FOREVER)
        if caught_up and start >= state.get(QUARTERS_SINCE, -_FOREVER):
            return (QUARTERS,), TIMES.name
    if set(keys) == set(SESSION_DAYS.keys):
        return ((SESSION_DAYS,) if _divides(SESSION_DAYS, buckets, start, end) else ()), SESSIONS.name
    for stage in (SOON, LATER):
        for chain in stage.chains:
            if set(keys) <= set(chain[0].keys):
                usable = tuple(
                    cube
                    for cube in reversed(chain)
                    if set(keys) <= set(cube.keys)
                    and _divides(cube, buckets, start, end)
                    and (cube not in ADDED_UP_UNTIL or state.get(ADDED_UP_UNTIL[cube]) == _FOREVER)
                )
                if usable:
                    return usable, stage.name
    return (), SOON.name


def _divides(cube: Cube, buckets: TimeBuckets, start: float, end: float) -> bool:
    """Whether every period of a cube lies in one bucket."""
    match buckets.finest:
        case None:
            return True
        case "minute":
            return False
        case _ if cube.period == "quarter":
            return True  # every zone's clocks are whole quarters of hours ahead
        case unit if cube.period == "hour":
            return buckets.step(start, end) == HOUR
        case unit if cube.period == "day":
            return unit != "hour" and buckets.follows_utc(start, end)
        case unit:
            return unit == "month" and buckets.follows_utc(start, end)


def _up(cube: Cube, moment: float) -> float:
    """The first beginning of a period that is not before a moment."""
    if moment == -_FOREVER:
        return moment
    start = cube.start(moment)
    return start if start == moment else cube.end(start)
