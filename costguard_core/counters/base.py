"""What a counter store promises: compare-and-reserve over all scopes of a call in one atomic step.

A *counter* is one budget in one scope ("$25/day per user" for u1). It has, per time bucket, an amount *settled*, and an
amount *held* by reservations that are still open. A reservation is a lease: it ends by being settled (to the exact
amounts; all zero is a release), or by expiring, which charges the whole hold and remembers it so that a late settle
can correct it.

Amounts are integers in the unit of the counter: nano-dollars, requests or tokens. A call counts in the window in which
it was *reserved*, whenever it ends. Times are unix seconds as the store sees them (Redis: server time).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

SUB_BUCKETS = 12  # of a sliding window; a choice: spend leaves at most a twelfth of the window late

# How long an ended reservation is known. Longer than a provider lets a call run, in seconds:
REMEMBERED = 3600.0
# Expired ones are known for longer, so that a late settle still corrects what the expiry charged, in seconds:
CHARGED_REMEMBERED = 86_400.0
# A choice: how many limits may be granted at a time. As many take some 3 MB.
MOST_GRANTED = 10_000


class Window(NamedTuple):
    """Where in time a counter counts.

    Sliding: a ``width``, split into ``SUB_BUCKETS`` buckets of which one more than fit is summed, so that it never
    under-counts. Calendar: no width and ``edges``; the store's own clock picks the period. Total: neither.

    Attributes:
        width: seconds; 0 for calendar and total.
        edges: at least four ascending period starts around now (previous, current, next, one after), unix seconds.
    """

    width: float = 0.0
    edges: tuple[float, ...] = ()


class Line(NamedTuple):
    """One counter of one reservation: hold ``amount`` if settled + held + amount <= limit.

    Lines may share a key (two limits on the same counter): each limit is checked, the amount is counted once.

    Attributes:
        key: the counter's name.
        unit: "usd" (nano-dollars), "requests", "tokens" or "input tokens".
        window: where the counter counts in time.
        limit: what may be settled and held in the window, in the unit.
        amount: what this reservation holds, in the unit.
    """

    key: str
    unit: str
    window: Window
    limit: int
    amount: int


class Gate(NamedTuple):
    """The spend-rate breaker of one scope, checked in the same atomic step as the lines.

    It opens for ``cooldown`` seconds when the nano-dollars *settled* within the last ``width`` seconds (by the time of
    the settle) exceed ``threshold``; after that one probe (at a time, for at most ``probe_lease`` seconds) may pass; a
    probe that settles while the rate is at or under the threshold closes it, otherwise it opens again. A probe that
    settles at nothing proved nothing (its call failed): it frees the slot for the next, and the gate stays half-open.
    One for which no probe has come an hour after its cool-down may be forgotten, and is closed then.

    Attributes:
        key: the gate's name.
        threshold: nano-dollars within ``width`` that are still fine.
        width: seconds over which spend is summed.
        cooldown: seconds for which the gate stays open.
        probe_lease: seconds after which a probe that never settled is forgotten.
    """

    key: str
    threshold: int
    width: float
    cooldown: float
    probe_lease: float


class GrantedLimit(NamedTuple):
    """A limit that one counter was given at run time: it counts to this instead of to what its lines say.

    Attributes:
        key: the counter's name.
        amount: the limit, in the unit of the counter.
        unit: "usd" (nano-dollars), "requests", "tokens" or "input tokens".
        until: when the counter goes back to what its lines say, unix seconds; ``None``: when it is revoked.
        budget: the name of the counter's budget.
        scope: whose counter it is: names and values.
        reason: why it was granted.
        by: who granted it.
        at: when it was granted, unix seconds.
    """

    key: str
    amount: int
    unit: str
    until: float | None = None
    budget: str = ""
    scope: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    by: str = ""
    at: float = 0.0


class Placed(NamedTuple):
    """Where one line of a grant was counted.

    Attributes:
        key: of the counter.
        bucket: start of the bucket, unix seconds; 0 for a total.
        unit: of the line; empty for the second line of a shared key, which holds nothing and settles to nothing.
        held: what the line holds there.
    """

    key: str
    bucket: float
    unit: str
    held: int


class Abandoned(NamedTuple):
    """A reservation whose lease expired: its hold has been charged.

    Attributes:
        id: of the reservation.
        note: what the reserver wrote of the call.
        amounts: what was charged, by unit.
    """

    id: str
    note: str
    amounts: Mapping[str, int]


class Grant(NamedTuple):
    """A reservation was made.

    Attributes:
        id: names the reservation: the id that was asked for, or a variant of it if that was used before.
        at: when it was made, unix seconds by the store's clock.
        placed: one entry per line, in order.
        gates: the keys of the gates that this call probes.
        swept: leases that this step found expired, and charged.
        limits: where a line was held to a granted limit: its index, and that limit.
        controls: the controls in force (see :meth:`CounterStore.put_controls`); empty: none.
    """

    id: str
    at: float
    placed: tuple[Placed, ...]
    gates: tuple[str, ...] = ()
    swept: tuple[Abandoned, ...] = ()
    limits: tuple[tuple[int, int], ...] = ()
    controls: str = ""


class Denial(NamedTuple):
    """No reservation was made, and nothing was consumed.

    Attributes:
        reason: "budget", "open" (the breaker is cooling down or probing) or "tripped" (stopped by hand).
        index: the line (or gate) that said no; -1 when stopped by hand.
        settled: of the refusing counter.
        held: of the refusing counter.
        retry_after: seconds until the store itself can say that asking again may succeed: the end of the calendar
            period, the time until enough of a sliding window has left, the end of the cool-down; ``None``: unknown, or
            never.
        text: the reason given to ``trip``.
        swept: as in :class:`Grant`.
        limit: the granted limit of the refusing counter; ``None``: what the line says.
        controls: as in :class:`Grant`.
    """

    reason: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a denial
    settled: int = 0
    held: int = 0
    retry_after: float | None = None
    text: str = ""
    swept: tuple[Abandoned, ...] = ()
    limit: int | None = None
    controls: str = ""


class Settlement(NamedTuple):
    """A reservation has ended.

    Attributes:
        totals: the settled total of each placed line in its window, in order.
        opened: the keys of the gates that this settle opened.
    """

    totals: tuple[int, ...]
    opened: tuple[str, ...] = ()


class Reading(NamedTuple):
    """A look at one counter.

    Attributes:
        settled: in the window.
        held: by open reservations.
        reset_at: when the window frees, unix seconds: the end of the period, or when its oldest spend leaves.
    """

    settled: int
    held: int
    reset_at: float | None


class GateState(NamedTuple):
    """A look at one gate.

    Attributes:
        state: "closed", "open" or "half-open".
        until: the end of the cool-down, unix seconds; ``None`` when closed.
        rate: nano-dollars settled within the gate's width.
    """

    state: str
    until: float | None
    rate: int


class CounterStore(Protocol):
    """Where counters live. Every method is atomic, and safe for threads.

    Any method may raise :class:`costguard_core.errors.StoreUnavailable`, once it is clear that the store cannot decide
    (Redis: within 100 ms). ``url`` is printable: without credentials. Async twins: network stores use a real async
    client; in-process stores may simply call the sync method.
    """

    url: str

    def now(self) -> float:
        """Unix seconds by which the store picks windows: callers work calendar edges out from it."""
        ...

    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        """Hold all lines, or none. The order of checks is: stopped by hand, gates in order, lines in order.

        Args:
            id: of the call. One that was used before is a reservation of its own, with its own ``Grant.id``.
            lines: what to hold.
            gates: what must be closed, or let this call probe.
            lease: seconds after which a reservation that nobody settled is charged in full.
            note: kept with the lease, for :class:`Abandoned`.
        """
        ...

    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        """End a reservation at the actual amount of every unit (a missing unit: 0). Idempotent by reservation id.

        Settling an expired (charged) lease corrects it, settling twice does nothing, settling a reservation that the
        store has lost (restarted empty) charges the amounts to the buckets in the grant. An ended reservation is
        remembered for at least ``REMEMBERED`` seconds, a charged one for longer; one that is older and not known has
        ended and was counted, so that settling it changes nothing.
        """
        ...

    def read(self, lines: Sequence[Line]) -> list[Reading]:
        """Look at counters, in order, without touching them."""
        ...

    def read_gate(self, gate: Gate) -> GateState:
        """Look at a gate."""
        ...

    def trip(self, reason: str) -> None:
        """Refuse every reservation from now on."""
        ...

    def reset(self) -> None:
        """Undo :meth:`trip`, close every gate and forget the rates that opened them."""
        ...

    def tripped(self) -> str | None:
        """The reason given to :meth:`trip`, until :meth:`reset`."""
        ...

    def grant_limit(self, granted: GrantedLimit) -> GrantedLimit | None:
        """Let a counter count to another limit, for every process from the next :meth:`reserve` on.

        Returns the limit that was in force for it before. Those that are over are forgotten.

        Raises:
            ConfigurationError: :data:`MOST_GRANTED` are in force already.
        """
        ...

    def revoke_limit(self, key: str) -> GrantedLimit | None:
        """Undo :meth:`grant_limit`. Returns the limit that was in force."""
        ...

    def granted_limits(self) -> list[GrantedLimit]:
        """The limits in force, in the order of their counters' names."""
        ...

    def put_controls(self, text: str, until: float) -> None:
        """Tell ``text`` with every answer to :meth:`reserve`, to every process, until then (unix seconds).

        There is one such text at a time; an empty one ends the one before. What it says is the business of whoever
        reserves.
        """
        ...

    def controls(self) -> str:
        """The text given to :meth:`put_controls`; empty: there is none, or its time is over."""
        ...

    def claim(self, name: str, ttl: float) -> bool:
        """True to exactly one caller until ``ttl`` seconds have passed (alerts use it)."""
        ...

    def scopes(self, prefix: str, *, limit: int | None = None) -> list[str]:
        """The keys of counters that begin with ``prefix`` and may still count, in order; at most ``limit`` of them.

        It may be slow, but keeps nobody else waiting.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files. Using the store again opens them again."""
        ...

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial:
        """:meth:`reserve` for an event loop. A caller that is cancelled leaves nothing held."""
        ...

    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement:
        """:meth:`settle` for an event loop."""
        ...

    async def aclose(self) -> None:
        """:meth:`close` for an event loop."""
        ...
