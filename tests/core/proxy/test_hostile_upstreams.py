"""Providers that misbehave: their answers pass as they are, are charged by what they say, and hold nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
from asgi_server import serving
from waiting import wait_until

from costguard_core.guard import CostGuard
from costguard_core.wire.sse import DONE, event_of

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
BILLED = 1950  # nano-dollars of that usage
HEAD = {"id": "c", "created": 1, "model": "gpt-4o-mini"}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
WHOLE = json.dumps({**HEAD, "object": "chat.completion", "choices": [MESSAGE], "usage": USAGE}).encode()
STREAM = (
    event_of({**HEAD, "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": None}]})
    + event_of({**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE})
    + DONE
)
JSON, SSE, GZIP = (
    ("content-type", "application/json"),
    ("content-type", "text/event-stream"),
    ("content-encoding", "gzip"),
)


def sends(*parts: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = (JSON,), ends: bool = True) -> Any:
    """An upstream that answers with these parts, and then hangs unless it ``ends``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if ends:
            await send({"type": "http.response.body", "body": b""})
        else:
            await receive()

    return app


class Seen:
    """What came of one request."""

    def __init__(self, guard: CostGuard, response: httpx.Response | None) -> None:
        self.response = response
        wait_until(lambda: guard.status().budgets[0].held == 0)
        guard.flush()
        total = guard.report().total
        self.cost, self.paid, self.estimated = total.cost, total.paid, total.estimated

    @property
    def answered(self) -> httpx.Response:
        assert self.response is not None
        return self.response


@pytest.fixture
def ask(start_proxy: Any) -> Any:
    """Asks an upstream through a proxy that waits half a second for it."""

    def ask(upstream: Any, *, stream: bool) -> Seen:
        guard = CostGuard(["$1/day"])
        with serving(upstream, lifespan="off") as url:
            one = {"url": url, "provider": "openai", "key": "sk-up"}
            proxy = start_proxy(guard=guard, upstreams=[one], timeout=0.5, cache=False)
            response = None
            try:
                response = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": stream}, timeout=60)
            except httpx.TransportError:
                pass
            return Seen(guard, response)

    return ask


@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_answer_is_read_and_charged(ask: Any, stream: bool) -> None:
    sent = STREAM if stream else WHOLE
    seen = ask(sends(gzip.compress(sent), headers=(SSE if stream else JSON, GZIP)), stream=stream)
    assert "content-encoding" not in seen.answered.headers
    assert b"Yes." in seen.answered.content
    assert (seen.cost, seen.estimated) == (BILLED, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_an_answer_whose_compression_cannot_be_read_is_an_error_and_is_charged(
    ask: Any, encoding: str, stream: bool
) -> None:
    upstream = sends(b"\x8b\x02\x80abc", headers=(JSON, ("content-encoding", encoding)))
    seen = ask(upstream, stream=stream)
    if encoding == "gzip":
        assert seen.response is None or seen.answered.status_code == 502
    else:
        assert (seen.answered.status_code, seen.answered.json()["error"]["code"]) == (502, "upstream_unavailable")
        assert "cannot be read" in seen.answered.text
    assert (seen.paid, seen.estimated) == (1, 1)
    assert seen.cost > 0


def test_a_server_that_does_not_stream_is_charged_by_its_usage(ask: Any) -> None:
    half = len(WHOLE) // 2
    seen = ask(sends(WHOLE[:half], WHOLE[half:]), stream=True)
    assert seen.answered.content == WHOLE
    assert seen.answered.headers["content-type"] == "application/json"
    assert (seen.cost, seen.estimated) == (BILLED, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "sent",
    [b"<html>login</html>", b"", b"[1, 2]", b"data: {broken\n\ndata: 5\n\n: comment\n\n", STREAM.split(b"\n\n")[0]],
)
def test_what_is_no_answer_passes_as_it_is_and_is_charged_as_an_estimate(ask: Any, sent: bytes, stream: bool) -> None:
    seen = ask(sends(sent, headers=(("content-type", "text/html"),)), stream=stream)
    assert (seen.answered.status_code, seen.answered.content) == (200, sent)
    assert seen.answered.headers["content-type"] == "text/html"
    assert (seen.paid, seen.estimated) == (1, 1)
    assert 0 < seen.cost < 10_000


@pytest.mark.parametrize("sent", [STREAM.replace(b"\n", b"\r\n"), STREAM.replace(b"\n", b"\r")])
def test_events_end_in_any_of_the_three_ways(ask: Any, sent: bytes) -> None:
    seen = ask(sends(sent, headers=(SSE,)), stream=True)
    assert seen.cost == BILLED


def test_a_stream_that_comes_byte_by_byte_is_read(ask: Any) -> None:
    seen = ask(sends(*(STREAM[at : at + 1] for at in range(len(STREAM))), headers=(SSE,)), stream=True)
    assert (seen.cost, seen.estimated) == (BILLED, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_is_not_followed_and_is_said(ask: Any, stream: bool) -> None:
    upstream = sends(b"", status=307, headers=(("location", "http://127.0.0.1:1/evil"),))
    seen = ask(upstream, stream=stream)
    assert (seen.answered.status_code, seen.answered.json()["error"]["code"]) == (502, "upstream_unavailable")
    assert "location" not in seen.answered.headers
    assert seen.cost == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_says_nothing_in_our_name(ask: Any, stream: bool) -> None:
    forged = (("X-Costguard-Cost-Usd", "0"), ("x-costguard-cache", "exact"), ("set-cookie", "a=b"))
    seen = ask(sends(STREAM if stream else WHOLE, headers=(SSE if stream else JSON, *forged)), stream=stream)
    assert seen.answered.headers["x-costguard-cache"] == "miss"
    assert seen.answered.headers.get("x-costguard-cost-usd") == (None if stream else "0.000001950")
    assert "set-cookie" not in seen.answered.headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_hangs_in_the_middle_is_given_up_and_charged(ask: Any, stream: bool) -> None:
    sent = STREAM.split(b"\n\n")[0] + b"\n\n" if stream else WHOLE[:20]
    seen = ask(sends(sent, headers=(SSE if stream else JSON,), ends=False), stream=stream)
    if stream:
        assert seen.response is None  # broken, so that the client sees that it is cut
    else:
        assert seen.answered.status_code == 504
    assert (seen.paid, seen.cost > 0) == (1, True)


async def _never(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_never_answers_is_given_up_and_charged(ask: Any, stream: bool) -> None:
    seen = ask(_never, stream=stream)
    assert seen.answered.status_code == 504
    assert (seen.paid, seen.cost > 0) == (1, True)
