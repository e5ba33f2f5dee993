"""``costguard proxy`` as it runs: processes that share a store, that are killed, stopped and told of new rules."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from asgi_server import serving
from ports import reserved_port
from waiting import async_wait_until, wait_until

from costguard_core.guard import CostGuard
from costguard_core.simulate import Simulator
from costguard_core.wire.sse import DONE, event_of

pytestmark = pytest.mark.slow

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
PRICE = '[prices."gpt-4o-mini"]\ninput = "0"\noutput = "0"\nrequest = "0.01"\n'
COMMAND = "from costguard_core.cli.main import app; app()"


class ProxyProcess(NamedTuple):
    """``url`` is the address before ``/v1``; ``process`` is the one that was started, which may have workers."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def chat(self) -> str:
        return f"{self.url}/v1/chat/completions"

    def workers(self) -> set[int]:
        """Process ids of the processes that answer, if there are several."""
        found = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=", "-o", "ppid=", "-o", "args="], capture_output=True, text=True, check=True
        )
        lines = [line.split(None, 2) for line in found.stdout.splitlines()]
        parent = str(self.process.pid)
        return {int(line[0]) for line in lines if line[1] == parent and "spawn_main" in line[-1]}


@contextmanager
def running(config: Path, *options: str, scheme: str = "http") -> Iterator[ProxyProcess]:
    """``costguard proxy`` with a policy file, from when it is ready until it has ended."""
    log = config.with_suffix(".log")
    with reserved_port() as port, log.open("wb") as written:
        command = [sys.executable, "-c", COMMAND, "proxy", "--config", str(config), "--port", str(port), *options]
        process = subprocess.Popen(command, stdout=written, stderr=written)
        proxy = ProxyProcess(f"{scheme}://127.0.0.1:{port}", process)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{proxy.url}/ready", verify=False, timeout=60).status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(is_ready)
            yield proxy
        finally:
            process.terminate()
            process.wait(60)


def _config(path: Path, upstream: str, *, store: str, budgets: str = '"$0.10/day"', lease: float = 600) -> Path:
    path.write_text(
        f'store = "{store}"\nledger = "sqlite:///{path.parent}/ledger.db"\nlease = {lease}\n'
        f"budgets = [{budgets}]\n{PRICE}"
        f'[proxy]\ncache = false\nmetrics = true\ndrain = "60s"\n'
        f'[[proxy.upstreams]]\nurl = "{upstream}"\nprovider = "openai"\n'
    )
    return path


def _guard(config: Path) -> CostGuard:
    """A look at what the processes share."""
    return CostGuard.from_file(config, watch=None)


async def _ask(url: str, clients: int) -> list[int]:
    """The statuses of so many requests at once."""
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        return sorted(
            a.status_code for a in await asyncio.gather(*(client.post(url, json=BODY) for _ in range(clients)))
        )


async def test_ten_of_many_clients_get_through_two_workers_and_one_that_is_killed_is_replaced(
    openai_server: Simulator, redis_url: str, tmp_path: Path
) -> None:
    config = _config(tmp_path / "costguard.toml", openai_server.base_url, store=redis_url)
    with running(config, "--workers", "2") as proxy:
        assert await _ask(proxy.chat, 100) == [200] * 10 + [429] * 90
        assert openai_server.count == 10
        with _guard(config) as guard:  # what a process records is written a moment later
            await async_wait_until(lambda: guard.report().total.refused == 90)
        workers = proxy.workers()
        assert len(workers) == 2
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        await async_wait_until(lambda: len(proxy.workers() - {killed}) == 2)
        assert await _ask(proxy.chat, 20) == [429] * 20
        metrics = httpx.get(f"{proxy.url}/metrics", timeout=60).text  # of every worker, the killed one too
        assert 'llm_calls_total{endpoint="",model="gpt-4o-mini",outcome="miss",provider="openai"} 10.0' in metrics
    with _guard(config) as guard:
        total = guard.report().total
        assert (total.paid, total.refused, total.cost) == (10, 110, 10**8)
        assert (guard.status().budgets[0].spent, guard.status().budgets[0].held) == (Decimal("0.1"), 0)


