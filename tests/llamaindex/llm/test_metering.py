"""Each provider call is counted once, with the provider's own numbers, in the name of whoever asked."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from ledger_events import events
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, DocumentBlock, LLMMetadata, MockLLM
from llama_index_instrumentation.dispatcher import instrument_tags
from llamaindex_calls import ASYNC_CALLS, HELLO, SYNC_CALLS, Person, about_prompt, pets_index, user_message

from costguard_core import CostGuard, Event, Outcome, attribute
from costguard_core.simulate import Fault, Simulator
from costguard_core.usage.token_counter import Count, TokenCounter
from llamaindex_costguard import guard_llm


def consumed(event: Event) -> tuple[int, int]:
    return event.usage.input_tokens, event.usage.output_tokens


def reported(server: Simulator) -> list[tuple[int, int]]:
    usages = [request.usage or {} for request in server.requests]
    names = [
        ("prompt_tokens", "completion_tokens") if "prompt_tokens" in u else ("input_tokens", "output_tokens")
        for u in usages
    ]
    return [(usage[prompt], usage[answer]) for usage, (prompt, answer) in zip(usages, names, strict=True)]


@pytest.mark.parametrize(
    "method", ["chat", "complete", "stream_chat", "stream_complete", "predict", "query engine, refine"]
)
def test_the_providers_own_numbers(make_llm: Any, method: str, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    SYNC_CALLS[method](guard_llm(make_llm(), guard))
    assert [consumed(event) for event in events(guard)] == reported(openai_server)
    assert not any(event.estimated for event in events(guard))
    assert {event.provider for event in events(guard)} <= {"openai", "anthropic"}
    assert guard.status()[0].held == 0


def test_a_cached_prompt_is_cheaper(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard()
    llm = guard_llm(make_openai(), guard)
    for _ in range(2):
        llm.chat(user_message("word " * 3000))
    first, second = events(guard)
    assert second.usage.cache_read_tokens > 2000
    assert second.cost < first.cost


@pytest.mark.parametrize("call", [lambda llm: llm.chat(HELLO), lambda llm: list(llm.stream_chat(HELLO))])
def test_layers_are_one_call(call: Any) -> None:
    """``MockLLM.chat`` calls ``complete``, and both are reported by LlamaIndex."""
    guard = CostGuard(["10 requests/day"])
    call(guard_llm(MockLLM(max_tokens=5), guard))
    assert len(events(guard)) == 1
    assert guard.status()[0].spent == 1


def test_what_was_not_reported_is_counted_and_marked() -> None:
    guard = CostGuard(["1000 tokens/day"], prices={"MockLLM": {"input": "1", "output": "10"}})
    guard_llm(MockLLM(max_tokens=5), guard).chat(user_message("one two three"))
    (event,) = events(guard)
    assert event.estimated
    assert event.usage.output_tokens == 5
    assert event.usage.input_tokens > 3
    assert event.cost == event.usage.input_tokens * 1000 + 5 * 10_000
    assert guard.status()[0].spent == event.usage.total_tokens


class Wrapping(CustomLLM):
    """Somebody's own LLM, made of two calls to another one; it drops what they cost."""

    inner: Any = None

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o-mini")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.inner.complete(prompt).text + self.inner.complete(prompt + "!").text)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return self.inner.stream_complete(prompt)


