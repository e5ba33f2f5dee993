"""Latency sketches: p50 and p95 within 2 %, whatever is put together, folded or taken out."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from costguard_core.ledger import sketch

LATENCIES = st.lists(st.floats(1e-6, 80_000), min_size=1, max_size=200)


def text(values: list[float]) -> str:
    return "".join(chr(sketch.FIRST_CHARACTER + sketch.bucket(value)) for value in values)


@given(LATENCIES)
def test_percentiles_are_nearest_rank_within_two_percent(values: list[float]) -> None:
    ordered = sorted(values)
    found = sketch.counts(text(values))
    for share, exact in ((0.5, statistics.median_low(ordered)), (0.95, ordered[math.ceil(0.95 * len(ordered)) - 1])):
        answer = sketch.quantile(found, share)
        assert answer is not None
        folded = sketch.counts(sketch.fold(found))
        assert sketch.quantiles_of(text(values), [share]) == [answer] == sketch.quantiles(folded, [share])
        many = values * 701  # counted instead of sorted
        assert sketch.quantiles_of(text(many), [share]) == sketch.quantiles(sketch.counts(text(many)), [share])
        assert abs(answer - exact) <= 0.02 * exact


@given(LATENCIES, LATENCIES, st.integers(1, 20))
def test_folded_or_not_and_in_any_order_the_counts_are_the_same(
    some: list[float], others: list[float], times: int
) -> None:
    first, second = sketch.counts(text(some * times)), sketch.counts(text(others))
    together = first + second
    assert sketch.counts(sketch.fold(first) + text(others)) == together
    assert sketch.counts(sketch.fold(first) + sketch.fold(second)) == together
    assert sketch.counts(text(others) + sketch.fold(first)) == together
    assert sketch.counts(sketch.fold(together)) == together


def test_sketches_of_older_versions_are_read() -> None:
    assert sketch.counts("=\u0105300000002;\u0105") == {5: 3, 6: 3}
    assert sketch.counts(sketch.fold({5: 2, 6: 70_000})) == {5: 2, 6: 70_000}


def test_a_folded_sketch_does_not_grow_with_its_counts() -> None:
    found = sketch.counts(text([0.1, 1.0, 10.0]))
    for number in found:
        found[number] = 4_000_000_000
    folded = sketch.fold(found)
    assert len(folded) < 1_000
    assert sketch.counts(folded) == found


def test_no_latencies_have_no_percentile_and_odd_ones_a_bound() -> None:
    assert sketch.quantile(sketch.counts(""), 0.5) is None
    assert sketch.bucket(0.0) == sketch.bucket(-1.0) == 0
    assert sketch.bucket(1e9) == sketch.LARGEST_BUCKET
