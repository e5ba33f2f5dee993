"""The simulated provider over HTTP: a Starlette application around :class:`Service`. Needs the extra ``demo``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from costguard_core.errors import ConfigurationError
from costguard_core.simulate.faults import FAULT_HEADER, Fault
from costguard_core.simulate.generation import Generation
from costguard_core.simulate.request import BadRequestError
from costguard_core.simulate.service import ENDPOINTS, Endpoint, RecordedRequest, Service, error_body

_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5", "gpt-5-mini", "o4-mini")


class DroppedError(ConnectionError):
    """Raised inside a response to make the server close the connection half-way."""


def create_app(service: Service) -> Starlette:
    """The application, for any ASGI server."""
    handlers = _Handlers(service)
    routes = [Route(path, handlers.generate, methods=["POST"]) for path in ENDPOINTS]
    routes.append(Route("/v1/embeddings", handlers.embed, methods=["POST"]))
    routes.append(Route("/v1/messages/count_tokens", handlers.count_tokens, methods=["POST"]))
    routes.append(Route("/v1/models", handlers.models, methods=["GET"]))
    return Starlette(routes=routes)


class _Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def generate(self, request: Request) -> Response:
        endpoint = ENDPOINTS[request.url.path]
        try:
            body, recorded = await self._receive(request)
            script, fault = self._script(request, body)
            await self._service.until_not_held()
            if fault is not None and (broken := await _broken(fault, recorded)):
                return broken
            generation = self._service.answer(endpoint, body, script)
        except BadRequestError as error:
            return JSONResponse(error_body(error), status_code=400)
        recorded.usage = endpoint.usage(generation)
        deliver = self._stream if body.get("stream") else self._plain
        return await deliver(endpoint, generation, body, fault or Fault())

    async def embed(self, request: Request) -> Response:
        try:
            body, recorded = await self._receive(request)
            _, fault = self._script(request, body)
            await self._service.until_not_held()
            if fault is not None and (broken := await _broken(fault, recorded)):
                return broken
            answer = self._service.embed(body)
        except BadRequestError as error:
            return JSONResponse(error_body(error), status_code=400)
        recorded.usage = answer["usage"]
        await asyncio.sleep(self._service.latency.median)
        return JSONResponse(answer)

    async def count_tokens(self, request: Request) -> Response:
        try:
            body, _ = await self._receive(request)
            return JSONResponse({"input_tokens": self._service.count_tokens(body)})
        except BadRequestError as error:
            return JSONResponse(error_body(error), status_code=400)

    async def models(self, request: Request) -> Response:
        del request
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "costguard"} for name in _MODELS]
        return JSONResponse({"object": "list", "data": data})

    async def _receive(self, request: Request) -> tuple[dict[str, Any], RecordedRequest]:
        try:
            body = await request.json()
        except ValueError as error:
            raise BadRequestError("the body of the request is not valid JSON") from error
        if not isinstance(body, dict):
            raise BadRequestError("the body of the request must be a JSON object")
        return body, self._service.record(request.url.path, request.headers, body)

    def _script(self, request: Request, body: dict[str, object]) -> tuple[Any, Fault | None]:
        """What the test has scripted for this request: an answer, a fault, both or neither."""
        try:
            fault = self._service.faults.next(request.headers.get(FAULT_HEADER))
        except ConfigurationError as error:
            raise BadRequestError(str(error), FAULT_HEADER) from error
        script = self._service.reply(body) if self._service.reply else None
        return (None, fault or script) if isinstance(script, Fault) else (script, fault)

    async def _plain(
        self, endpoint: Endpoint, generation: Generation, body: dict[str, object], fault: Fault
    ) -> Response:
        del body
        await asyncio.sleep(self._service.seconds(generation))
        response = JSONResponse(endpoint.response(generation), headers=_headers(generation))
        if fault.drop is not None:
            return _cut(response)
        return response

    async def _stream(self, endpoint: Endpoint, generation: Generation, body: dict[str, Any], fault: Fault) -> Response:
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = list(endpoint.events(generation, include_usage=include_usage))
        total = self._service.seconds(generation)
        first = self._service.latency.until_first(total)
        await asyncio.sleep(first)
        named = endpoint in (ENDPOINTS["/v1/responses"], ENDPOINTS["/v1/messages"])
        events = _server_sent(chunks, seconds=total - first, fault=fault, named=named)
        return StreamingResponse(events, media_type="text/event-stream", headers=_headers(generation))


async def _broken(fault: Fault, recorded: RecordedRequest) -> Response | None:
    """The response of a fault that leaves nothing to answer; ``None`` if the answer is still to be made."""
    await asyncio.sleep(fault.slow)
    if fault.hang is not None:
        await asyncio.sleep(fault.hang)
        recorded.status = 0
        return _cut(JSONResponse({}))
    if fault.status is not None:
        recorded.status = fault.status
        headers = {"retry-after": f"{fault.retry_after:g}"} if fault.retry_after is not None else {}
        return JSONResponse(fault.error_body(), status_code=fault.status, headers=headers)
    if fault.malformed and not recorded.body.get("stream"):
        return Response('{"id": "chatcmpl-', media_type="application/json")
    return None


def _headers(generation: Generation) -> dict[str, str]:
    return {"x-request-id": f"req_{generation.id}"}


def _cut(response: Response) -> Response:
    """The same response, of which only half arrives."""

    async def half() -> AsyncIterator[bytes]:
        yield bytes(response.body[: len(response.body) // 2])
        raise DroppedError

    return StreamingResponse(half(), headers=dict(response.headers))


async def _server_sent(
    chunks: Sequence[dict[str, object]], *, seconds: float, fault: Fault, named: bool
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, chunk in enumerate(chunks):
        if number == fault.drop:
            raise DroppedError
        if fault.malformed and number == 1:
            yield "data: {not json\n\n"
        event = f"event: {chunk['type']}\n" if named else ""
        yield f"{event}data: {json.dumps(chunk)}\n\n"
        due = started + seconds * (number + 1) / len(chunks)  # not a fixed pause: a busy machine must not add up delays
        await asyncio.sleep(max(0.0, due - loop.time()))
    if fault.drop is not None:
        raise DroppedError
    if not named:
        yield "data: [DONE]\n\n"
