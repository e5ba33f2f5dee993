"""All orders in which two processes admit calls while emergency caps come and go, for every store.

Caps are told with the answer to a reservation; a process that obeyed others gives it back and asks again. So a call is
up to four steps of the store: reserve, give back, reserve again, settle. Each is atomic; here the steps of two
processes, and what happens beside them, are played in every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from moved_memory import SharedMemory, shared_memory
from store_process import StoreProcess

from costguard_core.budgets.admission import AdmissionController, Permit
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.emergency import Emergency
from costguard_core.counters.base import CounterStore, Grant, GrantedLimit, Line
from costguard_core.counters.effects import Ask, Effect, Flow, Reserve
from costguard_core.errors import SpendLimitExceeded
from costguard_core.pricing import PriceBook
from costguard_core.types import Call

PRICES = PriceBook({"m": {"input": "1", "output": "10"}})
HOLD = 200_000  # nano-dollars: 100 tokens at $1 and 10 at $10 a million
PAID = 150_000
LIMIT = 2 * HOLD + 1  # two calls at the same time
LEASE, HOUR = 20.0, 3_600.0

Step = Literal["call", "declare", "end", "expire", "trip", "grant"]
Steps = tuple[tuple[Step, ...], ...]
# What is played against what, in how many orders: two processes with their calls, and what somebody else does.
EXPIRED: Steps = (("call",), ("call",), ("declare",), ("expire",))
DECLARED: Steps = (("call", "call"), ("call",), ("declare",))
ENDED: Steps = (("call",), ("call",), ("end",))  # caps that both obey
SETS: dict[Steps, int] = {
    EXPIRED: 2_224,
    DECLARED: 691,
    ENDED: 66,
    (("call", "call"), ("declare",), ("trip",)): 34,
    (("call", "call"), ("declare",), ("grant",)): 38,
    (("call", "call"), ("declare", "end"), ("expire",)): 228,
}


@dataclass
class World:
    """Two processes over one counter, and what must hold of it.

    Attributes:
        name: of the budget, so that nothing is left of the order before.
        clients: the store as each process has it.
        advance: lets seconds pass.
    """

    name: str
    clients: Sequence[CounterStore]
    advance: Callable[[float], None]
    most: int = LIMIT
    caps: str = ""
    grants: dict[str, str] = field(default_factory=dict)  # the caps under which each reservation was made
    permits: dict[str, Permit] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget = Budget(f"{LIMIT / 1e9:.9f}", "usd", "total", name=self.name, alerts=())
        self.emergency = Emergency(self.clients[0].now() + HOUR / 2, rate="1/minute", at=self.clients[0].now())
        (self.cap,) = self.emergency.budgets()

    def process(self, number: int, steps: Sequence[Step]) -> Flow[None]:
        """The steps of one process; those of the third and the fourth are made by whoever has the command line."""
        client = self.clients[number % 2]
        controller = AdmissionController([self.budget], client, PRICES, lease=LEASE)
        controller.obey(self.caps)
        for count, step in enumerate(steps):
            if step == "call":
                yield from self.call(controller, f"{self.name}-{number}-{count}")
            else:
                yield Ask(lambda step=step, client=client: self.beside(step, client))  # type: ignore[misc]

    def call(self, controller: AdmissionController, id: str) -> Flow[None]:
        call = Call(id, "m", 0.0, input_tokens=100, max_output_tokens=10)
        try:
            permit = yield from controller.reserve(call, wait=False)
        except SpendLimitExceeded as refusal:
            self.refusals.append(refusal.budget)
            return
        self.permits[id] = permit
        yield from controller.settle(permit, {"usd": PAID, "requests": 1})

    def beside(self, step: Step, client: CounterStore) -> None:
        if step == "declare":
            self.caps = self.emergency.to_text()
            client.put_controls(self.caps, self.emergency.until)
        elif step == "end":
            self.caps = ""
            client.put_controls("", 0.0)
        elif step == "expire":
            self.advance(LEASE + 1)  # less than the minute of the caps
        elif step == "trip":
            client.trip("test")
        elif step == "grant":
            self.most = LIMIT + HOLD
            client.grant_limit(GrantedLimit(self.budget.key(()), self.most, "usd"))

    def perform(self, effect: Effect) -> object:
        """One step of the store, and what must hold after it."""
        answer = effect.perform()
        if isinstance(effect, Reserve) and isinstance(answer, Grant):
            self.grants[effect.id] = self.caps
            assert answer.controls == self.caps
        money, calls = self.read()
        assert money.settled + money.held <= self.most
        assert calls.settled + calls.held <= self.cap.amount
        return answer

    def read(self) -> Any:
        store = self.clients[1]
        now = store.now()
        return store.read(
            [
                Line(budget.key(()), budget.unit, budget.window_at(now), budget.amount, 0)
                for budget in (self.budget, self.cap)
            ]
        )

    def ended(self) -> None:
        """Every call has ended: each was counted once, under the caps that were in force when it was admitted."""
        capped = [id for id in self.permits if self.grants[id]]
        for id, permit in self.permits.items():
            assert any(counter.budget == self.cap for counter in permit.counters) == (id in capped)
        money, calls = self.read()
        assert (money.settled, money.held) == (PAID * len(self.permits), 0)
        assert (calls.settled, calls.held) == (len(capped), 0)
        if not capped:  # then nobody was in their way
            assert not any(refusal.startswith("emergency") for refusal in self.refusals)


def play(world: World, steps: Sequence[Sequence[Step]], chosen: Sequence[int]) -> list[int]:
    """One order: ``chosen`` says which of the processes that go on makes each step, after that always the first.

    Returns how many went on at each step.
    """
    flows = [world.process(number, each) for number, each in enumerate(steps)]
    waiting = [(flow, next(flow)) for flow in flows]
    widths: list[int] = []
    while waiting:
        place = chosen[len(widths)] if len(widths) < len(chosen) else 0
        widths.append(len(waiting))
        flow, effect = waiting[place]
        try:
            waiting[place] = flow, flow.send(world.perform(effect))
        except StopIteration:
            del waiting[place]
    world.ended()
    return widths


def play_every_order(steps: Steps, clients: Sequence[CounterStore], advance: Callable[[float], None]) -> int:
    """Every order of the steps, depth first. Returns how many there were."""
    orders = capped = refused = 0
    chosen: list[int] = []
    while True:
        world = World(f"order {orders}", clients, advance)
        if ("end",) in steps:
            world.beside("declare", clients[0])
        widths = play(world, steps, chosen)
        clients[0].reset()
        clients[0].put_controls("", 0.0)
        clients[0].revoke_limit(world.budget.key(()))
        advance(HOUR)  # nothing of this order is in the minute of the next
        orders += 1
        capped += sum(map(bool, map(world.grants.get, world.permits)))
        refused += sum(refusal.startswith("emergency") for refusal in world.refusals)
        chosen += [0] * (len(widths) - len(chosen))
        while chosen and chosen[-1] + 1 == widths[len(chosen) - 1]:
            chosen.pop()
        if not chosen:
            assert capped > orders // 10  # else nothing was shown
            assert refused > orders // 50
            return orders
        chosen[-1] += 1


@pytest.mark.slow
@pytest.mark.parametrize("steps", SETS, ids=lambda steps: " | ".join(map(" ".join, steps)))
def test_no_order_admits_more_calls_than_the_caps_in_force(
    steps: Steps, processes: tuple[list[CounterStore], Callable[[float], None]]
) -> None:
    assert play_every_order(steps, *processes) == SETS[steps]


@pytest.mark.slow
def test_two_real_processes_follow_the_same_rule(tmp_path: Path) -> None:
    clients: list[Any] = [StoreProcess(f"sqlite:///{tmp_path}/c.db") for _ in range(2)]

    def advance(seconds: float) -> None:
        for client in clients:
            client.advance(seconds)

    assert play_every_order(ENDED, clients, advance) == SETS[ENDED]
    for client in clients:
        client.end()


@pytest.mark.parametrize("steps", [DECLARED, ENDED], ids=["declared", "ended"])
def test_a_process_that_keeps_what_it_reserved_under_other_caps_is_found_out(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    obeying = AdmissionController.obeying

    def keeping(self: AdmissionController, text: str, given: Permit | None = None) -> Flow[None]:
        return obeying(self, text)

    monkeypatch.setattr(AdmissionController, "obeying", keeping)
    with pytest.raises(AssertionError):
        play_every_order(steps, *shared_memory())


def test_a_process_that_is_not_told_of_caps_is_found_out() -> None:
    class Silent(SharedMemory):
        def reserve(self, *given: Any, **options: Any) -> Any:
            return super().reserve(*given, **options)._replace(controls="")

    with pytest.raises(AssertionError):
        play_every_order(DECLARED, [Silent()] * 2, lambda seconds: None)
