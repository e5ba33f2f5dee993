"""A policy file that changes while the application runs."""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import replace
from pathlib import Path
from time import time

import pytest
from python_process import run_python
from waiting import wait_until

from costguard_core.budgets.estimates import Assumptions
from costguard_core.errors import ConfigurationError, SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.policy import PolicyWatch, load_policy
from costguard_core.types import Call, Usage

NEVER = 3600.0  # seconds: the test looks itself


def _guard(path: Path, text: str, **options: object) -> tuple[CostGuard, PolicyWatch]:
    path.write_text(text)
    guard = CostGuard.from_file(path, watch=None, **options)
    return guard, PolicyWatch(load_policy(path), guard, every=NEVER)


def _call(number: int) -> Call:
    return Call(str(number), "m", time(), input_tokens=10, max_output_tokens=10)


def test_a_changed_limit_and_price_hold_at_once_and_what_was_spent_stays(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    price = '[prices.m]\ninput = "0"\noutput = "0"\nrequest = "{}"\n'
    guard, watch = _guard(path, 'budgets = ["$2/day"]\n' + price.format(1))
    for number in range(2):
        guard.after(guard.before(_call(number)), Usage(input_tokens=10, output_tokens=10))
    with pytest.raises(SpendLimitExceeded):
        guard.before(_call(2))
    path.write_text('budgets = ["$5/day"]\n' + price.format(2))
    assert watch.look()
    charge = guard.after(guard.before(_call(3)), Usage(input_tokens=10, output_tokens=10))
    assert charge.cost == 2 * 10**9
    assert guard.status().budgets[0].spent == 4
    with pytest.raises(SpendLimitExceeded):
        guard.before(_call(4))
    assert not watch.look()


def test_a_call_that_waits_is_freed_by_a_higher_limit(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    text = 'budgets = [{{ limit = "{} requests/day", on_exceed = "wait", wait_timeout = 600 }}]'
    guard, watch = _guard(path, text.format(1))
    guard.before(_call(0))
    admitted = threading.Event()
    waiting = threading.Thread(target=lambda: (guard.before(_call(1)), admitted.set()), daemon=True)
    waiting.start()
    path.write_text(text.format(2))
    assert watch.look()
    assert admitted.wait(60)
    waiting.join()


def test_a_broken_file_changes_nothing_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "costguard.toml"
    guard, watch = _guard(path, 'budgets = ["1 requests/day"]')
    path.write_text('budgets = ["$1/dya"]')
    with caplog.at_level(logging.WARNING, "costguard"):
        assert not watch.look()
        assert not watch.look()
    [record] = caplog.records
    assert 'Did you mean "day"' in record.getMessage()
    guard.before(_call(0))
    with pytest.raises(SpendLimitExceeded):
        guard.before(_call(1))
    path.write_text('budgets = ["2 requests/day"]')
    assert watch.look()
    guard.before(_call(1))


@pytest.mark.parametrize("change", ['store = "sqlite:///{}/c.db"', 'ledger = "sqlite:///{}/l.db"', 'lease = "5m"'])
def test_of_a_file_that_names_another_store_nothing_is_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    path = tmp_path / "costguard.toml"
    guard, watch = _guard(path, 'budgets = ["1 requests/day"]')
    before = guard.policy
    path.write_text(f'budgets = ["9 requests/day"]\n{change.format(tmp_path)}\n[cache]\nttl = "1d"')
    with caplog.at_level(logging.INFO, "costguard"):
        assert not watch.look()
        assert not watch.look()
    [record] = caplog.records
    assert f"a change of {change.partition(' ')[0]}, cache in" in record.getMessage()
    assert (guard.policy, [str(budget) for budget in guard.budgets]) == (before, ["1 request/day"])
    path.write_text('budgets = ["2 requests/day"]')
    assert watch.look()


def test_a_store_that_an_argument_names_may_change_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "costguard.toml"
    guard, watch = _guard(path, "", store="memory://")
    path.write_text('budgets = ["2 requests/day"]\nstore = "redis://elsewhere"')
    assert watch.look()
    assert "takes a restart" not in caplog.text
    assert [str(budget) for budget in guard.budgets] == ["2 requests/day"]


def test_what_takes_a_restart_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "costguard.toml"
    _guarded, watch = _guard(path, 'store = "memory://"')
    path.write_text('store = "memory://"\nretention = "9d"\n[cache]\nttl = "1d"\n[[hooks]]\ntype = "logging"')
    with caplog.at_level(logging.WARNING, "costguard"):
        assert watch.look()
    assert "a change of cache, hooks, retention in" in caplog.text


def test_a_file_that_is_gone_or_empty_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "costguard.toml"
    guard, watch = _guard(path, 'budgets = ["1 requests/day"]')
    path.unlink()
    with caplog.at_level(logging.WARNING, "costguard"):
        assert [watch.look() for _ in range(4)] == [False] * 4
        path.write_text("\n")
        assert [watch.look() for _ in range(4)] == [False] * 4
    assert [record.getMessage().count("rules stay what they were") for record in caplog.records] == [1, 1]
    assert "cannot be read" in caplog.records[0].getMessage()
    assert "is empty" in caplog.records[1].getMessage()
    assert [str(budget) for budget in guard.budgets] == ["1 request/day"]
    path.write_text('budgets = ["2 requests/day"]')
    assert watch.look()


def test_a_file_is_not_followed_while_it_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "costguard.toml"
    guard, watch = _guard(path, 'budgets = ["1 requests/day"]\n[plans.free]\nbudgets = ["1 requests/hour"]')
    path.write_text("# the first line of many\n")  # valid, and without limits
    whole = '# the first line of many\nbudgets = ["2 requests/day"]'
    monkeypatch.setattr(watch._stopped, "wait", lambda seconds: path.write_text(whole))
    assert not watch.look()
    assert len(guard.budgets) == 2
    assert watch.look()
    assert [str(budget) for budget in guard.budgets] == ["2 requests/day"]


def test_what_changes_before_the_first_look_is_followed_by_it(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('budgets = ["1 requests/day"]')
    policy = load_policy(path)
    guard = CostGuard.from_file(path, watch=None)
    path.write_text('budgets = ["2 requests/day"]')  # while the guard was made
    assert PolicyWatch(policy, guard, every=NEVER).look()
    assert [str(budget) for budget in guard.budgets] == ["2 requests/day"]


def test_a_mounted_config_map_is_followed_when_its_link_is_swapped(tmp_path: Path) -> None:
    """https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically"""

    def mount(revision: str, text: str) -> None:
        (tmp_path / revision).mkdir()
        (tmp_path / revision / "costguard.toml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(revision)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    mount("..1", 'budgets = ["1 requests/day"]')
    path = tmp_path / "costguard.toml"
    path.symlink_to("..data/costguard.toml")
    guard = CostGuard.from_file(path, watch=None)
    watch = PolicyWatch(load_policy(path), guard, every=NEVER)
    mount("..2", 'budgets = ["2 requests/day"]')
    assert watch.look()
    assert [str(budget) for budget in guard.budgets] == ["2 requests/day"]


def test_the_price_file_that_it_names_is_followed_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prices, price = tmp_path / "prices.toml", '[prices.m]\ninput = "0"\noutput = "0"\nrequest = "{}"\n'
    prices.write_text(price.format(1))
    guard, watch = _guard(tmp_path / "costguard.toml", 'prices = "prices.toml"')
    assert not watch.look()
    prices.write_text(price.format(2))
    assert watch.look()
    assert guard.after(guard.before(_call(0)), Usage(input_tokens=10, output_tokens=10)).cost == 2 * 10**9
    prices.write_text("[prices.m]\ninptt = 1")
    assert [watch.look(), watch.look()] == [False, False]
    assert caplog.text.count("cannot be followed") == 1
    assert guard.after(guard.before(_call(1)), Usage(input_tokens=10, output_tokens=10)).cost == 2 * 10**9


@pytest.mark.parametrize(
    "broken",
    [{"assume": Assumptions(output=0)}, {"tags": ("model",)}, {"loops": -1}, {"prices": {"m": {"input": "x"}}}],
)
def test_a_policy_is_followed_as_a_whole_or_not_at_all(tmp_path: Path, broken: dict[str, object]) -> None:
    path = tmp_path / "costguard.toml"
    price = '[prices.m]\ninput = "0"\noutput = "0"\nrequest = "{}"\n'
    guard, _ = _guard(path, 'budgets = ["$2/day"]\n' + price.format(1))
    path.write_text('budgets = ["$9/day"]\n' + price.format(2))
    changed = load_policy(path)
    with pytest.raises(ConfigurationError):
        guard.follow(replace(changed, options={**changed.options, **broken}))
    assert [str(budget) for budget in guard.budgets] == ["$2/day"]
    assert guard.after(guard.before(_call(0)), Usage(input_tokens=10, output_tokens=10)).cost == 10**9


def test_a_file_with_metrics_is_followed(tmp_path: Path) -> None:
    """Reading it makes its hooks, and a registry has each metric once."""
    path = tmp_path / "costguard.toml"
    hooks = '[[hooks]]\ntype = "prometheus"\n'
    guard, watch = _guard(path, hooks)
    path.write_text('budgets = ["2 requests/day"]\n' + hooks)
    assert watch.look()
    assert [str(budget) for budget in guard.budgets] == ["2 requests/day"]


def test_arguments_beside_the_file_still_win(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('budgets = ["1 requests/day"]')
    guard = CostGuard.from_file(path, watch=0.01, budgets=["5 requests/day"])
    first = guard.policy
    path.write_text('budgets = ["2 requests/day"]')
    wait_until(lambda: guard.policy is not first)
    assert [str(budget) for budget in guard.budgets] == ["5 requests/day"]
    guard.close()


def test_a_guard_that_nobody_holds_is_not_kept_by_its_watch(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('budgets = ["1 requests/day"]')
    before = set(threading.enumerate())
    CostGuard.from_file(path, watch=0.01)

    def gone() -> bool:
        gc.collect()
        return not [t for t in set(threading.enumerate()) - before if t.name == "costguard-policy"]

    wait_until(gone)


def test_forked_workers_follow_too(tmp_path: Path) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text('budgets = ["1 requests/day"]')
    run_python(
        """
        import os, sys, time
        from costguard_core.guard import CostGuard
        guard = CostGuard.from_file(sys.argv[1], watch=0.01)
        first = guard.policy
        child = os.fork()
        if child == 0:
            open(sys.argv[1], "w").write('budgets = ["2 requests/day"]')
            while guard.policy is first:
                time.sleep(0.01)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        """,
        path,
    )
