"""Near questions are listed, and what a person says of them holds in every process and shows what it changed."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.embeddings import fingerprint, open_local
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.sqlite import SqliteIndex
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.cli.main import app

pytestmark = pytest.mark.slow

ON, OFF = "How do I turn notifications on?", "How do I turn notifications off?"
RESET, FORGOT = "How do I reset my router password?", "How can I reset my router password?"

STORED = {
    ON: "Open Settings and press the bell.",
    OFF: "Choose Profile, then Mute everything.",
    RESET: "Press it.",
    FORGOT: "Call us.",
}


def run(*arguments):
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    return result.exit_code, result.output


def opened(place):
    model = open_local("wordllama")
    name = f"costguard-{fingerprint('local', model.name)}"
    index = SqliteIndex(place, name=name) if place.suffix == ".db" else ChromaIndex(place, name=name)
    return closing(index), SemanticEngine(index, decide="guarded"), lambda text: model.embed([text])[0]


def asked(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


@pytest.fixture(params=["chroma", "answers.db"])
def place(request, tmp_path):
    place = tmp_path / request.param
    closed, engine, embed = opened(place)
    with closed:
        for question, text in STORED.items():
            engine.save(asked(question), embed(question), Answer(payload=[text], choices=1), text)
        engine.flush()
    return place


def pairs(place):
    code, output = run("review", "--chroma", place, "--json")
    assert code == 0, output
    return {frozenset(pair["questions"]): pair for pair in json.loads(output)}


def test_near_misses_are_listed_with_the_reason_and_answers(place):
    found = pairs(place)[frozenset((ON, OFF))]
    assert "opposites" in found["reason"]
    assert sorted(found["answers"]) == ["Choose Profile, then Mute everything.", "Open Settings and press the bell."]
    assert "near miss" in run("review", "--chroma", place)[1]


def test_a_refuted_pair_is_never_served_in_another_process(place):
    pair = pairs(place)[frozenset((RESET, FORGOT))]["pair"]
    code, output = run("refute", pair[:8], "--chroma", place, "--json")
    assert code == 0, output
    assert json.loads(output)["refuted"] == 1
    assert "refuted" in json.loads(output)["after"]
    closed, engine, embed = opened(place)
    with closed:
        for question in (RESET, FORGOT):
            verdict = engine.explain_without(asked(question), embed(question))
            assert not verdict.hit
            assert verdict.refused[0][1] == "refuted for this question"


def test_a_confirmed_pair_counts_for_the_entry(place):
    pair = pairs(place)[frozenset((RESET, FORGOT))]["pair"]
    code, output = run("confirm", pair, "--chroma", place)
    assert code == 0, output
    assert "0 refuted, 1 confirmed" in output


def test_a_pair_that_is_not_there(place):
    code, output = run("refute", "ffffffffffff", "--chroma", place)
    assert code == 2
    assert "costguard cache review" in output


def test_an_application_that_runs_on_a_sqlite_file_obeys_at_its_next_question(tmp_path):
    place = tmp_path / "answers.db"
    closed, engine, embed = opened(place)
    with closed:
        engine.save(asked(RESET), embed(RESET), Answer(payload=["Press it."], choices=1), "Press it.")
        engine.flush()
        assert engine.lookup(asked(FORGOT), embed(FORGOT)) is not None
        engine.save(asked(FORGOT), embed(FORGOT), Answer(payload=["Call us."], choices=1), "Call us.")
        engine.flush()
        pair = pairs(place)[frozenset((RESET, FORGOT))]["pair"]
        assert run("refute", pair, "--chroma", f"sqlite:///{place}")[0] == 0
        verdict = engine.explain_without(asked(FORGOT), embed(FORGOT))
        assert verdict.refused[0][1] == "refuted for this question"


@pytest.mark.parametrize("where", ["nothing.db", "sqlite:///nothing.db"])
def test_a_file_that_is_not_there_is_not_made(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    code, output = run("stats", "--chroma", where)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "no semantic cache at" in output
