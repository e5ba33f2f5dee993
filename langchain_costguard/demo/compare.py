"""The two days side by side, in numbers that can be printed or written as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from costguard_core.cache.semantic.hit import NearMiss
from costguard_core.types import NANOS_PER_DOLLAR, usd
from langchain_costguard.demo.play import FAILED, PROVIDER, REFUSED, Result
from langchain_costguard.demo.workload import RUNAWAY

# Who may answer instead of the provider, and how the table says it. A further cache or a router is a line here.
SERVED_BY = {
    "exact": "Answered from the exact cache",
    "semantic": "Same question in other words",
    "coalesced": "Shared with an identical call",
}

CAUSES = ("loop", "repeats", "other_words", "routing", "budgets", "other")


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of some results of one day. ``spend`` is nano-dollars; latencies are seconds of answered requests."""

    requests: int
    paid: int
    served: Mapping[str, int]
    refused: int
    failed: int
    spend: int
    p50: float
    p95: float
    routed: int = 0

    @classmethod
    def of(cls, results: Sequence[Result]) -> Tally:
        sources = [result.source for result in results]
        latencies = sorted(result.latency for result in results if result.source not in (REFUSED, FAILED))
        return cls(
            requests=len(results),
            paid=sources.count(PROVIDER),
            served={source: sources.count(source) for source in SERVED_BY},
            refused=sources.count(REFUSED),
            failed=sources.count(FAILED),
            spend=sum(result.cost for result in results),
            p50=_percentile(latencies, 0.50),
            p95=_percentile(latencies, 0.95),
            routed=sum(result.routed for result in results),
        )

    @property
    def hits(self) -> int:
        """Answers that cost nothing."""
        return sum(self.served.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "provider_calls": self.paid,
            "by_the_cheaper_model": self.routed,
            "hits": dict(self.served),
            "refused": self.refused,
            "failed": self.failed,
            "spend_usd": _text(self.spend),
            "latency_p50_s": round(self.p50, 4),
            "latency_p95_s": round(self.p95, 4),
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One group (everything, an endpoint, a user) on both days."""

    name: str
    without: Tally
    guarded: Tally

    @property
    def saved(self) -> int:
        """Nano-dollars."""
        return self.without.spend - self.guarded.spend

    @property
    def saved_share(self) -> float:
        return self.saved / self.without.spend if self.without.spend else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "without": self.without.to_dict(),
            "with": self.guarded.to_dict(),
            "saved_usd": _text(self.saved),
            "saved_percent": round(100 * self.saved_share, 1),
        }


class Saving(NamedTuple):
    """What one cause saved: requests that it concerns, and nano-dollars."""

    requests: int
    nanos: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both days, request by request in the same order."""

    without: Sequence[Result]
    guarded: Sequence[Result]
    near_misses: Sequence[NearMiss] = ()

    @property
    def total(self) -> Line:
        return Line("Total", Tally.of(self.without), Tally.of(self.guarded))

    @property
    def first_error(self) -> str:
        """What the first failed request said; empty if none failed."""
        return next((result.error for result in (*self.without, *self.guarded) if result.source == FAILED), "")

    @property
    def runaway(self) -> Line:
        """The agent's loop alone."""
        return self._line(RUNAWAY, lambda result: result.request.runaway, True)

    def by_endpoint(self) -> list[Line]:
        return self._lines(lambda result: result.request.endpoint)

    def by_user(self, *, most: int | None = None) -> list[Line]:
        """One line per user; after ``most`` of them, one line for all others."""
        lines = self._lines(lambda result: result.request.user)
        if most is None or len(lines) <= most + 1:
            return lines
        rest = {line.name for line in lines[most:]}
        return [*lines[:most], self._line(f"{len(rest)} others", lambda result: result.request.user in rest, True)]

    def saved_by(self) -> dict[str, Saving]:
        """The saving by cause; the parts add up to it.

        ``loop``: calls of the agent that ran away, refused. ``repeats``: answers paid for once, from the exact cache or
        shared by identical calls. ``other_words``: from the semantic cache. ``routing``: what the cheaper model
        answered. ``budgets``: other refusals. ``other`` is chance: how often the provider's own prompt cache helped,
        and answers that a nearly spent budget cut short.
        """
        found = {cause: Saving(0, 0) for cause in CAUSES}
        for before, after in zip(self.without, self.guarded, strict=True):
            cause = _cause(after)
            answers, nanos = found[cause]
            found[cause] = Saving(answers + (cause != "other"), nanos + before.cost - after.cost)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; money as decimal text."""
        return {
            **self.total.to_dict(),
            "saved_by_usd": {cause: _text(saving.nanos) for cause, saving in self.saved_by().items()},
            "near_misses": [miss._asdict() for miss in self.near_misses],
            "runaway_loop": self.runaway.to_dict(),
            "by_endpoint": {line.name: line.to_dict() for line in self.by_endpoint()},
            "by_user": {line.name: line.to_dict() for line in self.by_user()},
        }

    def _lines(self, key: Callable[[Result], str]) -> list[Line]:
        """One line per group, the dearest first."""
        lines = [self._line(name, key, name) for name in {key(result) for result in self.without}]
        return sorted(lines, key=lambda line: (-line.without.spend, line.name))

    def _line(self, name: str, key: Callable[[Result], object], wanted: object) -> Line:
        without, guarded = ([r for r in day if key(r) == wanted] for day in (self.without, self.guarded))
        return Line(name, Tally.of(without), Tally.of(guarded))


def _cause(result: Result) -> str:
    if result.source == REFUSED:
        return "loop" if result.request.runaway else "budgets"
    if result.source == "semantic":
        return "other_words"
    if result.source in SERVED_BY:
        return "repeats"
    return "routing" if result.routed else "other"


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _text(nanos: int) -> str:
    return f"{usd(nanos):f}"


def money(nanos: int) -> str:
    """For reading: dollars with four places, or two from ten dollars on."""
    return f"${usd(nanos):,.{2 if abs(nanos) >= 10 * NANOS_PER_DOLLAR else 4}f}"
