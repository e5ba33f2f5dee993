"""``costguard grafana`` and ``costguard datadog``: dashboards for the metrics of the hooks, and alert rules."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def grafana(
    *,
    alerts: Annotated[bool, typer.Option("--alerts", help="Print alert rules for Prometheus instead.")] = False,
) -> None:
    """Print a Grafana dashboard, or alert rules of Prometheus, for the metrics of PrometheusHook.

    Example: costguard grafana > costguard.json, then import it in Grafana
    """
    from costguard_core.exporters.grafana import alert_rules, dashboard

    typer.echo(json.dumps(alert_rules() if alerts else dashboard(), indent=2))


datadog_app = typer.Typer(add_completion=False)


@datadog_app.command()
def datadog() -> None:
    """Print a Datadog dashboard for the metrics of OpenTelemetryHook, sent through OTLP.

    Example: costguard datadog > costguard.json, then import it in Datadog
    """
    from costguard_core.exporters.datadog import datadog_dashboard

    typer.echo(json.dumps(datadog_dashboard(), indent=2))
