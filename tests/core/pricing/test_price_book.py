from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.errors import ConfigurationError
from costguard_core.pricing import PRICE_KEYS, UNLIMITED_OUTPUT, PriceBook
from costguard_core.types import BILLED_UNITS, Usage


def unix(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[misc]


NOON = unix(2026, 11, 22, 12)
MILLION_EACH = Usage(1_000_000, 1_000_000)
DOLLAR = 1_000_000_000


@pytest.fixture
def book() -> PriceBook:
    return PriceBook(clock=lambda: NOON)


class TestUnknown:
    def test_an_unknown_model_is_none_never_zero(self, book: PriceBook) -> None:
        assert book.cost(Usage(10, 10), model="nobody-knows-me") is None
        assert book.cost(Usage(), model="nobody-knows-me") is None
        assert not book.is_priced("nobody-knows-me")

    @pytest.mark.parametrize("provider", ["ollama", "ChatOllama", "llamacpp", "vllm"])
    def test_a_self_hosted_model_has_no_list_price(self, book: PriceBook, provider: str) -> None:
        assert book.cost(Usage(10, 10), model="gpt-4o", provider=provider) is None

    def test_a_model_sold_by_the_hour_cannot_be_priced_by_tokens(self, book: PriceBook) -> None:
        assert book.cost(Usage(10, 10), model="whisper-1", provider="openai") is None

    def test_a_subscription_is_not_free(self, book: PriceBook) -> None:
        assert book.cost(Usage(10, 10), model="gpt-4o", provider="github-copilot") is None

    def test_a_model_named_free_is_free(self, book: PriceBook) -> None:
        assert book.cost(Usage(10, 10), model="deepseek/deepseek-r1:free", provider="openrouter") == 0

    def test_output_without_a_price_is_unknown(self, book: PriceBook) -> None:
        book = PriceBook(table=None)
        assert book.cost(Usage(10, 0), model="text-embedding-3-small", provider="openai") == 200
        assert book.cost(Usage(10, 1), model="text-embedding-3-small", provider="openai") is None

    def test_the_ceiling_prices_what_nobody_knows(self) -> None:
        book = PriceBook(unpriced={"input": "15", "output": "75"})
        assert book.cost(MILLION_EACH, model="nobody-knows-me") == 90 * DOLLAR
        assert book.is_priced("nobody-knows-me")
        assert book.cost(MILLION_EACH, model="gpt-4o", provider="openai", at=NOON) == Decimal("12.5") * DOLLAR


class TestTime:
    def test_an_old_call_costs_its_old_price(self, book: PriceBook) -> None:
        assert book.cost(MILLION_EACH, model="o3", provider="openai", at=unix(2025, 5, 1)) == 50 * DOLLAR
        assert book.cost(MILLION_EACH, model="o3", provider="openai", at=unix(2025, 7, 1)) == 10 * DOLLAR

    def test_a_price_change_takes_effect_at_its_second(self, book: PriceBook) -> None:
        change = unix(2027, 1, 1)
        before = book.cost(MILLION_EACH, model="gemini-3.8-flash", provider="google", at=change - 1)
        after = book.cost(MILLION_EACH, model="gemini-3.8-flash", provider="google", at=change)
        assert (before, after) == (Decimal("4.5") * DOLLAR, 9 * DOLLAR)
        assert book.cost(MILLION_EACH, model="gemini-3.8-flash", provider="google", at=change - 1) == before

    @pytest.mark.parametrize(
        ("hour", "minute", "dollars"),
        [
            (0, 59, "0.75"),
            (1, 0, "1.5"),
            (3, 59, "1.5"),
            (4, 0, "0.75"),
            (6, 0, "1.5"),
            (10, 0, "0.75"),
            (23, 59, "0.75"),
        ],
    )
    def test_the_hour_of_the_day_decides(self, book: PriceBook, hour: int, minute: int, dollars: str) -> None:
        at = unix(2026, 11, 22, hour, minute)
        cost = book.cost(MILLION_EACH, model="deepseek-v4-flash", provider="deepseek", at=at)
        assert cost == Decimal(dollars) * DOLLAR

    def test_a_hold_covers_a_price_that_rises_within_the_hour(self, book: PriceBook) -> None:
        ask = {"model": "deepseek-v4-flash", "provider": "deepseek", "input_tokens": 10**6, "output_tokens": 10**6}
        assert book.worst_case(**ask, at=unix(2026, 11, 22, 0, 30)) == Decimal("1.5") * DOLLAR
        assert book.worst_case(**ask, at=unix(2026, 11, 22, 12)) == Decimal("0.75") * DOLLAR

    @pytest.mark.parametrize("at", [-1e18, -1.0, 0.0, 1e11, 1e18])
    def test_absurd_times_do_not_raise(self, book: PriceBook, at: float) -> None:
        assert book.cost(Usage(10, 10), model="o3", provider="openai", at=at)

    def test_new_price_data_is_taken_up(self) -> None:
        book = PriceBook(clock=lambda: NOON, table=None)
        old = book.cost(MILLION_EACH, model="gpt-4o", provider="openai")
        bundled = data_snapshot.get_snapshot()
        providers = [p for p in bundled.providers if p.id != "openai"]
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers, from_auto_update=True))
        try:
            assert book.cost(MILLION_EACH, model="gpt-4o", provider="openai") is None
        finally:
            data_snapshot.set_custom_snapshot(None)
        assert book.cost(MILLION_EACH, model="gpt-4o", provider="openai") == old


