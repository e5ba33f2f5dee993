"""A user, tenant, tag, model or budget may be called anything: no place that shows the name is harmed by it."""

from __future__ import annotations

import csv
import io
import json
import logging
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from costguard_core import Budget, Call, CostGuard, Event, SpendLimitExceeded, Usage, attribute
from costguard_core.attribution import current_attribution
from costguard_core.cli import printing
from costguard_core.cli.main import app
from costguard_core.exporters import LoggingHook, as_dict, as_line
from costguard_core.exporters.webhook import payload
from costguard_core.types import Alert

NAMES = {
    "escape codes": "\x1b[2J\x1b]0;title\x07eve\nusd fake",
    "c1 controls": "\x9b2Jeve",
    "right to left": "\u202eeve\u2066",
    "half a character": "eve \ud83d",
    "formula": '=HYPERLINK("http://example.org","x")',
    "formula after a space": " +1+1",
    "full-width formula": "＝1+1",
    "tab": "\t=1+1",
    "html": "<script>alert(1)</script>",
    "a line of its own": "a\u2028b\rc",
    "long": "x" * 5_000,
    "markup": "[bold red]eve[/]",
    "label": 'eve"} 1\n',
}
CONTROLS = {chr(code) for code in (*range(32), *range(127, 160))} | set("\u202e\u2066\u2028")
PRICES = {"m": {"input": "1", "output": "10"}}


def check(text: str, *, lines: bool = True) -> None:
    """``text`` can be encoded, moves no cursor (but for its own line ends) and repeats no name at full length."""
    text.encode("utf-8")
    assert not (CONTROLS - ({"\n"} if lines else set())) & set(text)
    assert "x" * 1_001 not in text


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def recorded(name: str, tmp_path: Path) -> tuple[CostGuard, list[Event | Alert], str]:
    """A guard whose only call was made by somebody of that name, with what its hooks got, and the URL of its files."""
    url, items = f"sqlite:///{tmp_path / 'costguard.db'}", []
    budget = Budget.parse("$0.02/day per user, endpoint", name=f"cap of {name}")
    prices = {**PRICES, name: PRICES["m"]}
    guard = CostGuard([budget], store=url, ledger=url, prices=prices, hooks=[items.append])
    with attribute(user=name, endpoint=name, team=name):
        call = Call(
            "id", name, guard.clock(), attribution=current_attribution(), input_tokens=1, max_output_tokens=1_500
        )
    guard.after(guard.before(call), Usage(input_tokens=1, output_tokens=1_500))
    with pytest.raises(SpendLimitExceeded) as refused:
        guard.before(call)
    check(str(refused.value), lines=False)
    check(refused.value.public)
    guard.flush()
    return guard, items, url


def test_terminals_and_notebooks(recorded: tuple[CostGuard, list[Event | Alert], str]) -> None:
    guard, _, _ = recorded
    report = guard.report(by=["user", "endpoint", "model"])
    for text in (str(guard.status()), str(report), str(guard.report(by="reason"))):
        check(text)
        assert len(text.splitlines()) == len(text.split("\n"))
    for html in (guard._repr_html_(), report._repr_html_()):
        check(html)
        assert "script" not in tags_of(html)


def test_csv(recorded: tuple[CostGuard, list[Event | Alert], str]) -> None:
    guard, _, _ = recorded
    text = guard.report(by=["user", "model"]).to_csv()
    check(text)
    (row,) = csv.DictReader(io.StringIO(text))
    for cell in (row["user"], row["model"]):
        assert cell.lstrip()[:1] not in ("=", "+", "-", "@", "\t", "\r", "＝")


def test_json(recorded: tuple[CostGuard, list[Event | Alert], str]) -> None:
    guard, items, _ = recorded
    texts = [guard.report(by="user").to_json(), *(json.dumps(payload(item)) for item in items)]
    for text in texts:
        assert text.isascii()
        json.loads(text)


def test_hooks(recorded: tuple[CostGuard, list[Event | Alert], str], caplog: pytest.LogCaptureFixture) -> None:
    _, items, _ = recorded
    assert {type(item) for item in items} == {Event, Alert}
    hook = LoggingHook()
    with caplog.at_level(logging.INFO, "costguard"):
        for item in items:
            check(as_line(item), lines=False)
            for value in strings(as_dict(item)):
                check(value, lines=False)
            hook(item)
    for record in caplog.records:
        check(record.getMessage(), lines=False)


def test_metrics(recorded: tuple[CostGuard, list[Event | Alert], str]) -> None:
    prometheus = pytest.importorskip("prometheus_client")
    from costguard_core.exporters import PrometheusHook

    registry = prometheus.CollectorRegistry()
    hook = PrometheusHook(registry)
    for item in recorded[1]:
        hook(item)
    text = prometheus.generate_latest(registry).decode("utf-8")
    check(text)
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {name.startswith("llm_") for name in names} == {True}


def test_open_telemetry(recorded: tuple[CostGuard, list[Event | Alert], str]) -> None:
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    from costguard_core.exporters import OpenTelemetryHook

    reader = export.InMemoryMetricReader()
    hook = OpenTelemetryHook(metrics.MeterProvider([reader]))
    for item in recorded[1]:
        hook(item)
    for value in strings(json.loads(reader.get_metrics_data().to_json())):
        check(value, lines=False)


@pytest.mark.parametrize("output", ["", "--json", "--csv"])
def test_commands(recorded: tuple[CostGuard, list[Event | Alert], str], output: str) -> None:
    _, _, url = recorded
    commands = [["report", "--by", "user", "--by", "model", "--db", url, *filter(None, [output])]]
    if output != "--csv":
        commands.append(
            ["budget", "status", "$1/day per user, endpoint", "--store", url, *([output] if output else [])]
        )
    for words in commands:
        done = CliRunner().invoke(app, words)
        assert (done.exit_code, done.stderr) == (0, "")
        if output == "--json":
            json.loads(done.stdout)
            assert done.stdout.isascii()
        else:
            check(done.stdout_bytes.decode("utf-8"))


def test_commands_print_no_control_characters(capsys: pytest.CaptureFixture[str], name: str) -> None:
    printing.print_text(f"{name}\nnext line")
    out = capsys.readouterr().out
    check(out[:900])
    assert out.endswith("\nnext line\n")


def tags_of(html: str) -> set[str]:
    found: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found.add(tag)

    Tags().feed(html)
    return found


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in (*value.keys(), *value.values()) for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []
