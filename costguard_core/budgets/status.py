"""What is left, right now: a look at the counters that have been used, without touching them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal

from costguard_core.budgets.admission import AdmissionController
from costguard_core.budgets.agents import AgentLimit, AgentRun
from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.emergency import Emergency, read_emergency
from costguard_core.budgets.loops import is_stop
from costguard_core.counters.base import CounterStore, GrantedLimit, Line, Reading
from costguard_core.errors import ConfigurationError
from costguard_core.reports.report import PrettyPrinter
from costguard_core.types import NANOS_PER_DOLLAR, usd
from costguard_core.util.amounts import format_amount, public_amount
from costguard_core.util.html_table import Bar, Cell, html_table
from costguard_core.util.numbers import whole_number
from costguard_core.util.text import NONE, printable

_HEAD = ("budget", "scope", "limit", "spent", "held", "remaining", "resets")
_NAMES = 2  # the first columns, which are words
_MOST_RUNS = 20  # of an agent: a choice
_PAGE = 100  # counters read at a time: the store answers calls in between


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget in one scope. Amounts are ``Decimal`` dollars for ``unit="usd"``, ``int`` otherwise.

    Attributes:
        budget: the budget's name.
        scope: whose counter it is, such as ``{"user": "u1"}``; empty for everybody together.
        unit: what is counted: ``"usd"``, ``"requests"``, ``"tokens"`` or ``"input tokens"``.
        limit: what may be spent in the window.
        spent: what has been settled in it.
        held: what calls in flight may still spend.
        remaining: what a new call may take.
        resets_at: unix seconds: the end of the calendar period, or when the oldest spend leaves a sliding window.
    """

    budget: str
    scope: dict[str, str]
    unit: str
    limit: Decimal | int
    spent: Decimal | int
    held: Decimal | int
    remaining: Decimal | int
    resets_at: float | None


