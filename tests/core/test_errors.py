"""Errors say what to do, and survive the way home from another process."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest

from costguard_core import CostGuard
from costguard_core.errors import (
    ConfigurationError,
    CostGuardError,
    MissingExtraError,
    SpendLimitExceeded,
    StoreUnavailable,
    UnpricedModelError,
)

ERRORS = [
    ConfigurationError("write this instead"),
    MissingExtraError("Redis", "redis"),
    UnpricedModelError("my-model", "me"),
    StoreUnavailable("redis://host", "timeout"),
    SpendLimitExceeded(
        "no room",
        budget="$25/day per user",
        scope={"user": "u1"},
        limit=Decimal(25),
        spent=Decimal("24.99"),
        held=Decimal("0.01"),
        requested=Decimal("0.02"),
        retry_after=3600.0,
        answer="later",
    ),
]


def test_what_a_text_quotes_obeys_nobody() -> None:
    hostile = "\x1b[31mred\x07\u202e\ud800\u2028"
    errors = (
        ConfigurationError(f"cannot use {hostile}\n  second line"),
        UnpricedModelError(hostile),
        StoreUnavailable(f"redis://{hostile}", "timeout"),
        MissingExtraError(hostile, "redis"),
    )
    for error in errors:
        assert str(error).replace("\n", "").isprintable()
        str(error).encode()
    assert str(errors[0]).count("\n") == 1
    with pytest.raises(ConfigurationError) as refused:
        CostGuard([f"{hostile}$5/day"])
    assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sent", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_is_copied_with_its_numbers(error: CostGuardError, sent):
    arrived = sent(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


@pytest.mark.parametrize(
    ("error", "builtin"), [(ERRORS[0], ValueError), (ERRORS[1], ImportError), (ERRORS[2], LookupError)]
)
def test_an_error_is_also_what_python_calls_it(error: CostGuardError, builtin: type[Exception]):
    assert isinstance(error, builtin)
    assert isinstance(error, CostGuardError)


def test_a_missing_extra_names_the_command():
    assert "pip install 'langchain-costguard[redis]'" in str(MissingExtraError("Redis", "redis"))
