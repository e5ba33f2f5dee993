"""Why a bill and the ledger differ for one model on one day: named parts that add up to the difference exactly.

Where the provider says how many tokens it billed, the way from the ledger's sum to the bill's leads over steps, and
each step is a part: the tokens that both know at the prices of the bill; the same tokens moved to the tiers and to the
cached and written parts of the bill; the tokens that only one of both has, which belong to estimates, to failed calls
and to calls that the other side does not have. Steps are exact fractions; each is rounded once, and what is left is the
rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from costguard_core.reports.reconciliation.bill import INPUT, OUTPUT_PARTS, PARENTS, WHOLE, Billed, Cell
from costguard_core.reports.reconciliation.recorded import Recorded

OUTSIDE, FAILED, PRICE, TIER, OTHER = "outside", "failed", "price", "tier", "other"
ESTIMATE, CACHE, EDGE, UNPRICED = "estimate", "cache", "edge", "unpriced"
ROUNDING, MISSING, UNEXPLAINED = "rounding", "missing", "unexplained"

KINDS: Mapping[str, str] = {
    OUTSIDE: "calls that did not go through Costguard",
    OTHER: "lines that are for no call, or whose name is not known: storage, training, taxes",
    FAILED: "timeouts, lost connections and errors that were billed otherwise than charged here",
    PRICE: "price differences: the same tokens, other money",
    TIER: "service tiers: batch, flex, priority",
    ESTIMATE: "estimates: usage that was counted here",
    CACHE: "cached and written tokens",
    EDGE: "calls at the day's edge",
    UNPRICED: "calls whose price the ledger does not know",
    ROUNDING: "rounding",
    MISSING: "calls in the ledger that the bill does not have",
    UNEXPLAINED: "nothing explains it",
}
"""What each part of a difference is, in words. The order is that in which parts of the same size are shown."""

RESTS = (MISSING, UNEXPLAINED)
"""Parts that explain nothing: they count towards a tolerance."""

# Each price line is rounded up once, and a call has at most this many lines.
_LINES = 12
_EQUAL_RATIO = Fraction(1, 200)  # prices are in the same proportion if they differ by less than this
_DOUBT = Fraction(1, 2)  # of the money of estimates: as far as they may be off where requests are not counted

UnitPrice = Callable[[Cell], "Fraction | None"]
"""Nano-dollars of one token at the list price; ``None``: not known."""

Parts = dict[str, int]
Shares = dict[str, Fraction]


def explain(billed: Billed, recorded: Recorded, listed: UnitPrice) -> Parts:
    """The parts of ``billed.nanos - recorded.nanos``, without those that are nothing."""
    difference = billed.nanos - recorded.nanos
    if not recorded.all_calls and not recorded.uncharged_calls and not recorded.uses:
        steps: Shares = {OUTSIDE if difference > 0 else UNEXPLAINED: Fraction(difference)}  # below zero: a credit
    elif billed.tokens:
        steps = _by_tokens(billed, recorded, listed)
    elif not billed.money and not billed.requests:
        steps = {MISSING: Fraction(difference)}
    else:
        steps = _by_money(billed, recorded, listed)
    return _whole(steps, difference, recorded.all_calls)


def explain_tool(billed: Billed, recorded: Recorded, *, is_recorded: bool = True) -> Parts:
    """The same for a tool that is billed by the piece. ``is_recorded``: the ledger would record uses of it."""
    difference = billed.nanos - recorded.nanos
    if not recorded.uses:
        outside = OUTSIDE if is_recorded else OTHER
        return _whole({outside if difference > 0 else UNEXPLAINED: Fraction(difference)}, difference, 0)
    if not billed.requests:
        return _whole({UNEXPLAINED if billed.money else MISSING: Fraction(difference)}, difference, 0)
    each = Fraction(billed.nanos, billed.requests)
    further = billed.requests - recorded.uses
    steps = {PRICE: each * recorded.uses - recorded.tool_cost, (OUTSIDE if further > 0 else MISSING): each * further}
    return _whole(steps, difference, recorded.uses)


def _whole(steps: Mapping[str, Fraction], difference: int, calls: int) -> Parts:
    """Whole nano-dollars that add up to ``difference``: what rounding and the steps leave is the rest."""
    parts = {name: round(value) for name, value in steps.items() if name != UNEXPLAINED}
    few = _LINES * (calls + 1)
    if 0 < abs(parts.get(PRICE, 0)) <= few:
        parts[ROUNDING] = parts.pop(PRICE)
    rest = difference - sum(parts.values())
    if abs(rest) <= few:
        parts[ROUNDING] = parts.get(ROUNDING, 0) + rest
    else:
        parts[UNEXPLAINED] = rest
    return {name: nanos for name, nanos in parts.items() if nanos}


# Where the provider says how many tokens it billed


def _by_tokens(billed: Billed, recorded: Recorded, listed: UnitPrice) -> Shares:
    price = _Prices(billed, recorded, listed)
    steps: Shares = {}
    for tier, cost in recorded.cost.items():
        exact = {cell: count for cell, count in recorded.tokens.items() if cell[0] == tier}
        _add(steps, PRICE if tier is None else TIER, price.of(exact) - cost)
    _add(steps, UNPRICED, price.of(recorded.unpriced_tokens))
    known = _sum(recorded.tokens, recorded.unpriced_tokens)
    steps_of_moves, known = _moved(known, billed.tokens, price)
    for name, value in steps_of_moves.items():
        _add(steps, name, value)
    more = {cell: count - known.get(cell, 0) for cell, count in billed.tokens.items() if count > known.get(cell, 0)}
    fewer = {cell: count - billed.tokens.get(cell, 0) for cell, count in known.items()}
    fewer = {cell: count for cell, count in fewer.items() if count > 0}
    further = None
    if billed.requests is not None:
        further = billed.requests - recorded.calls - recorded.unpriced_calls - recorded.estimated_calls
    is_calls = any(part not in OUTPUT_PARTS for _, part in more)
    answered = recorded.calls + recorded.unpriced_calls
    mean = price.of(known) / answered if answered else Fraction(0)
    found = _shared(price.of(more), recorded, further, mean, is_calls=is_calls)
    for name, value in found.items():
        _add(steps, name, value)
    # The same number of requests with fewer tokens is no missing call.
    is_missing = bool(fewer) and (further is None or further < 0 or bool(found.get(OUTSIDE)))
    _add(steps, MISSING if is_missing else UNEXPLAINED, -price.of(fewer))
    return steps


def _shared(more: Fraction, recorded: Recorded, further: int | None, mean: Fraction, *, is_calls: bool) -> Shares:
    """To whom the bill's ``more`` belongs: to estimates, failed calls, or calls that the ledger does not have.

    Args:
        more: what the bill has beyond the calls whose usage was reported, in nano-dollars.
        recorded: the ledger.
        further: how many more requests the bill has than the ledger has answers; ``None``: it does not say.
        mean: what an answered call cost on the bill, in nano-dollars.
        is_calls: whether the bill's further tokens can be those of whole calls.
    """
    guessed, charged = Fraction(recorded.estimated_cost), Fraction(recorded.failed_cost)
    unsure = recorded.failed_calls + recorded.uncharged_calls
    if further is None:
        return _shared_unseen(more, recorded, mean, is_calls=is_calls)
    if further <= 0:  # no failed call was billed
        if recorded.estimated_calls:
            return {FAILED: -charged, ESTIMATE: more - guessed}
        return {FAILED: -charged, UNEXPLAINED: more}
    billed_charged = min(further, recorded.failed_calls)
    billed_uncharged = min(further - billed_charged, recorded.uncharged_calls)
    expected = charged * billed_charged / recorded.failed_calls if recorded.failed_calls else Fraction(0)
    expected += mean * billed_uncharged
    if further > unsure:
        kept = min(more, guessed)
        failed = min(more - kept, expected)
        return {ESTIMATE: kept - guessed, FAILED: failed - charged, OUTSIDE: more - kept - failed}
    if not recorded.estimated_calls:
        return {FAILED: more - charged}
    share = more * expected / (expected + guessed) if expected + guessed else more
    return {FAILED: share - charged, ESTIMATE: more - share - guessed}


def _shared_unseen(more: Fraction, recorded: Recorded, mean: Fraction, *, is_calls: bool) -> Shares:
    """The same where the provider does not count requests: shortage is of failed calls before it is of estimates."""
    guessed, charged = Fraction(recorded.estimated_cost), Fraction(recorded.failed_cost)
    failed = max(Fraction(0), min(more - guessed, charged))
    kept = min(more, guessed)
    over = more - failed - kept
    late = min(over, mean * recorded.uncharged_calls)
    doubt = min(over - late, guessed * _DOUBT)
    rest = OUTSIDE if is_calls else UNEXPLAINED
    return {FAILED: failed + late - charged, ESTIMATE: kept + doubt - guessed, rest: over - late - doubt}


class _Prices:
    """What one token of a cell costs on the bill.

    Lines of money that are for several cells are divided in proportion to list prices. What the bill has no line for
    costs what the list says, else what the ledger charged on average.
    """

    def __init__(self, billed: Billed, recorded: Recorded, listed: UnitPrice) -> None:
        self._listed, self._money, self._tokens = listed, billed.money, billed.tokens
        pools: dict[Cell, dict[Cell, int]] = {}
        for cell, count in billed.tokens.items():
            if count and (line := self._line(cell)) is not None:
                pools.setdefault(line, {})[cell] = count
        self._factor: dict[Cell, Fraction] = {}
        self._flat: dict[Cell, Fraction] = {}
        for line, cells in pools.items():
            prices = [listed(cell) for cell in cells]
            weight = sum(
                (price * count for price, count in zip(prices, cells.values(), strict=True) if price), Fraction(0)
            )
            if len(cells) > 1 and weight and None not in prices:
                self._factor[line] = billed.money[line] / weight
            else:
                self._flat[line] = Fraction(billed.money[line], sum(cells.values()))
        tokens = sum(recorded.tokens.values())
        self._average = Fraction(sum(recorded.cost.values()), tokens) if tokens else Fraction(0)

    def __call__(self, cell: Cell) -> Fraction:
        line, price = self._line(cell), self._listed(cell)
        if line is None:
            return self._average if price is None else price
        if line in self._flat:
            flat = self._flat[line]
            if line == cell or cell in self._tokens or price is None:
                return flat
            # A part that was not billed: as much off its list price as off that of the line.
            of_line = self._listed(line)
            return price * flat / of_line if of_line else flat
        if price is None:
            return self._average
        return price * self._factor.get(line, Fraction(1))

    def of(self, tokens: Mapping[Cell, int]) -> Fraction:
        return sum((self(cell) * count for cell, count in tokens.items()), Fraction(0))

    def _line(self, cell: Cell) -> Cell | None:
        tier, part = cell
        for of_tier in (tier, None) if tier is not None else (None,):
            for name in (*_lineage(part), WHOLE):
                if (of_tier, name) in self._money:
                    return of_tier, name
        return None


def _moved(known: dict[Cell, int], billed: Mapping[Cell, int], price: _Prices) -> tuple[Shares, dict[Cell, int]]:
    """The ledger's tokens in the tiers and parts of the bill as far as both have them, and what moving them costs."""
    steps: Shares = {}
    known = dict(known)
    for name, same in ((TIER, _part), (CACHE, _direction)):
        surplus = [(cell, known[cell] - billed.get(cell, 0)) for cell in _sorted(known)]
        lack = {cell: billed[cell] - known.get(cell, 0) for cell in _sorted(billed)}
        for cell, count in surplus:
            left = count
            for other, missing in lack.items():
                moved = min(left, missing)
                if moved <= 0 or other == cell or same(other) != same(cell):
                    continue
                left -= moved
                lack[other] = missing - moved
                known[cell] -= moved
                known[other] = known.get(other, 0) + moved
                _add(steps, name, moved * (price(other) - price(cell)))
    return steps, {cell: count for cell, count in known.items() if count}


