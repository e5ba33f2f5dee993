"""Hooks: told about everything, never able to break a call."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from python_process import run_python
from waiting import SAFETY_LIMIT

from costguard_core.errors import ConfigurationError
from costguard_core.exporters import (
    Hooks,
    LoggingHook,
    OpenTelemetryHook,
    PrometheusHook,
    WebhookHook,
    as_dict,
    as_line,
)
from costguard_core.types import Alert, Attribution, Event, Outcome, Usage

PAID = Event(
    id="e1",
    time=1_795_000_000.0,
    outcome=Outcome.MISS,
    model="gpt-5-mini",
    provider="openai",
    attribution=Attribution(user="u1", endpoint="/faq"),
    usage=Usage(input_tokens=100, output_tokens=20, cache_read_tokens=30),
    cost=1_500_000_000,
    latency=0.25,
)
HIT = Event(
    id="e2", time=1.0, outcome=Outcome.EXACT, model="gpt-5-mini", provider="openai", attribution=PAID.attribution,
    usage=PAID.usage, cost=0, saved=1_500_000_000,
)  # fmt: skip
UNKNOWN = Event(id="e3", time=1.0, outcome=Outcome.MISS, model="mystery", cost=None)
ALERT = Alert("$25/day per user", (("user", "u1"),), 0.8, "usd", 25_000_000_000, 20_000_000_001, 1_795_000_000.0)


def test_one_broken_hook_is_counted_and_logged_once_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event | Alert] = []

    def broken(item: Event | Alert) -> None:
        raise RuntimeError("no")

    hooks = Hooks([broken, told.append, broken])
    for item in (PAID, ALERT):
        hooks.emit(item)
    assert told == [PAID, ALERT]
    assert hooks.errors == 4
    assert len(caplog.records) == 2


def test_what_cannot_be_a_hook_is_refused_at_once() -> None:
    async def later(item: Event | Alert) -> None: ...

    class Later:
        async def __call__(self, item: Event | Alert) -> None: ...

    for bad, text in ((later, "async"), (Later(), "async"), ("print", "cannot be called")):
        with pytest.raises(ConfigurationError, match=text):
            Hooks([bad])  # type: ignore[list-item]


def test_closing_closes_the_hooks_that_can_be_closed() -> None:
    closed: list[str] = []

    class Closable:
        def __call__(self, item: Event | Alert) -> None: ...

        def close(self) -> None:
            closed.append("yes")

    Hooks([Closable(), print]).close()
    assert closed == ["yes"]


def test_a_dictionary_has_exact_money_and_survives_json() -> None:
    event = json.loads(json.dumps(as_dict(PAID)))
    assert (event["type"], event["user"], event["outcome"]) == ("call", "u1", "miss")
    assert Decimal(event["cost_usd"]) == Decimal("1.5")
    assert as_dict(UNKNOWN)["cost_usd"] is None
    alert = json.loads(json.dumps(as_dict(ALERT)))
    assert (alert["type"], alert["scope"], alert["settled"]) == ("alert", {"user": "u1"}, "20.000000001")
    assert as_dict(ALERT._replace(unit="requests", limit=60, settled=48))["settled"] == 48


def test_lines_for_people() -> None:
    assert as_line(PAID) == "gpt-5-mini miss: $1.5, saved $0, 250 ms"
    assert "unknown cost" in as_line(UNKNOWN)
    assert as_line(ALERT) == "budget '$25/day per user' for user 'u1' is 80% used: $20.000000001 of $25"
    assert as_line(ALERT._replace(unit="requests", limit=60, settled=48)).endswith("48 of 60 requests")


def test_logging_hook_levels_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "costguard"):
        hook = LoggingHook()
        hook(PAID)
        hook(ALERT)
    call, alert = caplog.records
    assert (call.levelno, alert.levelno) == (logging.INFO, logging.WARNING)
    assert vars(call)["costguard"]["model"] == "gpt-5-mini"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_prometheus_counts_money_tokens_and_outcomes(registry: CollectorRegistry) -> None:
    hook = PrometheusHook(registry)
    for item in (PAID, PAID, HIT, UNKNOWN, ALERT):
        hook(item)
    where = {"provider": "openai", "model": "gpt-5-mini", "endpoint": "/faq"}

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {**where, **labels})

    assert value("llm_calls_total", outcome="miss") == 2
    assert value("llm_calls_total", outcome="exact") == 1
    assert value("llm_cost_usd_total") == 3.0
    assert value("llm_saved_usd_total") == 1.5
    assert value("llm_tokens_total", direction="input") == 200  # a hit consumes none
    assert value("llm_latency_seconds_count", outcome="miss") == 2
    assert value("llm_unpriced_calls_total", provider="", model="mystery", endpoint="") == 1
    alerts = {"budget": "$25/day per user", "fraction": "0.8"}
    assert registry.get_sample_value("llm_budget_alerts_total", alerts) == 1


def test_a_router_that_lost_money_is_counted_like_any_other_call(registry: CollectorRegistry) -> None:
    lost = dataclasses.replace(PAID, saved=-2_500_000_000)
    reader = InMemoryMetricReader()
    for hook in (PrometheusHook(registry), OpenTelemetryHook(MeterProvider(metric_readers=[reader]))):
        hook(lost)
    where = {"provider": "openai", "model": "gpt-5-mini", "endpoint": "/faq"}
    assert registry.get_sample_value("llm_lost_usd_total", where) == 2.5
    assert registry.get_sample_value("llm_saved_usd_total", where) == 0
    assert registry.get_sample_value("llm_tokens_total", {**where, "direction": "input"}) == 100
    metrics = _metrics(reader)
    assert [point.value for point in metrics["costguard.lost.usd"]] == [2.5]
    assert "costguard.saved.usd" not in metrics


def test_prometheus_has_no_user_label_and_bounds_the_others(registry: CollectorRegistry) -> None:
    hook = PrometheusHook(registry)
    for number in range(1_000):
        attribution = Attribution(user=f"u{number}", endpoint=f"/orders/{number}")
        hook(Event(id="x", time=1.0, outcome=Outcome.MISS, model="m", attribution=attribution, cost=1))
    page = generate_latest(registry).decode()
    assert "u999" not in page
    assert page.count("llm_calls_total{") == 201
    assert 'endpoint="other"' in page


def _metrics(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    found = [metric for r in data.resource_metrics for scope in r.scope_metrics for metric in scope.metrics]
    return {metric.name: list(metric.data.data_points) for metric in found}


def test_opentelemetry_uses_the_conventions_names_and_counts_hits_as_free() -> None:
    reader = InMemoryMetricReader()
    hook = OpenTelemetryHook(MeterProvider(metric_readers=[reader]))
    for item in (PAID, HIT, UNKNOWN, ALERT):
        hook(item)
    metrics = _metrics(reader)
    (tokens,) = metrics["gen_ai.client.inference.usage.input_tokens"]
    assert tokens.value == 100
    assert tokens.attributes["gen_ai.provider.name"] == "openai"
    assert tokens.attributes["gen_ai.request.model"] == "gpt-5-mini"
    assert tokens.attributes["gen_ai.operation.name"] == "chat"
    assert [point.value for point in metrics["gen_ai.client.inference.usage.cache_read.input_tokens"]] == [30]
    assert [point.value for point in metrics["costguard.cost.usd"]] == [1.5]
    assert [point.value for point in metrics["costguard.saved.usd"]] == [1.5]
    assert sum(point.value for point in metrics["costguard.calls"]) == 3
    assert [point.value for point in metrics["costguard.calls.unpriced"]] == [1]
    assert [point.value for point in metrics["costguard.budget.alerts"]] == [1]


def test_the_combinations_of_labels_are_bounded_too() -> None:
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    for number in range(3_000):
        hook(dataclasses.replace(PAID, model=f"m{number % 150}", attribution=Attribution(endpoint=f"/{number % 149}")))
    calls = [sample for metric in registry.collect() for sample in metric.samples if sample.name == "llm_calls_total"]
    assert len(calls) == 1_001
    assert sum(sample.value for sample in calls) == 3_000
    assert len(generate_latest(registry)) < 5_000_000


class Receiver:
    """A real HTTP server that answers with the statuses it is given, then 200."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.free = threading.Event()
        self.free.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.free.wait(60)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                receiver.bodies.append(body)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/s3cret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.free.set()
    server.server.shutdown()
    server.server.server_close()


