"""The prompt log: what is written, what is not, what is forgotten, and what labels come out of it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from costguard_core.counters import open_store
from costguard_core.errors import ConfigurationError, UnpricedModelError
from costguard_core.pricing import PriceBook
from costguard_core.routing.learning.labels import Facts, comparing, opinion, qualities
from costguard_core.routing.shadow.budget import ShadowBudget
from costguard_core.routing.shadow.prompt_log import Pair, PromptLog, labelled_row
from costguard_core.routing.shadow.redaction import HIDDEN, redacted
from costguard_core.types import Call, Usage


def pair(number: int = 0, **given: object) -> Pair:
    values = {
        "id": f"id{number}",
        "time": float(number),
        "prompt": f"question {number}",
        "weak_answer": "The answer is 4.",
        "strong_answer": "The answer is 4.",
        "shown": "weak",
    }
    return Pair(**{**values, **given})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> PromptLog:
    return PromptLog(tmp_path / "prompts.db")


def test_pairs_read_back_labelled_and_in_order(log: PromptLog) -> None:
    log.add(pair(2, strong_answer="The answer is 5.", tag="/sum", weak_ok=True, strong_ok=False, weak_cost=7))
    log.add(pair(1, user="u"))
    (first, said), (second, _) = log.pairs()
    assert (first.prompt, first.user, first.weak, first.strong, said) == ("question 1", "u", 1.0, 1.0, None)
    assert (second.tag, second.agree, second.weak_ok, second.strong_ok, second.weak_cost) == ("/sum", 0, True, False, 7)
    assert [(row.weak, row.strong, row.tag) for row in log.rows()] == [(1.0, 1.0, None), (0.0, 0.0, "/sum")]
    assert len(PromptLog(f"sqlite:///{log.path}")) == 2


def test_the_file_is_only_its_owners(log: PromptLog) -> None:
    assert log.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234",
        "ghp_abcdefghijklmnop1234567890abcdef1234",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_credentials_are_not_written(secret: str, log: PromptLog) -> None:
    log.add(pair(prompt=f"Why is {secret} refused?", weak_answer=f"Because {secret}", strong_answer=secret))
    written = log.path.read_bytes()
    assert secret.splitlines()[-1].encode() not in written
    assert b"refused?" in written


def test_named_secrets_are_hidden_and_prose_stays() -> None:
    assert redacted("password=hunter22 and more") == f"password={HIDDEN} and more"
    assert redacted('{"api_key": "abcdef123456"}') == f'{{"api_key": "{HIDDEN}"}}'
    assert redacted("Authorization: Bearer abc.def-123456") == f"Authorization: Bearer {HIDDEN}"
    assert redacted("postgresql://me:hunter22@host/db") == f"postgresql://me:{HIDDEN}@host/db"
    prose = "I forgot my password. The token economy is basic; see https://example.org/a:b and sk-8 skis."
    assert redacted(prose) == prose


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = PromptLog(tmp_path / "p.db", max_pairs=3, max_characters=100)
    for number in range(6):
        log.add(pair(number, prompt=f"begin {number} " + "x" * 1_000_000 + " end"))
    assert [found.id for found, _ in log.pairs()] == ["id3", "id4", "id5"]
    kept = log.pairs()[0][0].prompt
    assert kept.startswith("begin 3")
    assert kept.endswith(" end")
    assert len(kept) < 110
    assert log.path.stat().st_size < 100_000


def test_what_a_user_asked_can_be_erased(log: PromptLog) -> None:
    log.add(pair(1, user="u1", prompt="a very private question", session="s"))
    log.add(pair(2, user="u2", tenant="t"))
    log.feedback("id1", 1.0)
    assert log.forget(user="u1", session="s") == 1
    assert log.forget(user="u1") == 0
    assert [found.user for found, _ in log.pairs()] == ["u2"]
    assert b"very private" not in log.path.read_bytes()
    with sqlite3.connect(log.path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM costguard_feedback").fetchone() == (0,)
    connection.close()
    with pytest.raises(ConfigurationError, match="forget whom"):
        log.forget()


def test_answers_need_not_be_kept(tmp_path: Path) -> None:
    log = PromptLog(tmp_path / "p.db", answers=False, compare=lambda prompt, weak, strong: (0.25, 2.0))
    log.add(pair(weak_answer="words of the model"))
    assert b"words of the model" not in log.path.read_bytes()
    [row] = log.rows(compare=lambda *texts: (1.0, 1.0))
    assert (row.weak, row.strong) == (0.25, 1.0)


def test_what_nobody_can_judge_is_no_row(tmp_path: Path) -> None:
    log = PromptLog(tmp_path / "p.db", compare=lambda prompt, weak, strong: None)
    log.add(pair())
    assert log.rows() == []
    assert [row.weak for row in log.rows(compare=lambda prompt, weak, strong: (0.5, 1.0))] == [0.5]


def test_feedback_may_come_first_and_must_be_a_quality(log: PromptLog) -> None:
    log.feedback("id0", 0.0)
    log.add(pair())
    assert [(row.weak, row.strong) for row in log.rows()] == [(0.0, 0.0)]
    with pytest.raises(ConfigurationError, match="0 .bad. to 1"):
        log.feedback("id0", 5)


@pytest.mark.parametrize(
    ("facts", "label"),
    [
        (Facts("weak", agree=0.0), (0.4, 0.9)),
        (Facts("weak", 0.0, weak_ok=False, strong_ok=True), (0.0, 0.9)),
        (Facts("strong", 0.0, strong_ok=False), (0.4, 0.0)),
        (Facts("weak", 0.0, feedback=1.0), (1.0, 0.9)),
        (Facts("strong", 0.0, feedback=0.0), (0.4, 0.0)),
        (Facts("weak", 1.0, feedback=0.2), (0.2, 0.2)),
        (Facts("weak", 0.0, weak_ok=False, feedback=1.0), (1.0, 0.9)),
        (Facts("other", 0.0, feedback=0.0), (0.4, 0.9)),
    ],
)
def test_labels_are_facts_before_opinions(facts: Facts, label: tuple[float, float]) -> None:
    assert qualities((0.4, 0.9), facts) == label


def test_a_judge_sees_the_answers_in_both_orders_and_may_be_silent() -> None:
    seen = []

    def ask(prompt: str) -> str:
        seen.append(prompt)
        first = prompt.index("WEAK") < prompt.index("STRONG")
        return "3 9" if first else "9 out of 10, and 3"

    for number in range(8):
        assert opinion(f"q{number}", "WEAK", "STRONG", comparing(ask)) == (0.3, 0.9)
    assert len({prompt.index("WEAK") < prompt.index("STRONG") for prompt in seen}) == 2
    assert opinion("q", "a", "b", comparing(lambda prompt: "no idea")) is None


def test_many_threads_and_logs_share_a_file(log: PromptLog) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 5):
            PromptLog(log.path).add(pair(number))

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 20, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log) == 20


@pytest.mark.parametrize("path", ["rows.jsonl", "redis://host", ""])
def test_what_cannot_be_a_log_says_so(path: str) -> None:
    with pytest.raises(ConfigurationError, match="a prompt log is a"):
        PromptLog(path)


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "p.db").write_text("not a database " * 100)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        PromptLog(tmp_path / "p.db")
    assert (tmp_path / "p.db").read_text().startswith("not a database")


def test_odd_texts_are_written(log: PromptLog) -> None:
    for number, text in enumerate(["", "\x00\x01", "\ud800 lone", "日本語" * 5000, "🙂"]):
        log.add(pair(number, prompt=text, weak_answer=text, strong_answer=text, tag=text))
    assert len(log.rows()) == 5


def test_a_pair_is_a_row_without_a_log() -> None:
    assert labelled_row(pair(weak=0.5, strong=1.0), feedback=0.0) == ("question 0", 0.0, 1.0, None, None)


def test_the_budget_reserves_settles_and_refuses() -> None:
    prices = PriceBook({"m": {"input": "1", "output": "1"}})
    budget = ShadowBudget("$0.003/day", open_store("memory://"), prices)
    call = Call(id="1", model="m", started=budget.store.now(), input_tokens=1000, max_output_tokens=1000)
    permit = budget.reserve(call)
    assert permit is not None
    assert budget.reserve(call) is None  # 2 of 3 thousandths of a dollar are held
    assert budget.settle(permit, Usage(input_tokens=100, output_tokens=100)) == 200_000
    second = budget.reserve(call)
    assert second is not None
    budget.fail(second, ValueError("refused by the provider"))
    third = budget.reserve(call)
    assert third is not None
    budget.fail(third, TimeoutError())  # probably billed: as held
    assert budget.reserve(call) is None
    with pytest.raises(UnpricedModelError):
        ShadowBudget("$1/day", open_store("memory://"), PriceBook()).reserve(Call("2", "nobody knows", 0.0))
    assert ShadowBudget(None, open_store("memory://"), PriceBook()).reserve(Call("2", "nobody knows", 0.0)) is not None
