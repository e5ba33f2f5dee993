"""Metrics for OpenTelemetry (extra ``otel``, the API only: the application chooses the SDK and the exporter)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costguard_core.errors import MissingExtraError
from costguard_core.types import NANOS_PER_DOLLAR, Alert, Event
from costguard_core.util.text import printable

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read.input_tokens",
    "cache_write_tokens": "cache_write.input_tokens",
    "reasoning_tokens": "reasoning.output_tokens",
}
_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "embeddings": "embeddings"}


class OpenTelemetryHook:
    """Token counters and durations under the names of the GenAI conventions, and money under names of our own.

    The conventions (in development; github.com/open-telemetry/semantic-conventions-genai) have no cost metric, so there
    is ``costguard.cost.usd``, ``costguard.saved.usd``, ``costguard.calls``, ``costguard.calls.unpriced`` and
    ``costguard.budget.alerts``. Cache and reasoning counters are parts of the input and output counters.

    Args:
        meter_provider: ``None`` is the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry.metrics import get_meter
        except ImportError:
            raise MissingExtraError("OpenTelemetryHook", "otel") from None
        meter = get_meter("costguard", meter_provider=meter_provider)
        self._calls = meter.create_counter("costguard.calls", "{call}", "LLM calls, hits and refusals included")
        self._cost = meter.create_counter("costguard.cost.usd", "{USD}", "Dollars spent")
        self._saved = meter.create_counter("costguard.saved.usd", "{USD}", "Dollars not spent because of a hit")
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
        about = _attributes(item)
        self._calls.add(1, about)
        self._duration.record(item.latency, about)
        if item.cost is None:
            self._unpriced.add(1, about)
        elif item.cost:
            self._cost.add(item.cost / NANOS_PER_DOLLAR, about)
        if item.saved:
            self._saved.add(item.saved / NANOS_PER_DOLLAR, about)
        if not item.outcome.is_hit:  # a hit repeats the tokens of the call that it saved
            self._count_tokens(item, about)

    def _count_tokens(self, event: Event, about: dict[str, str]) -> None:
        for field, counter in self._tokens.items():
            if count := getattr(event.usage, field):
                counter.add(count, about)


def _attributes(event: Event) -> dict[str, str]:
    given = {
        "gen_ai.operation.name": _OPERATIONS.get(event.kind, event.kind),
        "gen_ai.provider.name": event.provider,
        "gen_ai.request.model": event.model,
        "costguard.outcome": event.outcome.value,
        "costguard.endpoint": event.attribution.endpoint,
    }
    return {name: printable(value) for name, value in given.items() if value}
