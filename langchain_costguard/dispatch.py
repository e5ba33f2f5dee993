"""From the messages of a call to the journey it starts on: request, budget, decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import Attribution
from costguard_core.attribution import current_attribution
from costguard_core.routing import Decision, Router, Spending
from costguard_core.routing.verify import Check
from costguard_core.tiering import Pace
from langchain_costguard import routes
from langchain_costguard.journey import Journey
from langchain_costguard.routes import ChatRequest
from langchain_costguard.shadow import Bill, Sampling

T = TypeVar("T")
_log = logging.getLogger("costguard")
_LOOK = 100  # decisions between two looks at the drift


class Dispatch:
    """Decides for one router. Copies of that router share it, and so remember together.

    Args:
        router: the decision.
        pace: the budget that is spent evenly, if one is.
        check: what the answers of all tiers but the strongest are checked with.
        strongest: model and provider of the strongest tier, for budgets that count per model.
        asks: whether deciding may take a call to a judge.
        sampling: where sampled calls go, if there is a prompt log.
    """

    def __init__(
        self,
        router: Router,
        *,
        pace: Pace | None,
        check: Check | None,
        strongest: tuple[str, str | None],
        asks: bool,
        sampling: Sampling | None = None,
    ) -> None:
        self.router, self.check, self.sampling = router, check, sampling
        self._decided, self._drifted = 0, False
        self._pace, self._strongest = pace, strongest
        self._slow = asks or (pace is not None and pace.is_remote)

    def __deepcopy__(self, memo: dict[int, object]) -> Dispatch:
        return self

    def journey(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        message_of: Callable[[T], BaseMessage],
        *,
        bill: Bill,
        structured: bool = False,
        failed: Callable[[T], bool] = lambda _: False,
    ) -> Journey[T]:
        """See :class:`Journey`."""
        request, attribution = self._request(messages, config, kwargs, structured=structured)
        decision = self.router.decide(request, spending=self._spending(request, attribution))
        self._watch()
        drawn = None if self.sampling is None else self.sampling.drawn(request)
        return Journey(
            self.router,
            request,
            decision if drawn is None else replace(decision, sample=drawn),
            attribution=attribution,
            bill=bill,
            check=self.check,
            sampling=self.sampling,
            message_of=message_of,
            failed=failed,
        )

    async def ajourney(self, *args: Any, **options: Any) -> Journey[Any]:
        """:meth:`journey` on an event loop, and off it where a judge is called or counters are over the network."""
        if self._slow:
            return await asyncio.to_thread(self.journey, *args, **options)
        return self.journey(*args, **options)

    def decide(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> Decision:
        """The decision alone."""
        request, attribution = self._request(messages, config, {})
        return self.router.decide(request, spending=self._spending(request, attribution))

    def explain(self, messages: Sequence[BaseMessage], config: RunnableConfig, kwargs: Mapping[str, Any]) -> Decision:
        """The decision, without remembering it."""
        request, attribution = self._request(messages, config, kwargs)
        found = self.router.explain(request, spending=self._spending(request, attribution, remember=False))
        return found.noting("scores have drifted: train again") if self.router.drift.retrain else found

    def _watch(self) -> None:
        """Say once that it is time to train again, and once more if that passes and comes back."""
        self._decided += 1
        if self._decided % _LOOK:
            return
        found = self.router.drift
        if found.hint is not None and not self._drifted:
            _log.warning("costguard: %s (costguard router train)", found.hint)
        self._drifted = found.retrain

    def _request(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        *,
        structured: bool = False,
    ) -> tuple[ChatRequest, Attribution]:
        metadata = config.get("metadata") or {}
        attribution = current_attribution(metadata)
        return routes.request_of(messages, kwargs, attribution, metadata, structured=structured), attribution

    def _spending(self, request: ChatRequest, attribution: Attribution, *, remember: bool = True) -> Spending | None:
        if self._pace is None:
            return None
        model, provider = self._strongest
        return self._pace.spending(
            attribution,
            model=model,
            provider=provider,
            strong_cost=self.router.tiers[-1].cost(request) or 0,
            weak_cost=self.router.tiers[0].cost(request) or 0,
            remember=remember,
        )
