"""What the proxy adds to a call, how many it carries on one core, and what idle streams cost, beside LiteLLM's proxy.

Each proxy runs in a process that is held on the first core; the upstream (which answers at once) and the load run on
the others. Latency is measured with requests that come at a steady rate, whether or not earlier ones are answered;
throughput with 32 connections that always ask. Caches are off: each request is another question.

    python benchmarks/proxy.py [--seconds 10] [--rate 100] [--streams 2000] [--peer PYTHON] [--json]

``--peer`` is the Python of an environment with ``litellm[proxy]``. Its spend tracking works out the cost of every call;
it writes to no database, which Costguard does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes. " * 40}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 80, "total_tokens": 100},
}
POLICY = """
store = "memory://"
ledger = "sqlite:///{folder}/ledger.db"
budgets = ["$100000/day per user", "$1000000/month"]
[proxy]
port = {port}
cache = false
[[proxy.upstreams]]
url = "http://127.0.0.1:{upstream}"
provider = "openai"
key = "${{KEY:-sk-none}}"
"""
KEY = "sk-1234-benchmark-only-0123456789abcdef"
LITELLM = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-none}}
litellm_settings: {{telemetry: false}}
"""


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once; a stream gets one word, and then nothing until its client goes away."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if b'"stream":true' in body.replace(b" ", b""):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        choice = {"index": 0, "delta": {"role": "assistant", "content": "word"}, "finish_reason": None}
        chunk = {**ANSWER, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
        event = f"data: {json.dumps(chunk)}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await receive()
        return
    data = json.dumps(ANSWER).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def request(number: int, *, stream: bool = False) -> bytes:
    """One HTTP request for a question of its own."""
    content = f"Question number {number}: what is the return policy of this shop, in two sentences?"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], "max_tokens": 100}
    data = json.dumps({**body, **({"stream": True} if stream else {})}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Send a request and read its whole answer."""
    writer.write(request(number))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
    if length is not None:
        await reader.readexactly(length)
        return
    while True:  # chunked
        size = int(await reader.readline(), 16)
        await reader.readexactly(size + 2)
        if not size:
            return


async def latencies(port: int, *, rate: float, seconds: float) -> list[float]:
    """Seconds to the answer of each of the requests that come at ``rate`` per second."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    found: list[float] = []

    async def one(due: float, number: int) -> None:
        pair = idle.get_nowait() if not idle.empty() else await asyncio.open_connection("127.0.0.1", port)
        await ask(*pair, number)
        found.append(time.perf_counter() - due)
        idle.put_nowait(pair)

    begun = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, number)))
    await asyncio.gather(*tasks)
    return found


async def throughput(port: int, *, seconds: float, connections: int = 32) -> float:
    """Answers per second."""
    done = 0
    end = time.perf_counter() + seconds

    async def one(start: int) -> None:
        nonlocal done
        pair = await asyncio.open_connection("127.0.0.1", port)
        number = start * 1_000_000
        while time.perf_counter() < end:
            await ask(*pair, number)
            number += 1
            done += 1
        pair[1].close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(index) for index in range(connections)))
    return done / (time.perf_counter() - begun)


async def idle_streams(port: int, process: int, count: int) -> tuple[float, float]:
    """Megabytes of the process with ``count`` streams open that have said one word, and seconds until the last had."""
    begun = time.perf_counter()
    pairs = []
    for start in range(0, count, 100):
        batch = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", port) for _ in range(min(100, count - start)))
        )
        for reader, writer in batch:
            writer.write(request(start, stream=True))
            pairs.append((reader, writer))
        await asyncio.gather(*(reader.readuntil(b"word") for reader, _ in batch))
    took = time.perf_counter() - begun
    used = memory(process)
    for _, writer in pairs:
        writer.close()
    return used, took


def memory(process: int) -> float:
    """Megabytes that a process holds."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def running(command: list[str], port: int, *, first_core: bool, **environment: str) -> Iterator[int]:
    """A server process, once it listens."""
    cores = os.cpu_count() or 1
    if shutil.which("taskset") and cores > 1:
        command = ["taskset", "-c", "0" if first_core else f"1-{cores - 1}", *command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            for _ in range(1200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{command}: {log.read().decode()[-2000:]}")
                time.sleep(0.1)
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(port: int, process: int | None, options: argparse.Namespace) -> dict[str, float]:
    asyncio.run(throughput(port, seconds=2))  # everything is loaded
    found = sorted(asyncio.run(latencies(port, rate=options.rate, seconds=options.seconds)))
    result = {
        "p50 ms": 1000 * statistics.median(found),
        "p99 ms": 1000 * found[int(len(found) * 0.99)],
        "requests/s": asyncio.run(throughput(port, seconds=options.seconds)),
    }
    if process is not None and options.streams:
        result["streams MB"], result["streams s"] = asyncio.run(idle_streams(port, process, options.streams))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--peer", help="the Python of an environment with litellm[proxy]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity") and (cores := os.sched_getaffinity(0)) - {0}:
        os.sched_setaffinity(0, cores - {0})  # the load is not where the proxy is
    here, results = free_port(), {}
    serve = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "proxy:upstream"]
    serve += ["--port", str(here), "--log-level", "critical", "--lifespan", "off", "--backlog", "4096"]
    with tempfile.TemporaryDirectory() as folder, running(serve, here, first_core=False):
        results["direct"] = measure(here, None, options)
        port = free_port()
        (Path(folder) / "costguard.toml").write_text(POLICY.format(folder=folder, port=port, upstream=here))
        run = "from costguard_core.cli.main import app; app()"
        ours = [sys.executable, "-c", run, "proxy", "--config", f"{folder}/costguard.toml"]
        with running(ours, port, first_core=True) as process:
            results["costguard"] = measure(port, process, options)
        if options.peer:
            port = free_port()
            (Path(folder) / "litellm.yaml").write_text(LITELLM.format(upstream=here))
            peer = [str(Path(options.peer).parent / "litellm"), "--config", f"{folder}/litellm.yaml"]
            peer += ["--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
            quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
            with running(peer, port, first_core=True, **quiet) as process:
                results["litellm"] = measure(port, process, options)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    names = list(results["costguard"])
    print(f"{'':12}" + "".join(f"{name:>12}" for name in names))
    for name, row in results.items():
        print(f"{name:12}" + "".join(f"{row[key]:12.1f}" if key in row else f"{'':12}" for key in names))
    direct, mine = results["direct"], results["costguard"]
    added = {key: mine[key] - direct[key] for key in ("p50 ms", "p99 ms")}
    print(f"costguard adds {added['p50 ms']:.1f} ms (p50), {added['p99 ms']:.1f} ms (p99)")
    if peer_row := results.get("litellm"):
        print(f"costguard carries {mine['requests/s'] / peer_row['requests/s']:.1f} times as many requests as litellm")


if __name__ == "__main__":
    main()
