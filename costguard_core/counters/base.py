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


class Window(NamedTuple):
    """Where in time a counter counts.

    Sliding: ``width`` > 0 seconds, split into ``SUB_BUCKETS`` buckets of which one more than fit is summed, so that it
    never under-counts. Calendar: ``width`` == 0 and ``edges`` holds at least four ascending period starts around now
    (previous, current, next, one after); the store's own clock picks the period. Total: ``width`` == 0 and no edges.
    """

    width: float = 0.0
    edges: tuple[float, ...] = ()


SUB_BUCKETS = 12

REMEMBERED = 3600.0  # seconds; longer than a provider lets a call run
CHARGED_REMEMBERED = 86_400.0  # seconds in which a late settle still corrects what the expiry charged


class Line(NamedTuple):
    """One counter of one reservation: hold ``amount`` if settled + held + amount <= limit.

    Lines may share a key (two limits on the same counter): each limit is checked, the amount is counted once.
    """

    key: str
    unit: str  # "usd" | "requests" | "tokens" | "input tokens"
    window: Window
    limit: int
    amount: int


class Gate(NamedTuple):
    """The spend-rate breaker of one scope, checked in the same atomic step as the lines.

    It opens for ``cooldown`` seconds when the nano-dollars *settled* within the last ``width`` seconds (by the time of
    the settle) exceed ``threshold``; after that one probe (at a time, for at most ``probe_lease`` seconds) may pass; a
    probe that settles while the rate is at or under the threshold closes it, otherwise it opens again. A probe that
    settles at nothing proved nothing (its call failed): it frees the slot for the next, and the gate stays half-open.
    """

    key: str
    threshold: int
    width: float
    cooldown: float
    probe_lease: float


class Placed(NamedTuple):
    """Where one line of a grant was counted."""

    key: str
    bucket: float
    unit: str
    held: int


class Abandoned(NamedTuple):
    """A reservation whose lease expired: its hold has been charged. ``note`` is what the reserver wrote of the call."""

    id: str
    note: str
    amounts: Mapping[str, int]


class Grant(NamedTuple):
    """A reservation was made. ``swept`` lists leases that this step found expired and charged.

    ``placed`` has one entry per line, in order; the second entry of a shared key has no unit and holds nothing, so that
    settling it adds nothing. ``gates`` names the gates that this call probes.
    """

    id: str
    at: float
    placed: tuple[Placed, ...]
    gates: tuple[str, ...] = ()
    swept: tuple[Abandoned, ...] = ()


class Denial(NamedTuple):
    """Nothing was consumed. ``reason`` is ``"budget"``, ``"open"`` (breaker cooling down or probing) or ``"tripped"``.

    ``index`` is the line (or gate) that said no, -1 for a manual trip; ``text`` is the reason given to ``trip``.
    ``retry_after`` is the seconds until the store itself can say that asking again may succeed: the end of the calendar
    period, the time until enough of a sliding window has left, the end of the cool-down; ``None`` if unknown or never.
    ``settled`` and ``held`` are of the refusing counter. ``swept`` as in :class:`Grant`.
    """

    reason: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a denial
    settled: int = 0
    held: int = 0
    retry_after: float | None = None
    text: str = ""
    swept: tuple[Abandoned, ...] = ()


class Settlement(NamedTuple):
    """After a settle: the settled total of each placed line in its window (same order), and gates that it opened."""

    totals: tuple[int, ...]
    opened: tuple[str, ...] = ()


class Reading(NamedTuple):
    """A look at one counter. ``reset_at`` is when the window frees: period end, or when its oldest spend leaves."""

    settled: int
    held: int
    reset_at: float | None


class GateState(NamedTuple):
    """``state`` is ``"closed"``, ``"open"`` or ``"half-open"``; ``until`` is the end of the cool-down."""

    state: str
    until: float | None
    rate: int


class CounterStore(Protocol):
    """Every method is atomic. Any of them may raise :class:`costguard_core.errors.StoreUnavailable`, within 100 ms.

    ``now`` is the unix time by which the store picks windows: callers work calendar edges out from it.
    ``reserve`` refuses without consuming; an id that was used before is a reservation of its own, with its own
    ``Grant.id``. The order of checks is: manual trip, gates in order, lines in order.
    ``settle`` takes the actual amount of every unit (missing unit: 0) and is idempotent by reservation id: settling an
    expired (charged) lease corrects it, settling twice does nothing, settling a reservation that the store has lost
    (restarted empty) charges the amounts to the buckets in the grant. An ended reservation is remembered for at least
    ``REMEMBERED`` seconds, a charged one for longer; one that is older and not known has ended and was counted, so that
    settling it changes nothing.
    ``scopes`` lists the keys of counters that begin with ``prefix`` and may still count, in order; with ``limit``, so
    many of them. It may be slow, but keeps nobody else waiting.
    ``claim`` returns True to exactly one caller until ``ttl`` seconds have passed (alerts use it).
    Async twins: network stores use a real async client; in-process stores may simply call the sync method.
    """

    url: str  # printable, without credentials

    def now(self) -> float: ...
    def reserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial: ...
    def settle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement: ...
    def read(self, lines: Sequence[Line]) -> list[Reading]: ...
    def read_gate(self, gate: Gate) -> GateState: ...
    def trip(self, reason: str) -> None: ...
    def reset(self) -> None: ...
    def tripped(self) -> str | None: ...
    def claim(self, name: str, ttl: float) -> bool: ...
    def scopes(self, prefix: str, *, limit: int | None = None) -> list[str]: ...
    def close(self) -> None: ...

    async def areserve(
        self, id: str, lines: Sequence[Line], *, gates: Sequence[Gate] = (), lease: float, note: str = ""
    ) -> Grant | Denial: ...
    async def asettle(self, grant: Grant, amounts: Mapping[str, int], *, gates: Sequence[Gate] = ()) -> Settlement: ...
    async def aclose(self) -> None: ...
