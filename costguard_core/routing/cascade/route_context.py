"""What a router and the call to one of its tiers tell each other, where nothing else carries it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from costguard_core.types import Baseline
from costguard_core.util.internal_calls import not_inherited


class RouteContext:
    """One call of a tier.

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


_current = not_inherited(ContextVar[RouteContext | None]("costguard_route_context", default=None), None)

current_route_context = _current.get
"""What the router tells the call that is being made; ``None`` if no router decided about it."""


@contextmanager
def in_route_context(context: RouteContext) -> Iterator[None]:
    """Calls made inside were decided by a router. Entered anew for each step of a stream."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
