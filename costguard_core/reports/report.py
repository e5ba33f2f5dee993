"""A report: what groups of calls add up to. It prints, renders in a notebook and exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from costguard_core.errors import MissingExtraError
from costguard_core.reports.display import as_html, as_markdown, as_text
from costguard_core.types import usd
from costguard_core.util.text import NONE, csv_cell

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str | None, ...]
Figure = str | int | float | Decimal | None


class PrettyPrinter(Protocol):
    """IPython's printer of plain text."""

    def text(self, obj: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """What a group of calls adds up to.

    Attributes:
        calls: every event.
        paid: calls that a provider billed.
        answered: calls that got an answer, paid or not.
        hits: answers that were served without a provider.
        refused: calls that a budget, the breaker or the manual switch refused.
        errors: calls that ended with an error.
        abandoned: calls that were cancelled, or whose process died.
        unpriced: calls whose cost is *unknown*; they are not in ``cost``.
        estimated: paid calls whose usage was counted locally.
        cost: nano-dollars spent.
        saved: nano-dollars not spent because of hits and routing.
        input_tokens, output_tokens: of paid calls.
        p50, p95: median and 95th percentile of the latency of answered calls, in seconds, within 2 %; ``None`` if there
            are none.
        exact, semantic, coalesced: hits by their kind: the same request, another wording, and a request that waited for
            one like it that was under way.
        partly_priced: calls of whose cost a part is unknown, so that ``cost`` is a floor.
        cache_read_tokens, cache_write_tokens: those of ``input_tokens`` that a provider read from, or wrote to, its own
            prompt cache.
        reasoning_tokens: those of ``output_tokens`` that a model thought in.
        saved_exact, saved_semantic, saved_coalesced, saved_routing: the parts of ``saved``, by what saved them.
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
    exact: int = 0
    semantic: int = 0
    coalesced: int = 0
    partly_priced: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    saved_exact: int = 0
    saved_semantic: int = 0
    saved_coalesced: int = 0
    saved_routing: int = 0

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

    @property
    def exact_rate(self) -> float:
        """Exact hits per answered call, 0 to 1."""
        return self.exact / self.answered if self.answered else 0.0

    @property
    def semantic_rate(self) -> float:
        """Semantic hits per answered call, 0 to 1."""
        return self.semantic / self.answered if self.answered else 0.0

    @property
    def coalesced_rate(self) -> float:
        """Calls that waited for one like them, per answered call, 0 to 1."""
        return self.coalesced / self.answered if self.answered else 0.0

    @property
    def prompt_cache_rate(self) -> float:
        """Input tokens of paid calls that a provider read from its prompt cache, per input token, 0 to 1."""
        return self.cache_read_tokens / self.input_tokens if self.input_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One group of calls.

    Attributes:
        key: one value per dimension, ``None`` where nothing was attributed.
        totals: what the group adds up to.
    """

    key: Key
    totals: Totals

    @property
    def label(self) -> str:
        return " · ".join(NONE if part is None else part for part in self.key)


SORTS: Mapping[str, Callable[[Row], tuple[int | float | str, ...]]] = {
    "spend": lambda row: (-row.totals.cost, -row.totals.calls, row.label),
    "saved": lambda row: (-row.totals.saved, row.label),
    "calls": lambda row: (-row.totals.calls, row.label),
    "tokens": lambda row: (-row.totals.input_tokens - row.totals.output_tokens, row.label),
    "hit_rate": lambda row: (-row.totals.hit_rate, -row.totals.calls, row.label),
    "refused": lambda row: (-row.totals.refused, row.label),
    "errors": lambda row: (-row.totals.errors, row.label),
    "p95": lambda row: (-(row.totals.p95 or 0.0), row.label),
    "name": lambda row: (row.label,),
}
"""Orders of a report, the largest first, names in theirs."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was spent, by group. Iterates over its rows.

    Attributes:
        by: the dimensions of the groups.
        rows: by descending spend; by date where a dimension is the day.
        total: of all calls.
        since, until: the span in unix seconds; ``None``: from the first call, to the last.
        source: the URL of the ledger, without credentials.
        timezone: whose hours, days, weeks and months are meant.
        more: rows that a limit left out; they are in the total.
        notes: what a reader must know beside the figures.
    """

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Totals
    since: float | None = None
    until: float | None = None
    source: str = ""
    timezone: str = "UTC"
    more: int = 0
    notes: tuple[str, ...] = ()

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
        return as_text(self)

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))  # IPython: the table where there is no HTML

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_dicts(self) -> list[dict[str, Figure]]:
        """One dictionary per row, without the total. Money is ``Decimal`` dollars; see :class:`Totals` for the rest."""
        return [dict(zip(self.by, row.key, strict=True)) | _figures(row.totals) for row in self.rows]

    def to_json(self, *, indent: int | None = 2) -> str:
        """Rows and total as JSON; money as strings of dollars, times as ISO 8601 UTC."""
        whole = {
            "by": list(self.by),
            "since": _iso(self.since),
            "until": _iso(self.until),
            "timezone": self.timezone,
            "more": self.more,
            "notes": list(self.notes),
            "rows": self.to_dicts(),
            "total": _figures(self.total),
        }
        return json.dumps(whole, indent=indent, default=_plain)

    def to_csv(self) -> str:
        """Rows as CSV with a header, without the total. Names are printable, and never formulas to a spreadsheet."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.by, *_figures(self.total)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _plain_cell(value) for name, value in row.items()} for row in self.to_dicts())
        return text.getvalue()

    def to_markdown(self) -> str:
        """Rows and total as a Markdown table, with what a reader must know above and below it."""
        return as_markdown(self)

    def to_pandas(self) -> pd.DataFrame:
        """Rows as a data frame, money as ``float`` dollars so that it can be plotted (extra ``notebook``)."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("Report.to_pandas()", "notebook") from None
        frame = pd.DataFrame(self.to_dicts(), columns=[*self.by, *_figures(self.total)])
        money = {name: float for name in frame.columns if name.startswith(("spend_", "saved_"))}
        return frame.astype({**money, "p50": float, "p95": float})


def _figures(totals: Totals) -> dict[str, Figure]:
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
        "exact": totals.exact,
        "semantic": totals.semantic,
        "coalesced": totals.coalesced,
        "partly_priced": totals.partly_priced,
        "cache_read_tokens": totals.cache_read_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "prompt_cache_rate": round(totals.prompt_cache_rate, 4),
        "saved_exact_usd": usd(totals.saved_exact),
        "saved_semantic_usd": usd(totals.saved_semantic),
        "saved_coalesced_usd": usd(totals.saved_coalesced),
        "saved_routing_usd": usd(totals.saved_routing),
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _plain_cell(value: Figure) -> Figure:
    return csv_cell(value) if isinstance(value, str) else _plain(value) if isinstance(value, Decimal) else value
