"""What an outcome costs: per sale, per resolved ticket, per document, per active user; and what is left of its value.

**Attribution.** A call belongs to the first outcome at or after it, and within the window, that has the call's session;
if there is none, to the first one that has its user. Each call belongs to at most one outcome, so that the costs of all
outcomes and the unattributed rest are the whole bill, to the nano-dollar.

**Intervals.** The mean cost of an outcome has a 95 % interval, as if the outcomes were drawn at random: from 2,000
bootstrap samples up to 200 outcomes (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13:
percentiles), from the normal distribution beyond. Fewer than five outcomes say nothing about their mean.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from random import Random
from statistics import fmean, stdev
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Reader
from costguard_core.ledger.outcomes import RecordedOutcome, outcome_names, read_outcomes
from costguard_core.reports.display import format_money
from costguard_core.reports.queries import Where, call_condition, read_sums
from costguard_core.reports.report import PrettyPrinter
from costguard_core.reports.time_buckets import read_zone
from costguard_core.types import usd
from costguard_core.util.html_table import html_table
from costguard_core.util.text import moment_text, printable
from costguard_core.util.timeparse import Moment, seconds

ACTIVE_USER = "active_user"
"""The outcome that needs no recording: a user who made a call, or for whom one of this name was recorded."""

_FEWEST = 5  # outcomes whose mean has an interval
_MOST_RESAMPLED = 200
_SAMPLES = 2_000
_Z = 1.959964  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True, slots=True)
class UnitEconomics:
    """What outcomes of one name cost, and what they are worth. Prints and renders as a table. Money is nano-dollars.

    Attributes:
        name: what the outcomes are.
        since, until: the span, unix seconds; ``None``: no bound.
        window: seconds before an outcome in which a call may belong to it.
        outcomes: how many there were.
        attributed_to: of them, how many had a call.
        users: how many different users they are of.
        cost: of all calls in the span.
        attributed: of the calls that belong to an outcome.
        by_session, by_user: the parts of ``attributed``, by what joins call and outcome.
        unpriced: calls whose cost is unknown; they are in none of the sums.
        value: of the outcomes, as far as it is known; ``None``: of none.
        valued: outcomes whose value is known.
        interval: a 95 % interval of the attributed cost per outcome; ``None``: too few outcomes.
        zone: in which the span is printed.
    """

    name: str
    since: float | None
    until: float | None
    window: float
    outcomes: int
    attributed_to: int
    users: int
    cost: int
    attributed: int
    by_session: int
    by_user: int
    unpriced: int
    value: int | None
    valued: int
    interval: tuple[int, int] | None
    zone: tzinfo = UTC

    @property
    def unattributed(self) -> int:
        """The cost of calls that belong to no outcome."""
        return self.cost - self.attributed

    @property
    def cost_per_outcome_usd(self) -> Decimal | None:
        """Attributed dollars per outcome; ``None`` without outcomes."""
        return _per(self.attributed, self.outcomes)

    @property
    def full_cost_per_outcome_usd(self) -> Decimal | None:
        """All dollars of the span per outcome, with what is attributed to none; ``None`` without outcomes."""
        return _per(self.cost, self.outcomes)

    @property
    def margin_usd(self) -> Decimal | None:
        """Value less attributed cost, in dollars; ``None`` if the value of an outcome is unknown."""
        if self.value is None or self.valued < self.outcomes:
            return None
        return usd(self.value - self.attributed)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with money as ``Decimal`` dollars."""
        return {
            "name": self.name,
            "since": self.since,
            "until": self.until,
            "window_seconds": self.window,
            "outcomes": self.outcomes,
            "attributed_to": self.attributed_to,
            "users": self.users,
            "spend_usd": usd(self.cost),
            "attributed_usd": usd(self.attributed),
            "by_session_usd": usd(self.by_session),
            "by_user_usd": usd(self.by_user),
            "unattributed_usd": usd(self.unattributed),
            "unpriced": self.unpriced,
            "value_usd": None if self.value is None else usd(self.value),
            "valued": self.valued,
            "margin_usd": self.margin_usd,
            "cost_per_outcome_usd": self.cost_per_outcome_usd,
            "full_cost_per_outcome_usd": self.full_cost_per_outcome_usd,
            "interval_usd": None if self.interval is None else [usd(bound) for bound in self.interval],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON; money as strings of dollars."""
        return json.dumps(self.to_dict(), indent=indent, default=lambda value: format(value, "f"))

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        figures = max(len(figure) for _, figure in rows)
        lines = [f"{name:<{width}}  {figure:>{figures}}" for name, figure in rows]
        return "\n".join([self._title(), *lines, *self._notes()])

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))

    def _repr_html_(self) -> str:
        rows = [((name,), (figure,)) for name, figure in self._rows()]
        return html_table(self._title(), ("",), ("",), rows, notes=self._notes())

    def _title(self) -> str:
        since = "" if self.since is None else f" · since {moment_text(self.since, self.zone)}"
        until = "" if self.until is None else f" · until {moment_text(self.until, self.zone)}"
        return f"Unit economics: {printable(self.name)}{since}{until}"

    def _rows(self) -> Iterator[tuple[str, str]]:
        def money(nanos: int) -> str:
            return format_money(nanos, 4 if abs(nanos) < 10**10 else 2)

        yield "Outcomes", f"{self.outcomes:,}"
        yield "… of users", f"{self.users:,}"
        yield "Spend", money(self.cost)
        yield "… attributed by session", money(self.by_session)
        yield "… attributed by user", money(self.by_user)
        yield "… unattributed", money(self.unattributed)
        if self.outcomes:
            yield "Attributed cost per outcome", money(self.attributed // self.outcomes)
            if self.interval is not None:
                low, high = self.interval
                yield "… 95 % interval", f"{money(low)} – {money(high)}"
            yield "All spend per outcome", money(self.cost // self.outcomes)
        if self.value is not None:
            yield "Value", money(self.value)
        if self.margin_usd is not None and self.value is not None:
            yield "Margin over attributed cost", money(self.value - self.attributed)

    def _notes(self) -> Iterator[str]:
        if not self.outcomes:
            yield f"None was recorded: guard.record_outcome({self.name!r}, user=…, session=…)."
        elif self.interval is None:
            yield f"{self.outcomes} are too few to say how far the mean may be off."
        if self.name != ACTIVE_USER:
            yield f"A call belongs to the next outcome of its session, else of its user, within {_length(self.window)}."
        if self.value is not None and self.valued < self.outcomes:
            yield f"The value of {self.outcomes - self.valued:,} is unknown, so there is no margin."
        if self.unpriced:
            yield f"{self.unpriced:,} calls without a known price are in none of the sums."


def _length(seconds: float) -> str:
    """``7 days``, or ``1 day, 12:00:00`` where it is no whole number of days."""
    return str(timedelta(seconds=seconds)).removesuffix(", 0:00:00")


def unit_economics(
    ledger: Ledger,
    name: str,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    window: str | float = "7d",
    where: Where | None = None,
    timezone: str = "UTC",
) -> UnitEconomics:
    """What each outcome of a name cost.

    Args:
        ledger: what was recorded.
        name: of the outcomes; ``"active_user"``: each user who made a call.
        since, until: the span of calls and outcomes, as in a report.
        window: how long before an outcome a call may belong to it: ``"7d"``, ``"24h"``, or seconds.
        where: only calls with these values, such as ``{"endpoint": "/checkout"}``; of a user or a session, only their
            outcomes.
        timezone: whose days ``since="today"`` and dates mean.

    Raises:
        ConfigurationError: a wrong time, or a name under which nothing was recorded and that is nearly another one.
        CostGuardError: the ledger cannot be read.
    """
    length = seconds(window)
    zone = read_zone(timezone)
    start, end = ledger.resolve_span(since, until, zone)
    with ledger.reading() as database, database.snapshot() as reader:
        outcomes = list(read_outcomes(database, reader, name, start, end))
        recorded = bool(outcomes)
        for whose in ("user", "session"):
            if where and whose in where:
                outcomes = [outcome for outcome in outcomes if getattr(outcome, whose) == where[whose]]
        if not recorded and name != ACTIVE_USER:
            near = get_close_matches(name, outcome_names(database, reader), n=1)
            if near and near[0] != name:
                raise ConfigurationError(f"no outcome {name!r} was recorded: did you mean {near[0]!r}?")
        calls = call_condition(database, where or {}, since=start, until=end)
        attribution = None if name == ACTIVE_USER else _attribute(reader, outcomes, calls, length)
    if attribution is None:
        return _of_active_users(ledger, outcomes, start, end, where, zone)
    costs, by_session, by_user, whole, unpriced = attribution
    values = [outcome.value for outcome in outcomes if outcome.value is not None]
    return UnitEconomics(
        name=name,
        since=start,
        until=end,
        window=length,
        outcomes=len(outcomes),
        attributed_to=len(costs),
        users=len({outcome.user for outcome in outcomes if outcome.user is not None}),
        cost=whole,
        attributed=by_session + by_user,
        by_session=by_session,
        by_user=by_user,
        unpriced=unpriced,
        value=sum(values) if values else None,
        valued=len(values),
        interval=mean_interval([costs.get(outcome.id, 0) for outcome in outcomes]),
        zone=zone,
    )


def mean_interval(costs: list[int]) -> tuple[int, int] | None:
    """A 95 % interval of the mean of costs, in nano-dollars; ``None`` for fewer than five."""
    count = len(costs)
    if count < _FEWEST:
        return None
    if count > _MOST_RESAMPLED:
        mean, error = fmean(costs), _Z * stdev(costs) / count**0.5
        return max(0, round(mean - error)), round(mean + error)
    chance = Random(0)  # the same ledger always has the same interval
    means = sorted(sum(chance.choices(costs, k=count)) / count for _ in range(_SAMPLES))
    return round(means[int(0.025 * _SAMPLES)]), round(means[int(0.975 * _SAMPLES) - 1])


def _per(nanos: int, count: int) -> Decimal | None:
    return usd(nanos) / count if count else None


class _Claims:
    """The outcomes of one session or user in order of time."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ids: list[str] = []

    def next(self, moment: float, window: float) -> str | None:
        """The first outcome at or after a moment, unless that is too far away."""
        place = bisect_left(self.times, moment)
        if place == len(self.times) or self.times[place] - moment > window:
            return None
        return self.ids[place]


def _claims(outcomes: list[RecordedOutcome], by: str) -> Mapping[str, _Claims]:
    found: dict[str, _Claims] = {}
    for outcome in outcomes:
        whose = getattr(outcome, by)
        if whose is not None:
            claims = found.setdefault(whose, _Claims())
            claims.times.append(outcome.time)
            claims.ids.append(outcome.id)
    return found


def _attribute(
    reader: Reader, outcomes: list[RecordedOutcome], calls: tuple[str, tuple[Any, ...]], window: float
) -> tuple[dict[str, int], int, int, int, int]:
    """Per outcome what its calls cost; then the sums by session, by user and of all calls; calls without a price."""
    sessions, users = _claims(outcomes, "session"), _claims(outcomes, "user")
    condition, values = calls
    sql = (
        f"SELECT session_id, user_id, time, cost_nanos FROM {TABLE} WHERE {condition} "
        "AND (cost_nanos IS NULL OR cost_nanos <> 0)"
    )
    costs: dict[str, int] = {}
    by_session = by_user = whole = unpriced = 0
    for session, user, moment, cost in reader.rows(sql, values):
        if cost is None:
            unpriced += 1
            continue
        whole += cost
        claims = sessions.get(session)
        found = None if claims is None else claims.next(moment, window)
        if found is not None:
            by_session += cost
        else:
            claims = users.get(user)
            found = None if claims is None else claims.next(moment, window)
            if found is None:
                continue
            by_user += cost
        costs[found] = costs.get(found, 0) + cost
    return costs, by_session, by_user, whole, unpriced


def _of_active_users(
    ledger: Ledger,
    outcomes: list[RecordedOutcome],
    start: float | None,
    end: float | None,
    where: Where | None,
    zone: tzinfo,
) -> UnitEconomics:
    sums, _ = read_sums(ledger, ["user"], start=start, end=end, where=where, zone=zone)
    totals = {key[0]: group.totals() for key, group in sums.items() if group.calls}
    costs = dict.fromkeys((outcome.user for outcome in outcomes if outcome.user is not None), 0)
    costs.update((user, found.cost) for user, found in totals.items() if user is not None)
    values = [outcome.value for outcome in outcomes if outcome.value is not None]
    attributed = sum(costs.values())
    return UnitEconomics(
        name=ACTIVE_USER,
        since=start,
        until=end,
        window=0.0,
        outcomes=len(costs),
        attributed_to=sum(1 for cost in costs.values() if cost),
        users=len(costs),
        cost=sum(found.cost for found in totals.values()),
        attributed=attributed,
        by_session=0,
        by_user=attributed,
        unpriced=sum(found.unpriced for found in totals.values()),
        value=sum(values) if values else None,
        valued=len(values),
        interval=mean_interval(list(costs.values())),
        zone=zone,
    )
