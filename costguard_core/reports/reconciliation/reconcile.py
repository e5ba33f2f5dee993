"""The ledger against a provider's own record of what it billed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.pricing.price_book import PriceBook
from costguard_core.reports.reconciliation import anthropic_bill, openai_bill
from costguard_core.reports.reconciliation.bill import (
    AUDIO_CACHE_READ,
    AUDIO_INPUT,
    AUDIO_OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    WHOLE,
    Bill,
    Billed,
    Cell,
    Subject,
)
from costguard_core.reports.reconciliation.csv_bill import read_csv
from costguard_core.reports.reconciliation.differences import (
    KINDS,
    Neighbour,
    Parts,
    UnitPrice,
    explain,
    explain_tool,
    shift_edges,
)
from costguard_core.reports.reconciliation.recorded import (
    QUARTER,
    Recorded,
    Slot,
    by_subject,
    deleted_before,
    read_slots,
)
from costguard_core.reports.reconciliation.result import Reconciliation, Row, Tolerance
from costguard_core.types import BILLED_UNITS, Usage
from costguard_core.util.json_client import JsonClient
from costguard_core.util.options import check_text, nearest
from costguard_core.util.timeparse import Moment

_DAY = 86_400
_DEFAULT_DAYS = 7
_MOST_DAYS = 3_660
_SAMPLE = 1_000  # tokens that a list price is taken from: short enough for no long-context price
_TOLERANCE = re.compile(r"(?:\$\s*(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*(%)?)")
_OFFSETS = range(-12, 15)  # hours of the time zones that are tried
_CLEARLY = Fraction(1, 5)  # another time zone fits if it leaves less than this share of the differences

_RECORDED_TOOLS = frozenset(("web_search", *BILLED_UNITS))

PROVIDERS = ("openai", "anthropic")
"""Whose reports are read over their APIs; exports as CSV may be anybody's."""

_SOURCES = {"openai": openai_bill, "anthropic": anthropic_bill}
# `Usage` fields of a sample of tokens of a part, inside their total.
_SAMPLES: Mapping[str, tuple[str, ...]] = {
    CACHE_READ: ("cache_read_tokens",),
    CACHE_WRITE: ("cache_write_tokens",),
    CACHE_WRITE_1H: ("cache_write_tokens", "cache_write_1h_tokens"),
    AUDIO_INPUT: ("audio_input_tokens",),
    AUDIO_CACHE_READ: ("audio_input_tokens", "audio_cache_read_tokens", "cache_read_tokens"),
    IMAGE_INPUT: ("image_input_tokens",),
    AUDIO_OUTPUT: ("audio_output_tokens",),
    IMAGE_OUTPUT: ("image_output_tokens",),
}


