"""The conductor that an adapter talks to: ``before(call)`` → a permit, ``after(permit, usage)`` → a charge.

It holds no rule of its own. Budgets and the breaker decide (:mod:`costguard_core.budgets.admission`), prices price, the
ledger remembers, hooks are told; this module puts them in order and makes sure that every way out ends the reservation.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing import parent_process
from os import PathLike
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from costguard_core.attribution import current_attribution, declared_tags
from costguard_core.budgets.admission import AdmissionController, Permit, check_assumptions
from costguard_core.budgets.agents import AgentLimit
from costguard_core.budgets.alerts import Alerts
from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.estimates import Assumptions
from costguard_core.budgets.loops import Loops
from costguard_core.budgets.status import Status, read_status
from costguard_core.cache.policy import CachePolicy
from costguard_core.counters import open_store
from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.exporters import Hooks
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.lifecycle.accounting import CallAccounting
from costguard_core.lifecycle.calls import CallIds
from costguard_core.lifecycle.drivers import arun, run
from costguard_core.pricing import PriceBook
from costguard_core.reports.reporting import Reporting
from costguard_core.types import (
    Attribution,
    Call,
    Charge,
    Usage,
    UsageReport,
)
from costguard_core.usage.token_counter import TokenCounter
from costguard_core.util.lru import LRUMap
from costguard_core.util.options import check_function, check_kind, names_options, shown
from costguard_core.util.urls import has_credentials, printable

if TYPE_CHECKING:
    from pathlib import Path

    from costguard_core.counters.base import CounterStore
    from costguard_core.exporters import HookLike
    from costguard_core.policy import Policy, PolicyWatch

_MOST_AGENTS = 100  # whose limits were given in the code, and are remembered for the status: a choice


class CostGuard(CallAccounting, Reporting):
    """One bill: budgets, prices, a counter store and a ledger, for any number of models, threads and frameworks.

    Args:
        budgets: limits, as text (``"$25/day per user"``) or :class:`Budget`. All apply to every call.
        store: where the counters live: ``memory://`` (this process), ``sqlite:///path`` (this machine) or
            ``redis://host``.
        ledger: where every call is recorded: ``memory://``, ``sqlite:///path`` or ``postgresql://…``.
        prices: your own prices, dollars per million tokens, e.g.
            ``{"my-model": {"input": "2.50", "cached_input": "0.25", "output": "10"}}``; they win over the public lists.
            Or the path of a price file, such as ``"prices.toml"``.
        discount: fraction off the public list per provider, e.g. ``{"openai": "0.10"}``.
        unpriced: prices to assume for models that nobody knows; without it a money budget refuses them.
        breaker: a spend rate that opens the circuit, e.g. ``"$2/minute"`` or :class:`Breaker`.
        loops: when a session is taken for a loop and stopped: :class:`Loops`, ``True`` or how often a step may be
            repeated; ``None``: never.
        agents: what one run of each agent may spend with its subagents, for :meth:`agent`:
            ``{"research": "$0.50"}`` or :class:`AgentLimit`.
        hooks: called with every :class:`Event` and :class:`Alert`; a hook that fails never fails a call.
        assume: how long an answer is assumed to be when the request sets no limit (tokens).
        lease: seconds after which a call that never came back is charged in full.
        tags: which names in LangChain's ``metadata`` and LlamaIndex's ``instrument_tags`` are tags, as those given to
            :func:`attribute` are: ``("plan", "team")``. Names that a budget counts per, or has a condition on, are too.
        retention: how long the ledger keeps single calls, such as ``"90d"``; what they add up to stays. ``None``: for
            ever.
        clock: unix seconds; new_id: unique call ids (both injectable for tests).
    """

    @names_options
    def __init__(
        self,
        budgets: Iterable[str | Budget] = (),
        *,
        store: str | CounterStore = "memory://",
        ledger: str | Ledger = "memory://",
        prices: Mapping[str, Mapping[str, Any]] | str | PathLike[str] | None = None,
        discount: Mapping[str, Any] | None = None,
        unpriced: Mapping[str, Any] | None = None,
        breaker: str | Breaker | None = None,
        loops: Loops | int | None = None,
        agents: Mapping[str, AgentLimit | str | Mapping[str, Any]] | None = None,
        hooks: Sequence[HookLike] = (),
        assume: Assumptions | None = None,
        lease: float = 600.0,
        tags: Iterable[str] = (),
        retention: str | timedelta | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        budgets = list(_listed(budgets))
        tags = declared_tags(tags)
        self._options: dict[str, Any] = {  # what a pickle is made again from
            "budgets": budgets,
            "store": store,
            "ledger": ledger,
            "prices": prices,
            "discount": discount,
            "unpriced": unpriced,
            "breaker": breaker,
            "loops": loops,
            "agents": agents,
            "hooks": hooks,
            "assume": assume,
            "lease": lease,
            "tags": tags,
            "retention": retention,
        }
        self.policy: Policy | None = None  # the file that the rules came from
        self._over_file: Mapping[str, Any] = {}  # arguments that win over it
        self._watch: PolicyWatch | None = None
        check_kind("assume", assume, (Assumptions, NoneType), "Assumptions(...) of costguard_core.budgets.estimates")
        self.prices = PriceBook(_declared(prices), discounts=discount, unpriced=unpriced)
        self.tokens = TokenCounter()
        self.store = _opened_store(store)
        if retention is not None and not isinstance(ledger, str):
            raise ConfigurationError('retention="…" is for a ledger given by its URL: open_ledger(url, retention="…")')
        self.ledger = open_ledger(ledger, retention=retention) if isinstance(ledger, str) else ledger
        check_kind("ledger", self.ledger, Ledger, 'a URL such as "sqlite:///costguard.db"')
        self.clock = clock
        self.lease = lease
        check_function("new_id", new_id, "a function that returns a new id")
        self.new_id = new_id or CallIds()
        self.is_warm = False  # whether what takes long to load is loaded
        self.mark = self.new_id()  # tells this guard's own wrappers from others in a call's metadata
        self.in_flight: dict[Any, Any] = {}  # by the framework's run id: two handlers of one guard see one call
        _guards[self.mark] = self
        self._abandoned: deque[tuple[Permit, Callable[[], UsageReport] | None]] = deque()
        self._hooks = Hooks(hooks)
        self._told = deque(maxlen=1_000)
        self._alerts = Alerts(self.store, self._hooks.emit, clock)
        self._admission = AdmissionController(
            [_budget(given) for given in budgets],
            self.store,
            self.prices,
            breaker=_breaker(breaker),
            assumed=assume,
            lease=lease,
            on_abandoned=self._record_abandoned,
            loops=_loops(loops),
            on_incident=self._hooks.emit,
            tells=lambda: bool(self._hooks.hooks),
        )
        self._agents = _agent_limits(agents)
        self._given_limits = LRUMap(_MOST_AGENTS)
        self.tags = frozenset(tags) | self._admission.tags
        """The names that are taken from a framework's metadata as tags."""

    @classmethod
    def from_file(cls, path: str | Path | None = None, *, watch: float | None = 2.0, **options: object) -> Self:
        """A guard with the rules of a policy file.

        Args:
            path: a TOML file (docs/policy.md); without it the one that ``COSTGUARD_CONFIG`` names, else
                ``costguard.toml`` in the working directory.
            watch: seconds between two looks at the file; a valid change is taken over (see :meth:`follow`), of one
                that cannot be used is warned once. ``None``: the file is read once.
            options: arguments of :class:`CostGuard` that win over the file's.

        Raises:
            ConfigurationError: there is no such file, or it says what cannot be used; the text names line and column.
        """
        from costguard_core.policy import PolicyWatch, load_policy

        policy = load_policy(path)
        made = cls(**{"budgets": policy.budgets, **policy.options, **options})
        made._over_file = options
        made.policy = policy
        if watch is not None:
            made._watch = PolicyWatch(policy, made, every=watch)
        return made

    def follow(self, policy: Policy) -> None:
        """Spend by the rules of ``policy`` from now on: its budgets, breaker, prices, discounts and assumed lengths.

        Calls that wait follow them too. Hooks and the rules of caches stay what they were made with.

        Raises:
            ConfigurationError: a rule cannot be used, or the file that is followed names another store, ledger or
                lease, which takes a restart. Nothing has changed.
        """
        from costguard_core.policy.watch import fixed_changes

        if self.policy is not None and (fixed := fixed_changes(policy, self.policy, self._over_file)).places:
            raise ConfigurationError(f"a change of {fixed} in {policy.path} takes a restart")
        # All of it is read before any of it is followed.
        options = {"budgets": policy.budgets, **policy.options, **self._over_file}
        budgets = [_budget(given) for given in _listed(options["budgets"])]
        breaker = _breaker(options.get("breaker"))
        loops, tags = _loops(options.get("loops")), frozenset(declared_tags(options.get("tags", ())))
        agents = _agent_limits(options.get("agents"))
        prices, assumed = _declared(options.get("prices")), check_assumptions(options.get("assume") or Assumptions())
        # The last that may refuse: it changes all prices or none.
        self.prices.declare(prices, discounts=options.get("discount"), unpriced=options.get("unpriced"))
        self._admission.change_rules(budgets, breaker, assumed, loops)
        self._agents = agents
        self.tags = tags | self._admission.tags
        self.policy = policy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copied model spends from the same budget

    def __reduce__(self) -> tuple[Callable[..., CostGuard], tuple[str, dict[str, Any]]]:
        """Where this guard lives, a pickle is it again; elsewhere it is a guard with the same options over the same
        store.

        Raises:
            ConfigurationError: the store or the ledger cannot be reached from another process, or only with a password,
                which a pickle would show.
        """
        for name in ("store", "ledger"):
            url = self._options[name]
            if not isinstance(url, str) or (name == "store" and url.startswith("memory:")) or has_credentials(url):
                if not isinstance(url, str):
                    url = type(url).__name__
                elif not url.startswith("memory:"):
                    url = printable(url)
                raise ConfigurationError(
                    f"a CostGuard with {name}={url!r} cannot be pickled: a copy must spend from the same budget, and "
                    'show no password; use a shared store such as store="sqlite:///costguard.db", or make a CostGuard '
                    "where the model is loaded"
                )
        return _unpickled, (self.mark, self._options)

    def __repr__(self) -> str:
        return (
            f"CostGuard(budgets={[b.name for b in self.budgets]}, store={self.store.url!r}, ledger={self.ledger.url!r})"
        )

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()  # notebooks show what is left

    @property
    def cache_policy(self) -> CachePolicy:
        """The rules of caches that the policy file gives: ``ExactCache(policy=guard.cache_policy)``."""
        return CachePolicy() if self.policy is None else self.policy.cache

    @names_options
    def warm_up(self, model: str | None = None, provider: str | None = None) -> None:
        """Load the price list, and the vocabulary of ``model``, now (about a second of computing, once per process).

        Without it the first call does; on an event loop, the first call of a guarded model does so in a thread.
        """
        self.prices.warm_up()
        if model is not None:
            self.tokens.warm_up(model, provider)
        self.is_warm = True

    def before(self, call: Call, *, wait: bool = True) -> Permit:
        """Admit a call, blocking while a budget with ``on_exceed="wait"`` has no room (not with ``wait=False``).

        A call without an attribution of its own has that of the :func:`attribute` block around it.

        Raises:
            SpendLimitExceeded: refused; nothing was consumed.
            UnpricedModelError: a money budget applies and the model has no price.
            StoreUnavailable: the counters cannot be reached and a budget is closed on store errors.
        """
        return self.admit(_attributed_call(call), wait=wait)

    async def abefore(self, call: Call) -> Permit:
        """:meth:`before`, without blocking the event loop."""
        return await arun(self.reserving(_attributed_call(call)))

    def admit_anyway(self, call: Call) -> Permit:
        """A permit for a call that is made whether or not it may be: where it may not, one without a reservation."""
        try:
            return run(self._admission.reserve(call, wait=False))
        except CostGuardError:
            return Permit(call, None, 0)

    def after(self, permit: Permit, usage: Usage | None, model: str | None = None, streamed: str = "") -> Charge:
        """Settle a finished call to its exact cost and record it.

        ``usage=None``: the provider reported nothing; the counted prompt and the ``streamed`` text are charged instead,
        marked as an estimate. ``model`` is what the provider says it used, where that has a price of its own.
        """
        return run(self.settling(permit, UsageReport(usage, model, lambda: streamed)))

    async def aafter(self, permit: Permit, usage: Usage | None, model: str | None = None, streamed: str = "") -> Charge:
        """:meth:`after`, without blocking the event loop."""
        return await arun(self.settling(permit, UsageReport(usage, model, lambda: streamed)))

    def fail(
        self, permit: Permit, error: BaseException, usage: Usage | None = None, streamed: str | None = None
    ) -> Charge:
        """End a call that did not finish: nothing is charged for an error the provider does not bill.

        Timeouts, cancellations, abandoned streams and connections that broke after the request may have been sent are
        charged at what was delivered (``streamed``, if it is known) or else at the whole hold, marked as an estimate,
        because the provider probably bills them. ``usage`` is charged if it is known.
        """
        return run(self.failing(permit, error, _failure_report(usage, streamed)))

    async def afail(
        self, permit: Permit, error: BaseException, usage: Usage | None = None, streamed: str | None = None
    ) -> Charge:
        """:meth:`fail`, without blocking the event loop."""
        return await arun(self.failing(permit, error, _failure_report(usage, streamed)))

    def release(self, permit: Permit) -> None:
        """End a reservation for a call that was never made: no charge and no event."""
        run(self._admission.settle(permit, {}))

    async def arelease(self, permit: Permit) -> None:
        """:meth:`release`, without blocking the event loop."""
        await arun(self._admission.settle(permit, {}))

    def add_hook(self, hook: HookLike) -> None:
        """Call ``hook`` with every event and alert from now on, after those that there are.

        Raises:
            ConfigurationError: it cannot be called, or is async.
        """
        self._hooks.add(hook)
        self._options["hooks"] = self._hooks.hooks

    @names_options
    def status(self, *, scope: Mapping[str, str] | None = None, limit: int | None = None) -> Status:
        """Per budget and scope: limit, spent, held, remaining, reset time. Prints as a table.

        Args:
            scope: only what is counted for these values, such as ``{"user": "u1"}``.
            limit: the most scopes of each budget; there may be as many as there are users.

        Raises:
            ConfigurationError: no budget counts per a name in ``scope``.
            StoreUnavailable: the counters cannot be read.
        """
        self._settle_abandoned()
        run(self._admission.settle_pending())  # what the store did not hear of would be shown as held
        return read_status(
            self._admission, scope=scope, limit=limit, agents={**dict(self._given_limits.items()), **self._agents}
        )

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every call recorded so far is in the ledger; ``False`` if it is not after ``timeout`` seconds."""
        self._settle_abandoned()
        return self.ledger.flush(timeout)

    def close(self) -> None:
        """Settle what is owed, flush the ledger, close the connections."""
        if self._watch is not None:
            self._watch.stop()
        self._settle_abandoned()
        run(self._admission.settle_pending())
        self.ledger.close()
        self.store.close()
        self._hooks.close()

    async def aclose(self) -> None:
        """:meth:`close` from an event loop, whose own network connections it closes too."""
        await arun(self.settling_abandoned())
        await arun(self._admission.settle_pending())
        await self.store.aclose()
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_guard(given: object) -> None:
    """Raises ConfigurationError: it is no CostGuard."""
    check_kind("guard", given, CostGuard, 'a CostGuard, such as CostGuard(budgets=["$5/day"])')


_guards: WeakValueDictionary[str, CostGuard] = WeakValueDictionary()


def _unpickled(mark: str, options: dict[str, Any]) -> CostGuard:
    found = _guards.get(mark)
    if found is None:
        found = CostGuard(**options)
        found.mark, _guards[mark] = mark, found  # what is loaded next shares it
        if parent_process() is not None:
            found.ledger.write_through()  # a pool of processes kills its workers when it is done
    return found


def _failure_report(usage: Usage | None, streamed: str | None) -> UsageReport:
    return UsageReport(usage, text=None if streamed is None else lambda: streamed)


_NOBODY = Attribution()


def _declared(
    prices: Mapping[str, Mapping[str, Any]] | str | PathLike[str] | None,
) -> Mapping[str, Mapping[str, Any]] | None:
    if isinstance(prices, (str, PathLike)):
        from costguard_core.pricing.price_file import read_price_file

        return read_price_file(prices).prices
    if prices is not None:
        check_kind("prices", prices, Mapping, 'a price file, or such as {"gpt-4o": {"input": "2.50", "output": "10"}}')
    return prices


def _loops(given: Loops | int | None) -> Loops | None:
    """``True`` is the usual rule, a number how often a step may be repeated."""
    if given is None or given is False:
        return None
    return given if isinstance(given, Loops) else Loops() if given is True else Loops(given)


def _agent_limits(given: Mapping[str, AgentLimit | str | Mapping[str, Any]] | None) -> dict[str, AgentLimit]:
    check_kind("agents", given, (Mapping, NoneType), 'limits by name, such as {"research": "$0.50"}')
    return {name: AgentLimit.of(one) for name, one in (given or {}).items()}


def _listed(budgets: Iterable[str | Budget]) -> Iterable[str | Budget]:
    """``CostGuard("$5/day")`` would iterate over letters; one budget is welcome."""
    if isinstance(budgets, (str, Budget)):
        return [budgets]
    if isinstance(budgets, Mapping) or not isinstance(budgets, Iterable):
        raise ConfigurationError(f'budgets= is a list such as ["$25/day per user"], not {shown(budgets)}')
    return budgets


def _budget(given: str | Budget) -> Budget:
    if isinstance(given, str):
        return Budget.parse(given)
    check_kind("budgets", given, Budget, 'a list of texts such as "$25/day per user", or of Budget')
    return given


def _breaker(given: str | Breaker | None) -> Breaker | None:
    if isinstance(given, str):
        return Breaker(given)
    check_kind("breaker", given, (Breaker, NoneType), 'a rate such as "$2/minute", or a Breaker')
    return given


def _opened_store(given: str | CounterStore) -> CounterStore:
    if isinstance(given, str):
        return open_store(given)
    if not hasattr(given, "url"):
        raise ConfigurationError(f'store= is a URL such as "sqlite:///costguard.db", not {shown(given)}')
    return given


def _attributed_call(call: Call) -> Call:
    return replace(call, attribution=current_attribution()) if call.attribution == _NOBODY else call
