"""Why the bill changed between two periods: what each factor adds, who carries it, and what looks like its cause.

**Factors.** The bill of a period is the sum, over outcomes and models, of

    answers wanted x share that was paid x share of the outcome x share of the model
    x (prompt, cached and answered tokens, weighed by their prices) x price of a weighed token.

One factor after the other is changed from what it was to what it is, in this order, and its part is what the bill
changes by. The parts therefore add up to the difference to the nano-dollar; what two factors do together is in the part
of the later one. A model or an outcome that was not there before is in the part of its share. Weights are the list's
ratios of prices where it knows the model; they only divide a change between prompt, cache, answer and price.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from costguard_core.attribution import check_tag_name
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.measures import ANSWERED
from costguard_core.ledger.months import DAY
from costguard_core.ledger.rollups import GROUPS, ROLLED_UNTIL, ROLLUPS, STATE, WORK_DAYS
from costguard_core.pricing import PriceBook
from costguard_core.reports.causes import Cause, found_in_calls
from costguard_core.reports.display import format_money
from costguard_core.reports.queries import Where, read_costs, read_sums
from costguard_core.reports.report import Key, PrettyPrinter
from costguard_core.reports.time_buckets import read_zone
from costguard_core.types import Usage, usd
from costguard_core.util.html_table import html_table
from costguard_core.util.text import moment_text, printable, value_text
from costguard_core.util.timeparse import Moment

FACTORS: tuple[str, ...] = (
    "volume",
    "hit rate",
    "outcome",
    "model mix",
    "prompt length",
    "prompt caching",
    "answer length",
    "price",
)
"""What a bill is made of, in the order in which it is taken apart."""

_DIMENSIONS = ("endpoint", "template", "model", "feature")
_PEOPLE = ("user", "tenant")  # which are rolled up by themselves
_MOST_TAGS = 8  # names of tags that are looked at
_COVERED = Fraction(4, 5)  # of the difference, by the values that are said to carry it
_MOST_VALUES = 5
_WEIGHTS = (Fraction(1, 10), Fraction(5, 4), Fraction(4))  # cached, written, answered tokens where no list knows better
_MILLION = 1_000_000

_Costs = dict[str | None, int]  # nano-dollars by the value of a dimension
_Group = tuple[str, str, str | None, str | None]  # outcome, model, provider, tier


@dataclass(frozen=True, slots=True)
class Carrier:
    """Values of one dimension and what each adds to the difference.

    Attributes:
        dimension: its name.
        values: the values that carry most of it, and their nano-dollars, the largest first.
        rest: nano-dollars of all other values.
    """

    dimension: str
    values: tuple[tuple[str | None, int], ...]
    rest: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the bill changed. Prints and renders as tables. Money is nano-dollars.

    Attributes:
        before, after: the two periods, from and up to, unix seconds.
        cost_before, cost_after: what they cost.
        parts: what each of :data:`FACTORS` adds; they add up to the difference.
        carriers: by dimension, the one with the fewest values that carry most of the difference first.
        causes: what looks like a cause, the dearest first.
        unpriced: calls of both periods whose cost is unknown; they are in none of the sums.
        zone: in which the periods are printed.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    cost_before: int
    cost_after: int
    parts: tuple[tuple[str, int], ...]
    carriers: tuple[Carrier, ...]
    causes: tuple[Cause, ...]
    unpriced: int
    zone: tzinfo = UTC

    @property
    def difference(self) -> int:
        """What the later period cost more, nano-dollars."""
        return self.cost_after - self.cost_before

    def to_dict(self) -> dict[str, Any]:
        """Everything, with money as ``Decimal`` dollars."""
        return {
            "before": list(self.before),
            "after": list(self.after),
            "spend_before_usd": usd(self.cost_before),
            "spend_after_usd": usd(self.cost_after),
            "difference_usd": usd(self.difference),
            "parts": {name: usd(nanos) for name, nanos in self.parts},
            "carriers": [
                {
                    "dimension": carrier.dimension,
                    "values": [{"value": value, "difference_usd": usd(nanos)} for value, nanos in carrier.values],
                    "rest_usd": usd(carrier.rest),
                }
                for carrier in self.carriers
            ],
            "causes": [{"kind": c.kind, "text": c.text, "spend_usd": usd(c.cost)} for c in self.causes],
            "unpriced": self.unpriced,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON; money as strings of dollars."""
        return json.dumps(self.to_dict(), indent=indent, default=lambda value: format(value, "f"))

    def __str__(self) -> str:
        lines = [self._title()]
        lines += [f"  {name:<16}{_signed(nanos):>14}" for name, nanos in self._by_size()]
        for carrier in self.carriers:
            lines.append(f"By {carrier.dimension}")
            lines += [f"  {value_text(value):<36}{_signed(nanos):>14}" for value, nanos in carrier.values]
            if carrier.rest:
                lines.append(f"  {'all others':<36}{_signed(carrier.rest):>14}")
        if self.causes:
            lines.append("What it may be")
            lines += [f"  {printable(cause.text)} ({format_money(cause.cost, 4)})" for cause in self.causes]
        return "\n".join([*lines, *self._notes()])

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:  # noqa: FBT001
        printer.text(str(self))

    def _repr_html_(self) -> str:
        parts = [((name,), (_signed(nanos),)) for name, nanos in self._by_size()]
        whole = html_table(self._title(), ("Factor",), ("Difference",), parts, total=(_signed(self.difference),))
        rows = [
            ((carrier.dimension, value_text(value)), (_signed(nanos),))
            for carrier in self.carriers
            for value, nanos in carrier.values
        ]
        notes = [f"{cause.text} ({format_money(cause.cost, 4)})" for cause in self.causes]
        return whole + html_table("Who carries it", ("By", ""), ("Difference",), rows, notes=[*notes, *self._notes()])

    def _by_size(self) -> list[tuple[str, int]]:
        return sorted(self.parts, key=lambda part: -abs(part[1]))

    def _title(self) -> str:
        share = f", {self.difference / self.cost_before:+.0%}" if self.cost_before else ""
        before, after = (
            f"{moment_text(start, self.zone)} – {moment_text(end, self.zone)}"
            for start, end in (self.before, self.after)
        )
        return (
            f"Spend {format_money(self.cost_before, 4)} ({before}) → {format_money(self.cost_after, 4)} "
            f"({after}): {_signed(self.difference)}{share}"
        )

    def _notes(self) -> Iterator[str]:
        if not (self.cost_before or self.cost_after):
            yield "Nothing was billed in either period; since= and against= (--since, --against) compare others."
        if self.unpriced:
            yield f"{self.unpriced:,} calls without a known price are in none of the sums."


