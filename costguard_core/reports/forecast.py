"""What the month will cost, when budgets run out, and what costs far more than it usually does.

**Month.** What was spent so far, and for each day that is left the mean of the same weekday in the last four weeks (of
all days, while there are fewer than two weeks). The interval is that of 1,000 months whose remaining days each miss
their mean by what some day of the last four weeks missed it by: 90 % of them lie in it. Before three whole days there
is no forecast.

**Anomalies.** The last whole hour of an endpoint, or of a value of a tag, against the same hour of the days of four
weeks (of the same weekday, where there are four). It is one if it costs more than three times the median, and more than
the median by six times the median distance from it (scaled to a standard deviation, 1.4826:
https://en.wikipedia.org/wiki/Median_absolute_deviation) and by a hundredth of a mean day. The distance is the greater
one of these hours' and of all days' same hours', as four are few. Where that hour costs nothing on most days, it is one
if it costs three times as much as 95 % of the hours of four weeks that cost anything (as much, if it never cost
anything): a call where calls are rare is usual. Fewer than seven hours are no history, and then there are none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from heapq import nlargest
from math import ceil
from random import Random
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from costguard_core.ledger import Ledger
from costguard_core.ledger.months import DAY, HOUR
from costguard_core.reports.display import format_money
from costguard_core.reports.explain import tag_names
from costguard_core.reports.queries import read_sums
from costguard_core.reports.report import PrettyPrinter
from costguard_core.reports.time_buckets import read_zone
from costguard_core.types import Alert, usd
from costguard_core.util.amounts import nanos_of
from costguard_core.util.html_table import html_table
from costguard_core.util.text import NONE, moment_text, printable, value_text

if TYPE_CHECKING:
    from costguard_core.budgets.status import BudgetStatus

_WEEKS = 4
_FEWEST_DAYS = 3
_MONTHS = 1_000  # that are drawn
_FEWEST_HOURS = 7
_TIMES = 3  # the median
_DISTANCES = 6 * 1.4826  # median distances
_LEAST_SHARE = 0.01  # of a mean day
_MOST_LOOKED_AT = 100  # values of one dimension, the dearest


@dataclass(frozen=True, slots=True)
class Spending:
    """One budget in one scope, as it stands now.

    Attributes:
        budget: its name.
        scope: whose counter it is.
        remaining: what is left of it, nano-dollars.
        resets_at: when it begins anew, unix seconds; ``None``: never, or not known.
    """

    budget: str
    scope: Mapping[str, str]
    remaining: int
    resets_at: float | None


def spendings(rows: Iterable[BudgetStatus]) -> list[Spending]:
    """Those of the rows of a status that count dollars."""
    return [
        Spending(row.budget, row.scope, nanos_of("remaining", row.remaining), row.resets_at)
        for row in rows
        if row.unit == "usd"
    ]


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a budget runs out at the pace of the last 24 hours.

    Attributes:
        budget: its name.
        scope: whose counter it is.
        remaining: what is left of it, nano-dollars.
        pace: nano-dollars that its scope spent in the last 24 hours.
        runs_out: unix seconds; ``None``: not before it begins anew.
    """

    budget: str
    scope: Mapping[str, str]
    remaining: int
    pace: int
    runs_out: float | None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An hour that cost far more than it usually does.

    Attributes:
        dimension: ``"endpoint"`` or the name of a tag.
        value: which one.
        start: when the hour began, unix seconds.
        cost: what it cost, nano-dollars.
        usual: the median of such hours, nano-dollars.
    """

    dimension: str
    value: str | None
    start: float
    cost: int
    usual: int

    def alert(self) -> Alert:
        """The anomaly as hooks receive it; its fraction is how many times the usual cost it is."""
        return Alert(
            budget=f"unusual spend by {self.dimension}",
            scope=((self.dimension, NONE if self.value is None else self.value),),
            fraction=self.cost / self.usual if self.usual else float(self.cost),
            unit="usd",
            limit=self.usual,
            settled=self.cost,
            time=self.start + HOUR,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the month will cost. Prints and renders as a table. Money is nano-dollars.

    Attributes:
        month: when it begins and ends, unix seconds.
        spent: so far.
        expected: in the whole month; ``None``: too little is known.
        low, high: the bounds that 90 % of such months lie in; ``None``: too little is known.
        days: whole days of the last four weeks that it is made from.
        budgets: when each budget runs out, the first one first.
        anomalies: what costs far more than it usually does, the dearest first.
        unpriced: calls of the month whose cost is unknown; they are in none of the sums.
        zone: in which times are printed.
    """

    month: tuple[float, float]
    spent: int
    expected: int | None
    low: int | None
    high: int | None
    days: int
    budgets: tuple[Outlook, ...]
    anomalies: tuple[Anomaly, ...]
    unpriced: int
    zone: tzinfo = UTC

    def to_dict(self) -> dict[str, Any]:
        """Everything, with money as ``Decimal`` dollars and times as unix seconds."""
        return {
            "month": list(self.month),
            "spent_usd": usd(self.spent),
            "expected_usd": _dollars(self.expected),
            "low_usd": _dollars(self.low),
            "high_usd": _dollars(self.high),
            "days": self.days,
            "budgets": [
                {
                    "budget": one.budget,
                    "scope": dict(one.scope),
                    "remaining_usd": usd(one.remaining),
                    "last_24h_usd": usd(one.pace),
                    "runs_out": one.runs_out,
                }
                for one in self.budgets
            ],
            "anomalies": [
                {
                    "dimension": one.dimension,
                    "value": one.value,
                    "start": one.start,
                    "spend_usd": usd(one.cost),
                    "usual_usd": usd(one.usual),
                }
                for one in self.anomalies
            ],
            "unpriced": self.unpriced,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON; money as strings of dollars."""
        return json.dumps(self.to_dict(), indent=indent, default=lambda value: format(value, "f"))

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join([self._title(), *(f"{name:<{width}}  {text}" for name, text in rows), *self._notes()])

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))

    def _repr_html_(self) -> str:
        rows = [((name,), (text,)) for name, text in self._rows()]
        return html_table(self._title(), ("",), ("",), rows, notes=self._notes())

    def _title(self) -> str:
        return f"Forecast: {moment_text(self.month[0], self.zone)} – {moment_text(self.month[1], self.zone)}"

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "Spent so far", format_money(self.spent, 4)
        if self.expected is not None and self.low is not None and self.high is not None:
            yield "Expected", format_money(self.expected, 4)
            yield "90 % interval", f"{format_money(self.low, 4)} – {format_money(self.high, 4)}"
        for one in self.budgets:
            end = (
                "not before it begins anew"
                if one.runs_out is None
                else f"runs out {moment_text(one.runs_out, self.zone)}"
            )
            scope = ", ".join(f"{name}={value}" for name, value in one.scope.items())
            name = printable(f"{one.budget} {scope}".strip())
            yield name, f"{format_money(one.remaining, 4)} left, {format_money(one.pace, 4)} in 24 hours: {end}"

    def _notes(self) -> Iterator[str]:
        if self.expected is None:
            yield f"{self.days} whole days are too few for a forecast; it takes {_FEWEST_DAYS}."
        for one in self.anomalies:
            value = value_text(one.value)
            yield (
                f"Unusual: {one.dimension} {value} cost {format_money(one.cost, 4)} in the hour from "
                f"{moment_text(one.start, self.zone)}, usually {format_money(one.usual, 4)}"
            )
        if self.unpriced:
            yield f"{self.unpriced:,} calls without a known price are in none of the sums."


def forecast(ledger: Ledger, *, budgets: Iterable[Spending] = (), timezone: str = "UTC") -> Forecast:
    """What this month will cost, when budgets run out, and what costs far more than it usually does.

    Args:
        ledger: what was recorded.
        budgets: what is left of budgets now.
        timezone: whose month and days are meant.

    Raises:
        ConfigurationError: there is no such time zone.
        CostGuardError: the ledger cannot be read.
    """
    zone, now = read_zone(timezone), ledger.clock()
    today = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today.replace(day=1)
    after = (first + timedelta(days=32)).replace(day=1)
    spent, unpriced = _cost(ledger, first.timestamp(), now, zone)
    history = _whole_days(ledger, today, zone)
    days_left = [today + timedelta(days=n) for n in range((after.date() - today.date()).days)]
    elapsed = (now - today.timestamp()) / max(1.0, (today + timedelta(days=1)).timestamp() - today.timestamp())
    sums = _months(history, days_left, elapsed) if len(history) >= _FEWEST_DAYS else None
    mean_day = fmean(history.values()) if history else 0.0
    return Forecast(
        month=(first.timestamp(), after.timestamp()),
        spent=spent,
        expected=None if sums is None else spent + sums[0],
        low=None if sums is None else spent + sums[1],
        high=None if sums is None else spent + sums[2],
        days=len(history),
        budgets=tuple(sorted((_outlook(ledger, one, now, zone) for one in budgets), key=_soonest)),
        anomalies=tuple(sorted(_anomalies(ledger, now, mean_day, zone), key=lambda one: one.usual - one.cost)),
        unpriced=unpriced,
        zone=zone,
    )


def _cost(
    ledger: Ledger, start: float, end: float, zone: tzinfo, where: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """Nano-dollars of a span, and its calls without a price."""
    found, _ = read_sums(ledger, (), start=start, end=end, where=where, zone=zone)
    parts = [part for group in found.values() for part in group.parts.values()]
    return sum(part[4] for part in parts), sum(part[1] for part in parts)


def _whole_days(ledger: Ledger, today: datetime, zone: tzinfo) -> dict[datetime, int]:
    """The cost of each of the last four weeks' days, from the first day with a call on."""
    start = today - timedelta(weeks=_WEEKS)
    found, _ = read_sums(ledger, ("day",), start=start.timestamp(), end=today.timestamp(), zone=zone)
    costs = {str(key[0]): sum(part[4] for part in group.parts.values()) for key, group in found.items()}
    if not costs:
        return {}
    days = [start + timedelta(days=n) for n in range(7 * _WEEKS)]
    first = min(costs)
    return {day: costs.get(name, 0) for day in days if (name := day.date().isoformat()) >= first}


def _months(history: Mapping[datetime, int], left: Sequence[datetime], elapsed: float) -> tuple[int, int, int]:
    """What the days that are left cost on the whole: expected, and the bounds of 90 % of what may be."""
    overall = fmean(history.values())

    def mean(day: datetime) -> float:
        same = [cost for other, cost in history.items() if other.weekday() == day.weekday()]
        return fmean(same) if len(history) >= 14 and same else overall

    misses = [cost - mean(day) for day, cost in history.items()]
    parts = [(mean(day), 1.0 - elapsed if place == 0 else 1.0) for place, day in enumerate(left)]
    chance = Random(0)  # the same ledger always has the same forecast
    sums = sorted(
        sum(max(0.0, expected + chance.choice(misses)) * part for expected, part in parts) for _ in range(_MONTHS)
    )
    whole = round(sum(expected * part for expected, part in parts))
    return whole, min(whole, round(sums[_MONTHS // 20])), max(whole, round(sums[-_MONTHS // 20 - 1]))


def _outlook(ledger: Ledger, one: Spending, now: float, zone: tzinfo) -> Outlook:
    pace, _ = _cost(ledger, now - DAY, now, zone, one.scope)
    runs_out = now + max(0, one.remaining) * DAY / pace if pace > 0 else None
    if runs_out is not None and one.resets_at is not None and runs_out >= one.resets_at:
        runs_out = None
    return Outlook(one.budget, one.scope, one.remaining, pace, runs_out)


def _soonest(one: Outlook) -> tuple[float, str, str]:
    return (float("inf") if one.runs_out is None else one.runs_out, one.budget, str(dict(one.scope)))


def _anomalies(ledger: Ledger, now: float, mean_day: float, zone: tzinfo) -> Iterator[Anomaly]:
    last = now // HOUR * HOUR - HOUR
    start = last - 7 * _WEEKS * DAY
    for name in ("endpoint", *tag_names(ledger, last, last + HOUR)) if mean_day else ():
        current, _ = read_sums(ledger, (name,), start=last, end=last + HOUR, zone=zone)
        costs = {key[0]: group.cost for key, group in current.items() if group.cost > _LEAST_SHARE * mean_day}
        dearest = nlargest(_MOST_LOOKED_AT, costs, key=lambda value: (costs[value], str(value)))
        if not dearest:
            continue
        among = {name: dearest}
        found, _ = read_sums(ledger, ("hour", name), start=start, end=last, among=among, zone=read_zone("UTC"))
        history: dict[str | None, dict[str, int]] = {}
        for key, group in found.items():
            history.setdefault(key[1], {})[str(key[0])] = group.cost
        for value in dearest:
            usual = _usual(history.get(value, {}), last)
            if usual is None:
                continue
            cost, (middle, most) = costs[value], usual
            if cost > max(most, middle + _LEAST_SHARE * mean_day):
                yield Anomaly(name, value, last, cost, round(middle))


def _usual(hours: Mapping[str, int], last: float) -> tuple[float, float] | None:
    """The median of such hours, and the most that is not unusual; ``None``: there is no history."""
    if not hours:
        return None
    utc = read_zone("UTC")
    first = min(hours)

    def name(moment: float) -> str:
        return f"{datetime.fromtimestamp(moment, utc):%Y-%m-%d %H:00}"

    moments = [last - n * DAY for n in range(1, 7 * _WEEKS + 1)]
    days = [hours.get(hour, 0) for hour in map(name, moments) if hour >= first]
    if len(days) < _FEWEST_HOURS:
        return None
    if median(days):
        weeks = days[6::7]
        middle, distance = _spread(weeks if len(weeks) >= 4 else days)
        return middle, max(_TIMES * middle, middle + _DISTANCES * max(distance, _spread(days)[1]))
    some = sorted(cost for cost in hours.values() if cost)
    if len(some) < _FEWEST_HOURS:
        return None
    return median(some), some[ceil(0.95 * len(some)) - 1] * (_TIMES if any(days) else 1)


def _spread(costs: Sequence[int]) -> tuple[float, float]:
    """The median, and the median distance from it."""
    middle = median(costs)
    return middle, median(abs(cost - middle) for cost in costs)


def _dollars(nanos: int | None) -> Decimal | None:
    return None if nanos is None else usd(nanos)
