"""Reserve → settle or release: the only place that says no.

A call is admitted by one atomic step over all its counters (see :mod:`costguard_core.counters.base`); every rule about
what to hold, when to shrink, when to wait and what a refusal says is here, written once as flows for sync and async
callers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.estimates import Assumptions, affordable_output, output_bound, worst_amounts
from costguard_core.budgets.messages import gate_refusal, over_budget, per_call_refusal, trip_refusal
from costguard_core.counters.base import Abandoned, CounterStore, Denial, Gate, Grant, Line, Settlement
from costguard_core.counters.effects import Flow, Reserve, Settle, Sleep
from costguard_core.counters.memory import MemoryStore
from costguard_core.errors import ConfigurationError, SpendLimitExceeded, StoreUnavailable
from costguard_core.pricing import PriceBook
from costguard_core.types import Attribution, Call, Usage

logger = logging.getLogger("costguard")

# Shrinking an answer to what is left races with other calls doing the same: after this many rounds, refuse.
_SHRINK_ROUNDS = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_REMEMBERED = 10_000
_DEBTS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """A spend *rate* that opens the circuit for everybody in the scope, on top of the budgets.

    Args:
        rate: e.g. ``"$2/minute"`` or ``"$1/minute per user"`` (dollars, per minute or hour): more than this *settled*
            within the window opens the breaker.
        cooldown: seconds it stays open before one probe call is let through.
        probe_lease: seconds after which a probe that never came back is forgotten and another one may try.
    """

    rate: str | Budget
    cooldown: float = 30.0
    probe_lease: float = 60.0

    def budget(self) -> Budget:
        budget = Budget.parse(self.rate) if isinstance(self.rate, str) else self.rate
        if budget.unit != "usd" or budget.window not in ("minute", "hour"):
            raise ConfigurationError(
                f'a breaker watches a spend rate, such as "$2/minute per user"; got {str(budget)!r}'
            )
        return budget


class Counted(NamedTuple):
    """One line of a reservation, and the budget and scope that it counts for."""

    budget: Budget
    scope: Scope
    line: Line


class Permit(NamedTuple):
    """A call may go ahead.

    ``max_output_tokens`` is the cap to send to the provider (``None``: leave the request as it is). ``assumed_output``
    is what was held for, per choice. ``grant`` is ``None`` when the store is down and every budget said to stay open.
    """

    call: Call
    max_output_tokens: int | None
    assumed_output: int
    grant: Grant | None = None
    budgets: tuple[Counted, ...] = ()
    gates: tuple[Gate, ...] = ()


class SpendBreaker:
    """Budgets and the rate breaker over one counter store.

    Args:
        budgets: what limits what; checked together, all or nothing.
        store: where the counters live.
        prices: what a call may cost.
        breaker: optional spend-rate breaker.
        assumed: how long answers are assumed to be when a request sets no limit.
        lease: seconds after which a reservation that nobody settled is charged in full.
        on_abandoned: told of such reservations by whoever finds them expired.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        store: CounterStore,
        prices: PriceBook,
        *,
        breaker: Breaker | None = None,
        assumed: Assumptions | None = None,
        lease: float = 600.0,
        on_abandoned: Callable[[Sequence[Abandoned]], None] = lambda _: None,
    ) -> None:
        self.budgets = tuple(budgets)
        self.store = store
        self.breaker = breaker
        self._prices = prices
        self._assumed = assumed or Assumptions()
        self._lease = lease
        self._on_abandoned = on_abandoned
        self.rate = breaker.budget() if breaker else None
        self._per_call = tuple(b for b in self.budgets if b.window == "call")
        self._windowed = tuple(b for b in self.budgets if b.window != "call")
        self._money = any(b.unit == "usd" for b in self.budgets)
        # Where nothing is limited, a store that is away has nothing to say (but for the manual switch).
        limited = bool(self.budgets) or breaker is not None
        self._fails_open = not limited or (bool(self.budgets) and all(b.on_store_error == "open" for b in self.budgets))
        self._keys: dict[tuple[Budget, Scope], str] = {}
        self._longest: dict[tuple[str, str | None], int] = {}
        self._debts: deque[tuple[Permit, Mapping[str, int]]] = deque(maxlen=_DEBTS_KEPT)
        self.counts_tokens = any(b.unit != "requests" for b in self.budgets)
        # Metering alone, in one process: nothing to compare and nobody to share a lease with.
        self.only_meters = not self.budgets and breaker is None and isinstance(store, MemoryStore)

    def waved_through(self, call: Call) -> Permit:
        """The admission of a call that nothing limits, except the manual switch.

        Raises:
            SpendLimitExceeded: the switch is thrown.
        """
        reason = self.store.tripped()
        if reason is not None:
            raise trip_refusal(reason)
        return Permit(call, None, call.max_output_tokens or self._assumed.output)

    def admission(self, call: Call, *, wait: bool = True) -> Flow[Permit]:
        """Admit ``call`` or raise; with ``wait``, waits where the refusing budget says ``on_exceed="wait"``.

        Raises:
            SpendLimitExceeded: a budget, the rate breaker or the manual switch says no. Nothing was consumed.
            UnpricedModelError: a money budget applies and the model has no price.
            StoreUnavailable: the counters cannot be reached and a budget is closed on store errors (the default).
        """
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            try:
                return (yield from self._attempt(call))
            except _Refused as refused:
                limit = refused.wait_timeout
                if not wait or limit is None or waited >= limit:
                    raise refused.error from None
                pause = min(pause * 1.5, _LONGEST_PAUSE, limit - waited)
            yield Sleep(pause)
            waited += pause

    def settlement(self, permit: Permit, amounts: Mapping[str, int]) -> Flow[Settlement | None]:
        """End a reservation at what the call really consumed (all zero: a release).

        A store that is down owes nothing: the debt is remembered and settled before the next call is admitted.
        """
        if permit.grant is None:
            return None
        try:
            settlement: Settlement = yield Settle(self.store, permit.grant, amounts, permit.gates)
        except StoreUnavailable:
            self._debts.append((permit, amounts))
            return None
        return settlement

    def pay_debts(self) -> Flow[None]:
        """Settle what could not be settled while the store was away."""
        while self._debts:
            try:
                permit, amounts = self._debts.popleft()
            except IndexError:  # another thread took the last one
                return
            assert permit.grant is not None
            try:
                yield Settle(self.store, permit.grant, amounts, permit.gates)
            except StoreUnavailable:
                self._debts.appendleft((permit, amounts))
                return

    def learn(self, call: Call, output_tokens: int) -> None:
        """Remember the longest answer of a model at an endpoint, so that its next unlimited request holds enough."""
        key = (call.model, call.attribution.endpoint)
        if output_tokens > self._longest.get(key, 0):
            if len(self._longest) >= _REMEMBERED:
                self._longest.clear()
            self._longest[key] = output_tokens

    def _attempt(self, call: Call) -> Flow[Permit]:
        if self._debts:
            yield from self.pay_debts()
        wanted = output_bound(call, self._assumed, self._longest.get((call.model, call.attribution.endpoint), 0))
        output = self._within_call_limits(call, wanted)
        gates = self._gates(call)
        for _ in range(_SHRINK_ROUNDS - 1):
            answer = yield from self._reserve(call, output, gates)
            if isinstance(answer, Permit):
                return answer
            denial, counted = answer
            smaller = self._shrunk(call, denial, counted, output)
            if smaller is None:
                raise self._refused(call, denial, counted)
            output = smaller
        answer = yield from self._reserve(call, output, gates)
        if isinstance(answer, Permit):
            return answer
        raise self._refused(call, *answer)

    def _reserve(
        self, call: Call, output: int, gates: tuple[Gate, ...]
    ) -> Flow[Permit | tuple[Denial, tuple[Counted, ...]]]:
        counted = self._lines(call, worst_amounts(call, output, self._prices, money=self._money))
        lines = tuple(line for _, _, line in counted)
        try:
            answer: Grant | Denial = yield Reserve(self.store, call.id, lines, gates, self._lease, _note(call, output))
        except StoreUnavailable:
            if not self._fails_open:
                raise
            logger.warning("costguard: counter store %s is down; call let through unguarded", self.store.url)
            return Permit(call, self._cap(call, output), output)
        if answer.swept:
            self._on_abandoned(answer.swept)
        if isinstance(answer, Denial):
            return answer, counted
        return Permit(call, self._cap(call, output), output, answer, counted, gates)

    def _cap(self, call: Call, output: int) -> int | None:
        """The cap to send: only where it can be sent, something is limited by it, and it says something new."""
        if not (call.cappable and self.counts_tokens) or output == call.max_output_tokens:
            return None
        return output

    def _within_call_limits(self, call: Call, output: int) -> int:
        for budget in self._per_call:
            needed = worst_amounts(call, output, self._prices, money=budget.unit == "usd")[budget.unit]
            if needed <= budget.amount:
                continue
            smaller = affordable_output(call, budget.unit, budget.amount, self._prices) if call.cappable else 0
            if smaller < min(self._assumed.floor, output) or smaller == 0:
                scope = budget.scope(call.attribution, call.model, call.provider)
                raise _Refused(per_call_refusal(budget, scope, needed), None)
            output = min(output, smaller)
        return output

    def _shrunk(self, call: Call, denial: Denial, counted: Sequence[Counted], output: int) -> int | None:
        if denial.reason != "budget" or not call.cappable:
            return None
        line = counted[denial.index].line
        smaller = affordable_output(call, line.unit, line.limit - denial.settled - denial.held, self._prices)
        smaller = min(smaller, output - 1)
        return smaller if smaller >= max(1, min(self._assumed.floor, output)) else None

    def _lines(self, call: Call, amounts: Mapping[str, int]) -> tuple[Counted, ...]:
        now = self.store.now()
        counted = []
        for budget in self._windowed:
            scope = budget.scope(call.attribution, call.model, call.provider)
            line = Line(
                self._key(budget, scope), budget.unit, budget.window_at(now), budget.amount, amounts[budget.unit]
            )
            counted.append(Counted(budget, scope, line))
        return tuple(counted)

    def _gates(self, call: Call) -> tuple[Gate, ...]:
        if self.rate is None or self.breaker is None:
            return ()
        scope = self.rate.scope(call.attribution, call.model, call.provider)
        return (self.gate(scope),)

    def gate(self, scope: Scope) -> Gate:
        """The rate breaker's gate for one scope."""
        assert self.rate is not None
        assert self.breaker is not None
        width = 60.0 if self.rate.window == "minute" else 3600.0
        key = f"gate:{self._key(self.rate, scope)}"
        return Gate(key, self.rate.amount, width, self.breaker.cooldown, self.breaker.probe_lease)

    def _key(self, budget: Budget, scope: Scope) -> str:
        found = self._keys.get((budget, scope))
        if found is None:
            if len(self._keys) >= _REMEMBERED:
                self._keys.clear()
            found = self._keys[(budget, scope)] = budget.key(scope)
        return found

    def _refused(self, call: Call, denial: Denial, counted: Sequence[Counted]) -> _Refused:
        if denial.reason == "tripped":
            return _Refused(trip_refusal(denial.text), None)
        if denial.reason == "open":
            assert self.rate is not None
            scope = self.rate.scope(call.attribution, call.model, call.provider)
            return _Refused(gate_refusal(self.rate, scope, denial), None)
        budget, scope, line = counted[denial.index]
        error = over_budget(budget, scope, denial, line.amount, now=self.store.now())
        hopeless = line.amount > budget.amount
        waits = budget.on_exceed == "wait" and not hopeless
        return _Refused(error, budget.wait_timeout if waits else None)