def _part(cell: Cell) -> tuple[str | None, str]:
    return None, cell[1]


def _direction(cell: Cell) -> tuple[str | None, str]:
    tier, part = cell
    return tier, part if part in OUTPUT_PARTS else INPUT


# Where the provider says only how much money it was


def _by_money(billed: Billed, recorded: Recorded, listed: UnitPrice) -> Shares:
    difference = Fraction(billed.nanos - recorded.nanos)
    others = recorded.estimated_calls or recorded.failed_calls or recorded.uncharged_calls or recorded.unpriced_calls
    if not others and _in_proportion(billed, recorded, listed):
        return {PRICE: difference}
    steps: Shares = {}
    if recorded.unpriced_calls:
        known = [(listed(cell), count) for cell, count in recorded.unpriced_tokens.items()]
        value = sum((price * count for price, count in known if price is not None), Fraction(0))
        steps[UNPRICED] = min(max(difference, Fraction(0)), value) if value else max(difference, Fraction(0))
        difference -= steps[UNPRICED]
    if difference < 0:
        steps[FAILED] = max(difference, Fraction(-recorded.failed_cost))
        steps[ESTIMATE] = max(difference - steps[FAILED], Fraction(-recorded.estimated_cost))
    else:
        mean = Fraction(sum(recorded.cost.values()), recorded.calls) if recorded.calls else Fraction(0)
        steps[FAILED] = min(difference, mean * recorded.uncharged_calls)
        steps[ESTIMATE] = min(difference - steps[FAILED], recorded.estimated_cost * _DOUBT)
    steps[UNEXPLAINED] = difference - steps[FAILED] - steps[ESTIMATE]
    return steps


