"""TieredRouter over real HTTP: it stands in nobody's method, and every way through it says why it was taken."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda
from langchain_core.tools import tool
from langchain_models import METHODS, chat_model, merged, route
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests
from ledger_events import events
from pydantic import BaseModel

from costguard_core import CostGuard, Outcome, attribute
from costguard_core.errors import ConfigurationError
from costguard_core.routing import Score
from costguard_core.simulate import Simulator
from langchain_costguard import (
    CostGuardCallbackHandler,
    CostGuardMiddleware,
    ExactCache,
    GuardedChatModel,
    TieredRouter,
    install,
    uninstall,
)

CHEAP, STRONG = "gpt-4.1-nano", "gpt-4.1"


def by_word(request: Any) -> float | None:
    """Hard is what says so."""
    return None if "?" not in request.text else float("hard" in request.text)


@pytest.fixture
def cheap(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server, CHEAP)


@pytest.fixture
def strong(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server, STRONG)


@pytest.fixture
def router(cheap: ChatOpenAI, strong: ChatOpenAI) -> TieredRouter:
    return TieredRouter(cheap=cheap, strong=strong, score=by_word, threshold=0.5)


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day"]) as made:
        yield made


def asked(server: Simulator) -> list[str]:
    return [request.body["model"] for request in server.requests]


class Runs(BaseCallbackHandler):
    """Every run that LangChain tells of."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.ends = 0
        self.metadata: list[dict[str, Any]] = []

    def on_chat_model_start(self, serialized, messages, *, metadata, **kwargs) -> None:
        self.models.append(metadata["ls_model_name"])
        self.metadata.append(metadata)

    def on_llm_end(self, response, **kwargs) -> None:
        self.ends += 1


