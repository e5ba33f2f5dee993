"""One request to a router in LlamaIndex's terms: how each tier is asked, and what its replies mean.

A stream is opened when it is asked for, so that a budget refuses then, and read when somebody reads it; one that is
checked is read as a whole first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index_instrumentation.dispatcher import instrument_tags

from costguard_core import Attribution
from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing import Decision
from costguard_core.routing.cascade import (
    AsyncHeldStream,
    BaseTierCall,
    HeldStream,
    RoutingEngine,
    aaccepted_stream,
    accepted_stream,
)
from costguard_core.routing.cascade.route_context import RouteContext, in_route_context
from costguard_core.routing.request import ChatRequest, most_tokens
from costguard_core.routing.tier_result import TierResult
from llamaindex_costguard.router.requests import RouterRequest
from llamaindex_costguard.router.translate import stream_result, tier_result, with_route
from llamaindex_costguard.translate.answers import RESPONSES, Response, text_of
from llamaindex_costguard.translate.keys import who_asks
from llamaindex_costguard.translate.messages import message_text
from llamaindex_costguard.translate.parameters import model_settings

_SHADOW_TAG = {"costguard": "shadow"}
Stream = HeldStream[Any]
AsyncStream = AsyncHeldStream[Any]


class Unparsed(NamedTuple):
    """The reply of an integration that could not parse the answer of its model."""

    error: Exception


class TierCall(BaseTierCall[LLM, Any]):
    """One request to a router.

    Args:
        request: what is asked.
        method: of every tier, which answers it.
        models: the tiers.
        engine: decides which is asked.
    """

    def __init__(self, request: RouterRequest, method: str, models: Mapping[str, LLM], engine: RoutingEngine) -> None:
        super().__init__(models, engine)
        self._request, self._method = request, method

    def call(self) -> Any:
        """The answer at once."""
        self.start()
        return self._answer(run(self.cascade.steps(self._ask, unparsed=Unparsed)))

    async def acall(self) -> Any:
        """:meth:`call` on an event loop."""
        await self.astart()
        return self._answer(await arun(self.cascade.steps(self._aask, unparsed=Unparsed)))

    def stream(self) -> Generator[Any, None, None]:
        """The answer as a stream."""
        self.start(self._read_stream)
        return self._accepted(run(self.cascade.first_step(self._open)))

    async def astream(self) -> AsyncGenerator[Any, None]:
        """:meth:`stream` on an event loop."""
        await self.astart(self._read_stream)
        return self._aaccepted(await arun(self.cascade.first_step(self._aopen)))

    def request(self) -> tuple[ChatRequest, Attribution]:
        who = who_asks(self._engine.tags)
        return self._request.describe(who), who

    def _accepted(self, opened: Stream) -> Generator[Any, None, None]:
        yield from self.shown(accepted_stream(self.cascade, self._open, opened=opened, parsed=True))

    async def _aaccepted(self, opened: AsyncStream) -> AsyncGenerator[Any, None]:
        stream = await aaccepted_stream(self.cascade, self._aopen, opened=opened, parsed=True)
        async with aclosing(self.ashown(stream)) as values:
            async for value in values:
                yield value

    def _ask(self, decision: Decision) -> Any:
        with in_route_context(self._new_context(decision)):
            return self._request.send(self._models[decision.tier], self._method)

    async def _aask(self, decision: Decision) -> Any:
        with in_route_context(self._new_context(decision)):
            return await self._request.send(self._models[decision.tier], self._method)

    def _open(self, decision: Decision) -> Stream:
        return HeldStream(iter(self._ask(decision)), partial(in_route_context, self._context))

    async def _aopen(self, decision: Decision) -> AsyncStream:
        return AsyncHeldStream(aiter(await self._aask(decision)), partial(in_route_context, self._context))

    def _new_context(self, decision: Decision) -> RouteContext:
        self._context = RouteContext(decision.text, self.cascade.baseline())
        self._provider = self.cascade.prices.models[decision.tier].provider
        return self._context

    def read(self, reply: object) -> TierResult:
        """What the reply to the last call means."""
        return _result(self._request, reply, self._context.responses, self._provider)

    def _read_stream(self, stream: Stream | AsyncStream) -> TierResult:
        """What the values held of the stream of the last call mean."""
        if stream.error is not None:
            return self.read(Unparsed(stream.error))
        return self.read_values(stream.held)

    def read_values(self, values: Sequence[Any]) -> TierResult:
        """Responses and objects are cumulative, tokens are not."""
        responses = self._context.responses
        if not values:
            return tier_result("", responses, provider=self._provider)
        last = values[-1]
        if isinstance(last, RESPONSES):
            return stream_result(values, responses, self._provider)
        return tier_result(
            "".join(values) if isinstance(last, str) else self._request.text_of(last),
            responses,
            provider=self._provider,
            finish_reason=self._context.finish_reason,
            unparsed=not self._request.is_whole(last),
        )

    def marked(self, value: object, decision: Decision) -> Any:
        return with_route(value, decision) if isinstance(value, RESPONSES) else value

    def _answer(self, reply: object) -> Any:
        """The reply as the caller gets it."""
        if isinstance(reply, Unparsed):
            raise reply.error
        self.sample()
        return self.marked(reply, self.cascade.decision_with_costs())

    # For the shadow sample (see costguard_core.routing.shadow.sampling.RepeatedCall)

    def ask_again(self, tier: str) -> TierResult:
        """Without the callbacks of the LLM, in spans that have a tag."""
        context = RouteContext(f"shadow: {tier}")
        llm = self._models[tier].model_copy(update={"callback_manager": CallbackManager([])})
        with in_route_context(context), instrument_tags(_SHADOW_TAG):
            reply = self._request.send(llm, self._request.blocking_method)
        return _result(self._request, reply, context.responses, self.cascade.prices.models[tier].provider)

    def input_tokens(self) -> int:
        return most_tokens(map(message_text, self._request.messages))

    def output_limit(self, tier: str) -> int | None:
        llm = self._models[tier]
        return model_settings(llm, type(llm)).limit_with(self._request.kwargs)


def _result(request: RouterRequest, reply: object, responses: Sequence[Response], provider: str | None) -> TierResult:
    """What a reply means.

    Args:
        request: what was asked.
        reply: a response, a text or an object; or that it could not be parsed.
        responses: of the model, behind it.
        provider: whose usage they hold.
    """
    if isinstance(reply, Unparsed):
        return tier_result("", responses, provider=provider, unparsed=True)
    if isinstance(reply, RESPONSES):
        return tier_result(text_of(reply), [reply], provider=provider)
    return tier_result(request.text_of(reply), responses, provider=provider)
