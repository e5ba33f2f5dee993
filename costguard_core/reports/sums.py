"""What a group of events adds up to, and the figures of a report that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from costguard_core.ledger import sketch
from costguard_core.reports.report import Totals


@dataclass(slots=True)
class Sums:
    """What a group of events adds up to.

    Attributes:
        parts: by outcome and whether a provider billed it: the measures, in the order of
            :data:`costguard_core.ledger.measures.MEASURES`.
        latencies: stored sketches.
        taken_out: sketches of what is to be taken out of them.
    """

    parts: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    latencies: list[str] = field(default_factory=list)
    taken_out: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many events they are."""
        return sum(amounts[0] for amounts in self.parts.values())

    @property
    def cost(self) -> int:
        """Nano-dollars of all of them."""
        return sum(amounts[4] for amounts in self.parts.values())

    def add(self, kind: tuple[str, int], amounts: Sequence[Any]) -> None:
        """Add measures and a sketch; with a negative number of calls, the sketch is taken out."""
        there = self.parts.get(kind)
        numbers = amounts[:-1]
        self.parts[kind] = list(numbers) if there is None else [a + b for a, b in zip(there, numbers, strict=True)]
        if amounts[-1]:
            (self.taken_out if amounts[0] < 0 else self.latencies).append(amounts[-1])

    def add_all(self, other: Sums) -> None:
        """Add what another group adds up to."""
        for kind, amounts in other.parts.items():
            self.add(kind, (*amounts, None))
        self.latencies.extend(other.latencies)
        self.taken_out.extend(other.taken_out)

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """Latencies that these shares of the answered calls do not exceed, in seconds."""
        if not self.taken_out:
            return sketch.quantiles_of("".join(self.latencies), shares)
        left = sketch.counts("".join(self.latencies))
        left.subtract(sketch.counts("".join(self.taken_out)))
        return sketch.quantiles(left, shares)

    def totals(self) -> Totals:
        """The figures of a report."""
        calls = paid_calls = unpriced = partly = estimated = cost = read = written = thought = asked = answered = 0
        by_outcome = dict.fromkeys(_OUTCOMES, 0)
        saved = dict.fromkeys(_OUTCOMES, 0)
        for (outcome, paid), part in self.parts.items():
            count, without_price, partly_priced, estimates, nanos, gain, *tokens = part
            calls += count
            unpriced += without_price
            partly += partly_priced
            cost += nanos
            by_outcome[outcome] = by_outcome.get(outcome, 0) + count
            saved[outcome] = saved.get(outcome, 0) + gain
            if paid:
                paid_calls += count
                estimated += estimates
                asked += tokens[0]
                answered += tokens[1]
                read += tokens[2]
                written += tokens[3]
                thought += tokens[4]
        exact, semantic, coalesced, refused, errors, abandoned = map(by_outcome.__getitem__, _OUTCOMES)
        hits = exact + semantic + coalesced
        by_caches = saved["exact"] + saved["semantic"] + saved["coalesced"]
        whole = sum(saved.values())
        p50, p95 = self.quantiles((0.5, 0.95))
        return Totals(
            calls=calls,
            paid=paid_calls,
            answered=by_outcome.get("miss", 0) + hits,
            hits=hits,
            refused=refused,
            errors=errors,
            abandoned=abandoned,
            unpriced=unpriced,
            estimated=estimated,
            cost=cost,
            saved=whole,
            input_tokens=asked,
            output_tokens=answered,
            p50=p50,
            p95=p95,
            exact=exact,
            semantic=semantic,
            coalesced=coalesced,
            partly_priced=partly,
            cache_read_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=thought,
            saved_exact=saved["exact"],
            saved_semantic=saved["semantic"],
            saved_coalesced=saved["coalesced"],
            saved_routing=whole - by_caches,
        )


_OUTCOMES = ("exact", "semantic", "coalesced", "refused", "error", "abandoned")  # beside answers that were paid
