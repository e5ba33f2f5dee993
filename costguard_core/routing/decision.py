"""The record of one routing decision: for the answer's metadata, for the ledger, and for whoever asks why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from costguard_core.routing.scores import Reason
from costguard_core.types import MARK, usd
from costguard_core.util.html_table import html_table


@dataclass(frozen=True, slots=True)
class Decision:
    """Which tier answers and why.

    Attributes:
        tier: name of the tier.
        score: of the request; ``None`` when no scorer had an opinion.
        cut: the score from which requests go to a dearer tier at the moment; ``None`` when it did not decide.
        reasons: names of features and rules with their weights, never words of the prompt.
        escalated: a cheaper tier answered first, and its answer failed a check.
        saved: nano-dollars against the strongest tier: an estimate until :meth:`with_costs` has the real ones. Negative
            when an escalation cost more than asking the strongest tier at once.
        sample: id of this call in the prompt log, if it is part of the shadow sample.
    """

    tier: str
    score: float | None = None
    cut: float | None = None
    reasons: tuple[Reason, ...] = ()
    escalated: bool = False
    saved: int = 0
    sample: str | None = None

    @property
    def because(self) -> str:
        """The reasons in one line."""
        return ", ".join(map(str, self.reasons)) or "default"

    @property
    def text(self) -> str:
        """The decision in one line, for a terminal and the ledger's ``route`` column."""
        compared = "" if self.score is None or self.cut is None else f" (score {self.score:.2f}, cut {self.cut:.2f})"
        return f"{self.tier}{compared}{' escalated' if self.escalated else ''}: {self.because}"

    def _repr_html_(self) -> str:
        rows = [((reason.name,), (f"{reason.weight:+.2f}" if reason.weight else "",)) for reason in self.reasons]
        compared = []
        if self.score is not None and self.cut is not None:
            compared.append(f"Score {self.score:.2f}, cut {self.cut:.2f}")
        escalated = ["A cheaper tier answered first, and its answer failed a check"] * self.escalated
        notes = [*compared, *escalated, f"Saved against the strongest tier: ${usd(self.saved):,.6f}"]
        return html_table(
            f"Route: {self.tier}", ("Because",), ("Weight",), rows or [(("default",), ("",))], notes=notes
        )

    def with_reason(self, name: str, weight: float = 0.0) -> Decision:
        """A copy with one more reason."""
        return replace(self, reasons=(*self.reasons, Reason(name, weight)))

    def with_costs(self, spent: int, *, strongest: int) -> Decision:
        """A copy with the real saving: ``spent`` nano-dollars on all calls, against one call of the strongest tier."""
        return replace(self, saved=strongest - spent)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``response_metadata["costguard"]["route"]`` and JSON logs."""
        sample = {} if self.sample is None else {"sample": self.sample}
        return {
            "tier": self.tier,
            "reason": self.because,
            "score": None if self.score is None else round(self.score, 4),
            "cut": None if self.cut is None else round(self.cut, 4),
            "reasons": [[reason.name, round(reason.weight, 4)] for reason in self.reasons],
            "escalated": self.escalated,
            "saved_usd": f"{usd(self.saved):f}",
            **sample,
        }


def mark_in(metadata: Mapping[str, object]) -> Mapping[str, object]:
    """What was written into the metadata of an answer before it was given to its caller."""
    mark = metadata.get(MARK)
    return mark if isinstance(mark, Mapping) else {}


def route_in(metadata: Mapping[str, object]) -> Mapping[str, Any]:
    """The decision that the metadata of an answer holds, as plain values; empty if it holds none."""
    route = mark_in(metadata).get("route")
    return route if isinstance(route, Mapping) else {}


def with_decision(metadata: Mapping[str, object], decision: Decision) -> dict[str, object]:
    """A copy of an answer's metadata that holds the decision. A copy, because a cache may keep the original."""
    return {**metadata, MARK: {**mark_in(metadata), "route": decision.as_dict()}}
