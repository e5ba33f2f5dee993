"""A request's way through the tiers in LangChain's words: the configuration of each call, and the message it brought.

What is decided on the way is decided in :class:`costguard_core.routing.cascade.Journey`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core.pricing import PriceBook
from costguard_core.routing import Decision
from costguard_core.routing import cascade as dispatch
from costguard_core.routing.cascade import Brought, Start
from langchain_costguard.router import translate as routes
from langchain_costguard.router.shadow import Again, Ask
from langchain_costguard.translate import parameters as calls

T = TypeVar("T")


class Journey(dispatch.Journey[T]):
    """``T`` is what one call returns: a message, a result, the chunks of a stream.

    Args:
        start: where it starts.
        models: the tiers, cheapest first.
        prices: what they cost.
        message_of: the message in what a call returned, which is what is checked.
        failed: for structured output, whether what a call returned could not be parsed.
    """

    def __init__(
        self,
        start: Start,
        *,
        models: Mapping[str, BaseChatModel],
        prices: PriceBook,
        message_of: Callable[[T], BaseMessage],
        failed: Callable[[T], bool] | None = None,
    ) -> None:
        def read(returned: T) -> Brought:
            unparsed = failed is not None and failed(returned)
            return routes.brought(message_of(returned), structured=start.request.structured, unparsed=unparsed)

        super().__init__(start, routes.bill(prices, models), read)
        self._models, self._request, self._started = models, start.request, False

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The caller's configuration for the next call, with the decision in the metadata of its run."""
        baseline = self.baseline()
        instead = {} if baseline is None else calls.against(baseline)
        metadata = {**(config.get("metadata") or {}), calls.ROUTE: self.decision.text, **instead}
        next_config: RunnableConfig = {**config, "metadata": metadata}
        if self._started:
            next_config.pop("run_id", None)  # the id of the first run cannot be that of a second one
        self._started = True
        return next_config

    def finished(self, message: BaseMessage, ask: Ask, config: RunnableConfig) -> Decision:
        """What is told of the answer, and of what it really saved, where the provider said what was used.

        A sampled call goes on from here in the background; ``ask`` asks a tier the same question.
        """
        if self.is_sampled:
            shown = routes.brought(message, structured=self._request.structured)
            self.sample(shown, Again.of(self._request, self._models, ask, config))
        return self.costed()


def travel(journey: Journey[T], config: RunnableConfig, ask: Callable[[str, RunnableConfig], T]) -> T:
    """See :func:`costguard_core.routing.cascade.travel`."""
    return dispatch.travel(journey, lambda decision: ask(decision.tier, journey.config(config)))


async def atravel(journey: Journey[T], config: RunnableConfig, ask: Callable[[str, RunnableConfig], Awaitable[T]]) -> T:
    """:func:`travel` on an event loop."""
    return await dispatch.atravel(journey, lambda decision: ask(decision.tier, journey.config(config)))