class TestTieredRouter(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return TieredRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        def model(name: str) -> ChatOpenAI:
            return ChatOpenAI(model=name, api_key="simulated", base_url="http://127.0.0.1:9/v1")

        return {"cheap": model(CHEAP), "strong": model(STRONG), "score": by_word, "share": 0.3}


async def call(router: Any, text: str, method: str, **options: Any) -> Any:
    match method:
        case "invoke":
            return router.invoke(text, **options)
        case "ainvoke":
            return await router.ainvoke(text, **options)
        case "stream":
            return merged(list(router.stream(text, **options)))
        case "astream":
            return merged([chunk async for chunk in router.astream(text, **options)])
        case "generate":
            return router.generate([[HumanMessage(text)]], **options.get("config", {})).generations[0][0].message
        case "agenerate":
            result = await router.agenerate([[HumanMessage(text)]], **options.get("config", {}))
            return result.generations[0][0].message
    raise AssertionError(method)


@pytest.mark.parametrize("method", METHODS)
async def test_each_request_is_one_run_of_the_model_that_answers(
    method: str, router: TieredRouter, openai_server: Simulator
) -> None:
    runs = Runs()
    easy = await call(router, "easy?", method, config={"callbacks": [runs]})
    hard = await call(router, "hard?", method, config={"callbacks": [runs]})
    assert asked(openai_server) == runs.models == [CHEAP, STRONG]
    assert runs.ends == 2
    assert (route(easy)["tier"], route(hard)["tier"]) == ("cheap", "strong")
    assert route(hard)["score"] == 1.0
    assert route(hard)["cut"] == 0.5
    assert runs.metadata[1]["costguard_route"].startswith("strong (score 1.00, cut 0.50)")
    assert easy.text
    assert easy.text == router.models["cheap"].invoke("easy?").text


def test_the_mark_says_what_was_really_saved(router: TieredRouter, guard: CostGuard) -> None:
    answer = router.invoke("easy?")
    usage = answer.usage_metadata
    tokens = (usage["input_tokens"], usage["output_tokens"])
    cheap = tokens[0] * 0.1e-6 + tokens[1] * 0.4e-6
    strong = tokens[0] * 2e-6 + tokens[1] * 8e-6
    assert float(route(answer)["saved_usd"]) == pytest.approx(strong - cheap, abs=1e-8)
    assert float(route(router.invoke("hard?"))["saved_usd"]) == 0


def test_no_opinion_goes_to_the_strongest_unless_said_otherwise(
    router: TieredRouter, cheap: ChatOpenAI, strong: ChatOpenAI
) -> None:
    assert route(router.invoke("hello"))["tier"] == "strong"
    assert route(router.invoke("hello"))["reason"] == "no opinion"
    lenient = TieredRouter(cheap=cheap, strong=strong, score=by_word, threshold=0.5, default="cheap")
    assert route(lenient.invoke("hello"))["tier"] == "cheap"


def test_conditions_are_tried_in_order_and_see_the_messages(openai_server: Simulator) -> None:
    mini, nano, large = (chat_model(openai_server, name) for name in ("gpt-4.1-mini", CHEAP, STRONG))

    def is_long(messages: Any) -> bool:
        return len(messages[-1].content) > 40

    router = TieredRouter((is_long, large), (RunnableLambda(lambda messages: "code" in messages.text), mini), nano)
    assert [tier.name for tier in router.tiers] == [CHEAP, "gpt-4.1-mini", STRONG]
    router.invoke("a code question")
    router.invoke("hello")
    long = router.invoke([SystemMessage("Be brief."), HumanMessage("long " * 20)])
    assert asked(openai_server) == ["gpt-4.1-mini", CHEAP, STRONG]
    assert route(long)["tier"] == STRONG
    assert route(long)["reason"] == "is_long"


def test_a_condition_that_breaks_goes_to_the_default(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    router = TieredRouter((lambda messages: 1 / 0, cheap), strong)
    assert route(router.invoke("hello")) | {"saved_usd": ""} == {
        "tier": STRONG,
        "reason": "scorer failed: ZeroDivisionError",
        "score": None,
        "cut": None,
        "reasons": [["scorer failed: ZeroDivisionError", 0.0]],
        "escalated": False,
        "saved_usd": "",
    }


def test_any_number_of_named_tiers(openai_server: Simulator) -> None:
    models = {f"tier{n}": chat_model(openai_server, name) for n, name in enumerate([CHEAP, "gpt-4.1-mini", STRONG])}
    router = TieredRouter(**models, score=lambda request: float(request.text), share=(0.3, 0.3))
    for number in range(100):
        router.is_hard(str(number * 37 % 100))
    tiers = [router.explain(str(number)).tier for number in (3, 55, 97)]
    assert tiers == ["tier0", "tier1", "tier2"]
    assert openai_server.count == 0


@pytest.mark.parametrize(
    "made",
    [
        lambda a, b: TieredRouter(cheap=a),
        lambda a, b: TieredRouter(a),
        lambda a, b: TieredRouter((lambda m: True, a), (lambda m: True, b)),
        lambda a, b: TieredRouter((lambda m: True, a), b, share=0.3),
        lambda a, b: TieredRouter(cheap=a, strong=b, share=2.0),
        lambda a, b: TieredRouter(cheap=a, strong=b, default="best"),
        lambda a, b: TieredRouter(cheap=a, strong=b, score=3),
        lambda a, b: TieredRouter(cheap=a, strong=b, verify="JSON"),
        lambda a, b: TieredRouter(cheap=a, strong=b, budget="$1/day"),
        lambda a, b: TieredRouter(cheap=a, strong=b, guard=CostGuard(["$2/day"]), budget="$1/day"),
    ],
)
def test_what_does_not_fit_together_says_so(made: Any, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    with pytest.raises(ConfigurationError):
        made(cheap, strong)


def test_explain_spends_and_remembers_nothing(router: TieredRouter, openai_server: Simulator) -> None:
    decision = router.explain([HumanMessage("hard?")])
    assert (decision.tier, decision.score, decision.cut) == ("strong", 1.0, 0.5)
    assert decision.saved == 0
    assert router.explain("easy?").saved > 0
    assert router.share_now is None
    assert openai_server.count == 0


def test_is_hard_is_a_condition_for_a_plain_branch(router: TieredRouter) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "You help."), ("human", "{question}")])
    branch = RunnableBranch((router.is_hard, lambda _: "strong"), lambda _: "cheap")
    assert (prompt | branch).invoke({"question": "hard?"}) == "strong"
    assert (prompt | branch).invoke({"question": "easy?"}) == "cheap"
    assert branch.invoke({"question": "easy?"}) == "cheap"
    assert branch.invoke({"messages": [("human", "hard?")]}) == "strong"


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Verdict(BaseModel):
    """A verdict."""

    good: bool
    why: str


def test_tools_are_bound_when_the_tier_is_known(router: TieredRouter, openai_server: Simulator) -> None:
    bound = router.bind_tools([weather], tool_choice="any")
    message = bound.invoke("What is the weather in Rome, hard?")
    assert message.tool_calls[0]["name"] == "weather"
    body = openai_server.requests[0].body
    assert body["model"] == STRONG
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["tool_choice"] == "required"
    assert merged(list(bound.stream("easy?"))).tool_calls[0]["name"] == "weather"