@dataclass(frozen=True, slots=True)
class GrantStatus:
    """A limit that was granted to one scope of a budget at run time.

    Attributes:
        budget: the budget's name.
        scope: whose counter it is, such as ``{"user": "u1"}``.
        unit: as in :class:`BudgetStatus`.
        limit: what may be spent in the window instead, as there.
        until: when it ends, unix seconds; ``None``: when it is revoked.
        reason: why it was granted.
        by: who granted it.
        granted_at: unix seconds.
    """

    budget: str
    scope: dict[str, str]
    unit: str
    limit: Decimal | int
    until: float | None
    reason: str
    by: str
    granted_at: float

    @classmethod
    def of(cls, granted: GrantedLimit) -> GrantStatus:
        """A limit as the store keeps it, for people."""
        limit = public_amount(granted.amount, granted.unit)
        scope, reason = dict(granted.scope), granted.reason
        return cls(granted.budget, scope, granted.unit, limit, granted.until, reason, granted.by, granted.at)

    def __str__(self) -> str:
        end = "revoked" if self.until is None else _utc(self.until)
        why = f": {printable(self.reason)}" if self.reason else ""
        who = f" by {printable(self.by)}" if self.by else ""
        limit = _amount(self.limit, self.unit)
        return f"{printable(self.budget)}, {_scope(self.scope)}: {limit} until {end}, granted{who}{why}"


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One run of an agent, with its subagents. Amounts are ``Decimal`` dollars.

    Attributes:
        agent: its name.
        run: the id of the run (:attr:`~costguard_core.budgets.agents.AgentRun.id`).
        limit: what the run may spend.
        spent: what has been settled.
        held: what calls in flight may still spend.
        concluding: whether it has used the fraction of its limit at which it is told to conclude.
    """

    agent: str
    run: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    concluding: bool

    def __str__(self) -> str:
        spent, limit = (_amount(amount, "usd") for amount in (self.spent, self.limit))
        state = "" if not self.concluding else ", told to conclude" if self.spent < self.limit else ", stopped"
        return f"{printable(self.agent)}, run {printable(self.run)}: {spent} of {limit} spent{state}"


@dataclass(frozen=True, slots=True)
class Status:
    """What the budgets count, and whether the switch is thrown. Iterates over :class:`BudgetStatus`.

    Attributes:
        budgets: one row per budget and scope; its limit is the granted one, where there is one.
        tripped: the reason given to ``guard.trip``; ``None``: spending was not stopped by hand.
        breaker: the state of the rate breaker, if there is one for everybody.
        truncated: whether there are more scopes, or granted limits, than were asked for.
        grants: limits that were granted at run time and are in force.
        emergency: caps for everybody; ``None``: there are none. What they count is among ``budgets``.
        stopped: sessions that were taken for a loop, and until when they are refused.
        agents: the newest runs of agents whose limits are known here, at most 20 of each.
    """

    budgets: tuple[BudgetStatus, ...]
    tripped: str | None = None
    breaker: str | None = None
    truncated: bool = False
    grants: tuple[GrantStatus, ...] = ()
    emergency: Emergency | None = None
    stopped: tuple[GrantStatus, ...] = ()
    agents: tuple[AgentStatus, ...] = ()

    def __iter__(self) -> Iterator[BudgetStatus]:
        return iter(self.budgets)

    def __len__(self) -> int:
        return len(self.budgets)

    def __getitem__(self, index: int) -> BudgetStatus:
        return self.budgets[index]

    def to_dicts(self) -> list[dict[str, object]]:
        """One dictionary per row, with the fields of :class:`BudgetStatus`."""
        return [asdict(row) for row in self.budgets]

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None) -> str:
        """The table. Where it is wider than ``width`` characters, each budget stands above its rows."""
        rows = [_HEAD, *map(_cells, self.budgets)]
        lines = _aligned(rows)
        if width is not None and max(map(len, lines)) > width:
            head, *rest = _aligned([row[1:] for row in rows])
            lines = [head]
            for at, line in enumerate(rest, 1):
                if rows[at][0] != rows[at - 1][0]:
                    lines.append(rows[at][0])
                lines.append(line)
        return "\n".join((*lines, *self._notes()))

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))  # IPython: the table where there is no HTML

    def _repr_html_(self) -> str:
        head = [name.capitalize() for name in _HEAD]
        rows = [_html_row(row) for row in self.budgets]
        return html_table("Budgets", head[:_NAMES], head[_NAMES:], rows, notes=self._notes())

    def _notes(self) -> Iterator[str]:
        if self.tripped is not None:
            yield f"STOPPED BY HAND: {printable(self.tripped)}"
        if self.breaker is not None:
            yield f"breaker: {self.breaker}"
        if self.emergency is not None:
            yield f"EMERGENCY: {self.emergency}"
        for stop in self.stopped:
            end = "resumed" if stop.until is None else _utc(stop.until)
            yield f"stopped: {_scope(stop.scope)} until {end}: {printable(stop.reason)}"
        for run in self.agents:
            yield f"agent {run}"
        for grant in self.grants:
            yield f"granted: {grant}"
        if self.truncated:
            yield "There are more scopes than these."


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def read_status(
    admission: AdmissionController,
    *,
    scope: Mapping[str, str] | None = None,
    limit: int | None = None,
    agents: Mapping[str, AgentLimit] | None = None,
) -> Status:
    """Read the counters that exist for the configured budgets, a page at a time, so that calls are not held up.

    Args:
        admission: whose budgets, and the store that counts them.
        scope: only what is counted for these values, such as ``{"user": "u1"}``: budgets that count per user.
        limit: the most scopes of each budget.
        agents: the limits of agents by name, whose runs are read too where no scope is given.

    Raises:
        ConfigurationError: no budget counts per a name in ``scope``, or ``limit`` is not a positive number.
        StoreUnavailable: the counters cannot be read.
    """
    if limit is not None:
        whole_number("limit", limit, at_least=1)
    emergency = read_emergency(admission.store.controls())
    caps = () if emergency is None else emergency.budgets()
    windowed = [budget for budget in (*admission.budgets, *caps) if budget.window != "call"]
    if scope and not any(set(scope) <= set(budget.per) for budget in windowed):
        known = ", ".join(sorted({name for budget in windowed for name in budget.per})) or "everybody together"
        raise ConfigurationError(f"no budget counts per {' and '.join(scope)}: they count per {known}")
    granted = {one.key: one for one in admission.store.granted_limits()}
    grants = [
        one
        for one in granted.values()
        if any(one.key.startswith(budget.key_prefix) for budget in windowed)
        and (scope or {}).items() <= dict(one.scope).items()
    ]
    stopped = [one for one in granted.values() if is_stop(one) and (scope or {}).items() <= dict(one.scope).items()]
    found: list[BudgetStatus] = []
    more = limit is not None and len(grants) > limit
    for budget in windowed:
        keys = _keys(budget, admission.store, scope or {}, limit)
        more = more or (limit is not None and len(keys) > limit)
        found += _rows(budget, admission.store, keys[:limit], granted)
    return Status(
        tuple(found),
        admission.store.tripped(),
        _breaker_state(admission),
        truncated=more,
        grants=tuple(map(GrantStatus.of, grants[:limit])),
        emergency=emergency,
        stopped=tuple(map(GrantStatus.of, stopped[:limit])),
        agents=() if scope else tuple(_runs(admission.store, agents or {})),
    )


def _runs(store: CounterStore, agents: Mapping[str, AgentLimit]) -> Iterator[AgentStatus]:
    for name, limit in agents.items():
        prefix = limit.budget(name).key(())
        runs = []
        for key in store.scopes(prefix)[-_MOST_RUNS:]:  # an id begins with the time, so that the newest are the last
            with suppress(ConfigurationError):  # no id of ours
                runs.append(AgentRun(name, key.removeprefix(prefix), limit, None))
        readings = store.read([Line(run.key, "usd", run.window, run.budget.amount, 0) for run in runs])
        for run, reading in zip(runs, readings, strict=True):
            run.settled(reading.settled)
            most, spent, held = map(usd, (run.budget.amount, reading.settled, reading.held))
            yield AgentStatus(name, run.id, most, spent, held, run.should_conclude)


def _keys(budget: Budget, store: CounterStore, scope: Mapping[str, str], limit: int | None) -> list[str]:
    """The counters of a budget that belong to ``scope``; of those, one more than ``limit``."""
    if not set(scope) <= set(budget.per):
        return []
    if set(scope) == set(budget.per):
        return [budget.key(tuple((name, scope[name]) for name in budget.per))]
    most = None if limit is None else limit + 1
    if not scope:
        return store.scopes(budget.key_prefix, limit=most)
    return [key for key in store.scopes(budget.key_prefix) if budget.is_key_of(key, scope)][:most]


def _rows(
    budget: Budget, store: CounterStore, keys: Sequence[str], granted: Mapping[str, GrantedLimit]
) -> Iterator[BudgetStatus]:
    for start in range(0, len(keys), _PAGE):
        page, window = keys[start : start + _PAGE], budget.window_at(store.now())
        readings = store.read([Line(key, budget.unit, window, budget.amount, 0) for key in page])
        for key, reading in zip(page, readings, strict=True):
            limit = granted[key].amount if key in granted else budget.amount
            yield _row(budget, budget.read_key(key), reading, limit)


def _row(budget: Budget, scope: Scope, reading: Reading, limit: int) -> BudgetStatus:
    def public(amount: int) -> Decimal | int:
        return public_amount(amount, budget.unit)

    return BudgetStatus(
        budget=budget.name,
        scope=dict(scope),
        unit=budget.unit,
        limit=public(limit),
        spent=public(reading.settled),
        held=public(reading.held),
        remaining=public(max(0, limit - reading.settled - reading.held)),
        resets_at=reading.reset_at,
    )


def _cells(row: BudgetStatus) -> tuple[str, ...]:
    amounts = [_amount(amount, row.unit) for amount in (row.limit, row.spent, row.held, row.remaining)]
    resets = "never" if row.resets_at is None else _utc(row.resets_at)
    return (printable(row.budget), _scope(row.scope), *amounts, resets)


def _amount(amount: Decimal | int, unit: str) -> str:
    return format_amount(int(amount * NANOS_PER_DOLLAR) if unit == "usd" else int(amount), unit)


def _scope(scope: Mapping[str, str]) -> str:
    return ", ".join([f"{name}={printable(value) or NONE}" for name, value in scope.items()]) or "everybody"


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}Z"


def _html_row(row: BudgetStatus) -> tuple[tuple[str, ...], tuple[Cell, ...]]:
    """The same cells; behind what is spent, a bar shows how much of the limit that is, and a paler one what is held."""
    cells = _cells(row)
    limit, spent, *others = cells[_NAMES:]
    shares = (float(row.spent / row.limit), float(row.held / row.limit))
    return cells[:_NAMES], (limit, Bar(spent, shares), *others)


def _breaker_state(admission: AdmissionController) -> str | None:
    if admission.rate is None or admission.rate.per:
        return None  # one breaker per scope: too many to list
    state = admission.store.read_gate(admission.gate(()))
    return f"{state.state}, {format_amount(state.rate, 'usd')} in the last {admission.rate.window}"
