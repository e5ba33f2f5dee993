"""What findings are made from: the ledger of a span, prices, the policy, and the prompt log where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal
from typing import Any, NamedTuple

from costguard_core.advice.finding import Confidence, Finding, PolicyLine, Query
from costguard_core.budgets.budget import Budget
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Database, Reader, Row, Value
from costguard_core.pricing import PriceBook
from costguard_core.types import Usage, usd

SPAN = "time >= ? AND time < ?"
FEWEST_CALLS = 20  # that anything is said of: a choice
_SHOWN_ROWS = 5
_PAID = "outcome = 'miss' AND cost_nanos > 0 AND kind <> 'embedding'"


class Calls(NamedTuple):
    """The paid calls of one model of one provider at one endpoint.

    Attributes:
        endpoint, model, provider: whose.
        calls: how many.
        prompts: how many different prompts.
        cost: nano-dollars.
        input_tokens, output_tokens, read_tokens, write_tokens: sums; read and written in the provider's cache.
        least_input: the shortest prompt, tokens.
        squares: the sum of the squared lengths of prompts.
    """

    endpoint: str | None
    model: str
    provider: str | None
    calls: int
    prompts: int
    cost: int
    input_tokens: int
    output_tokens: int
    read_tokens: int
    write_tokens: int
    least_input: int
    squares: float

    @property
    def mean_input(self) -> float:
        return self.input_tokens / self.calls

    @property
    def spread(self) -> float:
        """The standard deviation of the lengths of prompts, as a part of their mean."""
        variance = max(0.0, self.squares / self.calls - self.mean_input**2)
        return float(variance**0.5 / self.mean_input) if self.mean_input else 0.0


@dataclass
class Source:
    """The ledger of a span.

    Attributes:
        database, reader: where the rows are; every query sees the same moment.
        start, end: unix seconds.
        calls, spend: of the span; nano-dollars.
        prices: what other models would cost.
        budgets: those of the policy; none: not known.
        pairs: what both models answered, from the prompt log.
        groups: paid calls by endpoint and model.
        hits: answers from a cache, by endpoint.
    """

    database: Database
    reader: Reader
    start: float
    end: float
    calls: int
    spend: int
    prices: PriceBook
    budgets: Sequence[Budget] = ()
    pairs: Sequence[Any] = ()
    groups: list[Calls] = field(default_factory=list)
    hits: dict[str | None, int] = field(default_factory=dict)

    @property
    def days(self) -> float:
        return max((self.end - self.start) / 86_400.0, 1 / 24)

    @property
    def least(self) -> int:
        """Nano-dollars below which nothing is said: half a percent of the spend, and a cent."""
        return max(self.spend // 200, 10_000_000)

    @property
    def day(self) -> str:
        """When the day of an event began, as SQL."""
        return self.database.period(86_400)

    def read(self, sql: str, *values: Value) -> list[Row]:
        """The rows of a query whose first two places are the span."""
        return list(self.reader.rows(sql, (self.start, self.end, *values)))

    def load(self) -> None:
        """Read the sums that several findings are made from."""
        groups = self.read(
            "SELECT endpoint, model, provider, COUNT(*), COUNT(DISTINCT fingerprint), SUM(cost_nanos), "
            "SUM(input_tokens), SUM(output_tokens), SUM(cache_read_tokens), "
            "SUM(cache_write_tokens), MIN(input_tokens), SUM(1.0 * input_tokens * input_tokens) "
            f"FROM {TABLE} WHERE {SPAN} AND {_PAID} GROUP BY endpoint, model, provider"
        )
        self.groups = [Calls._make((*row[:3], *map(int, row[3:11]), float(row[11]))) for row in groups]
        hits = self.read(
            f"SELECT endpoint, COUNT(*) FROM {TABLE} WHERE {SPAN} AND outcome IN ('exact', 'semantic') "
            "GROUP BY endpoint"
        )
        self.hits = {endpoint: int(count) for endpoint, count in hits}

    def of_group(self, group: Calls) -> tuple[str, tuple[Value, ...]]:
        """``FROM … WHERE …`` of the calls of a group, whose first two places are the span, and its other values."""
        endpoint, at = is_endpoint(group.endpoint)
        provider, by = _is("provider", group.provider)
        return f"FROM {TABLE} WHERE {SPAN} AND {_PAID} AND model = ? AND {endpoint} AND {provider}", (
            group.model,
            *at,
            *by,
        )

    def by_day(self, group: Calls, amount: str) -> dict[object, int]:
        """What an amount, such as ``COUNT(*)``, is for the calls of a group on each day."""
        calls, values = self.of_group(group)
        rows = self.read(f"SELECT {self.day} AS day, {amount} {calls} GROUP BY 1", *values)
        return {day: int(found) for day, found in rows}

    def price(self, model: str, provider: str | None, usage: Usage) -> int | None:
        """What a call would cost now, nano-dollars."""
        return self.prices.cost(usage, model=model, provider=provider, at=self.end)

    def query(self, sql: str, *values: Value) -> Query:
        """A query of the span as evidence."""
        return Query(sql, (self.start, self.end, *values))

    def finding(
        self,
        kind: str,
        endpoint: str | None,
        text: str,
        money: tuple[int, int, int],
        *,
        how: str,
        confidence: Confidence,
        risk: str,
        evidence: Query,
        columns: Sequence[str],
        lines: Sequence[PolicyLine] = (),
        code: str = "",
        calls: int = 0,
    ) -> Finding:
        """A finding with the first rows of its evidence."""
        rows = tuple(map(tuple, self.reader.rows(f"{evidence.sql} LIMIT {_SHOWN_ROWS}", evidence.values)))
        saving, low, high = money
        return Finding(
            kind, endpoint, text, saving, low, high, how, confidence, risk, evidence, tuple(columns), rows,
            tuple(lines), code, calls,
        )  # fmt: skip


def at_endpoint(endpoint: str | None, key: str, value: str) -> tuple[PolicyLine, ...]:
    """A setting of an endpoint; calls without one have no table to write it into."""
    return () if endpoint is None else (PolicyLine(("endpoints", endpoint), key, value),)


def dollars(nanos: int) -> str:
    """An amount as a policy file has it, rounded up to a tenth of a cent."""
    return f'"{usd(nanos).quantize(Decimal("0.001"), ROUND_UP):f}"'


def is_endpoint(endpoint: str | None) -> tuple[str, tuple[Value, ...]]:
    """A condition on the endpoint, and its values."""
    return _is("endpoint", endpoint)


def _is(column: str, value: str | None) -> tuple[str, tuple[Value, ...]]:
    return (f"{column} IS NULL", ()) if value is None else (f"{column} = ?", (value,))


def cheaper_models(source: Source, group: Calls, usage: Usage, *, at_most: float) -> list[tuple[int, str, str | None]]:
    """Models of this ledger that would answer such a call for at most that part of its price, cheapest first."""
    now = source.price(group.model, group.provider, usage)
    found: Mapping[tuple[str, str | None], int | None] = {
        (model, provider): source.price(model, provider, usage)
        for model, provider in {(each.model, each.provider) for each in source.groups}
        if (model, provider) != (group.model, group.provider)
    }
    if not now:
        return []
    return sorted((cost, *name) for name, cost in found.items() if cost and cost <= at_most * now)
