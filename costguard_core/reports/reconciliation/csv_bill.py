"""Exports of a provider's console as CSV: columns are known by their names, or are given."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

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
    uses_of,
)
from costguard_core.reports.reconciliation.csv_numbers import decimal_mark, plain
from costguard_core.reports.reconciliation.line_items import ANTHROPIC_PARTS, openai_line, tier_of, tool_of
from costguard_core.util.options import nearest
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
_COUNTS = (*_TOKENS, "requests", "quantity", "searches")
_NUMBERS = frozenset((*_MONEY, *_COUNTS))
_PROVIDERS = (("usage_date_utc", "anthropic"), ("start_time_iso", "openai"), ("num_model_requests", "openai"))
_DAY = re.compile(r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?$")
_UNIX = re.compile(r"^\d{9,10}(?:\.\d+)?$")
_SEPARATOR = re.compile(r"^sep=", re.IGNORECASE)  # Excel's own first line
_MOST_ROWS = 10_000_000
_REPEATED = "that a file before it has too, taken once"
_DOUBLED = "that repeat another one of it, counted as often as they stand"
_UNDATED = "with money and without a day, such as totals, which are not counted"


class _Rows(Protocol):
    """A reader of the csv module."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


class _File(NamedTuple):
    """One export: the number of the column of everything that it says, and how it writes numbers and times."""

    path: Path
    columns: Mapping[str, int]
    decimal_mark: str
    zone: tzinfo

    def values(self, row: list[str]) -> dict[str, str]:
        """What a line says, without what is empty."""
        found = {
            what: row[place].strip() for what, place in self.columns.items() if place < len(row) and row[place].strip()
        }
        return {what: plain(text, self.decimal_mark) if what in _NUMBERS else text for what, text in found.items()}


def read_csv(
    paths: Iterable[str | Path],
    *,
    provider: str | None = None,
    columns: Mapping[str, str] | None = None,
    zone: tzinfo = UTC,
) -> Bill:
    """The bill in one or several exports, such as the one of costs and the one of usage.

    Args:
        paths: the files.
        provider: who billed; ``None``: known from the columns.
        columns: what is in which column, where their names do not say: ``{"day": "Datum", "cost": "Betrag"}``.
        zone: the time zone whose days are compared, for lines that have a time rather than a day.

    Lines that several files have, which overlap, are taken once.

    Raises:
        ConfigurationError: a file, a column or a cell that cannot be read; the text names it.
    """
    given = _checked(columns or {})
    bill: Bill | None = None
    seen: dict[tuple[str, ...], Counter[int]] = {}  # how often files with these columns have a line, by its hash
    for path in map(Path, paths):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                dialect = _dialect(path, file.read(65_536))
                header, reader = _opened(file, dialect)
                found = _columns(path, header, given)
                seller = provider or next((name for column, name in _PROVIDERS if column in map(_plain, header)), None)
                if seller is None:
                    raise ConfigurationError(f"{path.name}: say whose bill it is, such as --provider openai")
                bill = bill or Bill(seller, "")
                if bill.provider != seller:
                    raise ConfigurationError(f"{path.name} is a bill of {seller}, another file one of {bill.provider}")
                bill.source = f"{bill.source}, {path.name}".removeprefix(", ")
                mark = _decimal_mark(path, found, reader, dialect.delimiter)
                _, reader = _opened(file, dialect)
                _read_rows(bill, _File(path, found, mark, zone), reader, seen.setdefault(tuple(header), Counter()))
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
            hint = nearest(name, COLUMNS)
            raise ConfigurationError(f"a bill has no {name!r}.{hint} Known are {', '.join(COLUMNS)}")
    return dict(columns)


def _dialect(path: Path, sample: str) -> type[csv.Dialect]:
    header = next((line for line in sample.splitlines() if line.strip() and not _SEPARATOR.match(line)), None)
    if header is None:
        raise ConfigurationError(f"{path.name} is empty")
    separator = max(",;\t", key=header.count)

    class Export(csv.excel):
        delimiter = separator

    return Export


def _opened(file: TextIO, dialect: type[csv.Dialect]) -> tuple[list[str], _Rows]:
    """The names of the columns, and the lines below them."""
    file.seek(0)
    reader = csv.reader(file, dialect=dialect)
    header = next(row for row in reader if any(map(str.strip, row)) and not _SEPARATOR.match(row[0]))
    return header, reader


def _decimal_mark(path: Path, columns: Mapping[str, int], rows: _Rows, delimiter: str) -> str:
    amounts: list[str] = []
    counts: list[str] = []
    if delimiter != ",":
        for row in rows:
            for names, texts in ((_MONEY, amounts), (_COUNTS, counts)):
                texts.extend(row[columns[what]] for what in names if what in columns and columns[what] < len(row))
    try:
        return decimal_mark(amounts, counts, delimiter=delimiter)
    except CostGuardError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None


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


def _read_rows(bill: Bill, file: _File, rows: _Rows, before: Counter[int]) -> None:
    """Add the lines that no file before has, and note what is not counted or looks wrong."""
    name = file.path.name
    here: Counter[int] = Counter()
    noted: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        if number > _MOST_ROWS:
            raise ConfigurationError(f"{name} has more than {_MOST_ROWS:,} lines")
        values = file.values(row)
        line = hash(tuple(row))
        here[line] += bool(values)
        try:
            if not values or here[line] <= before[line]:
                noted[_REPEATED] += bool(values)
            elif "day" in values:
                noted[_DOUBLED] += here[line] > 1
                _add_row(bill, values, file.zone)
            else:
                noted[_UNDATED] += bool(_money(values))
        except CostGuardError as error:
            raise ConfigurationError(f"{name}, line {rows.line_num}: {error}") from None
    before |= here
    bill.notes += (f"Lines of {name} {what}: {count:,}." for what, count in noted.items() if count)


def _add_row(bill: Bill, values: Mapping[str, str], zone: tzinfo) -> None:
    day = _day(values["day"], zone)
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
        if subject.is_tool:
            bill.row(subject).add_requests(uses_of(values.get("quantity")))
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
            return nanos_of(values[what], per_dollar=per_dollar)
    return None


def _day(text: str, zone: tzinfo) -> str:
    """The day of a line. Midnight, as it is written or of UTC, stands for a day; other moments are in ``zone``."""
    if _UNIX.match(text):
        moment = datetime.fromtimestamp(float(text), UTC)
        return (moment if moment.time() == time() else moment.astimezone(zone)).date().isoformat()
    if found := _DAY.match(text):
        try:
            day = date(*map(int, found.groups()))
        except ValueError:
            pass
        else:
            return _local_day(text, day, zone).isoformat()
    raise CostGuardError(f"{printable(text, most=40)!r} is no day such as 2026-11-01")


def _local_day(text: str, written: date, zone: tzinfo) -> date:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # a day alone, or a form that says no offset which could be read
        return written
    return written if moment.tzinfo is None or moment.time() == time() else moment.astimezone(zone).date()
