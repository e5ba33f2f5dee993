"""Every number and switch that a user gives is checked where it is given, in both adapters alike."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import langchain_core.language_models as langchain_models
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core import MockEmbedding
from llama_index.core.llms import MockLLM

import langchain_costguard as langchain
import llamaindex_costguard as llamaindex
from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache.semantic.index.memory import MemoryIndex

GUARD = CostGuard()
MODEL, OTHER = (langchain_models.FakeListChatModel(responses=[text]) for text in "ab")
NUMBERS, SWITCHES = (True, nan, inf, -1, "5", [1]), (1, "yes", nan)


def half(_: object) -> float:
    return 0.5


MAKERS: dict[str, tuple[Callable[..., Any], list[str], list[str]]] = {
    "policy": (langchain.CachePolicy, ["max_temperature", "max_choices", "min_bytes", "max_bytes", "ttl", "wait"], []),
    "policy's switches": (langchain.CachePolicy, [], ["cache_personal", "cache_dynamic"]),
    **{
        f"{adapter.__name__} exact cache": (adapter.ExactCache, ["ttl", "max_entries", "max_bytes"], [])
        for adapter in (langchain, llamaindex)
    },
    **{
        f"{name} semantic cache": (
            lambda cache=cache, vectors=vectors, **options: cache(vectors, index=MemoryIndex(), **options),
            ["threshold", "max_error", "audit", "ttl", "max_entries", "max_scopes", "timeout"],
            ["history"],
        )
        for name, cache, vectors in (
            ("langchain", langchain.SemanticCache, DeterministicFakeEmbedding(size=4)),
            ("llamaindex", llamaindex.SemanticCache, MockEmbedding(embed_dim=4)),
        )
    },
    "GuardedChatModel": (
        lambda **options: langchain.GuardedChatModel(MODEL, GUARD, **options),
        ["billed_attempts"],
        ["stream_usage", "fixed_output"],
    ),
    "guard_llm": (
        lambda **options: llamaindex.guard_llm(MockLLM(), GUARD, **options),
        ["billed_attempts"],
        ["stream_usage", "fixed_output"],
    ),
    "langchain router": (
        lambda **options: langchain.TieredRouter(cheap=MODEL, strong=OTHER, score=half, **options),
        ["share"],
        [],
    ),
    "llamaindex router": (
        lambda **options: llamaindex.TieredRouter(cheap=MockLLM(), strong=MockLLM(), score=half, **options),
        ["share"],
        [],
    ),
    "judge": (lambda **options: langchain.judged(MODEL, **options), ["per_minute"], ["always"]),
    "llamaindex judge": (lambda **options: llamaindex.judged(MockLLM(), **options), ["per_minute"], ["always"]),
    **{
        f"{adapter.__name__} {kind.__name__}": (kind, ["keep"], [])
        for adapter in (langchain, llamaindex)
        for kind in (adapter.PromptEconomy, adapter.SentenceFilter)
    },
    "webhook": (lambda **options: langchain.WebhookHook("http://localhost:1/", **options), ["timeout"], ["calls"]),
}
WRONG = [
    pytest.param(make, option, value, id=f"{name} {option}={value!r}")
    for name, (make, numbers, switches) in MAKERS.items()
    for options, values in ((numbers, NUMBERS), (switches, SWITCHES))
    for option in options
    for value in values
    if not (option == "share" and value == [1])  # a share for each tier above the first
]


@pytest.mark.parametrize(("make", "option", "value"), WRONG)
def test_a_wrong_value_is_named(make: Callable[..., Any], option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):  # pydantic wraps a ConfigurationError, which is a ValueError
        make(**{option: value})


@pytest.mark.parametrize("value", NUMBERS)
def test_a_prompt_log_names_a_wrong_value(tmp_path: Path, value: object) -> None:
    with pytest.raises(ConfigurationError, match="max_pairs"):
        langchain.PromptLog(tmp_path / "log.db", max_pairs=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "near"),
    [
        (lambda: langchain.GuardedChatModel(MODEL, GUARD, biled_attempts=2), '"billed_attempts"'),
        (lambda: langchain.TieredRouter(cheap=MODEL, strong=OTHER, treshold=0.5), '"threshold"'),
        (lambda: langchain.SemanticCache(DeterministicFakeEmbedding(size=4), decide="guard"), '"guarded"'),
    ],
)
def test_a_misspelt_option_is_told_the_nearest(make: Callable[[], object], near: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean {near}"):
        make()
