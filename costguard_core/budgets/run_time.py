"""What people change at run time: the switch, granted limits, emergency caps, stopped sessions, runs of agents.

Each is kept in the counter store and told with the answer to a reservation, so that every process obeys it from its
next call on and none asks for it. Each change is recorded in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

from costguard_core.budgets import agents as runs
from costguard_core.budgets.admission import AdmissionController, Permit
from costguard_core.budgets.agents import AgentLimit, AgentRun
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.emergency import Emergency, end_of
from costguard_core.budgets.limits import counter_scope, find_budget, granted_limit
from costguard_core.budgets.loops import stop_key
from costguard_core.budgets.status import GrantStatus
from costguard_core.counters.base import GrantedLimit
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.ledger.audit import describe_change
from costguard_core.types import Alert, attributed
from costguard_core.util.lru import LRUMap
from costguard_core.util.options import names_options
from costguard_core.util.timeparse import Moment

if TYPE_CHECKING:
    from costguard_core.counters.base import CounterStore
    from costguard_core.exporters import Hooks
    from costguard_core.ledger import Ledger


class RunTimeControls:
    """The part of :class:`costguard_core.guard.CostGuard` with which spending is controlled while it runs."""

    store: CounterStore
    ledger: Ledger
    clock: Callable[[], float]
    new_id: Callable[[], str]
    _admission: AdmissionController
    _hooks: Hooks
    _agents: Mapping[str, AgentLimit]
    _given_limits: LRUMap[str, AgentLimit]  # of agents, in the code: for the status

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets in force, without emergency caps."""
        return self._admission.budgets

    @property
    def counts_tokens(self) -> bool:
        """Whether a call that is made here needs ``Call.input_tokens``, for a budget, a cap or the agent around it.

        Counting a prompt costs time, so adapters ask first.
        """
        return self.rules_count_tokens or runs.current_run() is not None

    # Read in C, without a call of ours: these stand in the way of every request.
    rules_count_tokens: property = property(
        attrgetter("_admission.counts_tokens"), doc="Whether a budget or a cap needs ``Call.input_tokens``."
    )
    finds_loops: property = property(
        attrgetter("_admission.loops"),
        doc="Whether sessions are looked at for loops: whoever makes a call says its step then, see :func:`step_of`.",
    )

    @names_options
    def trip(self, reason: str) -> None:
        """Refuse every call from now on, in every process that shares the store, until :meth:`reset`.

        This and the other changes at run time are recorded in the ledger: ``guard.ledger.changes()``.
        """
        self.store.trip(reason)
        self._record_change("trip", reason=reason)

    def reset(self) -> None:
        """Undo :meth:`trip` and close the rate breaker. Budgets keep what was spent."""
        self.store.reset()
        self._admission.waiters.wake()
        self._record_change("reset")

    @names_options
    def grant(
        self,
        budget: str | Budget,
        *,
        limit: str | float | Decimal,
        until: Moment | None = None,
        reason: str = "",
        by: str = "",
        scope: Mapping[str, str] | None = None,
        **names: str | int,
    ) -> GrantStatus:
        """Let one user, team or tenant spend more (or less) than a budget says, in every process that shares the store.

        ``guard.grant("$25/day per user", user="u1", limit="$50", until="2026-12-31", reason="launch week")``. It holds
        from the next call on; calls that wait in this process ask again at once, those in others within half a second.
        A counter has one granted limit: the last one.

        Args:
            budget: one of the guard's, by its name or text.
            limit: what may be spent in the budget's window instead.
            until: ``"24h"`` or ``"7d"`` from now, a date (to its end, in the budget's time zone), a ``datetime`` or
                unix seconds; ``None``: until :meth:`revoke`.
            reason, by: why, and who says so; for :meth:`status` and the ledger.
            scope, names: whose limit: a value for each name that the budget counts per.

        Raises:
            ConfigurationError: no such budget, names that it does not count per, a limit in another unit, or a
                moment that has passed.
            StoreUnavailable: the counters cannot be reached.
        """
        meant = find_budget(self.budgets, budget)
        whose = {**(scope or {}), **names}
        given = granted_limit(meant, whose, limit, until=until, reason=reason, by=by, now=self.store.now())
        before = self.store.grant_limit(given)
        self._admission.waiters.wake()
        self._record_change("grant", before, given, reason=reason, by=by)
        return GrantStatus.of(given)

    @names_options
    def revoke(
        self,
        budget: str | Budget,
        *,
        reason: str = "",
        by: str = "",
        scope: Mapping[str, str] | None = None,
        **names: str | int,
    ) -> bool:
        """Undo :meth:`grant`: the budget's own limit holds again. ``False``: none was granted.

        Raises:
            ConfigurationError: no such budget, or names that it does not count per.
            StoreUnavailable: the counters cannot be reached.
        """
        meant = find_budget(self.budgets, budget)
        found = self.store.revoke_limit(meant.key(counter_scope(meant, {**(scope or {}), **names})))
        self._admission.waiters.wake()
        if found is not None:
            self._record_change("revoke", found, reason=reason, by=by)
        return found is not None

    @names_options
    def emergency(
        self,
        *,
        duration: Moment = "1h",
        max_input: int | None = None,
        rate: str | None = None,
        spend: str | None = None,
        max_cost: str | None = None,
        cheapest: bool = False,
        reason: str = "",
        by: str = "",
    ) -> Emergency:
        """Cap everybody at once, in every process that shares the store, until ``duration`` has passed.

        ``guard.emergency(max_input=4_000, rate="30/minute", duration="2h", reason="spike")``. It replaces the caps of
        before; :meth:`end_emergency` ends it early.

        Args:
            duration: ``"2h"``, or another moment ahead.
            max_input: the most input tokens of one call. Another process that counted no prompts so far counts from
                its second call on.
            rate: calls of everybody together, such as ``"30/minute"``.
            spend: dollars of everybody together, such as ``"$5/hour"``.
            max_cost: the most that one call may cost, such as ``"$0.05"``.
            cheapest: routers answer from their cheapest tier only; those of other processes from their second call on.
            reason, by: why, and who says so.

        Raises:
            ConfigurationError: a value that cannot be used, or nothing that is capped.
            StoreUnavailable: the counters cannot be reached.
        """
        now = self.store.now()
        found = Emergency(end_of(duration, now), max_input, rate, spend, max_cost, cheapest, reason, by, now)
        self.store.put_controls(found.to_text(), found.until)
        self._admission.obey(found.to_text())
        self._record_change("emergency", reason=str(found), by=by)
        if self._is_first_to_tell(found):
            self._hooks.emit(found.alert(now))
        return found

    @names_options
    def end_emergency(self, *, reason: str = "", by: str = "") -> bool:
        """End :meth:`emergency` now. ``False``: there was none.

        Raises:
            StoreUnavailable: the counters cannot be reached.
        """
        found = bool(self.store.controls())
        self.store.put_controls("", 0.0)
        self._admission.obey("")
        self._admission.waiters.wake()
        if found:
            self._record_change("end emergency", reason=reason, by=by)
        return found

    @property
    def cheapest_only(self) -> bool:
        """Whether emergency caps, as this process knows them, want the cheapest tier of every router."""
        found = self._admission.emergency
        return found is not None and found.cheapest and self.store.now() < found.until

    @names_options
    def resume(self, *, session: str | int, reason: str = "", by: str = "") -> bool:
        """Let a session go on that was stopped because it was taken for a loop. ``False``: it was not stopped.

        The steps that it has made still count: a loop that goes on is stopped again.

        Raises:
            StoreUnavailable: the counters cannot be reached.
        """
        found = self.store.revoke_limit(stop_key(attributed(session) or ""))
        if found is not None:
            self._record_change("resume", found, reason=reason, by=by)
        return found is not None

    @names_options
    def agent(
        self,
        name: str,
        *,
        limit: AgentLimit | str | float | Decimal | None = None,
        wrap_up: float | None = None,
        run: str | None = None,
    ) -> AbstractContextManager[AgentRun]:
        """One budget over an agent and all its subagents: ``with guard.agent("research", limit="$0.50"):``.

        Every call inside the block counts against it, also in threads and tasks with a copied context. Blocks nest: a
        subagent's block counts against its own limit and against those around it. At the fraction ``wrap_up`` the
        agent is told to conclude (LangChain: with :class:`CostGuardMiddleware`; LlamaIndex: with a guarded LLM); a call
        that no longer fits is refused.

        Args:
            name: of the agent, for refusals and alerts.
            limit: dollars; without it that of ``CostGuard(agents=…)`` or of the policy file.
            wrap_up: the fraction, 0.8 unless given.
            run: the id of a run that goes on in this process (:attr:`AgentRun.id`); without it a new one begins.

        Raises:
            ConfigurationError: no limit is known for this agent, or a value that cannot be used.
        """
        found = self._agents.get(name) if limit is None else AgentLimit.of(limit)
        if found is None:
            known = ", ".join(map(repr, self._agents)) or "none"
            raise ConfigurationError(
                f'no limit is known for the agent {name!r}: guard.agent({name!r}, limit="$0.50"). Known: {known}'
            )
        if wrap_up is not None:
            found = AgentLimit(found.limit, wrap_up, found.text)
        if limit is not None:
            self._given_limits.put(name, found)
        return runs.agent_run(name, run or f"{int(self.store.now())}.{self.new_id()}", found)

    def _is_first_to_tell(self, found: Emergency) -> bool:
        try:
            return bool(self._hooks.hooks) and self.store.claim(found.alarm, found.seconds)
        except StoreUnavailable:  # the caps are in force: better told twice than never
            return True

    def _tell_wrap_up(self, run: AgentRun, total: int) -> None:
        used = total / run.budget.amount
        text = f"agent {run.name!r} has used {used:.0%} of its budget and is told to conclude"
        scope = (("run", run.id),)
        self._hooks.emit(
            Alert(
                run.budget.name,
                scope,
                run.limit.wrap_up,
                "usd",
                run.budget.amount,
                total,
                self.clock(),
                "wrap up",
                text,
            )
        )

    def _tell_opened(self, permit: Permit, key: str) -> None:
        rate, call = self._admission.rate, permit.call
        if rate is None or not any(gate.key == key for gate in permit.gates):
            return
        scope = rate.scope(call.attribution, call.model, call.provider)
        text = f"the breaker {rate.name!r} has opened: more was spent than that"
        self._hooks.emit(Alert(rate.name, scope, 1.0, "usd", rate.amount, rate.amount, self.clock(), "breaker", text))

    def _record_change(
        self, action: str, before: GrantedLimit | None = None, after: GrantedLimit | None = None, **why: str
    ) -> None:
        self.ledger.record_change(describe_change(self.new_id(), self.clock(), action, before, after, **why))
