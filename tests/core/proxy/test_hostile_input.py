"""Bad requests: a clear error in the client's shape, nothing lost, and no request to a host that nobody configured."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from asgi_server import serving
from waiting import wait_until

from costguard_core.proxy.keys import open_key_store
from costguard_core.simulate import Simulator

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{broken", 400, "invalid_json"),
        (b"[1]", 400, "invalid_json"),
        (b'{"model": "gpt-4o-mini", "temperature": NaN}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"messages": []}', 400, "invalid_model"),
        (b'{"model": 5}', 400, "invalid_model"),
        (b'{"model": "a\\r\\nb"}', 400, "invalid_model"),
        (b'{"model": "' + b"x" * 5000 + b'"}', 400, "invalid_model"),
        (b" " * 2_000_000, 413, "request_too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_bad_body_is_told_in_the_shape_of_the_client(
    content: bytes, status: int, code: str, path: str, openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy(max_body=1_000_000)
    answer = httpx.post(f"{proxy.url}{path}", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("type" in answer.json()) == (path == "/v1/messages")
    assert openai_server.count == 0


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/chat/completions",
        "/v1/../admin",
        "/v1/./files",
        "/v1//files",
        "/v1/%2e%2e/admin",
        "/v1/files%2f..%2f..",
        "/v1/@evil.example/x/..",
        "/v1/files/..;/x",
        "/v1/\\evil",
        "/v1/files\r\nhost: evil",
        "http://evil.example/v1/files",
    ],
)
def test_a_path_leads_nowhere_else(path: str, openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy()
    parts = urlsplit(proxy.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in (b"404", b"400")
    assert openai_server.count == 0


def test_fields_of_wrong_types_are_left_to_the_provider(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day")
    for odd in (
        {"messages": "text"},
        {"messages": [1, None, {"content": {"a": 1}}]},
        {"messages": [{"role": "user", "content": [None, 5, {"type": "image_url", "image_url": 7}]}]},
        {"max_tokens": "many"},
        {"n": "two"},
        {"tools": 5},
        {"tools": [None, 5]},
        {"stream_options": 5, "stream": True},
        {"temperature": "hot"},
        {"metadata": 5, "user": 7},
    ):
        answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, **odd})
        assert "proxy_error" not in answer.text, (odd, answer.text)
    assert proxy.guard.status().budgets[0].held == 0


def test_headers_of_the_client_inject_nothing(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(headers={"x-user": "user"})
    answer = httpx.post(
        f"{proxy.base_url}/chat/completions",
        json=BODY,
        headers={
            "x-user": 'a, b; c="d"',
            "cookie": "a=b",
            "x-forwarded-for": "1.2.3.4",
            "connection": "x-user",
            "host": "evil",
        },
    )
    assert answer.status_code == 200
    [sent] = openai_server.requests
    assert not {"cookie", "x-forwarded-for"} & set(sent.headers)
    assert sent.headers["host"] == urlsplit(openai_server.base_url).netloc


def test_a_request_that_does_not_arrive_is_ended(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(read_timeout=0.05)
    parts = urlsplit(proxy.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{")
        assert client.recv(65536).startswith(b"HTTP/1.1 408")
    assert openai_server.count == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_hundred_megabytes_are_refused_before_they_are_read(
    path: str, openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy()
    parts = urlsplit(proxy.url)
    size = 100_000_000
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n{{".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer
    # Without a length the body is read until it is too large, and no further.
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        sent, part = 0, b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        try:
            for _ in range(size // 0x100000):
                client.sendall(part)
                sent += 0x100000
        except OSError:
            pass  # the proxy has closed the connection
        assert sent < size
    assert openai_server.count == 0


def test_a_request_that_comes_in_drops_is_ended(openai_server: Simulator, start_proxy: Any) -> None:
    """Slow-loris: every byte in time, the whole never."""
    proxy = start_proxy(read_timeout=0.3)
    parts = urlsplit(proxy.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{")
        client.settimeout(0.02)
        answer = b""
        while not answer:
            client.sendall(b" ")
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"type":"error"' in answer
    assert openai_server.count == 0


@pytest.mark.parametrize(
    "header",
    [
        b"x-user: a\r\n b",
        b"x-user: a\nx-evil: 1",
        b"x-user: \x00",
        b"x-\xff: a",
        b"content-length: 5\r\ncontent-length: 6",
    ],
)
def test_headers_that_are_none_are_refused_and_reach_nobody(
    header: bytes, openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy(headers={"x-user": "user"})
    parts = urlsplit(proxy.url)
    body = json.dumps(BODY).encode()
    length = b"" if b"content-length" in header else b"content-length: %d\r\n" % len(body)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nconnection: close\r\n" + length
        client.sendall(head + header + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    status = int(answer.split(b" ", 2)[1])
    assert status in (200, 400)
    assert not any("x-evil" in request.headers for request in openai_server.requests) or status == 400
    assert all("\n" not in value for request in openai_server.requests for value in request.headers.values())


@pytest.mark.parametrize(("path", "shape"), [("/v1/chat/completions", "error"), ("/v1/messages", "type")])
def test_a_key_that_was_revoked_is_refused_in_the_shape_of_the_client(
    path: str, shape: str, openai_server: Simulator, start_proxy: Any, tmp_path: Any
) -> None:
    keys = open_key_store(f"sqlite:///{tmp_path}/keys.db")
    secret, key = keys.create({"user": "u1"})
    proxy = start_proxy(keys=keys)
    url, body = f"{proxy.url}{path}", {**BODY, "max_tokens": 9}
    headers = {"authorization": f"Bearer {secret}"}
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    keys.revoke(key.id)
    wait_until(lambda: httpx.post(url, json=body, headers=headers).status_code == 401)
    refused = httpx.post(url, json=body, headers=headers)
    assert (refused.json()["error"]["code"], shape in refused.json()) == ("invalid_api_key", True)
    assert secret not in refused.text
    missing = httpx.post(url, json=body)
    assert missing.status_code == 401


def test_an_unknown_model_is_not_found(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy(upstreams=[{"url": openai_server.base_url, "models": ["gpt-*"]}])
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "model": "llama"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_what_cannot_be_metered_is_passed_on_and_recorded_or_refused(
    openai_server: Simulator, start_proxy: Any
) -> None:
    passing, refusing = start_proxy(), start_proxy(unmetered="refuse")
    assert httpx.post(f"{passing.base_url}/audio/speech", json={"model": "tts-1", "input": "x"}).status_code == 404
    passed = httpx.get(f"{passing.base_url}/models")
    assert passed.json()["data"]
    refused = httpx.post(f"{refusing.base_url}/audio/speech", json={"model": "tts-1", "input": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unmetered")
    assert httpx.get(f"{refusing.base_url}/models").status_code == 200


def test_health_and_readiness(start_proxy: Any) -> None:
    proxy = start_proxy()
    assert httpx.get(f"{proxy.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{proxy.url}/ready").json() == {"status": "ok"}


def test_an_upstream_that_cannot_be_reached_is_a_bad_gateway_and_costs_nothing(start_proxy: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        proxy = start_proxy("$1/day", upstreams=[{"url": url, "provider": "openai"}])
        for stream in (False, True):
            answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": stream})
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unavailable")
    proxy.guard.flush()
    assert (proxy.guard.report().total.cost, proxy.guard.status().budgets[0].held) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_nested_too_deeply_is_passed_on_and_charged(stream: bool, start_proxy: Any) -> None:
    nested = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    sent = b"data: " + nested + b"\n\n" if stream else nested

    async def upstream(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": sent})

    with serving(upstream, lifespan="off") as url:
        proxy = start_proxy("$1/day", upstreams=[{"url": url, "provider": "openai", "key": "sk-up"}])
        answer = httpx.post(f"{proxy.base_url}/chat/completions", json={**BODY, "stream": stream})
    assert (answer.status_code, answer.content) == (200, sent)
    proxy.guard.flush()
    total = proxy.guard.report().total
    assert (total.paid, total.cost > 0, proxy.guard.status().budgets[0].held) == (1, True, 0)
