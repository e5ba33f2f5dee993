"""One request's place in a cache: what it asks for, what it was served, and where its answer goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from costguard_core import Attribution, CostGuard, Outcome
from costguard_core.cache import Answer, AnswerCache, Seat
from llamaindex_costguard.llm.call_context import Retrieved

if TYPE_CHECKING:
    from llamaindex_costguard.translate.parameters import Facts
    from llamaindex_costguard.translate.prompts import Prompt


class Wanted:
    """A request as caches see it. ``retrieved`` is what its prompt was filled with, if it came from a template."""

    __slots__ = ("_rows", "attribution", "facts", "kwargs", "prompt", "retrieved")

    def __init__(
        self,
        facts: Facts,
        prompt: Prompt,
        kwargs: Mapping[str, Any],
        retrieved: Retrieved | None,
        attribution: Attribution,
    ) -> None:
        self.facts, self.prompt, self.kwargs = facts, prompt, kwargs
        self.retrieved, self.attribution = retrieved, attribution
        self._rows: list[Any] | None = None

    @property
    def rows(self) -> list[Any]:
        """The prompt as canonical rows.

        Raises:
            NotCanonical: a part without an exact written form.
        """
        if self._rows is None:
            self._rows = self.prompt.rows()
        return self._rows

    @property
    def question(self) -> str:
        """What the user asks, without the retrieved context."""
        known = None if self.retrieved is None else self.retrieved.question
        return self.prompt.question if known is None else known


class Served(Protocol):
    """An answer that is not paid for now."""

    @property
    def answer(self) -> Answer: ...
    @property
    def payload(self) -> Any: ...
    @property
    def cost(self) -> int | None: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def saved_usd(self) -> Any: ...


class Place(Protocol):
    """``hit`` is the answer, or ``None``; then it is to be paid for, and the place ends with one of the others."""

    @property
    def hit(self) -> Served | None: ...
    def save(self, answer: Answer) -> None:
        """Keep a paid answer, and give it to those who wait for it."""

    async def asave(self, answer: Answer) -> None:
        """:meth:`save` for an event loop."""

    def decline(self, reason: str) -> None:
        """There is an answer, and it cannot be kept."""

    def fail(self) -> None:
        """There is no answer; harmless after :meth:`save`."""


@runtime_checkable
class Cache(Protocol):
    """What ``guard_llm(..., cache=...)`` takes."""

    def bind(self, guard: CostGuard) -> None:
        """Put what the cache itself pays for on this bill."""

    def layers_for(self, wanted: Wanted) -> Sequence[Layer]:
        """The caches in this one that may know the answer, in the order to be asked."""

    def board(self, wanted: Wanted) -> Place: ...
    async def aboard(self, wanted: Wanted) -> Place: ...


class Layer(Protocol):
    """One cache, asked for one request. ``approximate``: its hits are not copied into others, to be refutable."""

    approximate: bool

    def find(self) -> Served | None: ...
    async def afind(self) -> Served | None: ...
    def begin(self) -> Served | None:
        """After a miss: lead the identical requests, or wait for the one that does."""

    async def abegin(self) -> Served | None: ...
    def save(self, answer: Answer) -> None: ...
    async def asave(self, answer: Answer) -> None: ...
    def decline(self, reason: str) -> None: ...
    def fail(self) -> None: ...


class _Alone:
    """The place of requests that no cache is asked about."""

    hit = None

    def save(self, answer: Answer) -> None: ...
    async def asave(self, answer: Answer) -> None: ...
    def decline(self, reason: str) -> None: ...
    def fail(self) -> None: ...


ALONE: Place = _Alone()


class ExactPlace:
    """A seat in an exact cache."""

    __slots__ = ("_engine", "_seat", "hit")

    def __init__(self, engine: AnswerCache, seat: Seat) -> None:
        self._engine, self._seat, self.hit = engine, seat, seat.hit

    def save(self, answer: Answer) -> None:
        self._seat.save(answer)

    async def asave(self, answer: Answer) -> None:
        await self._seat.asave(answer)

    def decline(self, reason: str) -> None:
        self._engine.decline(reason)
        self._seat.decline()

    def fail(self) -> None:
        self._seat.fail()
