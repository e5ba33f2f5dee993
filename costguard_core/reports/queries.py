"""What a report asks of the ledger, in SQL that SQLite and Postgres both understand, and how its rows are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import DIMENSIONS, TABLE, storable_value
from costguard_core.ledger.database import Database
from costguard_core.ledger.ledger import span
from costguard_core.reports.report import Key, Report, Row, Totals
from costguard_core.types import attributed
from costguard_core.util.timeparse import Moment

_Values = tuple[Any, ...]  # a row, or the beginning of one, as the database has it

_HIT = "outcome IN ('exact', 'semantic', 'coalesced')"
# An unknown cost (NULL) is not nothing. A call that failed or was cancelled before it cost anything was not paid.
_PAID = "(outcome = 'miss' OR (outcome IN ('error', 'abandoned') AND COALESCE(cost_nanos, 1) <> 0))"
_ANSWERED = f"(outcome = 'miss' OR {_HIT})"


def _count(condition: str) -> str:
    return f"COALESCE(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)"


# The order is that of the fields of `Totals`.
_SUMS: tuple[str, ...] = (
    "COUNT(*)",
    _count(_PAID),
    _count(_ANSWERED),
    _count(_HIT),
    _count("outcome = 'refused'"),
    _count("outcome = 'error'"),
    _count("outcome = 'abandoned'"),
    _count("cost_nanos IS NULL"),
    _count(f"estimated AND {_PAID}"),
    "COALESCE(SUM(cost_nanos), 0)",
    "COALESCE(SUM(saved_nanos), 0)",
    f"COALESCE(SUM(CASE WHEN {_PAID} THEN input_tokens ELSE 0 END), 0)",
    f"COALESCE(SUM(CASE WHEN {_PAID} THEN output_tokens ELSE 0 END), 0)",
)


def make_report(
    ledger: Ledger,
    by: str | Sequence[str] = (),
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    where: Mapping[str, str | None] | None = None,
) -> Report:
    """Calls, spend and savings by one or several of ``"user"``, ``"endpoint"``, ``"model"``, ``"day"``, …, or a tag.

    Memory is bounded by the number of groups, however many calls there were.

    Args:
        ledger: what was recorded.
        by: the dimensions of the groups; none: only the total.
        since, until: the span, ``since`` inclusive and ``until`` exclusive, in the forms of
            :func:`costguard_core.util.timeparse.resolve`.
        where: only calls with these values, such as ``{"endpoint": "/faq"}``; ``None`` as a value: where none is given.

    Raises:
        ConfigurationError: an unknown dimension or time.
        CostGuardError: the ledger cannot be read.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    start, end = ledger.resolve_span(since, until)
    with ledger.reading() as database:
        groups = [_column(database, name) for name in names]
        condition, values = _condition(database, span(start, end), where or {})
        found = _read(len(names), database.rows(_sums(groups, condition), values))
        total = _added(found.values())
        with_times = _with_percentiles(found, database.rows(_latencies(groups, condition), values)) if names else {}
        whole = _with_percentiles({(): total}, database.rows(_latencies((), condition), values))[()]
    rows = (Row(_labelled(names, key), totals) for key, totals in with_times.items())
    order = _by_day if "day" in names else _by_spend
    return Report(names, tuple(sorted(rows, key=order)), whole, start, end, ledger.url)


def call_condition(
    database: Database, where: Mapping[str, str], *, since: float | None = None, until: float | None = None
) -> tuple[str, _Values]:
    """The SQL condition, and its values, of the calls in a span (unix seconds) that have the values of ``where``."""
    return _condition(database, span(since, until), where)


def _read(width: int, rows: Iterable[_Values]) -> dict[_Values, Totals]:
    return {row[:width]: Totals(*map(int, row[width:])) for row in rows}


def _column(database: Database, name: str) -> str:
    if name == "day":
        return database.day
    if name == "route":
        return _tier(DIMENSIONS[name], database.find)
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    try:
        return database.tag(check_tag_name(name))
    except ConfigurationError:
        known = [*DIMENSIONS, "day"]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(
            f"a report cannot be made by {name!r}: {hint}Use one of {', '.join(known)}, or a tag"
        ) from None


def _condition(
    database: Database, time: tuple[str, tuple[float, ...]], where: Mapping[str, str | None]
) -> tuple[str, _Values]:
    """An SQL condition and its parameters: the time, and what ``where`` says."""
    conditions, values = [time[0]], list[object](time[1])
    for name, value in where.items():
        if name == "day":
            raise ConfigurationError('where={"day": ...}: days are chosen with since= and until=')
        column = _column(database, name)
        wanted = None if value is None else attributed(value)
        if wanted is None:
            conditions.append(f"{column} IS NULL")
        else:
            conditions.append(f"{column} = ?")
            values.append(storable_value(wanted))
    return " AND ".join(conditions), tuple(values)


def _by_spend(row: Row) -> tuple[int, int, str]:
    return (-row.totals.cost, -row.totals.calls, row.label)


def _by_day(row: Row) -> str:
    return row.label


def _labelled(by: tuple[str, ...], key: _Values) -> Key:
    return tuple(_day(value) if name == "day" else value for name, value in zip(by, key, strict=True))


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86400, UTC).date().isoformat()


def _added(many: Iterable[Totals]) -> Totals:
    whole = list(many)
    names = [field.name for field in fields(Totals) if field.name not in ("p50", "p95")]
    return Totals(**{name: sum(getattr(totals, name) for totals in whole) for name in names})


def _with_percentiles(found: dict[_Values, Totals], rows: Iterable[_Values]) -> dict[_Values, Totals]:
    """Walk through latencies that arrive group by group in ascending order, and keep the two that matter of each."""
    timed = dict(found)
    for key, group in groupby(rows, key=lambda row: row[:-1]):
        totals = found.get(key)
        if totals is None:  # its first call was written between the two queries
            continue
        p50, p95 = _ranked((row[-1] for row in group), totals.answered)
        timed[key] = replace(totals, p50=p50, p95=p95)
    return timed


def _ranked(ascending: Iterable[float], count: int) -> tuple[float | None, float | None]:
    """p50 and p95 by nearest rank: the smallest value that at least that share of the values does not exceed."""
    ranks = (-(-50 * count // 100), -(-95 * count // 100))
    picked = {place: value for place, value in enumerate(ascending, start=1) if place in ranks}
    return picked.get(ranks[0]), picked.get(ranks[1])


def _tier(column: str, find: str) -> str:
    """Of a decision in one line, ``tier (score 0.1, cut 0.2) escalated: reasons``, the tier: what reports group by.

    The rest differs from call to call. ``find`` is the function that says where a text begins in another one.
    """
    head = column
    for end in (": ", " (score ", " escalated"):
        head = f"substr({head}, 1, {find}({head} || '{end}', '{end}') - 1)"
    return head


def _sums(groups: Sequence[str], where: str) -> str:
    """One row per group: the group's values, then the sums."""
    columns = ", ".join((*groups, *_SUMS))
    return f"SELECT {columns} FROM {TABLE} WHERE {where}" + _group_by(groups)


def _latencies(groups: Sequence[str], where: str) -> str:
    """One row per answered call: the group's values and the latency, each group together and in ascending order."""
    columns = ", ".join((*groups, "latency"))
    return f"SELECT {columns} FROM {TABLE} WHERE {where} AND {_ANSWERED} ORDER BY {columns}"


def _group_by(groups: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(groups)}" if groups else ""
