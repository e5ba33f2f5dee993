"""Exports of a provider's console as CSV: columns are known by their names, or are given."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.reports.reconciliation.bill import (
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    INPUT,
    OUTPUT,
    WHOLE,
    Bill,
    Subject,
    count_of,
    nanos_of,
)
from costguard_core.reports.reconciliation.line_items import ANTHROPIC_PARTS, openai_line, tier_of, tool_of
from costguard_core.util.text import printable

# Names of columns as they are compared: lower case, words joined by "_". The first that a file has is taken. From the
# exports of OpenAI's and Anthropic's consoles, OpenRouter's activity, and what people write.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "day": ("usage_date_utc", "start_time_iso", "start_time", "usage_date", "day", "date", "created_at", "timestamp"),
    "model": ("model_version", "model", "model_name", "slug", "snapshot_id"),
    "cost": ("cost_usd", "amount_value", "cost", "amount_usd", "cost_in_usd", "cost_total", "amount", "usage", "spend"),
    "cents": ("amount_cents", "cost_cents", "cost_in_cents"),
    "currency": ("amount_currency", "currency"),
    "line_item": ("line_item",),
    "token_type": ("token_type",),
    "cost_type": ("cost_type",),
    "quantity": ("quantity",),
    "requests": ("num_model_requests", "requests", "request_count", "n_requests", "calls"),
    "input": ("input_tokens", "prompt_tokens", "n_context_tokens_total"),
    "fresh_input": ("usage_input_tokens_no_cache", "uncached_input_tokens", "input_uncached_tokens"),
    "cache_read": (
        "usage_input_tokens_cache_read",
        "cache_read_input_tokens",
        "input_cached_tokens",
        "cache_read_tokens",
        "cached_tokens",
    ),
    "cache_write": (
        "usage_input_tokens_cache_write_5m",
        "usage_input_tokens_cache_write",
        "cache_creation_input_tokens",
        "input_cache_write_tokens",
        "cache_write_tokens",
    ),
    "cache_write_1h": ("usage_input_tokens_cache_write_1h", "cache_write_1h_tokens"),
    "output": ("usage_output_tokens", "output_tokens", "completion_tokens", "n_generated_tokens_total"),
    "searches": ("web_search_count",),
    "tier": ("service_tier", "usage_type", "tier"),
    "batch": ("batch",),
    "speed": ("speed",),
}
"""What a file may say, and the columns that say it."""

_TOKENS = ("input", "fresh_input", "cache_read", "cache_write", "cache_write_1h", "output")
_MONEY = ("cost", "cents")
_PROVIDERS = (("usage_date_utc", "anthropic"), ("start_time_iso", "openai"), ("num_model_requests", "openai"))
_DAY = re.compile(r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?$")
_UNIX = re.compile(r"^\d{9,10}(?:\.\d+)?$")
_MOST_ROWS = 10_000_000


def read_csv(
    paths: Iterable[str | Path],
    *,
    provider: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Bill:
    """The bill in one or several exports, such as the one of costs and the one of usage.

    Args:
        paths: the files.
        provider: who billed; ``None``: known from the columns.
        columns: what is in which column, where their names do not say: ``{"day": "Datum", "cost": "Betrag"}``.

    Raises:
        ConfigurationError: a file, a column or a cell that cannot be read; the text names it.
    """
    given = _checked(columns or {})
    bill: Bill | None = None
    for path in map(Path, paths):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, dialect=_dialect(file.read(65_536)))
                file.seek(0)
                header = next(reader, [])
                found = _columns(path, header, given)
                seller = provider or next((name for column, name in _PROVIDERS if column in map(_plain, header)), None)
                if seller is None:
                    raise ConfigurationError(f"{path.name}: say whose bill it is, such as --provider openai")
                bill = bill or Bill(seller, "")
                if bill.provider != seller:
                    raise ConfigurationError(f"{path.name} is a bill of {seller}, another file one of {bill.provider}")
                bill.source = f"{bill.source}, {path.name}".removeprefix(", ")
                _read_rows(bill, path, found, reader)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or type(error).__name__}") from None
        except (UnicodeDecodeError, csv.Error):
            raise ConfigurationError(f"{path.name} is no CSV file in UTF-8") from None
    if bill is None:
        raise ConfigurationError("no CSV file was given")
    return bill


def _checked(columns: Mapping[str, str]) -> dict[str, str]:
    for name in columns:
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"a bill has no {name!r}.{hint} Known are {', '.join(COLUMNS)}")
    return dict(columns)


def _dialect(sample: str) -> type[csv.Dialect]:
    class Export(csv.excel):
        delimiter = max(",;\t", key=sample.partition("\n")[0].count)

    return Export


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _columns(path: Path, header: list[str], given: Mapping[str, str]) -> dict[str, int]:
    """The number of the column of everything that the file says."""
    plain = [_plain(name) for name in header]
    found = {}
    for what, names in COLUMNS.items():
        wanted = (_plain(given[what]),) if what in given else names
        place = next((plain.index(name) for name in wanted if name in plain), None)
        if place is not None:
            found[what] = place
        elif what in given:
            near = get_close_matches(_plain(given[what]), plain, n=1)
            hint = f" Did you mean {header[plain.index(near[0])]!r}?" if near else ""
            raise ConfigurationError(f"{path.name} has no column {given[what]!r}.{hint}")
    if "day" not in found:
        raise ConfigurationError(f"{path.name}: no column is the day. Name it: --column day=NAME")
    if not any(what in found for what in (*_MONEY, *_TOKENS)):
        raise ConfigurationError(f"{path.name}: no column has money or tokens. Name one: --column cost=NAME")
    if "line_item" not in found and "model" not in found:
        raise ConfigurationError(f"{path.name}: no column is the model. Name it: --column model=NAME")
    return found


def _read_rows(bill: Bill, path: Path, columns: Mapping[str, int], rows: Iterator[list[str]]) -> None:
    for number, row in enumerate(rows, start=2):
        if number > _MOST_ROWS:
            raise ConfigurationError(f"{path.name} has more than {_MOST_ROWS:,} lines")
        values = {
            what: row[place].strip() for what, place in columns.items() if place < len(row) and row[place].strip()
        }
        if "day" not in values:
            continue
        try:
            _add_row(bill, values)
        except CostGuardError as error:
            raise ConfigurationError(f"{path.name}, line {number}: {error}") from None


def _add_row(bill: Bill, values: Mapping[str, str]) -> None:
    day = _day(values["day"])
    if values.get("currency", "usd").lower() != "usd":
        raise CostGuardError(f"the currency is {printable(values['currency'], most=8)!r}: only usd can be compared")
    tier = "batch" if values.get("batch", "").lower() in ("true", "1", "yes") else None
    tier = tier or tier_of(values.get("speed")) or tier_of(values.get("tier"))
    model, tool, part = values.get("model"), None, WHOLE
    if "line_item" in values:
        line = openai_line(values["line_item"])
        model, tool, part, tier = line.model or model, line.tool, line.part, line.tier or tier
    if "token_type" in values:
        part = ANTHROPIC_PARTS.get(values["token_type"], WHOLE)
    if values.get("cost_type", "token") not in ("token", "tokens", "standard"):
        tool, model = tool_of(values["cost_type"]) or values["cost_type"], None
    subject = Subject(day, model) if model else Subject(day, tool or "other", is_tool=True)
    nanos = _money(values)
    if nanos is not None:
        bill.has_money = True
        bill.row(subject).add_money(tier, part, nanos)
        if subject.is_tool and "quantity" in values:
            bill.row(subject).add_requests(count_of(values["quantity"].partition(".")[0]))
    if any(what in values for what in _TOKENS):
        bill.row(subject).add_tokens(tier, _tokens(values))
    if "requests" in values:
        bill.row(subject).add_requests(count_of(values["requests"]))
    if "searches" in values and (searches := count_of(values["searches"])):
        bill.row(Subject(day, "web_search", is_tool=True)).add_requests(searches)


def _tokens(values: Mapping[str, str]) -> dict[str, int]:
    counts = {what: count_of(values.get(what)) for what in _TOKENS}
    read, written, long = counts["cache_read"], counts["cache_write"], counts["cache_write_1h"]
    fresh = counts["fresh_input"] if "fresh_input" in values else max(0, counts["input"] - read - written - long)
    return {INPUT: fresh, CACHE_READ: read, CACHE_WRITE: written, CACHE_WRITE_1H: long, OUTPUT: counts["output"]}


def _money(values: Mapping[str, str]) -> int | None:
    for what, per_dollar in (("cost", 1), ("cents", 100)):
        if what in values:
            text = values[what].replace("$", "").strip()
            if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
                text = text.replace(",", "")
            return nanos_of(text, per_dollar=per_dollar)
    return None


def _day(text: str) -> str:
    if _UNIX.match(text):
        return datetime.fromtimestamp(float(text), UTC).date().isoformat()
    if found := _DAY.match(text):
        try:
            return date(*map(int, found.groups())).isoformat()
        except ValueError:
            pass
    raise CostGuardError(f"{printable(text, most=40)!r} is no day such as 2026-11-01")
