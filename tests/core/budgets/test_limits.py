"""Limits that are granted at run time: which counter they change, who sees them, and what is recorded of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_redis import BUSY_MACHINE_TIMEOUT
from python_process import run_python

from costguard_core import Alert, Attribution, Budget, Call, CostGuard, SpendLimitExceeded, Usage
from costguard_core.counters.memory import MemoryStore
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import open_ledger
from costguard_core.ledger.audit import Change

NOON = 1_795_348_800.0
PER_USER = "3 requests/day per user"


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Callable[[], float], *budgets: str | Budget, **options: Any) -> CostGuard:
    return CostGuard(budgets, store=MemoryStore(clock=clock), clock=clock, **options)


def call(guard: CostGuard, user: str = "u1", **tags: str) -> Call:
    who = Attribution(user=user, tags=tuple(tags.items()))
    return Call(guard.new_id(), "gpt-5-mini", guard.clock(), "openai", who, input_tokens=10, max_output_tokens=10)


def paid(guard: CostGuard, user: str = "u1", most: int = 20) -> int:
    """How many calls a user gets."""
    for count in range(most):
        try:
            permit = guard.before(call(guard, user), wait=False)
        except SpendLimitExceeded:
            return count
        guard.after(permit, Usage(10, 10))
    return most


def test_one_user_may_do_more_and_nobody_else(clock: Clock) -> None:
    guard = made(clock, PER_USER)
    granted = guard.grant(PER_USER, user="u1", limit=5, until="2026-12-31", reason="launch", by="ops")
    assert (granted.limit, granted.scope, granted.reason, granted.by) == (5, {"user": "u1"}, "launch", "ops")
    assert (paid(guard, "u1"), paid(guard, "u2")) == (5, 3)
    with pytest.raises(SpendLimitExceeded, match="of 5 requests already 5 are spent") as refused:
        guard.before(call(guard))
    assert (refused.value.limit, refused.value.spent) == (5, 5)
    assert guard.revoke(PER_USER, user="u1")
    assert not guard.revoke(PER_USER, user="u1")
    with pytest.raises(SpendLimitExceeded, match="of 3 requests already 5"):
        guard.before(call(guard))


def test_status_shows_the_limit_in_force_and_lists_what_was_granted(clock: Clock) -> None:
    guard = made(clock, PER_USER, "$1/month per team")
    guard.grant(PER_USER, user="u1", limit="1k requests", reason="a \x1b[31mred\n reason")
    guard.grant("$1/month per team", team="search", limit="$2.50", until=timedelta(days=1))
    paid(guard, "u1", most=1)
    paid(guard, "u2", most=1)
    status = guard.status()
    limits = {row.scope["user"]: row.limit for row in status if "user" in row.scope}
    assert limits == {"u1": 1000, "u2": 3}
    assert [(one.scope, one.limit, one.until) for one in status.grants] == [
        ({"user": "u1"}, 1000, None),
        ({"team": "search"}, Decimal("2.5"), NOON + 86_400),
    ]
    shown = str(status)
    assert "granted: 3 requests/day per user, user=u1: 1,000 requests until revoked" in shown
    assert "\x1b" not in shown
    assert [one.scope for one in guard.status(scope={"user": "u1"}).grants] == [{"user": "u1"}]
    assert guard.status(limit=1).truncated


@pytest.mark.parametrize(
    ("until", "end"),
    [
        ("2h", NOON + 7_200),
        ("2026-12-31", datetime(2027, 1, 1, tzinfo=UTC).timestamp()),
        ("2026-12-31T12:00", datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()),
        (datetime(2026, 12, 31, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC).timestamp()),
        (NOON + 1.5, NOON + 1.5),
        (None, None),
    ],
)
def test_until_is_a_moment_ahead(clock: Clock, until: Any, end: float | None) -> None:
    assert made(clock, PER_USER).grant(PER_USER, user="u1", limit=5, until=until).until == end


def test_a_date_lasts_to_its_end_where_the_budget_counts_days(clock: Clock) -> None:
    guard = made(clock, Budget.parse(PER_USER, timezone="America/New_York"))
    until = guard.grant(PER_USER, user="u1", limit=5, until="2026-12-31").until
    assert until == datetime(2027, 1, 1, 5, tzinfo=UTC).timestamp()


def test_it_ends_by_itself(clock: Clock) -> None:
    guard = made(clock, PER_USER)
    guard.grant(PER_USER, user="u1", limit=5, until="1h")
    clock.now += 3_600
    assert paid(guard) == 3
    assert guard.status().grants == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": "$5/day per user", "user": "u1", "limit": 5}, "none of the budgets. Did you mean"),
        ({"budget": "$5/dya"}, "is not a window"),
        ({"budget": PER_USER}, "needs user=…; given: none"),
        ({"budget": PER_USER, "user": "u1", "team": "t"}, "needs user=…; given: user, team"),
        ({"budget": PER_USER, "user": "u1", "limit": "$5"}, "is in usd, and"),
        ({"budget": PER_USER, "user": "u1", "limit": "5/day"}, "is no amount"),
        ({"budget": PER_USER, "user": "u1", "limit": True}, "not True"),
        ({"budget": PER_USER, "user": "u1", "limit": float("nan")}, "more than zero, not nan"),
        ({"budget": PER_USER, "user": "u1", "limit": 0}, "more than zero"),
        ({"budget": PER_USER, "user": "u1", "until": "2020-01-01"}, "has passed"),
        ({"budget": PER_USER, "user": "u1", "until": "soon"}, "is not a time"),
        ({"budget": PER_USER, "user": "u1", "until": "9" * 400 + "d"}, "too far away"),
        ({"budget": PER_USER, "user": "u1", "until": "9999-12-31"}, "the last date that there is"),
        ({"budget": PER_USER, "user": "u1", "until": True}, "is not a number"),
        ({"budget": PER_USER, "user": "u1", "reason": "x" * 501}, "at most 500 characters"),
        ({"budget": "$1/call"}, "limits single calls"),
    ],
)
def test_what_cannot_be_meant_is_said_and_changes_nothing(clock: Clock, wrong: dict[str, Any], said: str) -> None:
    guard = made(clock, PER_USER, "$1/call")
    with pytest.raises(ConfigurationError, match=said):
        guard.grant(**{"limit": 5, **wrong})
    assert guard.status().grants == ()
    assert list(guard.ledger.changes()) == []


def test_budgets_are_found_by_name_and_by_how_they_count(clock: Clock) -> None:
    guard = made(clock, Budget.parse("$1/day per user", name="free plan"), "$10/day per model, user")
    guard.grant("free plan", user="u1", limit=2)
    guard.grant("$5/day per user, model", scope={"user": "u1", "model": "m"}, limit=3)
    guard.grant(Budget.parse("$10/day per model, user"), user="u2", model="m", limit=4)
    assert {one.limit for one in guard.status().grants} == {2, 3, 4}
    twice = made(clock, Budget.parse("$1/day", name="a"), Budget.parse("$1/day", name="b"))
    with pytest.raises(ConfigurationError, match="may be any of 'a', 'b'"):
        twice.grant("$1/day", limit=2)


def test_alerts_go_by_the_limit_in_force(clock: Clock) -> None:
    told: list[Any] = []
    guard = made(clock, Budget.parse("4 requests/day per user", alerts=(1.0,)), hooks=[told.append])
    guard.grant("4 requests/day per user", user="u1", limit=6)
    paid(guard, most=5)
    assert not [item for item in told if isinstance(item, Alert)]
    paid(guard, most=1)
    assert [(item.limit, item.settled) for item in told if isinstance(item, Alert)] == [(6, 6)]


def test_an_answer_is_cut_to_what_the_granted_limit_has_left(clock: Clock) -> None:
    guard = made(clock, "1000 tokens/day")
    asked = Call("c", "gpt-5-mini", NOON, "openai", input_tokens=10, max_output_tokens=1_500, cappable=True)
    first = guard.before(asked)
    guard.release(first)
    assert first.max_output_tokens == 990
    guard.grant("1000 tokens/day", limit="1200 tokens")
    assert guard.before(asked).max_output_tokens == 1_190


def test_a_call_that_waits_gets_through_when_its_limit_is_raised() -> None:
    waiting = Budget.parse(PER_USER, on_exceed="wait", wait_timeout=60)
    guard = CostGuard([waiting])
    assert paid(guard) == 3

    async def main() -> None:
        task = asyncio.create_task(guard.abefore(call(guard)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        guard.grant(PER_USER, user="u1", limit=4)
        assert (await task).grant is not None

    asyncio.run(main())


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/costguard.db"
    else:
        yield f"{request.getfixturevalue('redis_url')}?timeout={BUSY_MACHINE_TIMEOUT}"


def test_another_process_counts_to_it_from_its_next_call_on(shared: str) -> None:
    with closing(CostGuard([PER_USER], store=shared)) as guard:
        assert paid(guard) == 3
        code = (
            "from costguard_core import CostGuard\n"
            f"with CostGuard([{PER_USER!r}], store={shared!r}) as guard:\n"
            f"    guard.grant({PER_USER!r}, user='u1', limit=5)\n"
        )
        run_python(code)
        assert paid(guard) == 2
        assert [one.limit for one in guard.status().grants] == [5]


def test_every_change_is_in_the_ledger(clock: Clock) -> None:
    guard = made(clock, PER_USER)
    guard.grant(PER_USER, user="u\ud800", limit=5, reason="\x00why", by="me")
    guard.grant(PER_USER, user="u\ud800", limit=6, until="1h")
    guard.revoke(PER_USER, user="u\ud800", reason="enough")
    guard.trip("runaway")
    guard.reset()
    changes = list(guard.ledger.changes())
    assert [(one.action, one.before, one.after, one.reason) for one in changes] == [
        ("grant", None, 5, "\x00why"),
        ("grant", 5, 6, ""),
        ("revoke", 6, None, "enough"),
        ("trip", None, None, "runaway"),
        ("reset", None, None, ""),
    ]
    assert (changes[0].budget, changes[0].scope, changes[0].by) == (PER_USER, (("user", "u\ud800"),), "me")
    assert changes[1].until == NOON + 3_600
    assert guard.report().total.calls == 0


def test_a_ledger_that_is_away_keeps_nobody_from_granting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    guard = CostGuard([PER_USER], ledger=ledger)
    path.unlink()
    path.mkdir()
    guard.grant(PER_USER, user="u1", limit=5)
    assert paid(guard) == 5
    assert "a grant was made and could not be recorded" in caplog.text
    assert ledger.errors == 1
    path.rmdir()
    guard.close()  # else its writer goes on trying, and warns in the middle of other tests


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_changes_survive_in_every_ledger_and_are_bounded(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}
    url = places.get(kind) or str(request.getfixturevalue("postgres_db"))
    monkeypatch.setattr("costguard_core.ledger.audit.MOST_KEPT", 3)
    change = Change("0", 0.0, "grant", "b\ud800", (("user", "\x00"),), "usd", 2**60, None, 1.5, "why", "me")
    with open_ledger(url) as ledger:
        for number in range(5):
            assert ledger.record_change(Change(f"{number}", float(number), *_rest(change)))
        assert [one.id for one in ledger.changes()] == ["2", "3", "4"]
        assert next(ledger.changes()) == Change("2", 2.0, *_rest(change))
        assert [one.id for one in ledger.changes(since=3.0, until=4.0)] == ["3"]


def _rest(change: Change) -> tuple[Any, ...]:
    values = (change.action, change.budget, change.scope, change.unit, change.before, change.after)
    return (*values, change.until, change.reason, change.by)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["u1", "u2"]), st.integers(-3, 8)), max_size=30),
)
def test_spend_never_passes_the_limit_in_force_when_it_is_taken(steps: list[tuple[str, int]]) -> None:
    """Positive numbers grant, negative ones revoke, and zero is a call."""
    guard = made(Clock(), PER_USER)
    limits, spent = {"u1": 3, "u2": 3}, {"u1": 0, "u2": 0}
    for user, step in steps:
        if step > 0:
            guard.grant(PER_USER, user=user, limit=step)
            limits[user] = step
        elif step < 0:
            guard.revoke(PER_USER, user=user)
            limits[user] = 3
        admitted = paid(guard, user, most=1)
        assert admitted == (spent[user] < limits[user])
        spent[user] += admitted