async def test_what_a_killed_host_had_under_way_is_charged_once_and_never_spent_again(
    openai_server: Simulator, redis_url: str, tmp_path: Path
) -> None:
    first = _config(tmp_path / "first.toml", openai_server.base_url, store=redis_url, lease=5)
    second = _config(tmp_path / "second.toml", openai_server.base_url, store=redis_url, lease=5)
    with running(first) as killed, running(second) as other:
        with openai_server.hold():
            broken = asyncio.ensure_future(_ask(killed.chat, 4))
            await asyncio.to_thread(openai_server.wait_for_requests, 4)
            killed.process.kill()
            with pytest.raises(httpx.TransportError):
                await broken
        assert await _ask(other.chat, 50) == [200] * 6 + [429] * 44
        with _guard(second) as guard:
            # The store ends leases when it is asked for room.
            await async_wait_until(
                lambda: httpx.post(other.chat, json=BODY).status_code and guard.status().budgets[0].held == 0
            )
            assert guard.status().budgets[0].spent == Decimal("0.1")
    assert openai_server.count == 10
    with _guard(second) as guard:
        total = guard.report().total
        assert (total.paid, total.abandoned, total.cost) == (10, 4, 10**8)


async def test_ten_of_a_thousand_clients_reach_the_provider_while_a_worker_is_killed_and_nothing_leaks(
    openai_server: Simulator, redis_url: str, tmp_path: Path
) -> None:
    config = _config(tmp_path / "costguard.toml", openai_server.base_url, store=redis_url, lease=10)
    with running(config, "--workers", "2") as proxy:
        killed = min(proxy.workers())
        with openai_server.hold():
            clients = [asyncio.ensure_future(_status(proxy.chat)) for _ in range(1000)]
            await asyncio.to_thread(openai_server.wait_for_requests, 10)
            os.kill(killed, signal.SIGKILL)
            # Those of the other worker that were refused; its calls and what the killed one had go on, or are cut.
            await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)
        answers = Counter(await asyncio.gather(*clients))
        assert openai_server.count == 10
        assert set(answers) <= {200, 429, 0}
        paid = answers[200]
        assert paid <= 10
        assert sum(answers.values()) == 1000
        with _guard(config) as guard:
            await async_wait_until(
                lambda: (
                    httpx.post(proxy.chat, json=BODY, timeout=60).status_code and guard.status().budgets[0].held == 0
                )
            )
            assert guard.status().budgets[0].spent == Decimal("0.1")
        assert openai_server.count == 10
    with _guard(config) as guard:
        total = guard.report().total
        # What the killed worker had paid for or had under way is charged once, when its lease ends.
        assert (total.paid, total.cost) == (10, 10**8)
        assert total.abandoned == 10 - paid


async def _status(url: str) -> int:
    """The status of one request; 0 if its connection broke."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        body = json.dumps(BODY).encode()
        head = f"POST {parts.path} HTTP/1.1\r\nhost: proxy\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        line = await reader.readline()
        writer.close()
        return int(line.split()[1]) if line else 0
    except OSError:
        return 0


class PausedStream:
    """An upstream that says one word, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go_on = Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        choice = {"index": 0, "delta": {"role": "assistant", "content": "word"}, "finish_reason": None}
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        chunk = {"id": "1", "model": "gpt-4o-mini", "choices": [choice]}
        await send({"type": "http.response.body", "body": event_of(chunk), "more_body": True})
        await asyncio.to_thread(self.go_on.wait, 300)
        ended = {**choice, "delta": {}, "finish_reason": "stop"}
        rest = event_of({**chunk, "choices": [ended]}) + event_of({**chunk, "choices": [], "usage": usage}) + DONE
        await send({"type": "http.response.body", "body": rest})