class TestOverrides:
    @pytest.mark.parametrize("key", ["my-model", "MY-MODEL", "acme/my-model", "acme:my-model"])
    def test_a_key_names_a_model_or_a_provider_s_model(self, key: str) -> None:
        book = PriceBook({key: {"input": "2.50", "output": 10}})
        assert book.cost(MILLION_EACH, model="My-Model", provider="acme") == Decimal("12.5") * DOLLAR
        assert book.cost(MILLION_EACH, model="My-Model", provider="other") == (
            None if "acme" in key else Decimal("12.5") * DOLLAR
        )

    @pytest.mark.parametrize(
        "key", ["google/gemini-2.5-flash", "google_genai:gemini-2.5-flash", "vertexai/gemini-2.5-flash"]
    )
    def test_a_provider_s_names_are_the_same_provider(self, key: str) -> None:
        book = PriceBook({key: {"input": 1, "output": 1}})
        assert book.cost(MILLION_EACH, model="gemini-2.5-flash", provider="google_genai") == 2 * DOLLAR

    def test_the_nearer_key_wins(self) -> None:
        book = PriceBook({"m": {"input": 1, "output": 1}, "acme/m": {"input": 5, "output": 5}})
        assert book.cost(MILLION_EACH, model="m", provider="acme") == 10 * DOLLAR
        assert book.cost(MILLION_EACH, model="m") == 2 * DOLLAR

    @pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-20240806"])
    def test_an_override_beats_the_list_also_for_dated_snapshots(self, model: str) -> None:
        book = PriceBook({"gpt-4o": {"input": 1, "output": 1}})
        assert book.cost(MILLION_EACH, model=model, provider="openai") == 2 * DOLLAR
        assert book.cost(MILLION_EACH, model="gpt-4o-mini", provider="openai", at=NOON) == Decimal("0.75") * DOLLAR

    def test_what_is_left_out_costs_what_its_parent_costs(self) -> None:
        book = PriceBook({"m": {"input": 2, "output": 10}})
        everything = Usage(10, 4, 3, 3, 1, 2, 1, 2, 1, 1, 1, 0)
        assert book.cost(everything, model="m") == 10 * 2000 + 4 * 10_000

    def test_every_key_is_used(self) -> None:
        prices = {
            "input": "1", "cached_input": "0.1", "cache_write": "1.25", "cache_write_1h": "2", "output": "5",
            "audio_input": "8", "audio_output": "16", "request": "0.01", "web_search": "0.02",
            "image_input": "9", "image_output": "30", "video_input": "7", "reasoning": "6", "cached_audio_input": "4",
            "cached_image_input": "3", **dict.fromkeys(BILLED_UNITS, "0.003"),
        }  # fmt: skip
        assert set(prices) == set(PRICE_KEYS)
        usage = Usage(
            1000, 100, cache_read_tokens=200, cache_write_tokens=300, cache_write_1h_tokens=100, audio_input_tokens=50,
            audio_output_tokens=40, web_searches=2, image_input_tokens=20, image_output_tokens=5, video_input_tokens=30,
            reasoning_tokens=10, units=tuple((name, 1) for name in BILLED_UNITS),
        )  # fmt: skip
        # 400 fresh, 200 cached, 200 written, 100 written for an hour, 50 audio, 20 image, 30 video
        tokens = 400 * 1 + 200 * Decimal("0.1") + 200 * Decimal("1.25") + 100 * 2 + 50 * 8 + 20 * 9 + 30 * 7
        tokens += 45 * 5 + 40 * 16 + 5 * 30 + 10 * 6  # text, audio, image and reasoning out
        pieces = 10_000_000 + 2 * 20_000_000 + len(BILLED_UNITS) * 3_000_000
        assert PriceBook({"m": prices}).cost(usage, model="m") == tokens * 1000 + pieces

    def test_a_self_hosted_model_can_be_priced(self) -> None:
        book = PriceBook({"ollama/llama3": {"input": "0.05", "output": "0.05"}})
        assert book.cost(MILLION_EACH, model="llama3", provider="ollama") == DOLLAR // 10

    @pytest.mark.parametrize("value", ["2.50", Decimal("2.50"), 2.5], ids=["text", "Decimal", "float"])
    def test_a_price_can_be_written_in_any_exact_way(self, value: Any) -> None:
        assert PriceBook({"m": {"input": value}}).cost(Usage(1000), model="m") == 2_500_000

    def test_a_float_means_its_decimal_text(self) -> None:
        assert PriceBook({"m": {"input": 0.1}}).cost(Usage(10**9), model="m") == 100 * DOLLAR

    @pytest.mark.parametrize("value", [True, None, "-1", -1, "nan", float("nan"), "inf", "ten", [], "1,50"])
    def test_a_bad_price_is_refused(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="'input' of 'm'"):
            PriceBook({"m": {"input": value}})

    def test_an_unknown_key_is_refused_and_the_valid_ones_listed(self) -> None:
        with pytest.raises(
            ConfigurationError, match="'prompt'.*input, cached_input, cache_write, cache_write_1h, output"
        ):
            PriceBook({"m": {"input": 1, "prompt": 1}})

    @pytest.mark.parametrize("prices", [{}, {"output": 1}, "2.50", None])
    def test_an_input_price_is_required(self, prices: Any) -> None:
        with pytest.raises(ConfigurationError, match="'m'"):
            PriceBook({"m": prices})


