"""The proxy as an ASGI application: requests in, answers out; what happens in between is the lifecycle of a call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from costguard_core.errors import StoreUnavailable
from costguard_core.guard import CostGuard
from costguard_core.lifecycle.drivers import arun
from costguard_core.proxy.caches import open_caches
from costguard_core.proxy.callers import Caller, Callers
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.exchange import (
    Client,
    Receive,
    RequestError,
    Scope,
    Send,
    ended,
    event_stream,
    json_body,
    marks,
    read_body,
    respond,
    respond_json,
    start,
    tell_error,
    until_gone,
)
from costguard_core.proxy.feedback import PATH as FEEDBACK_PATH
from costguard_core.proxy.feedback import AnswerNames, Feedback
from costguard_core.proxy.keys import KeyStore
from costguard_core.proxy.operation import Operation
from costguard_core.proxy.own_calls import OwnCalls
from costguard_core.proxy.reply import Reply
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.routers import WireRouter, open_routers
from costguard_core.proxy.settings import ProxySettings, Upstream
from costguard_core.proxy.upstream import UpstreamClient, UpstreamError, returned, sent_headers
from costguard_core.types import Baseline, Event, Outcome
from costguard_core.util.text import printable
from costguard_core.wire import WireFormat
from costguard_core.wire.base import json_object

# The only paths that are passed on: plain segments, so that none means another place on the upstream's host.
_PATH = re.compile(r"/v1(/(?!\.+(/|$))[A-Za-z0-9_.:@~-]+)+")
_FREE = re.compile(r"/v1/(messages/count_tokens|models(/.*)?)")
_SETTLE_SECONDS = 10.0  # a choice: a counter store that needs longer is away
_MODEL = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class _Asking(NamedTuple):
    """A request for a model, before it is known which.

    Attributes:
        client: who sent it.
        form: its format.
        body: as JSON.
        size: bytes of it as they came.
        caller: who asks.
    """

    client: Client
    form: WireFormat
    body: Mapping[str, Any]
    size: int
    caller: Caller


class ProxyApp:
    """The application. It closes guard and keys when the server shuts down.

    Args:
        guard: budgets, prices and ledger.
        settings: of the proxy.
        keys: virtual keys, if there are any.
        operation: ``/metrics`` and ``/ui``, if they are wanted.
    """

    def __init__(
        self,
        guard: CostGuard,
        settings: ProxySettings,
        keys: KeyStore | None = None,
        *,
        operation: Operation | None = None,
    ) -> None:
        self.guard = guard
        self.settings = settings
        self._keys = keys
        self._operation = operation or Operation()
        self._callers = Callers(settings, keys)
        self._client = UpstreamClient(settings)
        self._own = OwnCalls(settings, guard, self._client)
        self._under_way: set[asyncio.Task[Any]] = set()
        names = AnswerNames()
        self._caches = open_caches(settings, guard, self._own, names)
        self._routers = open_routers(settings, guard, self._own, names)
        self._attributing = frozenset(settings.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        if (view := self._operation.view(scope["path"])) is not None:
            await view(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        client = Client(scope["method"], scope["raw_path"].decode("latin-1"), query, headers, receive, send)
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await self._answer(client)
        except Exception as error:
            if client.started:
                raise  # too late for a status: the server breaks the connection, so the client sees that it is cut
            await tell_error(client, error)
        finally:
            self._under_way.discard(task)

    async def _live(self, receive: Receive, send: Send) -> None:
        """https://asgi.readthedocs.io/en/latest/specs/lifespan.html"""
        await receive()
        self._own.begin()
        await asyncio.to_thread(self.guard.warm_up)  # the first request should not wait for the price list
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._under_way:  # the server has cut them, and does not wait until they are settled
            await asyncio.wait(self._under_way, timeout=_SETTLE_SECONDS)
        self._own.end()
        await self._client.close()
        await asyncio.to_thread(self._caches.close)
        await self.guard.aclose()
        if self._keys is not None:
            self._keys.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, client: Client) -> None:
        if client.path == "/health":
            await respond_json(client, 200, [], {"status": "ok"})
        elif client.path == "/ready":
            await self._say_ready(client)
        elif client.path == FEEDBACK_PATH and client.method == "POST":
            await self._take_feedback(client, json_body(await read_body(client, self.settings)))
        elif not _PATH.fullmatch(client.path):
            raise RequestError(404, "not_found", f"there is no {printable(client.path, most=80)} here")
        else:
            raw = await read_body(client, self.settings)
            form = client.form
            if form is None:
                await self._pass_on(client, raw)
            else:
                await self._call_model(client, form, raw)

    async def _say_ready(self, client: Client) -> None:
        try:
            await asyncio.to_thread(self.guard.store.tripped)
        except StoreUnavailable:
            await respond_json(client, 503, [], {"status": "the counter store cannot be reached"})
        else:
            await respond_json(client, 200, [], {"status": "ok"})

    async def _take_feedback(self, client: Client, body: Mapping[str, object]) -> None:
        caller = await self._callers.identify(dict(client.headers), body)
        told = Feedback.of(body)
        if told.hit is not None:
            judge = partial(self._caches.judge, told.hit, caller, right=told.right, everywhere=told.everywhere)
            known = await asyncio.to_thread(judge)
        else:
            known = await asyncio.to_thread(self._note_quality, told.sample or "", told.quality, caller)
        if not known:
            raise RequestError(404, "unknown_answer", "there is no such answer, or another caller got it")
        await respond_json(client, 200, [], {"status": "ok"})

    def _note_quality(self, sample: str, quality: float, caller: Caller) -> bool:
        return any(router.feedback(sample, quality, caller) for router in self._routers.values())

    # Calls of models

    async def _call_model(self, client: Client, form: WireFormat, raw: bytes) -> None:
        body = json_body(raw)
        caller = await self._callers.identify(dict(client.headers), body)
        wanted = body.get("model")
        if not isinstance(wanted, str) or not _MODEL.fullmatch(wanted):
            raise RequestError(400, "invalid_model", "the request must have a text as its model")
        asking = _Asking(client, form, body, len(raw), caller)
        router = self._routers.get(wanted)
        if router is None:
            open_reply = partial(self._ask, asking, self.settings.aliases.get(wanted, wanted))
        elif form.kind == "embedding":
            raise RequestError(400, "invalid_model", f"{router.name} picks among models that chat")
        else:
            open_reply = partial(self._route, asking, router)
        if form.streams and body.get("stream"):
            await self._stream(client, open_reply)
        else:
            await self._reply(client, open_reply)

    async def _ask(
        self, asking: _Asking, model: str, *, route: str | None = None, baseline: Baseline | None = None
    ) -> Reply:
        """The reply of a model, or of one that is asked when its upstream cannot answer."""
        *earlier, last = (model, *self.settings.fallbacks.get(model, ()))
        open_reply = partial(self._open, asking, route=route, baseline=baseline)
        for candidate in earlier:
            try:
                return await open_reply(candidate)
            except UpstreamError as error:
                if not error.may_work_elsewhere:
                    raise
        return await open_reply(last)

    async def _open(self, asking: _Asking, model: str, *, route: str | None, baseline: Baseline | None) -> Reply:
        """The reply of a model."""
        return await Reply.open(
            WireRequest(
                self.guard,
                self._client,
                self._content(asking, model),
                size=asking.size,
                caches=self._caches,
                route=route,
                baseline=baseline,
            )
        )

    async def _route(self, asking: _Asking, router: WireRouter) -> Reply:
        """The reply of the tier that a virtual model picks."""
        strongest = list(router.models)[-1]
        reply, decision = await router.open(self._content(asking, strongest), partial(self._ask, asking))
        reply.request.route_header = decision.text
        return reply

    def _content(self, asking: _Asking, model: str) -> WireContent:
        form, client = asking.form, asking.client
        return WireContent(
            form,
            {**asking.body, "model": model},
            self._upstream(model, form.vendor),
            asking.caller,
            client.headers,
            client.query,
            self._attributing,
        )

    def _upstream(self, model: str, vendor: str | None) -> Upstream:
        found = self.settings.upstream(model, vendor)
        if found is None:
            raise RequestError(404, "model_not_found", f"no upstream serves the model {printable(model, most=80)}")
        return found

    async def _reply(self, client: Client, open_reply: Callable[[], Awaitable[Reply]]) -> None:
        """A plain call. When the client goes away, it is cancelled and settled."""
        call = asyncio.ensure_future(open_reply())
        gone = asyncio.ensure_future(until_gone(client))
        try:
            await asyncio.wait((call, gone), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return
            reply = call.result()
        finally:
            await ended(gone)
            await ended(call)
        answer = reply.answer
        assert answer is not None
        headers = [*answer.headers, *marks(reply.request)]
        if answer.raw is not None:
            await respond(client, 200, headers, answer.raw)
        else:
            await respond_json(client, 200, headers, answer.body)

    async def _stream(self, client: Client, open_reply: Callable[[], Awaitable[Reply]]) -> None:
        """A streamed call. Whatever refuses it does so before the first byte."""
        task = asyncio.current_task()
        assert task is not None
        reply: Reply | None = None
        left = False

        def leave(_: asyncio.Future[None]) -> None:
            nonlocal left
            # Where the answer is finished, the client only leaves before the last bytes, and the call is whole.
            if reply is None or not reply.request.finished:
                left = True
                task.cancel()

        gone = asyncio.ensure_future(until_gone(client))
        gone.add_done_callback(leave)
        try:
            reply = await open_reply()
            headers = [*reply.request.answer_headers, *marks(reply.request)]
            await start(client, 200, event_stream(headers))
            async with aclosing(reply.events()) as events:
                async for event in events:
                    await client.send({"type": "http.response.body", "body": event, "more_body": True})
            await client.send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not left:
                raise
            task.uncancel()
        finally:
            gone.remove_done_callback(leave)
            await ended(gone)
            if reply is not None:
                await reply.aclose()
            if left:
                await arun(self.guard.settling_abandoned())

    # Everything else

    async def _pass_on(self, client: Client, raw: bytes) -> None:
        """A request that is not understood, as it is; it is in the ledger, without a cost."""
        body = json_object(raw, strict=True) or {}
        caller = await self._callers.identify(dict(client.headers), body)
        free = client.method in ("GET", "HEAD", "DELETE") or _FREE.fullmatch(client.path) is not None
        if not free and self.settings.unmetered == "refuse":
            raise RequestError(
                403, "unmetered", f"{client.path} cannot be metered, and this proxy passes no such calls"
            )
        vendor, model = client.shape.vendor, body.get("model")
        upstream = self._upstream(model if isinstance(model, str) else "*", vendor)
        started = self.guard.clock()
        headers = sent_headers(client.headers, upstream, vendor)
        response = await self._client.open(upstream, client.method, client.path, client.query, headers, raw)
        gone = asyncio.ensure_future(until_gone(client))
        parts = self._client.parts(upstream, response)
        try:
            await start(client, response.status, returned(response.headers.items()))
            async for data in parts:
                if gone.done():
                    break
                await client.send({"type": "http.response.body", "body": data, "more_body": True})
            await client.send({"type": "http.response.body", "body": b""})
        finally:
            await ended(gone)
            await parts.aclose()
        if not free:
            self.guard.ledger.append(
                Event(
                    self.guard.new_id(),
                    started,
                    Outcome.MISS,
                    model if isinstance(model, str) else client.path,
                    provider=upstream.provider,
                    attribution=caller.attribution,
                    cost=None,
                    kind="unmetered",
                    host=upstream.host,
                    account=caller.account,
                    latency=max(0.0, self.guard.clock() - started),
                )
            )
