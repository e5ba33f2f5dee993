"""``costguard router``, run as a user runs it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard_core.cli import app
from costguard_core.routing import Request, learned


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["router", *map(str, arguments)], env={"COLUMNS": "120", "NO_COLOR": "1"})


def rows(count: int, *, signal: bool = True, seed: int = 0) -> str:
    """The strong model is better at proofs, if there is a signal."""
    random, lines = Random(seed), []
    for number in range(count):
        proof = random.random() < 0.5
        kind = "Prove the lemma about" if proof else "When is the office open on"
        weak = random.random() < (0.3 if proof and signal else 0.8)
        strong = random.random() < 0.9
        lines.append({"prompt": f"{kind} number {number}", "weak": int(weak), "strong": int(strong), "tag": "a"})
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(rows(400))
    return path


def test_train_writes_a_router_that_can_be_switched_on(good: Path, tmp_path: Path) -> None:
    done = run("train", good, "-o", tmp_path / "router.json")
    assert done.exit_code == 0, done.output
    assert "400 paired rows, 5-fold cross-validation" in done.stdout
    assert "always cheap" in done.stdout
    assert "always strong" in done.stdout
    scorer = learned(tmp_path / "router.json")
    hard, easy = scorer(Request("Prove the lemma about 7")), scorer(Request("When is the office open on 7"))
    assert hard.value > easy.value


def test_eval_prints_the_curve_against_the_baselines(good: Path) -> None:
    told = json.loads(run("eval", good, "--json").stdout)
    assert told["better_than_chance"]
    assert told["apgr"]["low"] > 0.5
    assert [point["share"] for point in told["curve"]] == [round(step / 10, 1) for step in range(11)]
    middle = told["curve"][5]
    assert middle["router"]["value"] > middle["random"] + 0.05
    assert told["curve"][0]["random"] == told["weak"]["value"]
    assert told["curve"][-1]["router"]["value"] == told["strong"]["value"]


def test_a_trained_router_is_measured_on_new_rows(good: Path, tmp_path: Path) -> None:
    router, fresh = tmp_path / "router.json", tmp_path / "fresh.jsonl.gz"
    assert run("train", good, "-o", router).exit_code == 0
    fresh.write_bytes(gzip.compress(rows(200, seed=1).encode()))
    done = run("eval", fresh, "--router", router)
    assert done.exit_code == 0
    assert "200 paired rows, a trained router" in done.stdout


def test_what_does_not_beat_chance_is_not_switched_on(tmp_path: Path) -> None:
    path, router = tmp_path / "noise.jsonl", tmp_path / "router.json"
    path.write_text(rows(200, signal=False))
    done = run("train", path, "-o", router)
    assert done.exit_code == 1
    assert "contains 0.5" in done.stderr
    assert not router.exists()
    assert run("eval", path).exit_code == 1
    assert run("train", path, "-o", router, "--unproven").exit_code == 0
    with pytest.raises(ValueError, match=r"unproven=True"):
        learned(router)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"prompt": "SECRET", "weak": 1}\n', "line 1: no 'strong'"),
        ('{"prompt": "SECRET", "weak": 1, "strong": 2}\n', "weak and strong are 0 to 1"),
        ("\nSECRET\n", "line 2: not a JSON object"),
        ("[1]\n", "line 1: not a JSON object"),
        (rows(30), "too few"),
    ],
)
def test_bad_rows_are_named_and_not_quoted(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    done = run("train", path)
    assert done.exit_code == 2
    assert told in done.stderr
    assert "SECRET" not in done.output


def test_missing_files_are_named(good: Path, tmp_path: Path) -> None:
    assert "cannot be read" in run("eval", tmp_path / "none.jsonl").stderr
    assert "there is no router" in run("eval", good, "--router", tmp_path / "none.json").stderr


def test_help_says_where_rows_come_from() -> None:
    assert "the ledger holds no prompts" in " ".join(run("--help").stdout.split())
