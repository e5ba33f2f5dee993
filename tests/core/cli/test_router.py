"""``costguard router``, run as a user runs it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.routing import Request, learned
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog
from costguard_core.types import Attribution, Event, Outcome


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


@pytest.fixture
def log(tmp_path: Path) -> PromptLog:
    """What a shadow sample left: where the answers differ, the cheap one is wrong; and one user's word against it."""
    log, pairs = PromptLog(tmp_path / "prompts.db"), []
    for number, line in enumerate(map(json.loads, rows(300).splitlines())):
        answers = f"The answer is {number}.", f"The answer is {number if line['weak'] else -1}."
        site = {"tag": "/proofs" if "Prove" in line["prompt"] else "/hours", "user": f"u{number % 3}"}
        costs = {"weak_cost": 1_000_000, "strong_cost": 9_000_000}
        pairs.append(Pair(f"p{number}", float(number), line["prompt"], answers[1], answers[0], "weak", **site, **costs))
    log.add(*pairs)
    return log


def test_a_router_is_trained_on_the_prompt_log(log: PromptLog, tmp_path: Path) -> None:
    router = tmp_path / "router.json"
    done = run("train", "--log", log.path, "-o", router)
    assert done.exit_code == 0, done.output
    assert "300 paired rows" in done.stdout
    assert "$/1,000" in done.stdout
    assert learned(router)(Request("Prove the lemma about 7", tag="/proofs")).value > 0
    told = json.loads(run("eval", "--log", log.path, "--json").stdout)
    assert [told["curve"][place]["usd_per_1000"] for place in (0, 5, 10)] == [1.0, 5.0, 9.0]
    assert told["traffic"] is None


def test_the_ledger_says_whether_the_rows_fit_the_traffic(log: PromptLog, tmp_path: Path) -> None:
    def event(number: int, route: str | None, **more: Any) -> Event:
        site = Attribution(endpoint=more.pop("endpoint", "/hours"))
        outcome = more.pop("outcome", Outcome.MISS)
        return Event(f"e{number}", 1.0 * number, outcome, "m", attribution=site, cost=5, route=route, **more)

    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        for number in range(8):
            ledger.append(event(number, "cheap (score 0.10, cut 0.20): words", saved=10**9))
        ledger.append(event(8, "strong: default", endpoint="/new"))
        ledger.append(event(9, "shadow: strong"))
        ledger.append(event(10, None))
        ledger.append(event(11, "cheap: default", outcome=Outcome.EXACT, saved=10**9))
    told = run("eval", "--log", log.path, "--db", tmp_path / "ledger.db").stdout
    assert "Of 9 routed calls in the ledger, 89% are at call sites of these rows. Not among them: /new (1)." in told
    assert "Routing saved $8.0000" in told
    found = json.loads(run("eval", "--log", log.path, "--db", tmp_path / "ledger.db", "--json").stdout)["traffic"]
    assert (found["calls"], found["other_call_sites"]) == (9, {"/new": 1})
    with open_ledger(f"sqlite:///{tmp_path}/empty.db"):
        pass
    assert "no routed calls" in run("eval", "--log", log.path, "--db", tmp_path / "empty.db").stdout


def test_answers_may_be_judged_anew(log: PromptLog) -> None:
    done = run("eval", "--log", log.path, "--compare", f"{__name__}:never_better")
    assert done.exit_code == 1
    assert "contains 0.5" in done.stderr
    for wrong in ("nowhere:judge", "json:nothing", "json"):
        assert "Write module:function" in run("eval", "--log", log.path, "--compare", wrong).stderr


def never_better(prompt: str, weak: str, strong: str) -> tuple[float, float]:
    """A judge to whom both are the same."""
    return 0.5, 0.5


def test_rows_of_the_log_can_be_exported_and_trained_from(log: PromptLog, tmp_path: Path) -> None:
    log.feedback("p0", 0.25)
    lines = run("rows", "--log", log.path).stdout.splitlines()
    assert len(lines) == 300
    assert json.loads(lines[0])["weak"] == 0.25
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert run("train", tmp_path / "rows.jsonl", "-o", tmp_path / "router.json").exit_code == 0


def test_a_user_can_be_forgotten(log: PromptLog) -> None:
    assert "100 erased" in run("forget", "--log", log.path, "--user", "u1").stdout
    assert len(log) == 200
    assert "forget whom" in run("forget", "--log", log.path).stderr


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    assert "The ledger holds no prompts" in run("train", "--db", tmp_path / "ledger.db").stderr
    assert "there is no prompt log" in run("train", "--log", tmp_path / "none.db").stderr
    assert not (tmp_path / "none.db").exists()
