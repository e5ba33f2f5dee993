"""LangChain's ways in say what a wrong argument must be; a URL is a cache wherever a cache is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.globals import get_llm_cache
from langchain_openai import ChatOpenAI

from costguard_core import ConfigurationError
from costguard_core.simulate import Simulator
from langchain_costguard import (
    CostGuard,
    CostGuardCallbackHandler,
    CostGuardMiddleware,
    ExactCache,
    GuardedChatModel,
    GuardedEmbeddings,
    LayeredCache,
    TieredRouter,
    install,
    uninstall,
)

wrong: Any = 5


def chat(base_url: str = "http://127.0.0.1:1/v1") -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", base_url=base_url, api_key="any")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: GuardedChatModel(chat(), wrong), "guard= is a CostGuard"),
        (lambda: GuardedChatModel("gpt-4o", CostGuard()), "model= is a chat model of LangChain"),  # type: ignore[arg-type]
        (lambda: CostGuardCallbackHandler(wrong), "guard= is a CostGuard"),
        (lambda: CostGuardMiddleware(wrong), "guard= is a CostGuard"),
        (lambda: CostGuardMiddleware(CostGuard(), exit_behavior="ende"), 'Did you mean "end"?'),  # type: ignore[arg-type]
        (lambda: GuardedEmbeddings(wrong, CostGuard()), "embeddings= is an embedding model of LangChain"),
        (lambda: LayeredCache([wrong]), "layers= is caches, such as"),
        (lambda: install(wrong), "guard= is a CostGuard"),
        (lambda: install(CostGuard(), cache=wrong), "cache= is a cache, such as"),
        (lambda: install(CostGuard(), cache=True), "cache= is a cache, such as"),  # type: ignore[arg-type]
        (lambda: install(CostGuard(), cache="memry://"), "'memry' is not known"),
        (lambda: GuardedChatModel(chat(), CostGuard(), cache=wrong), "cache= is a cache, such as"),
        (lambda: CostGuardMiddleware(CostGuard(), cache=wrong), "cache= is a cache, such as"),
        (lambda: TieredRouter(cheap=chat(), dear=chat(), cache=wrong), "cache= is a cache, such as"),
        (lambda: TieredRouter(models=wrong), "models= is a dict of models by name"),
        (lambda: TieredRouter(cheap=chat(), dear=chat(), cache="memry://"), "'memry' is not known"),
        (lambda: ExactCache(policy=wrong), "policy= is a CachePolicy"),
    ],
)
def test_it_says_what_to_write(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        made()
    assert said in str(raised.value)
    assert get_llm_cache() is None  # nothing was installed half


def test_a_url_is_a_cache(openai_server: Simulator) -> None:
    model = GuardedChatModel(chat(openai_server.base_url), CostGuard(), cache="memory://")  # type: ignore[arg-type]
    assert model.invoke("Hello!").content == model.invoke("Hello!").content
    assert openai_server.count == 1
    install(CostGuard(), cache="memory://")
    try:
        assert isinstance(get_llm_cache(), ExactCache)
    finally:
        uninstall()


@pytest.mark.parametrize("way", ["the router's", "its guarded copy's", "without a guard", "of guarded models"])
def test_a_url_is_one_cache_for_all_tiers(way: str, openai_server: Simulator) -> None:
    base, guard = chat(openai_server.base_url), CostGuard()
    tiers: Any = {"cheap": base, "dear": base.model_copy(), "score": lambda request: 0.0, "threshold": 0.5}
    router: Any
    match way:
        case "the router's":
            router = TieredRouter(**tiers, guard=guard, cache="memory://")
        case "without a guard":
            router = TieredRouter(**tiers, cache="memory://")
        case "of guarded models":
            guarded = {name: GuardedChatModel(tiers[name], guard) for name in ("cheap", "dear")}
            router = TieredRouter(**{**tiers, **guarded}, cache="memory://")
        case _:
            router = GuardedChatModel(TieredRouter(**tiers), guard, cache="memory://")
    assert router.invoke("Hello!").content == router.invoke("Hello!").content
    assert openai_server.count == 1
    cheap, dear = (getattr(model, "answer_cache", None) or model.cache for model in router.models.values())
    assert isinstance(cheap, ExactCache)
    assert cheap is dear