def explain(
    ledger: Ledger,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    against: Moment | None = None,
    where: Where | None = None,
    timezone: str = "UTC",
    prices: PriceBook | None = None,
) -> Explanation:
    """Why a period cost more or less than another one.

    Args:
        ledger: what was recorded.
        since, until: the later period; by default yesterday, or from ``since`` until now.
        against: when the earlier period begins, which is as long; by default on the same weekday before. Whole days
            are compared with as many whole days, also where clocks were changed.
        where: only calls with these values.
        timezone: whose days are meant.
        prices: for the ratios of prices; by default the public list.

    Raises:
        ConfigurationError: a wrong time or dimension, or a period that ends before it begins.
        CostGuardError: the ledger cannot be read.
    """
    zone = read_zone(timezone)
    if since is None and until is None:
        since, until = "yesterday", "today"
    start, end = ledger.resolve_span(since, until, zone)
    end = ledger.clock() if end is None else end
    if start is None or start >= end:
        raise ConfigurationError('explain(since=…, until=…): the period must begin before it ends, such as since="7d"')
    given, _ = ledger.resolve_span(against, None, zone)
    after, before = (start, end), _period_before(start, end, given, zone)

    def sums(by: Sequence[str], period: tuple[float, float]) -> dict[Any, Any]:
        found, _ = read_sums(ledger, by, start=period[0], end=period[1], where=where, zone=zone)
        return found

    by = ("outcome", "model", "provider", "tier")
    old, new = _Bill(sums(by, before)), _Bill(sums(by, after))
    weights = {group: _weights(prices, group, start) for group in {*old.groups, *new.groups}}

    def costs(by: Sequence[str]) -> list[tuple[str, _Costs, _Costs]]:
        """By each dimension what its values cost in either period; read together, which is as quick as one of them."""
        read = [read_costs(ledger, by, start=p[0], end=p[1], where=where, zone=zone) for p in (before, after)]
        return [(name, _of_one(read[0], place), _of_one(read[1], place)) for place, name in enumerate(by)]

    found = [*costs((*_DIMENSIONS, *tag_names(ledger, start, end))), *costs(_PEOPLE)]
    carriers = [_carrier(*one) for one in found]
    causes = [*found_in_calls(ledger, after, old.mean_prompt, where or {})]
    parts = take_apart(old, new, weights)
    causes += _found_in_sums(old, new, dict(parts), *found[_DIMENSIONS.index("template")][1:])
    return Explanation(
        before=before,
        after=after,
        cost_before=old.cost,
        cost_after=new.cost,
        parts=parts,
        carriers=tuple(sorted(filter(None, carriers), key=lambda carrier: (len(carrier.values), abs(carrier.rest)))),
        causes=tuple(sorted(causes, key=lambda cause: -cause.cost)),
        unpriced=old.unpriced + new.unpriced,
        zone=zone,
    )


