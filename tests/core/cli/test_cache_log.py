"""``costguard cache calibrate`` and ``suggest`` over a real prompt log, with the embedding that they name."""

import csv
import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from costguard_core.cache.semantic.embeddings import fingerprint, open_local
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cli.main import app
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog

pytestmark = pytest.mark.slow

WORDINGS = ("How do I clean the {}?", "how can I clean the {}", "what is the way to clean the {}")
TOPICS = [f"{a} {b}" for a in ("boiler", "garden", "kitchen", "window") for b in ("lamp", "door", "lock")]


def run(*arguments):
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def log(tmp_path):
    made = PromptLog(tmp_path / "prompts.db")
    questions = [(wording.format(topic), f"Clean the {topic} with water.") for wording in WORDINGS for topic in TOPICS]
    for place, (question, answer) in enumerate(questions):
        made.add(
            Pair(f"id{place}", float(place), question, "-", answer, "strong", strong_model="big", strong_cost=5_000)
        )
    return tmp_path / "prompts.db"


def test_calibrate_says_what_would_have_been_served_and_writes_the_state(log, tmp_path):
    code, output = run("calibrate", "--log", log, "--chroma", tmp_path / "chroma", "--json")
    assert code == 0, output
    found = json.loads(output)
    assert found["asked"] == 36
    assert (found["hits"] > 0, found["wrong"]) == (True, 0)
    name = f"costguard-{fingerprint('local', open_local('wordllama').name)}"
    with closing(ChromaIndex(tmp_path / "chroma", name=name)) as index:
        assert SemanticEngine(index).evidence.close_from < 1
    again = run("calibrate", "--log", log, "--chroma", tmp_path / "chroma")
    assert again[0] == 2
    assert "--replace" in again[1]
    assert run("calibrate", "--log", log, "--chroma", tmp_path / "chroma", "--replace")[0] == 0


def test_suggest_writes_what_seed_reads(log, tmp_path):
    code, output = run("suggest", "--log", log, "--output", tmp_path / "faq.csv")
    assert code == 0, output
    with (tmp_path / "faq.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows[0]["answer"].startswith("Clean the ")
    assert len(rows[0]["paraphrases"].split("|")) == 2


def test_a_file_that_is_no_prompt_log(tmp_path):
    code, output = run("calibrate", "--log", tmp_path / "none.db")
    assert code == 2
    assert "no prompt log" in output
    assert not (tmp_path / "none.db").exists()
