"""What the router does with money: escalation on the bill, downgrades, budgets that are spent evenly."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage
from llamaindex_calls import pets_index
from pydantic import BaseModel, ValidationError

from costguard_core import Budget, CostGuard, Outcome, SpendLimitExceeded
from costguard_core.routing.checks.verify import has_final_number
from costguard_core.simulate import Simulator
from llamaindex_costguard import ExactCache, TieredRouter, guard_llm

CHEAP, STRONG = "gpt-4o-mini", "claude-sonnet-4-5"
PRICES = {
    CHEAP: {"input": "0", "output": "0", "request": "0.01"},
    STRONG: {"input": "0", "output": "0", "request": "0.10"},
}
QUESTION = PromptTemplate("{question}")
METHODS = [
    "chat",
    "achat",
    "stream_chat",
    "astream_chat",
    "complete",
    "acomplete",
    "stream_complete",
    "astream_complete",
    "predict",
    "apredict",
    "stream",
    "astream",
]
SOME_METHODS = ["achat", "stream_complete", "predict", "astream"]
SURE, GUESS = "The answer is 42.", "I guess it is many."


class Verdict(BaseModel):
    """A verdict."""

    good: bool
    why: str


class Answered:
    """The text of an answer, in whichever way it was asked for, and its route where LlamaIndex has a place for it."""

    def __init__(self, chunks: list[Any]) -> None:
        last = chunks[-1]
        self.text = "".join(chunks) if isinstance(last, str) else getattr(last, "text", None) or last.message.content
        self.route = None if isinstance(last, str) else last.additional_kwargs["costguard"].get("route")


async def call(router: Any, text: str, method: str) -> Answered:
    templated = method in ("predict", "apredict", "stream", "astream")
    if templated:
        made = getattr(router, method)(QUESTION, question=text)
    else:
        made = getattr(router, method)([ChatMessage(role="user", content=text)] if "chat" in method else text)
    if isinstance(made, Awaitable):
        made = await made
    if "stream" not in method:
        return Answered([made])
    return Answered([chunk async for chunk in made] if method.startswith("a") else list(made))


def by_tier(*, cheap: Any, strong: Any) -> Any:
    """The simulated provider answers by model."""
    return lambda body: {CHEAP: cheap, STRONG: strong}[body["model"]]


@pytest.fixture
def tiers(make_openai: Any, make_anthropic: Any) -> dict[str, Any]:
    return {"cheap": make_openai(CHEAP), "strong": make_anthropic()}


@pytest.fixture
def guard() -> CostGuard:
    return CostGuard(["$5/day"], prices=PRICES)


def outcomes_and_models(guard: CostGuard) -> list[tuple[str, str]]:
    return [(event.outcome.value, event.model) for event in events(guard)]


def cascade(tiers: Any, guard: CostGuard | None, **options: Any) -> TieredRouter:
    given = {"verify": has_final_number(), "score": lambda request: 0.0, "threshold": 1.0, "guard": guard}
    return TieredRouter(**tiers, **{**given, **options})


@pytest.mark.parametrize("method", METHODS)
async def test_a_failed_check_escalates_and_both_calls_are_on_the_bill(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap=GUESS, strong=SURE)
    answer = await call(cascade(tiers, guard), "How many?", method)
    assert answer.text == SURE
    assert outcomes_and_models(guard) == [("miss", CHEAP), ("miss", STRONG)]
    assert "escalated: no final number" in events(guard)[1].route
    assert sum(event.saved for event in events(guard)) == -10_000_000  # what the router saved: it cost a cent more
    if answer.route is not None:
        assert (answer.route["tier"], answer.route["escalated"]) == ("strong", True)
    if method in ("chat", "complete"):
        assert float(answer.route["saved_usd"]) == pytest.approx(-0.01)  # the cheap call was paid on top
    assert [row.held for row in guard.status()] == [0]


@pytest.mark.parametrize("method", SOME_METHODS)
async def test_an_answer_that_passes_is_the_only_call(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap=SURE, strong="No.")
    answer = await call(cascade(tiers, guard), "How many?", method)
    assert answer.text == SURE
    assert outcomes_and_models(guard) == [("miss", CHEAP)]
    assert events(guard)[0].saved == 90_000_000


@pytest.mark.parametrize("method", ["stream_chat", "stream"])
async def test_tiers_that_nobody_guards_are_checked_too(method: str, tiers: Any, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap=GUESS, strong=SURE)
    assert (await call(cascade(tiers, None), "How many?", method)).text == SURE
    assert openai_server.count == 2


def test_an_answer_that_was_cut_short_fails_the_plain_check_at_every_level(
    tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap={"content": "It is so.", "finish_reason": "length"}, strong="It is fine.")
    router = cascade(tiers, guard, verify=True)
    assert router.predict(QUESTION, question="Well?") == "It is fine."
    assert "".join(router.stream(QUESTION, question="And?")) == "It is fine."
    assert "cut short" in router.complete("So?").additional_kwargs["costguard"]["route"]["reason"]


@pytest.mark.parametrize(
    "method", ["structured_predict", "stream_structured_predict", "as_structured_llm", "query engine"]
)
def test_an_object_that_does_not_parse_escalates(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: '{"good": "perhaps"}' if body["model"] == CHEAP else None
    router = cascade(tiers, guard, verify=True)
    match method:
        case "structured_predict":
            found = router.structured_predict(Verdict, QUESTION, question="Is it?")
        case "stream_structured_predict":
            found = list(router.stream_structured_predict(Verdict, QUESTION, question="Is it?"))[-1]
        case "as_structured_llm":
            found = router.as_structured_llm(Verdict).complete("Is it?").raw
        case _:
            found = pets_index().as_query_engine(llm=router, output_cls=Verdict).query("Is it?").response
    assert Verdict.model_validate(found.model_dump())
    assert outcomes_and_models(guard) == [("miss", CHEAP), ("miss", STRONG)]
    assert "does not fit the schema" in events(guard)[1].route


async def test_without_verify_a_parsing_error_is_the_callers(
    tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: '{"good": "perhaps"}'
    router = cascade(tiers, guard, verify=None)
    with pytest.raises(ValidationError):
        router.structured_predict(Verdict, QUESTION, question="Is it?")
    with pytest.raises(ValidationError):
        await router.astructured_predict(Verdict, QUESTION, question="Is it?")
    assert outcomes_and_models(guard) == [("miss", CHEAP)] * 2


@pytest.mark.parametrize(
    ("method", "answer"),
    [*((method, None) for method in METHODS), *((method, "We are busy.") for method in SOME_METHODS)],
)
async def test_a_budget_that_says_so_gets_the_cheaper_tier(
    method: str, answer: str | None, tiers: Any, openai_server: Simulator
) -> None:
    guard = CostGuard([Budget.parse("$0.12/day", on_exceed="downgrade", answer=answer)], prices=PRICES)
    router = TieredRouter(**tiers, score=lambda request: 1.0, threshold=0.5, guard=guard)
    await call(router, "one", method)
    for number in range(2):
        message = await call(router, f"more {number}", method)
        if message.route is not None:
            assert message.route["tier"] == "cheap"
            assert "downgraded: budget" in message.route["reason"]
    spent = [event for event in events(guard) if event.outcome is Outcome.MISS]
    assert [event.model for event in spent] == [STRONG] + [CHEAP] * 2
    assert sum(event.cost or 0 for event in spent) == 120_000_000
    assert "downgraded: budget" in (spent[-1].route or "")
    before = openai_server.count
    if answer is None:
        with pytest.raises(SpendLimitExceeded):
            await call(router, "too much", method)
    else:
        assert (await call(router, "too much", method)).text == answer
    assert openai_server.count == before
    assert not any(row.held for row in guard.status())


def test_other_budgets_refuse_and_engines_say_so(tiers: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$0.15/day"], prices=PRICES)
    router = TieredRouter(**tiers, score=lambda request: 1.0, threshold=0.5, guard=guard)
    router.complete("one")
    with pytest.raises(SpendLimitExceeded):
        router.complete("two")
    with pytest.raises(SpendLimitExceeded):
        pets_index().as_query_engine(llm=router).query("what do cats do?")
    with pytest.raises(SpendLimitExceeded):
        router.stream_chat([ChatMessage(role="user", content="refused when it is asked for")])
    assert openai_server.count == 1


@pytest.mark.parametrize("method", SOME_METHODS)
async def test_an_escalation_that_the_budget_refuses_leaves_the_cheap_answer(
    method: str, tiers: Any, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap=GUESS, strong=SURE)
    guard = CostGuard([Budget.parse("$0.05/day", on_exceed="downgrade")], prices=PRICES)
    answer = await call(cascade(tiers, guard), "How many?", method)
    assert answer.text == GUESS
    if answer.route is not None:
        assert (answer.route["tier"], answer.route["escalated"]) == ("cheap", False)
        assert "no final number, not escalated: budget" in answer.route["reason"]
    strict = CostGuard(["$0.05/day"], prices=PRICES)
    with pytest.raises(SpendLimitExceeded):
        await call(cascade(tiers, strict), "How many?", method)


def test_an_escalated_question_is_free_the_second_time(tiers: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap="many", strong=SURE)
    router = cascade(tiers, guard, cache=ExactCache())
    first, second = router.complete("How many?"), router.complete("How many?")
    assert openai_server.count == 2
    assert first.text == second.text == SURE
    assert second.additional_kwargs["costguard"]["cache"] == "exact"


def test_above_the_spend_line_everything_is_cheap_and_says_why(tiers: Any) -> None:
    class Clock:
        def __call__(self) -> float:
            return 1_800_000_000 // 86_400 * 86_400 + 43_200.0

    guard = CostGuard(["$1/day"], prices=PRICES, clock=Clock())
    router = TieredRouter(**tiers, score=lambda request: 1.0, share=0.5, guard=guard, budget="$1/day", sticky=False)
    assert "line" not in router.explain("next").because
    strong = guard_llm(tiers["strong"], guard)
    for number in range(10):
        strong.complete(f"question {number}")
    assert router.explain("next").tier == "cheap"
    assert "over the spend line" in router.explain("next").because
