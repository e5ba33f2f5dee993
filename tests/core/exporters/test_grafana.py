"""The dashboard and the alert rules ask for nothing but what the Prometheus hook exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from costguard_core.cli.grafana import app
from costguard_core.exporters import PrometheusHook
from costguard_core.exporters.grafana import alert_rules, dashboard
from costguard_core.types import Alert, Attribution, Event, Outcome, Usage


@pytest.fixture
def exported() -> dict[str, set[str]]:
    """The labels of every sample that the hook exports."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    who = Attribution(endpoint="/faq")
    for outcome in Outcome:
        usage = Usage(input_tokens=3, output_tokens=1)
        hook(Event("1", 0.0, outcome, "m", provider="p", attribution=who, usage=usage, cost=5, saved=5, latency=0.1))
    hook(Event("2", 0.0, Outcome.MISS, "m", cost=None))
    hook(Alert("b", (), 0.8, "usd", 1, 1, 0.0))
    return {sample.name: set(sample.labels) for metric in registry.collect() for sample in metric.samples}


def _expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in alert_rules()["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_every_expression_asks_for_what_is_exported(exported: dict[str, set[str]]) -> None:
    for expression in _expressions():
        metrics = re.findall(r"\bllm_\w+", expression)
        assert metrics
        asked = set(re.findall(r"(\w+)=~?\"", expression))
        for names in re.findall(r"by \(([^)]*)\)", expression):
            asked |= {name.strip() for name in names.split(",")}
        for metric in metrics:
            assert metric in exported, expression
            assert asked <= exported[metric], expression
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")


def test_outcomes_in_expressions_are_outcomes() -> None:
    for expression in _expressions():
        for names in re.findall(r'outcome=~?"([^"]*)"', expression):
            assert set(names.split("|")) <= {outcome.value for outcome in Outcome}


def test_names_of_series_and_texts_of_alerts_use_labels_that_are_kept() -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"])
    for rule in alert_rules()["groups"][0]["rules"]:
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"])


def test_panels_fill_rows_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_command_prints_them_as_json() -> None:
    assert json.loads(CliRunner().invoke(app, []).stdout) == dashboard()
    assert json.loads(CliRunner().invoke(app, ["--alerts"]).stdout) == alert_rules()
