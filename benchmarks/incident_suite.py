"""The eight classes of runaway spend of arXiv 2606.04056, with and without a guard, against the simulated provider.

    python benchmarks/incident_suite.py [--check]

The classes are those of Khan's catalogue of 63 budget overruns (https://arxiv.org/abs/2606.04056); the scenarios are
ours. Each runs twice through a real ChatOpenAI over HTTP: metered only, until an operator would have noticed (150
calls), and with rules. For each: what it would have cost, what it did cost, and how much was spent, in how many calls
and minutes of the scenario's own clock, when the cause was named by an alert or by ``guard.explain``. ``--check`` exits
with 1 where a cause was named after the second dollar, a limit was passed, the guard saved nothing, or holds were more
than 1.3 times the cost in the median.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from costguard_core import Alert, Breaker, CostGuard, Event, Outcome, SpendLimitExceeded, attribute
from costguard_core.budgets.admission import Permit
from costguard_core.counters.memory import MemoryStore
from costguard_core.ledger import open_ledger
from costguard_core.simulate import Simulator
from costguard_core.types import Charge, UsageReport, usd
from langchain_costguard import GuardedChatModel

MODEL = "gpt-4o"
PRICES = {MODEL: {"input": "5", "output": "25"}}  # of a frontier model, dollars per million tokens
NOON = 1_795_348_800.0
UNGUARDED_CALLS = 150
MOST_HELD = 1.3  # of the cost, in the median
LONGEST = 150  # tokens of an answer, as requests of agents say; "options dropped" is where they no longer do
SECOND_DOLLAR = 2 * 10**9
LOOP = asyncio.new_event_loop()  # one for all runs: the client of langchain-openai belongs to the loop it began on
WORDS = " ".join(f"word{number}" for number in range(600))
PIXEL = base64.b64encode(bytes.fromhex("89504e470d0a1a0a0000000d4948445200000400000004000802000000")).decode()


class Clock:
    """Time that moves with the scenario."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class MeasuredGuard(CostGuard):
    """A guard that notes what was held for each call, and what the call cost."""

    ratios: list[float]

    def settling(self, permit: Permit, report: UsageReport) -> Any:
        charge: Charge = yield from super().settling(permit, report)
        held = max((line.amount for line in permit.lines if line.unit == "usd"), default=0)
        if held and charge.cost:
            self.ratios.append(held / charge.cost)
        return charge


@dataclass
class Run:
    """One run of a scenario.

    Attributes:
        guard, clock: of the run.
        model: makes a model of the simulated provider, on the guard's bill.
        most: calls after which somebody would have noticed.
        spent: nano-dollars since the incident began.
        calls: paid calls since then.
        named: what named the cause, and spend, calls and seconds until then; ``None``: nothing so far.
    """

    guard: MeasuredGuard
    clock: Clock
    model: Callable[..., GuardedChatModel]
    most: int
    scenario: Scenario
    spent: int = 0
    calls: int = 0
    refused: int = 0
    named: tuple[str, int, int, float] | None = None
    started: float = 0.0

    def heard(self, item: Event | Alert) -> None:
        """What a hook receives."""
        if not self.started:
            return
        if isinstance(item, Alert):
            if item.kind in self.scenario.alerts:
                self.name(f"alert: {item.text or item.budget}")
        elif item.outcome is not Outcome.REFUSED:
            self.spent += item.cost or 0
            self.calls += 1
        else:
            self.refused += 1

    def name(self, cause: str) -> None:
        if self.named is None:
            self.named = (cause, self.spent, self.calls, self.clock.now - self.started)

    def tick(self, seconds: float = 10.0) -> None:
        """Time passes; every fifth call somebody may ask why the bill changed."""
        self.clock.now += seconds
        if self.scenario.factor and self.started and self.calls and self.calls % 5 == 0 and self.named is None:
            since = self.clock.now - self.started
            found = self.guard.explain(since=self.started, until=self.clock.now, against=self.started - since)
            factor, nanos = max(found.parts, key=lambda part: part[1])
            kinds = [cause.kind for cause in found.causes]
            if nanos > 0 and (factor == self.scenario.factor or self.scenario.factor in kinds):
                self.name(f"explain: {self.scenario.factor}")

    def ask(self, messages: list[BaseMessage], **options: Any) -> AIMessage | None:
        """One call of the application; ``None``: refused."""
        try:
            answer = self.model(**options).invoke(messages)
        except SpendLimitExceeded:
            return None
        finally:
            self.tick()
        return answer if isinstance(answer, AIMessage) else None

    @property
    def over(self) -> bool:
        return self.calls >= self.most or self.refused >= 3


