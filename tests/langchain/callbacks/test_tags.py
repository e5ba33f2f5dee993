"""Which names in LangChain's ``metadata`` are tags: those that the guard declares, and those that its budgets use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel

from costguard_core import CostGuard, SpendLimitExceeded, attribute
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel, TieredRouter

METADATA = {"plan": "free", "team": "search", "langgraph_step": 3, "user_id": "u1"}


def by_handler(guard: CostGuard) -> Callable[..., Any]:
    handlers: list[BaseCallbackHandler] = [CostGuardCallbackHandler(guard)]
    model = FakeListChatModel(responses=["hello"])
    return lambda metadata: model.invoke("hi", config={"metadata": metadata, "callbacks": handlers})


def by_model(guard: CostGuard) -> Callable[..., Any]:
    model = GuardedChatModel(FakeListChatModel(responses=["hello"]), guard, cache=False)
    return lambda metadata: model.invoke("hi", config={"metadata": metadata})


def by_router(guard: CostGuard) -> Callable[..., Any]:
    models = {name: FakeListChatModel(responses=[name]) for name in ("cheap", "strong")}
    router = TieredRouter(**models, score=lambda _: 0.0, share=0.0, guard=guard, cache=False)
    return lambda metadata: router.invoke("hi", config={"metadata": metadata})


WAYS = pytest.mark.parametrize("ask", [by_handler, by_model, by_router])


@WAYS
def test_declared_names_and_those_of_budgets_are_tags(ask: Callable[[CostGuard], Callable[..., Any]]) -> None:
    guard = CostGuard(["1 requests/day per team where plan=free"], tags=("feature_flag", "plan"))
    assert guard.tags == {"feature_flag", "plan", "team"}
    ask(guard)(METADATA)
    with pytest.raises(SpendLimitExceeded) as refused:
        ask(guard)(METADATA)
    assert refused.value.scope == {"team": "search"}
    ask(guard)({**METADATA, "plan": "pro"})
    with attribute(team="ads"):
        ask(guard)({"plan": "free"})
    guard.flush()
    paid = [event.attribution for event in guard.ledger.events() if event.outcome == "miss"]
    assert [who.tags for who in paid] == [
        (("plan", "free"), ("team", "search")),
        (("plan", "pro"), ("team", "search")),
        (("plan", "free"), ("team", "ads")),
    ]
    assert paid[0].user == "u1"
    assert guard.report(by="team", where={"plan": "free"}).total.paid == 2


@WAYS
def test_a_frameworks_own_metadata_is_no_tag(ask: Callable[[CostGuard], Callable[..., Any]]) -> None:
    guard = CostGuard()
    ask(guard)(METADATA)
    guard.flush()
    assert [event.attribution.tags for event in guard.ledger.events()] == [()]
