"""Admission control: reserve the worst case of a call before it is made, settle what it really consumed afterwards.

A call is admitted by one atomic step over all its counters (see :mod:`costguard_core.counters.base`). What to hold,
when to shorten an answer, when to wait and what a refusal says is decided here, as generators of effects
(:mod:`costguard_core.counters.effects`) that serve sync and async callers alike.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from operator import attrgetter
from typing import NamedTuple

from costguard_core.budgets import agents
from costguard_core.budgets.agents import AgentRun, stopped_agent
from costguard_core.budgets.applicable import Applicable, Counter, find_applicable
from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget, Scope
from costguard_core.budgets.emergency import Emergency, read_emergency
from costguard_core.budgets.estimates import Assumptions, affordable_output, output_bound, worst_amounts
from costguard_core.budgets.loops import Loops, loop_alert, loop_refusal, stopped_refusal
from costguard_core.budgets.messages import Needed, breaker_refusal, budget_refusal, call_limit_refusal, trip_refusal
from costguard_core.budgets.reservation_note import write_note
from costguard_core.counters.base import Abandoned, CounterStore, Denial, Gate, Grant, Line, Settlement
from costguard_core.counters.effects import Ask, Claim, Flow, Reserve, Settle, Sleep
from costguard_core.counters.memory import MemoryStore
from costguard_core.counters.waiters import Waiters
from costguard_core.errors import ConfigurationError, SpendLimitExceeded, StoreUnavailable
from costguard_core.pricing import PriceBook
from costguard_core.types import ATTRIBUTE_NAMES, Alert, Call
from costguard_core.util.forks import renew_locks
from costguard_core.util.lru import LRUMap
from costguard_core.util.numbers import number, whole_number

logger = logging.getLogger("costguard")

# Choices, not measurements:
_SHRINK_ROUNDS = 4  # shortening an answer to what is left races with other calls doing the same: then refuse
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between two attempts of a call that waits
_MOST_SCOPES = 10_000  # whose counter names are remembered
_MOST_LENGTHS = 10_000  # models and endpoints whose longest answer is remembered
_MOST_UNSETTLED = 10_000  # reservations that wait for the counter store to come back


class Permit(NamedTuple):
    """A call may go ahead.

    Attributes:
        call: the call that was admitted.
        max_output_tokens: the cap to send to the provider; ``None``: leave the request as it is.
        assumed_output: output tokens that were held, per choice.
        grant: the reservation; ``None`` when nothing is limited, or the store is down and every budget stays open then.
        counters: what the reservation counts on, in the order of ``lines``.
        lines: the lines of the reservation.
        gates: the rate breaker's gate of this call, if there is one.
        runs: the agent runs that it counts against; theirs are the last lines, in this order.
    """

    call: Call
    max_output_tokens: int | None
    assumed_output: int
    grant: Grant | None = None
    counters: tuple[Counter, ...] = ()
    lines: tuple[Line, ...] = ()
    gates: tuple[Gate, ...] = ()
    runs: tuple[AgentRun, ...] = ()

    def left(self, totals: Sequence[int]) -> int | None:
        """Nano-dollars that the tightest dollar budget of this call has left; ``None``: none counts it.

        Calls under way are not taken off. ``totals`` are those of its :class:`~costguard_core.types.Charge`.
        """
        left = [line.limit - total for line, total in zip(self.lines, totals, strict=False) if line.unit == "usd"]
        return max(0, min(left)) if left else None


class _Refused(NamedTuple):
    """The error to raise, and the seconds for which its budget is willing to wait (``None``: not at all)."""

    error: SpendLimitExceeded
    patience: float | None


class AdmissionController:
    """Budgets and the rate breaker over one counter store.

    Args:
        budgets: what limits what; checked together, all or nothing.
        store: where the counters live.
        prices: what a call may cost.
        breaker: optional spend-rate breaker.
        assumed: how long answers are assumed to be when a request sets no limit.
        lease: seconds after which a reservation that nobody settled is charged in full.
        on_abandoned: called with such reservations by whoever finds them expired.
        loops: when a session is taken for a loop; ``None``: never.
        on_incident: called with an alert when a session or an agent is stopped, or emergency caps are first obeyed.
        tells: whether anybody hears it; else it is left to another process to be the first to tell.

    Raises:
        ConfigurationError: a length of answers is no whole number above zero, or the lease no number of seconds.
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
        loops: Loops | None = None,
        on_incident: Callable[[Alert], None] = lambda _: None,
        tells: Callable[[], bool] = lambda: True,
    ) -> None:
        self.store = store
        self.waiters = Waiters()
        self._on_incident, self._tells = on_incident, tells
        self._changing = threading.Lock()  # one change of rules at a time, with all that follows from it
        renew_locks(self, "_changing")
        self._controls = ""  # the text that the store told last
        self.counts_tokens = False
        self.emergency: Emergency | None = None
        self._prices = prices
        self._lease = number("lease", lease, above=0)
        self._on_abandoned = on_abandoned
        # A store in this process answers at once: there is nothing that an event loop could do meanwhile, and its
        # notes are read by this process alone, so that only those of calls that never came back are written.
        self._memory = store if type(store) is MemoryStore else None
        self._longest: LRUMap[tuple[str, str | None], int] = LRUMap(_MOST_LENGTHS)
        self._unsettled: deque[tuple[Permit, Mapping[str, int]]] = deque(maxlen=_MOST_UNSETTLED)
        self.change_rules(budgets, breaker, assumed, loops)

    def change_rules(
        self,
        budgets: Sequence[Budget],
        breaker: Breaker | None = None,
        assumed: Assumptions | None = None,
        loops: Loops | None = None,
    ) -> None:
        """Admit by other rules from now on. Calls that wait follow them too; what is reserved is settled as it was.

        Raises:
            ConfigurationError: a length of answers is no whole number above zero. Nothing has changed.
        """
        lengths = check_assumptions(assumed or Assumptions())
        with self._changing:
            self._assumed = lengths
            self.budgets, self.breaker, self.loops = tuple(budgets), breaker, loops
            self.rate = breaker.budget() if breaker else None
            # A quarter is added to what was seen.
            self.assumed_anyway = 4 * min(lengths.output, lengths.reasoning) // 5
            self._apply_rules()
        self.waiters.wake()

    def obey(self, text: str) -> None:
        """Admit under the emergency caps that the store tells (empty: none) from now on."""
        emergency = read_emergency(text)
        if text and emergency is None:
            logger.warning("costguard: the emergency caps in the store cannot be read, and are not obeyed: %s", text)
        with self._changing:
            self._controls, self.emergency = text, emergency
            self._apply_rules()

    def _apply_rules(self) -> None:
        """Work out what applies to whom, from the budgets, the breaker and the emergency caps."""
        breaker, rate = self.breaker, self.rate
        caps = tuple(self.emergency.budgets()) if self.emergency is not None else ()
        budgets = (*self.budgets, *caps)
        limits = (*budgets, *([rate] if rate else []))
        names = {name for limit in limits for name in (*limit.per, *dict(limit.conditions))} - {"model", "provider"}
        tags = frozenset(names - set(ATTRIBUTE_NAMES))
        # What applies to a call follows from the names in its budgets: worked out once for each combination of names.
        fields = (*sorted(names - tags), *(["tags"] if tags else []))
        names_of = attrgetter("model", "provider", *(f"attribution.{field}" for field in fields))
        find = partial(find_applicable, budgets, breaker, rate, fields)
        # Before the rules: a call that was not counted must not meet a budget that counts.
        counts = any(b.unit != "requests" for b in budgets)
        self.counts_tokens = self.counts_tokens or counts
        # Whoever asks for names and for what applies to them must ask the same rules: both change in one step.
        self._rules = names_of, lru_cache(_MOST_SCOPES)(find)
        self.tags = tags
        self.counts_tokens = counts
        self.unlimited = not limits and self.loops is None and isinstance(self.store, MemoryStore)

    def at_once(self, call: Call) -> Permit | None:
        """Where ``unlimited``: a permit, as there is nothing to compare and nobody to share a lease with. ``None``: an
        agent's run or caps for everybody limit it, or the manual switch is thrown; see :meth:`reserve`."""
        store = self.store
        if agents.CURRENT.get() is not None or store.tripped() is not None or store.controls() != self._controls:
            return None
        return Permit(call, None, call.max_output_tokens or self._assumed.output)

    def reserve(self, call: Call, *, wait: bool = True) -> Flow[Permit]:
        """Admit ``call`` or raise; with ``wait``, waits where the refusing budget says ``on_exceed="wait"``.

        Where the answer may be cut, it is cut to what the budgets have left before the call is refused.

        Raises:
            SpendLimitExceeded: a budget, the rate breaker or the manual switch says no. Nothing was consumed.
            UnpricedModelError: a money budget applies and the model has no price.
            StoreUnavailable: the counters cannot be reached and a budget is closed on store errors (the default).
        """
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            seen = self.waiters.changes
            if self._unsettled:
                yield from self.settle_pending()
            names_of, applicable_to = self._rules
            applicable = applicable_to(*names_of(call))
            runs = agents.current_runs() if agents.CURRENT.get() is not None else ()
            if runs or self.loops is not None:
                applicable = self._with_own(applicable, call, runs)
            try:
                found = yield from self._attempt(call, applicable, runs)
            except SpendLimitExceeded:
                # A limit of single calls did not ask the store, which may have other emergency caps by now, or none.
                if self.emergency is None or not (yield from self._controls_changed()):
                    raise
                continue
            if isinstance(found, Permit):
                return found
            if found is None:
                continue
            error, patience = found
            if not wait or patience is None or waited >= patience:
                raise error
            pause = min(pause * 1.5, _LONGEST_PAUSE, patience - waited)
            if (yield Sleep(pause, self.waiters, seen)):
                pause = _FIRST_PAUSE  # a limit has changed: it did not wait so long
            else:
                waited += pause

    def _attempt(
        self, call: Call, applicable: Applicable, runs: tuple[AgentRun, ...]
    ) -> Flow[Permit | _Refused | None]:
        """Ask the store, again while the answer can be cut to what is left; ``None``: the rules have changed."""
        _, counters, gates, money, fails_open = applicable
        output, amounts = self._within_call_limits(call, applicable)
        wanted, rounds = output, 0
        while True:
            listed, now = [], None  # in place: a function and a comprehension more for each call
            for budget, _, key, fixed in counters:
                window = fixed
                if window is None:
                    now = self.store.now() if now is None else now
                    window = budget.latest_window
                    period = window.edges[1:3]
                    window = window if period and period[0] <= now < period[1] else budget.window_at(now)
                listed.append(Line(key, budget.unit, window, budget.amount, amounts[budget.unit]))
            lines = tuple(listed)
            # The cap is sent only where it can be, something is limited by it, and it says something new.
            new = call.cappable and (self.counts_tokens or money) and output != call.max_output_tokens
            cap = output if new else None
            try:
                answer: Grant | Denial = (
                    self._memory.reserve(
                        call.id, lines, gates=gates, lease=self._lease, note=partial(write_note, call, output)
                    )
                    if self._memory is not None
                    else (yield Reserve(self.store, call.id, lines, gates, self._lease, write_note(call, output)))
                )
            except StoreUnavailable:
                if not fails_open:
                    raise
                logger.warning("costguard: counter store %s is down; call let through unguarded", self.store.url)
                return Permit(call, cap, output)
            if answer.swept:
                self._on_abandoned(answer.swept)
            if answer.controls != self._controls:
                yield from self.obeying(answer.controls, Permit(call, cap, output, _granted(answer), gates=gates))
                return None
            if isinstance(answer, Grant):
                lines = lines if not answer.limits else _held_to(lines, answer.limits)
                return Permit(call, cap, output, answer, counters, lines, gates, runs)
            rounds += 1
            shorter = self._shortened(call, answer, lines, output) if rounds < _SHRINK_ROUNDS else None
            if shorter is None:
                return (yield from self._refused(call, answer, counters, wanted, runs))
            output = shorter
            amounts = worst_amounts(call, output, self._prices, money=money)

    def settle(self, permit: Permit, amounts: Mapping[str, int]) -> Flow[Settlement | None]:
        """End a reservation at what the call really consumed (all zero: a release).

        While the store is down the amounts are remembered, and settled before the next call is admitted.
        """
        if permit.grant is None:
            return None
        try:
            settlement: Settlement = (
                self._memory.settle(permit.grant, amounts, gates=permit.gates)
                if self._memory is not None
                else (yield Settle(self.store, permit.grant, amounts, permit.gates))
            )
        except StoreUnavailable:
            self._unsettled.append((permit, amounts))
            return None
        return settlement

    def settle_pending(self) -> Flow[None]:
        """Settle what could not be settled while the store was away."""
        while self._unsettled:
            try:
                permit, amounts = self._unsettled.popleft()
            except IndexError:  # another thread took the last one
                return
            assert permit.grant is not None
            try:
                yield Settle(self.store, permit.grant, amounts, permit.gates)
            except StoreUnavailable:
                self._unsettled.appendleft((permit, amounts))
                return

    def learn(self, call: Call, output_tokens: int) -> None:
        """Remember the longest answer of a model at an endpoint, so that its next unlimited request holds enough.

        Answers of at most ``assumed_anyway`` tokens need not be remembered.
        """
        key = (call.model, call.attribution.endpoint)
        if output_tokens > self._longest.get(key, 0):
            self._longest.put(key, output_tokens)

    def gate(self, scope: Scope) -> Gate:
        """The rate breaker's gate for one scope."""
        assert self.rate is not None
        assert self.breaker is not None
        return self.breaker.gate(self.rate, scope)

    def _with_own(self, applicable: Applicable, call: Call, runs: tuple[AgentRun, ...]) -> Applicable:
        """What applies, and the counters of this call alone: of its session's steps, of the agent runs around it."""
        own = [] if self.loops is None else [Counter(*each) for each in self.loops.counters(call)]
        own += [Counter(run.budget, (("run", run.id),), run.key, run.window) for run in runs]
        return applicable._replace(
            counters=(*applicable.counters, *own),
            money=applicable.money or bool(runs),
            fails_open=applicable.fails_open and not runs,
        )

    def obeying(self, text: str, given: Permit | None = None) -> Flow[None]:
        """Obey what the store tells, and give back a permit that was worked out under other rules.

        The first of all processes that obeys raises the alarm.
        """
        if given is not None:
            yield from self.settle(given, {})
        self.obey(text)
        found = self.emergency
        if found is None:
            return
        if (yield from self.first_to_tell(found.alarm, found.seconds)):
            self._on_incident(found.alert(self.store.now()))

    def first_to_tell(self, name: str, ttl: float) -> Flow[bool]:
        """Whether this process has hooks to tell and none has told its own of this in the last ``ttl`` seconds."""
        if not self._tells():
            return False
        try:
            return bool((yield Claim(self.store, name, ttl)))
        except StoreUnavailable:
            return True  # better twice than never

    def _controls_changed(self) -> Flow[bool]:
        try:
            text = self.store.controls() if self._memory is not None else (yield Ask(self.store.controls))
        except StoreUnavailable:
            return False
        if text == self._controls:
            return False
        yield from self.obeying(text)
        return True

    def _refused(
        self, call: Call, denial: Denial, counters: tuple[Counter, ...], wanted: int, runs: tuple[AgentRun, ...]
    ) -> Flow[_Refused]:
        """The refusal, and what it means for more than this call: a loop stops its session, a spent run its agent."""
        if denial.reason == "budget" and (runs or self.loops is not None):
            yield from self._stopping(call, denial, counters[denial.index], runs)
        return self._refusal(call, denial, counters, wanted)

    def _stopping(self, call: Call, denial: Denial, counter: Counter, runs: tuple[AgentRun, ...]) -> Flow[None]:
        budget, _, key, _ = counter
        now, loops, session = self.store.now(), self.loops, call.attribution.session or ""
        for run in runs:
            # Where calls under way hold what is left, a later call may fit: that is no end.
            spent = not denial.held or denial.settled >= run.limit.wrap_up * run.budget.amount
            untold = run.key == key and spent and run.stopped()
            if untold and (yield from self.first_to_tell(f"alert:stopped:{run.key}", agents.RUN_SECONDS)):
                self._on_incident(stopped_agent(run, denial, now))
        if loops is None or budget is not loops.counting:
            return
        try:
            before = yield Ask(partial(self.store.grant_limit, loops.stop(session, now)))
        except (StoreUnavailable, ConfigurationError) as error:  # then only this step is refused
            logger.warning("costguard: a session in a loop could not be stopped: %s", error)
            return
        if before is None:
            self._on_incident(loop_alert(loops, session, now))

    def _within_call_limits(self, call: Call, applicable: Applicable) -> tuple[int, Mapping[str, int]]:
        """Output tokens per choice that the ``/call`` budgets allow, and the most that the call consumes with them.

        Raises:
            SpendLimitExceeded: a ``/call`` budget is smaller than the shortest answer worth having.
            UnpricedModelError: a money budget applies and the model has no price.
        """
        output = call.max_output_tokens
        if output is None or call.kind == "embedding":
            seen = 0 if output else self._longest.get((call.model, call.attribution.endpoint), 0)
            output = output_bound(call, self._assumed, seen)
        amounts = worst_amounts(call, output, self._prices, money=applicable.money)
        for budget in applicable.per_call:
            if amounts[budget.unit] <= budget.amount:
                continue
            shorter = affordable_output(call, budget.unit, budget.amount, self._prices) if call.cappable else 0
            if shorter < self._shortest(call, output):
                scope = budget.scope(call.attribution, call.model, call.provider)
                raise call_limit_refusal(budget, scope, self._needed(call, budget.unit, output))
            output = min(output, shorter)
            amounts = worst_amounts(call, output, self._prices, money=applicable.money)
        return output, amounts

    def _shortest(self, call: Call, output: int) -> int:
        """The shortest answer worth sending (tokens per choice) where one of ``output`` tokens was wanted.

        A model that may think for a number of tokens is sent a cap above that number, or none: providers reject others.
        """
        return max(1, min(call.thinking_tokens + self._assumed.floor, output))

    def _shortened(self, call: Call, denial: Denial, lines: tuple[Line, ...], output: int) -> int | None:
        """Output tokens per choice to ask for next, after the store refused ``output``; ``None``: give up.

        That is what fits into what the refusing counter has left. Where nothing worth sending does, a call that is
        larger than the whole budget asks once more at its shortest, because the store says when there will be room
        only of amounts that can fit.
        """
        if denial.reason != "budget" or not call.cappable:
            return None
        line, shortest = lines[denial.index], self._shortest(call, output)
        if denial.limit is not None:
            line = line._replace(limit=denial.limit)
        left = affordable_output(call, line.unit, line.limit - denial.settled - denial.held, self._prices)
        if min(left, output - 1) >= shortest:
            return min(left, output - 1)
        if line.amount > line.limit >= worst_amounts(call, shortest, self._prices, money=line.unit == "usd")[line.unit]:
            return shortest
        return None

    def _needed(self, call: Call, unit: str, output: int) -> Needed:
        """What a call that wants ``output`` tokens per choice takes of ``unit``."""
        lengths = (output, self._shortest(call, output) if call.cappable else output, min(output, 1))
        money = unit == "usd"
        asked, least, prompt = (worst_amounts(call, length, self._prices, money=money)[unit] for length in lengths)
        return Needed(asked, least, prompt, bool(call.searches or call.result_tokens or call.tool_pieces))

    def _refusal(self, call: Call, denial: Denial, counters: tuple[Counter, ...], wanted: int) -> _Refused:
        """The error to raise, and the seconds for which its budget is willing to wait (``None``: not at all)."""
        if denial.reason == "tripped":
            return _Refused(trip_refusal(denial.text), None)
        if denial.reason == "open":
            rate, breaker = self.rate, self.breaker
            assert rate is not None
            assert breaker is not None
            scope = rate.scope(call.attribution, call.model, call.provider)
            error = breaker_refusal(rate, scope, denial, answer=breaker.answer, on_exceed=breaker.on_open)
            return _Refused(error, breaker.wait_timeout if breaker.on_open == "wait" else None)
        budget, scope, _, _ = counters[denial.index]
        loops, session = self.loops, call.attribution.session or ""
        if loops is not None and budget is loops.counting:
            return _Refused(loop_refusal(loops, session), None)
        if loops is not None and budget is loops.stopping:
            return _Refused(stopped_refusal(session), None)
        needed = self._needed(call, budget.unit, wanted)
        error = budget_refusal(budget, scope, denial, needed, now=self.store.now())
        waits = budget.on_exceed == "wait" and not error.too_large
        return _Refused(error, budget.wait_timeout if waits else None)


def _granted(answer: Grant | Denial) -> Grant | None:
    return answer if isinstance(answer, Grant) else None


def _held_to(lines: tuple[Line, ...], limits: tuple[tuple[int, int], ...]) -> tuple[Line, ...]:
    """The lines of a reservation with the limits that were granted to their counters, for alerts."""
    granted = dict(limits)
    return tuple([line._replace(limit=granted.get(index, line.limit)) for index, line in enumerate(lines)])


def check_assumptions(assumed: Assumptions) -> Assumptions:
    """``assumed``, if it can be used.

    Raises:
        ConfigurationError: a length is no whole number above zero.
    """
    for name, tokens in assumed._asdict().items():
        whole_number(f"Assumptions.{name}", tokens, at_least=1)
    return assumed
