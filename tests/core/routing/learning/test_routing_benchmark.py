"""The routing benchmark takes any file of paired rows, and says what is wrong with a bad one."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "routing.py"
MEASURES = {"apgr", "cpt50", "cpt80", "calls95"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("routing_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(count: int, change: Callable[[Row], Row] = lambda row: row) -> list[Row]:
    """Proofs are hard for the weak model, and its wrong answers have a wrong sum or no end."""
    random, made = Random(1), []
    for number in range(count):
        hard = random.random() < 0.5
        weak = int(random.random() < (0.3 if hard else 0.9))
        said = (
            f"2 + 2 = 4. The answer is {number}."
            if weak
            else random.choice(["Not sure", "1 + 1 = 3. The answer is 3."])
        )
        row = {
            "prompt": f"{'Prove lemma' if hard else 'Opening hours'} {number}",
            "weak": weak,
            "strong": int(random.random() < 0.95),
            "tag": "proof" if hard else "shop",
            "weak_response": said,
        }
        made.append(change(row))
    return made


@pytest.fixture
def measure(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(given: list[Row] | bytes, *options: str, name: str = "rows.jsonl") -> Any:
        path = tmp_path / name
        text = given if isinstance(given, bytes) else "".join(json.dumps(row) + "\n" for row in given).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") and isinstance(given, list) else text)
        status = script.main([str(path), "--json", "--folds", "2", *options])
        shown = capsys.readouterr()
        return json.loads(shown.out) if status == 0 else (status, shown.err)

    return run


def without(*names: str) -> Callable[[Row], Row]:
    return lambda row: {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize(
    "change",
    [
        without("tag"),
        lambda row: row if row["weak"] else without("tag")(row),
        lambda row: {**row, "tag": row["strong"]},
        lambda row: {**row, "weak": row["weak"] * 0.25, "strong": 0.5 + row["strong"] / 3},
        lambda row: {**row, "prompt": f"\u8a3c\u660e \U0001f642 {row['prompt']}"},
        lambda row: {
            **row,
            "prompt": row["prompt"] + " x y z" * 200_000 if row["prompt"].endswith("7") else row["prompt"],
        },
        lambda row: {**row, "prompt": "always the same"},
        lambda row: {**row, "prompt": ""},
    ],
)
def test_odd_rows_are_measured(change: Callable[[Row], Row], measure: Callable[..., Any]) -> None:
    found = measure(rows(50, change))
    assert (found["rows"], found["train_rows"], found["folds"]) == (50, 25, 2)
    for name in ("learned", "length", "random"):
        assert set(found["results"][name]) == MEASURES | {f"{measure}_sd" for measure in MEASURES}
        assert 0 <= found["results"][name]["apgr"] <= 1
    assert found["single_best_within_1_percent"] == "strong"
    assert all(result["refused"] == 0 for result in found["budget"].values())


@pytest.mark.parametrize("weak", [1, 0])
def test_without_a_gap_there_is_no_number(weak: int, measure: Callable[..., Any]) -> None:
    found = measure(rows(60, lambda row: {**row, "weak": weak, "strong": 0}))
    assert found["results"]["learned"]["apgr"] is None
    assert found["single_best_within_1_percent"] == "weak"


def test_the_text_says_that_there_is_no_gap(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row, "weak": 1}) + "\n" for row in rows(60)))
    assert script.main([str(path), "--folds", "2"]) == 0
    assert "no better than the weak one" in capsys.readouterr().out


def test_a_cascade_reads_the_answers(measure: Callable[..., Any]) -> None:
    found = measure(rows(300), "--verify", "--train-rows", "100", name="rows.jsonl.gz")
    assert found["results"]["checks"]["apgr"] > 0.8
    assert found["results"]["learned"]["apgr"] > 0.8
    assert found["gate"]["gap_recovered"] > 80
    assert 20 < found["gate"]["escalated"] < 60
    untrained = measure(rows(300), "--verify", "--train-rows", "0")
    assert (untrained["score"], untrained["train_rows"]) == ("rules", 0)
    assert untrained["gate"]["gap_recovered"] > 80


def test_rows_without_an_answer_are_left_out_of_a_cascade_and_counted(measure: Callable[..., Any]) -> None:
    mixed = [*rows(60), *rows(5, without("weak_response"))]
    found = measure(mixed, "--verify")
    assert (found["rows"], found["without_weak_response"]) == (60, 5)
    assert "5 without the weak_response" in measure([*rows(3), *rows(5, without("weak_response"))], "--verify")[1]


def test_more_training_rows_than_there_are_leave_a_fifth_to_measure_with(measure: Callable[..., Any]) -> None:
    assert measure(rows(100), "--train-rows", "2000")["train_rows"] == 80


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (rows(60, without("strong")), "line 1: strong is missing"),
        (rows(60, without("prompt")), "line 1: prompt is missing"),
        (rows(60, lambda row: {**row, "prompt": 5}), "line 1: prompt is not text"),
        (rows(60, lambda row: {**row, "weak": 5}), "line 1: weak is a quality from 0 to 1, not 5"),
        (rows(60, lambda row: {**row, "weak": "good"}), "not 'good'"),
        (b'{"prompt": "a", "weak": NaN, "strong": 1}', "not nan"),
        (b"\n[1]\n", "line 2 is not a JSON object"),
        (b"\nSECRET\n", "line 2 is not JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "0 rows are too few"),
        (rows(30), "30 rows are too few, 40 are needed"),
    ],
)
def test_bad_files_are_named(given: list[Row] | bytes, told: str, measure: Callable[..., Any]) -> None:
    status, error = measure(given)
    assert status == 2
    assert told in error
    assert "Nothing was measured" in error
    assert "SECRET" not in error


def test_bad_archives_and_options_are_named(measure: Callable[..., Any]) -> None:
    assert "cannot be read" in measure(b"not zipped", name="rows.jsonl.gz")[1]
    assert "--train-rows is 0" in measure(rows(60), "--train-rows", "5")[1]
    assert "--folds is at least 1" in measure(rows(60), "--folds", "0")[1]
