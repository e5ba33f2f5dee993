"""Estimates for models that no list has at their seller, each by a rule that the seller itself states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_table import PriceTable
from costguard_core.types import Usage

NOON = 1_796_212_800.0  # 2026-12-02 12:00 UTC
MILLION = Usage(1_000_000, 1_000_000)
TABLE = {
    "fireworks": {
        "fireworks-ai-up-to-4b": ("0.1", "0.1"),
        "fireworks-ai-4.1b-to-16b": ("0.2", "0.2"),
        "fireworks-ai-above-16b": ("0.9", "0.9"),
        "fireworks-ai-moe-up-to-56b": ("0.5", "0.5"),
        "fireworks-ai-56b-to-176b": ("1.2", "1.2"),
        "accounts/fireworks/models/newest-5p2": ("1", "4"),
    },
    "openai": {"gpt-9.1-mini": ("3", "12")},
    "x-ai": {"grok-99-0309-fast": ("2", "6"), "grok-98": ("1", "5")},
    "mistral": {"mistral-large-9907": ("2", "6")},
    "vertex_ai": {"somebody/new@001": ("7", "8")},
    "aws": {"moonshotai.kimi-k99": ("6", "9")},
    "together": {"maker/other-8b": ("0.2", "0.2"), "maker/model-v3.1": ("5", "5")},
}


def book(without: str = "") -> PriceBook:
    cards: list[Any] = []
    sellers: dict[str, dict[str, int]] = {}
    for seller, models in TABLE.items():
        for name, (read, written) in models.items():
            if name != without:
                sellers.setdefault(seller, {})[name] = len(cards)
                cards.append([{"input": read, "output": written}])
    data: Mapping[str, Any] = {"source": "table", "version": "1", "taken": "2026-11-29", "bare": {}}
    return PriceBook(clock=lambda: NOON, table=lambda: PriceTable({**data, "cards": cards, "models": sellers}))


@pytest.mark.parametrize(
    ("provider", "model", "dollars"),
    [
        # Fireworks states a price for each size: of all experts together where there are several.
        ("fireworks", "accounts/fireworks/models/unheard-v3p1-8b-instruct", 0.4),
        ("fireworks", "accounts/fireworks/models/unheard-1p5b", 0.2),
        ("fireworks", "accounts/fireworks/models/unheard-70b", 1.8),
        ("fireworks", "accounts/fireworks/models/unheard-8x7b", 1.0),
        ("fireworks", "accounts/fireworks/models/unheard-8x22b-instruct", 2.4),
        ("fireworks", "accounts/fireworks/models/unheard-30b-a3b", 1.0),
        # One model under another name: a date, a version, what stands for the newest, the maker at Bedrock.
        ("xai", "grok-99-fast", 8),
        ("xai", "grok-99-fast-latest", 8),
        ("xai", "grok-98-0404", 6),
        ("google_vertexai", "somebody/new", 15),
        ("amazon_bedrock", "moonshot.kimi-k99", 15),
        # Sellers that bill closed models of others at their makers' price.
        ("perplexity", "openai/gpt-9.1-mini", 15),
        ("databricks", "databricks-gpt-9-1-mini", 15),
        ("google_vertexai", "xai/grok-98", 6),
        ("azure_ai", "mistral-large-9907", 8),
        ("azure_ai", "FW-Newest-5.2", 5.5),
    ],
)
def test_a_price_that_follows_by_a_rule_is_an_estimate(provider: str, model: str, dollars: float) -> None:
    found = book().find(model, provider)
    assert found.card is not None
    assert (found.priced_by, found.card.price(MILLION).cost) == ("estimate", round(dollars * 10**9))
    opinion = book().opinion(model, provider)
    assert opinion is not None
    assert "no list has exactly what was asked for" in (opinion.guess or "")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("fireworks", "accounts/fireworks/models/unheard"),  # of no stated size
        ("fireworks", "accounts/fireworks/models/unheard-405b"),  # larger than any class
        ("fireworks", "unheard-embed-8b"),
        ("together", "maker/unheard-8b"),  # its classes are not what it asks
        ("together", "maker/model-v3"),  # another generation, not another version of one model
        ("databricks", "databricks-llama-99-8b"),  # open weights: each seller asks what it likes
        ("google_vertexai", "openai/gpt-oss-999b-maas"),
        ("groq", "gpt-9.1-mini"),  # a seller that states no such rule
        ("azure", "my-gpt-9-deployment"),
    ],
)
def test_what_follows_by_no_rule_has_no_price(provider: str, model: str) -> None:
    assert book().find(model, provider).card is None


def test_a_price_of_one_s_own_is_never_stood_in_for() -> None:
    found = book().find("accounts/fireworks/models/newest-5p2", "fireworks")
    assert found.card is not None
    assert (found.priced_by, found.card.price(MILLION).cost) == ("list", 5 * 10**9)
