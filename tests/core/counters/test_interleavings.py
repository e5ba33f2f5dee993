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
from redis_clock import RedisClock

from costguard_core.counters.base import CounterStore, Grant, GrantedLimit, Line, Window

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


@pytest.fixture(params=["memory", "sqlite", "redis"])
def processes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[CounterStore], Callable[[float], None]]]:
    moved = [1_800_000_000.0]

    def move(seconds: float) -> None:
        moved[0] += seconds

    if request.param == "memory":
        from costguard_core.counters.memory import MemoryStore

        yield [MemoryStore(clock=lambda: moved[0])] * 2, move
    elif request.param == "sqlite":
        from costguard_core.counters.sqlite.store import SqliteStore

        stores: list[Any] = [SqliteStore(tmp_path / "c.db", clock=lambda: moved[0]) for _ in range(2)]
        yield stores, move
        for store in stores:
            store.close()
    else:
        redis = RedisClock(request.getfixturevalue("redis_url"), monkeypatch)
        yield [redis.open_store(), redis.open_store()], redis.advance
        redis.close()


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


def test_the_orders_are_all_there_are() -> None:
    assert [len(list(orders(steps))) for steps in STEPS] == [1_260, 180, 360, 360, 60]


def test_a_store_that_forgets_to_count_is_found_out() -> None:
    from costguard_core.counters.memory import MemoryStore

    class Forgetful(MemoryStore):
        def settle(self, grant: Grant, amounts: Any, **options: Any) -> Any:
            return super().settle(grant, {}, **options)

    moved = [1_800_000_000.0]
    with pytest.raises(AssertionError):
        for number, order in enumerate(orders(STEPS[0])):
            play(order, str(number), [Forgetful(clock=lambda: moved[0])] * 2, lambda seconds: None)