@dataclass(frozen=True)
class Scenario:
    """One class of the catalogue.

    Attributes:
        name: of the class.
        story: what goes wrong.
        play: the application.
        rules: options of the guard that stop it.
        limit: nano-dollars that the rules allow in all; ``None``: they are no sum.
        alerts: kinds of alerts that name the cause.
        factor: of ``explain`` that names it.
        reply: what the provider answers; ``None``: a short text.
        unlimited: its requests do not say how long an answer may be.
    """

    name: str
    story: str
    play: Callable[[Run], Any]
    rules: dict[str, Any]
    limit: int | None = None
    alerts: tuple[str, ...] = ()
    factor: str = ""
    reply: Any = None
    unlimited: bool = False


def ordinary(run: Run) -> None:
    """The time before: short questions, short answers."""
    with attribute(user="u1", endpoint="/agent", session="before"):
        for number in range(10):
            run.ask([HumanMessage(f"{number}: {WORDS[:800]}")])


def retry_loop(run: Run) -> None:
    messages: list[BaseMessage] = [HumanMessage(f"Read the file and summarise it. {WORDS}")]
    with attribute(user="u1", endpoint="/agent", session="s1"):
        while not run.over:
            answer = run.ask(messages)
            if answer is not None:
                call = {"name": "read", "args": {"path": "a.txt"}, "id": f"call_{run.calls}"}
                messages += [AIMessage("", tool_calls=[call]), ToolMessage("No such file.", tool_call_id=call["id"])]


