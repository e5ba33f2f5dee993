"""What the page shows, asked of the ledger and the counter store by the same verbs as the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from costguard_core.budgets.status import BudgetStatus, Status
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.reports.queries import make_report
from costguard_core.reports.report import Report, Totals
from costguard_core.types import usd

RANGES: Mapping[str, tuple[str, int]] = {"24h": ("24 hours", 1), "7d": ("7 days", 7), "30d": ("30 days", 30)}
"""The spans that can be chosen: how each is called, and how many days it has."""

DIMENSIONS = ("model", "endpoint", "user", "tenant", "feature", "template", "session", "provider")
_SHOWN_SERIES = 6  # more colours than these are hard to tell apart
_SHOWN_ROWS = 50

Filter = Mapping[str, str]


class Series(NamedTuple):
    """One line of the chart: a name and dollars per bucket."""

    name: str
    values: list[float]


class Chart(NamedTuple):
    """Spend over time.

    Attributes:
        labels: the beginnings of the buckets, as dates.
        times: the same in unix seconds.
        series: the largest first; the last may be all others together.
    """

    labels: list[str]
    times: list[int]
    series: list[Series]


@dataclass(frozen=True, slots=True)
class Overview:
    """The first screen.

    Attributes:
        range, by, where: what was asked for.
        total: of the span.
        before: of the span of the same length before it.
        rows: by descending spend, at most 50.
        hidden: how many rows are not shown.
        chart: spend over time.
        savings: what saved, and nano-dollars.
        refused: which budget refused, and how many calls.
        unpriced: models whose price is unknown, and how many calls.
        status: of the budgets; ``None``: there is no counter store to ask.
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

    @property
    def change(self) -> Decimal | None:
        """Spend against the span before, as a fraction; ``None`` if nothing was spent then."""
        return Decimal(self.total.cost - self.before.cost) / self.before.cost if self.before.cost else None


def overview(
    ledger: Ledger, *, range: str, by: str, where: Filter, now: float, status: Status | None = None
) -> Overview:
    """The figures of the first screen.

    Raises:
        ConfigurationError: an unknown range, dimension or name.
        CostGuardError: the ledger cannot be read.
    """
    if range not in RANGES:
        raise ConfigurationError(f"range={range!r} is not one of {', '.join(RANGES)}")
    days = RANGES[range][1]
    start, previous = now - days * 86_400, now - 2 * days * 86_400
    report = make_report(ledger, by, since=start, where=where)
    before = make_report(ledger, (), since=previous, until=start, where=where).total
    outcomes = make_report(ledger, ("outcome",), since=start, where=where)
    reasons = make_report(ledger, ("reason",), since=start, where={**where, "outcome": "refused"})
    models = make_report(ledger, ("model",), since=start, where=where)
    return Overview(
        range=range,
        by=by,
        where=where,
        total=report.total,
        before=before,
        rows=Report(report.by, report.rows[:_SHOWN_ROWS], report.total, report.since, report.until, report.source),
        hidden=max(0, len(report.rows) - _SHOWN_ROWS),
        chart=_chart(ledger, report, by, where, start, now),
        savings=_savings(outcomes),
        refused=[(row.key[0] or "unknown", row.totals.calls) for row in reasons],
        unpriced=[(row.key[0] or "", row.totals.unpriced) for row in models if row.totals.unpriced],
        status=status,
    )


def _chart(ledger: Ledger, report: Report, by: str, where: Filter, start: float, now: float) -> Chart:
    """Dollars per day by the largest groups; what is left is one series."""
    days = _days(start, now)
    shown = [row.key[0] for row in report.rows[:_SHOWN_SERIES] if row.totals.cost]
    spent: dict[str | None, dict[str, int]] = {key: {} for key in shown}
    others: dict[str, int] = {}
    for row in make_report(ledger, ("day", by), since=start, where=where):
        day, key = row.key
        bucket = spent.get(key, others)
        bucket[day or ""] = bucket.get(day or "", 0) + row.totals.cost
    series = [Series("none" if key is None else key, _dollars(spent[key], days)) for key in shown]
    if any(others.values()):
        series.append(Series("all others", _dollars(others, days)))
    times = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) for day in days]
    return Chart(days, times, series)


def _days(start: float, now: float) -> list[str]:
    first, last = datetime.fromtimestamp(start, UTC).date(), datetime.fromtimestamp(now, UTC).date()
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]


def _dollars(spent: Mapping[str, int], days: Sequence[str]) -> list[float]:
    """For drawing only: no sum is made of these."""
    return [float(usd(spent.get(day, 0))) for day in days]


_CAUSES = {
    "exact": "the same request again",
    "coalesced": "the same request at the same time",
    "semantic": "the same question in other words",
    "miss": "a cheaper model was enough",
}


def _savings(outcomes: Report) -> list[tuple[str, int]]:
    found = [(_CAUSES.get(row.key[0] or "", "other"), row.totals.saved) for row in outcomes if row.totals.saved]
    return sorted(found, key=lambda item: -item[1])


def budget_rows(status: Status) -> list[BudgetStatus]:
    """The scopes that are nearest to their limit, first."""
    return sorted(status.budgets, key=lambda row: -_used(row))


def _used(row: BudgetStatus) -> Decimal:
    return Decimal(row.spent + row.held) / Decimal(row.limit) if row.limit else Decimal(0)


def used_percent(row: BudgetStatus) -> int:
    """How much of a budget is spent and held, in percent, at most 100."""
    return min(100, int(_used(row) * 100))
