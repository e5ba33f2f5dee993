"""Which names in ``instrument_tags`` are tags: those that the guard declares, and those that its budgets use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import MockEmbedding
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.llms import MockLLM

from costguard_core import CostGuard, SpendLimitExceeded, attribute
from llamaindex_costguard import TieredRouter, guard_embedding, guard_llm

TAGS = {"plan": "free", "team": "search", "step": 3, "user_id": "u1"}


def by_llm(guard: CostGuard) -> Callable[[], Any]:
    llm = guard_llm(MockLLM(max_tokens=2), guard)
    return lambda: llm.complete("hi")


def by_embedding(guard: CostGuard) -> Callable[[], Any]:
    model = guard_embedding(MockEmbedding(embed_dim=3), guard, cache=None)
    return lambda: model.get_text_embedding("hi")


def by_router(guard: CostGuard) -> Callable[[], Any]:
    models = {"cheap": MockLLM(max_tokens=2), "strong": MockLLM(max_tokens=3)}
    router = TieredRouter(**models, score=lambda _: 0.0, share=0.0, guard=guard)
    return lambda: router.complete("hi")


@pytest.mark.parametrize("make", [by_llm, by_embedding, by_router])
def test_declared_names_and_those_of_budgets_are_tags(make: Callable[[CostGuard], Callable[[], Any]]) -> None:
    guard = CostGuard(["1 requests/day per team where plan=free"], tags=("plan",))
    ask = make(guard)
    with instrument_tags(TAGS):
        ask()
        with pytest.raises(SpendLimitExceeded) as refused:
            ask()
    assert refused.value.scope == {"team": "search"}
    with attribute(team="ads"), instrument_tags({"plan": "free"}):
        ask()
    guard.flush()
    paid = [event.attribution for event in guard.ledger.events() if event.outcome == "miss"]
    assert [who.tags for who in paid] == [
        (("plan", "free"), ("team", "search")),
        (("plan", "free"), ("team", "ads")),
    ]


def test_what_is_not_declared_is_no_tag() -> None:
    guard = CostGuard()
    with instrument_tags(TAGS):
        by_llm(guard)()
    guard.flush()
    assert [(event.attribution.user, event.attribution.tags) for event in guard.ledger.events()] == [("u1", ())]
