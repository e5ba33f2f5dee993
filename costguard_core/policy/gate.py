"""Whether a change made calls dearer: the calls of a test run against those of the run before it, and against limits.

Groups are compared by what a call costs on average, not by sums: two runs rarely make the same number of calls. Hits
count as calls that cost nothing, so a cache that stopped to work shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt
from typing import Literal
from xml.etree import ElementTree as ET

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.policy.policy import Policy
from costguard_core.types import ATTRIBUTE_NAMES, Event, Outcome, usd
from costguard_core.util.numbers import number
from costguard_core.util.text import markdown_cell, value_text

Verdict = Literal["same", "dearer", "cheaper", "new", "gone", "unpriced", "above the limit"]
Group = tuple[str | None, ...]

FAILS: tuple[Verdict, ...] = ("dearer", "unpriced", "above the limit")
"""The verdicts that fail a gate."""

# Two standard errors of the difference of two means: a change that chance alone makes in one of twenty comparisons.
# https://en.wikipedia.org/wiki/Welch%27s_t-test
_ERRORS = 2.0
_ANSWERED = (Outcome.MISS, Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED)


@dataclass(slots=True)
class Calls:
    """What the calls of one group cost.

    Attributes:
        count: answered calls, hits included.
        hits: of these, from a cache.
        nanos: sum of their costs, nano-dollars.
        squares: sum of the squared costs.
        unpriced: calls whose cost is unknown; they are not in the sums.
    """

    count: int = 0
    hits: int = 0
    nanos: int = 0
    squares: int = 0
    unpriced: int = 0

    def add(self, event: Event) -> None:
        """Count a call, if it got an answer."""
        if event.outcome not in _ANSWERED:
            return
        if event.cost is None:
            self.unpriced += 1
            return
        self.count += 1
        self.hits += event.outcome.is_hit
        self.nanos += event.cost
        self.squares += event.cost * event.cost

    @property
    def mean(self) -> Decimal:
        """Dollars per call."""
        return usd(self.nanos) / self.count if self.count else Decimal(0)

    @property
    def error(self) -> float:
        """The standard error of :attr:`mean`, in dollars; of a single call it is not known, and taken for 0."""
        if self.count < 2:
            return 0.0
        # Integers until the last step: the difference of two large sums would lose its digits as floats.
        variance = (self.squares * self.count - self.nanos * self.nanos) / (self.count * (self.count - 1))
        return sqrt(max(variance, 0.0) / self.count) / 1e9


@dataclass(frozen=True, slots=True)
class Comparison:
    """One group in both runs.

    Attributes:
        group: its endpoint and template, or other names.
        base, head: its calls before and after; ``None``: there were none.
        verdict: what the gate says.
        evidence: why, in words.
    """

    group: Group
    base: Calls | None
    head: Calls | None
    verdict: Verdict
    evidence: str

    @property
    def label(self) -> str:
        """The group in words."""
        return " · ".join(value_text(part) for part in self.group)


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate says: the verdict first, the evidence after it.

    Attributes:
        by: the names of the groups.
        comparisons: failures first, then by what they cost.
        band: the change that is let through, as a fraction.
    """

    by: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    band: float

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.failures

    @property
    def failures(self) -> list[Comparison]:
        """What fails."""
        return [one for one in self.comparisons if one.verdict in FAILS]

    def __str__(self) -> str:
        lines = [self.headline]
        lines += [f"  {one.verdict}: {one.label}: {one.evidence}" for one in self.comparisons]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.passed:
            return f"passed: no call got dearer by more than {self.band:.0%}"
        return f"failed: {len(self.failures)} of {len(self.comparisons)} groups"

    def to_json(self) -> str:
        """Everything as JSON, money as text."""
        rows = [
            {
                **dict(zip(self.by, one.group, strict=True)),
                "verdict": one.verdict,
                "evidence": one.evidence,
                "base": _figures(one.base),
                "head": _figures(one.head),
            }
            for one in self.comparisons
        ]
        return json.dumps({"passed": self.passed, "band": self.band, "groups": rows}, indent=2)

    def to_markdown(self) -> str:
        """For the description of a pull request."""
        head = "| | " + " and ".join(self.by) + " | before | after | |"
        lines = [f"**Cost gate {self.headline}**", "", head, "|---|---|---:|---:|---|"]
        for one in self.comparisons:
            mark = "❌" if one.verdict in FAILS else "✅"
            label = markdown_cell(one.label)
            cells = [mark, label, _mean(one.base), _mean(one.head), f"{one.verdict}: {one.evidence}"]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def to_junit(self) -> str:
        """As test results, which CI systems show: https://github.com/testmoapp/junitxml."""
        suite = ET.Element(
            "testsuite", name="costguard gate", tests=str(len(self.comparisons)), failures=str(len(self.failures))
        )
        for one in self.comparisons:
            case = ET.SubElement(suite, "testcase", classname="costguard.gate", name=one.label)
            if one.verdict in FAILS:
                ET.SubElement(case, "failure", message=one.verdict).text = one.evidence
        return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def gate(
    head: Ledger,
    base: Ledger | None = None,
    *,
    policy: Policy | None = None,
    by: Sequence[str] = ("endpoint", "template"),
    band: float = 0.1,
) -> GateReport:
    """Compare what calls cost in ``head`` with ``base``, and with the limits of ``policy``.

    A group is dearer when the average cost of its calls grew by more than ``band`` (a fraction) *and* by more than
    chance explains. A group that only ``head`` has is told, and fails only above a limit of its endpoint
    (``max_cost_per_call``). Calls with an unknown price fail: nobody can say what they cost.

    Raises:
        ConfigurationError: there is nothing to compare with, no call to compare, or an unknown name in ``by``.
        CostGuardError: a ledger cannot be read.
    """
    number("band", band, at_least=0)
    if base is None and (policy is None or not any(one.max_cost_per_call for one in policy.endpoints.values())):
        raise ConfigurationError("a gate compares with a second ledger, or with max_cost_per_call in a policy file")
    names = tuple(by)
    for name in names:
        if name not in (*ATTRIBUTE_NAMES, "model"):
            raise ConfigurationError(f"by={name!r} is not one of {', '.join((*ATTRIBUTE_NAMES, 'model'))}")
    after = _grouped(head.events(), names)
    before = {} if base is None else _grouped(base.events(), names)
    if not after:
        raise ConfigurationError(f"there is no answered call in {head.url}: the tests did not write into it")
    limits = _limits(policy)
    if base is not None and not before and not limits:
        raise ConfigurationError(f"there is no answered call in {base.url}: nothing to compare with")
    found = []
    for group in {**after, **before}:
        limit = limits.get(_endpoint(names, group))
        found.append(_compare(group, before.get(group), after.get(group), band, limit, compares=base is not None))
    found.sort(key=lambda one: (one.verdict not in FAILS, -(one.head.nanos if one.head else 0), one.label))
    return GateReport(names, tuple(found), band)


