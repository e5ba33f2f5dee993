"""The proxy as an ASGI application: requests in, answers out; what happens in between is the lifecycle of a call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.errors import CostGuardError, SpendLimitExceeded, StoreUnavailable, UnpricedModelError
from costguard_core.guard import CostGuard
from costguard_core.lifecycle.drivers import Emit, abegin, arun, astream
from costguard_core.lifecycle.lifecycle import model_call
from costguard_core.proxy.callers import Caller, Callers, UnauthorizedError
from costguard_core.proxy.keys import KeyStore
from costguard_core.proxy.operation import Operation
from costguard_core.proxy.request import WireAnswer, WireRequest
from costguard_core.proxy.settings import ProxySettings, Upstream
from costguard_core.proxy.upstream import Headers, UpstreamClient, UpstreamError, returned, sent_headers
from costguard_core.types import Event, Outcome, usd
from costguard_core.util.text import printable
from costguard_core.wire import CHAT, FORMATS, MESSAGES, WireFormat

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("costguard")
# The only paths that are passed on: plain segments, so that none means another place on the upstream's host.
_PATH = re.compile(r"/v1(/(?!\.+(/|$))[A-Za-z0-9_.:@~-]+)+")
_FREE = re.compile(r"/v1/(messages/count_tokens|models(/.*)?)")
_SETTLE_SECONDS = 10.0  # a choice: a counter store that needs longer is away
_MODEL = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class RequestError(CostGuardError):
    """A request that the proxy answers with an error itself.

    Attributes:
        status: of the HTTP response.
        code: for programs.
        headers: of the response.
    """

    def __init__(self, status: int, code: str, text: str, headers: Headers | None = None) -> None:
        super().__init__(text)
        self.status, self.code, self.headers = status, code, headers or []


@dataclass(slots=True)
class _Client:
    """What is known of a request before its body is understood.

    Attributes:
        method, path, query: of its first line.
        headers: with lower-case names.
        receive, send: of the ASGI server.
        started: whether the response has begun.
    """

    method: str
    path: str
    query: str
    headers: Headers
    receive: Receive
    send: Send
    started: bool = False

    @property
    def form(self) -> WireFormat | None:
        """The format of the request, if it is one that is understood."""
        return FORMATS.get(self.path) if self.method == "POST" else None

    @property
    def shape(self) -> WireFormat:
        """In whose shape errors are told."""
        if self.form is not None:
            return self.form
        anthropic = self.path.startswith(MESSAGES.path) or any(n == "anthropic-version" for n, _ in self.headers)
        return MESSAGES if anthropic else CHAT


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
        self._under_way: set[asyncio.Task[Any]] = set()
        cache = settings.cache
        self._cache = None if cache is None else BaseExactCache(cache, policy=guard.cache_policy, guard=guard)

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
        client = _Client(scope["method"], scope["raw_path"].decode("latin-1"), query, headers, receive, send)
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await self._answer(client)
        except Exception as error:
            if client.started:
                raise  # too late for a status: the server breaks the connection, so the client sees that it is cut
            await _tell(client, error)
        finally:
            self._under_way.discard(task)

    async def _live(self, receive: Receive, send: Send) -> None:
        """https://asgi.readthedocs.io/en/latest/specs/lifespan.html"""
        await receive()
        await asyncio.to_thread(self.guard.warm_up)  # the first request should not wait for the price list
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._under_way:  # the server has cut them, and does not wait until they are settled
            await asyncio.wait(self._under_way, timeout=_SETTLE_SECONDS)
        await self._client.close()
        await self.guard.aclose()
        if self._keys is not None:
            self._keys.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, client: _Client) -> None:
        if client.path == "/health":
            await _respond_json(client, 200, [], {"status": "ok"})
        elif client.path == "/ready":
            await self._say_ready(client)
        elif not _PATH.fullmatch(client.path):
            raise RequestError(404, "not_found", f"there is no {printable(client.path, most=80)} here")
        else:
            raw = await _body(client, self.settings)
            form = client.form
            if form is None:
                await self._pass_on(client, raw)
            else:
                await self._call_model(client, form, raw)

    async def _say_ready(self, client: _Client) -> None:
        try:
            await asyncio.to_thread(self.guard.store.tripped)
        except StoreUnavailable:
            await _respond_json(client, 503, [], {"status": "the counter store cannot be reached"})
        else:
            await _respond_json(client, 200, [], {"status": "ok"})

    # Calls of models

    async def _call_model(self, client: _Client, form: WireFormat, raw: bytes) -> None:
        body = _parsed(raw)
        caller = await self._callers.identify(dict(client.headers), body)
        wanted = body.get("model")
        if not isinstance(wanted, str) or not _MODEL.fullmatch(wanted):
            raise RequestError(400, "invalid_model", "the request must have a text as its model")
        model = self.settings.aliases.get(wanted, wanted)
        others = self.settings.fallbacks.get(model, ())
        for number, candidate in enumerate((model, *others)):
            request = self._request(client, form, {**body, "model": candidate}, len(raw), caller)
            try:
                if request.streamed:
                    await self._stream(client, request)
                else:
                    await self._reply(client, request)
            except UpstreamError as error:
                if error.may_work_elsewhere and number < len(others):
                    continue
                raise
            return

    def _request(
        self, client: _Client, form: WireFormat, body: Mapping[str, Any], size: int, caller: Caller
    ) -> WireRequest:
        return WireRequest(
            self.guard,
            self._client,
            self._upstream(str(body["model"]), form.vendor),
            form,
            body,
            size=size,
            caller=caller,
            headers=client.headers,
            query=client.query,
            cache=self._cache,
        )

    def _upstream(self, model: str, vendor: str | None) -> Upstream:
        found = self.settings.upstream(model, vendor)
        if found is None:
            raise RequestError(404, "model_not_found", f"no upstream serves the model {printable(model, most=80)}")
        return found

    async def _reply(self, client: _Client, request: WireRequest) -> None:
        """A plain call. When the client goes away, it is cancelled and settled."""
        call = asyncio.ensure_future(arun(model_call(request)))
        gone = asyncio.ensure_future(_until_gone(client))
        try:
            await asyncio.wait((call, gone), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return
            answer: WireAnswer = call.result()
        finally:
            await _ended(gone)
            await _ended(call)
        headers = [*answer.headers, *_marks(request)]
        if answer.raw is not None:
            await _respond(client, 200, headers, answer.raw)
        else:
            await _respond_json(client, 200, headers, answer.body)

    async def _stream(self, client: _Client, request: WireRequest) -> None:
        """A streamed call. Whatever refuses it does so before the first byte."""
        flow = model_call(request)
        task = asyncio.current_task()
        assert task is not None
        events: AsyncGenerator[bytes, None] | None = None
        left = False

        def leave(_: asyncio.Future[None]) -> None:
            nonlocal left
            if not request.finished:  # else the client only leaves before the last bytes, and the call is whole
                left = True
                task.cancel()

        gone = asyncio.ensure_future(_until_gone(client))
        gone.add_done_callback(leave)
        try:
            effect = await abegin(flow, (Emit,))
            events = astream(flow, effect)
            headers = [*request.answer_headers, *_marks(request)]
            await _start(client, 200, _event_stream(headers))
            async for event in events:
                await client.send({"type": "http.response.body", "body": event, "more_body": True})
            await client.send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not left:
                raise
            task.uncancel()
        finally:
            gone.remove_done_callback(leave)
            await _ended(gone)
            if events is not None:
                await events.aclose()
            await request.close()
            if left:
                await arun(self.guard.settling_abandoned())

    # Everything else

    async def _pass_on(self, client: _Client, raw: bytes) -> None:
        """A request that is not understood, as it is; it is in the ledger, without a cost."""
        body = _parsed(raw, required=False)
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
        gone = asyncio.ensure_future(_until_gone(client))
        parts = self._client.parts(upstream, response)
        try:
            await _start(client, response.status, returned(response.headers.items()))
            async for data in parts:
                if gone.done():
                    break
                await client.send({"type": "http.response.body", "body": data, "more_body": True})
            await client.send({"type": "http.response.body", "body": b""})
        finally:
            await _ended(gone)
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


# Requests


async def _body(client: _Client, settings: ProxySettings) -> bytes:
    """The body of a request.

    Raises:
        RequestError: it is too large (413), or takes too long to come (408).
    """
    most = settings.max_body
    too_large = RequestError(413, "request_too_large", f"a request has at most {most} bytes", [("connection", "close")])
    length = next((value for name, value in client.headers if name == "content-length"), "0")
    if length.isdigit() and int(length) > most:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.read_timeout):
            while True:
                message = await client.receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(400, "disconnected", "the client went away")
                part = message.get("body", b"")
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestError(
            408, "request_timeout", "the request did not arrive in time", [("connection", "close")]
        ) from None


