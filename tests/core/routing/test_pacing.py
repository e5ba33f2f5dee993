"""A router that spends a budget evenly goes by the rules as they are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from costguard_core import Attribution, CostGuard
from costguard_core.policy import load_policy
from costguard_core.routing.pacing import Pace
from costguard_core.types import NANOS_PER_DOLLAR


def limit(pace: Pace) -> float | None:
    found = pace.spending(Attribution(user="u"), model="m", strong_cost=1, weak_cost=1)
    return None if found is None else found.line.limit / NANOS_PER_DOLLAR


def rewritten(guard: CostGuard, path: Path, budgets: str) -> None:
    path.write_text(f"budgets = {budgets}")
    guard.follow(load_policy(path))


@pytest.mark.parametrize(("wanted", "more"), [("$500/month", ""), ("the bill", ', name = "the bill"')])
def test_a_budget_whose_limit_changes_in_the_policy_file_is_spent_to_the_new_limit(
    wanted: str, more: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text(f'budgets = [{{ limit = "$500/month"{more} }}, "$9/day"]')
    with CostGuard.from_file(path, watch=None) as guard:
        pace = Pace(guard, wanted)
        assert limit(pace) == 500
        rewritten(guard, path, f'["$9/day", {{ limit = "$700/month"{more} }}]')
        assert limit(pace) == 700
        rewritten(guard, path, '["$9/day"]')
        assert [limit(pace), limit(pace)] == [None, None]
        assert [record.message for record in caplog.records if "evenly" in record.message][1:] == []
        rewritten(guard, path, f'[{{ limit = "$50/month"{more} }}]')
        assert limit(pace) == 50
