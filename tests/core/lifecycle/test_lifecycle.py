"""One model call from lookup to ledger: every way out ends the reservation and the flight exactly once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from costguard_core import Budget, Call, Charge, CostGuard, Event, Outcome, SpendLimitExceeded, Usage
from costguard_core.budgets.admission import Permit
from costguard_core.cache import Answer, AnswerCache, CachedAnswer, CacheKey, MemoryStore, NotCanonical
from costguard_core.cache.layers import CacheLayer, ExactLayer
from costguard_core.lifecycle.drivers import arun, astream, begin, run, stream
from costguard_core.lifecycle.lifecycle import Send, model_call
from costguard_core.lifecycle.request import END, ModelRequest
from costguard_core.types import UsageReport

BUDGETS = ["9 requests/hour", "10000 tokens/hour"]
USAGE = Usage(input_tokens=10, output_tokens=5)


class Provider:
    """What answers: an answer, an error, or a list of chunks in which an error may stand."""

    def __init__(self, *said: Any) -> None:
        self.said = list(said)
        self.calls = 0

    def answer(self) -> Any:
        self.calls += 1
        (said,) = self.said
        if isinstance(said, BaseException):
            raise said
        return said

    def chunks(self) -> Iterator[Any]:
        self.calls += 1
        for said in self.said:
            if isinstance(said, BaseException):
                raise said
            yield said

    async def achunks(self) -> AsyncIterator[Any]:
        for said in self.chunks():
            yield said


class TextRequest(ModelRequest[str, str]):
    """A request whose answers are texts."""

    must_hear_end = True

    def __init__(
        self,
        guard: CostGuard,
        provider: Provider,
        *,
        cache: AnswerCache | None = None,
        streamed: bool = False,
        asynchronous: bool = False,
        encode: Callable[[str], Any] = lambda text: text,
    ) -> None:
        self.guard, self.provider, self.cache = guard, provider, cache
        self.streamed, self.asynchronous = streamed, asynchronous
        self.looked_up, self.cached = False, None
        self._encode, self._received, self.endings = encode, [], 0  # type: ignore[var-annotated]

    def layers(self) -> Sequence[CacheLayer]:
        return () if self.cache is None else [ExactLayer(self.cache, CacheKey("the-key"))]

    characters = 0  # type: ignore[assignment]

    def call(self) -> Call:
        return Call(self.guard.new_id(), "m", self.guard.clock(), input_tokens=10, max_output_tokens=20)

    def send(self, permit: Permit) -> Any:
        if self.streamed:
            return self.provider.achunks() if self.asynchronous else self.provider.chunks()
        return self._asend() if self.asynchronous else self.provider.answer()

    async def _asend(self) -> Any:
        return self.provider.answer()

    def next_chunk(self, stream: Any) -> Any:
        return self._anext(stream) if self.asynchronous else self._kept(next(stream, END))

    async def _anext(self, stream: Any) -> Any:
        return self._kept(await anext(stream, END))

    def _kept(self, chunk: Any) -> Any:
        if chunk is not END:
            self._received.append(chunk)
        return chunk

    def received(self) -> str | None:
        return "".join(self._received) or None

    def usage_report(self, answer: str | None) -> UsageReport:
        return UsageReport(USAGE if answer else None, text=lambda: answer or "")

    def failure_report(self) -> UsageReport:
        text = "".join(self._received)
        return UsageReport(text=(lambda: text) if text else None)

    def encode(self, answer: str, charge: Charge) -> Answer:
        return Answer(self._encode(answer), usage=charge.usage, cost=charge.cost)

    def replay(self, cached: CachedAnswer) -> str:
        self.guard.hit(self.call(), cached.outcome, saved=cached.cost)
        return str(cached.payload)

    def static_reply(self, refusal: SpendLimitExceeded) -> str:
        if refusal.answer is None:
            raise refusal
        return str(refusal.answer)

    def chunks(self, answer: str) -> Iterable[str]:
        return [answer]

    def ended(self) -> None:
        self.endings += 1


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def guard(events: list[Event]) -> CostGuard:
    return CostGuard(BUDGETS, hooks=[lambda item: events.append(item) if isinstance(item, Event) else None])


@pytest.fixture
def cache() -> AnswerCache:
    return AnswerCache(MemoryStore())


def _held(guard: CostGuard) -> list[int]:
    return [int(row.held) for row in guard.status()]


def _spent(guard: CostGuard) -> list[int]:
    return [int(row.spent) for row in guard.status()]


async def _answered(request: TextRequest) -> Any:
    """The request through the driver that it is for: a text, or the list of its chunks."""
    match request.streamed, request.asynchronous:
        case False, False:
            return run(model_call(request))
        case False, True:
            return await arun(model_call(request))
        case True, False:
            return list(stream(model_call(request)))
        case _:
            return [chunk async for chunk in astream(model_call(request))]


WAYS = [(streamed, asynchronous) for streamed in (False, True) for asynchronous in (False, True)]
each_way = pytest.mark.parametrize(("streamed", "asynchronous"), WAYS, ids=["plain", "async", "stream", "async stream"])


@each_way
async def test_a_miss_is_paid_recorded_and_stored(guard, cache, events, streamed, asynchronous) -> None:
    way = {"cache": cache, "streamed": streamed, "asynchronous": asynchronous}
    first = TextRequest(guard, Provider("hello"), **way)
    assert await _answered(first) == (["hello"] if streamed else "hello")
    second = TextRequest(guard, Provider("not asked"), **way)
    assert await _answered(second) == (["hello"] if streamed else "hello")
    assert [event.outcome for event in events] == [Outcome.MISS, Outcome.EXACT]
    assert (first.endings, second.endings, second.provider.calls) == (1, 1, 0)
    assert (_held(guard), _spent(guard)) == ([0, 0], [1, 15])


@each_way
async def test_an_error_ends_the_reservation_and_the_flight(guard, cache, events, streamed, asynchronous) -> None:
    way = {"cache": cache, "streamed": streamed, "asynchronous": asynchronous}
    with pytest.raises(ValueError, match="broken"):
        await _answered(TextRequest(guard, Provider(ValueError("broken")), **way))
    assert (_held(guard), [event.outcome for event in events]) == ([0, 0], [Outcome.ERROR])
    assert await _answered(TextRequest(guard, Provider("hello"), **way)) in ("hello", ["hello"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_breaks_is_charged_for_what_arrived(guard, events, asynchronous) -> None:
    request = TextRequest(guard, Provider("hel", OSError("gone")), streamed=True, asynchronous=asynchronous)
    with pytest.raises(OSError, match="gone"):
        await _answered(request)
    assert _held(guard) == [0, 0]
    (event,) = events
    assert (event.outcome, event.usage.input_tokens, event.estimated) == (Outcome.ERROR, 10, True)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_empty_stream_ends_its_reservation(guard, cache, events, asynchronous) -> None:
    request = TextRequest(guard, Provider(), cache=cache, streamed=True, asynchronous=asynchronous)
    assert await _answered(request) == []
    assert (_held(guard), len(events), cache.stats().stored) == ([0, 0], 1, 0)


def test_a_dropped_stream_is_charged_by_whoever_looks_next(guard, cache, events) -> None:
    chunks = stream(model_call(TextRequest(guard, Provider("hel", "lo"), cache=cache, streamed=True)))
    assert next(chunks) == "hel"
    chunks.close()
    assert events == []  # nothing is done where the garbage collector may be at work
    assert _held(guard) == [0, 0]
    assert [event.outcome for event in events] == [Outcome.ABANDONED]
    assert run(model_call(TextRequest(guard, Provider("again"), cache=cache))) == "again"


async def test_a_dropped_async_stream_is_charged_by_whoever_looks_next(guard, events) -> None:
    chunks = astream(model_call(TextRequest(guard, Provider("a", "b"), streamed=True, asynchronous=True)))
    assert await anext(chunks) == "a"
    await chunks.aclose()
    assert _held(guard) == [0, 0]
    assert [event.outcome for event in events] == [Outcome.ABANDONED]


def test_a_stream_that_is_never_read_costs_nothing(guard, events) -> None:
    request = TextRequest(guard, Provider("never"), streamed=True)
    flow = model_call(request)
    unread = stream(flow, begin(flow, (Send,)))
    assert _held(guard) == [1, 30]
    del flow
    unread.close()
    del unread
    assert (_held(guard), _spent(guard), events, request.provider.calls) == ([0, 0], [0, 0], [], 0)


async def test_a_cancelled_call_is_charged_and_lets_the_next_one_lead(guard, cache, events) -> None:
    sent = asyncio.Event()

    class Hanging(TextRequest):
        async def _asend(self) -> Any:
            sent.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(arun(model_call(Hanging(guard, Provider(), cache=cache, asynchronous=True))))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (_held(guard), [event.outcome for event in events]) == ([0, 0], [Outcome.ABANDONED])
    assert await arun(model_call(TextRequest(guard, Provider("hello"), cache=cache, asynchronous=True))) == "hello"


@each_way
async def test_a_refusal_consumes_nothing_and_may_have_a_reply(events, streamed, asynchronous) -> None:
    budget = Budget.parse("1 requests/hour", answer="Come back later.")
    guard = CostGuard([budget], hooks=[events.append])
    way = {"streamed": streamed, "asynchronous": asynchronous}
    await _answered(TextRequest(guard, Provider("hello"), **way))
    refused = TextRequest(guard, Provider("not asked"), **way)
    assert await _answered(refused) in ("Come back later.", ["Come back later."])
    assert (refused.provider.calls, _spent(guard), refused.endings) == (0, [1], 1)


def test_an_answer_that_json_cannot_bring_back_is_paid_and_not_stored(guard, cache) -> None:
    def refuse(_: str) -> Any:
        raise NotCanonical("an open file")

    assert run(model_call(TextRequest(guard, Provider("hello"), cache=cache, encode=refuse))) == "hello"
    assert (cache.stats().stored, cache.stats().declined) == (0, {"no exact key can be made from an open file": 1})
    assert run(model_call(TextRequest(guard, Provider("again"), cache=cache))) == "again"


async def test_the_first_call_on_an_event_loop_loads_prices_and_vocabulary_in_a_thread(guard: CostGuard) -> None:
    threads: list[int] = []

    class Counting(TextRequest):
        def call(self) -> Call:
            threads.append(threading.get_ident())
            return super().call()

    for _ in range(2):
        await arun(model_call(Counting(guard, Provider("hello"), asynchronous=True)))
    assert threads[0] != threading.get_ident()
    assert threads[1] == threading.get_ident()