def _parsed(raw: bytes, *, required: bool = True) -> dict[str, Any]:
    """The JSON object of a body; empty where it is none and need not be one."""
    try:
        found = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if required:
        raise RequestError(400, "invalid_json", "the body of the request must be a JSON object")
    return {}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


async def _until_gone(client: _Client) -> None:
    """Wait until the client has closed its connection."""
    while (await client.receive())["type"] != "http.disconnect":
        pass


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end; its result was taken before, or nobody wants it."""
    if not task.done():
        task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


# Responses


def _marks(request: WireRequest) -> Headers:
    """What the response says of Costguard."""
    marks = [("x-costguard-cache", request.mark)]
    charge = request.charge
    if request.mark not in ("miss", "refused"):
        marks.append(("x-costguard-cost-usd", "0"))
    elif charge is not None:
        marks.append(("x-costguard-cost-usd", "unknown" if charge.usd is None else f"{charge.usd:f}"))
        if (left := request.left) is not None:
            marks.append(("x-costguard-remaining-usd", f"{usd(left):f}"))
    return marks


def _retry(refusal: SpendLimitExceeded) -> Headers:
    """When to ask again, and that a client should not do so by itself before (OpenAI's and Anthropic's clients do)."""
    after = refusal.retry_after
    if after is None:
        return [("x-should-retry", "false")]
    return [("retry-after", f"{max(after, 0) + 0.5:.0f}"), ("x-should-retry", "false" if after > 5 else "true")]


def _event_stream(headers: Iterable[tuple[str, str]]) -> Headers:
    kept = [(name, value) for name, value in headers if name.lower() not in ("content-type", "cache-control")]
    return [*kept, ("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]


async def _start(client: _Client, status: int, headers: Iterable[tuple[str, str]]) -> None:
    encoded = [(name.lower().encode("latin-1"), _one_line(value)) for name, value in headers]
    client.started = True
    await client.send({"type": "http.response.start", "status": status, "headers": encoded})


def _one_line(value: str) -> bytes:
    return re.sub(r"[\r\n\0]", " ", value).encode("latin-1", "replace")


async def _respond(client: _Client, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    await _start(client, status, [*headers, ("content-length", str(len(body)))])
    await client.send({"type": "http.response.body", "body": body if client.method != "HEAD" else b""})


async def _respond_json(
    client: _Client, status: int, headers: Iterable[tuple[str, str]], body: Mapping[str, Any]
) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    await _respond(client, status, [*headers, ("content-type", "application/json")], data)


async def _tell(client: _Client, error: Exception) -> None:
    """Answer with an error."""
    if isinstance(error, UpstreamError) and error.body is not None:
        await _respond(client, error.status, error.headers, error.body)
        return
    told = _as_request_error(error)
    body = client.shape.error(told.status, str(told) or HTTPStatus(told.status).phrase, told.code)
    await _respond_json(client, told.status, told.headers, body)


def _as_request_error(error: Exception) -> RequestError:
    """What the client is told of an error; nothing of budgets, keys or the proxy's own parts."""
    match error:
        case RequestError():
            return error
        case UnauthorizedError():
            return RequestError(401, "invalid_api_key", str(error), [("www-authenticate", "Bearer")])
        case SpendLimitExceeded():
            return RequestError(429, "spend_limit_exceeded", error.public, _retry(error))
        case UnpricedModelError():
            text = "this model cannot be used: its price is not known here"
            return RequestError(403, "unpriced_model", text, [("x-should-retry", "false")])
        case StoreUnavailable():
            text = "budgets cannot be checked at the moment, so no call is made; try again shortly"
            return RequestError(503, "budgets_unavailable", text, [("retry-after", "1")])
        case UpstreamError():
            return RequestError(error.status, "upstream_unavailable", str(error))
    _log.error("costguard proxy: a request failed", exc_info=error)
    return RequestError(500, "proxy_error", "the proxy failed; its log says why")
