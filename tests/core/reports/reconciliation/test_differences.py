"""The parts of a difference add up to it exactly, and each is named by what happened."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.reports.reconciliation.bill import CACHE_READ, INPUT, OUTPUT, TOKEN_PARTS, WHOLE, Billed
from costguard_core.reports.reconciliation.differences import (
    CACHE,
    EDGE,
    ESTIMATE,
    FAILED,
    KINDS,
    MISSING,
    OUTSIDE,
    PRICE,
    ROUNDING,
    TIER,
    UNEXPLAINED,
    UNPRICED,
    Neighbour,
    explain,
    explain_tool,
    shift_edges,
)
from costguard_core.reports.reconciliation.recorded import Recorded

LIST = {INPUT: Fraction(2_500), CACHE_READ: Fraction(1_250), OUTPUT: Fraction(10_000)}
SHARE = {None: Fraction(1), "batch": Fraction(1, 2), "flex": Fraction(1, 2), "priority": Fraction(7, 4)}


def listed(cell: tuple[str | None, str]) -> Fraction | None:
    tier, part = cell
    return LIST[part] * SHARE[tier] if part in LIST else None


def charge(tokens: dict[tuple[str | None, str], int]) -> int:
    return round(sum((listed(cell) or 0) * count for cell, count in tokens.items()))


def bill(tokens: dict[tuple[str | None, str], int], requests: int | None, *, factor: Fraction = Fraction(1)) -> Billed:
    money = {cell: round((listed(cell) or 0) * count * factor) for cell, count in tokens.items()}
    return Billed(money, dict(tokens), requests)


CALLS = {(None, INPUT): 40_000, (None, CACHE_READ): 10_000, (None, OUTPUT): 5_000}
LEDGER = Recorded(tokens=CALLS, cost={None: charge(CALLS)}, calls=10)


def test_what_agrees_has_no_parts() -> None:
    assert explain(bill(CALLS, 10), LEDGER, listed) == {}


def test_more_requests_and_tokens_are_calls_outside() -> None:
    more = {cell: 2 * count for cell, count in CALLS.items()}
    assert explain(bill(more, 20), LEDGER, listed) == {OUTSIDE: charge(CALLS)}
    assert explain(bill(more, None), LEDGER, listed) == {OUTSIDE: charge(CALLS)}


def test_a_model_that_the_ledger_does_not_know_is_outside() -> None:
    assert explain(bill(CALLS, 10), Recorded(), listed) == {OUTSIDE: charge(CALLS)}
    assert explain(Billed({(None, WHOLE): 7}), Recorded(), listed) == {OUTSIDE: 7}


def test_a_credit_is_no_call_outside() -> None:
    assert explain(Billed({(None, WHOLE): -5_000_000}), Recorded(), listed) == {UNEXPLAINED: -5_000_000}


def test_the_same_tokens_for_other_money_are_a_price_difference() -> None:
    tenth_off = bill(CALLS, 10, factor=Fraction(9, 10))
    assert explain(tenth_off, LEDGER, listed) == {PRICE: tenth_off.nanos - LEDGER.nanos}


def test_the_same_tokens_in_another_tier_are_that_tier() -> None:
    batch = {("batch", part): count for (_, part), count in CALLS.items()}
    assert explain(bill(batch, 10), LEDGER, listed) == {TIER: charge(batch) - charge(CALLS)}


def test_a_tier_that_was_priced_otherwise_is_that_tier() -> None:
    flex = {("flex", part): count for (_, part), count in CALLS.items()}
    wrong = Recorded(tokens=flex, cost={"flex": charge(CALLS)}, calls=10)
    assert explain(bill(flex, 10), wrong, listed) == {TIER: charge(flex) - charge(CALLS)}


def test_tokens_that_were_cached_are_named() -> None:
    cached = {(None, INPUT): 30_000, (None, CACHE_READ): 20_000, (None, OUTPUT): 5_000}
    assert explain(bill(cached, 10), LEDGER, listed) == {CACHE: 10_000 * (1_250 - 2_500)}


def test_calls_without_a_price_are_named() -> None:
    ledger = Recorded(unpriced_tokens=CALLS, unpriced_calls=10)
    assert explain(bill(CALLS, 10), ledger, listed) == {UNPRICED: charge(CALLS)}


@pytest.mark.parametrize("requests", [12, None])
def test_estimates_that_were_off_are_named(requests: int | None) -> None:
    billed = {**CALLS, (None, OUTPUT): 5_300}
    ledger = Recorded(tokens=CALLS, cost=LEDGER.cost, calls=10, estimated_calls=2, estimated_cost=2_500_000)
    assert explain(bill(billed, requests), ledger, listed) == {ESTIMATE: 300 * 10_000 - 2_500_000}


def test_a_timeout_that_was_charged_here_and_not_billed_is_named() -> None:
    ledger = Recorded(tokens=CALLS, cost=LEDGER.cost, calls=10, failed_calls=1, failed_cost=9_000_000)
    for requests in (10, None):
        assert explain(bill(CALLS, requests), ledger, listed) == {FAILED: -9_000_000}


def test_a_timeout_that_was_billed_more_than_charged_here_is_named() -> None:
    billed = {**CALLS, (None, INPUT): 44_000}
    ledger = Recorded(tokens=CALLS, cost=LEDGER.cost, calls=10, failed_calls=1, failed_cost=1_000_000)
    assert explain(bill(billed, 11), ledger, listed) == {FAILED: 4_000 * 2_500 - 1_000_000}


def test_an_error_that_was_not_charged_and_billed_is_named() -> None:
    billed = {**CALLS, (None, INPUT): 44_000}
    ledger = Recorded(tokens=CALLS, cost=LEDGER.cost, calls=10, uncharged_calls=1)
    assert explain(bill(billed, 11), ledger, listed) == {FAILED: 4_000 * 2_500}
    assert explain(bill(billed, None), ledger, listed) == {FAILED: 4_000 * 2_500}


def test_calls_that_the_bill_lacks_are_no_explanation() -> None:
    half = {cell: count // 2 for cell, count in CALLS.items()}
    assert explain(bill(half, 5), LEDGER, listed) == {MISSING: charge(half) - charge(CALLS)}
    assert explain(Billed(), LEDGER, listed) == {MISSING: -LEDGER.nanos}


def test_other_tokens_for_the_same_number_of_requests_are_unexplained() -> None:
    thought = {**CALLS, (None, OUTPUT): 9_000}
    for requests in (10, None):
        assert explain(bill(thought, requests), LEDGER, listed) == {UNEXPLAINED: 4_000 * 10_000}


def test_cents_lost_to_rounding_are_rounding() -> None:
    ledger = Recorded(tokens=CALLS, cost={None: charge(CALLS) + 17}, calls=10)
    assert explain(bill(CALLS, 10), ledger, listed) == {ROUNDING: -17}


def test_several_reasons_at_once_are_told_apart() -> None:
    tokens = {(None, INPUT): 60_000, (None, CACHE_READ): 12_000, (None, OUTPUT): 6_000}
    ledger = Recorded(tokens=CALLS, cost=LEDGER.cost, calls=10, failed_calls=1, failed_cost=3_000_000, unpriced_calls=0)
    found = explain(bill(tokens, 20, factor=Fraction(11, 10)), ledger, listed)
    assert found[PRICE] == charge(CALLS) // 10
    assert found[OUTSIDE] == round(Fraction(11, 10) * (charge(tokens) - charge(CALLS))) - 3_000_000
    assert FAILED not in found


def test_money_alone_in_the_proportions_of_the_list_is_a_price_difference() -> None:
    money = {cell: round((listed(cell) or 0) * count * Fraction(8, 10)) for cell, count in CALLS.items()}
    assert explain(Billed(money), LEDGER, listed) == {PRICE: sum(money.values()) - LEDGER.nanos}
    money[None, OUTPUT] *= 3
    assert explain(Billed(money), LEDGER, listed) == {UNEXPLAINED: sum(money.values()) - LEDGER.nanos}


def test_a_line_for_several_parts_is_divided_by_list_prices() -> None:
    whole = Billed({(None, WHOLE): charge(CALLS)}, dict(CALLS), 10)
    assert explain(whole, LEDGER, listed) == {}


def test_tools_are_compared_by_the_piece() -> None:
    ledger = Recorded(uses=4, tool_cost=40_000_000)
    assert explain_tool(Billed({(None, WHOLE): 40_000_000}, requests=4), ledger) == {}
    assert explain_tool(Billed({(None, WHOLE): 60_000_000}, requests=6), ledger) == {OUTSIDE: 20_000_000}
    assert explain_tool(Billed({(None, WHOLE): 20_000_000}, requests=2), ledger) == {MISSING: -20_000_000}
    assert explain_tool(Billed({(None, WHOLE): 100_000_000}, requests=4), ledger) == {PRICE: 60_000_000}
    assert explain_tool(Billed({(None, WHOLE): 50_000_000}), ledger) == {UNEXPLAINED: 10_000_000}


def test_calls_near_midnight_that_are_billed_on_the_next_day_are_the_edge() -> None:
    monday, tuesday = {MISSING: -500}, {OUTSIDE: 700}
    shift_edges([Neighbour(monday, 0, 600), Neighbour(tuesday, 0, 0)])
    assert (monday, tuesday) == ({EDGE: -500}, {EDGE: 500, OUTSIDE: 200})


def test_no_more_is_the_edge_than_calls_near_midnight_cost() -> None:
    monday, tuesday = {UNEXPLAINED: -50_000}, {UNEXPLAINED: 50_000}
    shift_edges([Neighbour(monday, 0, 600), Neighbour(tuesday, 0, 0)])
    assert (monday, tuesday) == ({EDGE: -600, UNEXPLAINED: -49_400}, {EDGE: 600, UNEXPLAINED: 49_400})


_cells = st.tuples(st.sampled_from([None, "batch", "priority"]), st.sampled_from([*TOKEN_PARTS]))
_tokens = st.dictionaries(_cells, st.integers(0, 10**9), max_size=6)
_money = st.dictionaries(
    st.tuples(st.sampled_from([None, "batch", "priority"]), st.sampled_from([*TOKEN_PARTS, WHOLE])),
    st.integers(-(10**6), 10**13),
    max_size=6,
)
_count = st.integers(0, 1_000)
_cost = st.integers(0, 10**13)
_bills = st.builds(Billed, _money, _tokens, st.none() | st.integers(0, 10_000))
_ledgers = st.builds(
    Recorded,
    tokens=_tokens,
    cost=st.dictionaries(st.sampled_from([None, "batch", "priority"]), _cost, max_size=3),
    calls=_count,
    unpriced_tokens=_tokens,
    unpriced_calls=_count,
    estimated_cost=_cost,
    estimated_calls=_count,
    failed_cost=_cost,
    failed_calls=_count,
    uncharged_calls=_count,
)


def some_listed(cell: tuple[str | None, str]) -> Fraction | None:
    return LIST[cell[1]] * SHARE[cell[0]] if cell[1] in LIST else None


@given(_bills, _ledgers)
def test_parts_add_up_whatever_is_billed_and_recorded(billed: Billed, recorded: Recorded) -> None:
    parts = explain(billed, recorded, some_listed)
    assert sum(parts.values()) == billed.nanos - recorded.nanos
    assert set(parts) <= set(KINDS)
    assert all(type(nanos) is int and nanos for nanos in parts.values())


@given(_bills, st.integers(0, 500), _cost)
def test_parts_of_a_tool_add_up(billed: Billed, uses: int, cost: int) -> None:
    recorded = Recorded(uses=uses, tool_cost=cost if uses else 0)
    parts = explain_tool(billed, recorded)
    assert sum(parts.values()) == billed.nanos - recorded.nanos


_parts = st.dictionaries(st.sampled_from([*KINDS]), st.integers(-(10**12), 10**12).filter(bool), max_size=5)
_days = st.lists(st.builds(Neighbour, _parts, st.integers(0, 10**12), st.integers(0, 10**12)), max_size=6)


@given(_days)
def test_the_edge_moves_money_and_makes_none(days: list[Neighbour]) -> None:
    before = [sum(day.parts.values()) for day in days]
    rest = sum(abs(nanos) for day in days for kind, nanos in day.parts.items() if kind in (MISSING, UNEXPLAINED))
    edges = sum(day.parts.get(EDGE, 0) for day in days)
    shift_edges(days)
    assert [sum(day.parts.values()) for day in days] == before
    assert sum(day.parts.get(EDGE, 0) for day in days) == edges
    assert all(all(day.parts.values()) for day in days)
    assert rest >= sum(abs(n) for day in days for kind, n in day.parts.items() if kind in (MISSING, UNEXPLAINED))


_call = st.tuples(
    st.sampled_from(["exact", "exact", "outside", "unpriced", "cached"]),
    st.integers(1, 50_000),
    st.integers(1, 5_000),
)


@given(st.lists(_call, min_size=1, max_size=40), st.booleans())
def test_a_made_up_month_is_explained_by_what_was_made_up(
    calls: list[tuple[str, int, int]], counts_requests: bool
) -> None:
    """Money by kind of call is known; everything must be found again, and nothing left."""
    billed: dict[tuple[str | None, str], int] = {}
    recorded, truth = Recorded(), {OUTSIDE: 0, UNPRICED: 0, CACHE: 0}
    for kind, sent, got in calls:
        here = {(None, INPUT): sent, (None, OUTPUT): got}
        known = dict(here)
        if kind == "cached":
            known = {(None, INPUT): 0, (None, CACHE_READ): sent, (None, OUTPUT): got}
            truth[CACHE] += charge(here) - charge(known)
        for cell, count in here.items():
            billed[cell] = billed.get(cell, 0) + count
        if kind == "outside":
            truth[OUTSIDE] += charge(here)
            continue
        into = recorded.unpriced_tokens if kind == "unpriced" else recorded.tokens
        for cell, count in known.items():
            into[cell] = into.get(cell, 0) + count
        if kind == "unpriced":
            recorded.unpriced_calls += 1
            truth[UNPRICED] += charge(here)
        else:
            recorded.calls += 1
            recorded.cost[None] = recorded.cost.get(None, 0) + charge(known)
    found = explain(bill(billed, len(calls) if counts_requests else None), recorded, listed)
    assert found == {name: nanos for name, nanos in truth.items() if nanos}
