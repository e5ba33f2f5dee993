"""Incident controls over all counter stores: loops, agents and their subagents, emergency caps, a queueing breaker."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ledger_events import events

from costguard_core import (
    AgentLimit,
    Alert,
    Attribution,
    Breaker,
    Call,
    CostGuard,
    Loops,
    Outcome,
    SpendLimitExceeded,
    Usage,
)
from costguard_core.budgets.agents import current_run, wrap_up_text
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.emergency import Emergency
from costguard_core.errors import ConfigurationError
from costguard_core.policy import Policy
from costguard_core.types import step_of

PRICES = {"m": {"input": "1", "output": "10"}}  # 1,000 and 10,000 nano-dollars per token
NUMBERS = itertools.count()


def call(**fields: Any) -> Call:
    options = {"input_tokens": 100, "max_output_tokens": 10, "cappable": True, **fields}
    return Call(f"c{next(NUMBERS)}", "m", 1_800_000_000.0, **options)


def pay(guard: CostGuard, made: Call | None = None, *, output: int = 10) -> None:
    permit = guard.before(made or call())
    guard.after(permit, Usage(input_tokens=100, output_tokens=output))


@pytest.fixture(params=["memory", "sqlite", "redis"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., CostGuard]]:
    """Guards over one store, each as another process has it."""
    if request.param == "memory":
        from costguard_core.counters.memory import MemoryStore

        store: Any = MemoryStore()
    else:
        store = f"sqlite:///{tmp_path}/c.db" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    made: list[CostGuard] = []

    def guard(*budgets: str, **options: Any) -> CostGuard:
        made.append(CostGuard(budgets, store=store, prices=PRICES, **options))
        return made[-1]

    yield guard
    for each in made:
        each.close()


class TestLoops:
    def test_the_same_step_again_and_again_stops_its_session_in_every_process(
        self, processes: Callable[..., CostGuard]
    ) -> None:
        heard: list[Any] = []
        first, second = processes(loops=3, hooks=[heard.append]), processes(loops=3)
        looping = {"attribution": Attribution(session="s1"), "fingerprint": "f"}
        for guard in (first, second, first):
            pay(guard, call(**looping))
        with pytest.raises(SpendLimitExceeded, match="taken for a loop") as refused:
            first.before(call(**looping))
        assert refused.value.budget == "loop detection"
        with pytest.raises(SpendLimitExceeded, match="is stopped because") as refused:
            second.before(call(attribution=Attribution(session="s1"), fingerprint="another"))
        assert refused.value.budget == "session stopped"
        assert "s1" not in refused.value.public
        pay(second, call(attribution=Attribution(session="s2"), fingerprint="f"))  # nobody else is
        (alert,) = [item for item in heard if isinstance(item, Alert)]
        assert (alert.kind, alert.scope) == ("loop", (("session", "s1"),))
        status = second.status()
        assert [(stop.scope, stop.limit) for stop in status.stopped] == [({"session": "s1"}, 0)]
        assert "stopped: session=s1 until" in str(status)
        assert second.resume(session="s1", reason="false alarm")
        assert not second.resume(session="s1")
        pay(first, call(attribution=Attribution(session="s1"), fingerprint="another"))
        assert [change.action for change in second.ledger.changes()] == ["resume"]

    def test_a_cycle_of_steps_is_a_loop_too(self, processes: Callable[..., CostGuard]) -> None:
        guard = processes(loops=Loops(repeats=2, within="minute", stop_for="5m"))
        made = 0
        with pytest.raises(SpendLimitExceeded, match="same step more than 2 times within one minute"):
            for step in itertools.cycle("abc"):
                pay(guard, call(attribution=Attribution(session="s"), step=step, fingerprint=str(made)))
                made += 1
        assert made == 6

    def test_calls_without_a_session_and_hits_are_no_loop(self, processes: Callable[..., CostGuard]) -> None:
        guard = processes(loops=1)
        for _ in range(5):
            pay(guard, call(fingerprint="f"))
            guard.hit(call(attribution=Attribution(session="s"), fingerprint="f"), Outcome.EXACT, saved=1)
        pay(guard, call(attribution=Attribution(session="s"), fingerprint="f"))

    def test_calls_that_fail_count_so_that_a_storm_of_retries_is_one(self, processes: Callable[..., CostGuard]) -> None:
        guard = processes(loops=3)
        for _ in range(3):
            permit = guard.before(call(attribution=Attribution(session="s"), fingerprint="f"))
            guard.fail(permit, ConnectionError())
        with pytest.raises(SpendLimitExceeded, match="loop"):
            guard.before(call(attribution=Attribution(session="s"), fingerprint="f"))

    @pytest.mark.parametrize("loops", [0, -1, Loops, "5"])
    def test_a_rule_that_cannot_be_used_is_refused(self, loops: Any) -> None:
        with pytest.raises((ConfigurationError, TypeError)):
            CostGuard(loops=loops)

    def test_the_step_of_a_conversation_is_its_latest_turn_without_ids(self) -> None:
        def turn(number: int, found: str) -> list[str]:
            return ["ai", f'[{{"name": "find", "id": "call_{number}abc"}}]', "tool", found]

        start = ["system", "s", "human", "find it"]
        once, twice = [*start, *turn(1, "nothing")], [*start, *turn(1, "nothing"), *turn(2, "nothing")]
        assert step_of(once) == step_of(twice) is not None
        assert step_of([*start, *turn(1, "nothing"), *turn(2, "found")]) != step_of(twice)
        assert step_of(start) is None


class TestAgents:
    def test_subagents_spend_from_the_budget_of_the_agent(self, processes: Callable[..., CostGuard]) -> None:
        heard: list[Any] = []
        guard = processes(hooks=[heard.append])
        with guard.agent("boss", limit="$0.001", wrap_up=0.5) as boss:  # five calls of 200,000 nano-dollars
            for name in ("left", "right"):
                with guard.agent(name, limit="$0.0005") as subagent:
                    assert subagent.parent is boss
                    pay(guard)
            assert not boss.should_conclude
            assert wrap_up_text() is None
            pay(guard)
            assert boss.should_conclude
            with guard.agent("third", limit="$1"):  # told too: the budget is its boss's
                assert "Do not call any more tools" in str(wrap_up_text())
                pay(guard)
            pay(guard)
            for _ in range(2):
                with pytest.raises(SpendLimitExceeded, match="agent boss") as refused:
                    guard.before(call())
        assert refused.value.scope == {"run": boss.id}
        assert boss.spent == 1_000_000
        declared = processes(agents={"boss": "$0.001"})  # another process, such as the page's
        (row,) = declared.status().agents
        assert (row.run, row.limit, row.spent, row.held, row.concluding) == (
            boss.id,
            Decimal("0.001"),
            Decimal("0.001"),
            0,
            True,
        )
        assert {run.agent: run.concluding for run in guard.status().agents}["third"] is False
        assert current_run() is None
        assert wrap_up_text() is None
        pay(guard)
        # Their fractions are labels of metrics: few values.
        alerts = [(item.kind, item.budget, item.fraction) for item in heard if isinstance(item, Alert)]
        assert alerts == [("wrap up", "agent boss", 0.5), ("agent", "agent boss", 1.0)]

    def test_a_run_goes_on_in_another_process(self, processes: Callable[..., CostGuard]) -> None:
        first, second = processes(), processes()
        with first.agent("a", limit="$0.0004") as run:
            pay(first)
        with second.agent("a", limit="$0.0004", run=run.id) as again:
            pay(second)
            assert again.should_conclude
            with pytest.raises(SpendLimitExceeded):
                second.before(call())
        with second.agent("a", limit="$0.0004"):  # another run
            pay(second)

    def test_the_processes_of_a_run_tell_once_and_one_without_hooks_leaves_it_to_the_others(
        self, processes: Callable[..., CostGuard]
    ) -> None:
        heard: list[Any] = []
        silent, *others = processes(), *[processes(hooks=[heard.append]) for _ in range(2)]
        with others[0].agent("a", limit="$0.001") as run:
            pass
        for guard in (silent, *others, *others, silent):
            with guard.agent("a", limit="$0.001", run=run.id):
                if guard.report().total.paid < 2:
                    with suppress(SpendLimitExceeded):
                        pay(guard)
        for guard in (silent, *others):
            with guard.agent("a", limit="$0.001", run=run.id), pytest.raises(SpendLimitExceeded):
                guard.before(call())
        alerts = [item.kind for item in heard if isinstance(item, Alert)]
        assert alerts == ["wrap up", "agent"]

    async def test_tasks_count_against_the_run_that_started_them(self, processes: Callable[..., CostGuard]) -> None:
        import asyncio

        guard = processes()

        async def work() -> str:
            try:
                await guard.aafter(await guard.abefore(call()), Usage(input_tokens=100, output_tokens=10))
            except SpendLimitExceeded as refusal:
                return refusal.budget
            return "paid"

        with guard.agent("swarm", limit="$0.0006"):
            done = await asyncio.gather(*[work() for _ in range(10)])
        assert sorted(done) == ["agent swarm"] * 7 + ["paid"] * 3
        await guard.aclose()

    def test_a_run_that_ends_in_another_context_ends(self) -> None:
        from contextvars import copy_context

        guard = CostGuard(prices=PRICES)
        context = copy_context()
        block = guard.agent("a", limit="$1")
        context.run(block.__enter__)
        block.__exit__(None, None, None)  # as FastAPI leaves a dependency
        assert current_run() is None

    def test_prompts_are_counted_inside_a_run_whichever_guard_makes_the_call(self) -> None:
        one, other = CostGuard(prices=PRICES), CostGuard(prices=PRICES)
        with one.agent("a", limit="$1"):
            assert one.counts_tokens
            assert other.counts_tokens
        assert not one.counts_tokens

    def test_limits_by_name(self) -> None:
        guard = CostGuard(agents={"research": "$0.50", "writer": AgentLimit("$1", text="Finish.")}, prices=PRICES)
        with guard.agent("research") as run:
            assert run.budget.limit == Decimal("0.5")
        with pytest.raises(ConfigurationError, match="'reserch'.*Known: 'research', 'writer'"):
            guard.agent("reserch")
        with pytest.raises(ConfigurationError, match="fraction"):
            guard.agent("research", wrap_up=80)
        with pytest.raises(ConfigurationError, match="id of a run"), guard.agent("research", run="x"):
            pass

    @pytest.mark.parametrize(
        ("agents", "said"),
        [
            (["research"], "agents= is limits by name"),
            ({"research": {"limit": "$1", "wrapup": 0.5}}, 'Did you mean "wrap_up"'),
            ({"research": {"wrap_up": 0.5}}, "limit is a number"),
            ({"research": {"limit": "$1", "text": 5}}, "characters"),
        ],
    )
    def test_limits_that_cannot_be_used_are_told(self, agents: Any, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            CostGuard(agents=agents)

    def test_two_threads_of_a_run_tell_once(self) -> None:
        """Both have seen that the fraction is reached before either says so."""
        both, told = threading.Barrier(2), list[bool]()

        class Meeting(AgentLimit):
            @property
            def wrap_up(self) -> float:  # type: ignore[override]
                both.wait(60)
                return 0.5

        with CostGuard(prices=PRICES).agent("a", limit="$1") as run:
            run.limit = object.__new__(Meeting)
            threads = [threading.Thread(target=lambda: told.append(run.settled(10**9))) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert sorted(told) == [False, True]
            assert [run.stopped(), run.stopped()] == [True, False]

    def test_a_run_of_no_time_is_told(self) -> None:
        with pytest.raises(ConfigurationError, match="id of a run"), CostGuard().agent("a", limit="$1", run="1" * 400):
            pass

    def test_a_model_without_a_price_is_refused_inside_a_run(self) -> None:
        from costguard_core import UnpricedModelError

        guard = CostGuard()
        with guard.agent("a", limit="$1"), pytest.raises(UnpricedModelError):
            guard.before(Call("1", "nobody-knows-it", 0.0, input_tokens=1))


class TestEmergency:
    def test_everybody_obeys_from_the_next_call_on_and_it_ends_by_itself(self, clock_store: Any) -> None:
        store, advance = clock_store
        heard: list[Any] = []
        first = CostGuard(["$5/day"], store=store, prices=PRICES, hooks=[heard.append])
        second = CostGuard(["$5/day"], store=store, prices=PRICES, hooks=[heard.append])
        pay(first)
        pay(second)
        first.emergency(max_input=150, rate="3/minute", duration="2h", reason="spike", by="ann")
        for guard in (second, first):
            with pytest.raises(SpendLimitExceeded, match="emergency: input tokens of a call"):
                guard.before(call(input_tokens=200))
        for guard in (second, first, second):
            pay(guard)
        for guard in (first, second):
            with pytest.raises(SpendLimitExceeded, match="emergency: calls of everybody"):
                guard.before(call())
        status = second.status()
        assert status.emergency is not None
        assert "EMERGENCY: 150 input tokens/call, 3 requests/minute for everybody until" in str(status)
        assert "by ann: spike" in str(status)
        assert [row.remaining for row in status if row.budget.startswith("emergency")] == [0]
        alerts = [item.kind for item in heard if isinstance(item, Alert)]
        assert alerts == ["emergency"]  # once, whoever obeyed first
        advance(7201)
        pay(first, call(input_tokens=200))
        pay(second, call(input_tokens=200))
        assert second.status().emergency is None
        assert sum(event.cost or 0 for event in events(first)) == 5 * 200_000 - 2 * 200_000

    def test_the_process_that_declares_caps_obeys_them_at_once(self, processes: Callable[..., CostGuard]) -> None:
        heard: list[Any] = []
        guard = processes(hooks=[heard.append])
        pay(guard)
        assert not guard.counts_tokens
        guard.emergency(max_input=50, cheapest=True, duration="1h")
        assert guard.counts_tokens
        assert guard.cheapest_only
        with pytest.raises(SpendLimitExceeded, match="emergency: input tokens of a call"):
            guard.before(call())
        guard.end_emergency()
        assert not guard.cheapest_only
        pay(guard)
        assert [item.kind for item in heard if isinstance(item, Alert)] == ["emergency"]

    def test_caps_are_in_force_and_told_where_the_store_goes_away_after_them(self) -> None:
        from costguard_core.counters.memory import MemoryStore
        from costguard_core.errors import StoreUnavailable

        class GoesAway(MemoryStore):
            def claim(self, name: str, ttl: float) -> bool:
                raise StoreUnavailable(self.url, "it went away")

        heard: list[Any] = []
        guard = CostGuard(store=GoesAway(), prices=PRICES, hooks=[heard.append])
        guard.emergency(max_input=50, duration="1h", by="ann")
        assert [item.kind for item in heard if isinstance(item, Alert)] == ["emergency"]
        assert [(change.action, change.by) for change in guard.ledger.changes()] == [("emergency", "ann")]

    def test_it_can_be_ended_early_and_nothing_of_it_stays(self, processes: Callable[..., CostGuard]) -> None:
        first, second = processes("$5/day"), processes("$5/day")
        first.emergency(max_input=50, duration="1h")
        with pytest.raises(SpendLimitExceeded):
            second.before(call())
        assert first.end_emergency(reason="over")
        assert not first.end_emergency()
        pay(second)  # though it refused without asking the store
        assert second.status()[0].held == 0
        assert [change.action for change in first.ledger.changes()] == ["emergency", "end emergency"]

    def test_rules_that_change_while_caps_are_obeyed_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        guard = CostGuard(["$5/day"], prices=PRICES)
        CostGuard(store=guard.store).emergency(max_input=500, duration="1h")  # as another process does
        tighter = Policy(Path("costguard.toml"), (), {"breaker": "$0.0001/minute", "prices": PRICES})
        following = threading.Thread(target=guard.follow, args=(tighter,))
        caps_of = Emergency.budgets

        def caps(emergency: Emergency) -> Iterator[Budget]:
            if guard._admission.emergency is emergency and following.ident is None:  # in the middle of a change
                following.start()
                following.join(0.2)  # as far as it comes
            return caps_of(emergency)

        monkeypatch.setattr(Emergency, "budgets", caps)
        pay(guard)
        following.join()
        pay(guard)  # which opens the breaker
        with pytest.raises(SpendLimitExceeded, match="breaker"):
            guard.before(call())

    def test_a_guard_that_only_metered_obeys_too(self, processes: Callable[..., CostGuard]) -> None:
        guard = processes()
        pay(guard)
        guard.emergency(rate="1/hour", duration="1h")
        pay(guard)
        with pytest.raises(SpendLimitExceeded, match="emergency"):
            guard.before(call())

    @pytest.mark.parametrize(
        ("caps", "said"),
        [
            ({}, "caps something"),
            ({"rate": "$3/hour"}, "rate="),
            ({"spend": "3 requests/hour"}, "spend="),
            ({"rate": "30/fortnight"}, "fortnight"),
            ({"max_input": 0}, "max_input"),
            ({"max_input": 5, "duration": "0s"}, "how long"),
            ({"max_input": 5, "duration": None}, "how long"),
            ({"rate": 30}, 'rate= is "30/minute"'),
            ({"spend": 5.0}, 'spend= is "\\$5/hour"'),
            ({"max_cost": Decimal("0.05")}, 'max_cost= is "\\$0.05"'),
        ],
    )
    def test_what_cannot_be_used_is_told(self, caps: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            CostGuard().emergency(**caps)

    def test_caps_that_cannot_be_read_break_nothing(self, processes: Callable[..., CostGuard]) -> None:
        guard = processes("$5/day")
        for text in (
            "{nobody can read this",
            "[]",
            "7",
            '{"until": "soon"}',
            '{"until": 1e12, "rate": []}',
            "{}",
            '{"until": 1e13, "rate": "1/hour"}',
            '{"until": 1e11, "rate": "1/hour", "at": "now"}',
        ):
            guard.store.put_controls(text, guard.store.now() + 60)
            pay(guard)
            assert guard.status().emergency is None


class TestBreaker:
    def test_an_open_breaker_gives_its_static_answer(self) -> None:
        guard = CostGuard(breaker=Breaker("$0.0001/minute", answer="Busy."), prices=PRICES)
        pay(guard)
        with pytest.raises(SpendLimitExceeded) as refused:
            guard.before(call())
        assert refused.value.static_text == "Busy."

    def test_calls_queue_until_it_lets_them_pass(self, clock_store: Any) -> None:
        store, advance = clock_store
        heard: list[Any] = []
        breaker = Breaker("$0.0001/minute", cooldown=30, on_open="wait", wait_timeout=100)
        guard = CostGuard(breaker=breaker, prices=PRICES, store=store, hooks=[heard.append])
        pay(guard)
        assert [item.kind for item in heard if isinstance(item, Alert)] == ["breaker"]
        waiting = guard.reserving(call())
        pauses = 0
        while True:
            try:
                effect = waiting.send(None) if pauses == 0 else waiting.send(None)
                while type(effect).__name__ != "Sleep":
                    effect = waiting.send(effect.perform())
            except StopIteration as done:
                permit = done.value
                break
            pauses += 1
            advance(20)
        assert pauses == 2  # 20 and 40 seconds: the cool-down of 30 is over
        guard.release(permit)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def clock_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store and what moves its clock."""
    moved = [1_800_000_000.0]

    def advance(seconds: float) -> None:
        moved[0] += seconds

    if request.param == "memory":
        from costguard_core.counters.memory import MemoryStore

        yield MemoryStore(clock=lambda: moved[0]), advance
    elif request.param == "sqlite":
        from costguard_core.counters.sqlite.store import SqliteStore

        store = SqliteStore(tmp_path / "c.db", clock=lambda: moved[0])
        yield store, advance
        store.close()
    else:
        from redis_clock import RedisClock

        redis = RedisClock(request.getfixturevalue("redis_url"), monkeypatch)
        yield redis.open_store(), redis.advance
        redis.close()
