"""``costguard prices`` and ``costguard ledger reprice``, run as a user runs them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.types import Event, Outcome, Usage

PRICES = '[prices."nobody-knows-me"]\ninput = "1"\noutput = "2"\n'
CALLS = [
    Event("1", 1e9, Outcome.MISS, "nobody-knows-me", "acme", usage=Usage(1000, 100), cost=None),
    Event("2", 1e9, Outcome.MISS, "nobody-knows-me", "acme", usage=Usage(1000, 100), cost=None),
    Event("3", 1e9, Outcome.MISS, "gpt-4o", "openai", usage=Usage(10, 1), cost=35_000, priced_by="list"),
    Event("4", 1e9, Outcome.MISS, "gpt-4o", "acme", usage=Usage(10, 1), cost=35_000, priced_by="estimate"),
    Event("5", 1e9, Outcome.MISS, "gpt-5", "openai", usage=Usage(9, 1), cost=9, unpriced=("generated_image",)),
    Event("6", 1e9, Outcome.ABANDONED, "gpt-5", "openai", cost=9, priced_by="estimate"),
]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1", **environment})


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/l.db" if request.param == "sqlite" else request.getfixturevalue("postgres_db")
    with open_ledger(url) as ledger:
        for event in CALLS:
            ledger.append(event)
    return str(url)


class TestShow:
    def test_every_line_with_its_source_and_date(self) -> None:
        result = run("prices", "show", "gpt-4o", "--provider", "openai", "--at", "2026-12-01")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0].startswith("gpt-4o at openai, 2026-12-01 00:00 UTC: list, genai-prices")
        price = next(line for line in lines if line.split()[:1] == ["output"])
        assert "$10 per million" in price
        assert "genai-prices 0." in price
        assert "LiteLLM 1.110.2 (2026-11-29): $10" in price
        assert "priority:" in lines

    def test_a_disagreement_is_shown(self) -> None:
        result = run("prices", "show", "mistral-large-latest", "--provider", "mistral")
        assert "an estimate: genai-prices" in result.stdout
        assert "they differ" in result.stdout

    def test_as_json(self) -> None:
        found = json.loads(run("prices", "show", "eu/gpt-4o-2024-08-06", "--provider", "azure", "--json").stdout)
        lines = {line["key"]: line for line in found["lines"] if line["tier"] is None}
        assert (found["priced_by"], lines["input"]["dollars"], lines["input"]["per"]) == ("list", "2.75", 1_000_000)
        assert {one["source"].partition(" ")[0] for one in found["lists"]} == {"genai-prices", "LiteLLM"}

    def test_a_declared_price_and_steps(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text(
            '[prices.m]\ninput = "1"\nweb_search = "0.01"\nabove_1000 = { input = "2" }\nflex = { input = "0.5" }'
        )
        shown = run("prices", "show", "m", "--prices", str(path)).stdout
        assert "m, " in shown.splitlines()[0]
        assert ": declared" in shown.splitlines()[0]
        assert "standard, prompts of more than 1,000 tokens:\n  input                $2 per million" in shown
        assert "flex:\n  input                $0.5 per million" in shown
        assert "web_search           $0.01 each" in shown

    def test_the_policy_file_is_asked_too(self, tmp_path: Path, prices: str) -> None:
        policy = tmp_path / "costguard.toml"
        policy.write_text('prices = "prices.toml"\n')
        assert run("prices", "show", "nobody-knows-me", COSTGUARD_CONFIG=str(policy)).exit_code == 0

    def test_no_price_says_what_to_declare_and_fails(self) -> None:
        result = run("prices", "show", "nobody-knows-me\x1b[2J")
        assert result.exit_code == 1
        assert "CostGuard(prices=" in result.stdout
        assert "\x1b" not in result.stdout

    def test_no_name_is_a_usage_error(self) -> None:
        result = run("prices", "show", " ")
        assert result.exit_code == 2
        assert "such as gpt-4o" in result.stderr

    def test_a_misspelt_name_is_told_what_looks_like_it(self) -> None:
        result = run("prices", "show", "claude-sonet-4-5", "--provider", "anthropic")
        assert result.exit_code == 1
        assert "anthropic/claude-sonnet-4-5" in result.stdout
        assert json.loads(run("prices", "show", "gpt4o", "--provider", "openai", "--json").stdout)["similar"]

    def test_a_bad_price_file_is_bad_input(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text('[prices.m]\ninpt = "1"')
        result = run("prices", "show", "m", "--prices", str(path))
        assert result.exit_code == 2
        assert "p.toml:2:1: prices.m.inpt: is no price; did you mean 'input'?" in result.output


class TestAge:
    def test_a_list_that_does_not_say_its_day_is_not_said_to_have_one(self) -> None:
        result = run("prices", "age")
        assert result.exit_code == 0
        assert "it does not say of which day it is" in result.stdout
        assert "LiteLLM 1.110.2: of 2026-11-29" in result.stdout
        listed, table = json.loads(run("prices", "age", "--json").stdout)["lists"]
        assert listed["taken"] is None
        assert listed["newest"] is not None
        assert (table["taken"], table["models"] > 4_000) == ("2026-11-29", True)

    def test_an_old_list_fails(self) -> None:
        assert run("prices", "age", "--max-age", "-100000").exit_code == 1
        assert run("prices", "age", "--max-age", "100000").exit_code == 0


class TestCheck:
    def test_models_without_a_price_or_with_a_guess(self, db: str, prices: str) -> None:
        result = run("prices", "check", "--db", db, "--json", "--prices", prices)
        assert result.exit_code == 1
        rows = [
            (row["provider"], row["model"], row["fault"], row["calls"], row["now"])
            for row in json.loads(result.stdout)["models"]
        ]
        assert sorted(rows) == [
            ("acme", "gpt-4o", "estimate", 1, "estimate"),
            ("acme", "nobody-knows-me", "no price", 2, "declared"),
            ("openai", "gpt-5", "floor", 1, "list"),
        ]
        shown = run("prices", "check", "--db", db, "--prices", prices).stdout
        assert "nobody-knows-me (acme): no price, 2 calls, 2,200 tokens" in shown
        assert "gpt-5 (openai): no price for generated_image" in shown
        assert "costguard ledger reprice" in shown

    def test_nothing_to_find_is_fine(self, db: str) -> None:
        result = run("prices", "check", "--db", db, "--since", "1h")
        assert (result.exit_code, result.stdout) == (0, "every call has a price that somebody stands for\n")


class TestImport:
    def test_into_a_file_that_a_guard_reads(self, tmp_path: Path) -> None:
        table, made = tmp_path / "contract.csv", tmp_path / "made.toml"
        table.write_text("model,input,output\nmine,1,2\n")
        result = run("prices", "import", str(table), "-o", str(made))
        assert result.exit_code == 0
        assert "1 models in" in result.stdout
        assert run("prices", "show", "mine", "--prices", str(made)).exit_code == 0

    def test_to_the_terminal_and_as_json(self, prices: str) -> None:
        assert run("prices", "import", prices).stdout == PRICES
        found = json.loads(run("prices", "import", prices, "--json").stdout)
        assert found["prices"] == {"nobody-knows-me": {"input": "1", "output": "2"}}

    def test_a_price_a_million_times_too_high_is_questioned_before_it_is_taken(self, tmp_path: Path) -> None:
        table, made = tmp_path / "contract.csv", tmp_path / "made.toml"
        table.write_text("model,input\nmine,2500000\n")
        result = run("prices", "import", str(table), "-o", str(made))
        assert (result.exit_code, made.exists()) == (2, False)
        assert "'mine': input is $2.5e+06 per million tokens: no model costs so much" in result.output
        assert "--force" in result.output
        assert run("prices", "import", str(table), "-o", str(made), "--force").exit_code == 0

    def test_what_cannot_be_read_or_written(self, prices: str, tmp_path: Path) -> None:
        assert run("prices", "import", str(tmp_path / "none.csv")).exit_code == 2
        assert run("prices", "import", prices, "-o", str(tmp_path / "no" / "such" / "folder.toml")).exit_code == 2


PUBLISHED = [
    {
        "id": "openai", "name": "OpenAI", "api_pattern": "x", "pricing_urls": [],
        "models": [
            {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": 99, "output_mtok": 10}},
            {"id": "gpt-99", "match": {"equals": "gpt-99"}, "prices": {"input_mtok": 7}},
        ],
    }
]  # fmt: skip


@pytest.fixture
def published() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/data.json" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(PUBLISHED).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class TestUpdate:
    def test_what_is_other_in_the_newest_list(self, published: str) -> None:
        result = run("prices", "update", "--url", f"{published}/data.json", "--json")
        assert result.exit_code == 0
        changes = {one["model"]: one for one in json.loads(result.stdout)["changes"] if one["seller"] == "openai"}
        assert changes["gpt-4o"]["before"]["input_mtok"] == "2.5"
        assert changes["gpt-4o"]["after"] == {"input_mtok": "99"}
        assert (changes["gpt-99"]["before"], changes["gpt-99"]["after"]) == ({}, {"input_mtok": "7"})
        shown = run("prices", "update", "--url", f"{published}/data.json").stdout
        assert "UpdatePrices().start()" in shown
        assert "--json shows all" in shown

    def test_a_list_that_cannot_be_fetched(self, published: str) -> None:
        result = run("prices", "update", "--url", f"{published}/other.json")
        assert result.exit_code == 1
        assert "cannot fetch prices from" in result.output


class TestReprice:
    def test_a_dry_run_and_then_twice(self, db: str, prices: str) -> None:
        dry = run("ledger", "reprice", "--db", db, "--prices", prices, "--dry-run")
        assert "2 calls without a cost: 2 would be filled in, $0.0024" in dry.stdout
        done = json.loads(run("ledger", "reprice", "--db", db, "--prices", prices, "--json").stdout)
        assert (done["filled"], done["spend_usd"], done["by_source"]) == (2, "0.002400000", {"declared": 2})
        assert "0 calls without a cost: 0 filled in" in run("ledger", "reprice", "--db", db, "--prices", prices).stdout
        with open_ledger(db) as ledger:
            costs = {event.id: event.cost for event in ledger.events()}
        assert costs == {"1": 1_200_000, "2": 1_200_000, "3": 35_000, "4": 35_000, "5": 9, "6": 9}

    def test_what_still_has_no_price_is_named(self, db: str) -> None:
        shown = run("ledger", "reprice", "--db", db).stdout
        assert "still no price: nobody-knows-me (acme), 2 calls" in shown

    def test_a_ledger_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        assert run("ledger", "reprice", "--db", str(tmp_path / "none.db")).exit_code == 2
        assert not (tmp_path / "none.db").exists()
