from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.budgets.budget import Budget
from costguard_core.budgets.grammar import SCOPES
from costguard_core.errors import ConfigurationError
from costguard_core.types import Attribution

VALUES = st.text(alphabet=st.characters(), max_size=80) | st.text("|%~ab/", max_size=6)


@pytest.mark.parametrize("limit", [25, "25", "25.00", Decimal(25), 25.0, "$25"])
def test_a_limit_may_be_written_in_many_ways(limit: Any) -> None:
    assert Budget(limit).limit == Decimal(25)
    assert Budget(limit) == Budget.parse("$25/day")


def test_a_float_means_what_it_shows() -> None:
    assert Budget(0.1).amount == 100_000_000
    assert Budget("1,500.50").amount == Budget(1500.5).amount == Budget(1500.5).limit_nanos == 1_500_500_000_000


@pytest.mark.parametrize(
    "options",
    [
        {"limit": True},
        {"limit": None},
        {"limit": float("nan")},
        {"limit": float("inf")},
        {"limit": Decimal("NaN")},
        {"limit": Decimal("sNaN")},
        {"limit": "Infinity"},
        {"limit": 0},
        {"limit": -1},
        {"limit": "ten"},
        {"limit": "1e-10"},
        {"limit": "0.0000000015"},
        {"limit": "1.0000000000000000000000000000001"},
        {"limit": 10**10},
        {"limit": "1e999999"},
        {"limit": 1.5, "unit": "tokens"},
        {"limit": 2**63, "unit": "tokens"},
        {"limit": 1, "unit": "euros"},
        {"limit": 1, "window": "dya"},
        {"limit": 1, "window": None},
        {"limit": 1, "per": ("usr",)},
        {"limit": 1, "per": ("a|b",)},
        {"limit": 1, "where": "plan=free"},
        {"limit": 1, "where": 5},
        {"limit": 1, "where": {"plan": ""}},
        {"limit": 1, "where": {"plan": "a\nb"}},
        {"limit": 1, "where": {"usr": "u1"}},
        {"limit": 1, "per": 5},
        {"limit": 1, "on_exceed": "rise"},
        {"limit": 1, "on_store_error": "ajar"},
        {"limit": 1, "timezone": "Europe/Wien"},
        {"limit": 1, "timezone": "../etc/passwd"},
        {"limit": 1, "timezone": ""},
        {"limit": 1, "alerts": (0.5, -1)},
        {"limit": 1, "alerts": 0.5},
        {"limit": 1, "alerts": (True,)},
        {"limit": 1, "wait_timeout": float("inf")},
        {"limit": 1, "wait_timeout": -1},
    ],
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Budget(**options)


def test_refusals_say_what_to_write_instead() -> None:
    with pytest.raises(ConfigurationError, match=r"Budget\.parse\('\$25/day'\)"):
        Budget("$25/day")
    with pytest.raises(ConfigurationError, match='Did you mean "wait"'):
        Budget(1, on_exceed="waite")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match='Did you mean "Europe/Vienna"'):
        Budget(1, timezone="Europe/Viena")
    with pytest.raises(ConfigurationError, match=r"guard\.trip"):
        Budget(0)


def test_object_form_forgives_what_the_grammar_forgives() -> None:
    budget = Budget(5, unit="Input Token", window="Hours", per="user and model")  # type: ignore[arg-type]
    assert str(budget) == "5 input tokens/hour per user, model"


def test_options_go_through_parse() -> None:
    budget = Budget.parse("$5/day", name="team", on_exceed="wait", wait_timeout=3, alerts=[1, 0.5])
    assert (budget.name, budget.on_exceed, budget.wait_timeout, budget.alerts) == ("team", "wait", 3, (0.5, 1))
    assert str(budget) == "$5/day"


def test_budgets_are_values() -> None:
    budget = Budget.parse("$5/day per user", answer=str)
    plain = Budget.parse("$5/day per user")
    assert len({plain, Budget(5, per=("user",)), budget}) == 2
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert str(replace(plain, limit=10, name=None)) == "$10/day per user"


def test_a_scope_says_who_and_what() -> None:
    budget = Budget.parse("$5/day per user, tenant, model, provider")
    who = Attribution(user="u1", endpoint="/x")
    assert budget.scope(who, "gpt-4o", "openai") == (
        ("user", "u1"),
        ("tenant", ""),
        ("model", "gpt-4o"),
        ("provider", "openai"),
    )
    assert Budget.parse("$5/day").scope(who, "gpt-4o") == ()


def test_a_key_is_readable() -> None:
    budget = Budget.parse("$5/day per user, model", name="team cap", timezone="Europe/Vienna")
    key = budget.key((("user", "anna@example.org"), ("model", "gpt-4o")))
    assert key == "usd/day@Europe/Vienna#team%20cap/user+model|anna@example.org|gpt-4o"


def test_the_amount_is_not_in_the_key_but_everything_that_counts_apart_is() -> None:
    scope = (("user", "u"),)
    base = Budget.parse("$5/day per user")
    assert base.key(scope) == Budget.parse("$7/day per user").key(scope)
    others = [
        Budget.parse("$5/week per user"),
        Budget.parse("5 tokens/day per user"),
        Budget.parse("$5/day per tenant"),
        Budget.parse("$5/day per user", name="team"),
        Budget.parse("$5/day per user", timezone="Asia/Tokyo"),
        Budget.parse("$5/day"),
    ]
    assert len({budget.key_prefix for budget in [base, *others]}) == 7
    for one in [base, *others]:
        assert not any(one.key_prefix.startswith(other.key_prefix) for other in [base, *others] if other is not one)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=2, unique=True))
def test_different_scopes_never_share_a_key(values: list[tuple[str, str]]) -> None:
    budget = Budget.parse("$5/day per user, session")
    one, other = (budget.key((("user", user), ("session", session))) for user, session in values)
    assert one != other


@given(st.text(alphabet=st.characters(), max_size=64))
def test_a_key_reads_back_unless_it_was_hashed(user: str) -> None:
    budget = Budget.parse("$5/day per user, model")
    scope = (("user", user), ("model", "m"))
    assert budget.read_key(budget.key(scope)) == scope


@given(st.text(alphabet=st.characters(), min_size=65))
def test_a_long_value_is_hashed(user: str) -> None:
    key = Budget.parse("$5/day per user").key((("user", user),))
    assert len(key) < 60
    assert key.isascii()


@given(st.sampled_from(SCOPES))
def test_every_word_of_per_has_a_value(word: str) -> None:
    who = Attribution("u", "t", "s", "e", "f", "p")
    ((name, value),) = Budget(1, per=(word,)).scope(who, "m", "v")
    assert name == word
    assert value
