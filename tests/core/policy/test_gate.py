"""The cost gate: it fails on what got dearer, and on nothing that chance explains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger, open_ledger
from costguard_core.policy import parse_policy
from costguard_core.policy.gate import Calls, gate
from costguard_core.types import Attribution, Event, Outcome

CENT = 10_000_000  # nano-dollars


def _ledger(*groups: tuple[str | None, Sequence[int | None]], url: str = "memory://", hits: int = 0) -> Ledger:
    ledger = open_ledger(url)
    number = 0
    for endpoint, costs in groups:
        for cost in (*costs, *[0] * hits):
            outcome = Outcome.EXACT if cost == 0 else Outcome.MISS
            who = Attribution(endpoint=endpoint)
            ledger.append(Event(f"{number}", 1e9 + number, outcome, "m", attribution=who, cost=cost))
            number += 1
    assert ledger.flush()
    return ledger


def _verdicts(head: Ledger, base: Ledger | None, **options: object) -> dict[str | None, str]:
    return {one.group[0]: one.verdict for one in gate(head, base, by=("endpoint",), **options).comparisons}  # type: ignore[arg-type]


def test_dearer_cheaper_new_and_gone_are_told_apart() -> None:
    base = _ledger(("/same", [CENT] * 5), ("/up", [CENT] * 5), ("/down", [CENT] * 5), ("/gone", [CENT]))
    head = _ledger(("/same", [CENT] * 9), ("/up", [2 * CENT] * 5), ("/down", [CENT // 2] * 5), ("/new", [CENT]))
    report = gate(head, base, by=("endpoint",))
    assert _verdicts(head, base) == {
        "/same": "same",
        "/up": "dearer",
        "/down": "cheaper",
        "/new": "new",
        "/gone": "gone",
    }
    assert not report.passed
    assert report.comparisons[0].label == "/up"
    assert "(+100%)" in str(report).splitlines()[1]


def test_a_cache_that_stopped_to_work_makes_calls_dearer() -> None:
    base, head = _ledger(("/faq", [CENT] * 10), hits=30), _ledger(("/faq", [CENT] * 40))
    assert _verdicts(head, base) == {"/faq": "dearer"}


def test_a_change_inside_the_band_or_within_noise_passes() -> None:
    assert _verdicts(_ledger(("/a", [105] * 9)), _ledger(("/a", [100] * 9))) == {"/a": "same"}
    assert _verdicts(_ledger(("/a", [105] * 9)), _ledger(("/a", [100] * 9)), band=0.01) == {"/a": "dearer"}
    assert _verdicts(_ledger(("/a", [1, 500, 20])), _ledger(("/a", [1, 20, 330]))) == {"/a": "same"}


def test_chance_alone_fails_few_builds() -> None:
    random, failed = Random(7), 0
    for _ in range(200):
        costs = [[int(CENT * random.lognormvariate(0, 0.5)) for _ in range(50)] for _ in range(2)]
        failed += _verdicts(_ledger(("/a", costs[0])), _ledger(("/a", costs[1])), band=0.0)["/a"] == "dearer"
    assert failed <= 12  # one in forty is expected: of one in twenty, half are cheaper


def test_an_unknown_price_fails() -> None:
    assert _verdicts(_ledger(("/a", [CENT, None])), _ledger(("/a", [CENT]))) == {"/a": "unpriced"}


def test_limits_of_the_policy_hold_without_a_second_ledger() -> None:
    policy = parse_policy('[endpoints."/a"]\nmax_cost_per_call = "0.015"\n[endpoints."/b"]\nmax_cost_per_call = 1', {})
    head = _ledger(("/a", [CENT, 3 * CENT]), ("/b", [CENT]), (None, [CENT]))
    assert _verdicts(head, None, policy=policy) == {"/a": "above the limit", "/b": "same", None: "same"}


def test_nothing_to_compare_is_an_error_that_says_what_to_give() -> None:
    head = _ledger(("/a", [CENT]))
    with pytest.raises(ConfigurationError, match="second ledger"):
        gate(head)
    with pytest.raises(ConfigurationError, match="did not write"):
        gate(_ledger(), head)
    with pytest.raises(ConfigurationError, match="nothing to compare with"):
        gate(head, _ledger())
    with pytest.raises(ConfigurationError, match="by='endpont'"):
        gate(head, head, by=("endpont",))


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=30))
def test_mean_and_error_are_those_of_the_textbook(costs: list[int]) -> None:
    from statistics import fmean, stdev

    calls = Calls()
    for cost in costs:
        calls.add(Event("1", 0.0, Outcome.MISS, "m", cost=cost))
    assert float(calls.mean) == pytest.approx(fmean(costs) / 1e9)
    assert calls.error == pytest.approx(stdev(costs) / len(costs) ** 0.5 / 1e9, rel=1e-6, abs=1e-12)


def test_the_command_prints_the_verdict_first_and_exits_by_it(tmp_path: Path) -> None:
    base, head = (f"sqlite:///{tmp_path}/{name}.db" for name in ("base", "head"))
    _ledger(("/a|b", [CENT] * 3), url=base).close()
    _ledger(("/a|b", [2 * CENT] * 3), url=head).close()

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["gate", *arguments])
        return result.exit_code, result.stdout

    code, text = run(head, base, "--junit", str(tmp_path / "gate.xml"))
    assert (code, text.splitlines()[0]) == (1, "failed: 1 of 1 groups")
    suite = ET.fromstring((tmp_path / "gate.xml").read_text())
    assert (suite.get("failures"), len(suite.findall("testcase/failure"))) == ("1", 1)
    assert run(head, base, "--band", "200%")[0] == 0
    assert "| ❌ | /a\\|b" in run(head, base, "--markdown")[1]
    groups = json.loads(run(head, base, "--json")[1])["groups"]
    assert groups[0]["head"]["usd_per_call"] == "0.020000000"
    assert run(head)[0] == 2
    assert run(head, base, "--band", "much")[0] == 2
    unwritable = CliRunner().invoke(app, ["gate", head, base, "--junit", str(tmp_path / "no" / "gate.xml")])
    assert (unwritable.exit_code, "--junit cannot write" in unwritable.stderr) == (2, True)


def test_names_are_text_in_markdown_and_in_junit() -> None:
    ledger = _ledger(("<img src=x>\n*a*|\x1b[1m", [CENT]))
    report = gate(ledger, ledger)
    assert "| &lt;img src=x&gt;" in report.to_markdown()
    assert len(report.to_markdown().splitlines()) == 5
    [case] = ET.fromstring(report.to_junit().partition("\n")[2]).findall("testcase")
    assert case.get("name") == "<img src=x>\\n*a*|\\x1b[1m · (none)"


def test_the_workflow_of_the_docs_is_yaml_and_its_commands_run(tmp_path: Path) -> None:
    import shlex
    import shutil

    import yaml

    text = (Path(__file__).parents[3] / "docs" / "ci.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    commands = [step["run"] for step in yaml.safe_load(text)["jobs"]["cost"]["steps"] if "run" in step]
    own = [shlex.split(one.partition(">>")[0], comments=True)[1:] for one in commands if one.startswith("costguard")]
    assert [arguments[0] for arguments in own] == ["ledger", "gate"]
    (head, base), written = (tmp_path / "head.db", tmp_path / "base.db"), _ledger(("/a", [CENT] * 3), url="memory://")
    for number, path in enumerate((head, base)):
        ledger = open_ledger(f"sqlite:///{path if number else tmp_path / 'open.db'}")
        for event in written.events():
            ledger.append(event)
        assert ledger.flush()
        if number:
            ledger.close()
        else:  # as a process leaves it that does not close its guard
            for end in ("", "-wal"):
                shutil.copy(f"{tmp_path}/open.db{end}", f"{head}{end}")
    assert Path(f"{head}-wal").stat().st_size > head.stat().st_size
    for arguments in own:
        moved = [str(tmp_path / part) if part.endswith(".db") else part for part in arguments]
        assert CliRunner().invoke(app, moved).exit_code == 0
        Path(f"{head}-wal").unlink(missing_ok=True)  # what is copied or uploaded is the file alone