def reconcile(
    ledger: Ledger,
    *,
    provider: str | Sequence[str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    csv: str | Path | Sequence[str | Path] | None = None,
    columns: Mapping[str, str] | None = None,
    timezone: str = "UTC",
    projects: Sequence[str] = (),
    workspaces: Sequence[str] = (),
    prices: PriceBook | None = None,
    environment: Mapping[str, str] | None = None,
    base_urls: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    sleep: Callable[[float], object] = time.sleep,
) -> Reconciliation:
    """Compare the ledger with what providers say that they billed, by day and model, and name the differences.

    Bills are read over HTTPS, with an administrator's key from ``OPENAI_ADMIN_KEY`` or ``ANTHROPIC_ADMIN_KEY``, which
    is neither stored nor shown; or from exports of the provider's console. Nothing is changed.

    Args:
        ledger: what was recorded.
        provider: ``"openai"``, ``"anthropic"`` or both; ``None``: those whose key is set. With ``csv`` any name.
        since, until: whole days: from the one that holds ``since`` up to the one that ``until`` begins or cuts. Without
            them the seven days before today. A provider may still add to the current day.
        csv: exports to read instead of asking: of costs, of usage, or both.
        columns: what is in which column of them, where their names do not say: ``{"cost": "Betrag"}``.
        timezone: of the days of an export; the APIs report UTC days.
        projects: OpenAI's projects, workspaces: Anthropic's, if the ledger is not of the whole organisation.
        prices: list prices, for what a bill has no prices of.
        environment: where keys are read; ``None``: ``os.environ``.
        base_urls: other addresses of the APIs, by provider.
        timeout: seconds for each request.
        sleep: waits that many seconds before a further try.

    Raises:
        ConfigurationError: an option, a key or a file that cannot be used.
        CostGuardError: the ledger or the provider's report cannot be read.
    """
    zone = _zone(timezone)
    paths = [csv] if isinstance(csv, (str, Path)) else list(csv or ())
    if paths:
        if provider is not None and not isinstance(provider, str):
            raise ConfigurationError("an export is one provider's: provider= is one name")
        if projects or workspaces or base_urls:
            raise ConfigurationError("projects, workspaces and other addresses are for the APIs, not for an export")
        bills = [read_csv(paths, provider=provider, columns=columns, zone=zone)]
        first, last = _days_of(ledger, since, until, zone, bills[0])
    else:
        if columns:
            raise ConfigurationError("columns= are those of an export: give it with csv=")
        if zone is not UTC:
            raise ConfigurationError("the APIs report UTC days: timezone= is for exports (csv=)")
        first, last = _days(ledger, since, until, zone)
        _check_kept(ledger, first, zone)
        names = _names(provider, environment)
        _check_options(names, base_urls or {}, projects, workspaces)
        clients = [_client(name, environment, base_urls or {}, timeout, sleep) for name in names]
        bills = []
        for name, client in zip(names, clients, strict=True):
            only = {"openai": projects, "anthropic": workspaces}[name]
            bills.append(_SOURCES[name].read(client, _begin(first, zone), _begin(last, zone), only))
    return compare(ledger, bills, first, last, zone=zone, prices=prices)


def compare(
    ledger: Ledger,
    bills: Iterable[Bill],
    first: date,
    last: date,
    *,
    zone: tzinfo = UTC,
    prices: PriceBook | None = None,
) -> Reconciliation:
    """The ledger against bills that were read, of the days from ``first`` up to ``last``."""
    prices = prices or PriceBook()
    begin, end = _begin(first, zone), _begin(last, zone)
    _check_kept(ledger, first, zone)
    slots = read_slots(ledger, begin - QUARTER, end + QUARTER)
    rows: list[Row] = []
    notes: list[str] = []
    sources: list[str] = []
    for bill in bills:
        within = [subject for subject in bill.rows if first.isoformat() <= subject.day < last.isoformat()]
        bill.rows = {subject: bill.rows[subject] for subject in within}
        bill.join_names()
        if not bill.has_money:
            _value_at_list(bill, prices, zone)
        recorded = by_subject(slots, provider=bill.provider, billed=bill.rows, zone=zone, prices=prices)
        rows += _compared(bill, recorded, first, last, prices, zone)
        notes += bill.notes
        sources.append(bill.source)
        notes += _time_zone_note(bill, slots, begin, end, prices, zone)
    rows.sort(key=lambda row: (-sum(abs(nanos) for _, nanos in row.parts), row.day, row.provider, row.name))
    return Reconciliation(
        rows=tuple(rows),
        sources=(*sources, ledger.url),
        since=first.isoformat(),
        until=last.isoformat(),
        zone="UTC" if zone is UTC else str(zone),
        notes=tuple(notes),
    )


def parse_tolerance(text: str) -> Tolerance:
    """How much may stay unexplained: ``"$0.50"`` or ``"1%"`` of the bill.

    Raises:
        ConfigurationError: it is neither.
    """
    found = _TOLERANCE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f'{text!r} is no tolerance: write an amount such as "$0.50", or a share such as "1%"')
    dollars, number, percent = found.groups()
    if percent:
        return Tolerance(share=Decimal(number) / 100)
    return Tolerance(dollars=Decimal(dollars or number))


# Bills


def _names(provider: str | Sequence[str] | None, environment: Mapping[str, str] | None) -> list[str]:
    """Whose bills are asked for."""
    known = os.environ if environment is None else environment
    if provider is None:
        found = [name for name in PROVIDERS if known.get(_SOURCES[name].KEY_NAME, "").strip()]
        if not found:
            names = " or ".join(_SOURCES[name].KEY_NAME for name in PROVIDERS)
            raise ConfigurationError(f"no bill to compare with: set {names}, or give an export (--csv FILE)")
        return found
    asked = [provider] if isinstance(provider, str) else list(provider)
    for name in asked:
        if name not in PROVIDERS:
            raise ConfigurationError(
                f"there is no report of {name!r} that could be asked for.{nearest(name, PROVIDERS)} "
                f"Known are {' and '.join(PROVIDERS)}; of others, give an export (--csv FILE)"
            )
    return asked


def _check_options(
    names: Sequence[str], base_urls: Mapping[str, str], projects: Sequence[str], workspaces: Sequence[str]
) -> None:
    """An option for a provider that is not asked would be left out without a word."""
    given = [("projects", "openai")] if projects else []
    given += [("workspaces", "anthropic")] if workspaces else []
    for what, name in given:
        if name not in names:
            raise ConfigurationError(f"{what} are those of {name}, but only {' and '.join(names)} is asked")
    for name in base_urls:
        if name not in PROVIDERS:
            hint = nearest(name, PROVIDERS)
            raise ConfigurationError(f"{name!r} has no API whose address could be given.{hint}")


