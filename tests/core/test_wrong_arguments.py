"""A wrong argument is an error of one line that names it and what to write instead; none passes silently."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from costguard_core import Breaker, Budget, ConfigurationError, CostGuard, Outcome, Usage, attribute
from costguard_core import attribution as attribution_module
from costguard_core.attribution import current_attribution
from costguard_core.cache.policy import CachePolicy
from costguard_core.types import Call

wrong: Any = object()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: CostGuard(budgets=[5]), "budgets= is a list of texts such as"),  # type: ignore[list-item]
        (lambda: CostGuard(budgets=5), "budgets= is a list such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(budgets={"$5/day": 1}), "budgets= is a list such as"),
        (lambda: CostGuard(discount={"opnai": "0.1"}), "did you mean 'openai'?"),
        (lambda: CostGuard(discount={"antropic": "0.1"}), "did you mean 'anthropic'?"),
        (lambda: CostGuard(discount=0.1), "discount= is a mapping such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(store=5), "store= is a URL such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(ledger=None), "ledger= is a URL such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(breaker=5), 'breaker= is a rate such as "$2/minute"'),  # type: ignore[arg-type]
        (lambda: CostGuard(assume=100), "assume= is Assumptions"),  # type: ignore[arg-type]
        (lambda: Budget.parse("$5/day", alerts=(80,)), "above 0 and up to 1"),
        (lambda: CachePolicy(scope=("usr",)), 'Did you mean "user"?'),
        (lambda: CachePolicy(ttl_by={"endpont=/news": 60}), 'Did you mean "endpoint"?'),
        (lambda: CachePolicy(ttl_by={"/news": 60}), "by tag and value"),
        (lambda: CachePolicy(never_cache=(5,)), "functions of a Request"),  # type: ignore[arg-type]
        (lambda: CachePolicy(by_endpoint={"/news": wrong}), "by_endpoint= is by endpoint, such as"),
        (lambda: CachePolicy.of(wrong, None), "policy= is a CachePolicy"),
        (lambda: attribute(user=["u1"]).__enter__(), "user= is one text or number, not a list"),  # type: ignore[arg-type]
    ],
)
def test_it_says_what_to_write(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        made()
    assert said in str(raised.value)


def test_one_is_as_good_as_a_list_of_one() -> None:
    told: list[object] = []
    guard = CostGuard("$5/day", breaker=Breaker("$2/minute"), hooks=told.append)  # type: ignore[arg-type]
    guard.after(guard.before(Call("c1", "gpt-4o-mini", guard.clock(), "openai")), Usage(1, 1))
    assert [getattr(item, "outcome", None) for item in told] == [Outcome.MISS]
    assert CachePolicy(scope="user").scope == ("user",)  # type: ignore[arg-type]
    assert len(CachePolicy(never_cache=callable).never_cache) == 1  # type: ignore[arg-type]


@pytest.fixture
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(attribution_module, "_seen_names", set())
    yield


@pytest.mark.usefixtures("nothing_seen")
def test_a_misspelt_name_in_metadata_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            current_attribution({"userid": "u1", "ls_provider": "openai", "langgraph_step": 3, "team": "search"})
        current_attribution({"tenantId": "t1"}, tags={"tenantId"})  # somebody's own tag
    assert [record.getMessage() for record in caplog.records] == [
        "metadata 'userid' is not read: did you mean 'user_id'? tags=(…) of CostGuard declares tags"
    ]


@pytest.mark.usefixtures("nothing_seen")
@pytest.mark.parametrize("name", [1, None, ("user", "id"), "userid" * 10_000, "\ud800", ""])
def test_no_name_in_metadata_costs_anybody_the_call(name: Any) -> None:
    assert current_attribution({name: "x", "user_id": "u1"}).user == "u1"


@pytest.mark.usefixtures("nothing_seen")
def test_names_that_are_made_up_at_run_time_are_not_remembered_for_ever() -> None:
    for number in range(3_000):
        current_attribution({f"field-{number}": "x"})
    assert len(attribution_module._seen_names) <= 1_001
