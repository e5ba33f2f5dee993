"""Two lists of prices, and what follows where they agree, where they differ and where only one has a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.pricing import PriceBook
from costguard_core.pricing.listing import Listing, completed, dearest, differences
from costguard_core.pricing.names import table_sellers
from costguard_core.pricing.price_book import priced
from costguard_core.pricing.price_table import PriceTable, bundled_table
from costguard_core.pricing.providers import DISPUTED
from costguard_core.types import Call, Usage

NOON = datetime(2026, 12, 2, 12, tzinfo=UTC).timestamp()  # a Wednesday after the table was taken
TEXT = Usage(1000, 100)


def table(models: Mapping[str, Mapping[str, Any]], off_peak: Mapping[str, Any] | None = None) -> PriceTable:
    """A table of one seller or several: ``{"openai/gpt-4o": {"input": "1"}}``."""
    cards, sellers = [], {}
    for key, prices in models.items():
        seller, _, name = key.partition("/")
        sellers.setdefault(seller, {})[name] = len(cards)
        cards.append([prices, off_peak] if off_peak else [prices])
    return PriceTable(
        {"source": "table", "version": "1", "taken": "2026-11-29", "cards": cards, "models": sellers, "bare": {}}
    )


def book(models: Mapping[str, Mapping[str, Any]], **more: Any) -> PriceBook:
    return PriceBook(clock=lambda: NOON, table=lambda: table(models, **more))


class TestPrecedence:
    def test_a_model_that_only_the_table_has_is_priced_by_it(self) -> None:
        found = book({"sambanova/new": {"input": "2", "output": "4"}}).find("new", "sambanova")
        assert (found.priced_by, found.source) == ("list", "table 1")
        assert found.card is not None
        assert found.card.price(TEXT).cost == 2_400_000

    def test_where_both_agree_the_one_that_knows_the_past_is_used(self) -> None:
        prices = book({"openai/gpt-4o": {"input": "2.501", "output": "10"}})
        found = prices.find("gpt-4o", "openai")
        assert (found.priced_by, found.source) == ("list", prices.opinion("gpt-4o", "openai").sources[0].source)  # type: ignore[union-attr]
        assert prices.cost(TEXT, model="gpt-4o", provider="openai") == 3_500_000

    def test_where_they_differ_on_exactly_this_name_the_dearer_is_an_estimate(self) -> None:
        prices = book({"openai/gpt-4o": {"input": "2", "output": "12"}})
        cost = priced(prices, Call("id", "gpt-4o", NOON, "openai"), TEXT)
        assert (cost.nanos, cost.priced_by) == (1000 * 2500 + 100 * 12_000, "estimate")
        opinion = prices.opinion("gpt-4o", "openai")
        assert opinion is not None
        assert opinion.differing == ("input", "output")
        assert "differ by more than 1 %" in str(opinion.guess)

    def test_an_entry_of_the_very_name_beats_one_of_a_similar_name(self) -> None:
        name = "claude-sonnet-4-5-internal"
        assert PriceBook(table=None).find(name, "anthropic").priced_by == "estimate"
        found = book({f"anthropic/{name}": {"input": "7", "output": "9"}}).find(name, "anthropic")
        assert (found.priced_by, found.source) == ("list", "table 1")

    def test_a_list_that_was_updated_after_the_table_is_followed(self) -> None:
        prices = book({"openai/gpt-4o": {"input": "2", "output": "12"}})
        bundled = data_snapshot.get_snapshot()
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(bundled.providers, from_auto_update=True))
        try:
            found = prices.find("gpt-4o", "openai")
        finally:
            data_snapshot.set_custom_snapshot(None)
        assert found.priced_by == "list"
        assert str(found.source).startswith("genai-prices of ")
        assert prices.find("gpt-4o", "openai").priced_by == "estimate"

    def test_lines_that_one_of_them_lacks_come_from_the_other(self) -> None:
        prices = book({"openai/gpt-4o": {"input": "2.5", "output": "10", "image_input": "4", "flex": {"input": "1", "output": "5"}}})  # fmt: skip # noqa: E501
        pictured = Usage(1000, 0, image_input_tokens=1000)
        assert prices.cost(pictured, model="gpt-4o", provider="openai") == 4_000_000
        assert priced(prices, Call("id", "gpt-4o", NOON, "openai"), Usage(1000, 0, tier="flex")).nanos == 1_000_000

    def test_a_call_of_the_past_keeps_the_price_of_its_day(self) -> None:
        prices, then = book({"openai/o3": {"input": "2", "output": "8"}}), datetime(2025, 5, 1, tzinfo=UTC).timestamp()
        assert prices.cost(TEXT, model="o3", provider="openai", at=then) == 1000 * 10_000 + 100 * 40_000
        assert prices.find("o3", "openai", None, then).priced_by == "list"
        assert prices.cost(TEXT, model="o3", provider="openai") == 1000 * 2000 + 100 * 8000

    def test_a_discount_is_taken_off_either_list(self) -> None:
        models = {"sambanova/new": {"input": "2", "output": "4"}}
        prices = PriceBook(discounts={"sambanova": "0.5"}, table=lambda: table(models), clock=lambda: NOON)
        assert prices.cost(TEXT, model="new", provider="sambanova") == 1_200_000

    def test_a_model_of_its_maker_alone_is_a_guess_at_a_seller_that_nobody_knows(self) -> None:
        data = {"source": "table", "version": "1", "taken": "2026-11-29", "cards": [[{"input": "2", "output": "4"}]]}
        models = {"openai": {"gpt-new": 0, "gpt-oss-new": 0}, "groq": {"llama-new": 0}}
        bare = {name: seller for seller, names in models.items() for name in names}
        prices = PriceBook(clock=lambda: NOON, table=lambda: PriceTable({**data, "models": models, "bare": bare}))
        found = prices.find("gpt-new", "somebody new")
        assert (found.has_price, found.priced_by) == (True, "estimate")
        assert "its maker, openai" in str(prices.opinion("gpt-new", "somebody new").guess)  # type: ignore[union-attr]
        assert not prices.is_priced("gpt-oss-new", "somebody new")
        assert not prices.is_priced("llama-new", "somebody new")
        assert prices.find("gpt-new").priced_by == "list"


class TestHours:
    WINDOWS = {"windows": [[[1, 2, 3, 4, 5], 600, 1440], [[6, 7], 0, 1440]], "prices": {"input": "1", "output": "2"}}

    @pytest.mark.parametrize(
        ("day", "hour", "nanos", "source"),
        [(2, 9, 2_400_000, "list"), (2, 10, 1_200_000, "estimate"), (5, 9, 1_200_000, "estimate")],
    )
    def test_a_cheaper_hour_is_a_list_price_only_at_the_full_price(
        self, day: int, hour: int, nanos: int, source: str
    ) -> None:
        prices = book({"sambanova/new": {"input": "2", "output": "4"}}, off_peak=self.WINDOWS)
        at = datetime(2026, 12, day, hour, tzinfo=UTC).timestamp()
        found = prices.find("new", "sambanova", None, at)
        assert found.card is not None
        assert (found.card.price(TEXT).cost, found.priced_by) == (nanos, source)
        assert found.since <= at < found.until

    @given(st.integers(0, 14 * 86_400))
    def test_the_price_holds_in_all_of_the_period_that_is_given_with_it(self, second: int) -> None:
        model, _ = table({"x/m": {"input": "2"}}, self.WINDOWS).find(["x"], "m"), 0
        assert model is not None
        at = NOON + second
        prices, since, until = model.at(at)
        assert since <= at < until
        assert model.at(since)[0] == model.at((since + until) / 2)[0] == prices


class TestBundledTable:
    @pytest.mark.parametrize(
        ("provider", "model", "input", "output"),
        [
            # Where each price is written: platform.openai.com/docs/pricing, claude.com/pricing,
            # azure.microsoft.com/pricing (a data zone costs a tenth more), aws.amazon.com/bedrock/pricing,
            # console.groq.com/docs/models, cloud.google.com/vertex-ai/generative-ai/pricing, docs.x.ai/docs/models
            ("openai", "openai/gpt-4o", "2.5", "10"),
            ("openai", "ft:gpt-4o-2024-08-06:acme::abc", "3.75", "15"),
            (None, "claude-sonnet-4-5-20250929", "3", "15"),
            ("azure", "eu/gpt-4o-2024-08-06", "2.75", "11"),
            ("azure", "global-standard/gpt-4o-2024-08-06", "2.5", "10"),
            ("amazon_bedrock", "us-gov-west-1/anthropic.claude-3-haiku-20240307-v1:0", "0.3", "1.5"),
            (None, "bedrock/us-gov-west-1/anthropic.claude-3-haiku-20240307-v1:0", "0.3", "1.5"),
            ("amazon_bedrock", "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "0.3", "1.5"),  # noqa: E501
            ("groq", "openai/gpt-oss-120b", "0.15", "0.6"),
            ("google_vertexai", "claude-sonnet-4@20250514", "3", "15"),
            ("google_genai", "models/gemini-2.5-pro", "1.25", "10"),
            ("fireworks", "accounts/fireworks/models/deepseek-v3p1", "0.56", "1.68"),
            ("xai", "grok-4", "3", "15"),
        ],
    )  # fmt: skip
    def test_names_as_people_write_them(self, provider: str | None, model: str, input: str, output: str) -> None:
        found = PriceBook(clock=lambda: NOON).find(model, provider)
        assert found.card is not None
        nanos = 1000 * Fraction(input) * 1000 + 100 * Fraction(output) * 1000
        assert (found.card.price(TEXT).cost, found.priced_by) == (nanos, "list")

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("amazon_bedrock", "ap-south-2/anthropic.claude-3-haiku-20240307-v1:0"),  # a region that no list has
            ("amazon_bedrock", "me.anthropic.claude-3-haiku-20240307-v1:0"),
            ("azure", "us-gov/gpt-4.1-2025-04-14"),
            ("anthropic", "claude-sonnet-4-5-internal"),
        ],
    )
    def test_a_name_with_a_part_that_no_list_knows_is_an_estimate(self, provider: str, model: str) -> None:
        prices = PriceBook(clock=lambda: NOON)
        assert prices.find(model, provider).priced_by == "estimate"
        assert prices.opinion(model, provider).guess  # type: ignore[union-attr]

    def test_what_is_sold_by_the_piece_has_no_price_for_tokens(self) -> None:
        book, second = PriceBook(), Usage(units=(("audio_second", 1),))
        for prices in (book, PriceBook({"whisper-1": {"audio_second": "0.0001"}})):
            assert prices.cost(second, model="whisper-1", provider="openai") == 100_000
            assert prices.cost(Usage(10, 0), model="whisper-1", provider="openai") is None
            assert prices.worst_case(model="whisper-1", provider="openai", input_tokens=10, output_tokens=0) is None

    def test_throughput_that_is_bought_by_the_hour_has_no_price_per_token(self) -> None:
        name = "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1"
        assert not PriceBook().is_priced(name)

    def test_every_price_list_in_it_can_be_read(self) -> None:
        prices, bundled = PriceBook(clock=lambda: NOON), bundled_table()
        for seller, name in bundled.names():
            model = bundled.find([seller], name)
            assert model is not None
            assert prices.find(name, seller).card is not None, (seller, name)


RATES = st.dictionaries(
    st.sampled_from(["input", "output", "cache_read", "request", "audio_input"]),
    st.fractions(0, 10, max_denominator=1000),
    min_size=1,
)
LISTINGS = st.builds(
    lambda base, above: Listing("list", base, {start: {**base, **rates} for start, rates in above.items()}),
    RATES,
    st.dictionaries(st.sampled_from([128_000, 200_000]), RATES, max_size=2),
)


class TestListings:
    @given(LISTINGS, LISTINGS, st.integers(0, 400_000))
    def test_the_dearest_is_below_neither(self, one: Listing, other: Listing, tokens: int) -> None:
        both = dearest(one, other).at(tokens)
        for listing in (one, other):
            assert all(both[rate] >= price for rate, price in listing.at(tokens).items())

    @given(LISTINGS, LISTINGS, st.integers(0, 400_000))
    def test_a_completed_list_keeps_its_own_prices(self, one: Listing, other: Listing, tokens: int) -> None:
        made = completed(one, other)
        assert set(made.base) == {*one.base, *other.base}
        if one.above or not other.above:
            assert all(made.at(tokens)[rate] == price for rate, price in one.at(tokens).items())

    @given(LISTINGS, LISTINGS)
    def test_differences_do_not_depend_on_the_order(self, one: Listing, other: Listing) -> None:
        assert differences(one, other) == differences(other, one)
        assert differences(one, one) == ()


class TestOneListAlone:
    """Names that LiteLLM's table does not have, as those of models that are newer than it."""

    @pytest.mark.parametrize(
        ("provider", "model", "why"),
        [
            ("azure_ai", "claude-opus-4-5", "the price of its maker"),  # genai-prices takes Anthropic's for Azure's
            ("azure", "gpt-4.1-nano", "the price of its maker"),
            (
                "azure",
                "eu/gpt-6-sol",
                "no list has exactly what was asked for",
            ),  # a zone is a tenth dearer, or a fifth
            ("azure", "us/gpt-4o", "no list has exactly what was asked for"),
            ("amazon_bedrock", "anthropic.claude-opus-5", "regional endpoint"),  # the global price is a tenth lower
            ("amazon_bedrock", "us-gov.anthropic.claude-sonnet-5", "regional endpoint"),
            ("google_vertexai", "gemini-2.0-flash", "one price for Vertex AI and the Gemini API"),
            ("deepseek", "deepseek-chat", "differs from the other list"),
            ("mistral", "mistral-large-latest", "differs from the other list"),
            ("together", "mistralai/Mixtral-8x7B-Instruct-v0.1", "differs from the other list"),
            ("perplexity", "sonar-pro", "differs from the other list"),
        ],
    )
    def test_a_price_that_may_be_another_sellers_or_places_is_an_estimate(
        self, provider: str, model: str, why: str
    ) -> None:
        prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without(model, model.rpartition("/")[2]))
        if "/" in model and provider == "azure":  # only the zone's own entry is missing
            prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without(model))
        found = prices.opinion(model, provider)
        assert found is not None
        assert why in str(found.guess)
        assert prices.find(model, provider).priced_by == "estimate"
        cost = priced(prices, Call("id", model, NOON, provider), TEXT)
        assert (cost.nanos is None, cost.priced_by) == (False, "estimate")

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-4o"),
            ("anthropic", "claude-opus-4-5"),
            ("google_genai", "gemini-2.0-flash"),
            ("google_vertexai", "claude-sonnet-4@20250514"),
            ("amazon_bedrock", "us.anthropic.claude-opus-5"),
            ("xai", "grok-4"),
        ],
    )
    def test_a_price_of_the_seller_itself_is_the_list_price(self, provider: str, model: str) -> None:
        prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without(model))
        assert prices.find(model, provider).priced_by == "list"

    def test_another_name_of_the_model_that_costs_something_else_is_told(self) -> None:
        name = "grok-code-fast-1"  # one entry of genai-prices, three names of the table
        prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without(name))
        found = prices.opinion(name, "xai")
        assert found is not None
        assert re.search("^grok-code-fast.* is the same model", str(found.guess))
        same = book({"x-ai/grok-code-fast": {"input": "0.2", "output": "1.5"}})
        assert same.find(name, "xai").priced_by == "list"

    def test_a_list_that_was_updated_is_followed_where_the_price_is_the_sellers_own(self) -> None:
        prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without("deepseek-chat"))
        bundled = data_snapshot.get_snapshot()
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(bundled.providers, from_auto_update=True))
        try:
            assert prices.find("deepseek-chat", "deepseek").priced_by == "list"
            assert prices.find("claude-opus-4-5", "azure_ai").priced_by == "list"  # the table has it
            prices = PriceBook(clock=lambda: NOON, table=lambda: bundled_table().without("claude-opus-4-5"))
            assert prices.find("claude-opus-4-5", "azure_ai").priced_by == "estimate"
        finally:
            data_snapshot.set_custom_snapshot(None)

    @pytest.mark.slow
    def test_the_disputed_sellers_are_those_of_whose_models_the_lists_differ(self) -> None:
        prices, found = PriceBook(clock=lambda: NOON), set()
        for seller in (one.id for one in data_snapshot.get_snapshot().providers):
            differs = []
            for name in bundled_table().names_at(table_sellers(seller, seller)):
                opinion = prices.opinion(name, seller)
                if opinion is not None and len(opinion.sources) == 2 and all(one.exact for one in opinion.sources):
                    differs.append(not {"input", "output", "request"}.isdisjoint(opinion.differing))
            if sum(differs) > 0.05 * len(differs):
                found.add(seller)
        assert found - {"aws", "x-ai"} == DISPUTED


def test_the_search_that_is_in_every_call_is_compared_like_a_price_of_tokens() -> None:
    prices = {"input": "2.5", "output": "10", "web_search": "0.025"}
    found = book({"openai/gpt-4o-search-preview": prices}).find("gpt-4o-search-preview", "openai")
    assert found.card is not None
    cost = found.card.price(Usage(1000, 100, web_searches=1)).cost
    assert (cost, found.priced_by) == (2_500_000 + 1_000_000 + 25_000_000, "list")
    differing = book({"openai/gpt-4o": {**prices, "web_search": "0.03"}}).find("gpt-4o", "openai")
    assert differing.priced_by == "list"  # a tool that is used now and then
