"""The pytest plugin, in test suites of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
    import time
    from costguard_core.types import Call, Outcome, Usage

    def test_support(costguard):
        for number in range({times}):
            call = Call(str(number), "gpt-4o-mini", time.time(), provider="openai")
            if number and {cache}:
                costguard.guard.hit(call, Outcome.EXACT, saved=1)
            else:
                costguard.guard.after(costguard.guard.before(call), Usage(input_tokens=100, output_tokens=10))
        costguard.expect({expectation})
"""


def _run(
    pytester: pytest.Pytester, *arguments: str, times: int = 1, cache: bool = False, expectation: str
) -> pytest.RunResult:
    pytester.makepyfile(test_it=SUITE.format(times=times, cache=cache, expectation=expectation))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


@pytest.mark.parametrize(
    ("times", "cache", "expectation", "said"),
    [
        (1, False, 'max_usd="0.01", max_calls=1', None),
        (3, True, "max_calls=1, min_hit_rate=0.6", None),
        (2, False, "max_calls=1", "2 paid calls, expected at most 1"),
        (2, False, "min_hit_rate=0.5", "hit rate 0%, expected at least 50%"),
        (1, False, 'max_usd="0.000001"', "expected at most $0.000001"),
        (1, False, "", "expect(...) wants at least one of"),
        (1, False, "min_hit_rate=50", "min_hit_rate=50"),
    ],
)
def test_expectations_pass_or_say_what_is_missed(
    pytester: pytest.Pytester, times: int, cache: bool, expectation: str, said: str | None
) -> None:
    result = _run(pytester, times=times, cache=cache, expectation=expectation)
    result.assert_outcomes(passed=said is None, failed=said is not None)
    if said is not None:
        assert said in result.stdout.str()


def test_a_test_that_got_dearer_than_its_baseline_fails_until_that_is_meant(pytester: pytest.Pytester) -> None:
    cheap = "max_calls=9"
    assert _run(pytester, "--costguard-update", expectation=cheap).ret == 0
    baseline = Path(pytester.path) / "costguard-baseline.json"
    costs = json.loads(baseline.read_text())
    assert list(costs) == ["test_it.py::test_support"]
    assert _run(pytester, expectation=cheap).ret == 0
    dearer = _run(pytester, times=2, expectation=cheap)
    assert dearer.ret == 1
    assert "--costguard-update" in dearer.stdout.str()
    assert _run(pytester, "-o", "costguard_band=150%", times=2, expectation=cheap).ret == 0
    assert _run(pytester, "--costguard-update", times=2, expectation=cheap).ret == 0
    assert _run(pytester, times=2, expectation=cheap).ret == 0


def test_a_broken_baseline_is_an_error_that_says_how_to_make_one(pytester: pytest.Pytester) -> None:
    pytester.makefile(".json", **{"costguard-baseline": '{"a": "much"}'})
    result = _run(pytester, expectation="max_calls=9")
    assert "make it with --costguard-update" in result.stdout.str() + result.stderr.str()

    assert _run(pytester, "--costguard-update", expectation="max_calls=9").ret == 0
    assert list(json.loads((Path(pytester.path) / "costguard-baseline.json").read_text())) == [
        "test_it.py::test_support"
    ]


@pytest.mark.parametrize("text", ["-10%", "nan", "much"])
def test_a_band_is_a_share(pytester: pytest.Pytester, text: str) -> None:
    result = _run(pytester, "-o", f"costguard_band={text}", expectation="max_calls=9")
    assert "is not a share" in result.stdout.str() + result.stderr.str()


def test_a_test_that_fails_is_no_measure_of_its_cost(pytester: pytest.Pytester) -> None:
    _run(pytester, "--costguard-update", expectation="max_calls=0").assert_outcomes(failed=1)
    assert not (Path(pytester.path) / "costguard-baseline.json").exists()


def test_an_unknown_cost_is_not_taken_for_nothing(pytester: pytest.Pytester) -> None:
    assert _run(pytester, "--costguard-update", expectation="max_calls=9").ret == 0
    unknown = SUITE.replace("gpt-4o-mini", "nobody-knows-it").format(times=1, cache=False, expectation="max_calls=9")
    pytester.makepyfile(test_it=unknown)
    for options in ([], ["--costguard-update"]):
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
        assert result.ret == 1
        assert "1 calls have an unknown cost" in result.stdout.str()


@pytest.mark.slow
def test_workers_of_xdist_write_one_baseline(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    suite = SUITE.format(times=1, cache=False, expectation="max_calls=1")
    pytester.makepyfile(**{f"test_{number}": suite for number in range(4)})
    # Both workers have read the baseline before either could write it.
    pytester.makeconftest("""
        import os, pathlib, time
        import costguard_core.testing.plugin as plugin

        read = plugin._baseline

        def meeting(config):
            found = read(config)
            if hasattr(config, "workeroutput"):
                pathlib.Path(config.rootpath, os.environ["PYTEST_XDIST_WORKER"]).touch()
                while len(list(pathlib.Path(config.rootpath).glob("gw*"))) < 2:
                    time.sleep(0.01)
            return found

        plugin._baseline = meeting
    """)
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider", "--costguard-update")
    result.assert_outcomes(passed=4)
    names = list(json.loads((Path(pytester.path) / "costguard-baseline.json").read_text()))
    assert names == [f"test_{number}.py::test_support" for number in range(4)]


def test_the_test_of_the_docs_passes(pytester: pytest.Pytester) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "ci.md").read_text()
    [text] = re.findall(r"^```python\n(.*?)^```", docs, flags=re.MULTILINE | re.DOTALL)
    pytester.makepyfile(test_docs=text)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
