"""Price files: what they may say, where a mistake is, and prices from other files."""

from __future__ import annotations

import json
import re
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core import Call, ConfigurationError, CostGuard, Usage
from costguard_core.pricing import PRICE_KEYS, PriceBook
from costguard_core.pricing.overrides import TIER_KEYS
from costguard_core.pricing.plausible import doubtful
from costguard_core.pricing.price_file import PriceFile, parse_price_file, read_price_file, write_price_file
from costguard_core.pricing.price_import import import_prices

GOOD = """
source = "our contract"
date = 2026-11-01

[prices."azure/my-deployment"]
input = "2.50"
output = 10
web_search = 0.01
flex = { input = "1.25", output = "5", above_1000 = { input = "2" } }
above_1000 = { input = "5" }

[prices.speech]
audio_second = "0.0001"
"""


class TestReading:
    def test_a_guard_takes_the_path_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "prices.toml"
        path.write_text(GOOD)
        for given_path in (path, str(path)):
            with CostGuard(prices=given_path) as guard:
                charge = guard.after(guard.before(Call("1", "my-deployment", 0.0, "azure")), Usage(1000, 100))
                assert (charge.cost, charge.priced_by) == (3_500_000, "declared")

    @pytest.mark.parametrize(
        ("usage", "nanos"),
        [
            (Usage(1001, 0), 5_005_000),
            (Usage(1000, 0, tier="flex"), 1_250_000),
            (Usage(1001, 0, tier="flex"), 2_002_000),
            (Usage(0, 0, web_searches=3), 30_000_000),
        ],
    )
    def test_tiers_and_lengths(self, usage: Usage, nanos: int) -> None:
        book = PriceBook(parse_price_file(GOOD).prices)
        assert book.cost(usage, model="my-deployment", provider="azure") == nanos
        assert book.cost(Usage(units=(("audio_second", 60),)), model="speech") == 6_000_000

    def test_where_it_is_from(self) -> None:
        found = parse_price_file(GOOD)
        assert (found.source, found.taken) == ("our contract", date(2026, 11, 1))

    @pytest.mark.parametrize(
        ("text", "place", "advice"),
        [
            ('[prices.m]\ninput = "1"\nouput = "2"', "p.toml:3:1: prices.m.ouput", "did you mean 'output'?"),
            ('[prices.m]\ninput = "1"\ncached = "2"', "p.toml:3:1: prices.m.cached", "did you mean 'cached_input'?"),
            ('[prices.m]\noutput = "1"', "p.toml:1:1: prices.m", 'needs an "input" price'),
            ('[prices.m]\ninput = "1,5"', "p.toml:2:1: prices.m.input", "must be a number of dollars"),
            ("[prices.m]\ninput = -1", "p.toml:2:1: prices.m.input", "not negative"),
            ("[prices.m]\ninput = 1\n[prices.m.flexi]", "p.toml:3:1: prices.m.flexi", "did you mean 'flex'?"),
            ('[prices.m]\ninput = 1\nflex = "2"', "p.toml:3:1: prices.m.flex", "is a table of prices"),
            ("[prices.m]\ninput = 1\nflex = {inptu = 2}", "p.toml:3:9: prices.m.flex.inptu", "did you mean 'input'?"),
            ('["gpt-4o"]\ninput = 1', "p.toml:1:1:", '[prices."gpt-4o"]'),
            ('sauce = "x"', "p.toml:1:1: sauce", "did you mean 'source'?"),
            ('date = "today"', "p.toml:1:1: date", "such as date = 2026-11-29"),
            ("prices = 3", "p.toml:1:1: prices", "is a table of models"),
            ("[prices.m\n", "p.toml:1:", ""),
        ],
    )  # fmt: skip
    def test_a_mistake_is_named_with_its_line_and_what_to_write(self, text: str, place: str, advice: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            parse_price_file(text, "p.toml")
        assert place in str(caught.value)
        assert advice in str(caught.value)

    def test_all_mistakes_are_told_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            parse_price_file('[prices.a]\ninpt = "1"\n[prices.b]\ninput = "x"')
        assert len(str(caught.value).splitlines()) == 3

    def test_a_file_that_is_not_there(self) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read"):
            CostGuard(prices="no such file.toml")


AMOUNTS = st.decimals(0, 1000, places=4).map(str)
FLAT = st.dictionaries(st.sampled_from(PRICE_KEYS), AMOUNTS)
STEPS = st.dictionaries(st.integers(1, 10**6).map(lambda start: f"above_{start}"), FLAT, max_size=2)
TIERS = st.dictionaries(st.sampled_from(TIER_KEYS), st.builds(lambda a, b: a | b, FLAT, STEPS), max_size=2)
MODELS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.builds(lambda a, b, c: {"input": "1"} | a | b | c, FLAT, STEPS, TIERS),
    max_size=4,
)


