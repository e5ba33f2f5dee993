"""What rules that were advised have saved since: what a call, or a session, cost before and after."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import sqrt
from typing import Literal, NamedTuple

from costguard_core.advice.source import FEWEST_CALLS, SPAN, is_endpoint
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Reader
from costguard_core.ledger.measures import ANSWERED
from costguard_core.reports.display import format_money
from costguard_core.util.text import printable

Verdict = Literal["saves", "does not save", "unclear", "too early"]

_ADVISED = re.compile(r'# advised (\d{4}-\d\d-\d\d), ([a-z ]+) at ("(?:[^"\\]|\\.)*"): ')
_EXPECTED = re.compile(r"# expected: <?\$([\d,.]+) a month")
_DAY = 86_400.0  # seconds
_MOST_DAYS = 30.0
_FEWEST_DAYS = 7.0


class AdvisedLine(NamedTuple):
    """A line of a policy file that advice has written.

    Attributes:
        date: when.
        kind, endpoint: of the finding.
        expected: dollars a month that it was to save, as it was written.
        first, last: from its first comment to its setting, lines from 0.
        setting: as it is written.
    """

    date: str
    kind: str
    endpoint: str | None
    expected: str
    first: int
    last: int
    setting: str


class _Spent(NamedTuple):
    units: int
    cost: int
    squares: float

    @property
    def mean(self) -> float:
        return self.cost / self.units if self.units else 0.0

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        if self.units < 2:
            return 0.0
        variance = (self.squares - self.units * self.mean**2) / (self.units - 1)
        return sqrt(max(0.0, variance) / self.units)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What one finding has saved. Money is nano-dollars in 30 days.

    Attributes:
        lines: of the policy file, written for it.
        unit: what is compared, ``"call"`` or ``"session"``.
        before, after: how many there were.
        saved: as many as there are now, at what one cost before, less what they cost.
        low, high: 95 % interval of it.
        verdict: in words.
    """

    lines: tuple[AdvisedLine, ...]
    unit: str
    before: int
    after: int
    saved: int
    low: int
    high: int
    verdict: Verdict

    def __str__(self) -> str:
        first = self.lines[0]
        where = printable(first.endpoint or "calls without an endpoint")
        money = [format_money(nanos, 2) for nanos in (self.saved, self.low, self.high)]
        if self.verdict == "too early":
            amount = f"{self.before:,} {self.unit}s before and {self.after:,} since are too few, or a week is not over"
        else:
            amount = (
                f"{money[0]} a month ({money[1]} to {money[2]}), from {self.before:,} {self.unit}s before and "
                f"{self.after:,} since"
            )
        return f"{where}: {first.kind} of {first.date} {self.verdict}: {amount}; expected ${first.expected}"


def advised_lines(text: str) -> Iterator[AdvisedLine]:
    """The lines of a policy file that advice has written, by the comments above them."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        found = _ADVISED.match(line)
        if found is None:
            continue
        last = number
        expected = ""
        while last < len(lines) and lines[last].startswith("#"):
            if amount := _EXPECTED.match(lines[last]):
                expected = amount[1]
            last += 1
        try:
            date.fromisoformat(found[1])
            endpoint = json.loads(found[3]) or None
        except ValueError:  # somebody has changed the comment into what is no day, or no text
            continue
        if last < len(lines) and "=" in lines[last]:
            yield AdvisedLine(found[1], found[2], endpoint, expected, number, last, lines[last].strip())


def review(ledger: Ledger, text: str) -> list[Reviewed]:
    """What each finding that was written into the policy ``text`` has saved, the oldest first.

    Compared is what an answered call costs (hits count, they cost nothing; what failed calls cost counts too) in at
    most 30 days since the day after the line was written, and in as many days before it; of loops, what a session
    costs. A change of traffic or prices at the same time is in it too.

    Raises:
        CostGuardError: the ledger cannot be read.
    """
    groups: dict[tuple[str, str, str | None], list[AdvisedLine]] = {}
    for line in advised_lines(text):
        groups.setdefault((line.date, line.kind, line.endpoint), []).append(line)
    with ledger.reading() as database, database.snapshot() as reader:
        return [_reviewed(reader, tuple(groups[key]), ledger.clock()) for key in sorted(groups, key=str)]


def _reviewed(reader: Reader, lines: tuple[AdvisedLine, ...], now: float) -> Reviewed:
    first = lines[0]
    changed = datetime.fromisoformat(first.date).replace(tzinfo=UTC).timestamp()
    start = changed + _DAY
    length = min(now - start, _MOST_DAYS * _DAY)
    unit = "session" if first.kind == "loop" else "call"
    if length <= 0:
        return Reviewed(lines, unit, 0, 0, 0, 0, 0, "too early")
    before = _spent(reader, first, changed - length, changed)
    after = _spent(reader, first, start, start + length)
    scale = _MOST_DAYS * _DAY / length * after.units
    saved = (before.mean - after.mean) * scale
    margin = 2 * sqrt(before.error**2 + after.error**2) * scale
    low, high = round(saved - margin), round(saved + margin)
    return Reviewed(
        lines, unit, before.units, after.units, round(saved), low, high, _verdict(before, after, length, low, high)
    )


def _verdict(before: _Spent, after: _Spent, length: float, low: int, high: int) -> Verdict:
    if min(before.units, after.units) < FEWEST_CALLS or length < _FEWEST_DAYS * _DAY:
        return "too early"
    if low > 0:
        return "saves"
    return "does not save" if high <= 0 or low + high <= 0 else "unclear"


def _spent(reader: Reader, line: AdvisedLine, start: float, end: float) -> _Spent:
    condition, values = is_endpoint(line.endpoint)
    where = f"FROM {TABLE} WHERE {SPAN} AND {condition}"
    if line.kind == "loop":
        sums = f"SELECT SUM(cost_nanos) AS spent {where} AND session_id IS NOT NULL GROUP BY session_id"
        sql = f"SELECT COUNT(*), SUM(spent), SUM(1.0 * spent * spent) FROM ({sums}) AS sums"
    else:
        answered = f"CASE WHEN outcome IN {ANSWERED!r} THEN 1 END"
        sql = f"SELECT COUNT({answered}), SUM(cost_nanos), SUM(1.0 * cost_nanos * cost_nanos) {where}"
    ((units, cost, squares),) = reader.rows(sql, (start, end, *values))
    return _Spent(int(units), int(cost or 0), float(squares or 0.0))