class TestDiscounts:
    def test_a_discount_is_off_the_list_price_of_one_provider(self) -> None:
        book = PriceBook(discounts={"openai": "0.10"})
        assert book.cost(MILLION_EACH, model="gpt-4o", provider="openai", at=NOON) == Decimal("11.25") * DOLLAR
        assert book.cost(MILLION_EACH, model="gpt-4o", at=NOON) == Decimal("11.25") * DOLLAR
        assert book.cost(MILLION_EACH, model="claude-haiku-4-5", provider="anthropic", at=NOON) == 6 * DOLLAR

    def test_a_star_is_for_everybody_not_named(self) -> None:
        book = PriceBook(discounts={"*": "0.5", "google_genai": 0})
        assert book.cost(MILLION_EACH, model="claude-haiku-4-5", provider="anthropic", at=NOON) == 3 * DOLLAR
        assert (
            book.cost(MILLION_EACH, model="gemini-2.5-flash", provider="google_vertexai", at=NOON) == 28 * DOLLAR // 10
        )

    def test_an_override_is_what_you_pay(self) -> None:
        book = PriceBook({"gpt-4o": {"input": 1, "output": 1}}, discounts={"openai": "0.5"})
        assert book.cost(MILLION_EACH, model="gpt-4o", provider="openai") == 2 * DOLLAR

    @pytest.mark.parametrize("value", ["10", 1, "-0.1", True])
    def test_a_discount_is_a_fraction(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="openai"):
            PriceBook(discounts={"openai": value})


