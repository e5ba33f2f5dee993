"""Advice in a policy file: only the new lines differ, the file stays a policy, and what did not save is taken back."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from costguard_core.advice import Advice, Finding, PolicyLine, Query, apply, choose, review
from costguard_core.advice.apply import removed
from costguard_core.advice.review import advised_lines
from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger
from costguard_core.policy import parse_policy
from costguard_core.types import Attribution, Event, Outcome, Usage

DAY = 86_400.0
NOW = 1_796_515_200.0  # 2026-12-06
FILE = """#:schema ./costguard.schema.json
# ours
store = "memory://"   # here

budgets = [
  "$25/day per user",   # a [bracket] in a comment
]

[endpoints."/faq"]   # the questions
owner = "support"
budgets = ["$50/day"]

[[hooks]]
type = "logging"
"""


def finding(kind: str = "repeats", endpoint: str | None = "/faq", **fields: Any) -> Finding:
    line = PolicyLine(("endpoints", endpoint), "cache", '{ ttl = "1d" }') if endpoint else PolicyLine((), "loops", "5")
    options = {
        "text": "asked again", "saving": 10**9, "low": 9 * 10**8, "high": 11 * 10**8, "how": "a sum",
        "confidence": "high", "risk": "none", "evidence": Query("SELECT 1"), "lines": (line,), **fields,
    }  # fmt: skip
    return Finding(kind, endpoint, **options)  # type: ignore[arg-type]


def advice(*findings: Finding) -> Advice:
    return Advice(findings, 10**10, NOW - 30 * DAY, NOW, 1_000)


def applied(text: str, *findings: Finding) -> Any:
    return apply(text, advice(*findings), findings, date="2026-11-30")


def test_only_the_new_lines_differ() -> None:
    edit = applied(FILE, finding(), finding("loop", None), finding("repeats", "/new one"))
    kept = [line for line in edit.after.splitlines() if line in FILE.splitlines()]
    assert [line for line in kept if line] == [line for line in FILE.splitlines() if line]
    assert '[endpoints."/faq"]   # the questions\n# advised 2026-11-30, repeats at "/faq": asked again\n' in edit.after
    assert '# expected: $1.00 a month ($0.90 to $1.10); risk: none\ncache = { ttl = "1d" }\nowner' in edit.after
    assert edit.after.startswith("#:schema ./costguard.schema.json\n# ours\n# advised")
    policy = parse_policy(edit.after, {})
    assert policy.options["loops"].repeats == 5
    assert policy.endpoints["/faq"].cache is not None
    assert policy.endpoints["/faq"].owner == "support"
    assert policy.endpoints["/new one"].cache is not None
    assert "+cache = " in edit.diff("costguard.toml")
    assert not edit.skipped


def test_what_is_there_stays() -> None:
    once = applied(FILE, finding())
    again = applied(once.after, finding())
    assert again.after == once.after
    assert [why for _, why in again.skipped] == ["cache is written there already"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('endpoints = { "/faq" = { owner = "a" } }\n', "by hand"),
        ('endpoints."/faq".owner = "a"\n[cache]\nttl = "1d"\n', "by hand"),
        ("", None),
        ('[endpoints."/faq"]', None),
        ("budgets = []\r\n[endpoints.'/faq']\r\nowner = 'a'\r\n", None),
        ('store = """\n[endpoints."/faq"]\n"""\n', None),
    ],
)
def test_odd_files_are_changed_rightly_or_not_at_all(text: str, why: str | None) -> None:
    edit = applied(text, finding())
    assert [why in reason for _, reason in edit.skipped if why] == ([] if why is None else [True])
    expected = tomllib.loads(text)
    if why is None:
        expected.setdefault("endpoints", {}).setdefault("/faq", {})["cache"] = {"ttl": "1d"}
        if "\r\n" in text:
            assert "\n" not in edit.after.replace("\r\n", "")
    assert tomllib.loads(edit.after) == expected


@given(name=st.text(min_size=1, max_size=30), text=st.text(max_size=60))
def test_names_and_texts_of_users_cannot_break_out(name: str, text: str) -> None:
    edit = applied(FILE, finding(endpoint=name, text=text))
    values = tomllib.loads(edit.after)
    assert {key: value for key, value in values.items() if key != "endpoints"} == {
        key: value for key, value in tomllib.loads(FILE).items() if key != "endpoints"
    }
    assert len(values["endpoints"]) <= 2
    for line in advised_lines(edit.after):
        assert line.kind == "repeats"


def test_what_shares_answers_or_stops_sessions_is_written_only_by_name() -> None:
    others = [finding(kind) for kind in ("scope", "template", "loop")]
    all_of_them = advice(finding(), *others, finding("documents", confidence="medium"))
    assert [each.kind for each in choose(all_of_them)] == ["repeats"]
    assert [each.kind for each in choose(all_of_them, confidence="low")] == ["repeats", "documents"]
    assert [each.kind for each in choose(all_of_them, only=["scope"])] == ["scope"]


def test_lines_are_taken_back_as_they_were_written() -> None:
    edit = applied(FILE, finding(), finding("loop", None))
    places = [(line.first, line.last) for line in advised_lines(edit.after)]
    assert len(places) == 2
    back = removed(edit.after, places)
    assert tomllib.loads(back.after) == tomllib.loads(FILE)
    assert len(back.written) == 2
    changed = edit.after.replace('cache = { ttl = "1d" }', 'cache = { ttl = "1d" } # and\nmodels = [\n"a"]')
    line = next(line for line in advised_lines(changed) if line.kind == "repeats")
    assert removed(changed, [(line.first, line.last + 1)]).after == changed  # half of an array is not taken out


@pytest.mark.parametrize("name", ["/a\x7fb", "/a\u2028b", "/a\x85b"])
def test_a_name_with_an_end_of_line_in_it_is_written_and_found_again(name: str) -> None:
    after = applied(FILE, finding(endpoint=name)).after
    assert name in tomllib.loads(after)["endpoints"]
    (line,) = advised_lines(after)
    assert line.endpoint == name


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("2026-11-30", "2026-13-40", 0),
        ('at "/faq"', 'at "/f\\q"', 0),
        ("2026-11-30", "9999-12-31", 1),
        ("2026-11-30", "0001-01-01", 1),
    ],
)
def test_comments_that_somebody_has_changed_do_not_end_a_review(ledger: Any, old: str, new: str, found: int) -> None:
    changed = applied(FILE, finding()).after.replace(old, new)
    assert changed != applied(FILE, finding()).after
    assert [each.verdict for each in review(ledger, changed)] == ["too early"] * found


def event(number: int, day: float, cost: int, **fields: Any) -> Event:
    who = {"endpoint": "/faq", "session": fields.pop("session", None)}
    usage = Usage(input_tokens=9)
    return Event(
        f"e{number}", NOW + day * DAY, fields.pop("outcome", Outcome.MISS), "m", cost=cost, usage=usage,
        attribution=Attribution(**who), **fields,
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with open_ledger(f"sqlite:///{tmp_path}/costguard.db", clock=lambda: NOW) as made:
        yield made


def test_a_rule_that_saves_one_that_does_not_and_one_that_is_new(ledger: Any) -> None:
    for number in range(600):
        day = -20 + number / 30
        hit = day > -9 and number % 2
        ledger.append(event(number, day, 0 if hit else 10**7, outcome=Outcome.EXACT if hit else Outcome.MISS))
    ledger.flush(30)
    old = apply(FILE, advice(finding()), [finding()], date="2026-11-26")
    (found,) = review(ledger, old.after)
    assert found.verdict == "saves"
    assert found.low < found.saved < found.high
    assert abs(found.saved / (900 * 5 * 10**6) - 1) < 0.1  # 30 calls a day, half of them at nothing
    assert "repeats of 2026-11-26 saves: $4." in str(found)
    before = apply(FILE, advice(finding()), [finding()], date="2026-11-16")
    (found,) = review(ledger, before.after)  # nothing is known of the time before it
    assert found.verdict == "too early"
    (found,) = review(ledger, apply(FILE, advice(finding()), [finding()], date="2026-12-05").after)
    assert found.verdict == "too early"
    assert review(ledger, FILE) == []


def test_the_command_shows_a_diff_writes_and_takes_back(
    ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.delenv("COSTGUARD_CONFIG", raising=False)
    now = time.time()
    for number in range(900):
        at = (now - NOW) / DAY - 25 + number / 36
        ledger.append(event(number, at, 10**7, fingerprint=f"f{number % 3}", latency=0.0))
    ledger.flush(30)
    policy = tmp_path / "costguard.toml"
    policy.write_text(FILE)
    policy.chmod(0o640)
    monkeypatch.chdir(tmp_path)
    cli = CliRunner()
    command = ["advise", "--db", str(tmp_path / "costguard.db"), "--apply"]
    assert cli.invoke(app, command, input="n\n").exit_code == 0
    assert policy.read_text() == FILE
    done = cli.invoke(app, [*command, "--yes"])
    assert done.exit_code == 0, done.output
    assert "+# advised " in done.stdout
    assert '+cache = { ttl = "1d" }' in done.stdout
    assert policy.stat().st_mode & 0o777 == 0o640
    assert parse_policy(policy.read_text(), {}).endpoints["/faq"].cache is not None
    assert "Nothing to write" in cli.invoke(app, [*command, "--yes"]).stdout
    # Written eleven days ago, it has saved nothing since: prices rose.
    import re
    from datetime import UTC, datetime

    date = f"{datetime.fromtimestamp(now - 11 * DAY, UTC):%Y-%m-%d}"
    policy.write_text(re.sub(r"advised \d{4}-\d\d-\d\d", f"advised {date}", policy.read_text()))
    for number in range(100):
        ledger.append(event(2_000 + number, (now - NOW) / DAY - 1, 10**8))
    ledger.flush(30)
    seen = cli.invoke(app, ["advise", "--db", str(tmp_path / "costguard.db"), "--review"])
    assert "does not save" in seen.stdout
    assert "-cache = " in seen.stdout
    assert (
        cli.invoke(app, ["advise", "--db", str(tmp_path / "costguard.db"), "--review", "--apply", "--yes"]).exit_code
        == 0
    )
    assert tomllib.loads(policy.read_text()) == tomllib.loads(FILE)
    wrong = cli.invoke(app, [*command, "--confidence", "hgih"])
    assert wrong.exit_code == 2
    assert "high" in wrong.stderr


def test_the_ends_of_lines_and_a_link_stay(ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    now = time.time()
    for number in range(900):
        at = (now - NOW) / DAY - 25 + number / 36
        ledger.append(event(number, at, 10**7, fingerprint=f"f{number % 3}", latency=0.0))
    ledger.flush(30)
    there, link = tmp_path / "rules.toml", tmp_path / "costguard.toml"
    there.write_bytes(FILE.replace("\n", "\r\n").encode())
    link.symlink_to(there)
    monkeypatch.setenv("COSTGUARD_CONFIG", str(link))
    command = ["advise", "--db", str(tmp_path / "costguard.db"), "--apply", "--yes"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert link.is_symlink()
    written = there.read_bytes()
    assert b"cache = {" in written
    assert written.count(b"\n") == written.count(b"\r\n")
    there.write_bytes(b"\xff")
    broken = CliRunner().invoke(app, [*command, "--review"])
    assert broken.exit_code == 2
    assert "cannot be read" in broken.stderr


def test_the_command_takes_the_prices_of_the_policy(ledger: Any, tmp_path: Path) -> None:
    for number in range(60):
        for name, size in (("gpt-4o", 20_000 + 300 * number), ("house-model", 100)):
            given = event(number, -2 - number / 60, size * 2_500, fingerprint=f"{name}{number}")
            usage = Usage(input_tokens=size, output_tokens=9)
            ledger.append(replace(given, id=f"{name}{number}", model=name, provider="openai", usage=usage))
    ledger.flush(30)
    policy = tmp_path / "costguard.toml"
    policy.write_text('[prices.house-model]\ninput = "0.10"\noutput = "0.40"\n')
    command = ["advise", "--db", str(tmp_path / "costguard.db"), "--since", "2026-11-01", "--until", "2026-12-06"]
    unset = {"COSTGUARD_CONFIG": None}
    assert "house-model" not in CliRunner(env=unset).invoke(app, command).stdout
    said = CliRunner(env=unset).invoke(app, [*command, "--policy", str(policy)])
    assert 'models = ["house-model"]' in said.stdout