def test_a_call_made_of_calls_is_one_and_costs_their_sum(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard()
    guard_llm(Wrapping(inner=guard_llm(make_openai(), guard)), guard).complete("hi")
    (event,) = events(guard)
    assert openai_server.count == 2
    sums = tuple(map(sum, zip(*reported(openai_server), strict=True)))
    assert (consumed(event), event.estimated) == (sums, False)


def test_who_asked_is_known_after_the_block(make_openai: Any) -> None:
    guard = CostGuard()
    llm = guard_llm(make_openai(), guard)
    with attribute(user="ann"), instrument_tags({"endpoint": "/a"}):
        stream = llm.stream_chat(user_message("hi"))
    list(stream)
    with instrument_tags({"user": "bob"}):
        llm.chat(user_message("ho"))
    llm.chat(user_message("hum"))
    assert [(e.attribution.user, e.attribution.endpoint) for e in events(guard)] == [
        ("ann", "/a"),
        ("bob", None),
        (None, None),
    ]


def test_who_asked_is_known_in_engines_and_their_threads(make_openai: Any) -> None:
    guard = CostGuard()
    llm = guard_llm(make_openai(), guard)
    with attribute(user="ann"):
        stream = pets_index().as_chat_engine(chat_mode="context", llm=llm).stream_chat("what do dogs do?")
    assert "".join(stream.response_gen)
    with attribute(user="ann"):
        pets_index().as_query_engine(llm=llm).query("what do cats do?")
    assert {event.attribution.user for event in events(guard)} == {"ann"}


async def test_tags_reach_agents(make_openai: Any) -> None:
    guard = CostGuard()
    with instrument_tags({"user": "cid"}):
        await ASYNC_CALLS["FunctionAgent"](guard_llm(make_openai(), guard))
    assert [event.attribution.user for event in events(guard)] == ["cid", "cid"]


def test_a_stream_that_nobody_reads_costs_nothing(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    stream = guard_llm(make_openai(), guard).stream_chat(user_message("hi"))
    assert guard.status()[0].held > 0
    del stream
    gc.collect()
    assert (openai_server.count, guard.status()[0].held, guard.status()[0].spent) == (0, 0, 0)
    assert events(guard) == []


def test_an_abandoned_stream_is_charged_for_what_came(make_openai: Any) -> None:
    guard = CostGuard(["$1/day"])
    stream = guard_llm(make_openai(), guard).stream_chat(user_message("hi"))
    next(stream)
    next(stream)
    stream.close()
    (event,) = events(guard)
    assert (event.outcome, event.estimated) == (Outcome.ABANDONED, True)
    assert 0 < event.usage.output_tokens < 20
    assert guard.status()[0].held == 0


async def test_a_cancelled_call_ends_its_reservation(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    llm = guard_llm(make_openai(), guard)
    with openai_server.hold():
        task = asyncio.create_task(llm.achat(user_message("hi")))
        await asyncio.to_thread(openai_server.wait_for_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert guard.status()[0].held == 0
    assert events(guard)[0].outcome is Outcome.ABANDONED


def test_an_error_costs_nothing(make_openai: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    llm = guard_llm(make_openai(), guard)
    openai_server.faults.append(Fault(status=500))
    with pytest.raises(Exception, match="simulated 500"):
        llm.chat(user_message("hi"))
    assert (guard.status()[0].spent, guard.status()[0].held) == (0, 0)
    assert events(guard)[0].outcome is Outcome.ERROR


def test_a_task_that_outlives_its_call_is_not_a_part_of_it(make_openai: Any) -> None:
    guard = CostGuard()
    llm = guard_llm(make_openai(), guard)
    later: list[Any] = []

    class Starts(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            import contextvars

            later.append(contextvars.copy_context())
            return CompletionResponse(text="x")

    guard_llm(Starts(), guard).complete("hi")
    later[0].run(llm.chat, user_message("hi"))
    assert len(events(guard)) == 2


def test_a_plain_thread_is_metered(make_openai: Any) -> None:
    guard = CostGuard()
    thread = threading.Thread(target=guard_llm(make_openai(), guard).chat, args=(user_message("hi"),))
    thread.start()
    thread.join()
    assert len(events(guard)) == 1


def test_anthropics_structured_output_is_counted_once(make_anthropic: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    llm = guard_llm(make_anthropic(), guard)
    assert llm.structured_predict(Person, about_prompt(), topic="ann").name
    (event,) = events(guard)
    assert openai_server.count == 1
    assert (consumed(event), event.estimated) == (reported(openai_server)[0], False)


def test_usage_of_a_fallback_inside_is_kept(make_anthropic: Any, openai_server: Simulator) -> None:
    guard = CostGuard()
    llm = guard_llm(make_anthropic(), guard)
    llm.model = "claude-3-haiku-20240307"  # without structured output of its own: LlamaIndex chats with a tool
    llm.structured_predict(Person, about_prompt(), topic="ann")
    (event,) = events(guard)
    assert (consumed(event), event.estimated) == (reported(openai_server)[0], False)


async def test_a_long_document_is_counted_in_a_thread(make_openai: Any) -> None:
    threads: list[int] = []

    class Noting(TokenCounter):
        def count_chat(self, *args: Any, **kwargs: Any) -> Count:
            threads.append(threading.get_ident())
            return super().count_chat(*args, **kwargs)

    guard = CostGuard(["$1/day"])
    guard.warm_up()
    guard.tokens = Noting()
    llm = guard_llm(make_openai(), guard)
    await llm.achat(HELLO)
    document = DocumentBlock(data=b"%PDF-1.7 /Type/Page " + bytes(30_000), document_mimetype="application/pdf")
    await llm.achat([ChatMessage(blocks=[document])])
    assert threads[0] == threading.get_ident() != threads[1]