def test_webhook_posts_alerts_and_only_alerts_unless_asked(receiver: Receiver) -> None:
    hook = WebhookHook(receiver.url)
    hook(PAID)
    hook(ALERT)
    hook.close()
    (body,) = receiver.bodies
    assert body["text"] == as_line(ALERT)
    assert body["budget"] == "$25/day per user"
    every = WebhookHook(receiver.url, calls=True, body=lambda item: {"model": getattr(item, "model", None)})
    every(PAID)
    every.close()
    assert receiver.bodies[1] == {"model": "gpt-5-mini"}


def test_webhook_tries_again_when_the_server_fails_but_not_when_it_refuses(receiver: Receiver) -> None:
    hook = WebhookHook(receiver.url, pause=0.01)
    receiver.statuses = [500, 503]
    hook(ALERT)
    assert hook.flush(SAFETY_LIMIT)
    assert (len(receiver.bodies), hook.failed) == (3, 0)
    receiver.statuses = [404]
    hook(ALERT)
    assert hook.flush(SAFETY_LIMIT)
    assert (len(receiver.bodies), hook.failed) == (4, 1)
    hook.close()


def test_webhook_waits_as_long_as_the_server_asks_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("costguard_core.exporters.webhook.sleep", waits.append)
    hook = WebhookHook(receiver.url, pause=0.25)
    for asked in ("30", "86400", "in a while", "Fri, 31 Dec 9999 23:59:59 GMT", "-5"):
        receiver.statuses, receiver.headers = [429, 503], {"Retry-After": asked}
        hook(ALERT)
        assert hook.flush(SAFETY_LIMIT)
    assert waits == [30.0, 30.0, 120.0, 120.0, 0.25, 0.5, 120.0, 120.0, 0.0, 0.0]
    assert (len(receiver.bodies), hook.failed) == (15, 0)
    hook.close()


