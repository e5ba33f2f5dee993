"""``costguard check``, and the policy file as the source of the other commands' URLs."""

from __future__ import annotations

import json
from pathlib import Path
from time import time

import pytest
from typer.testing import CliRunner, Result

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.types import Attribution, Event, Outcome

POLICY = """
ledger = "sqlite:///{folder}/calls.db"

[endpoints."/support"]
owner = "support"
budgets = ["$50/day"]
models = ["small"]
review_above = "$3/day"

[endpoints."/faq"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COSTGUARD_CONFIG", raising=False)
    (tmp_path / "costguard.toml").write_text(POLICY.format(folder=tmp_path))
    with open_ledger(f"sqlite:///{tmp_path}/calls.db") as ledger:
        for number, (endpoint, model) in enumerate(
            [("/support", "small"), ("/support", "large"), ("/new", "small"), (None, "small")]
        ):
            who = Attribution(endpoint=endpoint)
            ledger.append(Event(str(number), time(), Outcome.MISS, model, attribution=who, cost=2 * 10**9))
    return tmp_path


def run(*arguments: str, **environment: str) -> Result:
    variables = {"COLUMNS": "120", "NO_COLOR": "1", **environment}
    return CliRunner().invoke(app, list(arguments), env=variables)


def test_a_file_without_owner_or_budget_fails(folder: Path) -> None:
    result = run("check", str(folder / "costguard.toml"), "--json")
    assert result.exit_code == 1
    assert {(f["rule"], f["endpoint"]) for f in json.loads(result.stdout)["findings"]} == {
        ("owner", "/faq"),
        ("budget", "/faq"),
    }


def test_the_ledger_shows_which_rules_are_not_followed(folder: Path) -> None:
    result = run("check", str(folder / "costguard.toml"), "--db", str(folder / "calls.db"), "--json")
    found = {(f["rule"], f["endpoint"]) for f in json.loads(result.stdout)["findings"]}
    assert found - {("owner", "/faq"), ("budget", "/faq")} == {
        ("model", "/support"),
        ("review", "/support"),
        ("unknown endpoint", "/new"),
        ("unknown endpoint", None),
    }


def test_a_name_that_somebody_typed_stays_on_its_line_and_can_be_written_as_it_is_told(folder: Path) -> None:
    import tomllib

    with open_ledger(f"sqlite:///{folder}/calls.db") as ledger:
        who = Attribution(endpoint='/a"]\nowner\x1b[1m\x7f')
        ledger.append(Event("typed", time(), Outcome.MISS, "small", attribution=who, cost=1))
    result = run("check", str(folder / "costguard.toml"), "--db", str(folder / "calls.db"))
    [line] = [line for line in result.stdout.splitlines() if "/a" in line]
    assert line.startswith("  unknown endpoint: ")
    key = line.partition("write [endpoints.")[2].partition('"] with')[0] + '"'
    assert tomllib.loads(f"{key} = 1") == {who.endpoint: 1}


def test_a_file_that_is_followed_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('[endpoints."/faq"]\nowner = "me"\nbudgets = ["$5/day"]\n')
    result = run("check", str(path))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "fine")


def test_a_budget_that_two_places_name_is_one_and_counts_for_its_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    everywhere = 'budgets = ["$5/day where endpoint=/faq", "$0.02/call where endpoint=/faq"]\n'
    path.write_text(everywhere + '[endpoints."/faq"]\nowner = "me"\n')
    alone = run("check", str(path))
    path.write_text(everywhere + '[endpoints."/faq"]\nowner = "me"\nbudgets = ["$5/day"]\nmax_cost_per_call = "0.02"\n')
    twice = run("check", str(path))
    for result in (alone, twice):
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "fine")
        assert "2 budgets, 1 endpoints" in result.stdout


def test_a_file_that_cannot_be_used_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('\nbudgts = ["$5/day"]\n')
    result = run("check", str(path))
    assert result.exit_code == 2
    assert f"{path}:2:1: budgts: there is no such setting; did you mean 'budgets'?" in result.stderr
    assert run("check", str(tmp_path / "none.toml")).exit_code == 2


def test_the_schema_is_printed_for_editors() -> None:
    assert json.loads(run("check", "--schema").stdout)["title"] == "costguard.toml"


def test_commands_read_the_ledger_that_the_policy_names(folder: Path) -> None:
    result = run("report", "--json", COSTGUARD_CONFIG=str(folder / "costguard.toml"))
    assert json.loads(result.stdout)["total"]["calls"] == 4
