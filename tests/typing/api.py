"""What a user's type checker sees. Never run: mypy and pyright check it (``make typecheck``)."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from costguard_core.routing import Decision
from langchain_costguard import (
    Budget,
    CostGuard,
    CostGuardCallbackHandler,
    ExactCache,
    GuardedChatModel,
    GuardedEmbeddings,
    LayeredCache,
    PromptEconomy,
    PromptLog,
    SpendLimitExceeded,
    TieredRouter,
    attribute,
    install,
    uninstall,
)


def configure() -> CostGuard:
    return CostGuard(
        budgets=["$25/day per user", Budget(limit="0.05", window="call"), Budget.parse("$2/minute", on_exceed="wait")],
        store="sqlite:///costguard.db",
        ledger="sqlite:///costguard.db",
        prices={"my-model": {"input": "2.50", "cached_input": "0.25", "output": "10"}},
        breaker="$2/minute",
    )


def in_one_line(guard: CostGuard) -> None:
    install(guard, cache=LayeredCache([ExactCache("memory://"), ExactCache("sqlite:///costguard.db")]))
    uninstall()


def a_guarded_model_is_a_chat_model(model: BaseChatModel, guard: CostGuard) -> BaseChatModel:
    guarded = GuardedChatModel(model, guard, cache=ExactCache("memory://"))
    assert_type(guarded.invoke("hello"), AIMessage)
    return guarded


def a_router_is_a_chat_model(cheap: BaseChatModel, strong: BaseChatModel, guard: CostGuard) -> BaseChatModel:
    router = TieredRouter(cheap=cheap, strong=strong, share=0.3, guard=guard, cache=ExactCache("memory://"))
    assert_type(router.invoke("hello"), AIMessage)
    assert_type(router.explain("hello"), Decision)
    assert_type(router.is_hard("hello"), bool)
    sampled = TieredRouter(cheap=cheap, strong=strong, log=PromptLog("prompts.db"), shadow=0.02, shadow_budget=None)
    assert_type(sampled.feedback(sampled.invoke("hello"), 1.0), bool)
    assert_type((PromptEconomy(max_tokens=8000) | sampled).invoke("hello"), AIMessage)
    return TieredRouter((router.is_hard, strong), cheap)


def guarded_embeddings_are_embeddings(embeddings: Embeddings, guard: CostGuard) -> Embeddings:
    return GuardedEmbeddings(embeddings, guard)


def attributed(guard: CostGuard, model: BaseChatModel) -> Decimal | int | None:
    try:
        with attribute(user="u1", endpoint="/support", session="s9"):
            model.invoke("hello", config={"callbacks": [CostGuardCallbackHandler(guard)]})
    except SpendLimitExceeded as refusal:
        assert_type(refusal.retry_after, float | None)
        return refusal.spent
    return None
