"""Spans and metrics through OpenTelemetry's own exporter to a real OTLP receiver over HTTP."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.errors import ConfigurationError
from costguard_core.exporters import OpenTelemetryHook
from costguard_core.exporters.datadog import TAGS, datadog_dashboard
from costguard_core.guard import CostGuard
from costguard_core.policy.policy import PolicyError, parse_policy
from costguard_core.types import Alert, Attribution, Event, Outcome, Usage

START = 1_795_000_000.0
PAID = Event(
    "e1",
    START,
    Outcome.MISS,
    "gpt-5-mini",
    provider="openai",
    attribution=Attribution(user="u1", session="s1", tenant="t1", endpoint="/faq", tags=(("plan", "free"), ("x", "y"))),
    usage=Usage(input_tokens=100, output_tokens=20, cache_read_tokens=30, reasoning_tokens=5),
    cost=1_500_000_000,
    latency=0.25,
    priced_by="list",
    requested_model="gpt-5-mini",
    answered_model="gpt-5-mini-2025-08-07",
    request_id="resp_1",
    host="api.openai.com",
    route="gpt-5-mini: rules",
)
HIT = Event(
    "e2", START, Outcome.SEMANTIC, "gpt-5-mini", "openai", PAID.attribution, PAID.usage, cost=0, saved=1_500_000_000
)
UNKNOWN = Event("e3", START, Outcome.MISS, "mystery", "p", PAID.attribution, cost=None, estimated=True)
REFUSED = Event("e4", START, Outcome.REFUSED, "gpt-5-mini", "openai", cost=0, reason="$1/day")
NAMELESS = Event("e6", START, Outcome.MISS, "", "openai", cost=1)  # a deployment whose client names no model
LOST = Event("e7", START, Outcome.MISS, "gpt-5-mini", "openai", PAID.attribution, PAID.usage, cost=1, saved=-1)
STATED = Event("e5", START, Outcome.MISS, "m", "openrouter", cost=5, priced_by="provider", unpriced=("searches",))


QUERY = re.compile(r"(?:sum|p95):([\w.]+)\{([^}]*)\}(?: by \{([^}]*)\})?(?:\.as_count\(\))?")


class OtlpReceiver:
    """Takes OTLP over HTTP with protobuf: https://opentelemetry.io/docs/specs/otlp/#otlphttp."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/x-protobuf"
                receiver.take(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(_attributes(resource.resource))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            assert path == "/v1/metrics"
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [metric for scope in measured.scope_metrics for metric in scope.metrics]


def _attributes(item: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in item.attributes}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    server = OtlpReceiver()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def sent(receiver: OtlpReceiver) -> OtlpReceiver:
    """What arrives of six calls and an alert."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the dev extra has OTLP over HTTP: make test")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create({"service.name": "shop", "deployment.environment.name": "prod"})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
    exporter = OTLPMetricExporter(f"{receiver.url}/v1/metrics")
    metering = MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)], resource=resource)
    hook = OpenTelemetryHook(metering, spans=True, tracer_provider=tracing, tags=["plan"])
    with tracing.get_tracer("app").start_as_current_span("request"):
        for event in (PAID, HIT, UNKNOWN, REFUSED, STATED, NAMELESS, LOST):
            hook(event)
    hook(Alert("$25/day", (), 0.8, "usd", 5, 4, START))
    tracing.shutdown()
    metering.shutdown()
    return receiver


def test_a_call_is_a_span_of_the_conventions_with_its_cost(sent: OtlpReceiver) -> None:
    spans = {_attributes(span).get("costguard.event.id"): span for span in sent.spans}
    span, parent = spans["e1"], spans[None]
    assert (span.name, span.kind) == ("chat gpt-5-mini", 3)  # CLIENT
    assert span.parent_span_id == parent.span_id
    assert span.start_time_unix_nano == int(START * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert _attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.response.model": "gpt-5-mini-2025-08-07",
        "gen_ai.response.id": "resp_1",
        "gen_ai.conversation.id": "s1",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 30,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.usage.cost.amount": 1.5,
        "gen_ai.usage.cost.currency": "USD",
        "gen_ai.usage.cost.source": "local",
        "server.address": "api.openai.com",
        "enduser.id": "u1",
        "costguard.tenant": "t1",
        "costguard.endpoint": "/faq",
        "costguard.outcome": "miss",
        "costguard.route": "gpt-5-mini: rules",
        "costguard.tag.plan": "free",
        "costguard.event.id": "e1",
    }
    assert sent.resources[0]["service.name"] == "shop"


def test_hits_unknown_costs_and_refusals_are_told_apart(sent: OtlpReceiver) -> None:
    spans = {_attributes(span).get("costguard.event.id"): span for span in sent.spans}
    hit, unknown, refused, stated = (_attributes(spans[id]) for id in ("e2", "e3", "e4", "e5"))
    assert (hit["gen_ai.usage.cost.amount"], hit["costguard.saved.usd"]) == (0.0, 1.5)
    assert "gen_ai.usage.input_tokens" not in hit
    assert "gen_ai.usage.cost.amount" not in unknown  # unknown is not zero
    assert (unknown["costguard.cost.unknown"], unknown["costguard.usage.estimated"]) == (True, True)
    assert (refused["error.type"], spans["e4"].status.code) == ("$1/day", 2)
    assert (spans["e2"].kind, spans["e4"].kind) == (1, 1)  # INTERNAL: no provider was called
    assert (stated["gen_ai.usage.cost.source"], stated["costguard.cost.floor"]) == ("provider", True)
    assert spans["e6"].name == "chat"


def test_every_metric_and_tag_of_the_datadog_dashboard_arrives(sent: OtlpReceiver) -> None:
    arrived: dict[str, set[str]] = {}
    for metric in sent.metrics:
        data = getattr(metric, metric.WhichOneof("data"))
        tags = arrived.setdefault(metric.name, {"env", "service"})
        tags |= {key for point in data.data_points for key in _attributes(point)}
    variables = {f"${one['name']}": one["prefix"] for one in datadog_dashboard()["template_variables"]}
    assert tuple(variables.values()) == TAGS
    for widget in datadog_dashboard()["widgets"]:
        for query in widget["definition"]["requests"][0]["queries"]:
            found = QUERY.fullmatch(query["query"])
            assert found, query
            metric, scope, by = found.groups()
            parts = [part.strip() for part in re.split(r",(?![^(]*\))| AND ", scope)]
            asked = {variables.get(part) or re.split(r" IN |:", part)[0] for part in parts}
            asked |= set(by.split(",")) if by else set()
            assert asked <= arrived[metric], query


def test_the_dashboard_is_printed() -> None:
    printed = CliRunner().invoke(app, ["datadog"])
    assert json.loads(printed.output) == datadog_dashboard()


def test_metrics_only_is_the_default_and_options_are_checked() -> None:
    tracing = TracerProvider()
    hook = OpenTelemetryHook(MeterProvider(), tracer_provider=tracing)
    hook(PAID)
    assert hook._tracer is None
    for bad in ({"spans": "yes"}, {"tags": "plan"}, {"tags": ["no tag!"]}):
        with pytest.raises(ConfigurationError):
            OpenTelemetryHook(MeterProvider(), **bad)  # type: ignore[arg-type]
    made = parse_policy('[[hooks]]\ntype = "opentelemetry"\nspans = true\ntags = ["plan"]\n')
    assert CostGuard(**made.options) is not None
    with pytest.raises(PolicyError, match="spans"):
        parse_policy('[[hooks]]\ntype = "logging"\nspans = true\n')
