"""The drivers of flows: what a generator of effects yields is performed, and its result or exception is sent back."""

from __future__ import annotations

from typing import Any, TypeVar

from costguard_core.counters.effects import Flow

T = TypeVar("T")


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
        except BaseException as error:
            failure = error
