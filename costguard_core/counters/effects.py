"""One description of a conversation with the counter store, two ways to run it.

A flow is a generator that yields what it wants done (:class:`Reserve`, :class:`Settle`, :class:`Claim`, :class:`Sleep`)
and is sent the answer. :func:`run` does those things blocking, :func:`arun` on the event loop; the rules are written
once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeVar, assert_never

from costguard_core.counters.base import CounterStore, Gate, Grant, Line
from costguard_core.errors import StoreUnavailable

T = TypeVar("T")


class Reserve(NamedTuple):
    id: str
    lines: tuple[Line, ...]
    gates: tuple[Gate, ...]
    lease: float
    note: str


class Settle(NamedTuple):
    grant: Grant
    amounts: Mapping[str, int]
    gates: tuple[Gate, ...]


class Claim(NamedTuple):
    name: str
    ttl: float


class Sleep(NamedTuple):
    seconds: float


Step = Reserve | Settle | Claim | Sleep
Flow = Generator[Step, Any, T]


def run(flow: Flow[T], store: CounterStore) -> T:
    """Drive a flow to its result, blocking. :class:`StoreUnavailable` is thrown into the flow, which may handle it."""
    answer: Any = None
    failure: StoreUnavailable | None = None
    while True:
        try:
            step = flow.throw(failure) if failure is not None else flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = failure = None
        try:
            answer = _do(step, store)
        except StoreUnavailable as error:
            failure = error


async def arun(flow: Flow[T], store: CounterStore) -> T:
    """Drive a flow to its result without blocking the event loop."""
    answer: Any = None
    failure: StoreUnavailable | None = None
    while True:
        try:
            step = flow.throw(failure) if failure is not None else flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = failure = None
        try:
            answer = await _ado(step, store)
        except StoreUnavailable as error:
            failure = error


def _do(step: Step, store: CounterStore) -> Any:
    match step:
        case Reserve():
            return store.reserve(step.id, step.lines, gates=step.gates, lease=step.lease, note=step.note)
        case Settle():
            return store.settle(step.grant, step.amounts, gates=step.gates)
        case Claim():
            return store.claim(step.name, step.ttl)
        case Sleep():
            return time.sleep(step.seconds)
        case _:
            assert_never(step)


async def _ado(step: Step, store: CounterStore) -> Any:
    match step:
        case Reserve():
            return await store.areserve(step.id, step.lines, gates=step.gates, lease=step.lease, note=step.note)
        case Settle():
            return await store.asettle(step.grant, step.amounts, gates=step.gates)
        case Claim():
            return await asyncio.to_thread(store.claim, step.name, step.ttl)
        case Sleep():
            return await asyncio.sleep(step.seconds)
        case _:
            assert_never(step)
