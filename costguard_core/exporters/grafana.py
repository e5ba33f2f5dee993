"""A Grafana dashboard, and alert rules of Prometheus, for the metrics of
:class:`costguard_core.exporters.prometheus.PrometheusHook`.

The dashboard's model is that of https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/,
the rules' that of https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_CHOSEN = 'provider=~"$provider", model=~"$model", endpoint=~"$endpoint"'
_WIDTH, _HEIGHT = 24, 8  # of a row of panels, in Grafana's units


class _Panel(NamedTuple):
    title: str
    kind: str  # "stat" or "timeseries"
    unit: str  # of Grafana: https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts
    width: int
    queries: tuple[tuple[str, str], ...]  # an expression, and how its series are called
    stacked: bool = False


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_CHOSEN}{more}}}[$__rate_interval]))"


def _whole(metric: str, more: str = "") -> str:
    return f"sum(increase({metric}{{{_CHOSEN}{more}}}[$__range]))"


_SAVED = f"{_whole('llm_saved_usd_total')} - ({_whole('llm_lost_usd_total')} or vector(0))"
_PAID = ', outcome="miss"'
_HITS = ', outcome=~"exact|semantic|coalesced"'
_ANSWERED = ', outcome=~"miss|exact|semantic|coalesced"'
_PANELS = (
    _Panel("Spent", "stat", "currencyUSD", 6, ((_whole("llm_cost_usd_total"), ""),)),
    _Panel("Saved", "stat", "currencyUSD", 6, ((_SAVED, ""),)),
    _Panel(
        "Answers from a cache",
        "stat",
        "percentunit",
        6,
        ((f"{_whole('llm_calls_total', _HITS)} / {_whole('llm_calls_total', _ANSWERED)}", ""),),
    ),
    _Panel("Calls whose cost is unknown", "stat", "short", 6, ((_whole("llm_unpriced_calls_total"), ""),)),
    _Panel(
        "Dollars per hour by model",
        "timeseries",
        "currencyUSD",
        12,
        ((f"3600 * {_rate('llm_cost_usd_total', 'model')}", "{{model}}"),),
        stacked=True,
    ),
    _Panel(
        "Dollars per hour by endpoint",
        "timeseries",
        "currencyUSD",
        12,
        ((f"3600 * {_rate('llm_cost_usd_total', 'endpoint')}", "{{endpoint}}"),),
        stacked=True,
    ),
    _Panel(
        "Calls per second by how they ended",
        "timeseries",
        "reqps",
        12,
        ((_rate("llm_calls_total", "outcome"), "{{outcome}}"),),
        stacked=True,
    ),
    _Panel(
        "Tokens per second",
        "timeseries",
        "short",
        12,
        ((_rate("llm_tokens_total", "direction"), "{{direction}}"),),
    ),
    _Panel(
        "Seconds to a paid answer",
        "timeseries",
        "s",
        12,
        tuple(
            (
                f"histogram_quantile({quantile}, {_rate('llm_latency_seconds_bucket', 'le', _PAID)})",
                name,
            )
            for quantile, name in ((0.5, "median"), (0.95, "95 %"))
        ),
    ),
    _Panel(
        "Budget alerts",
        "timeseries",
        "short",
        12,
        (
            (
                "sum by (budget, fraction) (increase(llm_budget_alerts_total[$__rate_interval]))",
                "{{budget}} {{fraction}}",
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it; it asks for the data source and has filters for the labels."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(_PANELS, 1):
        height = 4 if panel.kind == "stat" else _HEIGHT
        custom = {
            "fillOpacity": 60 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
        panels.append(
            {
                "id": number,
                "title": panel.title,
                "type": panel.kind,
                "datasource": _SOURCE,
                "gridPos": {"x": x, "y": y, "w": panel.width, "h": height},
                "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": name, "datasource": _SOURCE}
                    for place, (expression, name) in enumerate(panel.queries)
                ],
            }
        )
        x += panel.width
        if x >= _WIDTH:
            x, y = 0, y + height
    return {
        "title": "Costguard",
        "uid": "costguard",
        "schemaVersion": 39,
        "tags": ["llm", "cost"],
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [_data_source(), *map(_filter, ("provider", "model", "endpoint"))]},
        "panels": panels,
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _filter(label: str) -> dict[str, Any]:
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values(llm_calls_total, {label})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def alert_rules() -> dict[str, Any]:
    """Alert rules for Prometheus. As JSON they are a rule file too, for JSON is YAML."""
    rules = [
        _rule(
            "LLMSpendUnusual",
            "sum by (endpoint) (rate(llm_cost_usd_total[1h])) > 3 * "
            "sum by (endpoint) (rate(llm_cost_usd_total[1d] offset 1d)) "
            "and sum by (endpoint) (increase(llm_cost_usd_total[1h])) > 1",
            "15m",
            "{{ $labels.endpoint }} spends more than three times what it did yesterday",
        ),
        _rule(
            "LLMBudgetNearlyUsed",
            f"sum by (budget, fraction) ({_grown('llm_budget_alerts_total', '15m')})",
            "0m",
            "Budget {{ $labels.budget }} is used to {{ $labels.fraction }} or beyond",
        ),
        _rule(
            "LLMCallsWithoutPrice",
            f"sum by (provider, model) ({_grown('llm_unpriced_calls_total', '1h')})",
            "0m",
            "The price of {{ $labels.model }} is unknown, so that spend is too low",
        ),
        _rule(
            "LLMCallsFail",
            'sum by (endpoint) (rate(llm_calls_total{outcome="error"}[15m])) > 0.1 * sum by (endpoint) '
            "(rate(llm_calls_total[15m]))",
            "15m",
            "More than a tenth of the calls at {{ $labels.endpoint }} fail",
        ),
    ]
    return {"groups": [{"name": "costguard", "rules": rules}]}


def _grown(metric: str, span: str) -> str:
    """Counters that grew: ``increase`` does not see the step of one whose first sample is already more than zero."""
    return f"increase({metric}[{span}]) > 0 or ({metric} unless {metric} offset {span}) > 0"


def _rule(name: str, expression: str, wait: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": "warning"},
        "annotations": {"summary": summary},
    }