async def test_structured_output_comes_from_the_tier_that_was_chosen(
    router: TieredRouter, openai_server: Simulator
) -> None:
    assert isinstance(router.with_structured_output(Verdict).invoke("easy?"), Verdict)
    found = await router.with_structured_output(Verdict, include_raw=True).ainvoke("hard?")
    assert isinstance(found["parsed"], Verdict)
    assert route(found["raw"])["tier"] == "strong"
    assert [value async for value in router.with_structured_output(Verdict).astream("easy?")][0].why is not None
    assert asked(openai_server) == [CHEAP, STRONG, CHEAP]


def test_agents_route_every_step(cheap: ChatOpenAI, strong: ChatOpenAI, openai_server: Simulator) -> None:
    from costguard_core.routing import rules

    router = TieredRouter(cheap=cheap, strong=strong, score=rules(), threshold=0.2)
    agent = create_agent(router, [weather])
    answer = agent.invoke({"messages": [("human", "What is the weather in Rome?")]})
    assert any(isinstance(message, ToolMessage) for message in answer["messages"])
    assert route(answer["messages"][-1])["reason"].startswith("tool result")
    structured = create_agent(router, [], response_format=Verdict)
    assert isinstance(structured.invoke({"messages": [("human", "Is it good?")]})["structured_response"], Verdict)


async def test_batches_fallbacks_and_configurations(router: TieredRouter, openai_server: Simulator) -> None:
    answers = router.batch(["easy?", "hard?", "easy or not?"])
    assert [route(answer)["tier"] for answer in answers] == ["cheap", "strong", "cheap"]
    answers = await router.abatch(["hard?", "easy?"])
    assert [route(answer)["tier"] for answer in answers] == ["strong", "cheap"]
    runs = Runs()
    named = router.with_config(tags=["t"], callbacks=[runs], metadata={"user_id": "u1"})
    named.invoke("hard?")
    assert runs.metadata[0]["user_id"] == "u1"
    spare = FakeListChatModel(responses=["spare"])
    broken = TieredRouter((lambda m: True, chat_nowhere()), router.models["strong"]).with_fallbacks([spare])
    assert broken.invoke("hello").text == "spare"


def chat_nowhere() -> ChatOpenAI:
    return ChatOpenAI(model=CHEAP, api_key="simulated", base_url="http://127.0.0.1:9/v1", max_retries=0)


async def test_events_and_event_streams_are_those_of_the_model(router: TieredRouter) -> None:
    found = [event async for event in router.astream_events("hard?", version="v2")]
    assert found[0]["event"] == "on_chat_model_start"
    assert {event["metadata"]["ls_model_name"] for event in found} == {STRONG}
    text = "".join(e["data"]["chunk"].text for e in found if e["event"] == "on_chat_model_stream")
    assert text == router.invoke("hard?").text