def _in_proportion(billed: Billed, recorded: Recorded, listed: UnitPrice) -> bool:
    """Whether every line is the same share of what the ledger's tokens cost at list prices."""
    ratios = []
    lines: dict[Cell, Fraction] = {}
    for cell, count in recorded.tokens.items():
        price = listed(cell)
        line = next((line for line in _lines_of(cell) if line in billed.money), None)
        if price is None or line is None:
            return False
        lines[line] = lines.get(line, Fraction(0)) + price * count
    for line, value in lines.items():
        if not value:
            return False
        ratios.append(billed.money[line] / value)
    paid = {line for line, nanos in billed.money.items() if nanos}
    return len(ratios) > 1 and paid <= set(lines) and max(ratios) - min(ratios) <= _EQUAL_RATIO * max(ratios)


def _lines_of(cell: Cell) -> Iterator[Cell]:
    return ((cell[0], name) for name in _lineage(cell[1]))


# Calls that one side counts on the next day


class Neighbour(NamedTuple):
    """One model on one day: its parts, and the money of its calls near the day's beginning and end."""

    parts: Parts
    early: int
    late: int


def shift_edges(days: Iterable[Neighbour]) -> None:
    """Name what two days that follow each other have against each other as calls at the day's edge, in place.

    A call is recorded when it begins and billed when it ends, and clocks differ. As much is moved as one day lacks, the
    next has too much, and calls near midnight cost.
    """
    for before, after in pairwise(days):
        _shift(before.parts, after.parts, before.late)
        _shift(after.parts, before.parts, after.early)


