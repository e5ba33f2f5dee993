"""The router: one LLM over two providers, which each get the request in their own words and read their own answers."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Awaitable
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import Settings
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, MockLLM, TextBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llamaindex_calls import (
    ALL_CALLS,
    SECRET,
    about_prompt,
    add_tool,
    agent_reply,
    call_model,
    pets_index,
    sent_bodies,
    user_message,
)

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.simulate import Simulator
from llamaindex_costguard import (
    CostGuardEventHandler,
    ExactCache,
    PromptEconomy,
    TieredRouter,
    guard_llm,
    install,
    uninstall,
)
from llamaindex_costguard.llm.guarded import guarding_of

CHEAP, STRONG = "gpt-4o-mini", "claude-sonnet-4-5"


def route(response: Any) -> dict[str, Any]:
    return response.additional_kwargs["costguard"]["route"]


@pytest.fixture
def make_tiers(make_openai: Any, make_anthropic: Any, openai_server: Simulator) -> Any:
    openai_server.reply = agent_reply
    return lambda **options: {"cheap": make_openai(**options), "strong": make_anthropic(**options)}


def always(tier: str) -> Any:
    """A score and a cut that send everything to one tier."""
    return {"score": lambda request: 0.0, "threshold": 1.0 if tier == "cheap" else -1.0}


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["cheap", "strong"])
@pytest.mark.parametrize("method", ALL_CALLS)
async def test_a_tier_gets_what_it_would_get_alone_and_nothing_the_second_time(
    method: str, tier: str, make_tiers: Any, openai_server: Simulator
) -> None:
    bare = make_tiers(system_prompt="Be terse.")[tier]
    wanted = await call_model(method, bare)
    sent = sent_bodies(openai_server)
    assert sent

    guard = CostGuard(["1000 requests/day"])
    router = TieredRouter(**make_tiers(system_prompt="Be terse."), guard=guard, cache="memory://", **always(tier))
    openai_server.service.requests.clear()
    assert await call_model(method, router) == wanted
    assert sent_bodies(openai_server) == sent
    assert all(event.route.startswith(tier) for event in events(guard))

    openai_server.service.requests.clear()
    assert await call_model(method, router) == wanted
    assert sent_bodies(openai_server) == []
    assert guard.status()[0].spent == len(sent)
    assert guard.status()[0].held == 0


@pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete"])
async def test_responses_say_why_they_came_from_there(method: str, make_tiers: Any) -> None:
    router = TieredRouter(**make_tiers(), **always("strong"))
    given = "hi" if "complete" in method else user_message("hi")
    made = getattr(router, method)(given)
    if isinstance(made, Awaitable):
        made = await made
    chunks = [made] if hasattr(made, "raw") else [c async for c in made] if method.startswith("a") else list(made)
    assert {route(chunk)["tier"] for chunk in chunks} == {"strong"}
    assert {route(chunk)["escalated"] for chunk in chunks} == {False}


def test_conditions_are_tried_in_order_and_see_the_question_alone(make_tiers: Any, openai_server: Simulator) -> None:
    seen = []

    def is_long(messages: Any) -> bool:
        seen.append((messages.text, len(messages), messages.tag))
        return len(messages.text) > 20

    tiers = make_tiers()
    router = TieredRouter((is_long, tiers["strong"]), tiers["cheap"], guard=CostGuard())
    assert [tier.name for tier in router.tiers] == [CHEAP, STRONG]
    assert route(router.chat(user_message("What is the capital of Peru?")))["reason"] == "is_long"
    assert route(router.chat(user_message("hi")))["tier"] == CHEAP
    with attribute(endpoint="/docs"):
        pets_index().as_query_engine(llm=router).query("what do cats do?")
    assert seen[-1] == ("what do cats do?", 2, "/docs")  # not the pages that were retrieved for it
    assert "cats purr" in str(openai_server.requests[-1].body)
    assert openai_server.requests[-1].body["model"] == CHEAP


async def test_each_step_of_an_agent_is_routed_and_its_tool_calls_are_read_by_the_tier_that_made_them(
    make_tiers: Any, openai_server: Simulator
) -> None:
    for first, second in (("cheap", "strong"), ("strong", "cheap")):
        for streaming in (True, False):
            guard = CostGuard()
            tiers = make_tiers()

            def digests(messages: Any) -> bool:
                return messages.phase == "tool"

            router = TieredRouter((digests, tiers[second]), tiers[first], guard=guard, cache="memory://")
            agent = FunctionAgent(tools=[add_tool()], llm=router, streaming=streaming)
            answer = await agent.run("please add 3 and 3")
            assert [call.tool_name for call in answer.tool_calls] == ["add"]
            assert not answer.tool_calls[0].tool_output.is_error
            models = [tiers[first].model, tiers[second].model]
            assert [event.model for event in events(guard)] == models
            openai_server.reset()
            await FunctionAgent(tools=[add_tool()], llm=router, streaming=streaming).run("please add 3 and 3")
            assert openai_server.count == 0


def test_a_mock_and_a_provider_read_their_own_tool_calls(make_openai: Any) -> None:
    blocks = [TextBlock(text=""), ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"a": 1, "b": 2})]
    mock = MockFunctionCallingLLM(response_generator=lambda messages: ChatMessage(role="assistant", blocks=blocks))
    router = TieredRouter(cheap=mock, strong=make_openai(), **always("strong"))
    answer = router.chat_with_tools([add_tool()], user_msg="add 1 and 2")
    assert [call.tool_name for call in router.get_tool_calls_from_response(answer)] == ["add"]
    assert router.predict_and_call([add_tool()], user_msg="add 1 and 2").response.isdigit()


def test_a_tier_without_tools_is_not_asked_to_call_them(make_openai: Any) -> None:
    router = TieredRouter(cheap=MockLLM(), strong=make_openai(), **always("cheap"))
    assert not router.metadata.is_function_calling_model
    answer = router.chat_with_tools([add_tool()], user_msg="add 1 and 2")
    assert route(answer)["tier"] == "strong"
    assert "cheap calls no tools" in route(answer)["reason"]
    assert len(router.get_tool_calls_from_response(answer)) == 1


def test_metadata_is_what_all_tiers_can_do(make_tiers: Any) -> None:
    tiers = make_tiers()
    told = TieredRouter(**tiers).metadata
    each = [llm.metadata for llm in tiers.values()]
    assert told.context_window == min(one.context_window for one in each)
    assert told.num_output == min(one.num_output for one in each)
    assert told.is_chat_model
    assert told.is_function_calling_model
    assert told.model_name == f"{CHEAP} | {STRONG}"
    assert not TieredRouter(cheap=MockLLM(), strong=tiers["strong"]).metadata.is_chat_model


def test_a_prompt_goes_to_a_tier_that_can_hold_it(make_openai: Any) -> None:
    router = TieredRouter(cheap=MockLLM(), strong=make_openai(), **always("cheap"))
    assert route(router.chat(user_message("word " * 5000)))["tier"] == "strong"


def test_explain_spends_and_remembers_nothing(make_tiers: Any, openai_server: Simulator) -> None:
    router = TieredRouter(**make_tiers(), score=lambda request: len(request.text), share=0.5)
    for text in ("a" * n for n in range(1, 21)):
        router.chat(user_message(text))
    before = openai_server.count, router.share_now
    assert router.explain("b").tier == "cheap"
    assert router.explain(user_message("b" * 40)).tier == "strong"
    assert (openai_server.count, router.share_now) == before
    assert router.is_hard("b" * 40)


def test_a_judge_is_asked_near_the_cut_and_is_on_the_bill(make_tiers: Any, openai_server: Simulator) -> None:
    openai_server.reply = lambda body: "9" if "Rate from" in str(body["messages"]) else None
    guard = CostGuard()
    tiers = make_tiers()
    router = TieredRouter(**tiers, score=lambda request: 0.0, share=0.5, judge=tiers["cheap"], guard=guard)
    for text in "abcdefghij":
        router.chat(user_message(text))
    judged = [event for event in events(guard) if event.route is None]
    assert 0 < len(judged) < 10
    assert {event.model for event in judged} == {CHEAP}


async def test_it_is_metered_once_whoever_guards_or_watches_it(make_tiers: Any, openai_server: Simulator) -> None:
    guarded, installed, watched = CostGuard(["9 requests/day"]), CostGuard(["9 requests/day"]), CostGuard()
    bare = TieredRouter(**make_tiers(), **always("cheap"))
    one = guard_llm(bare, guarded, cache=ExactCache())
    assert isinstance(one, TieredRouter)
    assert all(guarding_of(llm).guard is guarded for llm in one.models.values())
    assert not any(guarding_of(llm) for llm in bare.models.values())
    before = Settings._llm
    Settings.llm = bare
    try:
        install(installed)
        await Settings.llm.achat(user_message("hi"))
    finally:
        uninstall()
        Settings._llm = before
    one.chat(user_message("hi"))
    one.predict(about_prompt(), topic="newts")
    assert one.chat(user_message("hi")).additional_kwargs["costguard"]["cache"] == "exact"
    handler = CostGuardEventHandler(watched)
    from llama_index_instrumentation import get_dispatcher

    get_dispatcher().add_event_handler(handler)
    try:
        bare.chat(user_message("ho"))
    finally:
        handler.detach()
    assert [event.outcome.value for event in events(guarded)] == ["miss", "miss", "exact"]
    assert [(event.model, event.route) for event in events(installed)] == [
        (CHEAP, "cheap (score 0.00, cut 1.00): default")
    ]
    assert [(event.model, event.route) for event in events(watched)] == [
        (CHEAP, "cheap (score 0.00, cut 1.00): default")
    ]


def test_the_mark_says_what_was_really_saved_and_a_hit_is_kept_without_it(make_tiers: Any) -> None:
    guard, cache = CostGuard(), ExactCache()
    router = TieredRouter(**make_tiers(), guard=guard, cache=cache, **always("cheap"))
    answer = router.chat(user_message("hi"))
    [paid] = events(guard)
    strong = guard.prices.cost(paid.usage, model=STRONG, provider="anthropic")
    assert float(route(answer)["saved_usd"]) == pytest.approx((strong - paid.cost) / 1e9)
    hit = router.models["cheap"].chat(user_message("hi"))
    assert "route" not in hit.additional_kwargs["costguard"]


def test_callbacks_of_settings_and_engines_reach_the_tiers(make_tiers: Any) -> None:
    counter = TokenCountingHandler()
    router = TieredRouter(**make_tiers(), guard=CostGuard(), **always("cheap"))
    router.callback_manager = CallbackManager([counter])
    router.chat(user_message("hi"))
    assert len(counter.llm_token_counts) == 1
    assert counter.llm_token_counts[0].prompt_token_count > 0


def test_copies_remember_together_and_hold_no_secret(make_tiers: Any, openai_server: Simulator) -> None:
    router = TieredRouter(**make_tiers(), guard=CostGuard(), **always("cheap"))
    for same in (copy.deepcopy(router), router.model_copy(), pickle.loads(pickle.dumps(router))):
        assert route(same.chat(user_message("hi")))["tier"] == "cheap"
        assert same.engine is router.engine
        assert SECRET not in repr(same) + str(same) + str(same.to_dict()) + same.to_json()
    assert isinstance(router, FunctionCallingLLM)
    assert router.to_dict()["tier_models"] == {"cheap": CHEAP, "strong": STRONG}
    restore, (name, models) = router.__reduce_ex__(4)
    with pytest.raises(ConfigurationError, match="a router is not data; pickle its tiers"):
        restore(name + "x", models).chat(user_message("hi"))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda llm: TieredRouter(cheap=llm), "at least two"),
        (lambda llm: TieredRouter((lambda _: True, llm)), "conditions are written"),
        (lambda llm: TieredRouter((lambda _: True, llm), llm, share=0.1), "either conditions"),
        (lambda llm: TieredRouter(cheap=llm, strong=llm, cache="memory://"), "needs a guard"),
        (lambda llm: TieredRouter(cheap=llm, strong=llm, shares=0.1), "no option shares=. Did you mean .share."),
        (lambda llm: TieredRouter(cheap=llm, strong=llm, budget="$1/day"), "names a budget of a guard"),
        (lambda llm: TieredRouter(cheap=llm, strong=TieredRouter(a=llm, b=llm)), "a router itself"),
        (lambda llm: TieredRouter(cheap=llm, strong=llm, score=3), "neither a scorer"),
    ],
)
def test_what_does_not_fit_together_says_so(made: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        made(MockLLM())


async def test_an_unread_an_abandoned_and_a_cancelled_call_hold_nothing(
    make_tiers: Any, openai_server: Simulator
) -> None:
    guard = CostGuard(["100 requests/day", "$5/day"])
    router = TieredRouter(**make_tiers(), guard=guard, **always("cheap"))
    unread = router.stream_chat(user_message("hi"))
    del unread
    closed = router.stream_chat(user_message("hi"))
    closed.close()
    assert openai_server.count == 0
    begun = router.stream_chat(user_message("hi there, say a lot"))
    next(begun)
    begun.close()
    abegun = await router.astream_chat(user_message("hi there, say a lot more"))
    await anext(abegun)
    await abegun.aclose()
    task = asyncio.create_task(router.achat(user_message("hello")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [row.held for row in guard.status()] == [0, 0]


def test_a_session_stays_on_its_model_while_nobody_knows_what_leaving_it_costs() -> None:
    router = TieredRouter(cheap=MockLLM(), strong=MockLLM(), score=lambda request: len(request.text), threshold=10)
    with attribute(session="s1"):
        assert [route(router.chat(user_message(text)))["tier"] for text in ("short", "a long question", "short")] == [
            "cheap",
            "strong",
            "strong",
        ]
        assert "session: keeps its model" in router.explain("short").because
    assert route(router.chat(user_message("short")))["tier"] == "cheap"


@pytest.mark.parametrize("way", ["the router's guard", "guard_llm"])
def test_tiers_that_are_guarded_already_take_the_routers_cache(way: str) -> None:
    guard, own = CostGuard(unpriced={"input": "1", "output": "10"}), ExactCache()
    once = PromptEconomy(max_tokens=100).wrap(guard_llm(MockLLM(max_tokens=5), guard, account="team-a"))
    tiers = {"cheap": once, "strong": guard_llm(MockLLM(max_tokens=6), guard, cache=own)}
    if way == "guard_llm":
        router = guard_llm(TieredRouter(**tiers, **always("cheap")), guard, cache="memory://")
    else:
        router = TieredRouter(**tiers, **always("cheap"), guard=guard, cache="memory://")
    for _ in range(2):
        router.chat(user_message("hi"))
    assert [event.outcome.value for event in events(guard)] == ["miss", "exact"]
    cheap, strong = (guarding_of(llm) for llm in router.models.values())
    assert cheap is not None
    assert cheap.account == "team-a"
    assert type(router.models["cheap"]) is type(once)  # its economy goes on
    assert guarding_of(once).cache is None  # type: ignore[union-attr]
    assert strong is not None
    assert strong.cache is own
