"""The pytest plugin: the fixture ``costguard``, limits per test, and a baseline of what each test cost.

It is loaded by pytest wherever Costguard is installed, so nothing heavy is imported before a test asks for the fixture.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from costguard_core.testing.expectations import CostTest

_BASELINE = "costguard-baseline.json"
_COSTS: pytest.StashKey[dict[str, str]] = pytest.StashKey()
_STOPPED: pytest.StashKey[bool] = pytest.StashKey()  # of a test that failed or was left before its end


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and settings of the plugin."""
    group = parser.getgroup("costguard", "what the calls of tests cost")
    group.addoption(
        "--costguard-update", action="store_true", help="write what each test costs now into the baseline file"
    )
    parser.addini("costguard_baseline", f"the baseline file, relative to the root ({_BASELINE})", default=_BASELINE)
    parser.addini("costguard_band", "how much dearer a test may get before it fails (10%%)", default="10%")


def pytest_configure(config: pytest.Config) -> None:
    """Remember costs from the beginning of the run."""
    config.stash[_COSTS] = {}


@pytest.fixture
def costguard(request: pytest.FixtureRequest) -> Iterator[CostTest]:
    """A guard and a simulated provider for one test; see :class:`costguard_core.testing.expectations.CostTest`.

    The test fails when it costs more than its entry in the baseline file and the band allow.
    """
    from costguard_core.testing.expectations import CostTest

    with CostTest() as test:
        yield test
        totals = test.totals
    config, name = request.config, request.node.nodeid
    if request.node.stash.get(_STOPPED, False):
        return  # what it did until then says nothing about what it costs
    updates = config.getoption("--costguard-update")
    known = None if updates else _baseline(config).get(name)
    if totals.unpriced and (updates or known is not None):
        pytest.fail(
            f"{totals.unpriced} calls have an unknown cost, so the test has none: declare prices", pytrace=False
        )
    config.stash[_COSTS][name] = f"{totals.spend_usd:f}"
    _compare(name, totals.spend_usd, known, _band(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember which tests did not come to their end."""
    if call.when == "call":
        item.stash[_STOPPED] = call.excinfo is not None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what the tests of a worker of pytest-xdist cost: only the process that started them writes the file."""
    node.config.stash[_COSTS].update(getattr(node, "workeroutput", {}).get("costguard", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the baseline, when that was asked for."""
    config = session.config
    found, output = config.stash[_COSTS], getattr(config, "workeroutput", None)
    if output is not None:  # a worker of pytest-xdist
        output["costguard"] = found
    elif config.getoption("--costguard-update") and found:
        try:
            before = _baseline(config)
        except pytest.UsageError:
            before = {}  # whose message says to make it anew like this
        costs = dict(sorted({**before, **found}.items()))
        _path(config).write_text(json.dumps(costs, indent=2) + "\n", encoding="utf-8")


def _compare(name: str, spent: Decimal, known: str | None, band: Decimal) -> None:
    if known is None:
        return
    most = Decimal(known) * (1 + band)
    if spent > most:
        pytest.fail(
            f"this test cost ${spent:f}, ${known} in the baseline: more than {band:.0%} dearer. If that is meant: "
            f"pytest {shlex.quote(name)} --costguard-update",
            pytrace=False,
        )


def _path(config: pytest.Config) -> Path:
    return Path(config.rootpath) / str(config.getini("costguard_baseline"))


def _baseline(config: pytest.Config) -> dict[str, str]:
    path = _path(config)
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(_amount(str(cost))) for name, cost in found.items()}
    except (ValueError, ArithmeticError, AttributeError) as error:
        raise pytest.UsageError(f"{path} is no baseline of costs ({error}): make it with --costguard-update") from None


def _band(config: pytest.Config) -> Decimal:
    text = str(config.getini("costguard_band")).strip()
    try:
        return _amount(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ArithmeticError:
        raise pytest.UsageError(f"costguard_band = {text!r} is not a share, such as 10%") from None


def _amount(text: str) -> Decimal:
    """A number of at least 0; ``ArithmeticError``: it is none."""
    found = Decimal(text)
    if not found.is_finite() or found < 0:
        raise ArithmeticError(f"{text} is not a number of at least 0")
    return found