def _shift(lacking: Parts, having: Parts, most: int) -> None:
    """Move up to ``most`` nano-dollars from what the bill of one day lacks to what that of the other has too much."""
    lack = -sum(min(0, lacking.get(name, 0)) for name in RESTS)
    over = sum(max(0, having.get(name, 0)) for name in (OUTSIDE, UNEXPLAINED))
    moved = min(lack, over, most)
    if moved <= 0:
        return
    _take(lacking, RESTS, -moved)
    _take(having, (OUTSIDE, UNEXPLAINED), moved)
    for parts, nanos in ((lacking, -moved), (having, moved)):
        parts[EDGE] = parts.get(EDGE, 0) + nanos
        if not parts[EDGE]:
            del parts[EDGE]


def _take(parts: Parts, names: Iterable[str], nanos: int) -> None:
    """Take ``nanos`` from the parts of the same sign."""
    for name in names:
        here = parts.get(name, 0)
        if here * nanos <= 0:
            continue
        taken = max(here, nanos) if nanos < 0 else min(here, nanos)
        parts[name] = here - taken
        nanos -= taken
        if not parts[name]:
            del parts[name]


def _add(steps: Shares, name: str, value: Fraction) -> None:
    if value:
        steps[name] = steps.get(name, Fraction(0)) + value


def _sum(*many: Mapping[Cell, int]) -> dict[Cell, int]:
    total: dict[Cell, int] = {}
    for tokens in many:
        for cell, count in tokens.items():
            total[cell] = total.get(cell, 0) + count
    return total


def _sorted(tokens: Mapping[Cell, int]) -> list[Cell]:
    return sorted(tokens, key=lambda cell: (cell[0] or "", cell[1]))


def _lineage(part: str) -> Iterator[str]:
    name: str | None = part
    while name is not None:
        yield name
        name = PARENTS.get(name)
