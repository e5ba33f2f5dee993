"""The one request of a model call: what an adapter translates once, and the small port through which it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from costguard_core.cache.answer import Answer, CachedAnswer
from costguard_core.cache.layers import CacheLayer
from costguard_core.errors import SpendLimitExceeded
from costguard_core.types import Call, Charge, UsageReport

if TYPE_CHECKING:
    from costguard_core.budgets.admission import Permit
    from costguard_core.guard import CostGuard

R = TypeVar("R")  # a whole answer, as the framework returns it
C = TypeVar("C")  # one chunk of a stream, as the framework yields it

END: Any = object()
"""What a stream that has no further chunk gives instead of one."""


_SLOW_CHARACTERS = 20_000
"""Counting more takes several milliseconds."""


class ProviderRequest(ABC, Generic[R]):
    """One call of a provider, in an adapter's terms: how it is made, and what is known about it afterwards.

    Attributes:
        guard: budgets, prices and ledger of this call.
        streamed: whether it is answered in chunks.
        asynchronous: whether it is made on an event loop, or may be: then the driver does whatever takes time.
        is_always_counted: whether the prompt is counted although no budget needs it.
        must_hear_charge: whether :meth:`charged` is to be called.
    """

    __slots__ = ()  # a class of an adapter may have a second base with slots

    is_always_counted = False
    must_hear_charge = False
    guard: CostGuard
    streamed: bool
    asynchronous: bool

    @abstractmethod
    def call(self) -> Call:
        """The request for the guard. Its prompt is counted if a budget needs that, which may take tens of
        milliseconds: see :attr:`slow_to_count`."""

    @property
    @abstractmethod
    def characters(self) -> int:
        """About how long the prompt is, with the bytes of its pictures and documents."""

    @property
    def slow_to_count(self) -> bool:
        """Whether :meth:`call` takes longer than an event loop should wait, because it counts a long prompt."""
        return (self.is_always_counted or self.guard.counts_tokens) and self.characters > _SLOW_CHARACTERS

    @abstractmethod
    def send(self, permit: Permit) -> Any:
        """Make the call with the cap of ``permit``: the answer (an awaitable of it on an event loop), or of a streamed
        request an iterator of chunks (an async iterator, or an awaitable of one)."""

    def next_chunk(self, stream: Any) -> Any:
        """The next chunk of a stream, or :data:`END`; on an event loop an awaitable of either."""
        raise NotImplementedError

    def received(self) -> R | None:
        """The whole answer that the chunks so far amount to; ``None`` if there were none."""
        raise NotImplementedError

    @abstractmethod
    def usage_report(self, answer: R | None) -> UsageReport:
        """What the provider said about an answer, or about a stream without any chunk (``None``)."""

    def charged(self, answer: R | None, charge: Charge) -> None:
        """The call was paid for; ``answer`` is ``None`` for a stream without any chunk.

        Only told where :attr:`must_hear_charge`.
        """

    def failure_report(self) -> UsageReport:
        """What is known about a call that did not finish."""
        return UsageReport()


class ModelRequest(ProviderRequest[R], Generic[R, C]):
    """A call that caches may answer. :func:`costguard_core.lifecycle.lifecycle.model_call` makes it.

    Attributes:
        looked_up: whether ``cached`` is the result of a lookup that was made already.
        cached: what that lookup found.
        must_hear_end: whether :meth:`ended` is to be called.
    """

    __slots__ = ()
    must_hear_end = False

    looked_up: bool
    cached: CachedAnswer | None

    @abstractmethod
    def layers(self) -> Sequence[CacheLayer]:
        """The caches that may answer, in the order to be asked; none if the request is not cacheable."""

    @abstractmethod
    def encode(self, answer: R, charge: Charge) -> Answer:
        """The answer as caches store it.

        Raises:
            NotCanonical: a part that JSON cannot bring back.
        """

    @abstractmethod
    def replay(self, cached: CachedAnswer) -> R:
        """Record the hit; returns the stored answer as the framework returns it, marked as a hit."""

    @abstractmethod
    def static_reply(self, refusal: SpendLimitExceeded) -> R:
        """The reply that the refusing budget gives instead of an error. Raises ``refusal`` if there is none."""

    @abstractmethod
    def chunks(self, answer: R) -> Iterable[C]:
        """A whole answer, cached or static, as the chunks of a stream."""

    def ended(self) -> None:
        """The call is over, however it ended. Only told where :attr:`must_hear_end`. May be called by the garbage
        collector: it takes no lock and does no I/O."""