def delegation_fanout(run: Run) -> None:
    async def subagent(number: int) -> None:
        for step in range(5):
            with suppress(SpendLimitExceeded):
                await run.model().ainvoke([HumanMessage(f"Part {number}, step {step}: {WORDS * 3}")])

    async def boss() -> None:
        await asyncio.gather(*[subagent(number) for number in range(run.most // 5)])

    around: AbstractContextManager[Any] = run.guard.agent("boss") if run.guard._agents else nullcontext()
    with attribute(user="u1", endpoint="/agent"), around:
        LOOP.run_until_complete(boss())


def context_amplification(run: Run) -> None:
    messages: list[BaseMessage] = [HumanMessage("Find the bug.")]
    with attribute(user="u1", endpoint="/agent", session="s3"):
        while not run.over:
            run.ask(messages)
            messages += [AIMessage("I look further."), HumanMessage(f"Output {run.calls}: {WORDS}")]


def storage_amplification(run: Run) -> None:
    memory = ""
    while not run.over:
        with attribute(user="u1", endpoint="/agent", session=f"day-{run.calls}"):
            run.ask([HumanMessage(f"What you know of me: {memory}\nGood morning, {run.calls}!")])
        memory += f"{run.calls}: {WORDS}\n"


def multimodal(run: Run) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    pictures: list[dict[str, Any]] = []
    with attribute(user="u1", endpoint="/agent", session="s5"):
        while not run.over:
            pictures += [{"type": "image_url", "image_url": {"url": url}}] * 2
            run.ask([HumanMessage([{"type": "text", "text": f"Screen {run.calls}. What now?"}, *pictures])])


def options_dropped(run: Run) -> None:
    with attribute(user="u1", endpoint="/agent", session="s6"):
        while not run.over:
            run.ask([HumanMessage(f"Label {run.calls} in one word. {WORDS[:300]}")])  # its max_tokens got lost


def cost_unseen(run: Run) -> None:
    with attribute(user="u1", endpoint="/agent", session="s7"):
        while not run.over:
            with suppress(SpendLimitExceeded):
                for _ in run.model(stream_usage=False).stream([HumanMessage(f"{run.calls}: {WORDS * 2}")]):
                    pass
            run.tick()


def no_cap(run: Run) -> None:
    with attribute(user="job", endpoint="/nightly"):
        while not run.over:
            run.ask([HumanMessage(f"Document {run.calls}: {WORDS * 4}")])


def long_reply(body: dict[str, Any]) -> Any:
    return {"content": " ".join([WORDS] * 6)} if "Label" in str(body["messages"]) else None


DOLLAR = 10**9
SCENARIOS = (
    Scenario(
        "retry loop", "a tool fails, the agent asks again, its history grows", retry_loop,
        {"loops": 5}, alerts=("loop",),
    ),
    Scenario(
        "delegation fan-out", "30 subagents at once, each within its own check", delegation_fanout,
        {"agents": {"boss": {"limit": "$1", "wrap_up": 0.5}}}, DOLLAR, alerts=("wrap up", "agent"),
    ),
    Scenario(
        "context amplification", "every output stays in the prompt", context_amplification,
        {"budgets": ["8000 input tokens/call", "$5/day per user"]}, 5 * DOLLAR, factor="prompt length",
    ),
    Scenario(
        "storage amplification", "a memory that only grows is sent each session", storage_amplification,
        {"budgets": ["$1/day per user"]}, DOLLAR, factor="prompt length",
    ),
    Scenario(
        "multimodal cost", "every screenshot so far is sent again", multimodal,
        {"budgets": ["$1/day per user"]}, DOLLAR, alerts=("budget",), factor="prompt length",
    ),
    Scenario(
        "options dropped", "max_tokens gets lost on the way", options_dropped,
        {"budgets": ["$0.01/call", "$1/day per user"]}, DOLLAR, factor="answer length", reply=long_reply,
        unlimited=True,
    ),
    Scenario(
        "cost unseen", "streams report no usage, dashboards show $0", cost_unseen,
        {"budgets": ["$1/day per user"]}, DOLLAR, alerts=("budget",),
    ),
    Scenario(
        "no cap at all", "a nightly job over all documents", no_cap,
        {"budgets": ["$1/day per endpoint"], "breaker": Breaker("$0.50/minute")}, DOLLAR, alerts=("breaker", "budget"),
    ),
)  # fmt: skip


def play(scenario: Scenario, server: Simulator, *, guarded: bool) -> Run:
    """One run of a scenario, after ordinary calls on the same clock."""
    clock = Clock()
    rules = scenario.rules if guarded else {}
    server.reset()
    server.reply = scenario.reply
    guard = MeasuredGuard(
        store=MemoryStore(clock=clock),
        ledger=open_ledger("memory://", clock=clock),
        clock=clock,
        prices=PRICES,
        **rules,
    )
    guard.ratios = []

    limit = {} if scenario.unlimited else {"max_tokens": LONGEST}
    bare = ChatOpenAI(base_url=server.base_url, api_key="simulated", model=MODEL, max_retries=0, **limit)

    def model(**options: Any) -> GuardedChatModel:
        return GuardedChatModel(bare, guard, cache=False, **options)

    run = Run(guard, clock, model, UNGUARDED_CALLS, scenario)
    guard.add_hook(run.heard)
    server.reply = None
    ordinary(run)
    server.reply = scenario.reply
    run.started, run.spent, run.calls = clock.now, 0, 0
    scenario.play(run)
    guard.flush()
    return run


def problems(scenario: Scenario, guarded: Run, control: Run | None = None) -> list[str]:
    """What is not as it should be."""
    found = []
    if guarded.named is None or guarded.named[1] >= SECOND_DOLLAR:
        found.append("named too late")
    if scenario.limit is not None and guarded.spent > scenario.limit:
        found.append("over its limit")
    if control is not None and guarded.spent >= control.spent:
        found.append("nothing saved")
    return found


def dollars(nanos: int) -> str:
    return f"${usd(nanos):.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    failed, ratios = False, list[float]()
    print("| class | would have cost | did cost | held / cost | named after | by |\n|---|---|---|---|---|---|")
    with Simulator(prompt_cache=False) as server:
        for scenario in SCENARIOS:
            control, guarded = (play(scenario, server, guarded=each) for each in (False, True))
            wrong = problems(scenario, guarded, control)
            failed = failed or bool(wrong)
            ratios += guarded.guard.ratios
            cause, spent, calls, seconds = guarded.named or ("nothing", 0, 0, 0.0)
            after = f"{dollars(spent)}, {calls} calls, {seconds / 60:.1f} min"
            held = f"{median(guarded.guard.ratios):.2f}" if guarded.guard.ratios else "-"
            print(
                f"| {scenario.name} | {dollars(control.spent)} in {control.calls} calls | {dollars(guarded.spent)} | "
                f"{held} | {after} | {cause} |{' ' + ', '.join(wrong) if wrong else ''}",
                flush=True,
            )
    if ratios:
        print(f"\nheld / cost over {len(ratios)} guarded calls: median {median(ratios):.2f}")
    return int(check and (failed or median(ratios) > MOST_HELD))


if __name__ == "__main__":
    raise SystemExit(main())
