"""All orders of a few steps of two processes over one counter, for every store: it never counts beyond its limit.

Each step of a store is atomic (a lock, a transaction, a script), so whatever processes do at the same time is one of
these orders. Beside the store runs the rule, as :mod:`costguard_core.counters.base` says it, in thirty lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from store_process import StoreProcess

from costguard_core.counters.base import CounterStore, Gate, Grant, GrantedLimit, Line, Window

LIMIT, RAISED, LEASE = 10, 15, 30.0
HOLDS = {"1": 6, "2": 6, "3": 4}
ACTUAL = {"1": 4, "2": 6, "3": 0}  # at most what was held: a hold is the worst case
# A reservation is made by one process and settled by the other: "r1" reserves, "s1" settles, "E" lets every lease
# expire, "G" grants a larger limit, "V" revokes it, "T" trips, "R" resets, "C" puts emergency controls.
STEPS = (
    ("r1", "s1", "r2", "s2", "E", "G", "T"),
    ("r1", "s1", "r2", "s2", "r3", "E"),
    ("r1", "s1", "r2", "G", "V", "E"),
    ("r1", "r2", "s2", "T", "R", "C"),
    ("r1", "s1", "s1", "r2", "E", "s2"),
)


@dataclass
class Rule:
    """What the counter must say after each step."""

    settled: int = 0
    held: int = 0
    limit: int = LIMIT
    tripped: bool = False
    controls: str = ""
    leases: dict[str, str] = field(default_factory=dict)  # "open", "expired" (nobody has looked), "charged", "ended"

    def reserve(self, name: str) -> bool:
        for other, state in self.leases.items():
            if state == "expired":  # whoever reserves next charges it
                self.held -= HOLDS[other]
                self.settled += HOLDS[other]
                self.leases[other] = "charged"
        if self.tripped or self.settled + self.held + HOLDS[name] > self.limit:
            return False
        self.held += HOLDS[name]
        self.leases[name] = "open"
        return True

    def settle(self, name: str) -> None:
        state = self.leases[name]
        if state in ("open", "expired"):
            self.held -= HOLDS[name]
            self.settled += ACTUAL[name]
        elif state == "charged":
            self.settled += ACTUAL[name] - HOLDS[name]
        self.leases[name] = "ended"

    def expire(self) -> None:
        self.leases = {name: "expired" if state == "open" else state for name, state in self.leases.items()}


def orders(steps: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every order in which nothing is settled before it was reserved."""
    for order in sorted(set(permutations(steps))):
        if all(order.index(f"r{step[1]}") < place for place, step in enumerate(order) if step[0] == "s"):
            yield order


def play(order: Sequence[str], key: str, clients: Sequence[CounterStore], advance: Callable[[float], None]) -> None:
    """One order of steps, each made by the other process than the one before it."""
    rule, grants = Rule(), dict[str, Grant]()
    line = Line(key, "usd", Window(), LIMIT, 0)
    try:
        for number, step in enumerate(order):
            store, before = clients[number % 2], rule.settled + rule.held
            if step[0] == "r":
                name = step[1]
                answer = store.reserve(f"{key}-{name}", [line._replace(amount=HOLDS[name])], lease=LEASE)
                assert isinstance(answer, Grant) == rule.reserve(name), order
                assert answer.controls == rule.controls, order
                if isinstance(answer, Grant):
                    grants[name] = answer
            elif step[0] == "s":
                if step[1] in grants:
                    rule.settle(step[1])
                    store.settle(grants[step[1]], {"usd": ACTUAL[step[1]]})
            elif step == "E":
                rule.expire()
                advance(LEASE + 1)
            elif step == "G":
                rule.limit = RAISED
                store.grant_limit(GrantedLimit(key, RAISED, "usd"))
            elif step == "V":
                rule.limit = LIMIT
                store.revoke_limit(key)
            elif step == "C":
                rule.controls = "caps"
                store.put_controls("caps", store.now() + 3_600)
            else:
                rule.tripped = step == "T"
                if rule.tripped:
                    store.trip("test")
                else:
                    store.reset()
            (seen,) = clients[(number + 1) % 2].read([line])
            assert (seen.settled, seen.held) == (rule.settled, rule.held), order
            total = seen.settled + seen.held
            assert total <= rule.limit or total <= before, order  # a limit that was lowered takes nothing back
            assert total <= RAISED
    finally:
        for grant in grants.values():
            clients[0].settle(grant, {})
        clients[0].reset()
        clients[0].revoke_limit(key)
        clients[0].put_controls("", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS, ids=" ".join)
def test_no_order_of_steps_counts_beyond_the_limit(
    steps: tuple[str, ...], processes: tuple[list[CounterStore], Callable[[float], None]]
) -> None:
    clients, advance = processes
    played = 0
    for played, order in enumerate(orders(steps), 1):  # noqa: B007
        play(order, f"usd/total/{played}|", clients, advance)
    assert played > 50


# The same with a spend-rate breaker: 4 and 6 nano-dollars are settled, 5 within 15 seconds open it for 20; "W" lets 21
# seconds pass, after which nothing of before is in its 15. "C" puts emergency controls, which every answer tells.
GATE = Gate("gate", threshold=5, width=15.0, cooldown=20.0, probe_lease=50.0)
GATE_STEPS = (
    ("r1", "s1", "r2", "s2", "r3", "W"),
    ("r2", "s2", "W", "r1", "s1", "R"),
    ("r2", "s2", "r3", "s3", "W", "T", "R"),
    ("r2", "s2", "r1", "W", "C"),
)


