"""One request to a router: begun, shown to its caller, and handed over to the shadow sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Generic, Self, TypeVar

from costguard_core.routing.cascade.cascade import Cascade
from costguard_core.routing.cascade.engine import RoutingEngine
from costguard_core.routing.cascade.held_stream import AsyncHeldStream, HeldStream
from costguard_core.routing.decision import Decision
from costguard_core.routing.request import ChatRequest
from costguard_core.routing.shadow.sampling import RepeatedCall
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution

M = TypeVar("M")  # a framework's model
T = TypeVar("T")  # a reply of a tier


class BaseTierCall(RepeatedCall, Generic[M, T]):
    """An adapter adds how a tier is asked, and what its replies mean.

    Args:
        models: the tiers.
        engine: decides which is asked.
    """

    cascade: Cascade[T]
    """Set when the call starts."""

    def __init__(self, models: Mapping[str, M], engine: RoutingEngine) -> None:
        self._models, self._engine = models, engine
        self._values: list[Any] = []  # what the caller got of a stream, if that is sampled

    @abstractmethod
    def request(self) -> tuple[ChatRequest, Attribution]:
        """What the router decides about, and who asks."""

    @abstractmethod
    def read(self, reply: T) -> TierResult:
        """What a reply means."""

    @abstractmethod
    def read_values(self, values: Sequence[Any]) -> TierResult:
        """What the values of a stream mean, of which there is at least one."""

    @abstractmethod
    def marked(self, value: Any, decision: Decision) -> Any:
        """A value of a stream as the caller gets it."""

    def deciding(self) -> AbstractContextManager[object]:
        """In which the router decides."""
        return nullcontext()

    def start(self, read: Callable[[T], TierResult] | None = None) -> Self:
        """Decide which tier is asked first; ``read`` says what a reply means, if not :meth:`read`."""
        with self.deciding():
            self.cascade = self._engine.start(*self.request(), read or self.read)
        return self

    async def astart(self, read: Callable[[T], TierResult] | None = None) -> Self:
        """:meth:`start` on an event loop."""
        with self.deciding():
            self.cascade = await self._engine.astart(*self.request(), read or self.read)
        return self

    def is_hard(self) -> bool:
        """Whether a dearer tier than the first would be asked; remembered as decided."""
        with self.deciding():
            return self._engine.is_hard(*self.request())

    def explain(self) -> Decision:
        """What would be decided now. Spends nothing, asks no judge, remembers nothing."""
        return self._engine.explain(*self.request())

    def shown(self, stream: HeldStream[Any]) -> Generator[Any, None, None]:
        """An accepted stream as the caller gets it; a sampled call goes on from its end in the background."""
        yield from stream.shown(self._marking(stream))
        self.sample()

    async def ashown(self, stream: AsyncHeldStream[Any]) -> AsyncGenerator[Any, None]:
        """:meth:`shown` on an event loop."""
        async with aclosing(stream.shown(self._marking(stream))) as values:
            async for value in values:
                yield value
        self.sample()

    def sample(self) -> None:
        """Hand a sampled call over to the shadow sample, once the caller has the answer."""
        if self.cascade.is_sampled:
            shown = self.read_values(self._values) if self._values else None
            self.cascade.sample(self, shown)

    def _marking(self, stream: HeldStream[object] | AsyncHeldStream[object]) -> Callable[[object], object]:
        decision = self.cascade.decision_with_costs(ended=stream.is_whole)
        collects = self.cascade.is_sampled and not stream.is_whole

        def mark(value: object) -> Any:
            if collects:
                self._values.append(value)
            return self.marked(value, decision)

        return mark
