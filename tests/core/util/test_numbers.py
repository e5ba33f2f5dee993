"""A number that cannot be used is an error where it is written, and the error names it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from costguard_core import Assumptions, Breaker, Budget, ConfigurationError, CostGuard
from costguard_core.cache import CachePolicy
from costguard_core.exporters import WebhookHook
from costguard_core.ledger import open_ledger
from costguard_core.util.numbers import number, whole_number

URL = "http://127.0.0.1:9"
NO_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, "5", True, None, -1, 1j]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0])
@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("lease", lambda value: CostGuard(lease=value)),
        ("Assumptions.output", lambda value: CostGuard(assume=Assumptions(output=value))),
        ("Assumptions.reasoning", lambda value: CostGuard(assume=Assumptions(reasoning=value))),
        ("Assumptions.floor", lambda value: CostGuard(assume=Assumptions(floor=value))),
        ("cooldown", lambda value: Breaker("$1/minute", cooldown=value)),
        ("probe_lease", lambda value: Breaker("$1/minute", probe_lease=value)),
        ("limit", lambda value: Budget(None if value == "5" else value)),  # the text of a number is one here
        ("batch", lambda value: open_ledger("memory://", batch=value)),
        ("capacity", lambda value: open_ledger("memory://", capacity=value)),
        ("timeout", lambda value: WebhookHook(URL, timeout=value)),
        ("capacity", lambda value: WebhookHook(URL, capacity=value)),
    ],
)
def test_numbers_above_zero(option: str, make: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        make(value)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("wait_timeout", lambda value: Budget(1, wait_timeout=value)),
        ("interval", lambda value: open_ledger("memory://", interval=value)),
        ("pause", lambda value: WebhookHook(URL, pause=value)),
        ("ttl", lambda value: CachePolicy(ttl="" if value is None else value)),  # None is no limit
        ("ttl_jitter", lambda value: CachePolicy(ttl_jitter=value)),
    ],
)
def test_numbers_from_zero(option: str, make: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        make(value)


def test_the_error_says_what_would_be_right() -> None:
    with pytest.raises(ConfigurationError, match=r"share=2 is not a number above 0 and of at most 1$"):
        number("share", 2, above=0, at_most=1)
    with pytest.raises(ConfigurationError, match=r"attempts=0 is not a whole number of at least 1$"):
        whole_number("attempts", 0, at_least=1)
    assert (number("share", 1, above=0, at_most=1), whole_number("attempts", 1, at_least=1)) == (1.0, 1)
