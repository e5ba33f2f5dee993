"""LiteLLM's public price table, translated into declared prices (see :mod:`costguard_core.pricing.overrides`).

The format: https://docs.litellm.ai/docs/provider_registration/add_model_pricing, fields of
``model_prices_and_context_window.json``. A price per token becomes dollars per million tokens, ``_priority``, ``_flex``
and ``_batches`` become service tiers, ``_above_200k_tokens`` and ``tiered_pricing`` become steps of prompt length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.overrides import SOLD_BY_PIECE

_MILLION = 1_000_000

# LiteLLM's field → the declared key, and by what its price is multiplied.
_FIELDS: dict[str, tuple[str, int]] = {
    "input_cost_per_token": ("input", _MILLION),
    "output_cost_per_token": ("output", _MILLION),
    "cache_read_input_token_cost": ("cached_input", _MILLION),
    "cache_creation_input_token_cost": ("cache_write", _MILLION),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h", _MILLION),
    "input_cost_per_audio_token": ("audio_input", _MILLION),
    "cache_read_input_audio_token_cost": ("cached_audio_input", _MILLION),
    "output_cost_per_audio_token": ("audio_output", _MILLION),
    "input_cost_per_image_token": ("image_input", _MILLION),
    "cache_read_input_image_token_cost": ("cached_image_input", _MILLION),
    "output_cost_per_image_token": ("image_output", _MILLION),
    "input_cost_per_video_token": ("video_input", _MILLION),
    "output_cost_per_reasoning_token": ("reasoning", _MILLION),
    "citation_cost_per_token": ("citation_token", 1),
    "input_cost_per_request": ("request", 1),
    "ocr_cost_per_page": ("page", 1),
    "annotation_cost_per_page": ("annotated_page", 1),
    "code_interpreter_cost_per_session": ("code_session", 1),
}
# Fields that price a whole call only in these modes: elsewhere they are alternatives to a price per token.
_BY_MODE: dict[str, dict[str, tuple[str, int]]] = {
    "rerank": {"input_cost_per_query": ("rerank", 1)},
    "audio_transcription": {"input_cost_per_second": ("audio_second", 1)},
    "audio_speech": {"input_cost_per_character": ("character", 1)},
}
_TIERS = {"_priority": "priority", "_flex": "flex", "_batches": "batch"}
_STEP = re.compile(r"_above_(\d+)k_tokens")
# What is bought otherwise than by a call to a model: searches, checks, training, and pictures and films by their size.
_OTHER_MODES = frozenset(
    "search evaluation extraction decisions guardrail vector_store video_generation image_edit".split()
)
_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_ALL_DAYS = (1, 2, 3, 4, 5, 6, 7)


class TableEntry(NamedTuple):
    """One model of the table.

    Attributes:
        key: the name under which the table has it.
        provider: the table's name of the seller.
        prices: as ``CostGuard(prices=...)`` takes them.
        off_peak: ``windows`` (pairs of weekdays, 1 is Monday, and ``[from, to)`` minutes of the UTC day) in which
            ``prices`` (those that differ) hold; ``None``: the price is the same at every hour.
        context: how many tokens a prompt may have, where the table says so.
    """

    key: str
    provider: str
    prices: dict[str, Any]
    off_peak: dict[str, Any] | None = None
    context: int | None = None


def read_table(table: object) -> Iterator[TableEntry]:
    """The models of a table that have a price which one call can be charged by.

    Zero is no price here: the table writes it for what it does not know and for what is paid by subscription.

    Raises:
        ConfigurationError: it is not such a table.
    """
    if not isinstance(table, Mapping) or not any(_is_entry(entry) for entry in table.values()):
        raise ConfigurationError(
            "this is not LiteLLM's price table: expected a JSON object of models with input_cost_per_token"
        )
    for key, found in table.items():
        entry, seller = found, None
        if isinstance(entry, Mapping) and "alias_of" in entry:
            entry = table.get(str(entry["alias_of"]))
        if not _is_entry(entry) or key == "sample_spec":
            continue
        prices = read_entry(entry, str(key))
        if prices is not None:
            seller = str(entry["litellm_provider"])
            context = entry.get("max_input_tokens")
            off_peak = _off_peak(entry.get("off_peak_pricing"))
            yield TableEntry(str(key), seller, prices, off_peak, context if isinstance(context, int) else None)


def read_entry(entry: Mapping[str, object], key: str = "") -> dict[str, object] | None:
    """The prices of one model of the table; ``None``: it has none that a call can be charged by."""
    mode = str(entry.get("mode"))
    if mode in _OTHER_MODES:
        return None
    fields = _FIELDS | _BY_MODE.get(mode, {})
    prices = _flat(entry, fields) | _tiered(entry.get("tiered_pricing"), fields)
    prices = _without_zeros(prices, mode, key)
    if "input" not in prices and not SOLD_BY_PIECE.intersection(prices):
        return None
    if not any(_amount(value) for value in prices.values() if isinstance(value, str)):
        return None
    prices |= _steps(entry, fields, prices)
    for suffix, tier in _TIERS.items():
        listed = _flat(entry, fields, suffix)
        if "input" in listed and ("output" in listed or "output" not in prices):
            prices[tier] = listed | _steps(entry, fields, prices, suffix)
    search = _search(entry.get("search_context_cost_per_query"))
    if search is not None:
        prices["web_search"] = search
    if (fast := _multiplier(entry, "fast")) is not None:
        prices["fast"] = _times(prices, fast)
    return prices


def _is_entry(entry: object) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("litellm_provider"), str)


def _flat(entry: Mapping[str, object], fields: Mapping[str, tuple[str, int]], suffix: str = "") -> dict[str, Any]:
    prices = {}
    for field, (key, factor) in fields.items():
        amount = _amount(entry.get(field + suffix))
        if amount is not None and (amount or key in ("input", "output")):
            prices[key] = _text(amount * factor)
    return prices


def _without_zeros(prices: dict[str, object], mode: str, key: str) -> dict[str, object]:
    """Without the zeros that are no price: only vectors and rankings have no output that is billed, and only where
    something else is billed is the input free."""
    has_no_output = mode in ("embedding", "rerank") or "embed" in key
    keep = {"output": has_no_output and "input" in prices, "input": "request" in prices}
    if SOLD_BY_PIECE.intersection(prices) and prices.get("input") == "0":
        keep = {}
    return {name: price for name, price in prices.items() if price != "0" or keep.get(name, False)}


def _steps(
    entry: Mapping[str, object], fields: Mapping[str, tuple[str, int]], prices: Mapping[str, object], suffix: str = ""
) -> dict[str, Any]:
    """Prices above a length of the prompt; only what the base has, too."""
    starts = {match[0]: int(match[1]) * 1000 for name in entry if (match := _STEP.search(name))}
    found = {}
    for text, start in starts.items():
        step = {key: value for key, value in _flat(entry, fields, text + suffix).items() if key in prices}
        if "input" in step:
            found[f"above_{start}"] = step
    return found


def _tiered(tiers: object, fields: Mapping[str, tuple[str, int]]) -> dict[str, object]:
    """``tiered_pricing``: the length of the prompt chooses the prices of the whole request."""
    if not isinstance(tiers, list):
        return {}
    ranges = sorted(
        ((start, _flat(tier, fields)) for tier in tiers if (start := _start(tier)) is not None), key=itemgetter(0)
    )
    if not ranges:
        return {}
    return ranges[0][1] | {f"above_{start}": prices for start, prices in ranges[1:]}


def _start(tier: object) -> int | None:
    """From how many tokens on a tier holds; ``None``: it does not say."""
    given = tier.get("range") if isinstance(tier, Mapping) else None
    start = _amount(given[0]) if isinstance(given, list) and given else None
    return None if start is None else int(start)


def _search(prices: object) -> str | None:
    """Dollars per search, where it does not depend on how much the search may read."""
    amounts = {_amount(value) for value in prices.values()} if isinstance(prices, Mapping) else set()
    amount = amounts.pop() if len(amounts) == 1 else None
    return _text(amount) if amount else None


def _multiplier(entry: Mapping[str, object], name: str) -> Decimal | None:
    special = entry.get("provider_specific_entry")
    return _amount(special.get(name)) if isinstance(special, Mapping) else None


def _times(prices: Mapping[str, Any], factor: Decimal) -> dict[str, str]:
    return {
        key: _text(Decimal(prices[key]) * factor)
        for key in ("input", "output", "cached_input", "cache_write", "cache_write_1h")
        if key in prices
    }


def _off_peak(given: object) -> dict[str, object] | None:
    if not isinstance(given, Mapping):
        return None
    windows = []
    for window in given.get("windows") or ():
        hours = window.get("hours_utc") if isinstance(window, Mapping) else None
        for text in hours if isinstance(hours, list) else [hours]:
            match = _WINDOW.fullmatch(str(text))
            if match is None:
                return None
            begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
            windows.append([list(window.get("weekdays", _ALL_DAYS)), begin, end or 1440])
    return {"windows": windows, "prices": _flat(given, _FIELDS)}


def _amount(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def _text(amount: Decimal) -> str:
    """An amount as a person writes it, to 12 significant digits: a table of floats has no more."""
    rounded = Decimal(f"{amount:.12g}").normalize()
    return f"{rounded:f}"


# LiteLLM's provider → the id of the seller in the price lists; others are the same.
_SELLERS = {
    "text-completion-openai": "openai",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cohere_chat": "cohere",
    "codestral": "mistral",
    "text-completion-codestral": "mistral",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "together_ai": "together",
    "xai": "x-ai",
    "voyage": "voyageai",
    "moonshot": "moonshotai",
    "bigmodel": "zhipuai",
    "text-completion-inception": "inception",
}
_VERTEX = "vertex_ai"


def seller_and_name(entry: TableEntry) -> tuple[str, str]:
    """The seller of an entry, and the model's name there in lower case, without the prefix that names the seller."""
    provider = entry.provider
    seller = _VERTEX if provider.startswith(f"{_VERTEX}-") else _SELLERS.get(provider, provider)
    key = entry.key.lower()
    prefix, found, name = key.partition("/")
    own = {provider, seller, provider.partition("-")[0], "bedrock", "text-completion-openai"}
    return seller, name if found and prefix in own else key