class TestProviders:
    @pytest.mark.parametrize(
        ("provider", "model", "dollars"),
        [
            ("openai", "gpt-4o", "12.5"), (None, "gpt-4o", "12.5"), (None, "openai/gpt-4o", "12.5"),
            ("azure", "gpt-4o", "12.5"), ("azure_openai", "gpt-4o", "12.5"), ("AzureOpenAI", "gpt-4o", "12.5"),
            ("litellm", "azure/gpt-4o", "12.5"), ("somebody new", "gpt-4o", "12.5"),
            ("anthropic", "claude-haiku-4-5-20251001", "6"), ("google_vertexai", "claude-haiku-4-5@20251001", "6"),
            ("google_anthropic_vertex", "claude-haiku-4-5", "6"),
            ("google_genai", "models/gemini-2.5-flash", "2.8"), ("vertexai", "gemini-2.5-flash", "2.8"),
            ("amazon_bedrock", "amazon.nova-pro-v1:0", "4"), ("bedrock_converse", "amazon.nova-pro-v1:0", "4"),
            ("groq", "llama-3.3-70b-versatile", "1.38"), ("mistralai", "mistral-large-latest", "8"),
            ("deepseek", "deepseek-v4-flash", "0.75"), ("xai", "grok-4", "18"), ("cohere", "command-r-plus", "12.5"),
            ("together", "deepseek-ai/DeepSeek-R1-0528", "10"),
        ],
    )  # fmt: skip
    def test_a_framework_s_name_for_a_provider(
        self, book: PriceBook, provider: str | None, model: str, dollars: str
    ) -> None:
        small = Usage(100_000, 100_000)  # under every cliff
        assert book.cost(small, model=model, provider=provider) == Decimal(dollars) * DOLLAR / 10


class TestOddUsage:
    def test_cached_tokens_beyond_the_input_raise_the_input(self, book: PriceBook) -> None:
        assert book.cost(Usage(10, 0, cache_read_tokens=1000), model="gpt-4o", provider="openai") == 1000 * 1250

    def test_negative_counts_are_zero(self, book: PriceBook) -> None:
        assert book.cost(Usage(-5, 10, cache_read_tokens=-3), model="gpt-4o", provider="openai") == 10 * 10_000

    def test_reasoning_beyond_the_output_raises_the_output(self, book: PriceBook) -> None:
        assert book.cost(Usage(0, 5, reasoning_tokens=100), model="gpt-5", provider="openai") == 100 * 10_000

    def test_details_that_do_not_fit_beside_each_other_overlap(self, book: PriceBook) -> None:
        all_of_it = Usage(1000, 0, cache_read_tokens=1000, audio_input_tokens=1000)
        assert book.cost(all_of_it, model="gemini-2.5-flash", provider="google") == 1000 * 100  # cached audio, $0.10
        picture = Usage(1000, 0, cache_read_tokens=1000, image_input_tokens=1000)
        assert book.cost(picture, model="gpt-image-1", provider="openai") == 1000 * 2500  # cached image, $2.50

    counts = st.integers(-(10**7), 10**7)

    @given(
        st.builds(Usage, *[counts] * 12),
        st.sampled_from(
            ["gpt-4o", "gpt-realtime", "gpt-image-1", "gpt-5.4", "claude-sonnet-4-5", "gemini-2.5-flash", "o3"]
        ),
    )
    def test_no_usage_raises_or_pays_you(self, usage: Usage, model: str) -> None:
        cost = PriceBook({"o3": {"input": "0.0001", "output": "0.0001", "audio_input": 1}}).cost(
            usage, model=model, at=NOON
        )
        assert cost is not None
        assert cost >= 0


