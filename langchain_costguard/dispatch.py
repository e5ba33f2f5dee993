"""From the messages of a call to the journey it starts on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import Attribution, dispatch
from costguard_core.attribution import current_attribution
from costguard_core.dispatch.conversation import ChatRequest
from costguard_core.prices import PriceBook
from costguard_core.routing import Decision
from langchain_costguard import routes
from langchain_costguard.journey import Journey

T = TypeVar("T")


class Dispatch(dispatch.Dispatch):
    """:class:`costguard_core.dispatch.Dispatch`, asked in messages, a configuration and the arguments of a call."""

    def journey(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        message_of: Callable[[T], BaseMessage],
        *,
        models: Mapping[str, BaseChatModel],
        prices: PriceBook,
        structured: bool = False,
        failed: Callable[[T], bool] = lambda _: False,
    ) -> Journey[T]:
        """See :class:`Journey`."""
        start = self.start(*self._request(messages, config, kwargs, structured=structured))
        return Journey(start, models=models, prices=prices, message_of=message_of, failed=failed)

    async def ajourney(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        message_of: Callable[[T], BaseMessage],
        *,
        models: Mapping[str, BaseChatModel],
        prices: PriceBook,
        structured: bool = False,
        failed: Callable[[T], bool] = lambda _: False,
    ) -> Journey[T]:
        """:meth:`journey` on an event loop."""
        start = await self.astart(*self._request(messages, config, kwargs, structured=structured))
        return Journey(start, models=models, prices=prices, message_of=message_of, failed=failed)

    def decided(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> Decision:
        """The decision alone."""
        return self.decide(*self._request(messages, config, {}))

    def explained(self, messages: Sequence[BaseMessage], config: RunnableConfig, kwargs: Mapping[str, Any]) -> Decision:
        """The decision, without remembering it."""
        return self.explain(*self._request(messages, config, kwargs))

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