@pytest.mark.filterwarnings("ignore:.*:langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_the_third_version_of_events_too(router: TieredRouter, openai_server: Simulator) -> None:
    assert router.stream_events("easy?", version="v3").output.text
    assert (await (await router.astream_events("hard?", version="v3"))).text
    assert asked(openai_server) == [CHEAP, STRONG]


def test_many_prompts_may_go_to_many_tiers(router: TieredRouter) -> None:
    result = router.generate([[HumanMessage("easy?")], [HumanMessage("hard?")]])
    assert [route(row[0].message)["tier"] for row in result.generations] == ["cheap", "strong"]
    assert len(result.run or []) == 2
    assert router.generate([]).generations == []


def test_copies_remember_together() -> None:
    router = TieredRouter(cheap=FakeListChatModel(responses=["a"]), strong=FakeListChatModel(responses=["b"]))
    for copied in (copy.copy(router), copy.deepcopy(router), router.model_copy()):
        assert copied.engine is router.engine
        assert copied.invoke("hello").text in ("a", "b")


def test_callbacks_of_the_router_reach_its_tiers(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    runs = Runs()
    router = TieredRouter(cheap=cheap, strong=strong, score=by_word, threshold=0.5, callbacks=[runs], tags=["routed"])
    router.invoke("easy?")
    list(router.stream("hard?"))
    assert runs.models == [CHEAP, STRONG]


def test_caches_keep_the_tiers_apart_and_no_marks(router: TieredRouter, openai_server: Simulator) -> None:
    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        for text in ("easy?", "hard?", "easy?"):
            answer = router.invoke(text)
        assert asked(openai_server) == [CHEAP, STRONG]
        assert route(answer)["tier"] == "cheap"
        kept = [generation.message for row in cache._cache.values() for generation in row]
        assert not any("costguard" in message.response_metadata for message in kept)
        turned = TieredRouter(
            cheap=router.models["cheap"], strong=router.models["strong"], score=lambda r: 1.0, threshold=0.5
        )
        turned.invoke("easy?")
        assert asked(openai_server) == [CHEAP, STRONG, STRONG]
    finally:
        set_llm_cache(None)


def guarded_by_option(router: Any, guard: CostGuard) -> Any:
    return TieredRouter(**router.models, score=by_word, threshold=0.5, guard=guard, cache=ExactCache())


def guarded_around(router: Any, guard: CostGuard) -> Any:
    return GuardedChatModel(router, guard, cache=ExactCache())


def guarded_tiers(router: Any, guard: CostGuard) -> Any:
    cache = ExactCache()
    models = {name: GuardedChatModel(model, guard, cache=cache) for name, model in router.models.items()}
    return TieredRouter(**models, score=by_word, threshold=0.5)


@pytest.mark.parametrize("made", [guarded_by_option, guarded_around, guarded_tiers])
@pytest.mark.parametrize("method", METHODS)
async def test_guarded_routers_are_metered_once_and_cached_by_tier(
    made: Any, method: str, router: TieredRouter, guard: CostGuard, openai_server: Simulator
) -> None:
    guarded = made(router, guard)
    handler = CostGuardCallbackHandler(guard)
    config = {"callbacks": [handler]}
    await call(guarded, "easy?", method, config=config)
    await call(guarded, "hard?", method, config=config)
    hit = await call(guarded, "easy?", method, config=config)
    assert asked(openai_server) == [CHEAP, STRONG]
    found = [(event.outcome, event.model.startswith(CHEAP), (event.route or "").split()[0]) for event in events(guard)]
    assert found == [
        (Outcome.MISS, True, "cheap"),
        (Outcome.MISS, False, "strong"),
        (Outcome.EXACT, True, "cheap"),
    ]
    mark = hit.response_metadata["costguard"]
    assert (mark["cache"], mark["route"]["tier"]) == ("exact", "cheap")
    assert not any(row.held for row in guard.status())


@pytest.mark.parametrize("method", METHODS)
async def test_a_handler_meters_bare_tiers_once(
    method: str, router: TieredRouter, guard: CostGuard, openai_server: Simulator
) -> None:
    await call(router, "hard?", method, config={"callbacks": [CostGuardCallbackHandler(guard)]})
    (event,) = events(guard)
    assert event.model.startswith(STRONG)
    assert event.route is not None
    assert event.route.startswith("strong")


def test_an_installed_guard_and_the_middleware_know_routers(
    router: TieredRouter, guard: CostGuard, openai_server: Simulator
) -> None:
    install(guard)
    try:
        router.invoke("easy?")
        agent = create_agent(router, [], middleware=[CostGuardMiddleware(guard, cache=ExactCache())])
        agent.invoke({"messages": [("human", "hard?")]})
    finally:
        uninstall()
    assert [event.route.split()[0] for event in events(guard)] == ["cheap", "strong"]


def test_sessions_stay_on_a_warm_model_and_conditions_decide_alone(
    openai_server: Simulator, cheap: ChatOpenAI, strong: ChatOpenAI
) -> None:
    # Where nobody knows what the lost prompt cache costs, a conversation keeps its model.
    tiers = {"cheap": chat_model(openai_server, "my-small"), "strong": chat_model(openai_server, "my-large")}
    router = TieredRouter(**tiers, score=by_word, threshold=0.5)
    with attribute(session="s1"):
        assert [route(router.invoke(text))["tier"] for text in ("easy?", "hard?", "easy?")] == ["cheap"] + [
            "strong"
        ] * 2
        assert "session: keeps its model" in router.explain("easy?").because
    assert route(router.invoke("easy?", config={"metadata": {"thread_id": "s2"}}))["tier"] == "cheap"
    free = TieredRouter(**tiers, score=by_word, threshold=0.5, sticky=False)
    branch = TieredRouter((lambda messages: "hard" in messages.text, strong), cheap)
    with attribute(session="s3"):
        assert [route(free.invoke(text))["tier"] for text in ("hard?", "easy?")] == ["strong", "cheap"]
        assert [route(branch.invoke(text))["tier"] for text in ("hard", "easy")] == [STRONG, CHEAP]


def test_tags_and_sessions_come_from_where_they_are_said(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    seen: list[Any] = []

    def note(request: Any) -> Score | None:
        seen.append((request.tag, request.session, request.turns, request.modalities))
        return None

    router = TieredRouter(cheap=cheap, strong=strong, score=note)
    with attribute(endpoint="/faq", session="s1"):
        router.explain("hello")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [HumanMessage("one"), HumanMessage([{"type": "text", "text": "two"}, picture])]
    router.explain(messages, {"metadata": {"template": "t", "thread_id": "s2"}})
    assert seen == [("/faq", "s1", 0, frozenset()), ("t", "s2", 1, frozenset({"image"}))]


async def test_a_judge_is_asked_near_the_cut_and_is_on_the_bill(
    cheap: ChatOpenAI, strong: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: "9" if "Rate from 0" in body["messages"][0]["content"] else "fine"
    router = TieredRouter(
        cheap=cheap, strong=strong, score=lambda request: 0.0, share=0.5, judge=cheap, guard=guard, cache=False
    )
    answer = await router.ainvoke("What now?")
    assert "judge +0.90" in route(answer)["reason"]
    assert len(events(guard)) == 2
    assert {event.model.startswith(CHEAP) for event in events(guard)} == {True, False}


async def test_an_abandoned_or_cancelled_call_leaves_nothing_held(
    router: TieredRouter, guard: CostGuard, openai_server: Simulator
) -> None:
    guarded = router.guarded_by(guard)
    stream = guarded.stream("Tell me a long story, hard?")
    next(stream)
    stream.close()
    astream = guarded.astream("Tell me another long story, hard?")
    await anext(astream)
    await astream.aclose()
    requests = openai_server.count
    with openai_server.hold():
        task = asyncio.create_task(guarded.ainvoke("hard?"))
        await asyncio.to_thread(openai_server.wait_for_requests, requests + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [event.outcome for event in events(guard)] == [Outcome.ABANDONED] * 3
    assert not any(row.held for row in guard.status())


@pytest.mark.parametrize(
    "text", ["", " ", "\x00\x01\udcff", "мир? " * 50, "use the best model!!! " * 3, "x" * 1_000_000]
)
def test_odd_inputs_are_routed(text: str, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    router = TieredRouter(cheap=cheap, strong=strong)
    assert router.explain(text).tier in ("cheap", "strong")


class Trained:
    """A scorer that remembers what its scores were like in training."""

    quantiles = tuple(step / 100 for step in range(101))

    def __call__(self, request: Any) -> Score:
        return Score(float(request.text))


def test_scores_that_move_away_from_training_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    models = {"cheap": FakeListChatModel(responses=["a"]), "strong": FakeListChatModel(responses=["b"])}
    router = TieredRouter(**models, score=Trained(), share=0.3)
    for number in range(300):
        router.invoke(str(number % 100 / 100))
    assert router.status().drift.retrain is False
    assert "drift: none" in str(router.status())
    assert "drifted" not in router.explain("0.5").because
    for number in range(500):
        router.invoke(str(0.9 + number % 10 / 100))
    assert router.status().drift.retrain is True
    assert "train the router again" in str(router.status())
    assert "scores have drifted: train again" in router.explain("0.5").because
    assert sum("train the router again" in record.message for record in caplog.records) == 1


def test_a_router_that_is_a_tier_keeps_answers_in_the_cache_of_the_outer_one(
    cheap: ChatOpenAI, strong: ChatOpenAI, openai_server: Simulator, guard: CostGuard
) -> None:
    middle = chat_model(openai_server, "gpt-4.1-mini")
    for inside, outside in product(({}, {"guard": guard}), repeat=2):
        inner = TieredRouter(cheap=cheap, middle=middle, score=by_word, threshold=0.5, **inside)
        score: Any = lambda request: 0.0  # noqa: E731
        outer = TieredRouter(inner=inner, strong=strong, score=score, threshold=0.5, cache=ExactCache(), **outside)
        before = len(openai_server.requests)
        for _ in range(2):
            outer.invoke("Is this easy?")
        assert len(openai_server.requests) == before + 1, (inside, outside)
