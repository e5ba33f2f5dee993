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


def opened(folder):
    model = open_local("wordllama")
    index = ChromaIndex(folder, name=f"costguard-{fingerprint('local', model.name)}")
    return closing(index), SemanticEngine(index, decide="guarded"), lambda text: model.embed([text])[0]


def request(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


@pytest.fixture
def folder(tmp_path):
    closed, engine, embed = opened(tmp_path / "chroma")
    with closed:
        for question, text in STORED.items():
            engine.save(request(question), embed(question), Answer(payload=[text], choices=1), text)
        engine.flush()
    return tmp_path / "chroma"


def pairs(folder):
    code, output = run("review", "--chroma", folder, "--json")
    assert code == 0, output
    return {frozenset(pair["questions"]): pair for pair in json.loads(output)}


def test_near_misses_are_listed_with_the_reason_and_answers(folder):
    found = pairs(folder)[frozenset((ON, OFF))]
    assert "opposites" in found["reason"]
    assert sorted(found["answers"]) == ["Choose Profile, then Mute everything.", "Open Settings and press the bell."]
    assert "near miss" in run("review", "--chroma", folder)[1]


def test_a_refuted_pair_is_never_served_in_another_process(folder):
    pair = pairs(folder)[frozenset((RESET, FORGOT))]["pair"]
    code, output = run("refute", pair[:8], "--chroma", folder, "--json")
    assert code == 0, output
    assert json.loads(output)["refuted"] == 1
    assert "refuted" in json.loads(output)["after"]
    closed, engine, embed = opened(folder)
    with closed:
        for asked in (RESET, FORGOT):
            verdict = engine.explain_without(request(asked), embed(asked))
            assert not verdict.hit
            assert verdict.refused[0][1] == "refuted for this question"


def test_a_confirmed_pair_counts_for_the_entry(folder):
    pair = pairs(folder)[frozenset((RESET, FORGOT))]["pair"]
    code, output = run("confirm", pair, "--chroma", folder)
    assert code == 0, output
    assert "0 refuted, 1 confirmed" in output


def test_a_pair_that_is_not_there(folder):
    code, output = run("refute", "ffffffffffff", "--chroma", folder)
    assert code == 2
    assert "costguard cache review" in output
