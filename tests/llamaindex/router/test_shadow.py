"""The shadow sample: a second answer in the background, the pair in the prompt log, and nobody who waits for it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import PromptTemplate
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llamaindex_calls import Person, about_prompt, add_tool, pets_index, user_message

from costguard_core import Budget, ConfigurationError, CostGuard, attribute
from costguard_core.routing.checks.verify import has_final_number
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog
from costguard_core.simulate import Fault, Simulator
from llamaindex_costguard import CostGuardEventHandler, ExactCache, TieredRouter, guard_llm

CHEAP, STRONG = "gpt-4o-mini", "claude-sonnet-4-5"
PRICES = {
    CHEAP: {"input": "0", "output": "0", "request": "0.01"},
    STRONG: {"input": "0", "output": "0", "request": "0.10"},
}
ANSWERS = {CHEAP: "The answer is 1.", STRONG: "The answer is 2."}
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


@pytest.fixture
def tiers(make_openai: Any, make_anthropic: Any, openai_server: Simulator) -> dict[str, Any]:
    openai_server.reply = lambda body: ANSWERS[body["model"]]
    return {"cheap": make_openai(CHEAP), "strong": make_anthropic()}


@pytest.fixture
def guard() -> CostGuard:
    return CostGuard(["$5/day", "$0.50/day per user"], prices=PRICES)


@pytest.fixture
def log(tmp_path: Path) -> PromptLog:
    return PromptLog(tmp_path / "prompts.db")


def sampled(tiers: Any, log: Any, **options: Any) -> TieredRouter:
    given = {"score": lambda request: float("hard" in request.text), "threshold": 0.5, "shadow": 1.0, "log": log}
    return TieredRouter(**tiers, **{**given, **options})


def only_pair(log: PromptLog) -> Pair:
    [(pair, _)] = log.pairs()
    return pair


async def ask(router: Any, text: str, method: str) -> list[Any]:
    """What the method returns, or all that its stream does."""
    if "chat" in method:
        made = getattr(router, method)(user_message(text))
    elif "complete" in method:
        made = getattr(router, method)(text)
    else:
        made = getattr(router, method)(PromptTemplate("Context: sums.\n{query_str}"), query_str=text)
    if isinstance(made, Awaitable):
        made = await made
    if "stream" not in method:
        return [made]
    return [value async for value in made] if method.startswith("a") else list(made)


@pytest.mark.parametrize("method", METHODS)
async def test_the_other_tier_answers_in_the_background_and_the_pair_is_written(
    method: str, tiers: Any, guard: CostGuard, log: PromptLog
) -> None:
    router = sampled(tiers, log, guard=guard)
    with attribute(user="u", endpoint="/sums", session="s"):
        values = await ask(router, "easy?", method)
    assert router.flush(30)
    pair = only_pair(log)
    assert (pair.prompt, pair.weak_answer, pair.strong_answer) == ("easy?", ANSWERS[CHEAP], ANSWERS[STRONG])
    assert (pair.shown, pair.tag, pair.user, pair.weak_model) == ("weak", "/sums", "u", CHEAP)
    assert pair.strong_cost == 10**8
    first, second = events(guard)
    assert (second.model, second.cost, second.route) == (STRONG, 10**8, "shadow: strong")
    assert (second.attribution.user, second.attribution.endpoint) == (None, "/sums")  # on the operator's bill
    assert first.attribution.user == "u"
    if not isinstance(values[-1], str):
        assert pair.id == values[-1].additional_kwargs["costguard"]["route"]["sample"]
        assert router.feedback(values[-1], 1.0)
        assert [(row.weak, row.strong) for row in log.rows()] == [(1.0, 1.0)]


def test_nothing_is_stored_or_doubled_unless_asked_for(tiers: Any, openai_server: Simulator, tmp_path: Path) -> None:
    router = TieredRouter(**tiers, score=lambda request: 0.0, threshold=0.5, shadow=1.0)
    answer = router.chat(user_message("easy?"))
    assert router.flush(30)
    assert openai_server.count == 1
    assert "sample" not in answer.additional_kwargs["costguard"]["route"]
    assert list(tmp_path.iterdir()) == []
    assert router.status().sample is None
    assert router.feedback(answer, 1.0) is False


def test_tools_and_objects_are_asked_for_in_the_same_way(tiers: Any, log: PromptLog, openai_server: Simulator) -> None:
    openai_server.reply = lambda body: None  # as tools and schemas want it
    router = sampled(tiers, log)
    router.chat_with_tools([add_tool()], user_msg="add 1 and 2")
    assert router.flush(30)
    assert "add{" in (only_pair(log).strong_answer or "")
    person = router.structured_predict(Person, about_prompt(), topic="ann")
    assert router.flush(30)
    pair = [pair for pair, _ in log.pairs()][1]
    assert Person.model_validate_json(pair.weak_answer or "") == person
    assert Person.model_validate_json(pair.strong_answer or "")


def test_a_streamed_object_is_logged_as_its_last_state(tiers: Any, log: PromptLog, openai_server: Simulator) -> None:
    openai_server.reply = lambda body: None
    router = sampled(tiers, log)
    *_, last = router.stream_structured_predict(Person, about_prompt(), topic="bob")
    assert router.flush(30)
    assert only_pair(log).weak_answer == last.model_dump_json()


def test_an_engine_logs_the_question_without_the_pages_retrieved_for_it(tiers: Any, log: PromptLog) -> None:
    router = sampled(tiers, log)
    pets_index().as_query_engine(llm=router).query("what do cats do?")
    assert router.flush(30)
    assert only_pair(log).prompt == "what do cats do?"


def test_the_budget_of_the_sample_is_kept_and_shared(tiers: Any, guard: CostGuard, log: PromptLog) -> None:
    one, two = (sampled(tiers, log, guard=guard, shadow_budget="$0.25/day") for _ in range(2))
    for number, router in enumerate((one, two, one, two)):
        router.chat(user_message(f"easy {number}?"))
        assert router.flush(30)
    assert len(log) == 2
    assert one.status().sample.unpaid + two.status().sample.unpaid == 2
    assert [event.model for event in events(guard)].count(STRONG) == 2


def test_a_second_answer_that_fails_bothers_nobody(
    tiers: Any, guard: CostGuard, log: PromptLog, openai_server: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    openai_server.faults.extend([None, Fault(status=500)] * 2)
    router = sampled(tiers, log, guard=guard)
    with caplog.at_level(logging.WARNING, logger="costguard"):
        for _ in range(2):
            assert router.chat(user_message("easy?")).message.content == ANSWERS[CHEAP]
            assert router.flush(30)
    assert len(log) == 0
    assert router.status().sample.failed == 2
    assert sum("no second answer" in record.message for record in caplog.records) == 1
    assert not any(row.held for row in guard.status())


def test_hits_refusals_and_pictures_are_not_sampled(tiers: Any, log: PromptLog) -> None:
    refusing = CostGuard([Budget.parse("2 requests/day", answer="Come back tomorrow.")])
    router = sampled(tiers, log, guard=refusing, cache=ExactCache())
    router.chat(user_message("easy?"))
    assert router.flush(30)
    router.chat(user_message("easy?"))
    assert router.chat(user_message("other?")).message.content == "Come back tomorrow."
    assert "".join(chunk.delta for chunk in router.stream_chat(user_message("more?"))) == "Come back tomorrow."
    assert router.flush(30)
    assert len(log) == 1


def test_an_escalation_is_a_pair_already(tiers: Any, log: PromptLog, openai_server: Simulator) -> None:
    answers = {CHEAP: "many", STRONG: ANSWERS[STRONG]}
    openai_server.reply = lambda body: answers[body["model"]]
    router = sampled(tiers, log, verify=has_final_number())
    assert "".join(chunk.delta for chunk in router.stream_chat(user_message("how many?"))) == ANSWERS[STRONG]
    assert router.flush(30)
    assert openai_server.count == 2
    pair = only_pair(log)
    assert (pair.shown, pair.weak_ok, pair.strong_ok) == ("strong", False, True)


def test_callbacks_do_not_hear_of_it_and_metering_handlers_do(
    tiers: Any, guard: CostGuard, log: PromptLog, make_openai: Any
) -> None:
    counter = TokenCountingHandler()
    handler = CostGuardEventHandler(guard)
    from llama_index_instrumentation import get_dispatcher

    get_dispatcher().add_event_handler(handler)
    try:
        router = sampled(tiers, log)
        router.callback_manager = CallbackManager([counter])
        router.chat(user_message("easy?"))
        assert router.flush(30)
    finally:
        handler.detach()
    assert len(counter.llm_token_counts) == 1
    assert [(event.model, event.route.split(" ")[0]) for event in events(guard)] == [
        (CHEAP, "cheap"),
        (STRONG, "shadow:"),
    ]


def test_a_router_that_is_guarded_later_counts_there(tiers: Any, guard: CostGuard, log: PromptLog) -> None:
    router: Any = guard_llm(sampled(tiers, log), guard)
    router.chat(user_message("easy?"))
    assert router.flush(30)
    assert [event.route for event in events(guard)][1] == "shadow: strong"


def test_what_does_not_fit_is_said_at_once(tiers: Any, log: PromptLog) -> None:
    with pytest.raises(ConfigurationError, match="shadow=2"):
        sampled(tiers, log, shadow=2)
    with pytest.raises(ConfigurationError, match="SQLite file"):
        sampled(tiers, "prompts.jsonl")


def test_the_status_says_it_all(tiers: Any, log: PromptLog) -> None:
    router = sampled(tiers, log)
    assert "nothing scored yet" in str(router.status())
    router.chat([ChatMessage(role="user", content="easy?")])
    assert router.flush(30)
    assert "1 calls, 1 pairs logged, 0 over its budget, 0 failed, 0 dropped; the log holds 1" in str(router.status())
