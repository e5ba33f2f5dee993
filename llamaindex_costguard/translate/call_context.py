"""What travels with a call: whose bill it is already on, which question it answers, and where it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation.dispatcher import active_instrument_tags

from costguard_core import Attribution, CostGuard, Usage
from costguard_core.attribution import current_attribution
from costguard_core.types import Baseline
from costguard_core.usage.totals import sum_usage


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


_frames: ContextVar[tuple[_Frame, ...]] = ContextVar("costguard_frames", default=())


def is_metered(guard: CostGuard) -> bool:
    """Whether this code runs inside a call that ``guard`` has admitted: what it calls is a part of that call."""
    for frame in _frames.get():  # noqa: SIM110  # no generator: this runs for every call, mostly over nothing
        if frame.guard is guard and frame.open and not frame.quiet:
            return True
    return False


def is_watched(guard: CostGuard) -> bool:
    """Whether a wrapper of ``guard`` sees to it that everything in here is recorded, so that no handler needs to."""
    return any(frame.guard is guard and frame.open for frame in _frames.get())


def report_part(guard: CostGuard, usage: Usage) -> None:
    """Tell the call around this one what a part of it consumed: what an integration builds of it may not say so."""
    for frame in reversed(_frames.get()):
        if frame.guard is guard and frame.open:
            frame.reported = usage if frame.reported is None else sum_usage(frame.reported, usage)
            return


@contextmanager
def watching(guard: CostGuard) -> Iterator[None]:
    """Events inside are a wrapper's business; calls inside are still to be admitted."""
    frame = _Frame(guard, quiet=True)
    token = _frames.set((*_frames.get(), frame))
    try:
        yield
    finally:
        frame.open = False
        _frames.reset(token)


@dataclass(slots=True, eq=False)
class Scope(_Frame):
    """A call with where it was asked for, to be entered for each of its steps.

    A stream is asked for in one place and consumed in another; entered for each step, its events carry the tags and the
    parent of where it was asked for.

    Attributes:
        tags, span: those in force where it was made.
        entered: how to leave it again.
    """

    tags: Any = field(default_factory=active_instrument_tags.get)
    span: Any = field(default_factory=active_span_id.get)
    entered: tuple[Token[Any], ...] = ()

    def __enter__(self) -> None:
        self.entered = (
            _frames.set((*_frames.get(), self)),
            active_instrument_tags.set(self.tags),
            active_span_id.set(self.span),
        )

    def __exit__(self, *_: object) -> None:
        frames, tags, span = self.entered
        active_span_id.reset(span)
        active_instrument_tags.reset(tags)
        _frames.reset(frames)


def who_asks() -> Attribution:
    """``attribute(...)`` and LlamaIndex's ``instrument_tags``, of which the tags are nearer."""
    return current_attribution(active_instrument_tags.get())


class Retrieved(NamedTuple):
    """What a prompt template was filled with.

    Attributes:
        question: the user's question; ``None`` if the template has no variable for one.
        context: names and values of everything else.
    """

    question: str | None
    context: Mapping[str, Any]


_retrieved: ContextVar[Retrieved | None] = ContextVar("costguard_retrieved", default=None)
_QUESTIONS = ("query_str", "question", "query")


_formed: ContextVar[bool] = ContextVar("costguard_formed", default=False)


@contextmanager
def forming() -> Iterator[None]:
    """Whatever is asked inside, an object is made of its answer."""
    token = _formed.set(True)
    try:
        yield
    finally:
        _formed.reset(token)


is_forming = _formed.get
"""Whether an object is to be made of the answer to the call that is being made."""


@contextmanager
def predicting(partial: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[None]:
    """Remember what a prompt template is filled with: after formatting, question and context are one text."""
    values = {**partial, **given}
    if not values:
        yield
        return
    token = _retrieved.set(Retrieved(question_in(values), values))
    try:
        yield
    finally:
        _retrieved.reset(token)


def question_in(values: dict[str, Any]) -> str | None:
    """Takes the user's question out of what a template is filled with, if LlamaIndex's name for it is there."""
    name = next((name for name in _QUESTIONS if isinstance(values.get(name), str)), None)
    return None if name is None else str(values.pop(name))


retrieved = _retrieved.get
"""What the prompt of the call that is being made was filled with, if it came from a template."""


class RouteContext:
    """What a router and the call to one of its tiers tell each other.

    Args:
        route: the routing decision in one line, for the ledger.
        baseline: what the cost of the call is compared with.
    """

    __slots__ = ("baseline", "finish_reason", "responses", "route")

    def __init__(self, route: str, baseline: Baseline | None = None) -> None:
        self.route, self.baseline = route, baseline
        self.responses: list[Any] = []
        """The responses behind what the call returns, in the order in which they ended; the call appends them."""
        self.finish_reason: str | None = None
        """Why a stream ended, which its last chunk need not say; set by the call."""


_route_context: ContextVar[RouteContext | None] = ContextVar("costguard_route_context", default=None)


@contextmanager
def in_route_context(context: RouteContext) -> Iterator[None]:
    """Calls made inside were decided by a router. Entered anew for each step of a stream."""
    token = _route_context.set(context)
    try:
        yield
    finally:
        _route_context.reset(token)


current_route_context = _route_context.get
"""What the router tells the call that is being made; ``None`` if no router decided about it."""
