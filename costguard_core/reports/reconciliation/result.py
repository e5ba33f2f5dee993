"""What a reconciliation found: what was billed and what was recorded, by day and model, and why they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from costguard_core.reports.reconciliation.differences import KINDS, RESTS
from costguard_core.types import usd

if TYPE_CHECKING:
    from costguard_core.reports.report import PrettyPrinter

_NANOS = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class Row:
    """One model, or one tool of the provider, on one day.

    Attributes:
        provider: the price list's id of the seller.
        day: ``"2026-11-01"``.
        name: the model or the tool, as the bill calls it.
        billed, recorded: nano-dollars on the bill and in the ledger.
        requests: on the bill; ``None``: the provider does not say.
        calls: in the ledger that the provider answered, or may have.
        parts: why they differ: pairs of a kind of :data:`KINDS` and nano-dollars, the largest first.
    """

    provider: str
    day: str
    name: str
    billed: int
    recorded: int
    requests: int | None
    calls: int
    parts: tuple[tuple[str, int], ...]

    @property
    def difference(self) -> int:
        """Nano-dollars that the bill has more than the ledger. The parts add up to it."""
        return self.billed - self.recorded

    @property
    def rest(self) -> int:
        """Nano-dollars that nothing explains, whatever their sign."""
        return sum(abs(nanos) for kind, nanos in self.parts if kind in RESTS)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A ledger against a bill. Iterates over its rows; prints as a table.

    Attributes:
        rows: by the money of their differences, the most first.
        sources: where the bills were read, and the ledger's URL without credentials.
        since, until: the first day, and the one after the last.
        zone: the time zone of the days.
        notes: what a reader must know beside the figures.
    """

    rows: tuple[Row, ...]
    sources: tuple[str, ...]
    since: str
    until: str
    zone: str = "UTC"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __bool__(self) -> bool:
        return True  # without rows too, a reconciliation is something

    @property
    def billed(self) -> int:
        """Nano-dollars on the bill."""
        return sum(row.billed for row in self.rows)

    @property
    def recorded(self) -> int:
        """Nano-dollars in the ledger."""
        return sum(row.recorded for row in self.rows)

    @property
    def difference(self) -> int:
        """Nano-dollars that the bill has more than the ledger."""
        return self.billed - self.recorded

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Why they differ: kinds of :data:`KINDS` and nano-dollars of all rows, the most money first."""
        total: dict[str, int] = {}
        weight: dict[str, int] = {}
        for row in self.rows:
            for kind, nanos in row.parts:
                total[kind] = total.get(kind, 0) + nanos
                weight[kind] = weight.get(kind, 0) + abs(nanos)
        order = list(KINDS)
        return tuple(sorted(total.items(), key=lambda part: (-weight[part[0]], order.index(part[0]))))

    @property
    def rest(self) -> int:
        """Nano-dollars that nothing explains: of each row, whatever its sign, so that no two hide each other."""
        return sum(row.rest for row in self.rows)

    @property
    def rest_usd(self) -> Decimal:
        return usd(self.rest)

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether what nothing explains is no more than this."""
        return self.rest <= tolerance.nanos(self.billed)

    def __str__(self) -> str:
        from costguard_core.reports.reconciliation.display import as_text

        return as_text(self)

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from costguard_core.reports.reconciliation.display import as_html

        return as_html(self)

    def to_markdown(self) -> str:
        """The same tables in Markdown, for a ticket or a pull request."""
        from costguard_core.reports.reconciliation.display import as_markdown

        return as_markdown(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON data: money as text of exact dollars."""
        return {
            "since": self.since,
            "until": self.until,
            "time_zone": self.zone,
            "sources": list(self.sources),
            "billed_usd": _dollars(self.billed),
            "recorded_usd": _dollars(self.recorded),
            "difference_usd": _dollars(self.difference),
            "unexplained_usd": _dollars(self.rest),
            "parts": _parts(self.parts),
            "rows": [
                {
                    "provider": row.provider,
                    "day": row.day,
                    "model": row.name,
                    "billed_usd": _dollars(row.billed),
                    "recorded_usd": _dollars(row.recorded),
                    "difference_usd": _dollars(row.difference),
                    "requests_billed": row.requests,
                    "calls_recorded": row.calls,
                    "parts": _parts(row.parts),
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=indent)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much may stay unexplained.

    Attributes:
        dollars: an amount; ``None``: a share of the bill.
        share: of the bill, 0 to 1.
    """

    dollars: Decimal | None = None
    share: Decimal = Decimal(0)

    def nanos(self, billed: int) -> int:
        """Nano-dollars that may stay unexplained of a bill."""
        if self.dollars is not None:
            return int(self.dollars / _NANOS)
        return int(abs(billed) * self.share)

    def __str__(self) -> str:
        return (
            f"${self.dollars}" if self.dollars is not None else f"{100 * self.share:f}".rstrip("0").rstrip(".") + " %"
        )


def _dollars(nanos: int) -> str:
    return f"{usd(nanos):.9f}"


def _parts(parts: tuple[tuple[str, int], ...]) -> list[dict[str, str]]:
    return [{"kind": kind, "what": KINDS[kind], "usd": _dollars(nanos)} for kind, nanos in parts]
