from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.budgets.budget import Budget
from costguard_core.budgets.grammar import SCOPES, UNITS, WINDOWS
from costguard_core.errors import ConfigurationError
from costguard_core.util.text import escaped

VALUES = st.text(min_size=1, max_size=200).filter(lambda text: not ('"' in text and "'" in text) and "\n" not in text)


@pytest.mark.parametrize(
    ("text", "amount", "unit", "window", "per"),
    [
        ("$25/day per user", 25_000_000_000, "usd", "day", ("user",)),
        ("$2/minute", 2_000_000_000, "usd", "minute", ()),
        ("$500/month per tenant, model", 500_000_000_000, "usd", "month", ("tenant", "model")),
        ("$0.05/call", 50_000_000, "usd", "call", ()),
        ("60 requests/minute per user", 60, "requests", "minute", ("user",)),
        ("200000 tokens/hour", 200_000, "tokens", "hour", ()),
        ("8000 input tokens/call", 8000, "input tokens", "call", ()),
        ("$1,500.50/month", 1_500_500_000_000, "usd", "month", ()),
        ("10_000 tokens/day", 10_000, "tokens", "day", ()),
        ("  $ 25 / DAY   Per User and Model ", 25_000_000_000, "usd", "day", ("user", "model")),
        ("$25/day per user, and model", 25_000_000_000, "usd", "day", ("user", "model")),
        ("$25 per day per user per model", 25_000_000_000, "usd", "day", ("user", "model")),
        ("$5 a week", 5_000_000_000, "usd", "week", ()),
        ("25 dollars/day", 25_000_000_000, "usd", "day", ()),
        ("1 request/minutes per users", 1, "requests", "minute", ("user",)),
        ("1 input token/call", 1, "input tokens", "call", ()),
        ("$100 in total per user", 100_000_000_000, "usd", "total", ("user",)),
        ("$100/total", 100_000_000_000, "usd", "total", ()),
        ("$100 total", 100_000_000_000, "usd", "total", ()),
        ("$.000000001/call", 1, "usd", "call", ()),
        ("$5/day/user", 5_000_000_000, "usd", "day", ("user",)),
        ("$5/user/day", 5_000_000_000, "usd", "day", ("user",)),
        ("$5 per user per day", 5_000_000_000, "usd", "day", ("user",)),
        ("$5/day/user/model", 5_000_000_000, "usd", "day", ("user", "model")),
        ("$5 daily per user", 5_000_000_000, "usd", "day", ("user",)),
        ("$20 monthly", 20_000_000_000, "usd", "month", ()),
        ("10k tokens/hour", 10_000, "tokens", "hour", ()),
        ("1.5M tokens/day", 1_500_000, "tokens", "day", ()),
        ("$2k/month", 2_000_000_000_000, "usd", "month", ()),
        ("5 req/min", 5, "requests", "minute", ()),
        ("5 reqs/min per user_id", 5, "requests", "minute", ("user",)),
        ("100 calls/day", 100, "requests", "day", ()),
        ("5000 tokens/hr", 5_000, "tokens", "hour", ()),
        ("$5/day per team", 5_000_000_000, "usd", "day", ("team",)),
        ("$5/day/user/cost_center", 5_000_000_000, "usd", "day", ("user", "cost_center")),
        ("$5/day per planet and user", 5_000_000_000, "usd", "day", ("planet", "user")),
    ],
)
def test_reading(text: str, amount: int, unit: str, window: str, per: tuple[str, ...]) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit, budget.window, budget.per) == (amount, unit, window, per)