def _client(
    name: str,
    environment: Mapping[str, str] | None,
    base_urls: Mapping[str, str],
    timeout: float,
    sleep: Callable[[float], object],
) -> JsonClient:
    source = _SOURCES[name]
    key = (os.environ if environment is None else environment).get(source.KEY_NAME, "").strip()
    if not key:
        raise ConfigurationError(
            f"{source.KEY_NAME} is not set. It must hold a key of an administrator, which is not the one that calls "
            f"models: make one at {source.KEYS_PAGE}"
        )
    try:
        return JsonClient(base_urls.get(name, source.BASE_URL), source.headers(key), timeout=timeout, sleep=sleep)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source.KEY_NAME}: {error}" if "header" in str(error) else str(error)) from None


def _value_at_list(bill: Bill, prices: PriceBook, zone: tzinfo) -> None:
    """Give a bill without money the money of its tokens at list prices."""
    unknown = set()
    for subject, row in bill.rows.items():
        listed = list_prices(prices, bill.provider, subject, zone)
        for cell, count in row.tokens.items():
            price = listed(cell)
            if price is None:
                unknown.add(subject.name)
            else:
                row.add_money(*cell, round(price * count))
        if subject.is_tool and row.requests:
            usage = Usage(web_searches=row.requests)
            model = next((other.name for other in bill.rows if not other.is_tool and other.day == subject.day), "")
            at = _begin(date.fromisoformat(subject.day), zone)
            row.add_money(None, WHOLE, prices.cost(usage, model=model, provider=bill.provider, at=at) or 0)
    bill.notes.append(
        "The export has no money: its tokens are valued at list prices, so price differences cannot be seen. Give the "
        "export of costs too."
    )
    if unknown:
        bill.notes.append(f"No list price is known for {', '.join(sorted(unknown))}: not in Billed.")


# The comparison


def _compared(
    bill: Bill, recorded: Mapping[Subject, Recorded], first: date, last: date, prices: PriceBook, zone: tzinfo
) -> list[Row]:
    nothing, unbilled = Recorded(), Billed()
    found: dict[Subject, Parts] = {}
    inside = {subject for subject in recorded if first.isoformat() <= subject.day < last.isoformat()}
    for subject in {*bill.rows, *inside}:
        billed, known = bill.rows.get(subject, unbilled), recorded.get(subject, nothing)
        if subject.is_tool:
            found[subject] = explain_tool(billed, known, is_recorded=subject.name in _RECORDED_TOOLS)
        else:
            found[subject] = explain(billed, known, list_prices(prices, bill.provider, subject, zone))
    _shift_all(found, recorded, first, last)
    rows = []
    for subject, parts in found.items():
        billed, known = bill.rows.get(subject, unbilled), recorded.get(subject, nothing)
        if not (billed.nanos or known.nanos or billed.requests or billed.tokens or known.all_calls or known.uses):
            continue
        rows.append(
            Row(
                provider=bill.provider,
                day=subject.day,
                name=subject.name,
                billed=billed.nanos,
                recorded=known.nanos,
                requests=billed.requests,
                calls=known.uses if subject.is_tool else known.all_calls,
                parts=tuple(sorted(parts.items(), key=lambda part: (-abs(part[1]), list(KINDS).index(part[0])))),
            )
        )
    return rows


def _shift_all(found: Mapping[Subject, Parts], recorded: Mapping[Subject, Recorded], first: date, last: date) -> None:
    """Calls that bill and ledger count on neighbouring days, those just outside the span included."""
    days = [first + timedelta(days=number) for number in range(-1, (last - first).days + 1)]
    for name, is_tool in {(subject.name, subject.is_tool) for subject in found}:
        line = []
        for day in days:
            subject = Subject(day.isoformat(), name, is_tool)
            known = recorded.get(subject, Recorded())
            outside = not first <= day < last
            # What is billed outside the span is not known: it takes all that the span has too much or lacks.
            parts = {"missing": -known.nanos, "outside": 10**18} if outside else found.get(subject, {})
            line.append(Neighbour(parts, known.early, known.late))
        shift_edges(line)


def list_prices(prices: PriceBook, provider: str, subject: Subject, zone: tzinfo) -> UnitPrice:
    """List prices of one model on one day, in nano-dollars of one token."""
    at = _begin(date.fromisoformat(subject.day), zone) + _DAY / 2
    known: dict[Cell, Fraction | None] = {}

    def price(cell: Cell) -> Fraction | None:
        if cell not in known:
            known[cell] = _list_price(prices, provider, subject.name, cell, at)
        return known[cell]

    return price


