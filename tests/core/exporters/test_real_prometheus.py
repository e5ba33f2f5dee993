"""The dashboard and the alert rules in a real Prometheus, Debian's: every panel has data, and every rule is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ports import reserved_port
from prometheus_client import CollectorRegistry, start_http_server
from waiting import wait_until

from costguard_core.exporters import PrometheusHook
from costguard_core.exporters.grafana import alert_rules, dashboard
from costguard_core.types import Alert, Attribution, Event, Outcome, Usage

pytestmark = pytest.mark.slow

CONFIG = """
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules.yml]
scrape_configs:
  - job_name: app
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: make peers")
    return found


@pytest.fixture
def application() -> Iterator[int]:
    """The port at which an application that goes on making calls exports its metrics."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.1):
            for outcome in Outcome:
                who = Attribution(endpoint="/faq")
                usage = Usage(input_tokens=3, output_tokens=1)
                event = Event("1", 0.0, outcome, "m", "p", who, usage, cost=10**9, saved=10**9, latency=0.1)
                hook(event)
            hook(Event("2", 0.0, Outcome.MISS, "mystery", "p", cost=None))
            hook(Alert("b", (), 0.8, "usd", 1, 1, 0.0))

    thread = threading.Thread(target=work)
    thread.start()
    server, serving = start_http_server(0, "127.0.0.1", registry)
    yield server.server_port
    done.set()
    thread.join()
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture
def prometheus(application: int, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes it, and has the alert rules."""
    program = _program("prometheus")
    (tmp_path / "prometheus.yml").write_text(CONFIG.replace("PORT", str(application)))
    (tmp_path / "rules.yml").write_text(json.dumps(alert_rules()))
    with reserved_port() as port, (tmp_path / "log").open("wb") as log:
        command = [
            program,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                return httpx.get(f"{url}/-/ready").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(is_ready)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _value(url: str, expression: str) -> Any:
    """What an expression is now, with Grafana's variables as it fills them in."""
    for name, text in (("$__rate_interval", "4s"), ("$__range", "1h"), ("$provider", ".*"), ("$model", ".*")):
        expression = expression.replace(name, text)
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression.replace("$endpoint", ".*")}).json()
    assert answer["status"] == "success", (expression, answer)
    return answer["data"]["result"]


def test_every_panel_has_data(prometheus: str) -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:

            def has_data(expression: str = target["expr"]) -> bool:
                found = _value(prometheus, expression)
                return any(row["value"][1] not in ("NaN", "0") for row in found)

            wait_until(has_data)
    for variable in ("provider", "model", "endpoint"):
        labels = httpx.get(f"{prometheus}/api/v1/label/{variable}/values").json()["data"]
        assert labels, variable


def test_every_alert_rule_is_read_and_those_that_are_due_fire(prometheus: str) -> None:
    def rules() -> dict[str, Any]:
        groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    named = {rule["alert"] for group in alert_rules()["groups"] for rule in group["rules"]}
    wait_until(lambda: set(rules()) == named and all(rule["health"] == "ok" for rule in rules().values()))
    wait_until(
        lambda: {rules()[name]["state"] for name in ("LLMBudgetNearlyUsed", "LLMCallsWithoutPrice")} == {"firing"}
    )


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(json.dumps(alert_rules()))
    done = subprocess.run(
        [_program("promtool"), "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
