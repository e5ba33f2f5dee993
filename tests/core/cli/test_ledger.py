"""``costguard ledger``: sizes, deletion, files for elsewhere, and ledgers of older versions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.ledger.columns import NAMES
from costguard_core.ledger.ledger import open_database
from costguard_core.ledger.migrations import migrate
from costguard_core.types import Attribution, Event, Outcome

DAY = 86_400.0
START = 20_000 * DAY


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number in range(100):
            who = Attribution(user="=1+1" if number == 3 else "ann", tags=(("plan", "free"),))
            ledger.append(
                Event(
                    id=f"e{number:03}",
                    time=START + number * DAY / 4,
                    outcome=Outcome.MISS,
                    model="m",
                    attribution=who,
                    cost=None if number == 5 else 10,
                )
            )
    return str(path)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_stats_count_what_is_there(db: str) -> None:
    code, out, _ = run("ledger", "stats", "--db", db, "--json")
    found = json.loads(out)
    assert (code, found["events"], found["oldest"], found["not_rolled"]) == (0, 100, START, 100)
    assert "100" in run("ledger", "stats", "--db", db)[1]


def test_prune_deletes_calls_and_reports_keep_their_sums(db: str) -> None:
    before = run("report", "--db", db, "--by", "plan", "--json")[1]
    code, out, _ = run("ledger", "prune", "--before", "2024-10-14", "--db", db, "--json")
    assert (code, json.loads(out)["deleted"], json.loads(out)["events"]) == (0, 40, 60)
    after = json.loads(run("report", "--db", db, "--by", "plan", "--json")[1])
    assert after["total"] == json.loads(before)["total"]
    code, out, _ = run("ledger", "vacuum", "--db", db)
    assert code == 0
    assert "MB" in out


def test_migrate_brings_an_old_ledger_up_to_date(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/old.db")
    migrate(database, ())
    database.close()
    code, _, err = run("report", "--db", f"{tmp_path}/old.db")
    assert (code, "costguard ledger migrate" in err) == (2, True)
    assert run("ledger", "migrate", "--db", f"{tmp_path}/old.db")[0] == 0
    assert run("report", "--db", f"{tmp_path}/old.db")[0] == 0


def test_csv_has_every_column_and_no_formula(db: str, tmp_path: Path) -> None:
    code, out, _ = run("ledger", "export", "--csv", f"{tmp_path}/calls.csv", "--db", db, "--json")
    assert (code, json.loads(out)["written"]) == (0, 100)
    with (tmp_path / "calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == NAMES
    assert rows[3]["user_id"] == "'=1+1"
    assert (rows[5]["cost_nanos"], rows[6]["cost_nanos"]) == ("", "10")


def test_parquet_keeps_types_and_what_is_unknown(db: str, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    code, _, err = run("ledger", "export", "--parquet", f"{tmp_path}/calls.parquet", "--db", db)
    assert (code, err) == (0, "")
    table = pq.read_table(tmp_path / "calls.parquet")
    assert tuple(table.column_names) == NAMES
    costs = table.column("cost_nanos").to_pylist()
    assert (costs[5], sum(cost or 0 for cost in costs)) == (None, 990)
    assert str(table.schema.field("estimated").type) == "bool"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["export"], "choose one of --csv"),
        (["export", "--csv", "/no/such/place.csv"], "cannot write"),
        (["prune", "--before", "soon"], "is not a time"),
    ],
)
def test_bad_input_says_why(db: str, args: list[str], said: str) -> None:
    code, _, err = run("ledger", *args, "--db", db)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("verb", ["stats", "vacuum", "migrate"])
def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path, verb: str) -> None:
    code, _, err = run("ledger", verb, "--db", f"{tmp_path}/missing.db")
    assert (code, "there is no ledger" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
