"""What a router does with money: escalation on the bill, downgrades, budgets that are spent evenly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_models import CENT_PRICES, METHODS, chat_model, route
from langchain_openai import ChatOpenAI
from ledger_events import events
from pydantic import BaseModel

from costguard_core import Budget, CostGuard, Outcome, SpendLimitExceeded, attribute
from costguard_core.errors import ConfigurationError
from costguard_core.pricing import PriceBook
from costguard_core.routing.checks.verify import has_final_number, valid_json
from costguard_core.routing.pacing import Pace
from costguard_core.routing.tier_prices import tier_price
from costguard_core.simulate import Simulator
from costguard_core.types import Attribution
from langchain_costguard import CostGuardCallbackHandler, ExactCache, GuardedChatModel, TieredRouter


@pytest.fixture
def tiers(openai_server: Simulator) -> dict[str, ChatOpenAI]:
    return {"cheap": chat_model(openai_server, "one-cent"), "strong": chat_model(openai_server, "ten-cent")}


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day"], prices=CENT_PRICES) as made:
        yield made


def outcomes_and_models(guard: CostGuard) -> list[tuple[str, str]]:
    return [(event.outcome.value, event.model) for event in events(guard)]


def by_tier(**answers: Any) -> Any:
    """The simulated provider answers by model."""
    models = {"one-cent": "cheap", "ten-cent": "strong"}
    return lambda body: answers[models[body["model"]]]


async def call(router: Any, text: str, method: str) -> Any:
    match method:
        case "invoke":
            return router.invoke(text)
        case "ainvoke":
            return await router.ainvoke(text)
        case "stream":
            return _sum(list(router.stream(text)))
        case "astream":
            return _sum([chunk async for chunk in router.astream(text)])
        case "generate":
            return router.generate_prompt([router._convert_input(text)]).generations[0][0].message
        case _:
            return (await router.agenerate_prompt([router._convert_input(text)])).generations[0][0].message


def _sum(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


@pytest.mark.parametrize("method", METHODS)
async def test_an_emergency_may_want_the_cheapest_tier_only(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="No number.", strong="42")
    router = TieredRouter(**tiers, score=lambda request: 1.0, verify=has_final_number(), guard=guard)
    await call(router, "one", method)
    guard.emergency(cheapest=True, duration="1h")
    GuardedChatModel(tiers["cheap"], guard, cache=False).invoke("any call learns of it")
    made = openai_server.count
    assert route(await call(router, "two", method))["tier"] == "cheap"
    assert [request.body["model"] for request in openai_server.requests[made:]] == ["one-cent"]
    guard.end_emergency()
    GuardedChatModel(tiers["cheap"], guard, cache=False).invoke("any call learns of it")
    assert route(await call(router, "three", method))["tier"] == "strong"


def cascade(tiers: Any, guard: CostGuard, **options: Any) -> TieredRouter:
    given = {"verify": has_final_number(), "score": lambda request: 0.0, "threshold": 1.0, "guard": guard}
    return TieredRouter(**tiers, **{**given, **options})


@pytest.mark.parametrize("method", METHODS)
async def test_a_failed_check_escalates_and_both_calls_are_on_the_bill(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="I guess it is many.", strong="The answer is 42.")
    router = cascade(tiers, guard)
    answer = await call(router, "How many?", method)
    assert answer.text == "The answer is 42."
    assert route(answer)["escalated"] is True
    assert route(answer)["tier"] == "strong"
    assert "escalated: no final number" in route(answer)["reason"]
    assert outcomes_and_models(guard) == [("miss", "one-cent"), ("miss", "ten-cent")]
    assert "escalated" in events(guard)[1].route
    if "stream" not in method:
        assert float(route(answer)["saved_usd"]) == pytest.approx(-0.01)  # the cheap call was paid on top


@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_that_passes_is_the_only_call(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="The answer is 42.", strong="No.")
    answer = await call(cascade(tiers, guard), "How many?", method)
    assert answer.text == "The answer is 42."
    assert route(answer)["escalated"] is False
    assert outcomes_and_models(guard) == [("miss", "one-cent")]


async def test_the_strongest_tier_is_not_checked(tiers: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap="", strong="no number")
    router = cascade(tiers, guard, threshold=-1.0)
    assert (await router.ainvoke("How many?")).text == "no number"
    chunks = [chunk.text for chunk in router.stream("How many?")]
    assert len(chunks) > 1
    assert outcomes_and_models(guard) == [("miss", "ten-cent")] * 2


def test_checks_may_be_functions_schemas_and_may_break(tiers: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap="not JSON", strong='{"good": true, "why": "so"}')
    for verify in (Verdict, Verdict.model_json_schema(), lambda answer: "{" in answer.text, lambda answer: 1 / 0):
        answer = cascade(tiers, guard, verify=verify).invoke("Is it good?")
        assert route(answer)["escalated"]
    openai_server.reply = by_tier(cheap={"content": "I am", "finish_reason": "length"}, strong="fine")
    assert "cut short" in route(cascade(tiers, guard, verify=True).invoke("Well?"))["reason"]


class Verdict(BaseModel):
    """A verdict."""

    good: bool
    why: str


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structured_output_that_does_not_parse_escalates_instead_of_asking_again(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    good: Any = '{"good": true, "why": "so"}'
    bad: Any = '{"good": "perhaps"}'
    if method == "function_calling":
        good = {"tool_calls": [{"name": "Verdict", "arguments": {"good": True, "why": "so"}}]}
        bad = {"tool_calls": [{"name": "Verdict", "arguments": {"good": "perhaps"}}]}
    openai_server.reply = by_tier(cheap=bad, strong=good)
    router = cascade(tiers, guard, verify=valid_json(Verdict))
    assert router.with_structured_output(Verdict, method=method).invoke("Is it?") == Verdict(good=True, why="so")
    found = await router.with_structured_output(Verdict, method=method, include_raw=True).ainvoke("Is it?")
    assert route(found["raw"])["escalated"]
    assert found["parsed"] == Verdict(good=True, why="so")
    assert [(event.model, event.cost) for event in events(guard)] == [("one-cent", 10**7), ("ten-cent", 10**8)] * 2


def test_without_verify_a_parsing_error_is_the_callers(tiers: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap='{"good": "perhaps"}', strong="")
    router = cascade(tiers, guard, verify=None)
    with pytest.raises(ValueError, match="Verdict"):
        router.with_structured_output(Verdict, method="json_mode").invoke("Is it?")
    assert outcomes_and_models(guard) == [("miss", "one-cent")]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_a_static_reply_of_a_tier_is_no_structured_output(
    method: str, tiers: Any, openai_server: Simulator
) -> None:
    guard = CostGuard([Budget.parse("1 input tokens/call", answer="We are busy.")], prices=CENT_PRICES)
    router = cascade(tiers, guard, verify=None)
    assert router.invoke("Is it?").content == "We are busy."
    with pytest.raises(SpendLimitExceeded):
        await router.with_structured_output(Verdict, method=method).ainvoke("Is it?")
    found = router.with_structured_output(Verdict, method=method, include_raw=True).invoke("Is it?")
    assert (found["raw"].content, found["parsed"]) == ("We are busy.", None)
    assert openai_server.count == 0


def downgrading(**options: Any) -> CostGuard:
    return CostGuard([Budget.parse("$0.15/day", on_exceed="downgrade", **options)], prices=CENT_PRICES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", [None, "We are busy."])
async def test_a_budget_that_says_so_gets_the_cheaper_tier(
    answer: str | None, method: str, tiers: Any, openai_server: Simulator
) -> None:
    guard = downgrading(answer=answer)
    router = TieredRouter(**tiers, score=lambda request: 1.0, threshold=0.5, guard=guard, cache=False)
    assert route(await call(router, "one", method))["tier"] == "strong"
    for number in range(5):
        message = await call(router, f"more {number}", method)
        assert route(message)["tier"] == "cheap"
        assert "downgraded: budget" in route(message)["reason"]
    spent = events(guard)
    assert [event.model for event in spent if event.outcome is Outcome.MISS] == ["ten-cent"] + ["one-cent"] * 5
    assert sum(event.cost or 0 for event in spent) == 150_000_000
    if answer is None:
        with pytest.raises(SpendLimitExceeded):
            await call(router, "too much", method)
    else:
        assert (await call(router, "too much", method)).text == answer
    assert not any(row.held for row in guard.status())
    guard.close()


async def test_a_handlers_refusal_is_a_downgrade_too(tiers: Any, openai_server: Simulator) -> None:
    guard = downgrading()
    router = TieredRouter(
        **tiers, score=lambda request: 1.0, threshold=0.5, callbacks=[CostGuardCallbackHandler(guard)]
    )
    router.invoke("one")
    assert route(router.invoke("two"))["tier"] == "cheap"
    assert route(await router.ainvoke("three"))["tier"] == "cheap"
    assert route(_sum(list(router.stream("four"))))["tier"] == "cheap"
    guard.close()


def test_other_budgets_refuse(tiers: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$0.15/day"], prices=CENT_PRICES)
    router = TieredRouter(**tiers, score=lambda request: 1.0, threshold=0.5, guard=guard)
    router.invoke("one")
    with pytest.raises(SpendLimitExceeded) as caught:
        router.invoke("two")
    assert caught.value.on_exceed == "raise"
    assert openai_server.count == 1
    guard.close()


@pytest.mark.parametrize("method", METHODS)
async def test_an_escalation_that_the_budget_refuses_leaves_the_cheap_answer_and_says_so(
    method: str, tiers: Any, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="I guess it is many.", strong="The answer is 42.")
    guard = CostGuard([Budget.parse("$0.05/day", on_exceed="downgrade")], prices=CENT_PRICES)
    answer = await call(cascade(tiers, guard), "How many?", method)
    assert answer.text == "I guess it is many."
    assert route(answer)["tier"] == "cheap"
    assert route(answer)["escalated"] is False
    assert "no final number, not escalated: budget" in route(answer)["reason"]
    strict = CostGuard(["$0.05/day"], prices=CENT_PRICES)
    with pytest.raises(SpendLimitExceeded):
        await call(cascade(tiers, strict), "How many?", method)
    guard.close()
    strict.close()


async def events_of(router: TieredRouter, text: str, method: str) -> tuple[str, Any]:
    """What ``stream_events(version="v3")`` shows: its text as it came, and the message."""
    if method == "sync":
        stream = router.stream_events(text, version="v3")
        return "".join(stream.text), stream.output
    stream = await router.astream_events(text, version="v3")
    return "".join([piece async for piece in stream.text]), await stream


@pytest.mark.parametrize("method", ["sync", "async"])
async def test_typed_event_streams_are_checked_too(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="I guess it is many.", strong="The answer is 42.")
    shown, message = await events_of(cascade(tiers, guard), "How many?", method)
    assert shown == message.text == "The answer is 42."
    assert outcomes_and_models(guard) == [("miss", "one-cent"), ("miss", "ten-cent")]
    openai_server.reply = by_tier(cheap="The answer is 41.", strong="")
    assert (await events_of(cascade(tiers, guard), "And now?", method))[0] == "The answer is 41."


@pytest.mark.parametrize("method", ["sync", "async"])
@pytest.mark.parametrize("answer", [None, "We are busy."])
async def test_typed_event_streams_give_way_to_the_cheaper_tier(
    answer: str | None, method: str, tiers: Any, openai_server: Simulator
) -> None:
    guard = downgrading(answer=answer)
    router = TieredRouter(**tiers, score=lambda request: 1.0, threshold=0.5, guard=guard, cache=False)
    for number in range(6):
        assert (await events_of(router, f"question {number}", method))[0]
    assert [event.model for event in events(guard) if event.outcome is Outcome.MISS] == ["ten-cent"] + ["one-cent"] * 5
    if answer is None:
        with pytest.raises(SpendLimitExceeded):
            await events_of(router, "too much", method)
    else:
        assert (await events_of(router, "too much", method))[0] == answer
    assert not any(row.held for row in guard.status())
    guard.close()


async def test_a_typed_event_stream_keeps_the_cheap_answer_when_the_escalation_is_refused(
    tiers: Any, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="I guess it is many.", strong="The answer is 42.")
    with CostGuard([Budget.parse("$0.05/day", on_exceed="downgrade")], prices=CENT_PRICES) as guard:
        for method in ("sync", "async"):
            assert (await events_of(cascade(tiers, guard), "How many?", method))[0] == "I guess it is many."


@pytest.mark.parametrize("method", METHODS)
async def test_the_ledger_says_what_routing_saved(
    method: str, tiers: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = by_tier(cheap="The answer is 42.", strong="The answer is 42.")
    router = cascade(tiers, guard, score=lambda request: float("hard" in request.text))
    await call(router, "easy?", method)
    await call(router, "hard?", method)
    openai_server.reply = by_tier(cheap="I guess it is many.", strong="The answer is 42.")
    await call(router, "How many?", method)
    saved = [(event.model, event.saved) for event in events(guard)]
    # The failed cheap answer claimed a saving, which the escalation takes back: together they cost a cent more.
    assert saved == [("one-cent", 9 * 10**7), ("ten-cent", 0), ("one-cent", 9 * 10**7), ("ten-cent", -(10**8))]
    report = guard.report(by="route")
    assert [row.label for row in report] == ["strong", "cheap"]
    assert report.total.saved == 8 * 10**7


def test_a_handler_says_what_routing_saved_too(tiers: Any, guard: CostGuard) -> None:
    router = TieredRouter(**tiers, score=lambda request: 0.0, threshold=0.5)
    router.invoke("easy?", {"callbacks": [CostGuardCallbackHandler(guard)]})
    assert [event.saved for event in events(guard)] == [9 * 10**7]


def test_an_escalated_question_is_free_the_second_time(tiers: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.reply = by_tier(cheap="many", strong="The answer is 42.")
    router = cascade(tiers, guard, cache=ExactCache())
    first, second = router.invoke("How many?"), router.invoke("How many?")
    assert openai_server.count == 2
    assert first.text == second.text
    assert second.response_metadata["costguard"]["cache"] == "exact"


class Clock:
    """Noon, until told otherwise."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 // 86_400 * 86_400 + 43_200.0

    def __call__(self) -> float:
        return self.now


