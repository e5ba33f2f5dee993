"""Recorded usage objects through the real clients of the integrations, over HTTP from a server on this machine."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", NO_PROXY="127.0.0.1", LANGSMITH_TRACING="false")

from integrations import langchain_model, llamaindex_llm
from provider_server import ProviderServer

from costguard_core import CostGuard, Event

Row = dict[str, Any]
Charge = Callable[..., tuple[Any, bool]]

# Which integrations speak the protocol that a usage was recorded from: provider and end of the path; LangChain's and
# LlamaIndex's.
_SPOKEN: dict[tuple[str, str], tuple[str, str]] = {
    ("openai", "/chat/completions"): ("openai", "openai"),
    ("openai", "/responses"): ("openai, responses", "openai, responses"),
    ("anthropic", "/messages"): ("anthropic", "anthropic"),
    ("google_genai", "Content"): ("google_genai", "google_genai"),
    ("google_vertexai", "Content"): ("google_genai", "google_genai"),
    ("amazon_bedrock", "/converse"): ("bedrock_converse", "bedrock_converse"),
    ("groq", "/chat/completions"): ("groq", "groq"),
    ("openrouter", "/chat/completions"): ("openrouter", "openai_like"),
    ("deepseek", "/chat/completions"): ("deepseek", "deepseek"),
    ("mistralai", "/chat/completions"): ("mistralai", "mistralai"),
    ("azure", "/chat/completions"): ("azure_openai", "azure_openai"),
    ("cerebras", "/chat/completions"): ("openai", "openai_like"),
    ("zai", "/chat/completions"): ("openai", "openai_like"),
}
_WAYS = ("call", "stream")


class Replayed(NamedTuple):
    """One call: by which framework and integration, in which way, and the event; or the error of the integration."""

    framework: str
    integration: str
    way: str
    event: Event | None
    error: str | None = None


def replay(rows: list[Row], charge: Charge) -> int:
    """Print how many charges are those of reading the usage directly; 1 if one differs and is not marked."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    found: dict[tuple[str, str, str], Counter[str]] = {}
    examples: list[str] = []
    skipped = 0
    with ProviderServer(text="{}", apart=False, older=False) as server:
        for row, (langchain, llamaindex) in _distinct(rows):
            if not langchain:
                skipped += 1
                continue
            for made in _calls(server, row, langchain, llamaindex):
                said = _verdict(made, row, charge)
                found.setdefault(made[:3], Counter())[said] += 1
                if said == "different":
                    examples.append(_example(made, row, charge))
    total = sum(found.values(), Counter())
    print(f"over HTTP: {sum(total.values())} calls; {skipped} usages of paths without a chat integration left out")
    for key in sorted(found):
        counts = ", ".join(f"{name} {number}" for name, number in found[key].most_common())
        print(f"  {' '.join(key):44} {counts}")
    print(f"  in all: {dict(total.most_common())}")
    for example in examples[:20]:
        print(example)
    return 1 if total["different"] else 0


def _distinct(rows: list[Row]) -> Iterator[tuple[Row, tuple[str, str]]]:
    seen = set()
    for row in rows:
        key = json.dumps([row["provider"], row["model"], row["usage"]], sort_keys=True)
        if key in seen or not isinstance(row["usage"], dict):
            continue
        seen.add(key)
        end = str(row["url"]).partition("?")[0].removesuffix("-stream")
        speaks = (pair for (who, path), pair in _SPOKEN.items() if who == row["provider"] and end.endswith(path))
        embeds = "mbed" in end
        yield row, ("", "") if embeds else next(speaks, ("", ""))


def _calls(server: ProviderServer, row: Row, langchain: str, llamaindex: str) -> Iterator[Replayed]:
    server.usage, server.model = row["usage"], row["model"]
    for way in _WAYS:
        yield _langchain(server.url, row, langchain, way)
        yield _llamaindex(server.url, row, llamaindex, way)


def _guard(row: Row) -> tuple[CostGuard, list[Any]]:
    seen: list[Any] = []
    return CostGuard(hooks=[seen.append], clock=lambda: float(row["priced_at"])), seen


@lru_cache(maxsize=256)
def _model(integration: str, url: str, name: str) -> Any:
    return langchain_model(integration, url, name)


@lru_cache(maxsize=256)
def _llm(integration: str, url: str, name: str) -> Any:
    return llamaindex_llm(integration, url, name)


def _langchain(url: str, row: Row, integration: str, way: str) -> Replayed:
    from langchain_costguard import GuardedChatModel

    guard, seen = _guard(row)
    try:
        model = GuardedChatModel(_model(integration, url, _asked(row)), guard, cache=False)
        _ = model.invoke("hi") if way == "call" else list(model.stream("hi"))
    except Exception as error:
        return Replayed("LangChain", integration, way, None, f"{type(error).__name__}: {error}")
    return Replayed("LangChain", integration, way, seen[-1])


def _llamaindex(url: str, row: Row, integration: str, way: str) -> Replayed:
    from llama_index.core.llms import ChatMessage

    from llamaindex_costguard import guard_llm

    guard, seen = _guard(row)
    try:
        llm = guard_llm(_llm(integration, url, _asked(row)), guard)
        question = [ChatMessage(role="user", content="hi")]
        _ = llm.chat(question) if way == "call" else list(llm.stream_chat(question))
    except Exception as error:
        return Replayed("LlamaIndex", integration, way, None, f"{type(error).__name__}: {error}")
    return Replayed("LlamaIndex", integration, way, seen[-1])


def _asked(row: Row) -> str:
    return str(row["requested_model"] or row["model"])


def _direct(made: Replayed, row: Row, charge: Charge) -> Any:
    """The charge of reading the usage directly, at the seller that the integration names."""
    assert made.event is not None
    return charge(row, seller=made.event.provider)[0]


def _verdict(made: Replayed, row: Row, charge: Charge) -> str:
    if made.event is None:
        return "refused by the integration"
    direct = _direct(made, row, charge)
    if made.event.cost == (None if direct is None else direct.nanos):
        return "equal" if made.event.cost is not None else "no price in both"
    return "marked" if made.event.usage.estimated else "different"


def _example(made: Replayed, row: Row, charge: Charge) -> str:
    direct = _direct(made, row, charge)
    assert made.event is not None
    where = f"{made.framework} {made.integration} {made.way} {row['model']}"
    wanted = None if direct is None else direct.nanos
    return f"different: {where} {made.event.cost} instead of {wanted} {made.event.usage.to_json()} {row['usage']}"