class _Refused(Exception):
    """Internal: a refusal, and how long its budget is willing to wait (seconds; ``None``: not at all)."""

    def __init__(self, error: SpendLimitExceeded, wait_timeout: float | None) -> None:
        super().__init__(str(error))
        self.error, self.wait_timeout = error, wait_timeout


# One unit separator between fields that never contain it: ten times faster to write than JSON, and it is written for
# every call.
_SEPARATOR = "\x1f"


def _note(call: Call, output: int) -> str:
    """What the ledger needs to know if nobody ever comes back for this call. Never the prompt."""
    who = call.attribution
    fields = (
        call.model,
        call.provider or "",
        repr(call.started),
        call.kind,
        call.tier or "",
        str(call.input_tokens or 0),
        str(output * call.choices),
        who.user or "",
        who.tenant or "",
        who.session or "",
        who.endpoint or "",
        who.feature or "",
        who.template or "",
    )
    note = _SEPARATOR.join(fields)
    if note.isascii() and note.count(_SEPARATOR) == len(fields) - 1:
        return note
    # Names may hold anything: our separator, or half of a character, which no store can write.
    return _SEPARATOR.join(field.replace(_SEPARATOR, " ").encode("utf-8", "replace").decode() for field in fields)


def read_note(id: str, note: str) -> tuple[Call, Usage] | None:
    """The call of an abandoned reservation and what it was held for, or ``None`` if the note is not one of ours."""
    try:
        model, provider, started, kind, tier, prompt, output, *who = note.split(_SEPARATOR)
        user, tenant, session, endpoint, feature, template = (value or None for value in who)
        usage = Usage(input_tokens=int(prompt), output_tokens=int(output), tier=tier or None, estimated=True)
        attribution = Attribution(user, tenant, session, endpoint, feature, template)
        call = Call(id, model, float(started), provider or None, attribution, kind=kind)
    except ValueError:
        return None
    return call, usage