def test_an_evenly_spent_budget_refuses_nothing_and_is_used(tiers: Any, openai_server: Simulator) -> None:
    from costguard_core.counters.memory import MemoryStore

    clock = Clock()
    clock.now -= 43_200
    guard = CostGuard(["$20/day"], prices=CENT_PRICES, store=MemoryStore(clock=clock), clock=clock)
    router = TieredRouter(
        **tiers, score=lambda request: float(request.text.split()[-1]), guard=guard, budget="$20/day", cache=False
    )
    strong = [0, 0]
    for number in range(400):
        clock.now += 216
        hardness = (number * 7919) % 400
        message = router.invoke(f"question {hardness}")
        strong[hardness >= 200] += route(message)["tier"] == "strong"
    spent = sum(event.cost or 0 for event in events(guard)) / 1e9
    assert 17 < spent <= 20  # all strong would cost 40
    assert strong[1] > 4 * strong[0]
    assert not any(event.outcome is Outcome.REFUSED for event in events(guard))
    guard.close()


def test_above_the_line_everything_is_cheap_and_says_why(tiers: Any) -> None:
    guard = CostGuard(["$1/day per user"], prices=CENT_PRICES, clock=Clock())
    router = TieredRouter(
        **tiers, score=lambda request: 1.0, share=0.5, guard=guard, budget="$1/day per user", sticky=False
    )
    pace = Pace(guard, "$1/day per user")
    spending = pace.spending(Attribution(user="u"), model="ten-cent", strong_cost=1, weak_cost=1)
    assert spending is not None
    assert spending.spent == 0
    assert spending.calls == 1
    strong = GuardedChatModel(tiers["strong"], guard, cache=False)
    with attribute(user="greedy"):
        for number in range(10):
            strong.invoke(f"question {number}")
        assert router.explain("next").tier == "cheap"
        assert "over the spend line" in router.explain("next").because
    with attribute(user="modest"):
        assert "line" not in router.explain("next").because
    guard.close()


def test_a_pace_needs_a_dollar_budget_with_a_period(guard: CostGuard) -> None:
    for wrong in ("$6/day", "5 requests/day"):
        with pytest.raises(ConfigurationError, match=r"\$5/day"):
            Pace(guard, wrong)
    assert Pace(guard, Budget.parse("$5/day")).budget.limit == 5
    assert not Pace(guard, "$5/day").is_remote


def test_prices_of_tiers_are_those_of_the_book() -> None:
    found = tier_price(PriceBook(), "gpt-4.1", "openai")
    assert found is not None
    assert (found.input, found.output, found.cached) == (2_000_000_000, 8_000_000_000, 500_000_000)
    assert tier_price(PriceBook(), "nobody-knows") is None
