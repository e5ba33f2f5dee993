"""Metrics and spans for OpenTelemetry (extra ``otel``, the API only: the application chooses SDK and exporter)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.types import NANOS_PER_DOLLAR, Alert, Event, Outcome
from costguard_core.util.options import check_flag, check_kind, check_like, names_options
from costguard_core.util.text import printable

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

_TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read.input_tokens",
    "cache_write_tokens": "cache_write.input_tokens",
    "reasoning_tokens": "reasoning.output_tokens",
}
_NANOS = 1_000_000_000  # of a second
_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "embeddings": "embeddings"}


@names_options
class OpenTelemetryHook:
    """Token counters and durations under the names of the GenAI conventions, and money under names of our own.

    The conventions (in development; github.com/open-telemetry/semantic-conventions-genai) have no cost metric, so there
    is ``costguard.cost.usd``, ``costguard.saved.usd``, ``costguard.lost.usd``, ``costguard.calls``,
    ``costguard.calls.unpriced`` and ``costguard.budget.alerts``. A counter cannot fall: what was saved is the second
    less the third. Cache and reasoning counters are parts of the input and output counters.

    With ``spans=True`` each call is a span too, from when it was asked to its answer, below the span that is open where
    it is made. Its attributes are those of the conventions, and of cost those that
    https://github.com/open-telemetry/semantic-conventions-genai/pull/443 proposes: ``gen_ai.usage.cost.amount`` (a
    double: exact sums are the ledger's), ``.currency`` and ``.source``. Who instruments the provider's client as well
    has two spans of a call.

    Args:
        meter_provider: ``None`` is the global one.
        spans: whether calls are spans too.
        tracer_provider: ``None`` is the global one.
        tags: tags of the application that become attributes ``costguard.tag.NAME``, of metrics too, where each value is
            a series of its own.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        spans: bool = False,
        tracer_provider: TracerProvider | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        try:
            from opentelemetry.metrics import get_meter
            from opentelemetry.trace import get_tracer
        except ImportError:
            raise MissingExtraError("OpenTelemetryHook", "otel") from None
        check_flag("spans", spans)
        if isinstance(tags, str):
            raise ConfigurationError(f"tags= is a list of names, such as [{tags!r}]")
        check_kind("tags", tags, (list, tuple, set, frozenset), 'a list of names, such as ["plan"]')
        for name in tags:
            check_tag_name(name)
        if meter_provider is not None:
            check_like("meter_provider", meter_provider, ("get_meter",), "a MeterProvider of OpenTelemetry")
        if tracer_provider is not None:
            check_like("tracer_provider", tracer_provider, ("get_tracer",), "a TracerProvider of OpenTelemetry")
        self._tags = frozenset(tags)
        self._tracer: Tracer | None = get_tracer("costguard", tracer_provider=tracer_provider) if spans else None
        meter = get_meter("costguard", meter_provider=meter_provider)
        self._calls = meter.create_counter("costguard.calls", "{call}", "LLM calls, hits and refusals included")
        self._cost = meter.create_counter("costguard.cost.usd", "{USD}", "Dollars spent")
        self._saved = meter.create_counter("costguard.saved.usd", "{USD}", "Dollars not spent because of a hit")
        self._lost = meter.create_counter(
            "costguard.lost.usd", "{USD}", "Dollars that routing cost more than the model it saves"
        )
        self._unpriced = meter.create_counter("costguard.calls.unpriced", "{call}", "LLM calls whose cost is unknown")
        self._alerts = meter.create_counter("costguard.budget.alerts", "{alert}", "Budgets past a fraction")
        self._duration = meter.create_histogram("gen_ai.client.operation.duration", "s", "Seconds to the answer")
        self._tokens = {
            field: meter.create_counter(f"gen_ai.client.inference.usage.{name}", "{token}", "Tokens of provider calls")
            for field, name in _TOKENS.items()
        }

    def __call__(self, item: Event | Alert, /) -> None:
        if isinstance(item, Alert):
            self._alerts.add(1, {"costguard.budget": printable(item.budget), "costguard.fraction": item.fraction})
            return
        about = self._attributes(item)
        if self._tracer is not None:
            self._record_span(self._tracer, item, about)
        self._calls.add(1, about)
        self._duration.record(item.latency, about)
        if item.cost is None:
            self._unpriced.add(1, about)
        elif item.cost:
            self._cost.add(item.cost / NANOS_PER_DOLLAR, about)
        if item.saved:
            (self._saved if item.saved > 0 else self._lost).add(abs(item.saved) / NANOS_PER_DOLLAR, about)
        if not item.outcome.is_hit:  # a hit repeats the tokens of the call that it saved
            self._count_tokens(item, about)

    def _attributes(self, event: Event) -> dict[str, str]:
        given = {
            "gen_ai.operation.name": _OPERATIONS.get(event.kind, event.kind),
            "gen_ai.provider.name": event.provider,
            "gen_ai.request.model": event.model,
            "costguard.outcome": event.outcome.value,
            "costguard.endpoint": event.attribution.endpoint,
        }
        if self._tags:
            given |= {f"costguard.tag.{n}": value for n, value in event.attribution.tags if n in self._tags}
        return {name: printable(value) for name, value in given.items() if value}

    def _record_span(self, tracer: Tracer, event: Event, about: dict[str, str]) -> None:
        """A span that has ended already; the hook is told of a call when its answer is there."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        start = int(event.time * _NANOS)
        kind = SpanKind.INTERNAL if event.outcome.is_hit or event.outcome is Outcome.REFUSED else SpanKind.CLIENT
        known = (about.get(part) for part in ("gen_ai.operation.name", "gen_ai.request.model"))
        name = " ".join(filter(None, known))  # a call may have no model's name
        span = tracer.start_span(name, kind=kind, start_time=start, attributes={**about, **_span_attributes(event)})
        if event.outcome in (Outcome.ERROR, Outcome.REFUSED, Outcome.ABANDONED):
            span.set_status(Status(StatusCode.ERROR, event.outcome.value))
            span.set_attribute("error.type", printable(event.reason or event.outcome.value))
        span.end(start + int(max(0.0, event.latency) * _NANOS))

    def _count_tokens(self, event: Event, about: dict[str, str]) -> None:
        for field, counter in self._tokens.items():
            if count := getattr(event.usage, field):
                counter.add(count, about)


def _span_attributes(event: Event) -> dict[str, str | int | float | bool]:
    """What a span says beside what the metrics say."""
    usage, who = event.usage, event.attribution
    found: dict[str, str | int | float | bool] = {}
    named = {
        "gen_ai.request.model": event.requested_model,
        "gen_ai.response.model": event.answered_model,
        "gen_ai.response.id": event.request_id,
        "gen_ai.conversation.id": who.session,
        "server.address": event.host,
        "enduser.id": who.user,
        "costguard.tenant": who.tenant,
        "costguard.route": event.route,
        "costguard.reason": event.reason,
        "costguard.event.id": event.id,
    }
    found |= {name: printable(value) for name, value in named.items() if value}
    if not event.outcome.is_hit:  # a hit repeats the tokens of the call that it saved
        counts = {f"gen_ai.usage.{name}": getattr(usage, field) for field, name in _TOKENS.items()}
        found |= {name: count for name, count in counts.items() if count}
    if event.cost is None:
        found["costguard.cost.unknown"] = True
    else:
        found["gen_ai.usage.cost.amount"] = event.cost / NANOS_PER_DOLLAR
        found["gen_ai.usage.cost.currency"] = "USD"
        found["gen_ai.usage.cost.source"] = "provider" if event.priced_by == "provider" else "local"
    if event.unpriced:
        found["costguard.cost.floor"] = True
    if event.saved:
        found["costguard.saved.usd"] = event.saved / NANOS_PER_DOLLAR
    if event.estimated:
        found["costguard.usage.estimated"] = True
    return found