@given(MODELS, st.none() | st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.dates())
def test_what_is_written_is_read_again(models: dict, source: str | None, taken: date | None) -> None:
    file = PriceFile(models, source, taken)
    assert parse_price_file(write_price_file(file)) == file


LITELLM = {
    "sample_spec": {"litellm_provider": "one of many", "input_cost_per_token": 0},
    "gpt-x": {
        "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.8e-07, "output_cost_per_token": 4.2e-07,
        "cache_read_input_token_cost": 2.8e-08, "input_cost_per_token_above_200k_tokens": 5.6e-07,
        "input_cost_per_token_priority": 5e-07, "output_cost_per_token_priority": 1e-06,
        "input_cost_per_token_above_200k_tokens_priority": 9e-07, "input_cost_per_token_flex": 1e-07,
        "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.02},
    },
    "groq/tiered": {
        "litellm_provider": "groq", "mode": "chat",
        "tiered_pricing": [
            {"range": [32000, 128000], "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06},
            {"range": [0, 32000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        ],
    },
    "groq/unknown": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0},
    "groq/latest": {"alias_of": "groq/tiered"},
    "cohere/rerank": {
        "litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
    },
    "groq/router": {
        "litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1e-07, "output_cost_per_token": 0,
        "cache_read_input_token_cost": 0,
    },
    "voyage/vectors": {
        "litellm_provider": "voyage", "mode": "embedding", "input_cost_per_token": 1e-07, "output_cost_per_token": 0,
    },
    "mistral/ocr": {"litellm_provider": "mistral", "mode": "ocr", "ocr_cost_per_page": 0.001},
}  # fmt: skip


class TestImport:
    def test_litellm_s_table(self, tmp_path: Path) -> None:
        path = tmp_path / "model_prices.json"
        path.write_text(json.dumps(LITELLM))
        found = import_prices(path, today=date(2026, 11, 29))
        assert found.prices == {
            "openai/gpt-x": {
                "input": "0.28", "output": "0.42", "cached_input": "0.028", "above_200000": {"input": "0.56"},
                "priority": {"input": "0.5", "output": "1", "above_200000": {"input": "0.9"}},
            },
            "groq/tiered": {"input": "1", "output": "2", "above_32000": {"input": "2", "output": "4"}},
            "groq/latest": {"input": "1", "output": "2", "above_32000": {"input": "2", "output": "4"}},
            "cohere/rerank": {"rerank": "0.002"},
            "groq/router": {"input": "0.1"},
            "voyageai/vectors": {"input": "0.1", "output": "0"},
            "mistral/ocr": {"page": "0.001"},
        }  # fmt: skip
        assert found.taken == date(2026, 11, 29)
        assert set(import_prices(path, provider="groq").prices) == {"groq/tiered", "groq/latest", "groq/router"}
        book = PriceBook(found.prices)
        assert book.cost(Usage(1000, 100), model="gpt-x", provider="openai") == 322_000

    def test_google_s_two_places_keep_their_own_prices(self, tmp_path: Path) -> None:
        path = tmp_path / "model_prices.json"
        entry = {"mode": "chat", "output_cost_per_token": 1e-06}
        path.write_text(
            json.dumps(
                {
                    "gemini/g": {**entry, "litellm_provider": "gemini", "input_cost_per_token": 1e-06},
                    "vertex_ai/g": {**entry, "litellm_provider": "vertex_ai-x", "input_cost_per_token": 2e-06},
                }
            )
        )
        book = PriceBook(import_prices(path).prices)
        assert book.cost(Usage(1000), model="g", provider="google_genai") == 1_000_000
        assert book.cost(Usage(1000), model="g", provider="google_vertexai") == 2_000_000

    def test_a_spreadsheet(self, tmp_path: Path) -> None:
        path = tmp_path / "contract.csv"
        path.write_text(
            "provider,model,tier,above,input,output\n"
            "azure,mine,,,2.50,10\n"
            "azure,mine,flex,,1.25,5\n"
            "azure,mine,,200000,5,\n"
            ",other,,,1,\n"
        )
        assert import_prices(path).prices == {
            "azure/mine": {
                "input": "2.50", "output": "10", "flex": {"input": "1.25", "output": "5"},
                "above_200000": {"input": "5"},
            },
            "other": {"input": "1"},
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("a.csv", "model,inptu\nm,1", "a.csv:1: 'inptu' is no column; did you mean 'input'?"),
            ("a.csv", "provider,input\nm,1", "model and input is needed"),
            ("a.csv", "model,output\nm,1", 'needs an "input" price'),
            ("a.csv", "model,input\n,1", "a.csv:2: the column model is empty"),
            ("a.csv", "model,input,tier\nm,1,fast\nm,1,cheap", "a.csv:3: tier 'cheap'"),
            ("a.csv", "model,input,above\nm,1,many", "a.csv:2: above 'many'"),
            ("a.csv", "model,input\nm,one", "must be a number of dollars"),
            ("a.json", "{}", "not LiteLLM's price table"),
            ("a.json", "[", "is no JSON"),
            ("a.json", "[" * 100_000, "is no JSON"),
            ("a.toml", "[prices.m]\ninput = " + "[" * 100_000, "nested too deeply"),
            ("a.json", '{"m": {"litellm_provider": "x", "input_cost_per_token": 0}}', "has no price"),
            ("a.toml", "[prices.m]\ninptu = 1", "a.toml:2:1: prices.m.inptu"),
            ("a.xlsx", "", "as .csv"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, tmp_path: Path, name: str, text: str, told: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            import_prices(path)
        assert told.replace("this is ", "") in str(caught.value).replace("this is not", "not")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "model,input,output\nm,2,5,10", "a.csv:2: more values than columns"),  # 2,50 is not 2.50
        ("a.csv", "model;input\nm;2,5", "a.csv:2: input must be a number"),
        ("a.csv", "model,input\nm,-1", "a.csv:2: input must be finite and not negative"),
        ("a.csv", "model,input\nm,2\nm,3", "a.csv:3: input of 'm' is 3 here and 2 before"),
        ("a.csv", "model,input\nok,2\n\nm,", "a.csv:4: 'm' needs an"),
        ("a.toml", '[price.m]\ninput = "1"', "did you mean 'prices'?"),
    ],
)
def test_slips_of_spreadsheets_are_named_where_they_are(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        import_prices(path)
    assert told in str(caught.value)


def test_spreadsheets_as_programs_write_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfmodel;input;output\r\n"a ""new""\r\nmodel";2.5;10\r\n')
    assert import_prices(path).prices == {'a "new"\nmodel': {"input": "2.5", "output": "10"}}


def test_odd_rows_of_litellm_s_table_are_left_out(tmp_path: Path) -> None:
    good = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-6}
    rows: dict[str, object] = {"good": good, "number": 5, "none": None, "whose": {"litellm_provider": 5}}
    rows["ranges"] = {**good, "tiered_pricing": [{"range": ["a", 1]}, 5, {"range": []}, {"range": [None]}]}
    rows["hours"] = {**good, "off_peak_pricing": {"windows": [{"hours": 1}, 5, {"hours_utc": None}]}}
    rows["tools"] = {**good, "search_context_cost_per_query": [1], "provider_specific_entry": []}
    rows["text"] = {**good, "input_cost_per_token": "abc"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert set(import_prices(path).prices) == {f"openai/{name}" for name in ("good", "ranges", "hours", "tools")}


def test_a_price_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_bytes(b'\xef\xbb\xbf[prices.m]\ninput = "1"\n')
    assert read_price_file(path).prices == {"m": {"input": "1"}}
    (tmp_path / "prices.csv").write_text("model,input\nm,1\n")
    with pytest.raises(ConfigurationError, match="costguard prices import prices.csv -o prices.toml"):
        CostGuard(prices=str(tmp_path / "prices.csv"))


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ({"m": {"input": "2500000"}}, "no model costs so much"),
        ({"m": {"input": "1", "flex": {"output": "0.0000025"}}}, "'m': flex output is $2.5e-06 per million tokens"),
        ({"m": {"input": "0", "web_search": "10"}}, "web_search is $10 each"),
        ({"openai/gpt-4o": {"input": "2500"}}, "and $2.5 on the list"),  # of a million, where it is of a thousand
        ({"openai/gpt-4o": {"input": "0.0025"}}, "and $2.5 on the list"),
    ],
)
def test_a_price_that_is_a_power_of_a_thousand_off_is_questioned(prices: dict[str, Any], told: str) -> None:
    assert any(told in doubt for doubt in doubtful(prices, PriceBook()))


@given(st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash", "m"]), st.fractions(Fraction(1, 50), 50))
def test_an_ordinary_price_is_not_questioned(model: str, factor: Fraction) -> None:
    book = PriceBook()
    card = book.find(model).card
    rates = None if card is None else card.steps[-1].rates
    rate = Fraction(5) if rates is None else Fraction(rates.input or 0, 1000 * rates.scale)
    assert not list(doubtful({model: {"input": f"{float(rate * factor):.9f}", "output": "0"}}, book))


def test_a_guard_says_in_its_log_that_a_price_is_doubtful(caplog: pytest.LogCaptureFixture) -> None:
    CostGuard(prices={"m": {"input": "2500000"}})
    assert "declared price of 'm': input is $2.5e+06 per million tokens" in caplog.text


def test_the_file_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "money.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    book = PriceBook(parse_price_file(example).prices)
    assert book.cost(Usage(1000, 100), model="my-deployment", provider="azure") == 3_500_000
