"""The guarded half of benchmarks/incident_suite.py: each cause is named before the second dollar."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from costguard_core.simulate import Simulator

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "incident_suite.py"
NAMES = (
    "retry loop",
    "delegation fan-out",
    "context amplification",
    "storage amplification",
    "multimodal cost",
    "options dropped",
    "cost unseen",
    "no cap at all",
)


@pytest.fixture(scope="module")
def suite() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("incident_suite", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["incident_suite"] = module
    spec.loader.exec_module(module)
    yield module
    module.LOOP.close()
    del sys.modules["incident_suite"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with Simulator(prompt_cache=False) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_cause_is_named_before_the_second_dollar(name: str, suite: Any, provider: Simulator) -> None:
    (scenario,) = [each for each in suite.SCENARIOS if each.name == name]
    run = suite.play(scenario, provider, guarded=True)
    assert suite.problems(scenario, run) == []
    assert run.calls < suite.UNGUARDED_CALLS
    if name not in ("retry loop", "multimodal cost"):  # no budget in dollars; what a picture costs is not known before
        assert median(run.guard.ratios) <= suite.MOST_HELD
    assert all(row.held == 0 for row in run.guard.status())


def test_all_classes_have_a_scenario(suite: Any) -> None:
    assert tuple(each.name for each in suite.SCENARIOS) == NAMES
