"""The commands, run as a user runs them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from python_process import run_python
from typer.testing import CliRunner, Result

from costguard_core.budgets.loops import Loops
from costguard_core.cli.main import app
from costguard_core.counters import open_store
from costguard_core.ledger import open_ledger
from costguard_core.types import Attribution, Event, Outcome, attributed


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1", **environment})


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "costguard.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number, user in enumerate(["alice", "alice", "bob"]):
            who = Attribution(user=user, endpoint="/faq")
            ledger.append(
                Event(id=str(number), time=1e9 + number, outcome=Outcome.MISS, model="m", attribution=who, cost=10**9)
            )
    return str(path)


def test_report_prints_a_table(db: str) -> None:
    result = run("report", "--by", "user", "--db", db)
    assert result.exit_code == 0
    assert "LLM spend by user" in result.stdout
    assert [line.split()[:2] for line in result.stdout.splitlines() if line.startswith(("alice", "bob"))] == [
        ["alice", "2"],
        ["bob", "1"],
    ]


def test_report_takes_urls_paths_and_the_environment(db: str) -> None:
    by_path = run("report", "--json", "--db", db)
    assert json.loads(by_path.stdout)["total"]["calls"] == 3
    assert run("report", "--json", "--db", f"sqlite:///{db}").stdout == by_path.stdout
    assert run("report", "--json", COSTGUARD_DB=db).stdout == by_path.stdout


def test_report_as_json_and_csv(db: str) -> None:
    loaded = json.loads(run("report", "--by", "user", "--by", "endpoint", "--json", "--db", db).stdout)
    assert loaded["by"] == ["user", "endpoint"]
    assert loaded["rows"][0]["spend_usd"] == "2.000000000"
    lines = run("report", "--by", "user", "--csv", "--db", db).stdout.splitlines()
    assert lines[0].startswith("user,calls")
    assert lines[1].startswith("alice,2")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["report", "--db", "no-such.db"], "there is no ledger at 'no-such.db'"),
        (["report", "--db", "memory://"], "print(guard.report())"),
        (["report", "--by", "usr"], "did you mean 'user'"),
        (["report", "--since", "whenever"], "is not a time"),
        (["report", "--json", "--csv"], "choose one"),
        (["budget", "check", "$25/dy"], 'Did you mean "day"'),
        (["budget", "check", "$25/day", "--timezone", "Mars/Base"], "Mars/Base"),
        (["budget", "status", "$25/day", "--store", "no-such.db"], "there is no counter store at 'no-such.db'"),
        (["budget", "status", "$25/day", "--store", "memory://"], "guard.status()"),
        (["budget", "reset", "--store", "carrier-pigeon://x"], "store URL"),
    ],
)
def test_bad_input_exits_2_with_one_clear_line(db: str, arguments: list[str], text: str) -> None:
    result = run(*arguments, COSTGUARD_DB=db)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_budget_check_says_it_in_words() -> None:
    result = run("budget", "check", "$25/day per user", "60 requests/minute", "--timezone", "Europe/Berlin")
    assert result.exit_code == 0
    assert "At most $25.00 in a calendar day (Europe/Berlin) for each user." in result.stdout
    assert "At most 60 requests in any 60 seconds for everybody together." in result.stdout
    (fields,) = json.loads(run("budget", "check", "$0.05/call", "--json").stdout)
    assert (fields["limit"], fields["window"]) == ("0.05", "call")


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = tmp_path / "counters.db"
    with closing(open_store(f"sqlite:///{path}")) as used:
        used.reset()  # the file appears with its first use
    return str(path)


def test_budget_status_shows_what_is_left(store: str, tmp_path: Path) -> None:
    from costguard_core import Call, CostGuard
    from costguard_core.budgets.budget import Budget
    from costguard_core.counters.base import Grant, Line

    budget = Budget.parse("$25/day per user")
    opened = open_store(f"sqlite:///{store}")
    line = Line(budget.key((("user", "u1"),)), "usd", budget.window_at(opened.now()), budget.amount, 10**9)
    grant = opened.reserve("r1", [line], lease=600.0)
    assert isinstance(grant, Grant)
    opened.settle(grant, {"usd": 5 * 10**8})
    opened.close()
    loaded = json.loads(run("budget", "status", "$25/day per user", "--store", store, "--json").stdout)
    (row,) = loaded["budgets"]
    assert (row["scope"], float(row["spent"]), float(row["remaining"])) == ({"user": "u1"}, 0.5, 24.5)
    assert "user=u1" in run("budget", "status", "$25/day per user", COSTGUARD_STORE=store).stdout
    policy = tmp_path / "costguard.toml"
    policy.write_text(f'store = "sqlite:///{store}"\nbudgets = ["$25/day per user"]\n')
    assert "user=u1" in run("budget", "status", "--config", str(policy)).stdout
    with CostGuard.from_file(policy, watch=None, agents={"research": "$0.50"}) as guard, guard.agent("research"):
        guard.release(guard.before(Call("c1", "gpt-4o", 0.0, input_tokens=1, max_output_tokens=1)))
    policy.write_text(policy.read_text() + 'breaker = "$2/minute"\n[agents]\nresearch = "$0.50"\n')
    loaded = json.loads(run("budget", "status", "--config", str(policy), "--json").stdout)
    assert loaded["breaker"] == "closed, $0.00 in the last minute"
    assert [(one["agent"], one["concluding"]) for one in loaded["agents"]] == [("research", False)]
    assert "user=u1" in run("budget", "status", COSTGUARD_CONFIG=str(policy)).stdout
    asked = run("budget", "status")
    assert (asked.exit_code, "--config costguard.toml" in asked.stderr) == (2, True)


def test_budget_trip_and_reset_work_through_the_store(store: str) -> None:
    assert run("budget", "trip", "invoice looks wrong", "--store", store).exit_code == 0
    opened = open_store(f"sqlite:///{store}")
    assert opened.tripped() == "invoice looks wrong"
    assert json.loads(run("budget", "reset", "--store", store, "--json").stdout) == {"tripped": None}
    assert opened.tripped() is None
    opened.close()


def test_emergency_caps_and_resuming_a_session_work_through_the_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = ["--max-input", "4000", "--rate", "30/minute", "--for", "2h", "--reason", "spike", "--by", "ann"]
    said = run("budget", "emergency", *caps, "--store", store)
    assert "emergency: 4000 input tokens/call, 30 requests/minute for everybody until" in said.stdout
    opened = open_store(f"sqlite:///{store}")
    assert '"max_input": 4000' in opened.controls()
    shown = json.loads(run("budget", "status", "$5/day", "--store", store, "--json").stdout)
    assert shown["emergency"]["rate"] == "30/minute"
    assert json.loads(run("budget", "emergency", "--end", "--store", store, "--json").stdout) == {"ended": True}
    assert opened.controls() == ""
    none = run("budget", "emergency", "--store", store)
    assert none.exit_code == 2
    assert "caps something" in none.stderr
    policy = tmp_path / "policy.toml"
    policy.write_text('[emergency]\ncheapest = true\nfor = "5m"\n')
    monkeypatch.setenv("COSTGUARD_CONFIG", str(policy))
    assert "cheapest tier only" in run("budget", "emergency", "--store", store).stdout
    for session in ("s1", "s" * 300):  # a long one is kept shortened
        opened.grant_limit(Loops().stop(attributed(session) or "", opened.now()))
        assert json.loads(run("budget", "resume", session, "--store", store, "--json").stdout) == {"resumed": True}
    assert opened.granted_limits() == []
    opened.close()


def test_caps_that_are_not_there_are_not_recorded_as_ended(store: str, db: str) -> None:
    assert run("budget", "emergency", "--end", "--store", store, "--db", db).stdout == "None were.\n"
    with open_ledger(f"sqlite:///{db}") as ledger:
        assert list(ledger.changes()) == []


@pytest.mark.parametrize("command", [["report"], ["budget"], ["budget", "check"], ["budget", "status"]])
def test_help_is_there_and_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\nfrom costguard_core.cli.main import app\n"
        f"try:\n    app({[*command, '--help']!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = ('langchain_core', 'langchain', 'chromadb', 'pandas', 'redis', 'psycopg', 'starlette', 'openai',\n"
        "         'genai_prices', 'tiktoken', 'prometheus_client', 'opentelemetry', 'matplotlib')\n"
        "print(sorted(set(heavy) & set(sys.modules)), file=sys.stderr)"
    )
    done = run_python(code)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_store_that_is_down_is_called_down() -> None:
    result = run("budget", "status", "$1/day", "--store", "redis://:hush@127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "the counter store redis://127.0.0.1:1/0 is unavailable" in result.stderr
    assert "the call was refused" not in result.stderr
    assert "hush" not in result.output


def test_a_group_without_a_command_shows_its_help_and_no_empty_error() -> None:
    result = run("budget")
    assert "Usage: costguard budget" in result.output
    assert "costguard: " not in result.stderr


def test_limits_are_granted_listed_and_revoked_from_the_command_line(store: str, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger.db")
    where = ["$25/day per user", "--scope", "user=u1", "--store", store, "--db", ledger]
    granted = run("budget", "grant", *where, "--limit", "$50", "--until", "2099-12-31", "--reason", "launch \x1b[31m")
    assert granted.exit_code == 0
    assert "granted: $25/day per user, user=u1: $50.00 until 2100-01-01 00:00:00Z" in granted.stdout
    assert "\x1b" not in granted.output
    (listed,) = json.loads(run("budget", "list", "--store", store, "--json").stdout)
    assert (listed["limit"], listed["scope"], listed["reason"]) == ("50", {"user": "u1"}, "launch \x1b[31m")
    status = json.loads(run("budget", "status", "$25/day per user", "--store", store, "--json").stdout)
    assert [row["limit"] for row in status["grants"]] == ["50"]
    assert json.loads(run("budget", "revoke", *where, "--json").stdout) == {"revoked": True}
    assert "No limit of $25/day per user was granted" in run("budget", "revoke", *where).stdout
    assert "No limit is granted" in run("budget", "list", "--store", store).stdout
    with open_ledger(f"sqlite:///{ledger}") as opened:
        assert [change.action for change in opened.changes()] == ["grant", "revoke"]
        assert all(change.by for change in opened.changes())


def test_a_grant_for_a_budget_that_nobody_uses_says_so(store: str) -> None:
    where = ["$25/week per team", "--scope", "team=a", "--limit", "30", "--store", store]
    assert "Nothing has been counted for this budget yet" in run("budget", "grant", *where).stderr
    assert run("budget", "grant", *where[:1], "--limit", "30", "--store", store).exit_code == 2
