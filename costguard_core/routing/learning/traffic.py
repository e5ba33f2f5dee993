"""Whether the rows that a router is trained on come from the call sites that the ledger knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from costguard_core.ledger import Ledger
from costguard_core.reports.queries import make_report
from costguard_core.types import Outcome
from costguard_core.util.timeparse import Moment

SHADOW = "shadow"  # the route of second answers, as reports group it
_NAMED = 3  # call sites that are named although no row comes from there (a choice)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Routed calls that a model answered.

    Attributes:
        calls: how many.
        known: how many of them at call sites that rows come from.
        others: the busiest other call sites, each with its calls.
        saved: nano-dollars saved by routing.
        shadow: nano-dollars spent on second answers.
    """

    calls: int
    known: int
    others: tuple[tuple[str, int], ...]
    saved: int
    shadow: int

    @property
    def coverage(self) -> float | None:
        """Part (0..1) of the calls at known call sites; ``None`` without calls."""
        return self.known / self.calls if self.calls else None


def traffic(ledger: Ledger, tags: Iterable[str | None], *, since: Moment | None = None) -> Traffic:
    """The routed calls of a ledger next to the call sites of training rows.

    A call site is what a router takes as the tag: the endpoint, else the template, else the feature.

    Args:
        ledger: where the calls are.
        tags: of the rows; ``None`` among them knows the calls without a call site.
        since: from when, as :func:`costguard_core.reports.queries.make_report` takes it.
    """
    known, sites = set(tags), Counter[str | None]()
    saved = shadow = 0
    for row in make_report(ledger, ("route", "outcome", "endpoint", "template", "feature"), since=since):
        route, outcome, *places = row.key
        if route == SHADOW:
            shadow += row.totals.cost
        elif route is not None and outcome == Outcome.MISS:  # what a hit saved is not the router's merit
            sites[next((place for place in places if place), None)] += row.totals.calls
            saved += row.totals.saved
    others = Counter({site or "(none)": calls for site, calls in sites.items() if site not in known})
    total = sites.total()
    return Traffic(total, total - others.total(), tuple(others.most_common(_NAMED)), saved, shadow)