@dataclass
class GateRule:
    """What the breaker must do, as :class:`Gate` says it."""

    now: float = 0.0
    until: float = 0.0  # the end of the cool-down; 0: closed
    probe: str = ""
    settled: list[tuple[float, int]] = field(default_factory=list)

    def lets_pass(self, name: str) -> bool:
        if not self.until:
            return True
        if self.now < self.until or self.probe:  # no probe is forgotten here: nothing takes 50 seconds
            return False
        self.probe = name
        return True

    def settle(self, name: str, spent: int) -> None:
        self.settled.append((self.now, spent))
        if self.now < self.until:
            return
        if sum(amount for at, amount in self.settled if at > self.now - GATE.width) > GATE.threshold:
            self.until, self.probe = self.now + GATE.cooldown, ""
        elif self.probe == name:
            self.probe = ""
            if spent:
                self.until = 0.0


def play_gates(
    order: Sequence[str], key: str, clients: Sequence[CounterStore], advance: Callable[[float], None]
) -> None:
    """One order of steps with a breaker beside the counter, each made by the other process than the one before it."""
    rule, gate, grants = Rule(), GateRule(), dict[str, Grant]()
    line, breaker = Line(key, "usd", Window(), LIMIT, 0), GATE._replace(key=f"gate {key}")
    try:
        for number, step in enumerate(order):
            store = clients[number % 2]
            if step[0] == "r":
                name = step[1]
                amount = HOLDS[name]
                answer = store.reserve(f"{key}-{name}", [line._replace(amount=amount)], gates=[breaker], lease=1_000.0)
                fits = not rule.tripped and rule.settled + rule.held + amount <= LIMIT
                passes = fits and gate.lets_pass(name)  # a call that does not fit is nobody's probe
                assert isinstance(answer, Grant) == passes, order
                assert answer.controls == rule.controls, order
                if isinstance(answer, Grant):
                    assert rule.reserve(name)
                    grants[name] = answer
            elif step[0] == "s":
                if step[1] in grants:
                    rule.settle(step[1])
                    gate.settle(step[1], ACTUAL[step[1]])
                    store.settle(grants[step[1]], {"usd": ACTUAL[step[1]]}, gates=[breaker])
            elif step == "W":
                gate.now += 21.0
                advance(21.0)
            elif step == "C":
                rule.controls = "caps"
                store.put_controls("caps", store.now() + 3_600)
            elif step == "T":
                rule.tripped = True
                store.trip("test")
            else:
                rule.tripped, gate = False, GateRule(gate.now)
                store.reset()
            (seen,) = clients[(number + 1) % 2].read([line])
            assert (seen.settled, seen.held) == (rule.settled, rule.held), order
            assert seen.settled + seen.held <= LIMIT, order
    finally:
        for grant in grants.values():
            clients[0].settle(grant, {})
        clients[0].reset()
        clients[0].put_controls("", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("steps", GATE_STEPS, ids=" ".join)
def test_no_order_of_steps_lets_a_call_past_an_open_breaker(
    steps: tuple[str, ...], processes: tuple[list[CounterStore], Callable[[float], None]]
) -> None:
    clients, advance = processes
    played = 0
    for played, order in enumerate(orders(steps), 1):  # noqa: B007
        play_gates(order, f"usd/total/gates {played}|", clients, advance)
    assert played > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_two_real_processes_follow_the_same_rule(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A sample: of Redis, whose clock is real, without what takes time."""
    url = f"sqlite:///{tmp_path}/c.db" if kind == "sqlite" else request.getfixturevalue("redis_url")
    clients: list[Any] = [StoreProcess(url), StoreProcess(url)]

    def advance(seconds: float) -> None:
        for client in clients:
            client.advance(seconds)

    sample = STEPS[1] if kind == "sqlite" else STEPS[3]
    for number, order in enumerate(orders(sample)):
        if number % 3 == 0:
            play(order, f"usd/total/{number}|", clients, advance)
    steps = GATE_STEPS[1] if kind == "sqlite" else ("r2", "s2", "r1", "s1", "R")
    for number, order in enumerate(orders(steps)):
        play_gates(order, f"usd/total/gates {number}|", clients, advance)
    for client in clients:
        client.end()


def test_the_orders_are_all_there_are() -> None:
    assert [len(list(orders(steps))) for steps in STEPS] == [1_260, 180, 360, 360, 60]
    assert [len(list(orders(steps))) for steps in GATE_STEPS] == [180, 180, 1_260, 60]


def test_a_store_that_forgets_to_count_is_found_out() -> None:
    from costguard_core.counters.memory import MemoryStore

    class Forgetful(MemoryStore):
        def settle(self, grant: Grant, amounts: Any, **options: Any) -> Any:
            return super().settle(grant, {}, **options)

    moved = [1_800_000_000.0]
    with pytest.raises(AssertionError):
        for number, order in enumerate(orders(STEPS[0])):
            play(order, str(number), [Forgetful(clock=lambda: moved[0])] * 2, lambda seconds: None)


def test_a_breaker_that_lets_everybody_pass_is_found_out() -> None:
    from costguard_core.counters.memory import MemoryStore

    class Open(MemoryStore):
        def reserve(self, id: str, lines: Any, *, gates: Any = (), **options: Any) -> Any:
            return super().reserve(id, lines, **options)

    moved = [1_800_000_000.0]
    with pytest.raises(AssertionError):
        for number, order in enumerate(orders(GATE_STEPS[0])):
            play_gates(order, str(number), [Open(clock=lambda: moved[0])] * 2, lambda seconds: None)