class TestWorstCase:
    def test_text_is_input_once_and_output_per_choice(self, book: PriceBook) -> None:
        worst = book.worst_case(model="gpt-4o", provider="openai", input_tokens=1000, output_tokens=100, choices=3)
        assert worst == 1000 * 2500 + 300 * 10_000

    def test_the_cliff_is_for_the_whole_request(self, book: PriceBook) -> None:
        ask = {"model": "gemini-2.5-pro", "provider": "google", "output_tokens": 1000}
        assert book.worst_case(**ask, input_tokens=200_000) == 260_000_000
        assert book.worst_case(**ask, input_tokens=200_001) == 515_002_500

    def test_cache_writes_are_held_when_asked_for_or_unavoidable(self, book: PriceBook) -> None:
        claude = {"model": "claude-haiku-4-5", "provider": "anthropic", "input_tokens": 1000, "output_tokens": 0}
        assert book.worst_case(**claude) == 1000 * 1000
        assert book.worst_case(**claude, cache_writes=True) == 1000 * 2000
        sol = {"model": "gpt-5.6-sol", "provider": "openai", "input_tokens": 1000, "output_tokens": 0}
        assert book.worst_case(**sol) == 1000 * 5000

    def test_the_tier_and_the_fee_count(self, book: PriceBook) -> None:
        ask = {"input_tokens": 1000, "output_tokens": 100}
        assert book.worst_case(model="gpt-5", provider="openai", tier="priority", **ask) == 1000 * 2500 + 100 * 20_000
        assert book.worst_case(model="sonar", provider="perplexity", **ask) == 1100 * 1000 + 12_000_000

    def test_unknown_is_none_and_affords_nothing(self, book: PriceBook) -> None:
        assert book.worst_case(model="nobody-knows-me", input_tokens=1, output_tokens=1) is None
        assert book.affordable_output(model="nobody-knows-me", input_tokens=1, nanos=10**12) == 0
        book = PriceBook(table=None)
        embedding = {"model": "text-embedding-3-small", "provider": "openai", "input_tokens": 10}
        assert book.worst_case(**embedding, output_tokens=0) == 200
        assert book.worst_case(**embedding, output_tokens=1) is None

    def test_free_output_is_unlimited(self) -> None:
        book = PriceBook({"m": {"input": 1, "output": 0}})
        assert book.affordable_output(model="m", input_tokens=10, nanos=10_000) == UNLIMITED_OUTPUT
        assert book.affordable_output(model="m", input_tokens=10, nanos=9_999) == 0

    models = st.sampled_from(
        [
            ("openai", "gpt-4o-mini"), ("openai", "gpt-5.4"), ("openai", "gpt-5.6-sol"),
            ("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-pro"),
            ("deepseek", "deepseek-v4-flash"), ("perplexity", "sonar"), (None, "tiny"),
            ("openrouter", "perplexity/sonar-deep-research"), ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ]
    )  # fmt: skip
    tiny = PriceBook(
        {"tiny": {"input": "0.0123", "cached_input": "0.0012", "output": "0.0377", "request": "0.0000000003"}}
    )

    @given(models, st.integers(0, 300_000), st.integers(0, 10**10), st.integers(1, 5), st.sampled_from([None, "flex"]))
    def test_affordable_output_is_the_largest_that_fits(
        self, model: tuple[str | None, str], tokens: int, nanos: int, choices: int, tier: str | None
    ) -> None:
        where = {"model": model[1], "provider": model[0], "at": NOON, "tier": tier}
        ask: Any = {**where, "input_tokens": tokens, "choices": choices}
        output = self.tiny.affordable_output(**ask, nanos=nanos)
        least, best, next_one = (self.tiny.worst_case(**ask, output_tokens=n) for n in (0, output, output + 1))
        assert least is not None
        assert best is not None
        assert next_one is not None
        assert next_one > nanos
        assert best <= nanos or (output == 0 and least > nanos)

    @given(models, st.data(), st.sampled_from([None, "priority", "batch"]), st.integers(0, 86_399))
    def test_no_text_call_costs_more_than_its_worst_case(
        self, model: tuple[str | None, str], data: st.DataObject, tier: str | None, second: int
    ) -> None:
        at = unix(2026, 11, 22) + second
        tokens, output = data.draw(st.integers(0, 300_000)), data.draw(st.integers(0, 50_000))
        sent = data.draw(st.integers(0, tokens))
        cached = data.draw(st.integers(0, sent))
        written = data.draw(st.integers(0, sent - cached))
        long = data.draw(st.integers(0, written))
        made = data.draw(st.integers(0, output))
        usage = Usage(sent, made, cached, written, long, reasoning_tokens=data.draw(st.integers(0, made)), tier=tier)
        worst = self.tiny.worst_case(
            model=model[1],
            provider=model[0],
            at=at,
            tier=tier,
            input_tokens=tokens,
            output_tokens=output,
            cache_writes=True,
        )
        billed = self.tiny.cost(usage, model=model[1], provider=model[0], at=at + data.draw(st.integers(0, 3600)))
        assert worst is not None
        assert billed is not None
        assert billed <= worst


def test_many_models_from_outside_do_not_grow_the_book(book: PriceBook) -> None:
    for number in range(10_000):
        book._known(None, f"m{number}", None)
        if number % 1000 == 0:
            book.cost(Usage(1), model=f"unknown-{number}", provider="acme")
    assert book.cost(Usage(1), model="one-more", provider="acme") is None
    assert book._known.cache_info().currsize < 4097
