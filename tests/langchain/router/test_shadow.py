"""The shadow sample of a router over real HTTP: opted into, off the user's path, paid, marked, and never in the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_models import CENT_PRICES, METHODS, chat_model, merged
from langchain_openai import ChatOpenAI
from ledger_events import events
from pydantic import BaseModel

from costguard_core import CostGuard, attribute
from costguard_core.errors import ConfigurationError
from costguard_core.routing import Request
from costguard_core.routing.checks.verify import has_final_number
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog
from costguard_core.simulate import Fault, Simulator
from langchain_costguard import CostGuardCallbackHandler, ExactCache, GuardedChatModel, TieredRouter


@pytest.fixture
def tiers(openai_server: Simulator) -> dict[str, ChatOpenAI]:
    models = {"one-cent": "The answer is 1.", "ten-cent": "The answer is 2."}
    openai_server.reply = lambda body: models[body["model"]]
    return {"cheap": chat_model(openai_server, "one-cent"), "strong": chat_model(openai_server, "ten-cent")}


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day", "$0.50/day per user"], prices=CENT_PRICES) as made:
        yield made


@pytest.fixture
def log(tmp_path: Path) -> PromptLog:
    return PromptLog(tmp_path / "prompts.db")


def sampled(tiers: Any, log: Any, **options: Any) -> TieredRouter:
    given = {"score": lambda request: float("hard" in request.text), "threshold": 0.5, "shadow": 1.0, "log": log}
    if "guard" not in options:  # nobody knows what these models cost
        given["shadow_budget"] = None
    return TieredRouter(**tiers, **{**given, **options})


def only(log: PromptLog) -> Pair:
    [(found, _)] = log.pairs()
    return found


async def call(router: Any, text: str, method: str) -> Any:
    prompt = [HumanMessage(text)]
    match method:
        case "invoke":
            return router.invoke(prompt)
        case "ainvoke":
            return await router.ainvoke(prompt)
        case "stream":
            return merged(list(router.stream(prompt)))
        case "astream":
            return merged([chunk async for chunk in router.astream(prompt)])
        case "generate":
            return router.generate([prompt]).generations[0][0].message
    return (await router.agenerate([prompt])).generations[0][0].message


@pytest.mark.parametrize("method", METHODS)
async def test_the_other_tier_answers_in_the_background_and_the_pair_is_written(
    method: str, tiers: Any, guard: CostGuard, log: PromptLog
) -> None:
    router = sampled(tiers, log, guard=guard)
    with attribute(user="u", endpoint="/sums", session="s"):
        answer = await call(router, "easy?", method)
    assert answer.text == "The answer is 1."
    assert router.flush(30)
    pair = only(log)
    assert (pair.prompt, pair.weak_answer, pair.strong_answer) == ("easy?", "The answer is 1.", "The answer is 2.")
    assert (pair.shown, pair.tag, pair.user, pair.weak_model) == ("weak", "/sums", "u", "one-cent")
    assert pair.id == answer.response_metadata["costguard"]["route"]["sample"]
    if "stream" not in method:
        assert (pair.weak_cost, pair.strong_cost) == (10**7, 10**8)
    first, second = events(guard)
    assert (second.model, second.cost, second.route) == ("ten-cent", 10**8, "shadow: strong")
    assert (second.attribution.user, second.attribution.endpoint) == (None, "/sums")  # on the operator's bill
    assert first.attribution.user == "u"
    assert guard.report(by="route")["shadow"].calls == 1


def test_nothing_is_stored_or_doubled_unless_asked_for(tiers: Any, openai_server: Simulator, tmp_path: Path) -> None:
    router = TieredRouter(**tiers, score=lambda request: 0.0, threshold=0.5, shadow=1.0)
    answer = router.invoke("easy?")
    assert router.flush(30)
    assert openai_server.count == 1
    assert "sample" not in answer.response_metadata["costguard"]["route"]
    assert list(tmp_path.iterdir()) == []
    assert router.status().sample is None
    assert router.feedback(answer, 1.0) is False


def test_two_percent_is_the_default(tiers: Any, log: PromptLog) -> None:
    request = Request("easy?")
    default = TieredRouter(**tiers, log=log.path).engine.shadow
    assert default is not None
    drawn = sum(default.draw(request) is not None for _ in range(5000))
    assert 50 < drawn < 160


def test_the_budget_of_the_sample_is_kept_and_shared(tiers: Any, guard: CostGuard, log: PromptLog) -> None:
    one, two = (sampled(tiers, log, guard=guard, shadow_budget="$0.25/day", cache=False) for _ in range(2))
    for router in (one, two, one, two):
        assert router.invoke("easy?").text == "The answer is 1."
        assert router.flush(30)
    assert len(log) == 2
    assert one.status().sample.pairs + two.status().sample.pairs == 2
    assert one.status().sample.unpaid + two.status().sample.unpaid == 2
    assert [event.model for event in events(guard)].count("ten-cent") == 2


def test_a_second_answer_that_fails_bothers_nobody(
    tiers: Any, guard: CostGuard, log: PromptLog, openai_server: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    openai_server.faults.extend([None, Fault(status=500)] * 2)
    router = sampled(tiers, log, guard=guard)
    with caplog.at_level(logging.WARNING, logger="costguard"):
        for _ in range(2):
            assert router.invoke("easy?").text == "The answer is 1."
            assert router.flush(30)
    assert len(log) == 0
    assert router.status().sample.failed == 2
    assert sum("no second answer" in record.message for record in caplog.records) == 1
    assert not any(row.held for row in guard.status())


class Gated(FakeListChatModel):
    """Answers when the gate is open."""

    def _call(self, *given: Any, **options: Any) -> str:
        GATE.wait(60)
        return super()._call(*given, **options)


GATE = threading.Event()


def test_a_slow_second_answer_is_not_waited_for_and_the_queue_is_short(log: PromptLog) -> None:
    models = {"cheap": FakeListChatModel(responses=["fine"]), "strong": Gated(responses=["better"])}
    router = sampled(models, log)
    assert {router.invoke(f"easy {number}?").text for number in range(70)} == {"fine"}
    assert len(log) == 0
    assert router.status().sample.dropped >= 70 - 66
    GATE.set()
    assert router.flush(60)
    assert len(log) == router.status().sample.pairs > 60


def test_hits_refusals_and_pictures_are_not_sampled(tiers: Any, guard: CostGuard, log: PromptLog) -> None:
    router = sampled(tiers, log, guard=guard, cache=ExactCache())
    router.invoke("easy?")
    router.invoke("easy?")
    router.invoke([HumanMessage([{"type": "text", "text": "what?"}, {"type": "image", "url": "http://x/y.png"}])])
    router.invoke(" ")
    assert router.flush(30)
    assert len(log) == 1


def test_an_escalation_is_a_pair_already(tiers: Any, log: PromptLog, openai_server: Simulator) -> None:
    answers = {"one-cent": "many", "ten-cent": "The answer is 2."}
    openai_server.reply = lambda body: answers[body["model"]]
    router = sampled(tiers, log, verify=has_final_number())
    router.invoke("how many?")
    assert router.flush(30)
    assert openai_server.count == 2
    pair = only(log)
    assert (pair.shown, pair.weak_ok, pair.strong_ok) == ("strong", False, True)
    assert [(row.weak, row.strong) for row in log.rows()] == [(0.0, 1.0)]


def test_users_may_say_what_they_think(tiers: Any, log: PromptLog) -> None:
    router = sampled(tiers, log)
    answer = router.invoke("easy?")
    assert router.feedback(answer, 1.0) is True
    assert router.flush(30)
    assert [(row.weak, row.strong) for row in log.rows()] == [(1.0, 1.0)]


class Verdict(BaseModel):
    """A verdict."""

    good: bool


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return city


def test_tools_and_structured_output_are_asked_the_same_way(
    tiers: Any, log: PromptLog, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: {"tool_calls": [{"name": "weather", "arguments": {"city": "Bern"}}]}
    router = sampled(tiers, log)
    assert router.bind_tools([weather]).invoke("easy?").tool_calls
    assert router.flush(30)
    assert "Bern" in (only(log).strong_answer or "")
    openai_server.reply = lambda body: '{"good": true}'
    assert router.with_structured_output(Verdict).invoke("easy or not?") == Verdict(good=True)
    assert router.flush(30)
    assert [pair.strong_answer for pair, _ in log.pairs()][1] == '{"good": true}'
    assert openai_server.count == 4


def test_other_peoples_callbacks_do_not_hear_of_it_and_metering_ones_do(
    tiers: Any, guard: CostGuard, log: PromptLog
) -> None:
    class Heard(BaseCallbackHandler):
        models: list[str] = []

        def on_chat_model_start(self, serialized: Any, messages: Any, *, metadata: Any, **kwargs: Any) -> None:
            self.models.append(metadata["ls_model_name"])

    heard = Heard()
    router = sampled(tiers, log)
    router.invoke("easy?", {"callbacks": [heard, CostGuardCallbackHandler(guard)]})
    assert router.flush(30)
    assert heard.models == ["one-cent"]
    assert [event.model for event in events(guard)] == ["one-cent", "ten-cent"]


def test_a_router_that_is_guarded_later_counts_there(tiers: Any, guard: CostGuard, log: PromptLog) -> None:
    router: Any = GuardedChatModel(sampled(tiers, log), guard)
    router.invoke("easy?")
    assert router.flush(30)
    assert [event.route for event in events(guard)][1] == "shadow: strong"


def test_with_three_tiers_the_pair_is_of_the_ends(tiers: Any, log: PromptLog, openai_server: Simulator) -> None:
    middle = tiers["cheap"].model_copy(update={"model_name": "middle"})
    openai_server.reply = lambda body: body["model"]
    models = {"cheap": tiers["cheap"], "middle": middle, "strong": tiers["strong"]}
    router = TieredRouter(
        **models, score=lambda request: 1.0, share=[1.0, 0.0], log=log, shadow=1.0, shadow_budget=None
    )
    assert router.invoke("easy?").text == "middle"
    assert router.flush(30)
    assert (only(log).weak_answer, only(log).strong_answer, only(log).shown) == ("one-cent", "ten-cent", "other")


def test_what_does_not_fit_is_said_at_once(tiers: Any, log: PromptLog) -> None:
    with pytest.raises(ConfigurationError, match="shadow=2"):
        sampled(tiers, log, shadow=2)
    with pytest.raises(ConfigurationError, match="SQLite file"):
        sampled(tiers, "prompts.jsonl")


def test_the_status_says_it_all(tiers: Any, log: PromptLog) -> None:
    router = sampled(tiers, log)
    assert "nothing scored yet" in str(router.status())
    router.invoke("easy?")
    assert router.flush(30)
    assert "1 calls, 1 pairs logged, 0 over its budget, 0 failed, 0 dropped; the log holds 1" in str(router.status())


def test_a_model_without_a_price_is_not_paid_from_a_budget(
    tiers: Any, log: PromptLog, caplog: pytest.LogCaptureFixture
) -> None:
    router = sampled(tiers, log, shadow_budget="$1/day")
    router.invoke("easy?")
    assert router.flush(30)
    assert len(log) == 0
    assert "ten-cent" in caplog.text