def _grouped(events: Iterable[Event], names: Sequence[str]) -> dict[Group, Calls]:
    found: dict[Group, Calls] = {}
    for event in events:
        group = tuple(event.model if name == "model" else event.attribution.value(name) for name in names)
        found.setdefault(group, Calls()).add(event)
    return {group: calls for group, calls in found.items() if calls.count or calls.unpriced}


def _limits(policy: Policy | None) -> Mapping[str | None, Decimal]:
    endpoints = () if policy is None else policy.endpoints.values()
    return {one.name: Decimal(one.max_cost_per_call) for one in endpoints if one.max_cost_per_call is not None}


def _endpoint(names: Sequence[str], group: Group) -> str | None:
    return group[names.index("endpoint")] if "endpoint" in names else None


def _compare(
    group: Group, base: Calls | None, head: Calls | None, band: float, limit: Decimal | None, *, compares: bool
) -> Comparison:
    if head is None:
        return Comparison(group, base, head, "gone", "no such call any more")
    if head.unpriced:
        text = f"{head.unpriced} calls of unknown cost: declare a price, then costguard ledger reprice"
        return Comparison(group, base, head, "unpriced", text)
    if limit is not None and head.mean > limit:
        return Comparison(group, base, head, "above the limit", f"{_mean(head)} a call, allowed are ${limit:f}")
    if base is None or not base.count:
        return Comparison(group, base, head, "new" if compares else "same", f"{_mean(head)} a call")
    change = head.mean - base.mean
    noise = Decimal(_ERRORS * sqrt(head.error**2 + base.error**2))
    share = change / base.mean if base.mean else None
    shown = "" if share is None else f" ({share:+.0%})"
    counts = f"{_rate(base)} → {_rate(head)} hits, {base.count} → {head.count} calls"
    evidence = f"{_mean(base)} → {_mean(head)} a call{shown}, {counts}"
    matters = abs(change) > noise and (share is None or abs(share) > Decimal(repr(band)))
    verdict: Verdict = "same" if not matters or not change else "dearer" if change > 0 else "cheaper"
    return Comparison(group, base, head, verdict, evidence)


def _mean(calls: Calls | None) -> str:
    return "–" if calls is None or not calls.count else f"${calls.mean:.6f}"


def _rate(calls: Calls) -> str:
    return f"{calls.hits / calls.count:.0%}" if calls.count else "–"


def _figures(calls: Calls | None) -> dict[str, object] | None:
    if calls is None:
        return None
    return {
        "calls": calls.count,
        "hits": calls.hits,
        "unpriced": calls.unpriced,
        "spend_usd": f"{usd(calls.nanos):f}",
        "usd_per_call": f"{calls.mean:f}",
    }