def test_webhook_never_blocks_the_caller_and_never_shows_its_url(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.free.clear()
    hook = WebhookHook(receiver.url, timeout=60.0, capacity=5)
    for _ in range(20):
        hook(ALERT)
    assert receiver.bodies == []  # all were handed over while the first one is still being sent
    assert hook.dropped >= 10
    receiver.free.set()
    assert hook.flush(SAFETY_LIMIT)
    assert (hook.failed, len(receiver.bodies)) == (0, 20 - hook.dropped)
    hook.close()
    assert "s3cret" not in caplog.text + repr(hook)


def test_webhook_gives_up_on_a_server_that_does_not_answer(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.free.clear()
    hook = WebhookHook(receiver.url, timeout=0.05, pause=0.01)
    hook(ALERT)
    assert hook.flush(SAFETY_LIMIT)
    assert hook.failed == 1
    hook.close()
    assert "s3cret" not in caplog.text + repr(hook)


@pytest.mark.parametrize("bad", ["", "example.com/hook", "file:///etc/passwd", "http://"])
def test_webhook_wants_an_http_url(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        WebhookHook(bad)


def test_importing_hooks_loads_no_exporter() -> None:
    code = (
        "import sys, costguard_core.exporters; "
        "print([m for m in ('prometheus_client', 'opentelemetry', 'urllib.request') if m in sys.modules])"
    )
    done = run_python(code)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_webhook_follows_no_redirect(receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Receiver()
    receiver.statuses, receiver.headers["Location"] = [status], elsewhere.url
    hook = WebhookHook(receiver.url, headers={"Authorization": "Bearer s3cret"}, pause=0.01)
    hook(ALERT)
    assert hook.flush(SAFETY_LIMIT)
    hook.close()
    assert (len(receiver.bodies), elsewhere.bodies, hook.failed) == (1, [], 1)
    assert "redirects are not followed" in caplog.text
    elsewhere.server.shutdown()
    elsewhere.server.server_close()


def test_webhook_gives_up_on_what_can_never_be_sent(receiver: Receiver) -> None:
    hook = WebhookHook(receiver.url, headers={"X-Team": "two\nlines"}, pause=0.01)
    hook(ALERT)
    hook(ALERT)
    assert hook.flush(SAFETY_LIMIT)
    assert (receiver.bodies, hook.failed) == ([], 2)
    hook.close()


def test_webhook_tries_again_when_the_answer_is_not_http() -> None:
    asked: list[bytes] = []

    def answer() -> None:
        for _ in range(3):
            connection = server.accept()[0]
            asked.append(connection.recv(65_536))
            connection.sendall(b"NONSENSE\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        hook = WebhookHook(f"http://127.0.0.1:{server.getsockname()[1]}/", pause=0.01)
        hook(ALERT)
        assert hook.flush(SAFETY_LIMIT)
        thread.join(SAFETY_LIMIT)
    assert (len(asked), hook.failed) == (3, 1)
    hook.close()


class RegistryThatIsUsedMeanwhile(CollectorRegistry):
    """While the first hook registers its metrics, another thread makes one over the same registry and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.other: threading.Thread | None = None
        self.failures: list[Exception] = []

    def register(self, collector: Any) -> None:
        if self.other is None:
            self.other = threading.Thread(target=self._count)
            self.other.start()
            self.other.join(0.3)  # it has to wait, or would fail now
        super().register(collector)

    def _count(self) -> None:
        try:
            PrometheusHook(self)(PAID)
        except Exception as error:
            self.failures.append(error)


def test_a_hook_that_another_thread_finds_has_its_metrics() -> None:
    registry = RegistryThatIsUsedMeanwhile()
    PrometheusHook(registry)(PAID)
    assert registry.other is not None
    registry.other.join(SAFETY_LIMIT)
    assert registry.failures == []
    assert (
        b'llm_calls_total{endpoint="/faq",model="gpt-5-mini",outcome="miss",provider="openai"} 2.0'
        in generate_latest(registry)
    )


_COUNTING = """
import os, sys
from costguard_core.exporters.prometheus import MetricsPage
from costguard_core.types import Event, Outcome
page = MetricsPage()
page.hook(Event(id="1", time=0.0, outcome=Outcome.MISS, model="gpt-5-mini"))
print("counted", flush=True)
if sys.stdin.readline():
    sys.stdout.write(page.text().decode())
"""


def test_what_killed_processes_left_unfinished_does_not_end_the_metrics_of_the_others(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _COUNTING],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        return process

    killed, other = start(), start()
    killed.kill()
    killed.communicate()
    whole = next(tmp_path.glob("counter_*.db")).read_bytes()
    (tmp_path / "counter_999999.db").touch()
    (tmp_path / "counter_999998.db").write_bytes(whole[:80])
    page, said = other.communicate("scrape\n", timeout=SAFETY_LIMIT)
    (calls,) = [line for line in page.splitlines() if line.startswith("llm_calls_total{")]
    assert calls.endswith(" 2.0")  # what the killed one had counted is there, too
    assert said.count("cannot be read") == 2
