"""The guard when something under it breaks: what the caller sees, what is charged, and that it comes back by itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from local_redis import LocalRedis
from python_process import run_python
from waiting import wait_until

from costguard_core import Budget, Call, CostGuard, Outcome, SpendLimitExceeded, StoreUnavailable, Usage, attribute
from costguard_core.attribution import current_attribution
from costguard_core.counters import open_store

PRICES = {"m": {"input": "1", "output": "10"}}


def call(guard: CostGuard) -> Call:
    return Call(guard.new_id(), "m", guard.clock(), input_tokens=1_000, max_output_tokens=1_000)


@pytest.mark.slow
def test_a_killed_process_is_charged_when_its_lease_ends_and_recorded_by_whoever_comes_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costguard.db'}"
    script = f"""
        import os
        from costguard_core import Call, CostGuard
        guard = CostGuard(["$0.011/day"], store={url!r}, ledger={url!r}, prices={PRICES!r}, lease=2)
        guard.before(Call("killed", "m", guard.clock(), input_tokens=1000, max_output_tokens=1000))
        os.kill(os.getpid(), 9)
    """
    finished = run_python(script, check=False)
    assert finished.returncode == -9, finished.stderr
    with CostGuard(["$0.011/day"], store=url, ledger=url, prices=PRICES, lease=2) as guard:
        with pytest.raises(SpendLimitExceeded):  # held: the process may still be alive
            guard.before(call(guard))

        def charged() -> bool:
            with pytest.raises(SpendLimitExceeded):  # the provider probably billed it
                guard.before(call(guard))
            (row,) = guard.status()
            return (row.spent, row.held) == (Decimal("0.011"), 0)

        wait_until(charged)
        guard.flush()
        recorded = {event.id: event for event in guard.ledger.events()}["killed"]
        assert (recorded.outcome, recorded.cost) == (Outcome.ABANDONED, 11_000_000)


def test_a_hard_budget_refuses_while_its_store_is_away_and_a_soft_one_lets_through(redis_server: LocalRedis) -> None:
    hard = CostGuard(["$1/day"], store=redis_server.url, prices=PRICES)
    soft = CostGuard([Budget.parse("$1/day", on_store_error="open")], store=redis_server.url, prices=PRICES)
    redis_server.stop()
    with pytest.raises(StoreUnavailable, match="on_store_error") as refused:
        hard.before(call(hard))
    assert not isinstance(refused.value, (RuntimeError, ValueError, TypeError))
    permit = soft.before(call(soft))
    assert permit.grant is None
    assert soft.after(permit, Usage(input_tokens=1_000)).usd == Decimal("0.001")
    hard.flush()
    (event,) = hard.ledger.events()
    assert (event.outcome, event.reason) == (Outcome.REFUSED, "StoreUnavailable")


def test_what_could_not_be_settled_is_settled_when_the_store_is_back(redis_server: LocalRedis) -> None:
    guard = CostGuard(["$1/day"], store=f"{redis_server.url}?timeout=0.5", prices=PRICES)
    permit = guard.before(call(guard))
    redis_server.pause()
    charge = guard.after(permit, Usage(input_tokens=1_000, output_tokens=1))
    assert charge.usd == Decimal("0.00101")  # the answer and its price are not lost
    redis_server.resume()

    def counted() -> tuple[Decimal, Decimal] | None:
        with suppress(StoreUnavailable):  # the guard remembers for a moment that Redis was away
            (row,) = guard.status()
            return row.spent, row.held
        return None

    def admitted() -> bool:
        with suppress(StoreUnavailable):
            guard.after(guard.before(call(guard)), Usage(input_tokens=1_000))
            return True
        return False

    wait_until(lambda: counted() == (Decimal("0.00101"), 0))  # without another call
    wait_until(admitted)
    wait_until(lambda: counted() == (Decimal("0.00201"), 0))


def test_a_redis_that_lost_everything_starts_to_count_anew(redis_server: LocalRedis) -> None:
    guard = CostGuard(["$0.011/day"], store=f"{redis_server.url}?timeout=0.5", prices=PRICES)
    permit = guard.before(call(guard))
    redis_server.restart_empty()
    spent = Decimal(0)

    def charged() -> bool:
        nonlocal spent
        guard.after(permit, Usage(input_tokens=1_000))  # charged although nobody remembers the reservation
        with suppress(StoreUnavailable):
            (row,) = guard.status()
            spent = row.spent
        return spent > 0

    wait_until(charged)
    assert spent == Decimal("0.001")


def test_a_damaged_counter_file_is_said_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "costguard.db"
    path.write_bytes(b"this is not a database" * 1_000)
    guard = CostGuard(["$1/day"], store=f"sqlite:///{path}", prices=PRICES)
    with pytest.raises(StoreUnavailable, match=r"costguard\.db"):
        guard.before(call(guard))
    assert path.read_bytes().startswith(b"this is not")


def test_a_broken_ledger_or_hook_costs_nobody_the_answer(tmp_path: Path) -> None:
    def angry(event: object) -> None:
        raise RuntimeError("hook")

    folder = tmp_path / "ledger"
    folder.mkdir()
    guard = CostGuard(["$1/day"], ledger=f"sqlite:///{folder / 'ledger.db'}", prices=PRICES, hooks=[angry])
    for leftover in folder.iterdir():
        leftover.unlink()
    folder.rmdir()
    assert guard.after(guard.before(call(guard)), Usage(input_tokens=1_000)).usd == Decimal("0.001")
    assert guard.status()[0].spent == Decimal("0.001")


def test_where_nothing_is_limited_a_store_that_is_away_costs_nobody_the_answer(redis_server: LocalRedis) -> None:
    guard = CostGuard(store=redis_server.url, prices=PRICES)
    redis_server.stop()
    assert guard.after(guard.before(call(guard)), Usage(input_tokens=1_000)).usd == Decimal("0.001")


def test_a_rate_breaker_is_a_limit_and_stays_closed_without_its_store(redis_server: LocalRedis) -> None:
    guard = CostGuard(breaker="$1/minute", store=redis_server.url, prices=PRICES)
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        guard.before(call(guard))


@pytest.mark.parametrize("user", ["a\x1fb", "half \ud83d", "zoë"])
def test_a_call_that_never_came_back_is_recorded_whatever_its_user_is_called(tmp_path: Path, user: str) -> None:
    now = [1_800_000_000.0]
    store = open_store(f"sqlite:///{tmp_path / 'costguard.db'}", clock=lambda: now[0])
    with CostGuard(["$1/day per user"], store=store, prices=PRICES, lease=10, clock=lambda: now[0]) as guard:
        with attribute(user=user):
            lost = replace(call(guard), attribution=current_attribution())
            guard.before(lost)
            now[0] += 11
            guard.release(guard.before(replace(call(guard), attribution=current_attribution())))
        guard.flush()
        (event,) = guard.ledger.events()
    assert (event.id, event.outcome) == (lost.id, Outcome.ABANDONED)
    assert event.attribution.user in {"a b", "half ?", "zoë"}
