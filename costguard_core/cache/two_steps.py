"""Calls of a framework that asks its cache in two steps: first for an answer, later to keep the one that was paid for.

In between, identical requests wait for this one. What holds them together is known by who makes the call.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _running_loop  # `get_running_loop` without an error where there is none
from collections.abc import Sequence
from contextvars import ContextVar
from threading import get_ident

from costguard_core.cache.answer import CachedAnswer
from costguard_core.cache.exact.engine import FlightHandle
from costguard_core.cache.exact.singleflight import Owner
from costguard_core.cache.layers import CacheLayer, ExactLayer, afind, exact_layer, find


class TwoStepCall:
    """One call, with all the requests that are made in it: a context manager, in which it is :func:`current_call`.

    Attributes:
        owner: leads the flights of this call for as long as it is open.
    """

    __slots__ = ("_flights", "_open", "_token", "owner")

    def __enter__(self) -> None:
        here: object = get_ident()
        if _running_loop() is not None:
            here = asyncio.current_task() or here
        self._flights: dict[str, FlightHandle] = {}
        self._open = True
        self.owner = Owner(here, lambda: self._open)
        self._token = _current.set(self)
        _under_way.add(self)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        _under_way.discard(self)
        self._open = False
        for handle in self._flights.values():
            handle.fail()  # harmless where an answer was saved

    def find(self, layers: Sequence[CacheLayer]) -> CachedAnswer | None:
        """The first step: what a layer has, or what an identical request that is under way answers."""
        cached = find(layers)
        if cached is None and (exact := exact_layer(layers)) is not None:
            cached = exact.join(self.owner)
            self._lead(exact)
        return cached

    async def afind(self, layers: Sequence[CacheLayer]) -> CachedAnswer | None:
        """:meth:`find` for an event loop."""
        cached = await afind(layers)
        if cached is None and (exact := exact_layer(layers)) is not None:
            cached = await exact.ajoin(self.owner)
            self._lead(exact)
        return cached

    def leading(self, layers: Sequence[CacheLayer]) -> Sequence[CacheLayer]:
        """For the second step: the layers, so that storing, or declining, ends the flight that the first one began."""
        exact = exact_layer(layers)
        if exact is not None:
            exact.handle = self._flights.get(exact.key.digest)
        return layers

    def _lead(self, exact: ExactLayer) -> None:
        if exact.handle is not None and exact.handle.leads:
            self._flights[exact.key.digest] = exact.handle


_current: ContextVar[TwoStepCall | None] = ContextVar("costguard_model_call", default=None)
_under_way: set[TwoStepCall] = set()


def current_call() -> TwoStepCall | None:
    """The call in whose context this code runs."""
    return _current.get()


def is_any_under_way() -> bool:
    """Whether some call is under way anywhere in this process: a request that is in the context of none may be one of
    its."""
    return bool(_under_way)