async def test_a_proxy_that_is_stopped_lets_streams_end_settles_them_and_takes_no_new_calls(tmp_path: Path) -> None:
    upstream = PausedStream()
    with serving(upstream, lifespan="off") as url:
        config = _config(tmp_path / "costguard.toml", url, store=f"sqlite:///{tmp_path}/counters.db")
        with running(config) as proxy:
            async with (
                httpx.AsyncClient(timeout=300) as client,
                client.stream("POST", proxy.chat, json={**BODY, "stream": True}) as answer,
            ):
                parts = aiter(answer.aiter_bytes())
                assert b"word" in await anext(parts)
                proxy.process.send_signal(signal.SIGTERM)
                await async_wait_until(lambda: _refuses_connections(proxy.url))
                assert proxy.process.poll() is None
                upstream.go_on.set()
                assert b"".join([part async for part in parts]).endswith(DONE)
            await asyncio.to_thread(proxy.process.wait, 60)
    with _guard(config) as guard:
        total = guard.report().total
        assert (total.paid, total.abandoned, total.estimated, total.cost) == (1, 0, 0, 10**7)
        assert guard.status().budgets[0].held == 0


async def test_a_stream_that_outlasts_the_drain_is_cut_and_charged_for_what_came(tmp_path: Path) -> None:
    upstream = PausedStream()
    with serving(upstream, lifespan="off") as url:
        config = _config(tmp_path / "costguard.toml", url, store=f"sqlite:///{tmp_path}/counters.db")
        config.write_text(config.read_text().replace('drain = "60s"', 'drain = "1s"'))
        with running(config) as proxy:
            async with (
                httpx.AsyncClient(timeout=300) as client,
                client.stream("POST", proxy.chat, json={**BODY, "stream": True}) as answer,
            ):
                parts = aiter(answer.aiter_bytes())
                assert b"word" in await anext(parts)
                proxy.process.send_signal(signal.SIGTERM)
                with pytest.raises(httpx.TransportError):
                    assert [part async for part in parts]
            await asyncio.to_thread(proxy.process.wait, 60)
        upstream.go_on.set()
    with _guard(config) as guard:
        total = guard.report().total
        assert (total.paid, total.abandoned, total.cost) == (1, 1, 10**7)
        assert guard.status().budgets[0].held == 0


def _refuses_connections(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=60)
    except httpx.ConnectError:
        return True
    return False


def test_a_changed_limit_holds_without_a_restart_and_tls_is_by_files(openai_server: Simulator, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/counters.db"
    config = _config(tmp_path / "costguard.toml", openai_server.base_url, store=store, budgets='"$0.01/day"')
    certificate, key = _self_signed(tmp_path)
    trusted = ssl.create_default_context(cafile=certificate)
    with (
        running(config, "--certificate", certificate, "--private-key", key, scheme="https") as proxy,
        httpx.Client(verify=trusted, timeout=300) as client,
    ):
        assert client.post(proxy.chat, json=BODY).status_code == 200
        assert client.post(proxy.chat, json=BODY).status_code == 429
        _config(config, openai_server.base_url, store=store, budgets='"$0.02/day"')
        wait_until(lambda: client.post(proxy.chat, json=BODY).status_code == 200)
        assert client.post(proxy.chat, json=BODY).status_code == 429
    assert openai_server.count == 2


def _self_signed(folder: Path) -> tuple[str, str]:
    """The files of a certificate for 127.0.0.1, and of its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(certificate), str(private)


def test_a_free_port_is_told(openai_server: Simulator, tmp_path: Path) -> None:
    config = _config(tmp_path / "costguard.toml", openai_server.base_url, store="memory://")
    command = [sys.executable, "-uc", COMMAND, "proxy", "--config", str(config), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().split()[-1]

            def is_ready() -> bool:
                assert process.poll() is None
                try:
                    return httpx.get(f"{url}/ready", timeout=60).status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(is_ready)
            assert urlsplit(url).port
        finally:
            process.terminate()
