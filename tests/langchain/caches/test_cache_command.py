"""``costguard cache`` on the folder of a real cache, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from typer.testing import CliRunner, Result

from costguard_core.cli.main import app
from langchain_costguard import SemanticCache, attribute

pytestmark = pytest.mark.slow  # each command opens Chroma

QUESTION, REWORDED, OTHER = (
    "How do I reset my password?",
    "how can I reset my password",
    "How do I reset your password?",
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cache", *arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A cache that has stored one answer, for one user."""
    path = str(tmp_path / "costguard.chroma")
    cache = SemanticCache("wordllama", path=path, decide="guarded", threshold=0.75)
    with attribute(user="ann"):
        FakeListChatModel(responses=["In Settings."], cache=cache).invoke(QUESTION)
    cache.close()
    return path


def test_stats_and_audit_say_what_is_there(folder: str) -> None:
    told = json.loads(run("stats", "--chroma", folder, "--json").stdout)
    assert [(scope["entries"], scope["example"]) for scope in told["scopes"]] == [(1, QUESTION)]
    assert "1 entries" in run("stats", "--chroma", folder).stdout
    assert "nothing measured yet" in run("audit", "--chroma", folder).stdout


def test_explain_serves_nothing_and_says_why(folder: str) -> None:
    hit = json.loads(run("explain", QUESTION, "--chroma", folder, "--json").stdout)
    assert (hit["hit"], hit["reason"]) == (True, "the same question")
    near = run("explain", OTHER, "--chroma", folder, "--decide", "guarded").stdout
    assert near.startswith("miss: whose")
    assert QUESTION in near
    assert json.loads(run("stats", "--chroma", folder, "--json").stdout)["scopes"][0]["served"] == 0


def test_what_is_seeded_is_served(folder: str, tmp_path: Path) -> None:
    faq = tmp_path / "faq.csv"
    faq.write_text("question,answer\nDo you ship to Norway?,Yes.\n")
    assert json.loads(run("seed", str(faq), "--chroma", folder, "--json").stdout)["stored"] == 1
    cache = SemanticCache("wordllama", path=folder, decide="guarded", threshold=0.75)
    model = FakeListChatModel(responses=["In Settings."], cache=cache)  # its answers are part of what must be equal
    assert model.invoke("do you ship to Norway please?").content == "Yes."
    assert model.invoke(REWORDED).response_metadata["costguard"]["cache"] == "semantic"
    cache.close()


def test_purge_by_tag_and_all(folder: str) -> None:
    assert json.loads(run("purge", "--chroma", folder, "--json").stdout)["removed"] == 0
    assert json.loads(run("purge", "--chroma", folder, "--tag", "user=ben", "--json").stdout)["removed"] == 0
    erased = run("purge", "--chroma", folder, "--tag", "user=ann", "--erase", "--json")
    assert json.loads(erased.stdout)["removed"] == 1
    left = [file for file in Path(folder).rglob("*") if file.is_file() and b"reset my password" in file.read_bytes()]
    assert left == []


def test_purge_all(folder: str) -> None:
    assert json.loads(run("purge", "--chroma", folder, "--all", "--json").stdout)["removed"] == 1
    told = run("stats", "--chroma", folder)
    assert (told.exit_code, "no answer is stored" in told.stdout) == (0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read: No such file"), ("q,a\n1,2\n", "not a CSV file with the columns question and answer")],
)
def test_a_file_that_is_no_faq_is_named(folder: str, tmp_path: Path, text: str | None, said: str) -> None:
    faq = tmp_path / "faq.csv"
    if text is not None:
        faq.write_text(text)
    result = run("seed", str(faq), "--chroma", folder)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    result = run("stats", "--chroma", str(tmp_path / "typo"))
    assert result.exit_code == 2
    assert "there is no semantic cache at" in result.stderr
    assert not (tmp_path / "typo").exists()
