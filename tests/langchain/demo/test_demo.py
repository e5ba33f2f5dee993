"""The demo tells the truth: its numbers are the provider's, the ledger's and the budgets'."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from python_process import run_python
from rich.console import Console

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.ledger import open_ledger
from costguard_core.pricing import PriceBook
from costguard_core.reports.queries import make_report
from costguard_core.simulate import RecordedRequest, Simulator
from costguard_core.types import usd
from costguard_core.usage.reader import read_usage
from langchain_costguard.demo.compare import Comparison
from langchain_costguard.demo.play import PROVIDER, REFUSED
from langchain_costguard.demo.run import BUDGETS, Settings, run_demo, worst_case
from langchain_costguard.demo.table import show
from langchain_costguard.demo.workload import LOOP_CALLS, Request, support_day


def same_prompt(request: Request) -> tuple[str, str]:
    return request.system, request.question


def test_the_same_seed_makes_the_same_day() -> None:
    assert support_day(seed=3) == support_day(seed=3) != support_day(seed=4)


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_the_day_is_what_the_documentation_says(seed: int) -> None:
    day = support_day(seed=seed)
    times_asked = Counter(map(same_prompt, day))
    repeats = len(day) - len(times_asked)

    assert 380 <= len(day) <= 420
    assert 0.25 <= repeats / len(day) <= 0.40
    assert {request.endpoint for request in day} == {"/agent", "/faq", "/orders", "/summarise", "/triage"}
    assert 12 <= len({request.user for request in day}) <= 14
    assert [request.minute for request in day] == sorted(request.minute for request in day)
    assert sum(len(request.system) > 4000 for request in day if request.endpoint == "/summarise") >= 20


def test_every_call_of_the_loop_is_a_new_one() -> None:
    loop = [request for request in support_day() if request.runaway]
    assert len(loop) == len(set(map(same_prompt, loop))) == LOOP_CALLS


def test_personal_questions_come_in_the_same_words_from_several_customers() -> None:
    askers = defaultdict(set)
    for request in support_day():
        if request.endpoint == "/orders":
            askers[request.question].add(request.user)
    assert max(map(len, askers.values())) >= 3


def test_the_warning_names_the_worst_case() -> None:
    assert Decimal(worst_case(Settings(model="gpt-4.1")).removeprefix("$")) > 2
    assert "no price" in worst_case(Settings(model="my-own-model"))


def test_a_demo_without_bills_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no price is known for 'my-own-model'"):
        run_demo(Settings(model="my-own-model"))
    with Simulator(fault_rate=1.0) as server, pytest.raises(CostGuardError, match="no request was answered.*simulated"):
        run_demo(Settings(base_url=server.base_url, max_retries=0))


class Played(NamedTuple):
    comparison: Comparison
    seen_by_provider: list[RecordedRequest]
    ledger_url: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    ledger = f"sqlite:///{tmp_path_factory.mktemp('demo') / 'ledger.db'}"
    with Simulator(latency=0.01, prompt_cache=False) as server:  # the same request costs the same on both days
        comparison = run_demo(Settings(base_url=server.base_url, ledger=ledger))
        yield Played(comparison, server.requests, ledger)


@pytest.mark.slow
def test_spend_is_what_the_provider_billed(played: Played) -> None:
    total, prices = played.comparison.total, PriceBook()
    billed = 0
    for recorded in played.seen_by_provider:
        usage = read_usage(recorded.usage)
        assert usage is not None
        billed += prices.cost(usage, model="gpt-4.1", provider="openai") or 0

    assert len(played.seen_by_provider) == total.without.paid + total.guarded.paid
    assert billed == total.without.spend + total.guarded.spend > 0
    assert total.without.paid == total.without.requests


@pytest.mark.slow
def test_the_ledger_agrees_to_the_nano_dollar(played: Played) -> None:
    comparison = played.comparison
    with closing(open_ledger(played.ledger_url)) as ledger:
        report = make_report(ledger, by="endpoint")
    for line in comparison.by_endpoint():
        recorded, seen = report[line.name], line.guarded
        assert (recorded.cost, recorded.calls) == (seen.spend, seen.requests)
        assert (recorded.paid, recorded.hits, recorded.refused) == (seen.paid, seen.hits, seen.refused)

    causes = comparison.saved_by()
    assert report.total.saved_exact + report.total.saved_coalesced == pytest.approx(causes["repeats"].nanos, rel=0.02)
    # A question in other words is booked at what its answer cost, whose length is another one's.
    assert report.total.saved_semantic == pytest.approx(causes["other_words"].nanos, rel=0.25)
    assert report.total.saved > 0
    # Chance: an answer that a nearly spent budget cut short, the provider's own prompt cache.
    assert abs(comparison.saved_by()["other"].nanos) < report.total.saved / 1000


@pytest.mark.slow
def test_the_loop_is_stopped_within_its_budget(played: Played) -> None:
    spent: Counter[str] = Counter()
    for result in played.comparison.guarded:
        spent[result.request.session] += result.cost
    loop = played.comparison.runaway

    assert max(spent.values()) <= 100_000_000  # $0.10/hour per session
    assert loop.guarded.refused > LOOP_CALLS / 2
    assert loop.without.spend > 4 * loop.guarded.spend > 0
    assert all(result.request.runaway for result in played.comparison.guarded if result.source == REFUSED)


@pytest.mark.slow
def test_the_calls_of_the_loop_follow_one_another_so_that_every_run_stops_it_at_the_same_call(played: Played) -> None:
    """Side by side their holds would refuse one another, and chance would say how many are paid."""
    comparison = played.comparison
    loop = [request.question for request in support_day() if request.runaway]
    asked = [recorded.body["messages"][-1]["content"] for recorded in played.seen_by_provider]
    paid = comparison.runaway.guarded.paid

    assert [question for question in asked if question in set(loop)] == [*loop, *loop[:paid]]
    spent = sum(result.cost for result in comparison.guarded if result.request.runaway)
    assert spent > 95_000_000  # of the $0.10: nothing but the next call's own hold is left over


@pytest.mark.slow
def test_repeats_are_paid_once_also_in_streams_and_personal_answers_are_not_shared(played: Played) -> None:
    paid: Counter[tuple[str, str]] = Counter()
    served: Counter[str] = Counter()
    for result in played.comparison.guarded:
        paid[same_prompt(result.request)] += result.source == PROVIDER
        served[result.request.endpoint] += result.source not in (PROVIDER, REFUSED)
    delivery = next(prompt for prompt in paid if prompt[1] == "How long does delivery take?")
    today = next(prompt for prompt in paid if prompt[1] == "Are you open today?")
    asked = Counter(same_prompt(result.request) for result in played.comparison.guarded)

    assert paid[delivery] == 1 < asked[delivery]
    assert paid[today] == asked[today] > 1
    assert served["/faq"] > 50
    assert served["/orders"] == 0


@pytest.mark.slow
def test_the_causes_add_up_to_the_saving(played: Played) -> None:
    comparison = played.comparison
    causes = comparison.saved_by()
    assert sum(saving.nanos for saving in causes.values()) == comparison.total.saved
    assert causes["loop"].requests == comparison.runaway.guarded.refused
    assert causes["loop"].requests + causes["budgets"].requests == comparison.total.guarded.refused
    served = comparison.total.guarded.served
    assert causes["other_words"].requests == served["semantic"]
    assert causes["repeats"].requests == served["exact"] + served["coalesced"]
    for lines in (comparison.by_endpoint(), comparison.by_user(), comparison.by_user(most=4)):
        assert sum(line.saved for line in lines) == comparison.total.saved
        assert sum(line.guarded.requests for line in lines) == comparison.total.guarded.requests
    assert json.loads(json.dumps(comparison.to_dict()))["saved_usd"] == f"{usd(comparison.total.saved):f}"


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(played: Played, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    show(played.comparison, title="A day", budgets=BUDGETS, console=console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()

    assert "…" not in text
    assert "Stopping a runaway loop after" in text
    assert text.index("without Costguard") < text.index("What saved it") < text.index("By endpoint")
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.slow
def test_the_command_prints_json_and_nothing_else(tmp_path: Path) -> None:
    code = "from costguard_core.cli.main import app; app()"
    kept = ["--ledger", f"sqlite:///{tmp_path}/demo.db", "--html", f"{tmp_path}/demo.html"]
    command = [sys.executable, "-c", code, "demo", "--fast", "--json", *kept]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=220)

    assert json.loads(done.stdout)["without"]["provider_calls"] > json.loads(done.stdout)["with"]["provider_calls"]
    assert done.stderr == ""
    assert (tmp_path / "demo.db").exists()
    assert "What saved it" in (tmp_path / "demo.html").read_text()


@pytest.mark.slow
def test_a_cheaper_model_answers_the_simple_call_sites_and_the_saving_says_so() -> None:
    comparison = run_demo(Settings(fast=True, cheap="gpt-4.1-mini"))
    assert {result.request.endpoint for result in comparison.guarded if result.routed} == {"/faq", "/triage"}
    paid_simply = [
        result
        for result in comparison.guarded
        if result.source == PROVIDER and result.request.endpoint in ("/faq", "/triage")
    ]
    assert all(result.routed for result in paid_simply)
    causes = comparison.saved_by()
    assert causes["routing"].nanos > 0
    assert causes["routing"].requests == len(paid_simply)
    assert sum(saving.nanos for saving in causes.values()) == comparison.total.saved
    assert not any(result.routed for result in comparison.without)
    printed = io.StringIO()
    title = Settings(cheap="gpt-4.1-mini").title(comparison)
    show(comparison, title=title, budgets=BUDGETS, console=Console(file=printed, width=80))
    assert "by the cheaper model" in printed.getvalue()
    assert "The cheaper model where it is enough" in printed.getvalue()

    # Every run comes to the same figures: those of the README are what is printed.
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    shown = readme.partition("demo output: begin -->\n```text\n")[2].partition("```")[0]
    said = [line.rstrip() for line in printed.getvalue().strip().splitlines()]
    assert said[: shown.count("\n")] == shown.splitlines()


def test_a_cheaper_model_needs_a_price() -> None:
    with pytest.raises(ConfigurationError, match="nobody-knows"):
        run_demo(Settings(fast=True, cheap="nobody-knows"))


def test_without_its_extra_it_says_so_before_anything_slow_is_loaded() -> None:
    done = run_python(
        """
        import importlib.util, sys
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "langchain_openai" else found(name, *rest)
        from costguard_core.cli.main import app
        try:
            app(["demo"])
        finally:
            assert "langchain_core" not in sys.modules
        """,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'langchain-costguard[demo]'" in done.stderr
