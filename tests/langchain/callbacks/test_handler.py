"""The callback handler on bare models: every way in and every way out, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from integrations import langchain_model
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_models import chat_model
from langchain_openai import ChatOpenAI, OpenAI
from ledger_events import events
from open_connections import collected_afterwards
from provider_server import ProviderServer
from waiting import SAFETY_LIMIT

from costguard_core import Budget, CostGuard, Outcome, SpendLimitExceeded, UnpricedModelError, attribute
from costguard_core.simulate import Fault, Simulator
from langchain_costguard import CostGuardCallbackHandler, ExactCache, LayeredCache, install, uninstall


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day"]) as made:
        yield made


@pytest.fixture
def bare(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server)


@pytest.fixture
def model(bare: ChatOpenAI, guard: CostGuard) -> Any:
    return bare.with_config(callbacks=[CostGuardCallbackHandler(guard)])


@pytest.fixture
def installed(guard: CostGuard) -> Iterator[ExactCache]:
    cache = ExactCache()
    install(guard, cache=cache)
    yield cache
    uninstall()


def settled(guard: CostGuard) -> Decimal | int:
    (row,) = guard.status()
    assert row.held == 0
    return row.spent


async def test_every_way_in_is_metered_once(model: Any, guard: CostGuard, openai_server: Simulator) -> None:
    model.invoke("one")
    await model.ainvoke("two")
    list(model.stream("three"))
    _ = [chunk async for chunk in model.astream("four")]
    model.batch(["five", "six"])
    await model.abatch(["seven", "eight"])
    found = events(guard)
    assert len(found) == openai_server.count == 8
    assert {event.outcome for event in found} == {Outcome.MISS}
    assert settled(guard) * 10**9 == sum(event.cost or 0 for event in found)


def test_a_stream_without_usage_is_counted(model: Any, guard: CostGuard, openai_server: Simulator) -> None:
    text = "".join(chunk.text for chunk in model.stream("Hello there"))
    (event,) = events(guard)
    assert "stream_options" not in openai_server.requests[0].body
    assert event.estimated
    assert event.usage.input_tokens == 9  # 2 of text, 1 of role, 3 per message, 3 to prime the reply
    assert event.usage.output_tokens > 0
    assert text


@pytest.mark.parametrize("budgets", [[], ["5 requests/minute"]])
def test_an_unreported_prompt_is_counted_even_if_no_budget_needed_that(
    budgets: list[str], bare: ChatOpenAI, openai_server: Simulator
) -> None:
    guard = CostGuard(budgets)
    list(bare.with_config(callbacks=[CostGuardCallbackHandler(guard)]).stream("Hello there"))
    assert events(guard)[0].usage.input_tokens == 9


async def test_a_refusal_reaches_the_caller_before_the_provider(bare: ChatOpenAI, openai_server: Simulator) -> None:
    guard = CostGuard(["$0.0000001/day"])
    model: Any = bare.with_config(callbacks=[CostGuardCallbackHandler(guard)])
    with pytest.raises(SpendLimitExceeded):
        model.invoke("x")
    with pytest.raises(SpendLimitExceeded):
        list(model.stream("x"))
    with pytest.raises(SpendLimitExceeded):
        await model.ainvoke("x")
    with pytest.raises(SpendLimitExceeded):
        _ = [chunk async for chunk in model.astream("x")]
    assert openai_server.count == 0
    assert {event.outcome for event in events(guard)} == {Outcome.REFUSED}


def test_an_unknown_model_is_refused_under_a_money_budget(openai_server: Simulator, guard: CostGuard) -> None:
    model = ChatOpenAI(base_url=openai_server.base_url, api_key="simulated", model="house-model-7")
    with pytest.raises(UnpricedModelError, match="house-model-7"):
        model.invoke("x", {"callbacks": [CostGuardCallbackHandler(guard)]})
    assert openai_server.count == 0


async def test_waiting_for_room_never_blocks_the_event_loop(bare: ChatOpenAI) -> None:
    guard = CostGuard([Budget.parse("$0.0000001/day", on_exceed="wait", wait_timeout=3600)])
    with pytest.raises(SpendLimitExceeded):
        await asyncio.wait_for(bare.ainvoke("x", {"callbacks": [CostGuardCallbackHandler(guard)]}), SAFETY_LIMIT)


def test_a_provider_error_costs_nothing(model: Any, guard: CostGuard, openai_server: Simulator) -> None:
    openai_server.faults.append(Fault(status=500))
    with pytest.raises(Exception, match="simulated 500"):
        model.invoke("x")
    assert settled(guard) == 0
    assert events(guard)[0].outcome is Outcome.ERROR


def test_an_abandoned_stream_is_charged_for_what_it_delivered(model: Any, guard: CostGuard) -> None:
    stream = model.stream("Tell me a long story")
    next(stream)
    next(stream)
    stream.close()
    (event,) = events(guard)
    assert (event.outcome, event.reason, event.estimated) == (Outcome.ABANDONED, "GeneratorExit", True)
    assert settled(guard) > 0


@pytest.mark.parametrize("how", ["cancel", "wait_for"])
async def test_a_cancelled_call_is_settled_when_its_task_ends(
    how: str, model: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    with openai_server.hold():
        task = asyncio.create_task(model.ainvoke("slow"))
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0)
    await asyncio.sleep(0)  # the handler hears of it from the loop's next turn
    assert settled(guard) > 0
    assert [event.outcome for event in events(guard)] == [Outcome.ABANDONED]


def test_prompts_before_a_refused_one_in_a_batch_hold_nothing(bare: ChatOpenAI, openai_server: Simulator) -> None:
    guard = CostGuard(["1 requests/minute"])
    handler = CostGuardCallbackHandler(guard)
    with pytest.raises(SpendLimitExceeded):
        bare.generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[handler])
    assert openai_server.count == 0
    assert settled(guard) == 0
    bare.invoke("c", {"callbacks": [handler]})


@pytest.mark.parametrize("words", ["ab", "abc"])
@pytest.mark.parametrize("awaited", [False, True])
# LangChain drops what it would have told its handlers next.
@pytest.mark.filterwarnings("ignore:.*ahandle_event:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*ahandle_event:RuntimeWarning")
async def test_what_one_guard_refuses_another_one_does_not_hold(
    bare: ChatOpenAI, openai_server: Simulator, awaited: bool, words: str
) -> None:
    strict = CostGuard([f"{len(words) - 1} requests/minute"])
    handlers = [CostGuardCallbackHandler(guard) for guard in (CostGuard(["$5/day"]), strict, CostGuard(["$6/day"]))]
    prompts = [[HumanMessage(word)] for word in words]
    with pytest.raises(SpendLimitExceeded):
        if awaited:
            await bare.agenerate(prompts, callbacks=handlers)
        else:
            bare.generate(prompts, callbacks=handlers)
    gc.collect()
    assert openai_server.count == 0
    for handler in handlers:
        assert not handler.guard.in_flight and not handler._runs._batches and not handler._runs._siblings
        assert all(row.held == row.spent == 0 for row in handler.guard.status())
    assert [event.outcome for event in events(strict)] == [Outcome.REFUSED]
    assert events(handlers[0].guard) == events(handlers[2].guard) == []
    bare.invoke("c", {"callbacks": handlers})
    assert [len(events(handler.guard)) for handler in handlers] == [1, 2, 1]


def test_a_refusal_is_one_while_other_threads_make_handlers(
    bare: ChatOpenAI, openai_server: Simulator, eager_threads: None
) -> None:
    refusing = CostGuardCallbackHandler(CostGuard(["1 requests/minute"]))
    bare.invoke("allowed", {"callbacks": [refusing]})
    guard, is_over = CostGuard(["$5/day"]), threading.Event()

    def make() -> None:  # one for each request, as web applications do
        while not is_over.is_set():
            CostGuardCallbackHandler(guard)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            with pytest.raises(SpendLimitExceeded):
                bare.invoke("refused", {"callbacks": [refusing]})
    finally:
        is_over.set()
        for thread in threads:
            thread.join(SAFETY_LIMIT)
    assert openai_server.count == 1


def test_a_paid_answer_that_langchain_drops_is_charged(
    bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.faults.extend([None, Fault(status=500)])
    prompts = [[HumanMessage(text)] for text in ("paid", "fails", "never called")]
    handler = CostGuardCallbackHandler(guard)
    with pytest.raises(Exception, match="simulated 500"):
        bare.generate(prompts, callbacks=[handler])
    assert openai_server.count == 2
    assert not guard.in_flight and not handler._runs._siblings
    assert sorted(event.outcome for event in events(guard)) == [Outcome.ABANDONED, Outcome.ERROR]
    assert settled(guard) > 0


def test_two_handlers_of_one_guard_see_one_call(bare: ChatOpenAI, guard: CostGuard) -> None:
    handlers = [CostGuardCallbackHandler(guard), CostGuardCallbackHandler(guard)]
    bare.invoke("x", {"callbacks": handlers})
    list(bare.stream("x", {"callbacks": handlers}))
    assert len(events(guard)) == 2


def test_a_callback_on_a_chain_attributes_by_its_metadata(bare: ChatOpenAI, guard: CostGuard) -> None:
    chain = ChatPromptTemplate.from_template("Say {word}") | bare
    config: Any = {"callbacks": [CostGuardCallbackHandler(guard)], "metadata": {"user_id": "ann", "endpoint": "/say"}}
    with attribute(user="somebody else", tenant="acme"):
        chain.invoke({"word": "hi"}, config)
    who = events(guard)[0].attribution
    assert (who.user, who.endpoint, who.tenant) == ("ann", "/say", "acme")


def test_a_hit_of_any_cache_is_not_spend(bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator) -> None:
    handler = CostGuardCallbackHandler(guard)
    for cache in (InMemoryCache(), ExactCache(), LayeredCache([ExactCache(), InMemoryCache()])):
        cached = bare.model_copy(update={"cache": cache})
        cached.invoke("x", {"callbacks": [handler]})
        cached.invoke("x", {"callbacks": [handler]})
    found = events(guard)
    assert openai_server.count == 3
    assert [event.outcome for event in found] == [Outcome.MISS, Outcome.EXACT] * 3
    assert all(hit.cost == 0 and hit.saved == paid.cost for paid, hit in zip(found[::2], found[1::2], strict=True))
    assert settled(guard) * 10**9 == sum(event.cost or 0 for event in found)


def test_every_choice_is_counted_once(bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator) -> None:
    bare.n = 3
    bare.generate([[HumanMessage("x")]], callbacks=[CostGuardCallbackHandler(guard)])
    reported = openai_server.count
    (event,) = events(guard)
    assert reported == 1
    assert not event.estimated
    assert event.usage.output_tokens > 0


def test_completion_models_are_metered_and_guarded(openai_server: Simulator, guard: CostGuard) -> None:
    model = OpenAI(
        base_url=openai_server.base_url,
        api_key="simulated",
        model="gpt-3.5-turbo-instruct",
        max_tokens=32,
        max_retries=0,
    )
    handler = CostGuardCallbackHandler(guard)
    model.invoke("Once upon a time", {"callbacks": [handler]})
    model.generate(["a", "b"], callbacks=[handler])
    found = events(guard)
    assert [event.kind for event in found] == ["completion"] * 3
    assert {event.host for event in found} == {"127.0.0.1"}
    assert found[0].cost
    assert sum(event.usage.input_tokens for event in found) > 3
    assert not any(event.estimated for event in found)
    guard.trip("enough")
    with pytest.raises(SpendLimitExceeded):
        model.invoke("x", {"callbacks": [handler]})


def test_install_covers_the_whole_process(
    installed: ExactCache, bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    bare.invoke("in the main thread")
    raw = threading.Thread(target=lambda: bare.invoke("in a raw thread"))
    raw.start()
    raw.join()
    bare.invoke("in a raw thread")
    assert openai_server.count == 2
    assert [event.outcome for event in events(guard)] == [Outcome.MISS, Outcome.MISS, Outcome.EXACT]


async def test_hits_are_served_while_everything_is_refused(
    installed: ExactCache, bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    paid = bare.invoke("What is a refund?").content
    guard.trip("enough")
    assert bare.invoke("What is a refund?").content == paid
    assert (await bare.ainvoke("What is a refund?")).content == paid
    assert [answer.content for answer in bare.batch(["What is a refund?"] * 2)] == [paid] * 2
    with pytest.raises(SpendLimitExceeded):
        bare.invoke("Something else")
    with pytest.raises(SpendLimitExceeded):
        list(bare.stream("What is a refund?"))  # LangChain never asks a global cache in a stream
    with pytest.raises(SpendLimitExceeded):
        bare.model_copy(update={"cache": False}).invoke("What is a refund?")
    assert openai_server.count == 1


def test_an_entry_that_vanishes_between_the_refusal_and_the_lookup_lets_nothing_through(
    installed: ExactCache, bare: ChatOpenAI, guard: CostGuard, openai_server: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.invoke("What is a refund?")
    guard.trip("enough")
    real = installed.lookup

    def evicted_first(prompt: str, llm_string: str) -> Any:
        installed.clear()
        return real(prompt, llm_string)

    monkeypatch.setattr(installed, "lookup", evicted_first)
    with pytest.raises(SpendLimitExceeded):
        bare.invoke("What is a refund?")
    assert openai_server.count == 1
    guard.reset()
    bare.invoke("What is a refund?")
    assert openai_server.count == 2


def test_hits_of_completion_models_are_recorded_although_they_fire_no_callback(
    installed: ExactCache, openai_server: Simulator, guard: CostGuard
) -> None:
    model = OpenAI(base_url=openai_server.base_url, api_key="simulated", model="gpt-3.5-turbo-instruct", max_tokens=256)
    model.invoke("Once upon a time")
    model.invoke("Once upon a time")
    assert openai_server.count == 1
    assert [event.outcome for event in events(guard)] == [Outcome.MISS, Outcome.EXACT]


def test_uninstall_restores_what_was_there(guard: CostGuard, bare: ChatOpenAI) -> None:
    before = InMemoryCache()
    set_llm_cache(before)
    try:
        install(guard, cache=ExactCache())
        install(guard, cache=ExactCache())
        assert isinstance(get_llm_cache(), ExactCache)
        uninstall()
        assert get_llm_cache() is before
        uninstall()
        bare.invoke("x")
        assert events(guard) == []
    finally:
        set_llm_cache(None)


def test_runs_that_langchain_never_ends_are_forgotten_after_their_lease(guard: CostGuard) -> None:
    now = [1_795_348_800.0]
    guard = CostGuard(clock=lambda: now[0], lease=10)
    handler = CostGuardCallbackHandler(guard)

    def start() -> None:
        handler.on_chat_model_start({}, [[HumanMessage("x")]], run_id=uuid.uuid4(), metadata={"ls_model_name": "m"})

    for _ in range(1_100):
        start()
    now[0] += 60
    for _ in range(1_100):
        start()
    assert len(guard.in_flight) < 1_200


async def test_a_task_that_lives_on_forgets_the_runs_that_ended(openai_server: Simulator) -> None:
    with CostGuard() as guard:
        handler = CostGuardCallbackHandler(guard)
        bare = ChatOpenAI(base_url=openai_server.base_url, api_key="simulated", model="gpt-4o-mini")
        for number in range(3):
            await bare.ainvoke(f"hi {number}", {"callbacks": [handler]})
    gc.collect()
    watching = [one for one in gc.get_objects() if isinstance(one, partial) and one.func == handler._runs._task_done]
    assert watching == []


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
@pytest.mark.parametrize("prompts", [1, 3])
def test_a_batch_of_completions_whose_endpoint_reports_nothing_is_counted(
    usage: dict[str, int], prompts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProviderServer(usage=usage) as server, CostGuard() as guard, collected_afterwards():
        choices = [{"index": n, "text": "a few words", "finish_reason": "stop"} for n in range(prompts)]
        body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct"}
        monkeypatch.setattr(server, "_chat", lambda asked: {**body, "choices": choices, "usage": usage})
        model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        model.generate(["some words to begin with"] * prompts, callbacks=[CostGuardCallbackHandler(guard)])
        found = events(guard)
    assert len(found) == prompts
    assert all(event.estimated and event.usage.input_tokens >= 5 and event.usage.output_tokens == 3 for event in found)


def test_a_chat_whose_endpoint_reports_an_empty_usage_is_counted() -> None:
    with ProviderServer(usage={}, text="a few words") as server, CostGuard() as guard, collected_afterwards():
        callbacks: Any = {"callbacks": [CostGuardCallbackHandler(guard)]}
        langchain_model("mistralai", server.url, "mistral-large-latest").invoke("some words to begin with", callbacks)
        (event,) = events(guard)
    assert event.estimated
    assert event.usage.input_tokens >= 5
    assert event.usage.output_tokens >= 3