def _list_price(prices: PriceBook, provider: str, model: str, cell: Cell, at: float) -> Fraction | None:
    tier, part = cell
    if part == WHOLE:
        return None
    found = prices.find(model, provider, tier, at)
    if found.card is None or found.priced_by == "estimate" or not found.has_tier:
        return None
    total = "output_tokens" if part.endswith("output") else "input_tokens"
    sample = Usage.from_json(dict.fromkeys((total, *_SAMPLES.get(part, ())), _SAMPLE))
    cost = found.card.price(sample).cost
    return None if cost is None else Fraction(cost, _SAMPLE)


def _time_zone_note(
    bill: Bill, slots: Sequence[Slot], begin: float, end: float, prices: PriceBook, zone: tzinfo
) -> list[str]:
    """Which other time zone the bill's days seem to be of, if one fits clearly better."""
    if zone is not UTC or len({subject.day for subject in bill.rows}) < 2:
        return []
    left = {hours: _distance(bill, slots, begin, end, hours, prices) for hours in _OFFSETS}
    best = min(left, key=lambda hours: (left[hours], abs(hours)))
    if best == 0 or left[best] > left[0] * _CLEARLY:
        return []
    note = f"The bill's days fit those of UTC{best:+d} far better than those of UTC: if the export is in local time, "
    return [f"{note}name its time zone (--timezone Europe/Berlin)."]


def _distance(bill: Bill, slots: Sequence[Slot], begin: float, end: float, hours: int, prices: PriceBook) -> int:
    """Nano-dollars by which the sums of the days differ, if they are those of a time zone."""
    days: dict[str, int] = {}
    for slot in slots:
        if slot.seller in (bill.provider, None) and begin <= slot.start < end:
            day = datetime.fromtimestamp(slot.start + hours * 3600, UTC).date().isoformat()
            days[day] = days.get(day, 0) + slot.cost
    for subject, row in bill.rows.items():
        days[subject.day] = days.get(subject.day, 0) - row.nanos
    return sum(map(abs, days.values()))


# Days


def _zone(name: str) -> tzinfo:
    check_text("timezone", name, '"Europe/Berlin" or "UTC"')
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(f"{name!r} is no time zone: write UTC, or a place such as Europe/Berlin") from None


def _begin(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _days(ledger: Ledger, since: Moment | None, until: Moment | None, zone: tzinfo) -> tuple[date, date]:
    """The first day, and the one after the last."""
    start, end = ledger.resolve_span(since, until, zone)
    today = datetime.fromtimestamp(ledger.resolve_span("0s", None)[0] or 0.0, zone).date()
    last = today if end is None else _day_after(end, zone)
    first = last - timedelta(days=_DEFAULT_DAYS) if start is None else datetime.fromtimestamp(start, zone).date()
    if first >= last:
        raise ConfigurationError(
            f"the days from {first} to before {last} are none: a bill is compared by whole days ({zone}), and today is "
            f"not over; say until= to include it"
            if first == today
            else f"since= is not before until=: {first}, {last}"
        )
    if (last - first).days > _MOST_DAYS:
        raise ConfigurationError(f"{(last - first).days:,} days are more than {_MOST_DAYS:,}: choose a shorter span")
    return first, last


def _check_kept(ledger: Ledger, first: date, zone: tzinfo) -> None:
    """Without the single calls of a day, all of its bill would look like calls that went another way."""
    deleted = deleted_before(ledger)
    if deleted is not None and _begin(first, zone) < deleted:
        earliest = _day_after(deleted, zone)
        raise ConfigurationError(
            f"the ledger's single calls before {earliest} are deleted (retention), and a bill of {first} can only be "
            f"compared with them: say since={earliest}"
        )


def _day_after(moment: float, zone: tzinfo) -> date:
    found = datetime.fromtimestamp(moment, zone)
    return found.date() + timedelta(days=(found.hour, found.minute, found.second, found.microsecond) != (0, 0, 0, 0))


def _days_of(ledger: Ledger, since: Moment | None, until: Moment | None, zone: tzinfo, bill: Bill) -> tuple[date, date]:
    """The days that are asked for, else those that an export has."""
    days = sorted(subject.day for subject in bill.rows)
    if not days:
        raise ConfigurationError(f"{bill.source} has no line of any day")
    if since is None and until is None:
        return date.fromisoformat(days[0]), date.fromisoformat(days[-1]) + timedelta(days=1)
    start, end = ledger.resolve_span(since, until, zone)
    first = date.fromisoformat(days[0]) if start is None else datetime.fromtimestamp(start, zone).date()
    last = date.fromisoformat(days[-1]) + timedelta(days=1) if end is None else _day_after(end, zone)
    if first >= last:
        raise ConfigurationError(f"the export has no day from {first} to before {last}: it begins {days[0]}")
    return first, last
