"""Random histories against a model that keeps every reservation and adds up from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from costguard_core.budgets.budget import Budget
from costguard_core.counters.base import CounterStore, Grant, Line
from costguard_core.counters.memory import MemoryStore
from costguard_core.counters.sqlite.store import SqliteStore
from costguard_core.types import Attribution

BUDGETS = [
    Budget.parse("100 tokens/minute per user"),
    Budget.parse("250 tokens/minute"),
    Budget.parse("400 tokens/hour per user"),
    Budget.parse("600 tokens/day", timezone="Europe/Vienna"),
    Budget.parse("700 tokens/day", timezone="Europe/Vienna"),  # shares the counter of the one before
    Budget.parse("20 requests/week per user"),
    Budget.parse("5000 tokens in total"),
]
LEASE = 90.0


@dataclass
class Reserved:
    at: float
    grant: Grant
    user: str
    held: int
    charged: int | None = None  # what it counts for; None while it is open
    settled: bool = False


class StoreMachine(RuleBasedStateMachine):
    reservations = Bundle("reservations")

    def open_store(self) -> CounterStore:
        raise NotImplementedError

    @initialize(start=st.sampled_from([1_774_738_000.0, 1_800_000_000.0, 1_798_761_590.0]))
    def begin(self, start: float) -> None:
        self.now = start
        self.store = self.open_store()
        self.history: list[Reserved] = []
        self.overspent = False

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def lines(self, user: str, amount: int) -> list[Line]:
        return [
            Line(
                budget.key(budget.scope(Attribution(user=user), "m")),
                budget.unit,
                budget.window_at(self.now),
                budget.amount,
                1 if budget.unit == "requests" else amount,
            )
            for budget in BUDGETS
        ]

    def counted(self, budget: Budget, user: str) -> tuple[int, int]:
        """The model: (least settled, held) of a budget in a scope; sliding windows may count a little more."""
        window = budget.window_at(self.now)
        mine = [r for r in self.history if not budget.per or r.user == user]
        requests = budget.unit == "requests"
        if window.edges:
            mine = [r for r in mine if window.edges[1] <= r.at < window.edges[2]]
        done = [r for r in mine if r.charged is not None and (not window.width or self.now - r.at < window.width)]
        held = sum(1 if requests else r.held for r in mine if r.charged is None)
        return sum((r.charged or 0) if not requests else self.one(r) for r in done), held

    @staticmethod
    def one(reserved: Reserved) -> int:
        return 1 if reserved.charged else 0

    @rule(target=reservations, user=st.sampled_from(["u1", "u2"]), amount=st.integers(1, 60))
    def reserve(self, user: str, amount: int) -> Any:
        answer = self.store.reserve(f"c{len(self.history)}", self.lines(user, amount), lease=LEASE)
        swept = {abandoned.id for abandoned in answer.swept}
        for found in self.history:
            if found.grant.id in swept:
                assert found.charged is None
                assert self.now >= found.at + LEASE
                found.charged = found.held
        if not isinstance(answer, Grant):
            return multiple()
        reserved = Reserved(self.now, answer, user, amount)
        self.history.append(reserved)
        return reserved

    @rule(reserved=reservations, share=st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.3]))
    def settle(self, reserved: Reserved, share: float) -> None:
        actual = int(reserved.held * share)
        self.store.settle(reserved.grant, {"tokens": actual, "requests": 1 if actual else 0})
        if not reserved.settled:
            reserved.settled, reserved.charged = True, actual
            self.overspent = self.overspent or actual > reserved.held

    @rule(reserved=consumes(reservations))
    def abandon(self, reserved: Reserved) -> None:
        """Nobody will ever settle it."""

    @rule(seconds=st.sampled_from([1.0, 7.0, 29.0, 57.0, 61.0, 95.0, 3590.0, 3700.0, 40_000.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        for user in ("u1", "u2"):
            readings = self.store.read(self.lines(user, 0))
            for budget, reading in zip(BUDGETS, readings, strict=True):
                settled, held = self.counted(budget, user)
                assert reading.held == held, (budget.name, user)
                if budget.window_at(self.now).width:
                    assert reading.settled >= settled, (budget.name, user)
                else:
                    assert reading.settled == settled, (budget.name, user)
                tightest = min(other.amount for other in BUDGETS if other.key_prefix == budget.key_prefix)
                if not self.overspent:
                    assert reading.settled + reading.held <= tightest, (budget.name, user)


class MemoryMachine(StoreMachine):
    def open_store(self) -> CounterStore:
        return MemoryStore(clock=lambda: self.now, retention=10**9)


class SqliteMachine(StoreMachine):
    def open_store(self) -> CounterStore:
        self.directory = TemporaryDirectory()
        return SqliteStore(Path(self.directory.name) / "model.db", clock=lambda: self.now, retention=10**9)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            self.directory.cleanup()


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
