"""The questions that a report asks, in SQL that SQLite and Postgres both understand."""

from __future__ import annotations

from collections.abc import Sequence

from costguard_core.ledger.columns import TABLE

_HIT = "outcome IN ('exact', 'semantic', 'coalesced')"
# An unknown cost (NULL) is not nothing. A call that failed or was cancelled before it cost anything was not paid.
_PAID = "(outcome = 'miss' OR (outcome IN ('error', 'abandoned') AND COALESCE(cost_nanos, 1) <> 0))"
_ANSWERED = f"(outcome = 'miss' OR {_HIT})"


def _count(condition: str) -> str:
    return f"COALESCE(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)"


# The order is that of the fields of `reports.Totals`.
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


def span(since: float | None, until: float | None) -> tuple[str, tuple[float, ...]]:
    """A condition on ``time`` and its parameters."""
    given = [(text, value) for text, value in (("time >= ?", since), ("time < ?", until)) if value is not None]
    return " AND ".join(text for text, _ in given) or "TRUE", tuple(value for _, value in given)


def tier(column: str, find: str) -> str:
    """Of a decision in one line, ``tier (score 0.1, cut 0.2) escalated: reasons``, the tier: what reports group by.

    The rest differs from call to call. ``find`` is the function that says where a text begins in another one.
    """
    head = column
    for end in (": ", " (score ", " escalated"):
        head = f"substr({head}, 1, {find}({head} || '{end}', '{end}') - 1)"
    return head


def sums(groups: Sequence[str], where: str) -> str:
    """One row per group: the group's values, then the sums."""
    columns = ", ".join((*groups, *_SUMS))
    return f"SELECT {columns} FROM {TABLE} WHERE {where}" + _group_by(groups)


def latencies(groups: Sequence[str], where: str) -> str:
    """One row per answered call: the group's values and the latency, each group together and in ascending order."""
    columns = ", ".join((*groups, "latency"))
    return f"SELECT {columns} FROM {TABLE} WHERE {where} AND {_ANSWERED} ORDER BY {columns}"


def _group_by(groups: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(groups)}" if groups else ""
