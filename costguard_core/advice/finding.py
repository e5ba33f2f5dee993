"""What advice is made of: findings, the queries that show them, and the lines of the policy file that act on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal, NamedTuple

from costguard_core.ledger.database import Value
from costguard_core.reports.display import format_money
from costguard_core.types import usd
from costguard_core.util.text import moment_text, printable, value_text
from costguard_core.util.toml_document import toml_key

Confidence = Literal["high", "medium", "low"]

_MONTH = 30.0  # days


class Query(NamedTuple):
    """A question to the ledger that anybody can ask again.

    Attributes:
        sql: with ``?`` as the placeholder.
        values: what stands in the places.
    """

    sql: str
    values: tuple[Value, ...] = ()

    def __str__(self) -> str:
        parts = " ".join(self.sql.split()).split("?")
        written = [literal(value) for value in self.values]
        return "".join(part + value for part, value in zip(parts, [*written, ""], strict=True))


class PolicyLine(NamedTuple):
    """One setting of the policy file.

    Attributes:
        table: the tables that it stands in, such as ``("endpoints", "/faq")``; none: the top of the file.
        key: its name.
        value: as TOML is written: ``"1d"`` in quotation marks, ``5``, ``{ ttl = "1d" }``.
    """

    table: tuple[str, ...]
    key: str
    value: str

    def __str__(self) -> str:
        head = f"[{'.'.join(toml_key(name) for name in self.table)}] " if self.table else ""
        return f"{head}{self.key} = {self.value}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change. Money is nano-dollars, of the span that was looked at.

    Attributes:
        kind: its short name, such as ``"repeats"``.
        endpoint: where; ``None``: calls without an endpoint, or all.
        text: what is wrong.
        saving: what would not have been spent in the span; 0 for what costs nothing now.
        low, high: between which the saving lies.
        how: how the saving and the interval were worked out.
        confidence: how sure it is that this is waste.
        risk: what the change may break.
        evidence: the query whose rows show it.
        columns: the names of the columns of ``rows``.
        rows: the first of them.
        lines: settings to write into the policy file; none: it is changed elsewhere.
        code: what to change in the application, where no setting does it.
        calls: how many calls it is about.
    """

    kind: str
    endpoint: str | None
    text: str
    saving: int
    low: int
    high: int
    how: str
    confidence: Confidence
    risk: str
    evidence: Query
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    lines: tuple[PolicyLine, ...] = ()
    code: str = ""
    calls: int = 0

    @property
    def label(self) -> str:
        """Where it is, in words."""
        return value_text(self.endpoint)

    @property
    def mark(self) -> str:
        """What stays the same when the finding is made again: its kind and its endpoint."""
        return f"{self.kind} {'' if self.endpoint is None else self.endpoint}"


@dataclass(frozen=True, slots=True)
class Advice:
    """Findings, the dearest first. Prints as text.

    Attributes:
        findings: what to change.
        spend: of the span, nano-dollars.
        since, until: the span, unix seconds.
        calls: in the span.
    """

    findings: tuple[Finding, ...]
    spend: int
    since: float
    until: float
    calls: int

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def days(self) -> float:
        """Days of the span."""
        return max((self.until - self.since) / 86_400.0, 1 / 24)

    def monthly(self, nanos: int) -> int:
        """An amount of the span as one of 30 days."""
        return round(nanos * _MONTH / self.days)

    def to_dicts(self) -> list[dict[str, object]]:
        """One dictionary per finding; money in dollars, as text."""
        return [self._dict(finding) for finding in self.findings]

    def to_json(self) -> str:
        head = {"since": self.since, "until": self.until, "calls": self.calls, "spend_usd": str(usd(self.spend))}
        return json.dumps({**head, "findings": self.to_dicts()}, indent=2, default=str)

    def __str__(self) -> str:
        span = f"{moment_text(self.since)} to {moment_text(self.until)}"
        head = f"{self.calls:,} calls, {format_money(self.spend, 2)}, {span}"
        if not self.findings:
            return f"{head}\nNothing to advise: the ledger shows no waste that it is sure of."
        return "\n\n".join([head, *[self._text(number, each) for number, each in enumerate(self.findings, 1)]])

    def _dict(self, finding: Finding) -> dict[str, object]:
        found: dict[str, Any] = asdict(finding)
        for name in ("saving", "low", "high"):
            found[f"{name}_usd"] = str(usd(found.pop(name)))
            found[f"monthly_{name}_usd"] = str(usd(self.monthly(getattr(finding, name))))
        rows = [dict(zip(finding.columns, row, strict=True)) for row in finding.rows]
        lines = [str(line) for line in finding.lines]
        return {**found, "evidence": str(finding.evidence), "rows": rows, "lines": lines}

    def _text(self, number: int, finding: Finding) -> str:
        money = [format_money(self.monthly(nanos), 2) for nanos in (finding.saving, finding.low, finding.high)]
        saves = f"saves {money[0]} a month ({money[1]} to {money[2]})" if finding.high else "saves nothing by itself"
        lines = [
            f"{number}. {finding.label}: {printable(finding.text, most=2_000)}",
            f"   {saves}, confidence {finding.confidence}",
            f"   how: {finding.how}",
            f"   risk: {finding.risk}",
            *[f"   write: {printable(str(line), most=500)}" for line in finding.lines],
            *([f"   change: {finding.code}"] if finding.code else []),
            f"   rows: {printable(str(finding.evidence), most=4_000)}",
        ]
        return "\n".join(lines)


def literal(value: Value) -> str:
    """A value as SQL is written."""
    if value is None:
        return "NULL"
    if isinstance(value, (bool, int, float)):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def by_days(savings: Mapping[object, int] | Sequence[int], days: float) -> tuple[int, int, int]:
    """The sum of what each day would have saved, and an interval of two standard errors from the spread of the days.

    Days on which nothing was found are days too. ``days`` is the length of the span.
    """
    found = list(savings.values()) if isinstance(savings, Mapping) else list(savings)
    total, count = sum(found), max(round(days), len(found), 1)
    mean = total / count
    spread = sum((each - mean) ** 2 for each in found) + (count - len(found)) * mean**2
    error = sqrt(spread / (count - 1) * count) if count > 1 else total
    return total, max(0, round(total - 2 * error)), round(total + 2 * error)
