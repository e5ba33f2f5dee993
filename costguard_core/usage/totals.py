"""Adding up usages, and finding the one that a stream of reports means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from costguard_core.types import TOKEN_COUNTS, ModelUsage, Usage

_COUNTS = (*TOKEN_COUNTS, "web_searches")


def sum_usage(a: Usage, b: Usage) -> Usage:
    """Both usages together: counts added, ``estimated`` if either is, the tier of the first that has one.

    A stated cost is kept only if both state one: a sum of a stated and an unknown cost is unknown.
    """
    counts = {name: getattr(a, name) + getattr(b, name) for name in _COUNTS}
    costs = [usage.stated_cost for usage in (a, b) if usage != Usage()]
    return Usage(
        **counts,
        tier=a.tier or b.tier,
        estimated=a.estimated or b.estimated,
        units=_merged(a.units, b.units, largest=False),
        others=_merged_models(a.others, b.others, largest=False),
        stated_cost=sum(cost for cost in costs if cost is not None) if costs and None not in costs else None,
        region_surcharge=max(a.region_surcharge, b.region_surcharge),
        tier_stated=a.tier_stated or b.tier_stated,
        request_id=b.request_id or a.request_id,
        passes=b.passes or a.passes,
    )


def latest_usage(a: Usage, b: Usage) -> Usage:
    """Two reports about the *same* call, as in Anthropic's stream: counts only grow, so the larger is the later.

    A stated cost is that of the tokens up to then: it is kept unless ``b`` has more of them, and none.
    """
    outdated = b.stated_cost is None and a.total_tokens > 0 and b.output_tokens > a.output_tokens
    counts = {name: max(getattr(a, name), getattr(b, name)) for name in _COUNTS}
    return Usage(
        **counts,
        tier=b.tier or a.tier,
        estimated=a.estimated and b.estimated,
        units=_merged(a.units, b.units, largest=True),
        others=_merged_models(a.others, b.others, largest=True),
        stated_cost=None if outdated else a.stated_cost if b.stated_cost is None else b.stated_cost,
        region_surcharge=max(a.region_surcharge, b.region_surcharge),
        tier_stated=a.tier_stated or b.tier_stated,
        request_id=b.request_id or a.request_id,
        passes=b.passes or a.passes,
    )


class StreamUsage:
    """The usage of one streamed call, from the reports in its chunks.

    Most integrations report once, or spread one usage over several chunks (the prompt in the first, the answer in the
    last; or the growth since the chunk before): those reports are added. Some gateways repeat a running total in every
    chunk: it is recognised by a prompt that is reported again while the answer does not shrink, and taken once. A
    report of a cost and nothing else is of the whole call.
    """

    __slots__ = ("_cost", "_growth", "_largest", "_last", "_repeated", "_summed")

    def __init__(self, *, growth: bool = False) -> None:
        """``growth``: the integration is known to report the growth since the last chunk (LangChain's for Gemini)."""
        self._growth, self._repeated = growth, False
        self._last: Usage | None = None
        self._summed: Usage | None = None
        self._largest: Usage | None = None
        self._cost: int | None = None

    def add(self, report: Usage) -> None:
        """The next report of the stream."""
        if report.stated_cost is not None and report == Usage(stated_cost=report.stated_cost):
            self._cost = report.stated_cost
            return
        last = self._last
        if last is None or self._summed is None or self._largest is None:
            self._last = self._summed = self._largest = report
            return
        again = report.input_tokens >= last.input_tokens > 0 and report.output_tokens >= last.output_tokens
        self._repeated = self._repeated or (again and not self._growth)
        self._last = replace(report, input_tokens=max(report.input_tokens, last.input_tokens))
        self._summed = sum_usage(self._summed, report)
        self._largest = latest_usage(self._largest, report)

    @property
    def usage(self) -> Usage | None:
        """What the reports so far say; ``None``: there was none."""
        found = self._largest if self._repeated else self._summed
        return found if self._cost is None else replace(found or Usage(), stated_cost=self._cost)


def with_fees(usage: Usage, searches: int, found: tuple[tuple[str, int], ...]) -> Usage:
    """The usage with units that were counted elsewhere; where both know a number, the larger one."""
    if not searches and not found:
        return usage
    return replace(
        usage, web_searches=max(usage.web_searches, searches), units=_merged(usage.units, found, largest=True)
    )


def _merged(
    a: Iterable[tuple[str, int]], b: Iterable[tuple[str, int]], *, largest: bool
) -> tuple[tuple[str, int], ...]:
    if not a or not b:
        return tuple(a or b)
    merged = dict(a)
    for name, number in b:
        merged[name] = max(merged.get(name, 0), number) if largest else merged.get(name, 0) + number
    return tuple(sorted(merged.items()))


def _merged_models(a: Iterable[ModelUsage], b: Iterable[ModelUsage], *, largest: bool) -> tuple[ModelUsage, ...]:
    if not a or not b:
        return tuple(a or b)
    merged = {one.model: one.usage for one in a}
    for model, usage in b:
        known = merged.get(model)
        merged[model] = usage if known is None else latest_usage(known, usage) if largest else sum_usage(known, usage)
    return tuple(ModelUsage(model, usage) for model, usage in merged.items())


def sum_known(usages: Iterable[Usage | None]) -> Usage | None:
    """The sum; ``None`` if there is none, or one of them is not known."""
    total: Usage | None = None
    for usage in usages:
        if usage is None:
            return None
        total = usage if total is None else sum_usage(total, usage)
    return total
