"""Copies of a guarded model: deepcopy and pickle work where the bare model's do, and spend from the same budget."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from python_process import run_python

from costguard_core import ConfigurationError, CostGuard
from langchain_costguard import GuardedChatModel, SpendLimitExceeded


def _model(store: str, **options: Any) -> GuardedChatModel:
    guard = CostGuard(["2 requests/day"], store=store, **options)
    return GuardedChatModel(FakeListChatModel(responses=["hello"]), guard, cache=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_spends_from_the_same_budget(tmp_path: Path, duplicate: Callable[[Any], Any]) -> None:
    model = _model(f"sqlite:///{tmp_path}/counters.db")
    twin = duplicate(model)
    model.invoke("hi")
    twin.invoke("hi")
    with pytest.raises(SpendLimitExceeded):
        model.invoke("hi")


def test_a_pickle_spends_from_the_same_budget_in_another_process(tmp_path: Path) -> None:
    model = _model(f"sqlite:///{tmp_path}/counters.db")
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = f"import pickle; m = pickle.load(open({str(tmp_path / 'model')!r}, 'rb')); m.invoke('hi'); m.invoke('hi')"
    run_python(code)
    with pytest.raises(SpendLimitExceeded):
        model.invoke("hi")


@pytest.mark.parametrize(
    ("store", "shown"),
    [("memory://", "memory://"), ("redis://:hunter2@localhost:1/0", "redis://localhost:1/0")],
)
def test_what_cannot_be_pickled_says_why_and_shows_no_password(store: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=shown) as error:
        pickle.dumps(_model(store))
    assert "hunter2" not in str(error.value)
