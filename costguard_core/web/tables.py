"""The tables of the page as CSV. Money is dollars, with all digits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from costguard_core.budgets.status import Status
from costguard_core.ledger import Ledger
from costguard_core.reports.economics import UnitEconomics
from costguard_core.reports.explain import Explanation
from costguard_core.reports.queries import make_report
from costguard_core.types import usd
from costguard_core.util.text import csv_cell
from costguard_core.web import figures
from costguard_core.web.calls import CallRow


def calls(found: Iterable[CallRow]) -> str:
    """Single calls as CSV."""
    names = [name if name != "cost" else "cost_usd" for name in CallRow._fields]
    rows = (row._asdict() | {"cost": None if row.cost is None else usd(row.cost)} for row in found)
    return _as_csv(names, [tuple(row.values()) for row in rows])


def outcomes(found: Sequence[UnitEconomics]) -> str:
    """Unit economics as CSV."""
    rows = [one.to_dict() for one in found]
    bounds = [row.pop("interval_usd") or ("", "") for row in rows]
    head = [*rows[0], "interval_low_usd", "interval_high_usd"]
    return _as_csv(
        head, [[*map(_cell, row.values()), *map(_cell, pair)] for row, pair in zip(rows, bounds, strict=True)]
    )


def changes(found: Explanation) -> str:
    """What changed as CSV: a line per factor, value of a dimension, and cause."""
    rows: list[tuple[str, str, object]] = [("factor", name, usd(nanos)) for name, nanos in found.parts]
    for carrier in found.carriers:
        rows += [(carrier.dimension, value or "(none)", usd(nanos)) for value, nanos in carrier.values]
        rows.append((carrier.dimension, "all others", usd(carrier.rest)))
    rows += [(f"cause: {cause.kind}", cause.text, usd(cause.cost)) for cause in found.causes]
    return _as_csv(("by", "value", "difference_usd"), rows)


def budgets(status: Status | None) -> str:
    """What is left of each budget as CSV."""
    head = ("budget", "scope", "unit", "limit", "spent", "held", "remaining", "resets_at")
    rows = [] if status is None else figures.budget_rows(status)
    return _as_csv(
        head,
        [
            (
                row.budget,
                ", ".join(f"{name}={value}" for name, value in row.scope.items()),
                row.unit,
                row.limit,
                row.spent,
                row.held,
                row.remaining,
                row.resets_at,
            )
            for row in rows
        ],
    )


def refused(ledger: Ledger, since: float, where: Mapping[str, str]) -> str:
    """Which budget refused how many calls, as CSV."""
    if where.get("outcome", "refused") != "refused":
        return _as_csv(("reason", "calls"), ())
    found = make_report(ledger, ("reason",), since=since, where={**where, "outcome": "refused"}, sort="refused")
    return _as_csv(("reason", "calls"), [(row.key[0] or "unknown", row.totals.calls) for row in found])


def _as_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; names are printable, and never formulas to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return csv_cell(value)
    return format(value, "f") if isinstance(value, Decimal) else value
