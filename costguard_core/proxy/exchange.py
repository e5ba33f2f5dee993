"""One HTTP exchange with a client of the proxy: its request read within bounds, answers and errors in its shape."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from costguard_core.errors import CostGuardError, SpendLimitExceeded, StoreUnavailable, UnpricedModelError
from costguard_core.proxy.callers import UnauthorizedError
from costguard_core.proxy.feedback import FeedbackError
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.settings import ProxySettings
from costguard_core.proxy.upstream import Headers, UpstreamError
from costguard_core.types import usd
from costguard_core.wire import CHAT, FORMATS, MESSAGES, WireFormat
from costguard_core.wire.base import json_object

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("costguard")


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
class Client:
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


# Requests


async def read_body(client: Client, settings: ProxySettings) -> bytes:
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


def json_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        RequestError: it is none (400).
    """
    found = json_object(raw, strict=True)
    if found is None:
        raise RequestError(400, "invalid_json", "the body of the request must be a JSON object")
    return found


async def until_gone(client: Client) -> None:
    """Wait until the client has closed its connection."""
    while (await client.receive())["type"] != "http.disconnect":
        pass


async def ended(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end; its result was taken before, or nobody wants it."""
    if not task.done():
        task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


# Responses


def marks(request: WireRequest) -> Headers:
    """What the response says of Costguard."""
    told = [("x-costguard-cache", request.mark)]
    charge = request.charge
    if request.is_hit:
        told.append(("x-costguard-cost-usd", "0"))
        told += [(f"x-costguard-{name}", str(value)) for name, value in request.marks.items()]
    elif charge is not None:
        told.append(("x-costguard-cost-usd", "unknown" if charge.usd is None else f"{charge.usd:f}"))
        if (left := request.left) is not None:
            told.append(("x-costguard-remaining-usd", f"{usd(left):f}"))
    if request.route_header is not None:
        told.append(("x-costguard-route", request.route_header))
    if request.sample is not None:
        told.append(("x-costguard-sample", request.sample))
    return told


def _retry(refusal: SpendLimitExceeded) -> Headers:
    """When to ask again, and that a client should not do so by itself before (OpenAI's and Anthropic's clients do)."""
    after = refusal.retry_after
    if after is None:
        return [("x-should-retry", "false")]
    return [("retry-after", f"{max(after, 0) + 0.5:.0f}"), ("x-should-retry", "false" if after > 5 else "true")]


def event_stream(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a stream; its type is what the provider says, where it has said something."""
    kept = [(name, value) for name, value in headers if name.lower() != "cache-control"]
    typed = any(name.lower() == "content-type" for name, _ in kept)
    kind = [] if typed else [("content-type", "text/event-stream; charset=utf-8")]
    return [*kept, *kind, ("cache-control", "no-cache")]


async def start(client: Client, status: int, headers: Iterable[tuple[str, str]]) -> None:
    encoded = [(name.lower().encode("latin-1"), _one_line(value)) for name, value in headers]
    client.started = True
    await client.send({"type": "http.response.start", "status": status, "headers": encoded})


def _one_line(value: str) -> bytes:
    return re.sub(r"[\r\n\0]", " ", value).encode("latin-1", "replace")


async def respond(client: Client, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    await start(client, status, [*headers, ("content-length", str(len(body)))])
    await client.send({"type": "http.response.body", "body": body if client.method != "HEAD" else b""})


async def respond_json(
    client: Client, status: int, headers: Iterable[tuple[str, str]], body: Mapping[str, object]
) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    await respond(client, status, [*headers, ("content-type", "application/json")], data)


async def tell_error(client: Client, error: Exception) -> None:
    """Answer with an error."""
    if isinstance(error, UpstreamError) and error.body is not None:
        await respond(client, error.status, error.headers, error.body)
        return
    told = _as_request_error(error)
    body = client.shape.error(told.status, str(told) or HTTPStatus(told.status).phrase, told.code)
    await respond_json(client, told.status, told.headers, body)


def _as_request_error(error: Exception) -> RequestError:
    """What the client is told of an error; nothing of budgets, keys or the proxy's own parts."""
    match error:
        case RequestError():
            return error
        case FeedbackError():
            return RequestError(400, "invalid_feedback", str(error))
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
