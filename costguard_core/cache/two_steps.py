"""Calls of a framework that asks its cache in two steps: first for an answer, later to keep the one that was paid for.

In between, identical requests wait for this one. What holds them together is known by who makes the call.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _running_loop  # `get_running_loop` without an error where there is none
from collections.abc import Sequence
from threading import get_ident

from costguard_core.cache.answer import CachedAnswer
from costguard_core.cache.exact.engine import FlightHandle
from costguard_core.cache.exact.singleflight import Owner
from costguard_core.cache.layers import CacheLayer, ExactLayer, afind, exact_layer, find


class TwoStepCall:
    """One call, with all the requests that are made in it.

    Attributes:
        owner: leads the flights of this call for as long as it is open.
    """

    __slots__ = ("_flights", "_open", "owner")

    def __init__(self) -> None:
        here: object = get_ident()
        if _running_loop() is not None:
            here = asyncio.current_task() or here
        self._flights: dict[str, FlightHandle] = {}
        self._open = True
        self.owner = Owner(here, lambda: self._open)

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

    def close(self) -> None:
        """The call is over."""
        self._open = False
        for handle in self._flights.values():
            handle.fail()  # harmless where an answer was saved

    def _lead(self, exact: ExactLayer) -> None:
        if exact.handle is not None and exact.handle.leads:
            self._flights[exact.key.digest] = exact.handle
