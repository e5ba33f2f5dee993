"""Calls inside calls: whose bill a call is already on, so that each is admitted, metered and recorded once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar

from costguard_core.types import Usage
from costguard_core.usage.totals import sum_usage
from costguard_core.util.internal_calls import not_inherited

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard


@dataclass(slots=True, eq=False)
class _Frame:
    """A call under way.

    Attributes:
        guard: whose bill it is on.
        quiet: what is called inside is still to be admitted.
        open: false at its end, so that a task that inherited its context is not taken for a part of it.
        reported: what its parts said they consumed.
    """

    guard: CostGuard
    quiet: bool = False
    open: bool = True
    reported: Usage | None = None


# Asked directly where every call passes.
FRAMES = not_inherited(ContextVar[tuple[_Frame, ...]]("costguard_frames", default=()), ())


def is_metered(guard: CostGuard) -> bool:
    """Whether this code runs inside a call that ``guard`` has admitted: what it calls is a part of that call."""
    for frame in FRAMES.get():  # noqa: SIM110  # no generator: this runs for every call, mostly over nothing
        if frame.guard is guard and frame.open and not frame.quiet:
            return True
    return False


def is_watched(guard: CostGuard) -> bool:
    """Whether a wrapper of ``guard`` sees to it that everything in here is recorded, so that no handler needs to."""
    return any(frame.guard is guard and frame.open for frame in FRAMES.get())


def report_part(guard: CostGuard, usage: Usage) -> None:
    """Tell the call around this one what a part of it consumed: what an integration builds of it may not say so."""
    for frame in reversed(FRAMES.get()):
        if frame.guard is guard and frame.open:
            frame.reported = usage if frame.reported is None else sum_usage(frame.reported, usage)
            return


@contextmanager
def watching(guard: CostGuard) -> Iterator[None]:
    """Events inside are a wrapper's business; calls inside are still to be admitted."""
    frame = _Frame(guard, quiet=True)
    token = FRAMES.set((*FRAMES.get(), frame))
    try:
        yield
    finally:
        frame.open = False
        FRAMES.reset(token)


def within(entered: Callable[[], AbstractContextManager[object]], send: Callable[[], object]) -> object:
    """What ``send`` returns, or its coroutine does, made inside of what ``entered`` returns."""
    with entered():
        made = send()
    return _awithin(entered, made) if isawaitable(made) else made


async def _awithin(entered: Callable[[], AbstractContextManager[object]], made: Awaitable[object]) -> object:
    with entered():
        return await made


@dataclass(slots=True, eq=False)
class CallScope(_Frame):
    """A call with where it was asked for, to be entered for each of its steps.

    A stream is asked for in one place and consumed in another. An adapter names in ``carried`` the context variables
    that are to have, in each step, the values that they had where it was asked for, and the fields that hold those.

    Attributes:
        entered: how to leave it again.
    """

    carried: ClassVar[Mapping[str, ContextVar[Any]]] = {}
    entered: Sequence[Token[object]] = ()

    def __enter__(self) -> None:
        entered: list[Token[Any]] = [FRAMES.set((*FRAMES.get(), self))]
        for name, variable in self.carried.items():
            value = getattr(self, name)
            if variable.get() is not value:  # a step is mostly made where the call was asked for
                entered.append(variable.set(value))
        self.entered = entered

    def __exit__(self, *_: object) -> None:
        for token in reversed(self.entered):
            token.var.reset(token)


class NestedCall:
    """A call inside one that is on the bill already: it is made, and tells what it consumed.

    Args:
        made_by: makes it: the answer or its stream, or an awaitable of either.
        guard: whose bill that is on; ``None``: on nobody's, or the call reports by itself.
        usage_of: what that which was made says of its usage.
    """

    __slots__ = ("_guard", "_usage_of", "astream", "stream")

    def __init__(
        self, made_by: Callable[[], Any], guard: CostGuard | None, usage_of: Callable[[Any], Usage | None]
    ) -> None:
        self._guard, self._usage_of = guard, usage_of
        self.stream = self.astream = made_by

    def run(self) -> Any:
        """Answer a plain call."""
        made = self.stream()
        if self._guard is not None and (usage := self._usage_of(made)) is not None:
            report_part(self._guard, usage)
        return made

    async def arun(self) -> Any:
        """:meth:`run` for an event loop."""
        made = await self.astream()
        if self._guard is not None and (usage := self._usage_of(made)) is not None:
            report_part(self._guard, usage)
        return made
