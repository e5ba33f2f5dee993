"""Other people's wrappers around a cache or around LangChain's methods: tenants stay apart, and calls go on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListChatModel, FakeListLLM
from langchain_core.outputs import Generation

from costguard_core import CostGuard
from langchain_costguard import ExactCache, LayeredCache, attribute, install, uninstall


@pytest.fixture(autouse=True)
def _no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)


class Forwarding(BaseCache):
    """A cache of somebody's own around ours, with the async methods that it inherits."""

    def __init__(self, inner: BaseCache, run: Callable[..., Any] = lambda method, *args: method(*args)) -> None:
        self.inner, self.run = inner, run

    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self.run(self.inner.lookup, prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.run(self.inner.update, prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self.inner.clear()


def _for(tenant: str) -> Any:
    return {"metadata": {"tenant": tenant}}


CACHES: dict[str, Callable[[], BaseCache]] = {
    "exact": ExactCache,
    "layered": lambda: LayeredCache([ExactCache(), ExactCache()]),
}


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("wrapped", [0, 1, 2])
async def test_a_wrapped_cache_knows_for_whom_it_is_asked(kind: str, wrapped: int) -> None:
    cache = CACHES[kind]()
    for _ in range(wrapped):
        cache = Forwarding(cache)
    set_llm_cache(cache)
    model = FakeListChatModel(responses=["for a", "for b", "paid again"])
    assert [model.invoke("What is the API?", _for(tenant)).content for tenant in "aba"] == ["for a", "for b", "for a"]
    answers = [(await model.ainvoke("What is the API?", _for(tenant))).content for tenant in "ab"]
    assert answers == ["for a", "for b"]


def test_a_cache_that_is_asked_in_a_foreign_thread_shares_nothing() -> None:
    with ThreadPoolExecutor(1) as pool:
        set_llm_cache(Forwarding(ExactCache(), lambda method, *args: pool.submit(method, *args).result()))
        model = FakeListChatModel(responses=["for a", "for b"])
        assert [model.invoke("What is the API?", _for(tenant)).content for tenant in "ab"] == ["for a", "for b"]


@pytest.mark.parametrize("method", ["_generate_with_cache", "generate"])
@pytest.mark.parametrize("first", ["the cache", "the tracer"])
def test_a_traced_model_keeps_tenants_apart(monkeypatch: pytest.MonkeyPatch, method: str, first: str) -> None:
    cache = ExactCache() if first == "the cache" else None
    original = getattr(BaseChatModel, method)

    @functools.wraps(original)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    monkeypatch.setattr(BaseChatModel, method, traced)
    set_llm_cache(cache or ExactCache())
    model = FakeListChatModel(responses=["for a", "for b", "paid again"])
    assert [model.invoke("What is the API?", _for(tenant)).content for tenant in "aba"] == ["for a", "for b", "for a"]


def test_prompts_of_one_batch_for_different_tenants_are_not_cached() -> None:
    set_llm_cache(ExactCache())
    model = FakeListLLM(responses=["1", "2", "3", "4"])
    config = [_for("a"), _for("b")]
    assert model.batch(["What is it?", "What is it?"], config) == ["1", "2"]
    assert model.batch(["What is it?", "What is it?"], config) == ["3", "4"]


def test_who_asks_directly_is_who_the_code_says() -> None:
    cache = ExactCache()
    with attribute(tenant="a"):
        cache.update("a prompt", "a model", [Generation(text="for a")])
        assert cache.lookup("a prompt", "a model") is not None
    with attribute(tenant="b"):
        assert cache.lookup("a prompt", "a model") is None


def test_a_model_that_streams_from_another_is_answered_from_the_cache_while_the_budget_is_spent() -> None:
    inner = FakeListChatModel(responses=["inner"])

    class Outer(FakeListChatModel):
        def _call(self, *args: Any, **kwargs: Any) -> str:
            return "".join(str(chunk.content) for chunk in inner.stream("What is the API?"))

    guard = CostGuard(["2 requests/day"])
    try:
        install(guard, cache=ExactCache())
        outer = Outer(responses=["unused"])
        assert outer.invoke("What is the API?").content == "inner"
        assert outer.invoke("What is the API?").content == "inner"  # from the cache, although the budget is spent
    finally:
        uninstall()
    assert [int(row.spent) for row in guard.status()] == [2]