@pytest.mark.parametrize(
    ("text", "pointed", "said"),
    [
        ("$25/dya per user", "dya", 'Did you mean "day"?'),
        ("$25/day per usr", "usr", 'Did you mean "user"?'),
        ("60 reqests/minute", "reqests", 'Did you mean "requests"?'),
        ("8000 input tokns/call", "tokns", 'Did you mean "input tokens"?'),
        ("$25/fortnight", "fortnight", "call, minute, hour, day, week, month, total"),
        ("$25/day per sesion", "sesion", "user, tenant, session, endpoint, feature, template, model, provider"),
        ("$25/day per team/5", "5", "is not a scope"),
        ("$25/day per week", "week", "is not a scope"),
        ("$25/user", "", "expected a window"),
        ("$25/day where", "", "expected a condition"),
        ("$25/day where plan", "plan", "expected a condition"),
        ("$25/day where plan=", "plan", "expected a condition"),
        ("$25/day where usr=u1", "usr", 'Did you mean "user"?'),
        ("$25/day where plan=free per user", "per", "left over"),
        ("10 k tokens/hour", "k", "is not a unit"),
        ("$25/day for everybody", "for", "left over"),
        ("25/day", "/", "is not a unit"),
        ("$lots/day", "lots", "expected an amount"),
        ("€25/day", "€", "expected an amount"),
        ("$-5/day", "-", "expected an amount"),
    ],
)
def test_mistakes_are_quoted_and_pointed_at(text: str, pointed: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Budget.parse(text)
    message, quoted, pointer = str(caught.value).rsplit("\n", 2)
    assert text in message
    assert said in message
    assert "$25/day per user" in message  # an example to copy
    start = pointer.index("^")
    assert quoted[start : start + pointer.count("^")] == pointed  # nothing at the end of the text


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("$5/day per user where plan=free", {"plan": "free"}),
        ("$0.02/call where endpoint=/search", {"endpoint": "/search"}),
        ("$5/day WHERE plan = free and team = search", {"plan": "free", "team": "search"}),
        ("$5/day where plan=free, model=gpt-4o-2024-08-06", {"plan": "free", "model": "gpt-4o-2024-08-06"}),
        ("$5/day where team=\"search and ads\", region='eu, us'", {"team": "search and ads", "region": "eu, us"}),
        ("$5/day where team='a \"b\"'", {"team": 'a "b"'}),
        ("$5/day where endpoint=/a?b=c", {"endpoint": "/a?b=c"}),
        ("$5/day where user_id=u1", {"user": "u1"}),
    ],
)
def test_conditions(text: str, where: dict[str, str]) -> None:
    budget = Budget.parse(text)
    assert dict(budget.conditions) == where
    assert Budget.parse(str(budget)) == budget
    assert Budget(budget.limit, window=budget.window, per=budget.per, where=where) == budget


@pytest.mark.parametrize("text", ["", "   ", "$25", "$", "per user", "$25/", "$25/day per", "$25/day per user,"])
def test_unfinished_lines_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="the end|expected an amount"):
        Budget.parse(text)


def test_only_text_is_parsed() -> None:
    with pytest.raises(ConfigurationError, match="line of text"):
        Budget.parse(25)  # type: ignore[arg-type]


@given(
    amount=st.integers(1, 10**15),
    unit=st.sampled_from(UNITS),
    window=st.sampled_from(WINDOWS),
    per=st.lists(st.sampled_from([*SCOPES, "team", "cost-center.2"]), unique=True).map(tuple),
    where=st.dictionaries(st.sampled_from(["plan", "team", "endpoint"]), VALUES),
)
def test_a_budget_reads_back_from_its_own_text(
    amount: int, unit: str, window: str, per: tuple[str, ...], where: dict[str, str]
) -> None:
    limit = Decimal(amount).scaleb(-9) if unit == "usd" else amount
    budget = Budget(limit, unit=unit, window=window, per=per, where=where)
    assert Budget.parse(str(budget)) == budget
    assert budget.amount == amount
    assert budget.name == str(budget)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        Budget.parse(text)
    except ConfigurationError as error:
        assert text in error.args[0]
        assert "\n".join(map(escaped, text.split("\n"))) in str(error)
