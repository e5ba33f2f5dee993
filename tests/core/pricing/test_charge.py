"""Who prices a finished call: a declaration, the provider, the seller's list price, or a guess that says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from costguard_core import Budget, CostGuard
from costguard_core.errors import UnpricedModelError
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import priced
from costguard_core.pricing.providers import seller_of
from costguard_core.types import Call, ModelUsage, Usage, UsageReport
from costguard_core.usage.token_counter import TokenCounter, complete_usage

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
SMALL = Usage(1000, 100)


def call(model: str, provider: str | None = None, **more: Any) -> Call:
    return Call("id", model, NOON, provider, **more)


@pytest.fixture
def book() -> PriceBook:
    return PriceBook({"mine": {"input": "100", "output": "200"}})


class TestWhosePrice:
    def test_a_declared_price_wins_under_the_name_that_was_asked_for(self, book: PriceBook) -> None:
        cost = priced(book, call("mine", "openai"), SMALL, "gpt-4o")
        assert (cost.nanos, cost.priced_by, cost.model) == (120_000_000, "declared", "mine")

    def test_a_declared_price_wins_over_a_stated_cost(self, book: PriceBook) -> None:
        cost = priced(book, call("mine", "openrouter"), Usage(1000, 100, stated_cost=5))
        assert (cost.nanos, cost.priced_by) == (120_000_000, "declared")

    @pytest.mark.parametrize("answered", [None, "gpt-4-0613"])
    def test_cached_tokens_without_a_listed_price_are_an_estimate(self, book: PriceBook, answered: str | None) -> None:
        fresh = priced(book, call("gpt-4", "openai"), SMALL, answered)
        cached = priced(book, call("gpt-4", "openai"), Usage(1000, 100, cache_read_tokens=400), answered)
        assert (fresh.nanos, fresh.priced_by) == (36_000_000, "list")
        assert (cached.nanos, cached.priced_by) == (36_000_000, "estimate")

    def test_cached_tokens_with_a_price_are_none(self, book: PriceBook) -> None:
        some = Usage(1000, 100, cache_read_tokens=400)
        assert priced(book, call("gpt-4o", "openai"), some).priced_by == "list"
        assert priced(book, call("mine"), some).priced_by == "declared"

    def test_a_stated_cost_wins_over_the_list_also_when_it_is_nothing(self, book: PriceBook) -> None:
        cost = priced(book, call("gpt-4o", "openai"), Usage(1000, 100, stated_cost=0))
        assert (cost.nanos, cost.priced_by) == (0, "provider")

    @pytest.mark.parametrize(
        ("provider", "model"),
        [("watsonx", "gpt-4o"), ("sambanova", "gpt-oss-999b"), ("replicate", "gpt-4o"),
         ("friendliai", "claude-sonnet-4-5"), ("writer", "gpt-4o"), ("acme", "llama-3.3-70b-versatile")],
    )  # fmt: skip
    def test_never_another_seller_s_price(self, book: PriceBook, provider: str, model: str) -> None:
        assert priced(book, call(model, provider), SMALL).nanos is None

    @pytest.mark.parametrize(
        ("provider", "model", "input", "output"),
        [("watsonx", "openai/gpt-oss-120b", 159, 636), ("sambanova", "DeepSeek-R1", 5000, 7000),
         ("replicate", "deepseek-ai/deepseek-r1", 3750, 10_000),
         ("together", "deepseek-ai/DeepSeek-R1-0528", 3000, 7000)],
    )  # fmt: skip
    def test_a_seller_of_many_models_has_its_own_prices(
        self, book: PriceBook, provider: str, model: str, input: int, output: int
    ) -> None:
        cost = priced(book, call(model, provider), SMALL)
        assert (cost.nanos, cost.priced_by) == (1000 * input + 100 * output, "list")
        assert str(cost.source).startswith("LiteLLM ")

    def test_a_charge_and_the_ledger_say_whose_list_it_is(self) -> None:
        with CostGuard() as guard:
            charge = guard.after(guard.before(call("gpt-4o", "openai")), SMALL)
            guard.flush()
            (event,) = guard.ledger.events()
            assert charge.price_source == event.price_source
            assert str(charge.price_source).startswith("genai-prices ")
            assert [row.key for row in guard.report("price_source").rows] == [(charge.price_source,)]

    def test_the_maker_s_price_at_a_seller_that_nobody_knows_is_a_guess(self, book: PriceBook) -> None:
        cost = priced(book, call("gpt-4o", "somebody new"), SMALL)
        assert (cost.nanos, cost.priced_by) == (3_500_000, "estimate")

    @pytest.mark.parametrize(
        ("host", "model", "nanos"),
        [
            ("api.sambanova.ai", "DeepSeek-R1", 5_700_000),
            ("api.sambanova.ai", "gpt-4o", None),
            ("api.openai.com", "gpt-4o", 3_500_000),
        ],
    )
    def test_openai_s_client_at_another_seller_s_host_pays_that_one(
        self, book: PriceBook, host: str, model: str, nanos: int | None
    ) -> None:
        assert priced(book, call(model, "openai", host=host), SMALL).nanos == nanos

    @pytest.mark.parametrize(
        ("host", "seller"),
        [
            ("api.groq.com", "groq"),
            ("x.openai.azure.com", "azure"),
            ("api.openai.com", "openai"),
            ("10.0.0.1", "10.0.0.1"),
            ("api.sambanova.ai", "sambanova"),
            ("api.lambda.ai", "lambda_ai"),
        ],
    )
    def test_a_known_host_says_who_sells(self, host: str, seller: str) -> None:
        assert seller_of("openai", host) == seller

    @pytest.mark.parametrize(
        "model",
        ["us.anthropic.claude-sonnet-4-5-20250929-v1:0",
         "bedrock/us-east-1/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
         "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"],
    )  # fmt: skip
    def test_cloud_names_resolve_to_the_model_behind_them(self, book: PriceBook, model: str) -> None:
        assert priced(book, call(model, "amazon_bedrock"), SMALL).nanos == 4_950_000

    def test_an_opaque_resource_has_no_price(self, book: PriceBook) -> None:
        arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
        assert priced(book, call(arn, "amazon_bedrock"), SMALL).nanos is None


class TestTiers:
    @pytest.mark.parametrize("tier", ["priority", "flex"])
    def test_a_tier_without_a_listed_price_is_unknown(self, book: PriceBook, tier: str) -> None:
        assert priced(book, call("gpt-4o", "azure"), Usage(10, 10, tier=tier)).nanos is None

    @pytest.mark.parametrize(("tier", "nanos"), [("priority", 2_250_000), ("flex", 625_000), ("batch", 625_000)])
    def test_a_tier_has_the_price_of_the_list_that_has_it(self, book: PriceBook, tier: str, nanos: int) -> None:
        assert priced(book, call("gemini-2.5-pro", "google_genai"), Usage(1000, 0, tier=tier)).nanos == nanos

    def test_a_silent_answer_was_billed_at_the_tier_that_was_asked_for(self, book: PriceBook) -> None:
        asked = call("gpt-5", "openai", tier="flex")
        assert priced(book, asked, SMALL).nanos == 1000 * 625 + 100 * 5000
        assert priced(book, asked, Usage(1000, 100, tier_stated=True)).nanos == 1000 * 1250 + 100 * 10_000

    def test_declared_tiers_and_long_prompts_have_prices_of_their_own(self) -> None:
        book = PriceBook(
            {"m": {"input": 1, "output": 2, "flex": {"input": "0.5"}, "above_1000": {"input": 3}}}  # type: ignore[dict-item]
        )
        assert priced(book, call("m"), Usage(1000, 10)).nanos == 1000 * 1000 + 10 * 2000
        assert priced(book, call("m"), Usage(1000, 10, tier="flex")).nanos == 1000 * 500 + 10 * 2000
        assert priced(book, call("m"), Usage(1001, 10)).nanos == 1001 * 3000 + 10 * 2000

    def test_a_money_budget_refuses_a_tier_that_nobody_can_price(self) -> None:
        guard = CostGuard([Budget.parse("$1 in total")], clock=lambda: NOON)
        with pytest.raises(UnpricedModelError):
            guard.before(call("gpt-4o", "azure", tier="priority", input_tokens=10))


class TestParts:
    def test_units_without_a_price_make_the_cost_a_floor(self, book: PriceBook) -> None:
        cost = priced(book, call("gpt-4o", "openai"), Usage(1000, 100, units=(("generated_image", 1),)))
        assert (cost.nanos, cost.unpriced) == (3_500_000, ("generated_image",))

    def test_searches_cost_the_list_s_price_where_the_declaration_says_nothing_of_them(self) -> None:
        book = PriceBook({"gpt-5": {"input": 1, "output": 1}})
        assert priced(book, call("gpt-5", "openai"), Usage(1000, 0, web_searches=2)).nanos == 1_000_000 + 20_000_000

    def test_other_models_of_a_call_have_their_own_price(self, book: PriceBook) -> None:
        usage = Usage(1000, 100, others=(ModelUsage("mine", SMALL), ModelUsage("nobody", SMALL)))
        cost = priced(book, call("claude-sonnet-4-5", "anthropic"), usage)
        assert (cost.nanos, cost.unpriced) == (4_500_000 + 120_000_000, ("nobody",))

    def test_sound_without_a_listed_price_is_unknown_and_not_text(self, book: PriceBook) -> None:
        assert priced(book, call("gpt-4o-audio-preview", "openai"), Usage(64, 9, audio_input_tokens=44)).nanos is None

    def test_inference_in_one_country_costs_a_tenth_more(self, book: PriceBook) -> None:
        usage = Usage(1000, 100, region_surcharge=10)
        assert priced(book, call("claude-opus-4-8", "anthropic"), usage).nanos == 8_250_000


class TestUsageThatCannotBeTrue:
    TEXT = "lorem ipsum dolor " * 200

    def complete(self, usage: Usage | None, **more: Any) -> Usage:
        report = UsageReport(usage, text=lambda: self.TEXT, prompt_tokens=lambda: 7, **more)
        return complete_usage(report, call("bar"), TokenCounter())

    @pytest.mark.parametrize("usage", [None, Usage(), Usage(7, 0), Usage(0, 600), Usage(900, 3)])
    def test_is_replaced_by_a_count_and_marked(self, usage: Usage | None) -> None:
        made = self.complete(usage)
        assert made.estimated
        assert made.input_tokens == (usage.input_tokens if usage is not None and usage.input_tokens else 7)
        assert 500 < made.output_tokens < 900

    def test_what_can_be_true_is_kept(self) -> None:
        assert self.complete(Usage(7, 600)) == Usage(7, 600)

    def test_a_prompt_of_next_to_nothing_beside_a_long_one_is_counted(self) -> None:
        report = UsageReport(Usage(1, 600), None, lambda: self.TEXT, lambda: 5000, lambda: 20_000)
        assert complete_usage(report, call("bar"), TokenCounter()) == Usage(5000, 600, estimated=True)

    def test_what_is_billed_by_the_piece_needs_no_tokens(self) -> None:
        pages = Usage(units=(("page", 3),))
        assert self.complete(pages) is pages
