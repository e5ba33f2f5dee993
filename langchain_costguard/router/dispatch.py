"""From the messages of a call to where it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import Attribution
from costguard_core.attribution import current_attribution
from costguard_core.routing import Decision
from costguard_core.routing import cascade as dispatch
from costguard_core.routing.cascade import Start
from costguard_core.routing.cascade.conversation import ChatRequest
from langchain_costguard.router import translate as routes
from langchain_costguard.router.judge import asked_by


class Dispatch(dispatch.Dispatch):
    """:class:`costguard_core.routing.cascade.Dispatch`, in messages, a configuration and the arguments of a call."""

    def begun(self, *call: Any, structured: bool = False) -> Start:
        """:meth:`start` of a ``call``: its messages, configuration and arguments."""
        with asked_by(call[1]):
            return self.start(*self._request(*call, structured=structured))

    async def abegun(self, *call: Any, structured: bool = False) -> Start:
        """:meth:`begun` on an event loop."""
        with asked_by(call[1]):
            return await self.astart(*self._request(*call, structured=structured))

    def decided(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> Decision:
        """The decision alone."""
        with asked_by(config):
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
