"""The four drivers of flows: plain, async, stream and async stream.

What a generator of effects yields is performed, and its result or exception is sent back. A stream driver hands every
:class:`Emit` to its consumer. When a consumer goes away, the flow is closed and nothing else is done, because that may
happen inside the garbage collector.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple, TypeVar

from costguard_core.counters.effects import Effect, Flow

T = TypeVar("T")


class Emit(NamedTuple):
    """A chunk for the consumer of a stream."""

    chunk: Any

    def perform(self) -> None:
        raise TypeError("only a stream driver can emit a chunk")

    async def aperform(self) -> None:
        self.perform()


def run(flow: Flow[T]) -> T:
    """Drive a flow to its result, blocking."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            effect = flow.send(result) if failure is None else flow.throw(failure)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        result = failure = None
        try:
            result = effect.perform()
        except BaseException as error:
            failure = error


async def arun(flow: Flow[T]) -> T:
    """Drive a flow to its result without blocking the event loop."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            effect = flow.send(result) if failure is None else flow.throw(failure)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        result = failure = None
        try:
            result = await effect.aperform()
        except GeneratorExit:
            flow.close()
            raise
        except BaseException as error:
            failure = error


def begin(flow: Flow[object], until: tuple[type, ...]) -> Effect | None:
    """Drive a flow, blocking, until it wants an effect ``until``, which is left to :func:`stream`; ``None``: it never
    does. A flow that is dropped before that effect is performed is closed."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            effect = flow.send(result) if failure is None else flow.throw(failure)
        except StopIteration:
            return None
        if isinstance(effect, until):
            return effect
        result = failure = None
        try:
            result = effect.perform()
        except BaseException as error:
            failure = error


async def abegin(flow: Flow[object], until: tuple[type, ...]) -> Effect | None:
    """:func:`begin` for an event loop."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        try:
            effect = flow.send(result) if failure is None else flow.throw(failure)
        except StopIteration:
            return None
        if isinstance(effect, until):
            return effect
        result = failure = None
        try:
            result = await effect.aperform()
        except GeneratorExit:
            flow.close()
            raise
        except BaseException as error:
            failure = error


def stream(flow: Flow[Any], effect: Effect | None = None) -> Generator[Any, None, None]:
    """Drive a flow, blocking, and yield what it emits. ``effect`` is what a started flow has yielded already."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        if effect is None:
            try:
                effect = flow.send(result) if failure is None else flow.throw(failure)
            except StopIteration:
                return
        result = failure = None
        try:
            if type(effect) is Emit:
                yield effect.chunk
            else:
                result = effect.perform()
        except GeneratorExit:
            flow.close()
            raise
        except BaseException as error:
            failure = error
        effect = None


async def astream(flow: Flow[Any], effect: Effect | None = None) -> AsyncGenerator[Any, None]:
    """:func:`stream` for an event loop."""
    result: Any = None
    failure: BaseException | None = None
    while True:
        if effect is None:
            try:
                effect = flow.send(result) if failure is None else flow.throw(failure)
            except StopIteration:
                return
        result = failure = None
        try:
            if type(effect) is Emit:
                yield effect.chunk
            else:
                result = await effect.aperform()
        except GeneratorExit:
            flow.close()
            raise
        except BaseException as error:
            failure = error
        effect = None
