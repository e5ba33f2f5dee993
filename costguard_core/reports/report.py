"""Questions about the ledger and their answer: a :class:`Report`, which prints, renders in a notebook and exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING, Any

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.ledger import summary
from costguard_core.ledger.columns import DIMENSIONS
from costguard_core.ledger.database import Database
from costguard_core.types import usd

if TYPE_CHECKING:
    import pandas as pd

NONE = "(none)"
Key = tuple[str | None, ...]
Found = dict[tuple[Any, ...], "Totals"]  # by the values of the groups, as the database has them


@dataclass(frozen=True, slots=True)
class Totals:
    """What a group of calls adds up to.

    ``calls`` counts every event. ``paid`` went to a provider that billed it, ``answered`` got an answer (paid or not),
    ``hits`` were served without a provider. ``unpriced`` are calls whose cost is *unknown*: they are not in ``cost``.
    ``estimated`` are paid calls whose usage was counted locally. ``cost`` and ``saved`` are nano-dollars; tokens are
    those of paid calls. ``p50`` and ``p95`` are seconds, of answered calls; ``None`` if there are none.
    """

    calls: int = 0
    paid: int = 0
    answered: int = 0
    hits: int = 0
    refused: int = 0
    errors: int = 0
    abandoned: int = 0
    unpriced: int = 0
    estimated: int = 0
    cost: int = 0
    saved: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    p50: float | None = None
    p95: float | None = None

    @property
    def spend_usd(self) -> Decimal:
        return usd(self.cost)

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)

    @property
    def hit_rate(self) -> float:
        """Hits per answered call, 0 to 1."""
        return self.hits / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One group: its key (one value per dimension, ``None`` where nothing was attributed) and its totals."""

    key: Key
    totals: Totals

    @property
    def label(self) -> str:
        return " · ".join(NONE if part is None else part for part in self.key)


@dataclass(frozen=True, slots=True)
class Report:
    """Rows by descending spend (by date, if by day) and the total of all. ``since`` and ``until`` are unix seconds."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Totals
    since: float | None = None
    until: float | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: str | Key | None) -> Totals:
        """The totals of one group: ``report["u1"]``, or ``report["u1", "/support"]`` with two dimensions."""
        wanted = key if isinstance(key, tuple) else (key,)
        for row in self.rows:
            if row.key == wanted:
                return row.totals
        raise KeyError(key)

    def __str__(self) -> str:
        from costguard_core.reports.display import as_text

        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))  # IPython: the table where there is no HTML

    def _repr_html_(self) -> str:
        from costguard_core.reports.display import as_html

        return as_html(self)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary per row, without the total. Money is ``Decimal`` dollars; see :class:`Totals` for the rest."""
        return [dict(zip(self.by, row.key, strict=True)) | _figures(row.totals) for row in self.rows]

    def to_json(self, *, indent: int | None = 2) -> str:
        """Rows and total as JSON; money as strings of dollars, times as ISO 8601 UTC."""
        whole = {
            "by": list(self.by),
            "since": _iso(self.since),
            "until": _iso(self.until),
            "rows": self.to_dicts(),
            "total": _figures(self.total),
        }
        return json.dumps(whole, indent=indent, default=_plain)

    def to_csv(self) -> str:
        """Rows as CSV with a header, without the total."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.by, *_figures(self.total)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain_cell(value) for name, value in row.items()} for row in self.to_dicts())
        return text.getvalue()

    def to_pandas(self) -> pd.DataFrame:
        """Rows as a data frame, money as ``float`` dollars so that it can be plotted (extra ``notebook``)."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("Report.to_pandas()", "notebook") from None
        frame = pd.DataFrame(self.to_dicts(), columns=[*self.by, *_figures(self.total)])
        return frame.astype({"spend_usd": float, "saved_usd": float, "p50": float, "p95": float})


def make_report(
    database: Database, *, by: tuple[str, ...], since: float | None = None, until: float | None = None
) -> Report:
    """Ask the database. Memory is bounded by the number of groups, however many calls there were.

    Raises:
        ConfigurationError: ``by`` names something that is not recorded.
    """
    groups = [_column(database, name) for name in by]
    where, values = summary.span(since, until)
    found = _read(len(by), database.rows(summary.sums(groups, where), values))
    total = _added(found.values())
    with_times = _with_percentiles(found, database.rows(summary.latencies(groups, where), values)) if by else {}
    whole = _with_percentiles({(): total}, database.rows(summary.latencies((), where), values))[()]
    rows = (Row(_labelled(by, key), totals) for key, totals in with_times.items())
    return Report(by, tuple(sorted(rows, key=_by_day if "day" in by else _by_spend)), whole, since, until, database.url)


def _read(width: int, rows: Iterable[tuple[Any, ...]]) -> Found:
    return {row[:width]: Totals(*map(int, row[width:])) for row in rows}


def _column(database: Database, name: str) -> str:
    if name == "day":
        return database.day
    if name == "route":
        return summary.tier(DIMENSIONS[name], database.find)
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    known = [*DIMENSIONS, "day"]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigurationError(f"a report cannot be made by {name!r}: {hint}Use one of {', '.join(known)}")


def _by_spend(row: Row) -> tuple[int, int, str]:
    return (-row.totals.cost, -row.totals.calls, row.label)


def _by_day(row: Row) -> str:
    return row.label


def _labelled(by: tuple[str, ...], key: tuple[Any, ...]) -> Key:
    return tuple(_day(value) if name == "day" else value for name, value in zip(by, key, strict=True))


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86400, UTC).date().isoformat()


def _added(many: Iterable[Totals]) -> Totals:
    whole = list(many)
    names = [field.name for field in fields(Totals) if field.name not in ("p50", "p95")]
    return Totals(**{name: sum(getattr(totals, name) for totals in whole) for name in names})


def _with_percentiles(found: Found, rows: Iterable[tuple[Any, ...]]) -> Found:
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


def _figures(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "paid": totals.paid,
        "answered": totals.answered,
        "hits": totals.hits,
        "hit_rate": round(totals.hit_rate, 4),
        "refused": totals.refused,
        "errors": totals.errors,
        "abandoned": totals.abandoned,
        "unpriced": totals.unpriced,
        "estimated": totals.estimated,
        "spend_usd": totals.spend_usd,
        "saved_usd": totals.saved_usd,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "p50": totals.p50,
        "p95": totals.p95,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _plain_cell(value: object) -> object:
    return _plain(value) if isinstance(value, Decimal) else value