def _period_before(start: float, end: float, against: float | None, zone: tzinfo) -> tuple[float, float]:
    """The period to compare with, which begins ``against`` or so many weeks before that it is over by ``start``."""
    weeks = -(-(end - start) // (7 * DAY))
    try:
        first, last = (datetime.fromtimestamp(moment, zone) for moment in (start, end))
        days = (last.date() - first.date()).days if first.time() == last.time() == time.min else None
        if against is None:
            against = (first - timedelta(weeks=weeks if days is None else -(-days // 7))).timestamp()
        other = datetime.fromtimestamp(against, zone)
        if days is not None and other.time() == time.min:
            return against, (other + timedelta(days=days)).timestamp()
    except (OverflowError, ValueError):
        raise ConfigurationError("explain(since=…): the period before is too far away: no date is so early") from None
    return against, against + end - start


@dataclass(frozen=True, slots=True)
class _Paid:
    """Paid calls of one group: how many, and the sums of their tokens and of what they cost (nano-dollars)."""

    calls: int
    cost: int
    input: int
    output: int
    read: int
    written: int


class _Bill:
    """One period: the answers that were wanted, and the paid calls by group."""

    def __init__(self, sums: Mapping[Any, Any]) -> None:
        self.groups: dict[_Group, _Paid] = {}
        self.wanted = self.cost = self.unpriced = 0
        for key, group in sums.items():
            for (outcome, paid), (calls, unpriced, _, _, cost, _, *tokens) in group.parts.items():
                self.unpriced += unpriced
                self.cost += cost
                if paid or outcome in ANSWERED:
                    self.wanted += calls
                if paid and calls:
                    self.groups[key] = _Paid(calls, cost, *tokens[:4])
        self.paid = sum(group.calls for group in self.groups.values())
        self.input = sum(group.input for group in self.groups.values())

    @property
    def mean_prompt(self) -> Fraction | None:
        """Tokens of a paid prompt on average; ``None`` where nothing was paid."""
        return Fraction(self.input, self.paid) if self.paid else None

    def outcomes(self) -> dict[str, int]:
        """Paid calls by outcome."""
        found: dict[str, int] = {}
        for (outcome, *_), group in self.groups.items():
            found[outcome] = found.get(outcome, 0) + group.calls
        return found


@dataclass(frozen=True, slots=True)
class _Mean:
    """A paid call of a group on average: its tokens, and the price of a weighed one."""

    fresh: Fraction
    read: Fraction
    written: Fraction
    output: Fraction
    price: Fraction

    def cost(self, weights: tuple[Fraction, Fraction, Fraction]) -> Fraction:
        return self.price * _weighed(self.fresh, self.read, self.written, self.output, weights)

    @property
    def input(self) -> Fraction:
        return self.fresh + self.read + self.written

    def with_input(self, tokens: Fraction) -> _Mean:
        """With another length of the prompt, of which the same share is cached and written."""
        if not self.input:
            return replace(self, fresh=tokens)
        ratio = tokens / self.input
        return replace(self, fresh=self.fresh * ratio, read=self.read * ratio, written=self.written * ratio)


def _weighed(
    fresh: Fraction, read: Fraction, written: Fraction, output: Fraction, weights: tuple[Fraction, ...]
) -> Fraction:
    # What is billed by the piece has no tokens: then a call is the unit that has a price.
    return fresh + weights[0] * read + weights[1] * written + weights[2] * output or Fraction(1)


def _mean(paid: _Paid, weights: tuple[Fraction, ...]) -> _Mean:
    read, written, output = (Fraction(n, paid.calls) for n in (paid.read, paid.written, paid.output))
    fresh = max(Fraction(0), Fraction(paid.input, paid.calls) - read - written)
    weighed = _weighed(fresh, read, written, output, weights)
    return _Mean(fresh, read, written, output, Fraction(paid.cost, paid.calls) / weighed)


def take_apart(old: _Bill, new: _Bill, weights: Mapping[_Group, tuple[Fraction, Fraction, Fraction]]) -> Parts:
    """What each factor adds to the difference of two bills: integers that add up to it exactly."""
    then = {group: _mean(paid, weights[group]) for group, paid in old.groups.items()}
    now = {group: _mean(paid, weights[group]) for group, paid in new.groups.items()}
    means = {group: then.get(group, now.get(group)) for group in {**then, **now}}
    shares = [_shares(old), _shares(new)]

    def bill(wanted: int, paid: Fraction, outcomes: int, models: int) -> int:
        """The cost with the mean calls of ``means``; 0 and 1 choose the shares of then and of now."""
        whole = Fraction(0)
        for group, mean in means.items():
            assert mean is not None
            outcome = shares[outcomes][0].get(group[0], Fraction(0))
            known = shares[models] if group[0] in shares[models][0] else shares[1 - models]
            whole += outcome * known[1].get(group, Fraction(0)) * mean.cost(weights[group])
        return round(wanted * paid * whole)

    paid_then = Fraction(old.paid, old.wanted) if old.wanted else Fraction(0)
    paid_now = Fraction(new.paid, new.wanted) if new.wanted else Fraction(0)
    if not old.paid:  # there is nothing to compare with: all of it is new
        return tuple((name, new.cost - old.cost if name == "volume" else 0) for name in FACTORS)
    costs = [old.cost, bill(new.wanted, paid_then, 0, 0), bill(new.wanted, paid_now, 0, 0)]
    costs += [bill(new.wanted, paid_now, 1, 0), bill(new.wanted, paid_now, 1, 1)]
    both = now.keys() & then.keys()
    for group in both:
        means[group] = then[group].with_input(now[group].input)
    costs.append(bill(new.wanted, paid_now, 1, 1))
    for group in both:
        means[group] = replace(now[group], output=then[group].output, price=then[group].price)
    costs.append(bill(new.wanted, paid_now, 1, 1))
    for group in both:
        means[group] = replace(now[group], price=then[group].price)
    costs += [bill(new.wanted, paid_now, 1, 1), new.cost]
    return tuple((name, costs[place + 1] - costs[place]) for place, name in enumerate(FACTORS))


Parts = tuple[tuple[str, int], ...]


def _shares(bill: _Bill) -> tuple[dict[str, Fraction], dict[_Group, Fraction]]:
    """Of paid calls, the share of each outcome, and in it the share of each group."""
    outcomes = bill.outcomes()
    of_group = {group: Fraction(paid.calls, outcomes[group[0]]) for group, paid in bill.groups.items()}
    return {outcome: Fraction(calls, bill.paid) for outcome, calls in outcomes.items()}, of_group


def _weights(prices: PriceBook | None, group: _Group, at: float) -> tuple[Fraction, Fraction, Fraction]:
    """What cached, written and answered tokens cost, relative to a token of the prompt."""
    if prices is None:
        return _WEIGHTS
    _, model, provider, _ = group

    def cost(usage: Usage) -> int | None:
        return prices.cost(usage, model=model, provider=provider, at=at)

    fresh = cost(Usage(input_tokens=_MILLION))
    others = (
        cost(Usage(input_tokens=_MILLION, cache_read_tokens=_MILLION)),
        cost(Usage(input_tokens=_MILLION, cache_write_tokens=_MILLION)),
        cost(Usage(output_tokens=_MILLION)),
    )
    if not fresh:
        return _WEIGHTS
    read, written, output = (
        usual if price is None else Fraction(price, fresh) for price, usual in zip(others, _WEIGHTS, strict=True)
    )
    return read, written, output


def _of_one(costs: Mapping[Key, tuple[int, int]], place: int) -> _Costs:
    """What the values of one dimension cost, of costs by several."""
    found: _Costs = {}
    for key, (cost, _) in costs.items():
        found[key[place]] = found.get(key[place], 0) + cost
    return found


def _carrier(name: str, before: _Costs, after: _Costs) -> Carrier | None:
    """The fewest values of a dimension that carry most of the difference; ``None``: it has but one value."""
    keys = {*before, *after}
    if len(keys) < 2:
        return None
    found = {key: after.get(key, 0) - before.get(key, 0) for key in keys}
    whole = sum(found.values())
    kept: list[tuple[str | None, int]] = []
    for value, nanos in sorted(found.items(), key=lambda item: (-item[1] if whole >= 0 else item[1], str(item[0]))):
        if len(kept) == _MOST_VALUES or (kept and abs(sum(n for _, n in kept)) >= _COVERED * abs(whole)):
            break
        kept.append((value, nanos))
    return Carrier(name, tuple(kept), whole - sum(nanos for _, nanos in kept))


def tag_names(ledger: Ledger, start: float, end: float) -> list[str]:
    """Names of tags that calls of a span have, at most eight."""
    names: set[str] = set()
    with ledger.reading() as database, database.snapshot() as reader:
        sql = f"SELECT DISTINCT tags FROM {TABLE} WHERE time >= ? AND time < ? AND tags IS NOT NULL LIMIT 200"
        if database.holds(reader, STATE):
            noted = [*reader.rows(f"SELECT value FROM {STATE} WHERE name = ?", (ROLLED_UNTIL,))]
            rolled = float(noted[0][0]) if noted else start
            days = (
                f"SELECT DISTINCT tags FROM {ROLLUPS} JOIN {GROUPS} ON {GROUPS}.group_id = {ROLLUPS}.group_id "
                f"WHERE cube = {WORK_DAYS.number} AND period >= ? AND period < ? AND tags IS NOT NULL LIMIT 200"
            )
            for (tags,) in reader.rows(days, (WORK_DAYS.start(start), min(end, rolled))):
                names.update(json.loads(tags))
            start = max(start, rolled)
        for (tags,) in reader.rows(sql, (start, end)):
            names.update(json.loads(tags))
    return sorted(filter(_is_tag_name, names))[:_MOST_TAGS]


def _is_tag_name(name: str) -> bool:
    try:
        check_tag_name(name)
    except ConfigurationError:  # written when it was none of the reserved names
        return False
    return True


def _found_in_sums(old: _Bill, new: _Bill, parts: Mapping[str, int], before: _Costs, after: _Costs) -> Iterator[Cause]:
    for template, cost in after.items():
        if before and template not in before and template is not None and cost:
            yield Cause("new template", f"New template: {template}", cost)
    lost = parts["prompt caching"]
    if lost > 0 and _cached(old) - _cached(new) >= Fraction(1, 10):
        shares = (
            f"{float(_cached(old)):.0%} of prompts were read from the provider's cache, now {float(_cached(new)):.0%}"
        )
        yield Cause("lost prompt caching", f"Lost prompt caching: {shares}", lost)
    failed = [_failed(bill.groups.items()) for bill in (old, new)]
    if failed[1][0] > 2 * failed[0][0]:
        calls, cost = failed[1]
        yield Cause(
            "retries", f"Retries: {calls:,} billed calls failed or were given up, {failed[0][0]:,} before", cost
        )


def _cached(bill: _Bill) -> Fraction:
    return Fraction(sum(group.read for group in bill.groups.values()), bill.input) if bill.input else Fraction(0)


def _failed(groups: Iterable[tuple[_Group, _Paid]]) -> tuple[int, int]:
    failed = [paid for (outcome, *_), paid in groups if outcome != "miss"]
    return sum(paid.calls for paid in failed), sum(paid.cost for paid in failed)


def _signed(nanos: int) -> str:
    return f"+{format_money(nanos, 4)}" if nanos > 0 else format_money(nanos, 4)
