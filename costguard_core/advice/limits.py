"""Budgets that never bind, or always do."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_UP, Decimal
from math import ceil

from costguard_core.advice.finding import Finding
from costguard_core.advice.source import FEWEST_CALLS, SPAN, Source
from costguard_core.budgets.budget import Budget
from costguard_core.ledger.columns import DIMENSIONS, TABLE
from costguard_core.ledger.database import Value
from costguard_core.types import usd
from costguard_core.util.amounts import format_amount
from costguard_core.util.text import printable

_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_NEVER = 0.1  # of the limit, in the worst period of at least ten
_FEWEST_PERIODS = 10
_ALWAYS = 0.2  # of the calls that were asked for


def find_idle_budgets(source: Source) -> Iterator[Finding]:
    """Limits in dollars of which not a tenth was ever used: they would not notice an incident."""
    for budget in source.budgets:
        seconds = _SECONDS.get(budget.window)
        if budget.unit != "usd" or seconds is None or source.days * 86_400 < _FEWEST_PERIODS * seconds:
            continue
        condition, values = _conditions(source, budget)
        per = ", ".join([_column(source, name) for name in budget.per])
        sums = (
            f"SELECT {source.database.period(seconds)} AS period{', ' if per else ''}{per}, SUM(cost_nanos) AS spent "
            f"FROM {TABLE} WHERE {SPAN}{condition} GROUP BY period{', ' if per else ''}{per}"
        )
        worst, periods = source.read(f"SELECT MAX(spent), COUNT(*) FROM ({sums}) AS sums", *values)[0]
        if not worst or int(periods) < _FEWEST_PERIODS or int(worst) > _NEVER * budget.amount:
            continue
        limit = usd(2 * int(worst)).quantize(Decimal("0.01"), ROUND_UP)
        text = str(budget).replace(format_amount(budget.amount, "usd").rstrip("0").rstrip("."), f"${limit}")
        yield source.finding(
            "idle budget",
            None,
            f"budget {printable(budget.name)!r} never binds: at most {format_amount(int(worst), 'usd')} of it was used "
            f"in {int(periods):,} periods",
            (0, 0, 0),
            how="twice what the worst period took is a limit that an incident would meet",
            confidence="medium",
            risk="a limit that is too near refuses a good day: begin with alerts",
            evidence=source.query(f"{sums} ORDER BY spent DESC", *values),
            columns=("period", *budget.per, "spent_nanos"),
            code=f"replace the limit by about ${limit}: {printable(text)!r}",
            calls=int(periods),
        )


def find_tight_budgets(source: Source) -> Iterator[Finding]:
    """Budgets that refuse a large part of the calls."""
    rows = source.read(
        f"SELECT reason, COUNT(*) FROM {TABLE} WHERE {SPAN} AND outcome = 'refused' GROUP BY reason ORDER BY 2 DESC, 1"
    )
    for reason, count in rows:
        if int(count) < max(FEWEST_CALLS, ceil(_ALWAYS * source.calls)):
            continue
        yield source.finding(
            "tight budget",
            None,
            f"{printable(str(reason))!r} refused {int(count):,} of {source.calls:,} calls: it is always used up",
            (0, 0, 0),
            how="refusals cost nothing; what they would have cost is not known",
            confidence="high",
            risk="a larger limit costs more",
            evidence=source.query(
                f"SELECT endpoint, COUNT(*) FROM {TABLE} WHERE {SPAN} AND outcome = 'refused' AND reason = ? "
                "GROUP BY endpoint ORDER BY 2 DESC, 1",
                reason,
            ),
            columns=("endpoint", "refused"),
            code='raise it, give single customers more (costguard budget grant), or on_exceed = "downgrade"',
            calls=int(count),
        )


def _column(source: Source, name: str) -> str:
    return DIMENSIONS.get(name) or source.database.tag(name)


def _conditions(source: Source, budget: Budget) -> tuple[str, tuple[Value, ...]]:
    pairs = budget.conditions
    return "".join(f" AND {_column(source, name)} = ?" for name, _ in pairs), tuple(value for _, value in pairs)
