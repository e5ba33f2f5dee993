"""Cost and usage data in FOCUS: its columns and values, and the ledger's own sums."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import open_ledger
from costguard_core.reports.focus import COLUMNS, focus_rows, write_focus
from costguard_core.reports.queries import make_report
from costguard_core.types import Attribution, Event, Outcome, Usage

DAY = 1_795_564_800.0  # 2026-11-25 00:00 UTC


def _event(id: str, **fields: Any) -> Event:
    given: dict[str, Any] = {"time": DAY + 60, "outcome": Outcome.MISS, "model": "gpt-4o-mini", "provider": "openai"}
    given |= {"usage": Usage(input_tokens=100, output_tokens=20), "cost": 27_000}
    return Event(id, **{**given, **fields})


EVENTS = [
    _event("a"),
    _event("b", attribution=Attribution(endpoint="/faq", tenant='=cmd("x")')),
    _event("c", time=DAY + 86_400, account="team-a"),
    _event("d", outcome=Outcome.EXACT, cost=0, saved=27_000),
    _event("e", model="mystery", provider=None, cost=None),
    _event("f", outcome=Outcome.REFUSED, cost=0, usage=Usage()),
]


def _written(events: list[Event], folder: Path, **options: Any) -> list[dict[str, str]]:
    with open_ledger(f"sqlite:///{folder}/l.db") as ledger:
        for event in events:
            ledger.append(event)
        ledger.flush()
        write_focus(ledger, folder / "focus.csv", **options)
    with (folder / "focus.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_what_one_model_cost_one_account_in_one_day(tmp_path: Path) -> None:
    rows = _written(EVENTS, tmp_path)
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 4
    [first] = [row for row in rows if row["Tags"] == "{}" and row["ProviderName"] == "openai" and row["x_Calls"] == "1"
               and row["BillingAccountId"] == "default"]  # fmt: skip
    assert first["BilledCost"] == first["EffectiveCost"] == first["ListCost"] == "0.000027"
    assert (first["ConsumedQuantity"], first["ConsumedUnit"], first["BillingCurrency"]) == ("120", "Tokens", "USD")
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == ("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z")
    assert (first["BillingPeriodStart"], first["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert first["x_SavedCost"] == "0.000027"  # of the hit on the same day
    [tagged] = [row for row in rows if row["Tags"] != "{}"]
    assert json.loads(tagged["Tags"]) == {"endpoint": "/faq", "tenant": '=cmd("x")'}
    [of_team] = [row for row in rows if row["BillingAccountId"] == "team-a"]
    assert of_team["ChargePeriodStart"] == "2026-11-26T00:00:00Z"
    [unknown] = [row for row in rows if row["ProviderName"] == "unknown"]
    assert (unknown["BilledCost"], unknown["x_CallsWithUnknownCost"]) == ("0", "1")


def test_the_rows_add_up_to_the_report(tmp_path: Path) -> None:
    random = Random(3)
    events = [
        _event(
            f"e{number}",
            time=DAY + random.uniform(-40, 40) * 86_400,
            model=random.choice(["gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5"]),
            cost=random.choice([None, 0, random.randrange(10**9)]),
            outcome=random.choice(list(Outcome)),
            attribution=Attribution(user=random.choice([None, "u1", "u" * 200, "\u202e<b>"]), tags=(("plan", "a"),)),
        )
        for number in range(500)
    ]
    rows = _written(events, tmp_path, tags=("user", "plan"))
    with open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger:
        total = make_report(ledger).total
    assert sum(Decimal(row["BilledCost"]) for row in rows) == total.spend_usd
    assert sum(int(row["x_Calls"]) for row in rows) == total.paid
    assert sum(int(row["ConsumedQuantity"]) for row in rows) == total.input_tokens + total.output_tokens


def test_negative_amounts_are_numbers_and_names_are_no_formulas(tmp_path: Path) -> None:
    [row] = _written([_event("a", model="-1+1", cost=-1_500, saved=-3)], tmp_path)
    assert (row["BilledCost"], row["x_SavedCost"]) == ("-0.0000015", "-0.000000003")
    assert (row["ResourceId"], row["SkuId"]) == ("'-1+1", "openai/-1+1")


def test_the_command(tmp_path: Path) -> None:
    _written(EVENTS, tmp_path)
    out = tmp_path / "november.csv"
    arguments = ["export", "--focus", str(out), "--db", f"{tmp_path}/l.db"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, out.exists()) == (0, True)
    assert "4 rows written, $0.000081 in all, which is a floor" in done.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--since", "2026-11-26", "--json"]).output)
    assert (found["rows"], found["cost_usd"], found["unknown"]) == (1, "0.000027", 0)
    before = out.read_text()
    assert CliRunner().invoke(app, [*arguments, "--tag", "no tag!"]).exit_code == 2
    assert out.read_text() == before  # a typing mistake empties no file
    missing = CliRunner().invoke(app, ["export", "--focus", str(tmp_path / "no" / "x.csv"), "--db", f"{tmp_path}/l.db"])
    assert (missing.exit_code, "cannot write" in missing.output) == (2, True)


def test_unknown_dimensions_are_named(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger, pytest.raises(ConfigurationError):
        list(focus_rows(ledger, where={"modle!": "x"}))


# What focus-validator 1.0.0, the last one for Python 3.11, calls columns of FOCUS 1.0 (the names of a draft).
DRAFT = {
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "InvoiceIssuer": "InvoiceIssuerName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}


@pytest.mark.slow
def test_a_validator_accepts_it(tmp_path: Path) -> None:
    """In an environment of its own: it wants other versions of pandas than we do."""
    validator = shutil.which("focus-validator")
    if validator is None:
        pytest.skip("focus-validator is not on the path: pipx install focus-validator==1.0.0")
    rows = _written(EVENTS, tmp_path)
    named = [{**row, **{draft: row[name] for draft, name in DRAFT.items()}} for row in rows]
    for row in named:  # it takes a column of whole numbers for none of decimals
        row |= {name: f"{row[name]}.0" for name in ("ConsumedQuantity", "PricingQuantity")}
    with (tmp_path / "named.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(named[0]))
        writer.writeheader()
        writer.writerows(named)
    command = [validator, "--data-file", "named.csv", "--validate-version", "1.0", "--column-namespace", "x_"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.endswith("failed:")]
    # Its rule about currencies looks for a file that its package does not hold.
    assert [line for line in failed if not line.startswith("BillingCurrency_IsCurrencyCode")] == []
