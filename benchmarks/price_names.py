"""Which names of LiteLLM's public price table CostGuard prices, and how: python benchmarks/price_names.py TABLE

TABLE is model_prices_and_context_window.json (or the backup inside the ``litellm`` wheel). Each name that has a price
per token at one of LangChain's main providers is asked for as LangChain users write it (the provider as LangChain names
it, and the name without the prefix that says the same), and as LiteLLM users do (the whole key, no provider).

CostGuard carries a copy of that table, so the first figures compare a table with itself where both are of one release:
they show that names resolve, not that prices are right. Three figures are independent of it:

- ``genai-prices alone``: the same names, with the copy left out.
- ``agreement``: of names that are in both sources under exactly this name, how many cost the same within 1 %.
- ``left out``: each name asked for after its own entry was taken out of the copy, as for a model that is newer than it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from costguard_core.pricing import PriceBook
from costguard_core.pricing.litellm_format import TableEntry, seller_and_name
from costguard_core.pricing.price_book import priced
from costguard_core.pricing.price_table import PriceTable, bundled_table
from costguard_core.types import Call, Usage

TOLERANCE = Decimal("0.01")
MODES = ("chat", "completion", "embedding", "responses")
PROVIDERS = {  # LiteLLM's name of a seller → what LangChain's integration calls it (``ls_provider``)
    "openai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_ai": "azure_ai",
    "anthropic": "anthropic",
    "bedrock": "amazon_bedrock",
    "bedrock_converse": "amazon_bedrock",
    "gemini": "google_genai",
    "vertex_ai": "google_vertexai",
    "mistral": "mistral",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "groq": "groq",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "deepseek": "deepseek",
    "perplexity": "perplexity",
    "xai": "xai",
    "openrouter": "openrouter",
    "voyage": "voyageai",
    "cerebras": "cerebras",
    "databricks": "databricks",
    "moonshot": "moonshot",
}
USAGES = {"plain": Usage(1000, 500), "long": Usage(300_000, 1000), "cached": Usage(10_000, 500, cache_read_tokens=8000)}


class Name(NamedTuple):
    key: str
    provider: str
    model: str
    entry: Mapping[str, Any]


def names(table: Mapping[str, Any]) -> Iterator[Name]:
    for key, entry in table.items():
        said = str(entry.get("litellm_provider", ""))
        provider = PROVIDERS.get("vertex_ai" if said.startswith("vertex_ai-") else said)
        if provider is not None and entry.get("mode") in MODES and entry.get("input_cost_per_token"):
            _, model = seller_and_name(TableEntry(key, said, {}))
            yield Name(key, provider, model, entry)


def expected(entry: Mapping[str, Any], kind: str) -> Decimal | None:
    """Dollars by the table's own fields; ``None``: it does not say."""
    usage, suffix = USAGES[kind], ""
    if kind == "long":
        steps = [name for name in entry if name.startswith("input_cost_per_token_above_") and name.endswith("k_tokens")]
        passed = [step for step in steps if int(step.rpartition("above_")[2][:-8]) * 1000 < usage.input_tokens]
        if not passed:
            return None
        suffix = (
            "_above_" + max(passed, key=lambda step: int(step.rpartition("above_")[2][:-8])).rpartition("above_")[2]
        )
    if kind == "cached" and not entry.get("cache_read_input_token_cost"):
        return None
    cached = usage.cache_read_tokens * Decimal(str(entry.get("cache_read_input_token_cost" + suffix) or 0))
    fresh = (usage.input_tokens - usage.cache_read_tokens) * Decimal(str(entry["input_cost_per_token" + suffix]))
    output = entry.get("output_cost_per_token" + suffix) or 0
    return cached + fresh + (usage.output_tokens if output else 0) * Decimal(str(output))


def verdict(book: PriceBook, model: str, provider: str | None, name: Name, kind: str, at: float) -> str:
    wanted, usage = expected(name.entry, kind), USAGES[kind]
    if wanted is None:
        return "not asked"
    if not name.entry.get("output_cost_per_token"):
        usage = Usage(usage.input_tokens, 0, usage.cache_read_tokens)
    found = priced(book, Call("0", model, at, provider), usage)
    if found.nanos is None:
        return "refused"
    if abs(Decimal(found.nanos) / 10**9 - wanted) <= max(TOLERANCE * wanted, Decimal("2e-9")):
        return "right" if found.priced_by == "list" else "right, marked"
    return "wrong" if found.priced_by == "list" else "wrong, marked"


def without(table: PriceTable, name: Name) -> PriceTable:
    """The table as if it had no entry of this name."""
    return table.without(name.model, name.key)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--at", type=float, default=bundled_table().taken + 1.5 * 86400 + 7 * 3600, help="unix seconds")
    parser.add_argument("--show", help="print the names of one verdict, such as wrong")
    parser.add_argument("--kind", choices=USAGES, default="plain", help="of which usage --show prints names")
    options = parser.parse_args()
    asked = list(names(json.loads(options.table.read_text(), parse_float=Decimal)))
    both, alone = PriceBook(), PriceBook(table=None)
    ways = {
        "provider as LangChain names it": lambda name: (both, name.model, name.provider),
        "whole key, no provider": lambda name: (both, name.key, None),
        "provider and whole key": lambda name: (both, name.key, name.provider),
        "genai-prices alone": lambda name: (alone, name.model, name.provider),
        "left out": lambda name: (PriceBook(table=lambda: without(bundled_table(), name)), name.model, name.provider),
    }
    wrong = 0
    for way, question in ways.items():
        for kind in USAGES:
            found: Counter[str] = Counter()
            by_provider: Counter[str] = Counter()
            for name in asked:
                book, model, provider = question(name)
                said = verdict(book, model, provider, name, kind, options.at)
                found[said] += 1
                if said == options.show and kind == options.kind:
                    print(f"  {way}: {name.key} ({name.provider})")
                if said == "wrong":
                    by_provider[name.provider] += 1
            total = sum(found.values()) - found["not asked"]
            parts = ", ".join(f"{number} {said}" for said, number in found.most_common() if said != "not asked")
            print(
                f"{way}, {kind}: of {total} names {parts} ({found['refused'] / total:.1%} refused) {dict(by_provider)}"
            )
            if way in tuple(ways)[:3]:
                wrong += found["wrong"]
    print(agreement(both, asked, options.at))
    return 1 if wrong else 0


def agreement(book: PriceBook, asked: list[Name], at: float) -> str:
    found: Counter[str] = Counter()
    for name in asked:
        opinion = book.opinion(name.model, name.provider, None, at)
        if opinion is not None and len(opinion.sources) == 2 and all(source.exact for source in opinion.sources):
            found["differ" if opinion.differing else "agree"] += 1
    return f"agreement: {found['agree']} of {found.total()} names that both sources have cost the same within 1 %"


if __name__ == "__main__":
    sys.exit(main())
