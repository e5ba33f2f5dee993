"""The cache: what is one question and what is two, what is kept and what is not, and where no secret goes."""

from __future__ import annotations

import asyncio
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from ledger_events import events
from llama_index.core import PromptTemplate, Settings
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, ChatResponse, ImageBlock, MockLLM, TextBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llamaindex_calls import SECRET, add_tool, user_message
from waiting import async_wait_until, wait_until

from costguard_core import ConfigurationError, CostGuard, Outcome, attribute, usd
from costguard_core.simulate import Fault, Simulator
from llamaindex_costguard import CachePolicy, ExactCache, cache_control, guard_llm

RED = b"\x89PNG\r\n\x1a\n" + b"\x00" * 16
BLUE = b"\x89PNG\r\n\x1a\n" + b"\x01" * 16


def test_a_hit_is_a_marked_copy(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    first = llm.chat(user_message("hi"))
    hit = llm.chat(user_message("hi"))
    assert hit.message == first.message
    assert "costguard" not in first.additional_kwargs
    assert hit.additional_kwargs["costguard"]["cache"] == "exact"
    assert float(hit.additional_kwargs["costguard"]["saved_usd"]) > 0
    assert hit.raw["model"] == "gpt-4o-mini"
    hit.message.blocks.clear()
    hit.additional_kwargs.clear()
    assert llm.chat(user_message("hi")).message == first.message
    assert openai_server.count == 1


@pytest.mark.parametrize(
    "other",
    [
        {"model": "gpt-4o"},
        {"temperature": 0.7},
        {"max_tokens": 7},
        {"additional_kwargs": {"seed": 3}},
        {"api_base": "http://127.0.0.1:9/v1"},
    ],
)
def test_other_settings_are_other_questions(make_openai: Any, openai_server: Simulator, other: dict[str, Any]) -> None:
    guard, cache = CostGuard(), ExactCache()
    guard_llm(make_openai(), guard, cache=cache).chat(user_message("hi"))
    changed = guard_llm(make_openai(**other) if "api_base" not in other else make_openai(), guard, cache=cache)
    for name, value in other.items():
        setattr(changed, name, value)
    before = cache.stats().misses
    try:
        changed.chat(user_message("hi"))
    except Exception:
        assert "api_base" in other  # nobody answers there, which is how we know that it was asked
    assert cache.stats().misses == before + 1


def test_kwargs_messages_and_roles_are_part_of_the_question(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    llm.chat(user_message("hi"))
    llm.chat(user_message("hi"), stop=["x"])
    llm.chat([ChatMessage(role="system", content="Be kind."), *user_message("hi")])
    llm.chat([ChatMessage(role="assistant", content="hi")])
    llm.complete("hi")
    assert openai_server.count == 5


def test_the_same_text_with_another_image_is_another_question(
    make_openai: Any, openai_server: Simulator, tmp_path: Path
) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    for image in (RED, BLUE, RED):
        llm.chat([ChatMessage(role="user", blocks=[TextBlock(text="what is it?"), ImageBlock(image=image)])])
    assert openai_server.count == 2
    file = tmp_path / "picture.png"
    for image in (RED, BLUE):
        file.write_bytes(image)
        llm.chat([ChatMessage(role="user", blocks=[TextBlock(text="what is it?"), ImageBlock(path=file)])])
    assert openai_server.count == 4


def test_tenants_do_not_share(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    for tenant in ("a", "b", "a"):
        with attribute(tenant=tenant):
            llm.chat(user_message("hi"))
    assert openai_server.count == 2


def test_question_and_context_are_both_the_question(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    template = PromptTemplate("Context: {context_str}\nQuery: {query_str}")
    for context, question in (("c1", "q1"), ("c1", "q2"), ("c2", "q1"), ("c1", "q1")):
        llm.predict(template, context_str=context, query_str=question)
    assert openai_server.count == 3


def test_rules_read_the_question_and_not_the_context(make_openai: Any, openai_server: Simulator) -> None:
    """A retrieved page that says "today" makes no question one about today; a question that does is not kept."""
    cache = ExactCache()
    llm = guard_llm(make_openai(), CostGuard(), cache=cache)
    template = PromptTemplate("{context_str} Answer: {query_str}")
    for _ in range(2):
        llm.predict(template, context_str="What is the weather today?", query_str="How do cats purr?")
    assert openai_server.count == 1
    for _ in range(2):
        llm.predict(template, context_str="Cats purr.", query_str="What is the weather today?")
    assert openai_server.count == 3
    assert cache.stats().declined == {"the answer depends on the time": 2}


def test_no_secret_in_store_repr_or_events(make_openai: Any, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    guard = CostGuard(ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    bare = make_openai(default_headers={"Authorization": f"Bearer {SECRET}", "X-Team": "blue"})
    llm = guard_llm(bare, guard, cache=f"sqlite:///{file}")
    llm.chat(user_message("hi"))
    assert SECRET not in repr(llm) + str(llm) + repr(guard) + repr(events(guard))
    assert "blue" in repr(llm)
    guard.close()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SECRET.encode() not in written
    assert b"hi" not in written.split(b"costguard")[0]


def test_a_hit_tells_no_callback_and_a_miss_does(make_openai: Any) -> None:
    counter = TokenCountingHandler()
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    Settings.llm, before = llm, Settings._callback_manager
    try:
        Settings.callback_manager = CallbackManager([counter])
        Settings.llm.chat(user_message("hi"))
        counted = counter.total_llm_token_count
        assert counted > 0
        Settings.llm.chat(user_message("hi"))
        assert counter.total_llm_token_count == counted
    finally:
        Settings._llm, Settings._callback_manager = None, before


def test_streams_are_kept_when_they_end_and_only_then(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    abandoned = llm.stream_chat(user_message("hi"))
    next(abandoned)
    abandoned.close()
    text = "".join(chunk.delta or "" for chunk in llm.stream_chat(user_message("hi")))
    assert openai_server.count == 2
    assert llm.chat(user_message("hi")).message.content == text
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(user_message("hi"))) == text
    assert openai_server.count == 2
    openai_server.faults.append(Fault(drop=3))
    with pytest.raises(httpx.HTTPError):
        list(llm.stream_chat(user_message("broken")))
    list(llm.stream_chat(user_message("broken")))
    assert openai_server.count == 4


def test_answers_that_were_cut_off_are_not_kept(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(max_tokens=3), CostGuard(), cache="memory://")
    llm.chat(user_message("hi"))
    list(llm.stream_chat(user_message("hi")))
    llm.chat(user_message("hi"))
    assert openai_server.count == 3


class Odd(MockLLM):
    """Puts something into ``raw`` that nobody can write down."""

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(role="assistant", content="odd"), raw=object())


def test_what_cannot_be_written_is_left_out_not_raised() -> None:
    cache = ExactCache()
    llm = guard_llm(Odd(), CostGuard(), cache=cache)
    assert llm.chat(user_message("hi")).message.content == "odd"
    assert llm.chat(user_message("hi")).raw is None
    assert cache.stats().hits == 1


def test_a_setting_without_a_name_is_not_cached() -> None:
    cache = ExactCache()
    llm = guard_llm(MockLLM(messages_to_prompt=lambda messages: str(len(messages))), CostGuard(), cache=cache)
    assert [llm.chat(user_message(text)).message.content for text in ("a", "b", "a")] == ["1", "1", "1"]
    assert cache.stats().declined == {"no exact key can be made from a setting that is a function without a name": 3}


def test_identical_threads_make_one_request(make_openai: Any, openai_server: Simulator) -> None:
    guard, cache = CostGuard(["$1/day"]), ExactCache()
    llm = guard_llm(make_openai(), guard, cache=cache)
    with ThreadPoolExecutor(8) as pool:
        with openai_server.hold():
            calls = [pool.submit(llm.chat, user_message("hi")) for _ in range(8)]
            wait_until(lambda: cache.stats().misses == 8)  # nobody has found an answer: they will share one
        answers = [call.result().message.content for call in calls]
    assert len(set(answers)) == 1
    assert openai_server.count == 1
    assert sorted(event.outcome.value for event in events(guard)) == ["coalesced"] * 7 + ["miss"]


async def test_identical_tasks_make_one_request_in_streams_too(make_openai: Any, openai_server: Simulator) -> None:
    cache = ExactCache()
    llm = guard_llm(make_openai(), CostGuard(), cache=cache)

    async def read() -> str:
        return "".join([chunk.delta or "" async for chunk in await llm.astream_chat(user_message("hi"))])

    with openai_server.hold():
        reads = [asyncio.create_task(read()) for _ in range(8)]
        await async_wait_until(lambda: cache.stats().misses == 8)
    assert len(set(await asyncio.gather(*reads))) == 1
    assert openai_server.count == 1


def test_agents_without_a_provider_are_cached_with_their_tools() -> None:
    cache = ExactCache()
    llm = guard_llm(MockFunctionCallingLLM(is_chat_model=True), CostGuard(), cache=cache)
    for _ in range(2):
        llm.chat_with_tools([add_tool()], user_msg="add")
    assert (cache.stats().misses, cache.stats().hits) == (1, 1)


def test_refresh_no_cache_and_invalidate(make_openai: Any, openai_server: Simulator) -> None:
    cache = ExactCache(policy=CachePolicy(ttl=60))
    llm = guard_llm(make_openai(), CostGuard(), cache=cache)
    llm.chat(user_message("hi"))
    with cache_control(refresh=True):
        llm.chat(user_message("hi"))
    with cache_control(no_cache=True):
        llm.chat(user_message("hi"))
    assert openai_server.count == 3
    assert cache.invalidate(model="gpt-4o-mini") == 1
    llm.chat(user_message("hi"))
    assert openai_server.count == 4


async def test_copies_and_pickles_stay_on_the_bill(make_openai: Any, openai_server: Simulator) -> None:
    from llama_index.llms.openai import OpenAI

    guard = CostGuard(["100 requests/day"])
    llm = guard_llm(make_openai(), guard, cache="memory://")
    llm.chat(user_message("hi"))
    fresh = guard_llm(
        OpenAI(api_base=openai_server.base_url, api_key=SECRET, model="gpt-4o-mini"), guard, cache="memory://"
    )
    for copied in (copy.copy(llm), llm.model_copy(), copy.deepcopy(fresh), pickle.loads(pickle.dumps(fresh))):
        assert isinstance(copied, OpenAI)
        assert type(copied) is type(llm)
        assert copied._costguard.guard is guard
    assert copy.copy(llm).chat(user_message("hi")).additional_kwargs["costguard"]["cache"] == "exact"
    assert llm.to_dict() == make_openai().to_dict()
    assert llm.class_name() == "openai_llm"
    pickled = pickle.dumps(fresh)
    del fresh, copied
    assert isinstance(pickle.loads(pickled), OpenAI)  # a worker that fails to read its task is waited for for ever
    with pytest.raises(ConfigurationError, match="guarded in another process, and its guard cannot be here"):
        pickle.loads(pickled).chat(user_message("hi"))


def test_one_bill_only() -> None:
    guard = CostGuard()
    llm = guard_llm(MockLLM(), guard)
    assert type(guard_llm(llm, guard)) is type(llm)
    with pytest.raises(ConfigurationError, match="another guard's bill"):
        guard_llm(llm, CostGuard())


def test_a_broken_cache_costs_nobody_the_answer(make_openai: Any, tmp_path: Path) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache=f"sqlite:///{tmp_path / 'missing' / 'deep' / 'cache.db'}")
    assert llm.chat(user_message("hi")).message.content
    assert llm.chat(user_message("hi")).message.content


def test_hits_are_events_without_cost(make_openai: Any) -> None:
    guard = CostGuard(["$1/day"])
    llm = guard_llm(make_openai(), guard, cache="memory://")
    llm.chat(user_message("hi"))
    llm.chat(user_message("hi"))
    miss, hit = events(guard)
    assert (miss.outcome, hit.outcome, hit.cost, hit.saved) == (Outcome.MISS, Outcome.EXACT, 0, miss.cost)
    assert guard.status()[0].spent == usd(miss.cost)
