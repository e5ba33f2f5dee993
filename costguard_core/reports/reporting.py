"""What a guard tells of its ledger: reports, explanations, forecasts, unit economics, reconciliation.

Each question first settles the calls whose consumers went away, so that they are in the answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from costguard_core.attribution import current_attribution
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.ledger.outcomes import RecordedOutcome
from costguard_core.reports.queries import make_report
from costguard_core.reports.report import Report
from costguard_core.types import attributed
from costguard_core.util.amounts import nanos_of
from costguard_core.util.numbers import number
from costguard_core.util.options import check_kind, names_options
from costguard_core.util.timeparse import Moment

if TYPE_CHECKING:
    from pathlib import Path

    from costguard_core.budgets.status import Status
    from costguard_core.exporters import Hooks
    from costguard_core.pricing import PriceBook
    from costguard_core.reports.economics import UnitEconomics
    from costguard_core.reports.explain import Explanation
    from costguard_core.reports.forecast import Forecast
    from costguard_core.reports.reconciliation import Reconciliation


class Reporting:
    """The part of :class:`costguard_core.guard.CostGuard` that answers questions about what was spent."""

    ledger: Ledger
    prices: PriceBook
    clock: Callable[[], float]
    new_id: Callable[[], str]
    _hooks: Hooks
    _told: deque[tuple[str, str | None, float]]
    """Anomalies that hooks have been told of."""

    def status(self, *, scope: Mapping[str, str] | None = None, limit: int | None = None) -> Status:
        """Per budget and scope: limit, spent, held, remaining, reset time."""
        raise NotImplementedError

    def _settle_abandoned(self) -> None:
        """Charge the calls whose consumers went away."""
        raise NotImplementedError

    @names_options
    def report(
        self,
        by: str | Sequence[str] = "model",
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
        timezone: str = "UTC",
        limit: int | None = None,
        sort: str | None = None,
    ) -> Report:
        """Who spent what, from the ledger.

        Args:
            by: one or more of user, tenant, session, endpoint, model, …, hour, day, week, month, or a tag.
            since, until: the span, such as ``"7d"`` or ``"2026-11-01"``.
            where: only calls with these values, such as ``{"endpoint": "/faq"}``.
            timezone: whose days are meant, such as ``"Europe/Berlin"``, or ``"local"``.
            limit: the most rows; the total is of all calls.
            sort: ``"spend"``, ``"saved"``, ``"calls"``, ``"tokens"``, ``"hit_rate"``, ``"refused"``, ``"errors"``,
                ``"p95"`` or ``"name"``.

        Raises:
            ConfigurationError: an unknown dimension, time, zone or order.
            CostGuardError: the ledger cannot be read.
        """
        self._settle_abandoned()
        return make_report(
            self.ledger, by, since=since, until=until, where=where, timezone=timezone, limit=limit, sort=sort
        )

    @names_options
    def explain(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        against: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
        timezone: str = "UTC",
    ) -> Explanation:
        """Why a period cost more or less than another one: what each factor adds, who carries it, what it may be.

        Args:
            since, until: the later period; by default yesterday, or from ``since`` until now.
            against: when the earlier period begins, which is as long; by default on the same weekday before.
            where: only calls with these values.
            timezone: whose days are meant.

        Raises:
            ConfigurationError: a wrong time or dimension, or a period that ends before it begins.
            CostGuardError: the ledger cannot be read.
        """
        from costguard_core.reports.explain import explain

        self._settle_abandoned()
        return explain(
            self.ledger,
            since=since,
            until=until,
            against=against,
            where=where,
            timezone=timezone,
            prices=self.prices,
        )

    @names_options
    def forecast(self, *, timezone: str = "UTC", alert: bool = False) -> Forecast:
        """What this month will cost, with an interval; when each money budget runs out; what costs unusually much.

        Args:
            timezone: whose month and days are meant.
            alert: tell hooks of what costs unusually much, once for each hour: call it from a job every hour.

        Raises:
            ConfigurationError: there is no such time zone.
            StoreUnavailable: the counters cannot be read.
            CostGuardError: the ledger cannot be read.
        """
        from costguard_core.reports.forecast import forecast, spendings

        found = forecast(self.ledger, budgets=spendings(self.status(limit=20)), timezone=timezone)
        for anomaly in found.anomalies if alert else ():
            mark = (anomaly.dimension, anomaly.value, anomaly.start)
            if mark not in self._told:
                self._told.append(mark)
                self._hooks.emit(anomaly.alert())
        return found

    @names_options
    def record_outcome(
        self,
        name: str,
        *,
        value: Decimal | str | float | None = None,
        user: str | None = None,
        session: str | None = None,
        id: str | None = None,
        at: float | None = None,
    ) -> None:
        """Record what calls were for: a sale, a resolved ticket, a document. In the background, like a call.

        Args:
            name: what it is, such as ``"sale"``.
            value: what it is worth, dollars.
            user, session: whose it is; by default those of the :func:`attribute` block around it.
            id: of the outcome, if it may be recorded twice: only the first one of an id counts.
            at: when it was, unix seconds; by default now.

        Raises:
            ConfigurationError: no name, a value that is no amount, or a user or session that is no text.
        """
        if not name:
            raise ConfigurationError('record_outcome(""): give the outcome a name, such as "sale"')
        for option, given in (("name", name), ("user", user), ("session", session)):
            check_kind(option, given, (str, type(None)), "a text")
        around = current_attribution()
        self.ledger.append_outcome(
            RecordedOutcome(
                id or self.new_id(),
                self.clock() if at is None else number("at", at),
                attributed(name) or name,
                None if value is None else nanos_of("value", value),
                attributed(user or "") or around.user,
                attributed(session or "") or around.session,
            )
        )

    @names_options
    def unit_economics(
        self,
        name: str,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        window: str | float = "7d",
        where: Mapping[str, str | None] | None = None,
        timezone: str = "UTC",
    ) -> UnitEconomics:
        """What each outcome of a name cost, what it is worth, and what belongs to none. Prints as a table.

        Args:
            name: as given to :meth:`record_outcome`; ``"active_user"``: each user who made a call.
            since, until: the span of calls and outcomes, such as ``"30d"``.
            window: how long before an outcome a call of its session, or of its user, may belong to it.
            where: only calls with these values; of a user or a session, only their outcomes.
            timezone: whose days ``since="today"`` and dates mean.

        Raises:
            ConfigurationError: a wrong time, or a name that is nearly one that was recorded.
            CostGuardError: the ledger cannot be read.
        """
        from costguard_core.reports.economics import unit_economics

        self._settle_abandoned()
        return unit_economics(
            self.ledger, name, since=since, until=until, window=window, where=where, timezone=timezone
        )

    @names_options
    def reconcile(
        self,
        provider: str | Sequence[str] | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        csv: str | Path | Sequence[str | Path] | None = None,
        columns: Mapping[str, str] | None = None,
        timezone: str = "UTC",
        projects: Sequence[str] = (),
        workspaces: Sequence[str] = (),
    ) -> Reconciliation:
        """The ledger against what a provider says that it billed, by day and model, each difference named.

        Asks OpenAI or Anthropic with an administrator's key from ``OPENAI_ADMIN_KEY`` or ``ANTHROPIC_ADMIN_KEY``, or
        reads exports of a provider's console. Blocks while it asks; nothing is changed.

        Args:
            provider: ``"openai"``, ``"anthropic"`` or both; ``None``: those whose key is set. With ``csv`` any name.
            since, until: whole days; without them the seven days before today.
            csv: exports of costs, of usage, or both.
            columns: what is in which column of them, where their names do not say: ``{"cost": "Betrag"}``.
            timezone: of the days of an export.
            projects: OpenAI's projects, workspaces: Anthropic's, if the ledger is not of the whole organisation.

        Raises:
            ConfigurationError: an option, a key or a file that cannot be used.
            CostGuardError: the ledger or the provider's report cannot be read.
        """
        from costguard_core.reports.reconciliation import reconcile

        self._settle_abandoned()
        return reconcile(
            self.ledger,
            provider=provider,
            since=since,
            until=until,
            csv=csv,
            columns=columns,
            timezone=timezone,
            projects=projects,
            workspaces=workspaces,
            prices=self.prices,
        )
