"""A Datadog dashboard for the metrics of :class:`costguard_core.exporters.otel.OpenTelemetryHook`, sent through OTLP.

Attributes of a metric are its tags: https://docs.datadoghq.com/opentelemetry/schema_semantics/metrics_mapping/. The
filters ``service`` and ``env`` are the attributes ``service.name`` and ``deployment.environment.name`` of the
application's resource (https://docs.datadoghq.com/opentelemetry/mapping/semantic_mapping/), which it sets where it sets
up the SDK. The model is that of https://docs.datadoghq.com/dashboards/graphing_json/.
"""

from __future__ import annotations

from typing import Any, NamedTuple

TAGS = ("env", "service", "gen_ai.provider.name", "gen_ai.request.model", "costguard.endpoint")
"""The tags that the dashboard filters by. The first two are of the resource, the others of every call."""
_FILTERS = ("env", "service", "provider", "model", "endpoint")
_CHOSEN = ",".join(f"${name}" for name in _FILTERS)
_HITS = "costguard.outcome IN (exact,semantic,coalesced)"
_ANSWERED = "costguard.outcome IN (miss,exact,semantic,coalesced)"


class _Widget(NamedTuple):
    title: str
    kind: str  # "query_value" or "timeseries"
    queries: tuple[str, ...]
    formula: str = "query1"
    unit: str | None = None  # of https://docs.datadoghq.com/metrics/units/
    bars: bool = False


def _count(metric: str, by: str = "", more: str = "") -> str:
    """A counter, added up over the span of the widget or of a bar."""
    scope = _CHOSEN.replace(",", " AND ") + f" AND {more}" if more else _CHOSEN
    return f"sum:{metric}{{{scope}}}{f' by {{{by}}}' if by else ''}.as_count()"


_MODEL, _ENDPOINT = "gen_ai.request.model", "costguard.endpoint"
_SECONDS = f"{{{_CHOSEN}}}"
_WIDGETS = (
    _Widget("Spent", "query_value", (_count("costguard.cost.usd"),), unit="dollar"),
    _Widget(
        "Saved",
        "query_value",
        (_count("costguard.saved.usd"), _count("costguard.lost.usd")),
        "query1 - default_zero(query2)",
        "dollar",
    ),
    _Widget(
        "Answers from a cache",
        "query_value",
        (_count("costguard.calls", more=_HITS), _count("costguard.calls", more=_ANSWERED)),
        "100 * query1 / query2",
        "percent",
    ),
    _Widget("Calls whose cost is unknown", "query_value", (_count("costguard.calls.unpriced"),)),
    _Widget("Dollars by model", "timeseries", (_count("costguard.cost.usd", _MODEL),), unit="dollar", bars=True),
    _Widget("Dollars by endpoint", "timeseries", (_count("costguard.cost.usd", _ENDPOINT),), unit="dollar", bars=True),
    _Widget("Calls by how they ended", "timeseries", (_count("costguard.calls", "costguard.outcome"),), bars=True),
    _Widget(
        "Tokens",
        "timeseries",
        (
            _count("gen_ai.client.inference.usage.input_tokens"),
            _count("gen_ai.client.inference.usage.output_tokens"),
        ),
    ),
    _Widget("Seconds to an answer (95 %)", "timeseries", (f"p95:gen_ai.client.operation.duration{_SECONDS}",)),
    _Widget(
        "Budget alerts",
        "timeseries",
        ("sum:costguard.budget.alerts{$env,$service} by {costguard.budget,costguard.fraction}.as_count()",),
        bars=True,
    ),
)


def datadog_dashboard() -> dict[str, Any]:
    """The dashboard, as Datadog imports it."""
    return {
        "title": "Costguard",
        "description": "What LLM calls cost and save. Exact sums are in Costguard's ledger; these are doubles.",
        "layout_type": "ordered",
        "reflow_type": "auto",
        "template_variables": [
            {"name": name, "prefix": tag, "defaults": ["*"]} for name, tag in zip(_FILTERS, TAGS, strict=True)
        ],
        "widgets": [{"definition": _definition(widget)} for widget in _WIDGETS],
    }


def _definition(widget: _Widget) -> dict[str, Any]:
    names = [f"query{number}" for number in range(1, len(widget.queries) + 1)]
    single = widget.kind == "query_value"
    queries: list[dict[str, Any]] = []
    for name, query in zip(names, widget.queries, strict=True):
        found = {"name": name, "data_source": "metrics", "query": query}
        queries.append({**found, "aggregator": "sum"} if single else found)
    shown = [widget.formula] if single else names
    unit = {"number_format": {"unit": {"type": "canonical_unit", "unit_name": widget.unit}}} if widget.unit else {}
    request: dict[str, Any] = {
        "response_format": "scalar" if single else "timeseries",
        "queries": queries,
        "formulas": [{"formula": formula, **unit} for formula in shown],
    }
    if not single:
        request["display_type"] = "bars" if widget.bars else "line"
    return {"title": widget.title, "type": widget.kind, "requests": [request]}
