"""Price files: declared prices in TOML, read with the line of every mistake, and written.

.. code-block:: toml

    source = "our contract"    # where the prices are from, and of which day: both may be left out
    date = 2026-11-29

    [prices."azure/my-deployment"]           # "model", "provider/model" or "provider:model"
    input = "2.50"                           # dollars per million tokens
    cached_input = "0.25"
    output = "10"
    web_search = "0.01"                      # dollars each
    flex = { input = "1.25", output = "5" }  # a service tier
    above_200000 = { input = "5", output = "15" }

The keys are those of ``CostGuard(prices=...)``, see docs/money.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.overrides import PRICE_KEYS, SOLD_BY_PIECE, STEP_KEY, TIER_KEYS, dollars_of
from costguard_core.pricing.price_book import PriceBook
from costguard_core.util.options import meant
from costguard_core.util.toml_document import Document, Path, Problem

_TOP = ("prices", "source", "date")


class PriceFile(NamedTuple):
    """What a price file says.

    Attributes:
        prices: by model, as ``CostGuard(prices=...)`` takes them.
        source: where they are from; ``None``: it does not say.
        taken: of which day they are; ``None``: it does not say.
    """

    prices: Mapping[str, Mapping[str, Any]]
    source: str | None = None
    taken: date | None = None


def book_of(options: Mapping[str, Any]) -> PriceBook:
    """The lists, with the declared prices, discounts and ceiling of a guard's or a policy file's options.

    Raises:
        ConfigurationError: one of them, or the price file that is named, cannot be used.
    """
    declared = options.get("prices")
    if isinstance(declared, str):
        declared = read_price_file(declared).prices
    return PriceBook(declared, discounts=options.get("discount"), unpriced=options.get("unpriced"))


def read_price_file(path: str | os.PathLike[str]) -> PriceFile:
    """Read a price file.

    Raises:
        ConfigurationError: there is no such file, or it says something that cannot be used; the text has a line for
            each problem, with the file, the line, the column, the key and what to write instead.
    """
    place = FilePath(path).expanduser()
    if place.suffix.lower() in (".csv", ".json"):
        raise ConfigurationError(
            f"{str(place)!r} is no price file: costguard prices import {place.name} -o prices.toml makes one of it"
        )
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the price file {str(place)!r} cannot be read: {error}") from None
    return parse_price_file(text, str(place))


def parse_price_file(text: str, name: str = "prices.toml") -> PriceFile:
    """The prices that ``text`` (TOML) declares; ``name`` is that of the file, for messages.

    Raises:
        ConfigurationError: as for :func:`read_price_file`.
    """
    document = Document(text, name)
    if problems := list(_problems(document.values)):
        raise document.error(problems)
    day = document.values.get("date")
    taken = day.date() if isinstance(day, datetime) else day
    return PriceFile(document.values.get("prices", {}), document.values.get("source"), taken)


def write_price_file(file: PriceFile) -> str:
    """A price file as TOML, models in alphabetical order. :func:`parse_price_file` reads the same from it."""
    lines = []
    if file.source is not None:
        lines.append(f"source = {_quoted(file.source)}")
    if file.taken is not None:
        lines.append(f"date = {file.taken.isoformat()}")
    for model, prices in sorted(file.prices.items()):
        lines += ["", f"[prices.{_quoted(model)}]"]
        flat = [(key, value) for key, value in prices.items() if not isinstance(value, Mapping)]
        nested = [(key, value) for key, value in prices.items() if isinstance(value, Mapping)]
        lines += [f"{key} = {_value(value)}" for key, value in (*flat, *nested)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _problems(values: Mapping[str, object]) -> Iterator[Problem]:
    for key, value in values.items():
        if key not in _TOP:
            advice = _nearest(key, _TOP)
            if isinstance(value, Mapping) and not get_close_matches(key, _TOP, n=1, cutoff=0.8):
                advice = f"prices of a model stand in a table of their own: write [prices.{_quoted(key)}]"
            yield Problem((key,), f"is no key of a price file; {advice}")
    if not isinstance(values.get("source", ""), str):
        yield Problem(("source",), 'is a text, such as source = "our contract"')
    if "date" in values and not isinstance(values["date"], date):
        yield Problem(("date",), "is a day without quotation marks, such as date = 2026-11-29")
    models = values.get("prices", {})
    if not isinstance(models, Mapping):
        yield Problem(("prices",), 'is a table of models, such as [prices."gpt-4o"]')
        return
    for model, prices in models.items():
        yield from _model_problems(("prices", model), prices)


def _model_problems(
    path: Path, prices: object, *, whole: bool = True, nested: tuple[str, ...] = TIER_KEYS
) -> Iterator[Problem]:
    if not isinstance(prices, Mapping):
        yield Problem(path, 'is a table of prices, such as { input = "2.50", output = "10" }')
        return
    for key, value in prices.items():
        place = (*path, key)
        if key in nested or (STEP_KEY.fullmatch(key) and not STEP_KEY.fullmatch(str(path[-1]))):
            yield from _model_problems(place, value, whole=False, nested=())
        elif key not in PRICE_KEYS:
            yield Problem(place, f"is no price; {_nearest(key, (*PRICE_KEYS, *nested, 'above_200000'))}")
        else:
            try:
                dollars_of("the price", value)
            except ConfigurationError as error:
                yield Problem(place, str(error))
    if whole and "input" not in prices and not SOLD_BY_PIECE.intersection(prices):
        yield Problem(path, 'needs an "input" price in dollars per million tokens; write input = "0" if it is free')


def _nearest(key: str, valid: tuple[str, ...]) -> str:
    return meant(key, valid, f"there are {', '.join(valid)}", cutoff=0.5)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(part)}' for key, part in value.items())} }}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """A TOML basic string: what JSON escapes TOML escapes alike, and one control character more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
