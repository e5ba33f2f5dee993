"""What the page shows, asked of the ledger and the counter store by the same verbs as the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from costguard_core.budgets.status import BudgetStatus, Status
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.ledger.months import DAY, HOUR
from costguard_core.ledger.outcomes import outcome_names
from costguard_core.pricing import PriceBook
from costguard_core.reports.economics import ACTIVE_USER, UnitEconomics, unit_economics
from costguard_core.reports.explain import Explanation, explain, tag_names
from costguard_core.reports.forecast import Forecast, forecast, spendings
from costguard_core.reports.queries import make_report, read_costs
from costguard_core.reports.report import Key, Report, Totals
from costguard_core.reports.time_buckets import TimeBuckets, read_zone
from costguard_core.types import usd

RANGES: Mapping[str, tuple[str, int]] = {"24h": ("24 hours", 1), "7d": ("7 days", 7), "30d": ("30 days", 30)}
"""The spans that can be chosen: how each is called, and how many days it has."""

DIMENSIONS = ("model", "endpoint", "user", "tenant", "feature", "template", "session", "provider")
_SHOWN_SERIES = 6  # more colours than these are hard to tell apart
_SHOWN_ROWS = 25
_SHOWN_OUTCOMES = 5
_FORECAST_BUDGETS = 20  # each is a question of its own

Filter = Mapping[str, str]


class Series(NamedTuple):
    """One line of the chart: a name and dollars per bucket."""

    name: str
    values: list[float]


class Chart(NamedTuple):
    """Spend over time.

    Attributes:
        unit: what a bucket is: ``"hour"`` or ``"day"``.
        labels: the buckets, as reports call them.
        series: the largest first; the last may be all others together.
    """

    unit: str
    labels: list[str]
    series: list[Series]


@dataclass(frozen=True, slots=True)
class Overview:
    """The first screen.

    Attributes:
        range, by, where: what was asked for.
        total: of the span.
        before: of the span of the same length before it.
        rows: by descending spend, at most 25.
        hidden: how many rows are not shown.
        chart: spend over time.
        savings: what saved, and nano-dollars.
        refused: which budget refused, and how many calls.
        unpriced: models whose price is unknown, and how many calls.
        status: of the budgets; ``None``: there is no counter store to ask.
        tags: names of tags that calls of the span have, at most eight.
    """

    range: str
    by: str
    where: Filter
    total: Totals
    before: Totals
    rows: Report
    hidden: int
    chart: Chart
    savings: Sequence[tuple[str, int]]
    refused: Sequence[tuple[str, int]]
    unpriced: Sequence[tuple[str, int]]
    status: Status | None
    tags: Sequence[str]

    @property
    def change(self) -> Decimal | None:
        """Spend against the span before, as a fraction; ``None`` if nothing was spent then."""
        return Decimal(self.total.cost - self.before.cost) / self.before.cost if self.before.cost else None


def overview(
    ledger: Ledger,
    *,
    range: str,
    by: str,
    where: Filter,
    now: float,
    status: Status | None = None,
    timezone: str = "UTC",
) -> Overview:
    """The figures of the first screen.

    Raises:
        ConfigurationError: an unknown range, dimension or name.
        CostGuardError: the ledger cannot be read.
    """
    start, previous = span_of(range, now), span_of(range, span_of(range, now))
    report = make_report(ledger, by, since=start, where=where, limit=_SHOWN_ROWS)
    before = make_report(ledger, (), since=previous, until=start, where=where).total
    refused: Report | tuple[()] = ()
    if report.total.refused and where.get("outcome", "refused") == "refused":
        refused = make_report(ledger, ("reason",), since=start, where={**where, "outcome": "refused"}, sort="refused")
    models: Report | tuple[()] = ()
    if report.total.unpriced:
        complete = by == "model" and not report.more
        models = report if complete else make_report(ledger, ("model",), since=start, where=where)
    return Overview(
        range=range,
        by=by,
        where=where,
        total=report.total,
        before=before,
        rows=report,
        hidden=report.more,
        chart=_chart(
            ledger, report, where, unit="hour" if RANGES[range][1] == 1 else "day", now=now, timezone=timezone
        ),
        savings=_savings(report.total),
        refused=[(row.key[0] or "unknown", row.totals.calls) for row in refused],
        unpriced=[(row.key[0] or "", row.totals.unpriced) for row in models if row.totals.unpriced],
        status=status,
        tags=tag_names(ledger, start, now),
    )


def changes(
    ledger: Ledger, *, range: str, where: Filter, now: float, timezone: str = "UTC", prices: PriceBook | None = None
) -> Explanation:
    """Why a span cost more or less than the one before it.

    Raises:
        ConfigurationError: an unknown range or name.
        CostGuardError: the ledger cannot be read.
    """
    start = span_of(range, now)
    before = span_of(range, start)
    return explain(ledger, since=start, until=now, against=before, where=where, timezone=timezone, prices=prices)


def month(ledger: Ledger, status: Status | None, *, timezone: str = "UTC") -> Forecast:
    """What the month will cost, and when the budgets that count dollars run out.

    Raises:
        CostGuardError: the ledger cannot be read.
    """
    rows = [] if status is None else budget_rows(status)[:_FORECAST_BUDGETS]
    return forecast(ledger, budgets=spendings(rows), timezone=timezone)


def outcomes(ledger: Ledger, *, range: str, where: Filter, now: float) -> list[UnitEconomics]:
    """What active users and the outcomes that were recorded cost in a span, those with the most first.

    Raises:
        ConfigurationError: an unknown range or name.
        CostGuardError: the ledger cannot be read.
    """
    start = span_of(range, now)
    with ledger.reading() as database, database.snapshot() as reader:
        names = outcome_names(database, reader)
    found = [unit_economics(ledger, name, since=start, until=now, where=where) for name in (ACTIVE_USER, *names)]
    users, *recorded = found
    return [users, *sorted((one for one in recorded if one.outcomes), key=lambda one: -one.outcomes)[:_SHOWN_OUTCOMES]]


def span_of(range: str, now: float) -> float:
    """When a span begins that ends now (unix seconds).

    Raises:
        ConfigurationError: an unknown range.
    """
    if range not in RANGES:
        raise ConfigurationError(f"range={range!r} is not one of {', '.join(RANGES)}")
    return now - RANGES[range][1] * DAY


def _chart(ledger: Ledger, report: Report, where: Filter, *, unit: str, now: float, timezone: str) -> Chart:
    """Dollars per hour or day by the largest groups; what is left is one series."""
    assert report.since is not None
    zone = read_zone(timezone)
    labels = _labels(unit, report.since, now, zone)
    shown = [row.key[0] for row in report.rows[:_SHOWN_SERIES] if row.totals.cost]

    def spent(by: tuple[str, ...], **options: Any) -> dict[Key, int]:
        costs = read_costs(ledger, (unit, *by), start=report.since, end=None, where=where, zone=zone, **options)
        return {key: cost for key, (cost, _) in costs.items()}

    # Two questions with small answers, rather than one with a row for every bucket of every user.
    named = spent(report.by, among={report.by[0]: shown}) if shown else {}
    rest = {label: nanos for (label,), nanos in spent(()).items()}
    for (label, _), nanos in named.items():
        rest[label] = rest.get(label, 0) - nanos
    series = [
        Series("(none)" if name is None else name, _dollars([named.get((label, name), 0) for label in labels]))
        for name in shown
    ]
    if any(rest.values()):
        series.append(Series("all others", _dollars([rest.get(label, 0) for label in labels])))
    return Chart(unit, labels, series)


def _labels(unit: str, start: float, end: float, zone: tzinfo) -> list[str]:
    """Every bucket of a span, also those in which nothing happened."""
    buckets = TimeBuckets((unit,), zone)
    step = buckets.step(start, end) or HOUR
    first = int(start // step) * step
    found = (buckets.labels(first + number * step)[0] for number in range(int((end - first) // step) + 1))
    return list(dict.fromkeys(found))


def _dollars(spent: Sequence[int]) -> list[float]:
    """For drawing only: no sum is made of these."""
    return [float(usd(nanos)) for nanos in spent]


def _savings(total: Totals) -> list[tuple[str, int]]:
    found = [
        ("the same request again", total.saved_exact),
        ("the same request at the same time", total.saved_coalesced),
        ("the same question in other words", total.saved_semantic),
        ("a cheaper model was enough", total.saved_routing),
    ]
    return sorted(((cause, nanos) for cause, nanos in found if nanos), key=lambda item: -item[1])


def budget_rows(status: Status) -> list[BudgetStatus]:
    """The scopes that are nearest to their limit, first."""
    return sorted(status.budgets, key=lambda row: -_used(row))


def _used(row: BudgetStatus) -> Decimal:
    return Decimal(row.spent + row.held) / Decimal(row.limit) if row.limit else Decimal(0)


def used_percent(row: BudgetStatus) -> int:
    """How much of a budget is spent and held, in percent, at most 100."""
    return min(100, int(_used(row) * 100))
