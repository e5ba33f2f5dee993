"""One model call from lookup to ledger, written once for every framework, plain or streamed, blocking or not.

::

    Lookup ─► hit ──────────────────────────────────────────► replay
      └─ miss ─► Join ─► Reserve ─► Send ─► Settle ─► Store ─► answer
                            └─ refused ─► static reply, or the refusal is raised

:func:`model_call` is a generator that yields effects; :mod:`costguard_core.lifecycle.drivers` performs them. What
needs no driver, because it answers at once or may block, is done in place: resuming the generators takes longer.
Whatever happens after Reserve (an answer, an error, an empty stream, a cancellation, a consumer that goes away, a
result that nobody can parse) ends the reservation and the flight exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from costguard_core.cache import layers as caches
from costguard_core.cache.keys import NotCanonical
from costguard_core.cache.layers import CacheLayer, ExactLayer
from costguard_core.counters.effects import Flow
from costguard_core.errors import SpendLimitExceeded
from costguard_core.lifecycle.drivers import Emit
from costguard_core.lifecycle.request import END, ModelRequest, ProviderRequest
from costguard_core.types import Call, Charge

if TYPE_CHECKING:
    from costguard_core.budgets.admission import Permit

Request = ModelRequest[Any, Any]


def model_call(request: Request) -> Flow[Any]:
    """Answer ``request`` from a cache, refuse it, or make it, charge it and keep its answer.

    Returns the answer; of a streamed request, the chunks are emitted and nothing is returned.
    """
    layers, on_loop = request.layers(), request.asynchronous
    exact: ExactLayer | None = None
    abandoned = False
    try:
        if layers:
            if request.looked_up:
                cached = request.cached
            else:
                cached = (yield Await(partial(caches.afind, layers))) if on_loop else caches.find(layers)
            if cached is None and (exact := caches.exact_layer(layers)) is not None:
                cached = (yield Await(exact.ajoin)) if on_loop else exact.join()
            if cached is not None:
                answer = request.replay(cached)
                return (yield from _emitted(request, answer)) if request.streamed else answer
        try:
            call = (yield Count(request)) if on_loop else request.call()
            permit = yield from request.guard.reserving(call)
        except SpendLimitExceeded as refusal:
            answer = request.static_reply(refusal)
            return (yield from _emitted(request, answer)) if request.streamed else answer
        answer, charge = yield from paid_call(request, permit)
        if layers and answer is not None and (yield from _stored(request, layers, answer, charge)):
            exact = None  # its flight has ended with that
        return answer
    except GeneratorExit:
        abandoned = True
        raise
    finally:
        if request.must_hear_end:
            request.ended()
        if exact is not None and exact.handle is not None:
            exact.handle.fail(abandoned=abandoned)


def paid_call(request: ProviderRequest[object], permit: Permit) -> Flow[tuple[object, Charge]]:
    """Make an admitted call, or its stream, and charge it; returns the answer and the charge."""
    sent = settled = False
    try:
        try:
            if request.streamed:
                stream = yield Send(request, permit)
                sent = True
                while (chunk := (yield NextChunk(request, stream))) is not END:
                    yield Emit(chunk)
                answer = request.received()
            else:
                sent = True
                answer = (yield Send(request, permit)) if request.asynchronous else request.send(permit)
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from request.guard.failing(permit, error, request.failure_report())
            settled = True
            raise
        guard, report = request.guard, request.usage_report(answer)
        charge = guard.settle(permit, report) if permit.grant is None else (yield from guard.settling(permit, report))
        settled = True
        if request.must_hear_charge:
            request.charged(answer, charge)
        return answer, charge
    except GeneratorExit:
        # The consumer is gone. This may run inside the garbage collector, in the middle of anything: no lock, no I/O.
        if not settled:
            request.guard.abandon(permit, request.failure_report if sent else None)
        raise


def _emitted(request: Request, answer: object) -> Generator[Emit, object, None]:
    """A whole answer, cached or static, as a stream."""
    for chunk in request.chunks(answer):
        yield Emit(chunk)


def _stored(request: Request, layers: Sequence[CacheLayer], answer: object, charge: Charge) -> Flow[bool]:
    """Keep a paid answer, and give it to the requests that wait for it; false if JSON cannot bring it back."""
    try:
        encoded = request.encode(answer, charge)
    except NotCanonical as error:
        for layer in layers:
            layer.decline(str(error))
        return False
    if request.asynchronous:
        yield Await(partial(caches.astore, layers, encoded))
    else:
        for layer in layers:
            layer.store(encoded)
    return True


class Await(NamedTuple):
    """Await what ``function`` returns. A request that is made on an event loop wants it, and no other."""

    function: Callable[[], Awaitable[Any]]

    def perform(self) -> object:
        raise TypeError("there is no event loop to wait on")

    async def aperform(self) -> Any:
        return await self.function()


class Count(NamedTuple):
    """The request for the guard, its prompt counted if a budget needs that."""

    request: ProviderRequest[Any]

    def perform(self) -> Call:
        return self.request.call()

    async def aperform(self) -> Call:
        if self.request.guard.is_warm and not self.request.slow_to_count:
            return self.request.call()
        return await asyncio.to_thread(self._loaded)

    def _loaded(self) -> Call:
        """The first call of a process loads price list and vocabulary, which takes a second of computing."""
        self.request.guard.warm_up()
        return self.request.call()


class Send(NamedTuple):
    """Make the call, or open its stream."""

    request: ProviderRequest[Any]
    permit: Permit

    def perform(self) -> object:
        return self.request.send(self.permit)

    async def aperform(self) -> Any:
        sent = self.request.send(self.permit)
        return await sent if hasattr(sent, "__await__") else sent


class NextChunk(NamedTuple):
    """Read a stream."""

    request: ProviderRequest[Any]
    stream: Any

    def perform(self) -> object:
        return self.request.next_chunk(self.stream)

    async def aperform(self) -> Any:
        return await self.request.next_chunk(self.stream)
