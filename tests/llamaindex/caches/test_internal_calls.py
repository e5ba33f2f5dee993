"""A judge and a verifier are asked while another call is served, in its user's name, and are no part of that call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledger_events import events
from llama_index.core import PromptTemplate
from llamaindex_embeddings import BagOfWordsEmbeddings

from costguard_core import CostGuard, attribute
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.routing.shadow.prompt_log import PromptLog
from costguard_core.simulate import Fault, Simulator
from llamaindex_costguard import SemanticCache, TieredRouter, guard_llm, judged

STORED, ASKED = "How do I reset my password?", "How do I reset my old mail password?"
SAME = "Okay, I am on it.", "Right away, just a second!"  # nothing in particular: words cannot tell
CHEAP, STRONG, SMALL = "gpt-4o-mini", "gpt-4o", "gpt-4.1-nano"


@pytest.fixture
def server(openai_server: Simulator) -> Simulator:
    openai_server.reply = answer
    return openai_server


def answer(body: Any) -> str:
    """The small model denies everything; the others say what words cannot compare."""
    if body["model"] == SMALL:
        return "[]" if "stored questions" in str(body["messages"]) else "no"
    return SAME["old mail" in str(body["messages"])]


@pytest.fixture
def guard() -> CostGuard:
    price = {"input": "1", "output": "1"}
    dear = price | {"request": "0.01"}
    return CostGuard(prices={SMALL: price, CHEAP: dear, STRONG: dear}, unpriced=price)


Make = Callable[..., Any]


@pytest.fixture
def cache(make_openai: Make, guard: CostGuard, server: Simulator) -> SemanticCache:
    small = make_openai(SMALL)
    compare = judged(small, guard=guard)
    embeddings = BagOfWordsEmbeddings(model_name="bag-256")
    made = SemanticCache(
        embeddings, index=MemoryIndex(), decide="verified", verify=small, compare=compare, audit=0.0, guard=guard
    )
    made.engine.evidence.model.weights[0] += 3.0  # the estimate puts the pair where a yes decides
    return made


def ask(llm: Any, *questions: str) -> None:
    for question in questions:
        llm.predict(PromptTemplate("Context: a house.\n{query_str}"), query_str=question)


@pytest.fixture
def router(make_openai: Make, guard: CostGuard, cache: SemanticCache) -> Callable[..., TieredRouter]:
    tiers = {"cheap": make_openai(CHEAP), "strong": make_openai(STRONG)}
    return lambda **more: TieredRouter(
        **tiers, score=lambda request: 0.0, threshold=0.5, guard=guard, cache=cache, **more
    )


def test_they_are_in_the_users_name_and_not_routed(router: Any, guard: CostGuard, cache: SemanticCache) -> None:
    with attribute(user="u1"):
        ask(router(), STORED, ASKED)
    cache.close()
    made = [event for event in events(guard) if event.kind == "chat"]
    assert {(event.attribution.endpoint, event.attribution.user, event.route is None) for event in made} == {
        (None, "u1", False),
        ("costguard/verify", "u1", True),
        ("costguard/judge", "u1", True),
    }
    assert not any(event.saved for event in made if event.route is None)


def test_the_prompt_log_has_the_cost_of_the_answer_alone(
    router: Any, guard: CostGuard, cache: SemanticCache, tmp_path: Path
) -> None:
    log = PromptLog(tmp_path / "prompts.db")
    shadowed = router(log=log, shadow=1.0)
    ask(shadowed, STORED, ASKED)
    assert shadowed.flush(60)
    cache.close()
    paid = [event.cost for event in events(guard) if event.model == CHEAP]
    assert [pair.weak_cost for pair, _ in log.pairs()] == paid


def test_an_agent_that_is_to_conclude_is_told_and_they_are_not(
    make_openai: Make, guard: CostGuard, cache: SemanticCache, server: Simulator
) -> None:
    llm = guard_llm(make_openai(CHEAP), guard, cache=cache)
    with guard.agent("research", limit="$1", wrap_up=0.02) as run:
        ask(llm, STORED, ASKED)
        assert run.should_conclude
        cache.close()  # the judge is asked of the second answer
        ask(llm, "Where are the keys kept?")
    told = [(made.body["model"], "nearly used up" in str(made.body["messages"])) for made in server.requests]
    assert sorted(told) == [(SMALL, False), (SMALL, False), (CHEAP, False), (CHEAP, False), (CHEAP, True)]


def test_the_reply_is_short_and_a_model_that_thinks_has_room_to(
    make_openai: Make, guard: CostGuard, server: Simulator
) -> None:
    server.reply = lambda body: {"content": "yes", "reasoning_tokens": 128 * ("gpt-5" in body["model"])}
    for name in ("gpt-5-nano", SMALL):
        assert judged(make_openai(name), guard=guard)(*SAME).same is True
        assert judged(guard_llm(make_openai(name), guard))(*SAME).same is True
    limits = [made.body.get("max_completion_tokens", made.body.get("max_tokens")) for made in server.requests]
    assert limits == [None, None, 20, 20]


def test_a_judge_whose_connection_breaks_is_charged_as_a_short_reply(
    make_openai: Make, guard: CostGuard, server: Simulator
) -> None:
    server.faults.append(Fault(drop=1))
    assert judged(make_openai(SMALL), guard=guard)(*SAME).same is None
    [lost] = events(guard)
    assert (lost.outcome.value, lost.attribution.endpoint) == ("error", "costguard/judge")
    assert lost.cost is not None
    assert 20_000 < lost.cost < 1_000_000  # nano-dollars, of the prompt and 20 tokens, at $1 a million


def test_what_a_verifier_cost_that_failed_is_to_be_saved_too(
    make_openai: Make, guard: CostGuard, cache: SemanticCache, server: Simulator
) -> None:
    llm = guard_llm(make_openai(CHEAP), guard, cache=cache)
    ask(llm, STORED)
    server.faults.append(Fault(drop=1))
    ask(llm, ASKED)
    [lost] = [event for event in events(guard) if event.attribution.endpoint == "costguard/verify"]
    assert (lost.outcome.value, cache.stats().verification_cost) == ("error", lost.cost)
    cache.close()
