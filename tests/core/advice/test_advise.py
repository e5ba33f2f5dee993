"""Advice over ledgers in which it is known what was wasted: what is found, what it is worth, and what is not said."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted_wastes import DAY, DAYS, NOISE, START, Planted, Planter

from costguard_core.advice import Advice, advise, apply
from costguard_core.advice.finding import Query, by_days, literal
from costguard_core.advice.models import wilson
from costguard_core.advice.prompts import masked
from costguard_core.cli.main import app
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.policy import parse_policy
from costguard_core.pricing import PriceBook
from costguard_core.types import Attribution, Event, Outcome, Usage
from costguard_core.util.toml_document import toml_text

NOW = START + DAYS * DAY


def opened(url: str) -> Ledger:
    return open_ledger(url, clock=lambda: NOW)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planter(7, 0.3, prices=PriceBook()).all()


@pytest.fixture(scope="module")
def advice(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Advice, Path]:
    path = tmp_path_factory.mktemp("advice") / "costguard.db"
    with opened(f"sqlite:///{path}") as ledger:
        planted.write(ledger)
        return advise(ledger, budgets=planted.budgets, pairs=planted.pairs), path


def test_what_was_planted_is_found_and_worth_what_it_says(planted: Planted, advice: tuple[Advice, Path]) -> None:
    found, _ = advice
    said = {(each.kind, each.endpoint): each for each in found}
    assert len(planted.truth) == 12
    assert len(said.keys() & planted.truth.keys()) >= 11
    for key, nanos in planted.truth.items():
        if key in said and nanos:
            assert abs(said[key].saving / nanos - 1) <= 0.2, key
            assert said[key].low <= said[key].saving <= said[key].high
    false = [
        each.mark
        for each in found
        if each.saving > planted.spend / 100 and (each.kind, each.endpoint) not in planted.truth
    ]
    assert false == []
    assert 0.99 * planted.spend < found.spend <= planted.spend  # a few calls lie behind the end
    assert [each.saving for each in found] == sorted((each.saving for each in found), reverse=True)


def test_ordinary_calls_are_not_advised_on() -> None:
    planter = Planter(3, 0.5)
    planter.noise()
    with opened("memory://") as ledger:
        planter.found.write(ledger)
        found = advise(ledger)
    assert list(found) == []
    assert "Nothing to advise" in str(found)


def test_an_empty_ledger_says_nothing() -> None:
    with opened("memory://") as ledger:
        assert list(advise(ledger)) == []


def test_postgres_says_the_same(planted: Planted, advice: tuple[Advice, Path], postgres_db: str) -> None:
    with opened(postgres_db) as ledger:
        planted.write(ledger)
        found = advise(ledger, budgets=planted.budgets, pairs=planted.pairs)
    assert [(each.mark, each.saving, each.low, each.high, each.calls) for each in found] == [
        (each.mark, each.saving, each.low, each.high, each.calls) for each in advice[0]
    ]


def test_anybody_can_ask_the_evidence_again(advice: tuple[Advice, Path]) -> None:
    found, path = advice
    with sqlite3.connect(path) as file:
        for each in found:
            rows = file.execute(str(each.evidence)).fetchall()
            assert rows[: len(each.rows)] == list(each.rows)
            assert len(each.columns) == len(rows[0]), each.mark


def test_the_lines_can_be_written_into_a_policy_file(advice: tuple[Advice, Path]) -> None:
    found, _ = advice
    written = [line for each in found for line in each.lines]
    assert {line.key for line in written} >= {"cache", "loops", "models", "max_cost_per_call"}
    for line in written:
        head = f"[{'.'.join(map(toml_text, line.table))}]\n" if line.table else ""
        parse_policy(f"{head}{line.key} = {line.value}\n", {})


def test_hostile_names_stay_text() -> None:
    name = "/x'; DROP TABLE costguard_events; --\n\x1b[31m${HOME}?"
    with opened("memory://") as ledger:
        for number in range(60):
            ledger.append(
                Event(
                    f"e{number}", NOW - 3600 * number - 60, Outcome.ERROR, "m", cost=10**8, reason="T'?",
                    attribution=Attribution(endpoint=name), usage=Usage(input_tokens=9), fingerprint="f",
                )
            )  # fmt: skip
        ledger.flush(30)
        (found,) = advise(ledger)
        assert (found.kind, found.endpoint) == ("paid errors", name)
        assert "\x1b" not in str(advise(ledger))
        with ledger.reading() as database:
            assert list(database.rows(found.evidence.sql, found.evidence.values)) == list(found.rows)
    assert "''; DROP" in str(found.evidence)


def test_the_command_prints_text_and_json(advice: tuple[Advice, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = advice[1]
    span = ["--since", "2026-11-01", "--until", "2027-01-01"]
    said = CliRunner().invoke(app, ["advise", "--db", str(path), *span])
    assert said.exit_code == 0
    assert "1. /documents: " in said.stdout
    assert "how: " in said.stdout
    made: dict[str, Any] = json.loads(CliRunner().invoke(app, ["advise", "--db", str(path), *span, "--json"]).stdout)
    assert made["findings"][0]["kind"] == "documents"
    assert made["findings"][0]["rows"][0]["cost_nanos"] > 0


def test_the_interval_is_that_of_the_days() -> None:
    assert by_days([10, 10, 10, 10], 4) == (40, 40, 40)
    total, low, high = by_days([40, 0, 0, 0], 4)
    assert total == 40
    assert low == 0
    assert high > 80
    assert by_days([40], 1) == (40, 0, 120)
    assert by_days({1: 5}, 10)[0] == 5


def test_small_parts() -> None:
    assert literal("it's") == "'it''s'"
    assert str(Query("a = ? AND b = ?", ("x?", 1))) == "a = 'x?' AND b = 1"
    assert masked("Where is my order 123-456, Anna?") == masked("Where is my order 9, Bob?")
    assert masked("How do I cook rice?") != masked("How do I cook beans?")
    low, high = wilson(80, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)


def test_a_model_that_two_providers_sell_is_counted_once_for_each() -> None:
    planter = Planter(5, 0.5, prices=PriceBook())
    planter.noise()  # with the cheaper model
    planter.documents()
    planter.long_answers()
    for number, each in enumerate(planter.found.events):
        if number % 2 and each.attribution.endpoint not in NOISE:
            planter.found.events[number] = replace(each, provider="azure")
    with opened("memory://") as ledger:
        planter.found.write(ledger)
        found = advise(ledger)
    for (kind, endpoint), nanos in planter.found.truth.items():
        said = [each for each in found if (each.kind, each.endpoint) == (kind, endpoint)]
        assert len(said) == 2
        assert abs(sum(each.saving for each in said) / nanos - 1) <= 0.2
        if kind == "documents":
            events = [each for each in planter.found.events if each.attribution.endpoint == endpoint]
            assert sum(each.calls for each in said) == len(events)


def test_a_hostile_name_of_a_model_stays_one_value_of_the_policy() -> None:
    name = 'cheap"]\nloops = 1\n#'
    prices = PriceBook({name: {"input": "0.15", "output": "0.60"}})
    planter = Planter(5, 0.5, prices=prices)
    planter.documents()
    for time in planter.times(200):
        planter.call("/cheap", time, Usage(input_tokens=500, output_tokens=200), (name, "openai"))
    with opened("memory://") as ledger:
        planter.found.write(ledger)
        found = advise(ledger, prices=prices)
    edit = apply("", found, [each for each in found if each.kind == "documents"], date="2026-11-30")
    assert edit.skipped == ()
    policy = parse_policy(edit.after, {})
    assert "loops" not in policy.options
    assert tomllib.loads(edit.after)["endpoints"]["/documents"]["models"] == [name]
