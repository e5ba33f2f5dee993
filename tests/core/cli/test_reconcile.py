"""``costguard reconcile``, as a user runs it: what it prints and how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from billing_server import KEY, BillingServer
from typer.testing import CliRunner, Result

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.types import Event, Outcome, Usage

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC).timestamp()
SPAN = ("--since", "2026-11-16", "--until", "2026-11-17")


def run(*arguments: str, **environment: str) -> Result:
    given = {"COLUMNS": "140", "NO_COLOR": "1", "OPENAI_ADMIN_KEY": KEY, **environment}
    return CliRunner().invoke(app, ["reconcile", *arguments], env=given)


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "costguard.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        usage = Usage(1_000, 100)
        ledger.append(Event("1", NOON, Outcome.MISS, "gpt-4o", "openai", usage=usage, cost=3_500_000))
    return str(path)


@pytest.fixture
def server() -> Iterator[BillingServer]:
    with BillingServer() as running:
        running.openai_cost("2026-11-16", "gpt-4o-2024-08-06, input", 0.0025, 1_000)
        running.openai_cost("2026-11-16", "gpt-4o-2024-08-06, output", 0.001, 100)
        running.openai_usage(
            "2026-11-16", "gpt-4o-2024-08-06", input_tokens=1_000, output_tokens=100, num_model_requests=1
        )
        yield running


def test_a_bill_that_agrees_exits_0(db: str, server: BillingServer) -> None:
    result = run(*SPAN, "--db", db, "--base-url", f"openai={server.url}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 more row agrees" in result.stdout
    assert "Unexplained: $0.00 of $0.003500." in result.stdout


def test_calls_outside_are_named_and_no_failure(db: str, server: BillingServer) -> None:
    server.openai_cost("2026-11-16", "gpt-4o-mini-2024-07-18, output", 2)
    result = run(*SPAN, "--db", db, "--base-url", f"openai={server.url}")
    assert result.exit_code == 0
    assert "outside +$2.00" in result.stdout


def test_what_nothing_explains_exits_1_beyond_the_tolerance(db: str, server: BillingServer) -> None:
    server.openai_cost("2026-11-16", "gpt-4o-2024-08-06, something new", 0.01)
    arguments = (*SPAN, "--db", db, "--base-url", f"openai={server.url}")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "more than 1 % of the bill is unexplained" in result.stderr
    assert run(*arguments, "--tolerance", "$0.02").exit_code == 0
    assert run(*arguments, "--tolerance", "$0.001").exit_code == 1
    assert run(*arguments, "--tolerance", "90%").exit_code == 0


def test_json_and_markdown(db: str, server: BillingServer) -> None:
    arguments = (*SPAN, "--db", db, "--base-url", f"openai={server.url}")
    data = json.loads(run(*arguments, "--json").stdout)
    assert (data["billed_usd"], data["unexplained_usd"]) == ("0.003500000", "0.000000000")
    assert data["rows"][0]["requests_billed"] == 1
    assert run(*arguments, "--markdown").stdout.startswith("**Bill of openai against the ledger")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tolerance", "lots"], "no tolerance"),
        (["--json", "--markdown"], "choose one"),
        (["--provider", "openay"], 'Did you mean "openai"'),
        (["--db", "memory://"], "print(guard.reconcile())"),
        (["--db", "no-such.db"], "there is no ledger"),
        (["--csv", "no-such.csv"], "No such file"),
        (["--base-url", "openai=ftp://x"], "https://"),
        (["--base-url", "https://x"], "--base-url"),
        (["--since", "tomorow"], "is not a time"),
    ],
)
def test_bad_input_exits_2_with_one_clear_line(db: str, arguments: list[str], text: str) -> None:
    result = run(*(() if "--db" in arguments else ("--db", db)), *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_key_that_is_refused_exits_2_and_is_not_shown(db: str, server: BillingServer) -> None:
    result = run(*SPAN, "--db", db, "--base-url", f"openai={server.url}", OPENAI_ADMIN_KEY="sk-proj-not-an-admin")
    assert result.exit_code == 2
    assert "administrator" in result.stderr
    assert "sk-proj" not in result.stdout + result.stderr


def test_an_export_needs_no_key(db: str, tmp_path: Path) -> None:
    bill = tmp_path / "costs.csv"
    bill.write_text(
        "start_time_iso,amount_value,amount_currency,line_item\n"
        '2026-11-16T00:00:00,0.0025,usd,"gpt-4o-2024-08-06, input"\n'
        '2026-11-16T00:00:00,0.001,usd,"gpt-4o-2024-08-06, output"\n'
    )
    result = run("--db", db, "--csv", str(bill), OPENAI_ADMIN_KEY="")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "costs.csv" in result.stdout
