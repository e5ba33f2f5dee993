"""Prices from other files, as declared prices: LiteLLM's table (JSON), a spreadsheet (CSV) or a price file (TOML)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.litellm_format import read_table, seller_and_name
from costguard_core.pricing.overrides import PRICE_KEYS, SOLD_BY_PIECE, TIER_KEYS, dollars_of
from costguard_core.pricing.price_file import PriceFile, parse_price_file, write_price_file
from costguard_core.util.options import meant

CSV_COLUMNS = ("provider", "model", "tier", "above", *PRICE_KEYS)


def import_prices(path: str | Path, *, provider: str | None = None, today: date | None = None) -> PriceFile:
    """Read prices from a file; its name's ending says what it is.

    Args:
        path: ``.json``: LiteLLM's ``model_prices_and_context_window.json``; ``.csv``: a row per model with the columns
            ``model`` and ``input`` and any of :data:`CSV_COLUMNS`, a further row for each service tier or prompt
            length; ``.toml``: a price file.
        provider: only the models of this seller, as LiteLLM or the CSV calls it.
        today: the day that is noted for a file that does not say of which day it is; ``None``: none is noted.

    Raises:
        ConfigurationError: the file cannot be read or used; the text says where, and what to write.
    """
    place = Path(path).expanduser()
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file {str(place)!r} cannot be read: {error}") from None
    prices: Mapping[str, Mapping[str, Any]]
    match place.suffix.lower():
        case ".toml":
            found = parse_price_file(text, str(place))
            prices, source, taken = found
        case ".json":
            prices, source, taken = dict(_of_litellm(text, str(place), provider)), "LiteLLM's price table", today
        case ".csv":
            prices, source, taken = _of_csv(text, str(place), provider), place.name, today
        case _:
            raise ConfigurationError(
                f"{place.name!r}: give LiteLLM's table as .json, a spreadsheet as .csv or a price file as .toml"
            )
    if not prices:
        only = f" of provider {provider!r}" if provider else ""
        raise ConfigurationError(f"{str(place)!r} has no price{only} that a call can be charged by")
    made = PriceFile(prices, source, taken)
    parse_price_file(write_price_file(made), str(place))  # what is written can be read
    return made


def _of_litellm(text: str, name: str, provider: str | None) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        table = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:  # brackets in brackets in brackets
        raise ConfigurationError(f"{name!r} is no JSON: {error}") from None
    try:
        entries = list(read_table(table))
    except ConfigurationError as error:
        raise ConfigurationError(f"{name!r}: {error}") from None
    for entry in entries:
        seller, model = seller_and_name(entry)
        if provider is None or provider.lower() in (seller, entry.provider):
            yield f"{seller}/{model}", entry.prices


def _of_csv(text: str, name: str, provider: str | None) -> dict[str, dict[str, object]]:
    first = text.partition("\n")[0]
    separator = "," if "," in first else next((found for found in ";\t" if found in first), ",")
    rows = csv.DictReader(StringIO(text, newline=""), delimiter=separator)
    columns = [column.strip() for column in rows.fieldnames or ()]
    for column in columns:
        if column not in CSV_COLUMNS:
            advice = meant(column, CSV_COLUMNS, f"columns are {', '.join(CSV_COLUMNS)}")
            raise ConfigurationError(f"{name}:1: {column!r} is no column; {advice}")
    if "model" not in columns:
        raise ConfigurationError(f"{name}:1: a first line with the columns model and input is needed, not {columns}")
    rows.fieldnames = columns
    prices: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for row in rows:
        place = f"{name}:{rows.line_num}"
        if any(row.get(None) or ()):  # where csv puts what no column is for
            raise ConfigurationError(
                f"{place}: more values than columns; write numbers with a decimal point, or put them in quotation marks"
            )
        given = {key: (value or "").strip() for key, value in row.items() if key is not None and isinstance(value, str)}
        if not given.get("model"):
            raise ConfigurationError(f"{place}: the column model is empty")
        said = given.get("provider", "")
        if provider is None or provider.lower() == said.lower():
            model = f"{said}/{given['model']}" if said else given["model"]
            places.setdefault(model, place)
            _add_row(prices.setdefault(model, {}), given, place)
    for model, found in prices.items():
        if "input" not in found and not SOLD_BY_PIECE.intersection(found):
            raise ConfigurationError(
                f'{places[model]}: {model!r} needs an "input" price in dollars per million tokens; 0 if it is free'
            )
    return prices


def _add_row(prices: dict[str, Any], row: Mapping[str, str], place: str) -> None:
    """Put the prices of one row where its tier and its prompt length say."""
    into, tier, above = prices, row.get("tier", ""), row.get("above", "")
    if tier and tier != "standard":
        if tier not in TIER_KEYS:
            raise ConfigurationError(f"{place}: tier {tier!r} is none of standard, {', '.join(TIER_KEYS)}")
        into = into.setdefault(tier, {})
    if above:
        if not above.isdecimal():
            raise ConfigurationError(f"{place}: above {above!r} is no number of tokens, such as 200000")
        into = into.setdefault(f"above_{int(above)}", {})
    for key in PRICE_KEYS:
        if not (value := row.get(key)):
            continue
        dollars_of(f"{place}: {key}", value)
        if into.setdefault(key, value) != value:
            raise ConfigurationError(f"{place}: {key} of {row['model']!r} is {value} here and {into[key]} before")
