"""The shortcuts for plain text price and hold exactly what the full computation does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
from genai_prices import data_snapshot
from hypothesis import given

from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import _best_of_all, billed_tier, priced
from costguard_core.pricing.providers import seller_of
from costguard_core.pricing.rate_card import Ceiling, Load, RateCard, Rates
from costguard_core.types import TOKEN_COUNTS, Call, ModelUsage, Usage

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()

prices = st.none() | st.fractions(0, Fraction(1, 1000), max_denominator=10**12)
tokens = st.integers(-3, 400_000)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    names = ("input", "output", "cache_read", "cache_write", "audio_input", "audio_output", "reasoning", "web_search")
    dollars = {name: draw(prices) for name in (*names, "request", "image_output")}
    return Rates.of({name: price for name, price in dollars.items() if price is not None})


@st.composite
def cards(draw: st.DrawFn) -> RateCard:
    cliffs = draw(st.dictionaries(st.integers(0, 300_000), rates(), max_size=2))
    return RateCard.of(draw(rates()), cliffs, implicit_writes=draw(st.booleans()))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    usage = Usage(draw(tokens), draw(tokens), draw(st.just(0) | tokens))
    for name in draw(st.sets(st.sampled_from((*TOKEN_COUNTS, "web_searches", "region_surcharge")), max_size=2)):
        usage = replace(usage, **{name: draw(st.integers(-2, 50_000))})
    return replace(usage, units=draw(st.sampled_from(((), (("file_search", 2),)))))


@given(cards(), usages())
def test_a_text_costs_what_its_parts_cost(card: RateCard, usage: Usage) -> None:
    assert card.price(usage) == card.price_parts(usage)


@given(rates(), st.builds(Load, st.integers(0, 400_000)), st.integers(0, 400_000), st.booleans())
def test_a_text_is_held_at_the_sum_of_its_ceilings(rates: Rates, load: Load, output: int, writes: bool) -> None:
    ceiling = rates.ceiling(cache_writes=writes)
    if ceiling is not None:
        assert ceiling.at_most(load, output) == held(ceiling, load, output)


def held(ceiling: Ceiling, load: Load, output: int) -> int | None:
    fixed, rate = ceiling.fixed(load), ceiling.output_rate(load)
    if fixed is None or (output and rate is None):
        return None
    return fixed + -(-output * (rate or 0) // ceiling.scale)


models = st.sampled_from(
    [
        ("openai", "gpt-4o-mini"), ("openai", "gpt-5.6-sol"), ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-pro"), ("deepseek", "deepseek-v4-flash"), ("perplexity", "sonar"), (None, "tiny"),
    ]
)  # fmt: skip
tiers = st.sampled_from([None, "priority", "flex", "batch"])
TINY: Any = {"tiny": {"input": "0.0123", "cached_input": "0.0012", "output": "0.0377", "flex": {"input": "0.01"}}}
warm = PriceBook(TINY)


@given(models, tiers, usages(), st.integers(0, 3 * 86_400), st.integers(1, 3), st.booleans())
def test_a_book_that_knows_a_model_prices_as_one_that_asks_for_the_first_time(
    model: tuple[str | None, str], tier: str | None, usage: Usage, second: int, choices: int, writes: bool
) -> None:
    provider, name = model
    usage, cold = replace(usage, tier=tier), PriceBook(TINY)
    ask: Any = {"model": name, "provider": provider, "at": NOON + second}
    size: Any = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cache_writes": writes}
    hold: Any = {**ask, **size, "tier": tier, "choices": choices}
    assert warm.cost(usage, **ask) == cold.cost(usage, **ask)
    assert warm.worst_case(**hold) == cold.worst_case(**hold)
    exact = warm.worst_case(**hold, exact_tier=True)
    has_tier = cold.find(name, provider, tier, NOON + second).has_tier
    assert exact == (cold.worst_case(**hold) if has_tier else None)


@given(
    models, tiers, tiers, usages(), st.sampled_from([None, "", "gpt-4o-mini", "tiny", "nobody-knows"]), st.booleans()
)
def test_one_name_is_priced_as_the_best_of_all(
    model: tuple[str | None, str],
    asked: str | None,
    billed: str | None,
    usage: Usage,
    answered: str | None,
    others: bool,
) -> None:
    provider, name = model
    usage = replace(usage, tier=billed, others=(ModelUsage("gpt-4o-mini", Usage(10, 5)),) if others else ())
    call = Call("id", name, NOON, provider, tier=asked)
    assert priced(warm, call, usage, answered) == _best_of_all(
        warm, call, billed_tier(call, usage), answered, seller_of(provider, None)
    )


def test_newly_published_prices_count_at_once_for_charges_and_holds() -> None:
    ask: Any = {"model": "gpt-4o-mini", "provider": "openai", "at": NOON}
    size: Any = {"input_tokens": 1000, "output_tokens": 10}
    book, bundled = PriceBook(table=None), data_snapshot.get_snapshot()
    before = book.cost(Usage(1000, 10), **ask), book.worst_case(**ask, **size)
    assert None not in before
    others = [seller for seller in bundled.providers if seller.id != "openai"]
    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(others, from_auto_update=True))
    try:
        assert (book.cost(Usage(1000, 10), **ask), book.worst_case(**ask, **size)) == (None, None)
    finally:
        data_snapshot.set_custom_snapshot(None)
    assert (book.cost(Usage(1000, 10), **ask), book.worst_case(**ask, **size)) == before
