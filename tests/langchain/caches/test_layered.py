"""Layers: asked in order, filled from behind, and none of them able to spoil the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.outputs import Generation
from langchain_models import chat_model
from langchain_openai import ChatOpenAI
from waiting import async_wait_until

from costguard_core import CostGuard
from langchain_costguard import ExactCache, GuardedChatModel, LayeredCache, attribute

if TYPE_CHECKING:
    from costguard_core.simulate import Simulator


async def _ask(model: ChatOpenAI, kind: str) -> Any:
    return model.invoke("hi") if kind == "sync" else await model.ainvoke("hi")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_hit_in_the_slow_layer_fills_the_fast_one(openai_server: Simulator, tmp_path: Path, kind: str) -> None:
    slow = ExactCache(f"sqlite:///{tmp_path}/c.db")
    paid = await _ask(chat_model(openai_server, cache=slow), kind)
    fast = ExactCache()
    layers = LayeredCache([fast, slow])
    hit = await _ask(chat_model(openai_server, cache=layers), kind)
    assert hit.content == paid.content
    slow.clear()
    again = await _ask(chat_model(openai_server, cache=layers), kind)
    assert openai_server.count == 1
    assert fast.stats().hits == 1
    assert again.response_metadata["costguard"] == hit.response_metadata["costguard"]
    assert again.id != hit.id


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_every_layer_learns_and_forgets(openai_server: Simulator, kind: str) -> None:
    one, two = ExactCache(), ExactCache()
    layers = LayeredCache([one, two])
    await _ask(chat_model(openai_server, cache=layers), kind)
    assert (one.stats().stored, two.stats().stored) == (1, 1)
    await layers.aclear() if kind == "async" else layers.clear()
    await _ask(chat_model(openai_server, cache=layers), kind)
    assert openai_server.count == 2


class _Spoilt(InMemoryCache):
    def lookup(self, prompt: str, llm_string: str) -> Any:
        raise OSError

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        raise OSError


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_spoilt_layer_spoils_nothing(openai_server: Simulator, kind: str) -> None:
    model = chat_model(openai_server, cache=LayeredCache([_Spoilt(), ExactCache()]))
    await _ask(model, kind)
    await _ask(model, kind)
    assert openai_server.count == 1


def test_a_foreign_layer_cannot_be_poisoned() -> None:
    layers = LayeredCache([InMemoryCache(), InMemoryCache()])
    given = [Generation(text="pure")]
    layers.update("p", "l", given)
    given[0].text = "POISON"
    assert layers.lookup("p", "l") == [Generation(text="pure")]


@pytest.mark.parametrize("guarded", [False, True])
def test_a_foreign_layer_is_told_no_header_that_authenticates(openai_server: Simulator, guarded: bool) -> None:
    foreign = InMemoryCache()
    cache = LayeredCache([foreign])
    headers = {"Authorization": "Bearer hush", "X-Api-Key": "hush", "X-Team": "blue"}
    model = ChatOpenAI(
        model="gpt-4o-mini",
        api_key="simulated",
        base_url=openai_server.base_url,
        default_headers=headers,
        cache=None if guarded else cache,
    )
    chat = GuardedChatModel(model, CostGuard(), cache=cache) if guarded else model
    for _ in range(2):
        assert chat.invoke("hi").content
    assert openai_server.count == 1
    assert foreign._cache
    assert "hush" not in repr(foreign._cache)


def test_a_foreign_layer_is_asked_by_the_string_of_langchain(openai_server: Simulator) -> None:
    foreign = InMemoryCache()
    chat_model(openai_server, cache=foreign).invoke("hi")
    assert chat_model(openai_server, cache=LayeredCache([foreign])).invoke("hi").content
    assert openai_server.count == 1


async def test_layers_pay_once_too(openai_server: Simulator, tmp_path: Path) -> None:
    fast, slow = ExactCache(), ExactCache(f"sqlite:///{tmp_path}/c.db")
    model = chat_model(openai_server, cache=LayeredCache([fast, slow]))
    with openai_server.hold():
        calls = [asyncio.create_task(model.ainvoke("dup")) for _ in range(10)]
        await async_wait_until(lambda: fast.stats().misses == 10)
    await asyncio.gather(*calls)
    assert openai_server.count == 1
    openai_server.reset()
    misses = fast.stats().misses
    with openai_server.hold():
        batch = asyncio.create_task(asyncio.to_thread(model.batch, ["other"] * 6))
        await async_wait_until(lambda: fast.stats().misses == misses + 6)
    await batch
    assert openai_server.count == 1


def test_layers_keep_tenants_apart(openai_server: Simulator) -> None:
    model = chat_model(openai_server, cache=LayeredCache([ExactCache(), ExactCache()]))
    for tenant in ("a", "b", "a"):
        model.invoke("hi", config={"metadata": {"tenant": tenant}})
        with attribute(tenant=tenant):
            model.invoke("hi")
    assert openai_server.count == 2


def test_no_layers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LayeredCache([])


@pytest.mark.parametrize("guarded", [True, False])
async def test_tenants_do_not_share_in_a_layer_that_knows_none(openai_server: Simulator, guarded: bool) -> None:
    layered = LayeredCache([InMemoryCache()])
    bare = chat_model(openai_server, cache=layered)
    with CostGuard() as guard:
        model = GuardedChatModel(bare, guard, cache=layered) if guarded else bare
        for tenant in ("a", "b"):
            config: Any = {"metadata": {"tenant": tenant}}
            answers = [model.invoke("What is a lease?", config), await model.ainvoke("What is a lease?", config)]
            assert answers[0].content == answers[1].content
    assert openai_server.count == 2
