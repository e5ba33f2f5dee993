"""``costguard cache`` on what LlamaIndex stored, run as a user runs it, and LlamaIndex' next call after it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chroma_server import chroma_running
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llamaindex_calls import Person, user_message
from typer.testing import CliRunner, Result

from costguard_core import CostGuard
from costguard_core.cli.main import app
from costguard_core.simulate import Simulator
from llamaindex_costguard import SemanticCache, TieredRouter, guard_llm

pytestmark = pytest.mark.slow  # each command opens Chroma

RESET, FORGOT = "How do I reset my router password?", "How can I reset my router password?"
ANSWERS = {RESET: "Press it.", FORGOT: "Call the help desk."}
PAGE = "The router stands on the shelf."

Ask = Callable[[str], str]


def run(*arguments: object) -> Result:
    given = ["cache", *map(str, arguments)]
    return CliRunner().invoke(app, given, env={"COLUMNS": "120", "NO_COLOR": "1"})


def reviewed(where: object) -> list[dict[str, Any]]:
    return list(json.loads(run("review", "--chroma", where, "--json").stdout))


@pytest.fixture
def server(openai_server: Simulator) -> Simulator:
    openai_server.reply = reply
    return openai_server


def reply(body: Any) -> str | None:
    asked = str(body["messages"][-1]["content"])
    return next((answer for question, answer in ANSWERS.items() if question in asked), None)


@pytest.fixture
def ways(make_openai: Any, server: Simulator) -> Callable[[SemanticCache], dict[str, Ask]]:
    """The ways of asking that have a scope each."""

    def made(cache: SemanticCache) -> dict[str, Ask]:
        llm = guard_llm(make_openai(), CostGuard(), cache=cache)
        index = VectorStoreIndex.from_documents([Document(text=PAGE)], embed_model=MockEmbedding(4))
        engine = index.as_query_engine(llm=llm)
        return {
            "chat": lambda question: str(llm.chat(user_message(question)).message.content),
            "complete": lambda question: str(llm.complete(question).text),
            "engine": lambda question: str(engine.query(question)),
        }

    return made


def fill(ways: Any, **where: Any) -> None:
    cache = SemanticCache("wordllama", **where)  # which has learned nothing, and so serves neither the other's answer
    for ask in ways(cache).values():
        assert [ask(question) for question in ANSWERS] == list(ANSWERS.values())
    cache.close()


@pytest.fixture
def folder(ways: Any, tmp_path: Path) -> Path:
    fill(ways, path=tmp_path / "chroma")
    return tmp_path / "chroma"


def test_what_is_the_same_in_several_scopes_is_reviewed_once(folder: Path) -> None:
    [pair] = reviewed(folder)
    assert sorted(pair["questions"]) == sorted(ANSWERS)
    assert sorted(pair["answers"]) == sorted(ANSWERS.values())
    assert len(set(pair["scopes"])) == 3
    shown = run("review", "--chroma", folder).stdout
    assert "(in 3 scopes)" in shown
    assert f'"{RESET}": Press it.' in shown


def test_a_refutation_holds_for_every_way_of_asking(folder: Path, ways: Any, server: Simulator) -> None:
    refuted = run("refute", reviewed(folder)[0]["pair"], "--chroma", folder, "--json")
    assert json.loads(refuted.stdout)["refuted"] == 1
    assert "refuted" in run("review", "--chroma", folder).stdout
    cache = SemanticCache("wordllama", path=folder, decide="guarded")
    server.service.requests.clear()
    for ask in ways(cache).values():
        assert ask("how can I reset my router password") == ANSWERS[FORGOT]
        assert ask("how do I reset my router password") == ANSWERS[RESET]
    assert not server.requests
    cache.close()


def test_a_confirmation_counts_once(folder: Path) -> None:
    told = run("confirm", reviewed(folder)[0]["pair"], "--chroma", folder, "--json")
    assert (json.loads(told.stdout)["confirmed"], json.loads(told.stdout)["refuted"]) == (1, 0)


def test_objects_are_shown_as_what_they_say(make_openai: Any, openai_server: Simulator, tmp_path: Path) -> None:
    cache = SemanticCache("wordllama", path=tmp_path / "chroma")
    llm = guard_llm(make_openai(), CostGuard(), cache=cache)
    for question in ("Who wrote the novel Emma?", "Emma: who wrote the novel?"):
        llm.structured_predict(Person, PromptTemplate("{query_str}"), query_str=question)
    cache.close()
    [pair] = reviewed(tmp_path / "chroma")
    assert all(Person.model_validate_json(answer) for answer in pair["answers"])
    faq = tmp_path / "faq.csv"
    faq.write_text("question,answer\nWho wrote Persuasion?,Jane Austen.\n")
    told = json.loads(run("seed", faq, "--chroma", tmp_path / "chroma", "--json").stdout)
    assert (told["stored"], list(told["declined"])) == (0, ["Who wrote Persuasion?"])  # it could not be parsed


def test_a_server_is_looked_into_while_the_application_runs(ways: Any, tmp_path: Path, server: Simulator) -> None:
    with chroma_running(tmp_path / "server") as (url, _):
        fill(ways, url=url)
        running = SemanticCache("wordllama", url=url, decide="guarded", timeout=30)
        asks = ways(running)
        assert asks["chat"]("could you tell me how I can reset my router password") in ANSWERS.values()
        told = run("stats", "--chroma", url, "--json")
        assert told.exit_code == 0, told.output
        assert [scope["entries"] for scope in json.loads(told.stdout)["scopes"]] == [2, 2, 2]
        assert run("audit", "--chroma", url).exit_code == 0
        scope = json.loads(told.stdout)["scopes"][0]["scope"]
        assert json.loads(run("explain", RESET, "--chroma", url, "--scope", scope, "--json").stdout)["hit"]
        assert run("refute", reviewed(url)[0]["pair"], "--chroma", url).exit_code == 0
        server.service.requests.clear()
        assert asks["complete"](RESET) == ANSWERS[RESET]
        assert asks["complete"](FORGOT) == ANSWERS[FORGOT]
        running.close()


def test_what_the_terminal_calls_serving_is_what_the_application_does(tmp_path: Path) -> None:
    cache = SemanticCache("wordllama", path=tmp_path / "chroma")
    controller = cache.engine.evidence.controller
    for _ in range(110):  # enough with other embeddings, not with wordllama
        controller.learn(0.99, right=True)
    assert not cache.stats().is_open
    cache.close()
    assert not json.loads(run("stats", "--chroma", tmp_path / "chroma", "--json").stdout)["serving"]


def test_a_log_of_a_router_proposes_each_question_once_and_what_is_seeded_is_served(
    make_openai: Any, server: Simulator, tmp_path: Path
) -> None:
    log, chroma, faq = (tmp_path / name for name in ("prompts.db", "chroma", "faq.csv"))
    options: dict[str, Any] = {"cheap": make_openai(), "strong": make_openai("gpt-4o"), "guard": CostGuard()}
    scores = [0.0]
    options |= {"score": lambda request: scores[-1], "threshold": 0.5}
    router = TieredRouter(**options, log=log, shadow=1.0)
    for score in (0.0, 1.0):
        scores.append(score)
        for question in (RESET, "What is a router?"):
            router.chat(user_message(question))
            router.complete(question)
    assert router.flush(60)
    assert run("calibrate", "--log", log, "--chroma", chroma).exit_code == 0
    told = run("suggest", "--log", log, "--least", 2, "--output", faq)
    assert told.exit_code == 0, told.output
    rows = list(csv.DictReader(faq.read_text().splitlines()))
    assert sorted(row["question"] for row in rows) == [RESET, "What is a router?"]
    assert next(row for row in rows if row["question"] == RESET)["answer"] == ANSWERS[RESET]
    cache = SemanticCache("wordllama", path=chroma)
    started = TieredRouter(**options, cache=cache)
    assert cache.seed({row["question"]: row["answer"] for row in rows}, started) == 2
    server.service.requests.clear()
    assert started.chat(user_message("how can I reset my router password?")).message.content == ANSWERS[RESET]
    scores.append(0.0)
    assert started.complete("How could I reset my router password?").text == ANSWERS[RESET]
    assert not server.requests
    cache.close()


def test_without_an_answer_there_is_no_scope_to_seed(tmp_path: Path) -> None:
    cache = SemanticCache("wordllama", path=tmp_path / "chroma")
    cache.engine.flush()  # what it has learned so far is there, as after `calibrate`
    cache.close()
    faq = tmp_path / "faq.csv"
    faq.write_text("question,answer\nDo you ship to Norway?,Yes.\n")
    told = run("seed", faq, "--chroma", tmp_path / "chroma")
    assert told.exit_code == 2
    assert "cache.seed(answers, model)" in told.stderr
    assert "no answer is stored" in run("stats", "--chroma", tmp_path / "chroma").stdout


def test_a_cache_with_embeddings_of_the_application_is_said_to_have_them(
    make_openai: Any, make_embedding: Any, server: Simulator, tmp_path: Path
) -> None:
    server.reply = lambda body: None if "input" in body else reply(body)
    cache = SemanticCache(make_embedding(), path=tmp_path / "chroma")
    llm = guard_llm(make_openai(), CostGuard(), cache=cache)
    for question in ANSWERS:
        llm.chat(user_message(question))
    cache.close()
    assert json.loads(run("stats", "--chroma", tmp_path / "chroma", "--json").stdout)["scopes"][0]["entries"] == 2
    for command in (["review"], ["explain", RESET], ["refute", "abc"]):
        told = run(*command, "--chroma", tmp_path / "chroma")
        assert (told.exit_code, "a model of the application's" in told.stderr) == (2, True), told.output


def test_the_other_local_model_is_named(folder: Path) -> None:
    told = run("review", "--chroma", folder, "--embedding", "minilm")
    assert (told.exit_code, "--embedding wordllama" in told.stderr) == (2, True), told.output
