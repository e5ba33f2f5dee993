"""The reply of one call: an answer, or a stream that has been opened and may have been read ahead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Self

from costguard_core.lifecycle.drivers import Emit, abegin, arun, astream
from costguard_core.lifecycle.lifecycle import model_call
from costguard_core.proxy.request import WireAnswer, WireRequest


class Reply:
    """What a client is to get.

    Attributes:
        request: what was asked.
        answer: of a plain request; ``None`` for a stream.
        after: called when a stream has been read to its end.
    """

    def __init__(
        self,
        request: WireRequest,
        answer: WireAnswer | None = None,
        events: AsyncGenerator[bytes, None] | None = None,
    ) -> None:
        self.request, self.answer = request, answer
        self._events = events
        self._held: list[bytes] = []
        self.after: Callable[[], None] | None = None

    @classmethod
    async def open(cls, request: WireRequest) -> Self:
        """Make the call; of a stream, up to its first event, so that whatever refuses it does so before.

        Raises:
            SpendLimitExceeded: a budget refuses.
            UpstreamError: the provider does.
        """
        flow = model_call(request)
        if not request.streamed:
            return cls(request, await arun(flow))
        try:
            return cls(request, events=astream(flow, await abegin(flow, (Emit,))))
        except BaseException:
            await request.close()
            raise

    async def read(self) -> None:
        """Read a stream to its end, before anybody sees it."""
        if self._events is not None:
            self._held = [event async for event in self._events]

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The events of a stream."""
        for event in self._held:
            yield event
        if self._events is not None:
            async with aclosing(self._events) as events:
                async for event in events:
                    yield event
        if self.after is not None and self.request.answered is not None:
            self.after()

    async def aclose(self) -> None:
        """End a stream that nobody reads on; what came is charged."""
        if self._events is not None:
            await self._events.aclose()
        await self.request.close()
